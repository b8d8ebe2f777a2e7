//! WebSockets: an HTTP request that becomes one. What the broker refuses before
//! that is an error like any other.

use hyper::Method;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{Client, SHORT, empty};
use crate::error::Error;

/// A WebSocket to the broker.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The largest message: output comes in far smaller ones, and a broker that
/// sends more is none.
const MAX_MESSAGE: usize = 4 << 20;

const KEY: &str = "Sec-WebSocket-Key";
const ACCEPT: &str = "Sec-WebSocket-Accept";
const VERSION: &str = "Sec-WebSocket-Version";

impl Client {
    pub(crate) async fn websocket(&self, doing: &str, path: &str) -> Result<Socket, Error> {
        let key = generate_key();
        let request = self
            .request(Method::GET, path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(VERSION, "13")
            .header(KEY, &key)
            .body(empty());
        let response = self.send(doing, request, SHORT).await?;
        let accepted = response.headers().get(ACCEPT).map(|value| value.as_bytes().to_vec());
        if accepted.as_deref() != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            let what = format!("status {} instead of a WebSocket", response.status());
            return Err(Error::Answer { doing: doing.to_owned(), what });
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|e| Error::Http { doing: doing.to_owned(), source: e.into() })?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Ok(Socket::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await)
    }
}
