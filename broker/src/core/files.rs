//! Files of a session, in and out.

use bytes::Bytes;
use postern_proto::FileInfo;

use super::Result;

/// A file on its way out of the sandbox.
#[derive(Debug)]
pub struct FileReader {}

impl FileReader {
    /// The file as it was found; `length` is what will come, or 0 where the
    /// size is not known (procfs).
    pub fn info(&self) -> &FileInfo {
        todo!()
    }

    /// The next piece; None at the end. An error means that what came is not whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        todo!()
    }
}

/// A file on its way into the sandbox. Dropped without [`FileWriter::finish`],
/// the file is left as it was.
#[derive(Debug)]
pub struct FileWriter {}

impl FileWriter {
    /// Sends a piece of any size; waits while the guest is slower.
    pub async fn write(&mut self, _data: Bytes) -> Result<()> {
        todo!()
    }

    /// Publishes the file whole.
    pub async fn finish(self) -> Result<FileInfo> {
        todo!()
    }
}
