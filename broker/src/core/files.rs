//! Files of a session, in and out.

use bytes::Bytes;
use postern_proto::FileInfo;

use super::Result;
use crate::guest::{ReadStream, WriteStream};

/// A file on its way out of the sandbox.
#[derive(Debug)]
pub struct FileReader {
    stream: ReadStream,
}

impl FileReader {
    pub(super) fn new(stream: ReadStream) -> Self {
        Self { stream }
    }

    /// The file as it was found. `length` is what will come, unless `size` is 0:
    /// then it is not known before (procfs).
    pub fn info(&self) -> &FileInfo {
        self.stream.info()
    }

    /// The next piece; None at the end. An error means that what came is not
    /// whole. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.stream.next().await?)
    }
}

/// A file on its way into the sandbox. Dropped without [`FileWriter::finish`],
/// the file is left as it was.
#[derive(Debug)]
pub struct FileWriter {
    stream: WriteStream,
}

impl FileWriter {
    pub(super) fn new(stream: WriteStream) -> Self {
        Self { stream }
    }

    /// Sends a piece of any size; waits while the guest is slower. Not safe to
    /// cancel: after that the writer is good for dropping only.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        Ok(self.stream.write(data).await?)
    }

    /// Publishes the file whole.
    pub async fn finish(self) -> Result<FileInfo> {
        Ok(self.stream.finish_file().await?)
    }
}
