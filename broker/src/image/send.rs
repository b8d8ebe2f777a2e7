//! Layers to the guest, one after the other.

use bytes::BytesMut;
use postern_proto::limits::MAX_STREAM_DATA;
use tokio::io::AsyncReadExt;

use super::{ImageError, Layout, Progress, ProgressSender};
use crate::guest::{Guest, WriteStream};

/// Sends every layer in order and makes the root of them.
pub(crate) async fn send(
    layout: &Layout,
    guest: &Guest,
    progress: Option<&ProgressSender>,
) -> Result<(), ImageError> {
    let mut told = Told { sent: 0, total: layout.total(), progress };
    told.tell();
    guest.prepare_image(u32::try_from(layout.layers.len()).unwrap_or(u32::MAX)).await?;
    for layer in &layout.layers {
        let mut blob = layout.blob(layer).await?;
        let mut stream = WriteStream::open_layer(guest.clone(), layer.clone()).await?;
        // One byte over what the manifest names would show that it grew.
        let mut left = layer.size;
        while left > 0 {
            let mut piece = BytesMut::with_capacity(MAX_STREAM_DATA);
            let read = blob.read_buf(&mut piece).await.map_err(|source| ImageError::Io {
                doing: "reading the layer",
                path: layer.digest.clone().into(),
                source,
            })?;
            if read == 0 || read as u64 > left {
                return Err(ImageError::malformed(&layer.digest, "changed while it was read"));
            }
            left -= read as u64;
            stream.write(piece.freeze()).await?;
            told.sent += read as u64;
            told.tell();
        }
        let done = stream.finish_layer().await?;
        tracing::debug!(
            layer = layer.index,
            entries = done.entries,
            bytes = done.bytes,
            "layer applied"
        );
    }
    if let Some(progress) = progress {
        progress.send_replace(Progress::Committing);
    }
    Ok(guest.commit_image(layout.config.clone()).await?)
}

struct Told<'a> {
    sent: u64,
    total: u64,
    progress: Option<&'a ProgressSender>,
}

impl Told<'_> {
    fn tell(&self) {
        if let Some(progress) = self.progress {
            progress.send_replace(Progress::Image { sent: self.sent, total: self.total });
        }
    }
}
