//! Making a link, and making it anew after it broke.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::link::{self, DOING};
use super::{Attach, Stdin};
use crate::client::socket::Socket;
use crate::client::{Client, segment};
use crate::error::Error;

/// A broken link is made anew for this long: less than the grace that the agent's
/// hold on the output has (30 s), so that nothing is lost.
pub(super) const REJOIN: Duration = Duration::from_secs(25);

/// Between two tries.
const REJOIN_PAUSE: Duration = Duration::from_millis(200);

/// How long it has been broken, over all links that brought nothing.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    last: Option<Error>,
}

impl Dialer {
    /// A link broke; after one that was of use the time begins anew.
    pub(super) fn broken(&mut self, error: Error, was_of_use: bool) {
        let since = match &self.trouble {
            Some(trouble) if !was_of_use => trouble.since,
            _ => Instant::now(),
        };
        self.trouble = Some(Trouble { since, last: Some(error) });
    }

    /// A socket; while the link is at fault it is tried again, for a while.
    pub(super) async fn dial(&mut self, client: &Client, path: &str) -> Result<Socket, Error> {
        let first = self.trouble.is_none();
        let trouble =
            self.trouble.get_or_insert_with(|| Trouble { since: Instant::now(), last: None });
        if !first {
            sleep(REJOIN_PAUSE).await;
        }
        loop {
            if trouble.since.elapsed() > REJOIN
                && let Some(error) = trouble.last.take()
            {
                return Err(error);
            }
            match client.websocket(DOING, path).await {
                Ok(socket) => return Ok(socket),
                Err(error) if link::may_pass(&error) => {
                    trouble.last = Some(error);
                }
                Err(error) => return Err(error),
            }
            sleep(REJOIN_PAUSE).await;
        }
    }
}

/// What is asked of the broker: this command's output from an offset, and whose
/// first byte of stdin comes at which.
pub(super) fn path(what: &Attach, from: Option<u64>, stdin_from: Option<u64>) -> String {
    let (session, command) = (segment(&what.session), segment(&what.command));
    let mut path = format!("/v1/sessions/{session}/pty?command_id={command}");
    // Writing to a string cannot fail.
    if let Some(from) = from {
        let _ = write!(path, "&from={from}");
    }
    match (what.stdin, stdin_from) {
        // Whose command it is may still give its terminal another size.
        (Stdin::Nothing, _) if !what.ours => path.push_str("&viewer=true"),
        (Stdin::Nothing, _) => {}
        (_, Some(offset)) => _ = write!(path, "&stdin_from={offset}"),
        (_, None) => {}
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Target;
    use crate::terminal::keys::DetachKeys;

    fn error() -> Error {
        Error::Late { doing: String::new(), seconds: 1 }
    }

    #[test]
    fn the_request_says_where_both_ways_go_on() {
        let mut what = Attach {
            client: Client::new(Target::Tcp("127.0.0.1:1".to_owned()), None),
            session: "sess_1".to_owned(),
            command: "cmd/2".to_owned(),
            from: None,
            stdin: Stdin::FromNow,
            detach_keys: DetachKeys::none(),
            ours: false,
        };
        let at = |what: &Attach, from, stdin| path(what, from, stdin);
        assert_eq!(at(&what, None, None), "/v1/sessions/sess%5F1/pty?command_id=cmd%2F2");
        assert!(at(&what, Some(7), Some(3)).ends_with("&from=7&stdin_from=3"));
        what.stdin = Stdin::Nothing;
        assert!(at(&what, Some(0), None).ends_with("&from=0&viewer=true"));
        what.ours = true;
        assert!(at(&what, Some(0), None).ends_with("&from=0"));
    }

    #[tokio::test(start_paused = true)]
    async fn links_that_bring_nothing_share_one_deadline() {
        let mut dialer = Dialer::default();
        dialer.broken(error(), false);
        let since = dialer.trouble.as_ref().unwrap().since;
        tokio::time::advance(Duration::from_secs(5)).await;
        dialer.broken(error(), false);
        assert_eq!(dialer.trouble.as_ref().unwrap().since, since);
        dialer.broken(error(), true);
        assert_eq!(dialer.trouble.as_ref().unwrap().since, since + Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_stays_away_is_given_up() {
        // Nobody listens on port 1 of loopback.
        let client = Client::new(Target::Tcp("127.0.0.1:1".to_owned()), None);
        let mut dialer = Dialer::default();
        dialer.broken(error(), true);
        let begun = Instant::now();
        let given_up = dialer.dial(&client, "/v1/sessions/s/pty?command_id=c").await;
        assert!(matches!(given_up, Err(Error::Unreachable { .. })), "{given_up:?}");
        assert!(begun.elapsed() >= REJOIN);
        assert_eq!(given_up.err().map(|e| e.exit_code()), Some(125));
    }
}
