//! Layers to the guest, in order, and several on their way at once.

use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt, stream};
use postern_proto::limits::{LAYERS_AT_ONCE, MAX_STREAM_DATA};
use postern_proto::{Layer, LayerDone};
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;

use super::{ImageError, Layout, Progress, ProgressSender};
use crate::guest::{Guest, WriteStream};

/// Sends every layer in order and makes the root of them. A layer is sent while
/// those before it are still being unpacked.
pub(crate) async fn send(
    layout: &Layout,
    guest: &Guest,
    progress: Option<&ProgressSender>,
) -> Result<(), ImageError> {
    send_layers(layout, guest, progress).await?;
    commit(layout, guest, progress).await
}

/// Makes the root of what is there already.
pub(crate) async fn adopt_root(
    layout: &Layout,
    guest: &Guest,
    progress: Option<&ProgressSender>,
) -> Result<(), ImageError> {
    guest.prepare_image(0).await?;
    commit(layout, guest, progress).await
}

async fn commit(
    layout: &Layout,
    guest: &Guest,
    progress: Option<&ProgressSender>,
) -> Result<(), ImageError> {
    if let Some(progress) = progress {
        progress.send_replace(Progress::Committing);
    }
    Ok(guest.commit_image(layout.config.clone()).await?)
}

/// Likewise, and no root is made of them. Gives what they came to.
pub(crate) async fn send_layers(
    layout: &Layout,
    guest: &Guest,
    progress: Option<&ProgressSender>,
) -> Result<LayerDone, ImageError> {
    let told = Told { sent: 0, total: layout.total(), progress };
    told.tell();
    // Whoever sends has it: one line is filled by one sender, and a guest that
    // unpacks an earlier layer is not kept from it by a later one.
    let told = Mutex::new(told);
    guest.prepare_image(u32::try_from(layout.layers.len()).unwrap_or(u32::MAX)).await?;
    let mut layers = Vec::new();
    for layer in &layout.layers {
        layers.push(send_layer(layout, layer, guest, &told));
    }
    // In their order, also the errors: the first is the one that the others follow from.
    let done = stream::iter(layers).buffered(LAYERS_AT_ONCE as usize);
    let sum = |all: LayerDone, one: LayerDone| async move {
        Ok(LayerDone {
            entries: all.entries + one.entries,
            bytes: all.bytes + one.bytes,
            xattrs_skipped: all.xattrs_skipped + one.xattrs_skipped,
        })
    };
    done.try_fold(LayerDone::default(), sum).await
}

async fn send_layer(
    layout: &Layout,
    layer: &Layer,
    guest: &Guest,
    told: &Mutex<Told<'_>>,
) -> Result<LayerDone, ImageError> {
    let mut told = told.lock().await;
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
    drop(told);
    let done = stream.finish_layer().await?;
    let (entries, bytes) = (done.entries, done.bytes);
    tracing::debug!(layer = layer.index, entries, bytes, "layer applied");
    Ok(done)
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
