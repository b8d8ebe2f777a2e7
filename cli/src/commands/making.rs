//! Sessions that are made for one command or one shell.

use std::time::Duration;

use super::request;
use crate::args::SessionOptions;
use crate::client::Client;
use crate::client::types::Session;
use crate::error::Error;
use crate::progress::Making;
use crate::signals::Signals;

/// For the daemon to have read that the session is to end; it goes on by itself.
const HAND_OVER: Duration = Duration::from_millis(150);

/// A new session; a signal ends the making of it.
pub(super) async fn session(
    client: &Client,
    image: Option<&str>,
    options: &SessionOptions,
    signals: &mut Signals,
) -> Result<Session, Error> {
    let mut making = Making::new(image);
    // The session's environment is left alone: -e is for the command.
    let body = request::session(image, options, &[]);
    tokio::select! {
        // Dropping the call ends what the broker had begun to make.
        signal = signals.asked_to_end() => Err(Error::Interrupted { signal }),
        made = client.create_session(&body, |step| making.show(step)) => made,
    }
}

/// Asks for the session's end and waits only until that is surely sent. An
/// embedded broker needs no asking: it ends with this process.
pub(super) async fn hand_over(client: &Client, session: &str) {
    let ending = client.delete_session(session, true);
    if let Ok(Err(error)) = tokio::time::timeout(HAND_OVER, ending).await {
        error.print();
    }
}

pub(super) fn keep_needs_a_daemon() -> Error {
    Error::Usage {
        message: "--keep needs a daemon: the broker of this call ends with it".to_owned(),
        hint: Some("start one with `postern serve --allow-anonymous`"),
    }
}
