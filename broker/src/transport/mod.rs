//! How bytes reach an agent: a fresh connection per [`Dial::dial`].
//!
//! Every transport gives the same [`Stream`], so that nothing above pays for a
//! choice between them: a connected vsock socket and a connected Unix socket are
//! the same thing to `read(2)`, `write(2)` and `epoll(7)`.

mod hybrid;
mod target;
mod unix;
mod vsock;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use hybrid::Hybrid;
pub use target::AttachTarget;
pub use unix::Unix;
pub use vsock::Vsock;

/// A connected byte stream. The type's name is that of its first use; a vsock
/// socket is carried in it too (see [`Vsock`]).
pub type Stream = tokio::net::UnixStream;

/// The most that one dial may take. A listening agent answers in well under a
/// millisecond, a guest under load in some; past this it is not there, and the
/// caller's own backoff decides about the next try.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// Makes connections to one agent.
pub trait Dial: Debug + Send + Sync + 'static {
    /// One try, bounded by [`DIAL_DEADLINE`].
    fn dial(&self) -> BoxFuture<'_, Result<Stream, DialError>>;
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("dialling {target}: {doing}")]
pub struct DialError {
    /// Where to.
    pub target: String,
    /// The step that failed.
    pub doing: &'static str,
    /// Its cause.
    #[source]
    pub source: io::Error,
}

/// Bounds a dial and gives its failure the target's name.
async fn within<T: ToString>(
    target: T,
    doing: &'static str,
    dial: impl Future<Output = io::Result<Stream>>,
) -> Result<Stream, DialError> {
    let result = match tokio::time::timeout(DIAL_DEADLINE, dial).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    result.map_err(|source| DialError { target: target.to_string(), doing, source })
}
