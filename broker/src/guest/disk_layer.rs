//! A layer that the agent reads from a disk of its machine.

use postern_proto::{
    DecodeError, DiskLayer, LayerDone, StreamEnd, StreamEvent, StreamKind, StreamOpen, StreamReply,
};

use super::client::Guest;
use super::error::{Fault, GuestError};
use super::stream::{STALL, StreamConn};

const DOING: &str = "having a layer read from a disk";

impl Guest {
    /// Has the agent unpack a layer from a disk; `told` hears of the bytes that it
    /// has read. Each silence has a deadline, the whole has that of its caller.
    pub(crate) async fn apply_disk_layer(
        &self,
        layer: DiskLayer,
        mut told: impl FnMut(u64) + Send,
    ) -> Result<LayerDone, GuestError> {
        let size = layer.layer.size;
        let (mut conn, reply) =
            StreamConn::open(self, &StreamOpen::DiskLayer(layer), DOING).await?;
        if reply != StreamReply::Done {
            return Err(self.wrong(DOING, Fault::WrongReply("opening")));
        }
        let mut read = 0;
        loop {
            let frame = tokio::time::timeout(STALL, conn.next(DOING)).await;
            let stalled = GuestError::Deadline { doing: DOING, after: STALL };
            let frame = frame.map_err(|_| stalled).and_then(|frame| frame);
            let (header, payload) = frame.inspect_err(|e| self.count_fault(e))?;
            let decoded = |e: DecodeError| self.wrong(DOING, e.into());
            match header.kind {
                StreamKind::Message => match StreamEvent::decode(payload).map_err(decoded)? {
                    StreamEvent::LayerRead { bytes } if bytes > read && bytes <= size => {
                        read = bytes;
                        told(read);
                    }
                    StreamEvent::Unknown => {}
                    _ => return Err(self.wrong(DOING, Fault::WrongFrame("not of this layer"))),
                },
                StreamKind::End => {
                    return match StreamEnd::decode(payload).map_err(decoded)? {
                        StreamEnd::Layer(done) => Ok(done),
                        StreamEnd::Error(error) => Err(GuestError::Agent(error)),
                        _ => Err(self.wrong(DOING, Fault::WrongFrame("an end of another kind"))),
                    };
                }
                _ => return Err(self.wrong(DOING, Fault::WrongFrame("not data"))),
            }
        }
    }
}
