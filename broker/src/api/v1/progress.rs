//! Answers that tell how far their work is: `progress` events, then one that ends
//! it, `error` or the event of its result.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::error::ApiError;
use crate::api::sse::Encoder;
use crate::core::{Progress, ProgressSender};

/// While nothing changes, a comment keeps proxies from cutting the line.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Steps of progress come no faster: an image in pieces of a quarter MiB would
/// make hundreds of events that nobody can see.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Whether the caller asks for events.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// The work is a part of the answer's body: a client that goes away drops it,
/// and with it what had begun. `name` is the event of its result.
pub(super) fn answer<F>(name: &'static str, work: impl FnOnce(ProgressSender) -> F) -> Response
where
    F: Future<Output = crate::core::Result<Value>> + Send + 'static,
{
    let (sender, progress) = watch::channel(Progress::default());
    let work = Box::pin(work(sender));
    let working = Working { name, work, progress, watching: true, told: None, done: false };
    let events = stream::unfold(working, |mut working| async move {
        let piece = working.next().await?;
        Some((Ok::<_, Infallible>(piece), working))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(events)).into_response()
}

/// Where the work stands, for the event stream.
struct Working {
    name: &'static str,
    work: BoxFuture<'static, crate::core::Result<Value>>,
    progress: watch::Receiver<Progress>,
    watching: bool,
    told: Option<Instant>,
    done: bool,
}

impl Working {
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut encoder = Encoder::default();
        tokio::select! {
            // The end before the last step of progress: nobody waits for that.
            biased;
            done = &mut self.work => {
                self.done = true;
                match done {
                    Ok(result) => encoder.event(self.name, None, result),
                    Err(error) => {
                        let error = ApiError::from(error);
                        encoder.event("error", None, Value::Object(error.to_json()));
                    }
                }
            }
            changed = next_step(&mut self.progress, self.told), if self.watching => match changed {
                Ok(()) => {
                    self.told = Some(Instant::now());
                    let step = self.progress.borrow_and_update().clone();
                    encoder.event("progress", None, view(&step));
                }
                Err(_) => {
                    self.watching = false;
                    encoder.heartbeat();
                }
            },
            () = tokio::time::sleep(HEARTBEAT) => encoder.heartbeat(),
        }
        Some(encoder.take())
    }
}

/// The next step, a pause after the one that was told. The last one wins.
async fn next_step(
    progress: &mut watch::Receiver<Progress>,
    told: Option<Instant>,
) -> Result<(), watch::error::RecvError> {
    if let Some(told) = told {
        tokio::time::sleep_until(told + PROGRESS_PAUSE).await;
    }
    progress.changed().await
}

fn view(step: &Progress) -> Value {
    match step {
        Progress::Pulling(layers) => {
            let sum = |of: fn(&crate::core::LayerProgress) -> u64| {
                layers.iter().map(of).fold(0, u64::saturating_add)
            };
            let views = layers.iter().map(
                |layer| json!({"digest": layer.digest, "have": layer.have, "size": layer.size}),
            );
            let layers: Value = views.collect();
            json!({
                "stage": "pulling",
                "have": sum(|layer| layer.have),
                "total": sum(|layer| layer.size),
                "layers": layers,
            })
        }
        Progress::Booting => json!({"stage": "booting"}),
        Progress::Image { sent, total } => json!({"stage": "image", "sent": sent, "total": total}),
        Progress::Committing => json!({"stage": "committing"}),
        Progress::Ready => json!({"stage": "ready"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::LayerProgress;

    #[test]
    fn a_pull_is_told_by_layer() {
        let layer = |digest: &str, have, size| LayerProgress { digest: digest.into(), have, size };
        let step = Progress::Pulling([layer("a", 1, 5), layer("b", 2, u64::MAX)].into());
        let view = view(&step);
        assert_eq!((&view["stage"], &view["have"]), (&json!("pulling"), &json!(3)));
        assert_eq!(view["total"], json!(u64::MAX));
        assert_eq!(view["layers"][1], json!({"digest": "b", "have": 2, "size": u64::MAX}));
    }
}
