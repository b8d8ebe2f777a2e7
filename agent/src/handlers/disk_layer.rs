//! `DiskLayer`: one image layer, unpacked from a block device of the host's.

use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use postern_proto::{DiskLayer, StreamEnd, StreamEvent, StreamReply};

use crate::guest::State;
use crate::image::DeviceBlob;
use crate::link::{Conn, ConnError, Transfer};

/// The host is told of each so many bytes: often enough for somebody who watches,
/// and for a host that would take silence for a guest that hangs.
const TELL_EVERY: u64 = 1 << 20;

pub(super) fn serve(conn: Conn, asked: DiskLayer, state: &Rc<State>) -> Result<(), ConnError> {
    let images = Arc::clone(&state.images);
    Transfer::spawn(conn, move |mut stream| {
        let blob = match DeviceBlob::open(&asked) {
            Ok(blob) => blob,
            Err(error) => return stream.reply(&StreamReply::Error(error)),
        };
        stream.reply(&StreamReply::Done)?;
        let mut told = Told { blob, stream: &mut stream, read: 0, said: 0 };
        let end = match images.apply(&asked.layer, &mut told) {
            Ok(done) => StreamEnd::Layer(done),
            Err(error) => StreamEnd::Error(error),
        };
        stream.finish(&end)
    })
}

/// Tells the host how far it is; a host that is gone ends the reading.
struct Told<'a> {
    blob: DeviceBlob,
    stream: &'a mut Transfer,
    read: u64,
    said: u64,
}

impl Read for Told<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.blob.read(into)?;
        self.read += read as u64;
        if self.read - self.said >= TELL_EVERY {
            self.said = self.read;
            self.stream.tell(&StreamEvent::LayerRead { bytes: self.read })?;
        }
        Ok(read)
    }
}
