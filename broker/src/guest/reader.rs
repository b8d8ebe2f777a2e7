//! One lossless reader, as the agent knows it: a process waits for it, however many
//! connections it reads over.

use std::time::Duration;

use postern_proto::Follow;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::Guest;

/// How long a reader's leaving is told again to an agent that does not answer. Each
/// try waits for the link by itself.
const LEAVE_DEADLINE: Duration = Duration::from_secs(600);

/// Says on the control link that there is no reader any more, until it is answered.
/// Its stream says so too, but one that was cut while the agent waited to write is
/// not always told to the agent (vhost-device-vsock).
///
/// Made before the first connection: an agent whose answer was lost waits already.
/// Dropped, the reader has vanished, and its hold has the agent's grace from then.
#[derive(Debug)]
pub(super) struct Reader {
    guest: Guest,
    command_id: String,
    number: u64,
    /// The agent knows that there is no reader any more, or of none.
    parted: bool,
}

impl Reader {
    /// Gives the request its reader's number.
    pub(super) fn of(guest: &Guest, request: &mut Follow) -> Self {
        request.reader = rand::random_range(1..=u64::MAX);
        Self {
            guest: guest.clone(),
            command_id: request.command_id.clone(),
            number: request.reader,
            parted: !request.lossless,
        }
    }

    /// The agent knows: nothing is to be said.
    pub(super) fn is_known_to_be_gone(&mut self) {
        self.parted = true;
    }

    /// Leaves on purpose: the hold is lifted at once.
    pub(super) fn leave(&mut self) {
        self.part(true);
    }

    fn part(&mut self, for_good: bool) {
        if std::mem::replace(&mut self.parted, true) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (guest, command_id) = (self.guest.clone(), std::mem::take(&mut self.command_id));
        let number = self.number;
        runtime.spawn(async move { tell(&guest, &command_id, number, for_good).await });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.part(false);
    }
}

/// Until the agent has answered, whatever it did: one that knows neither request nor
/// command has no hold either.
async fn tell(guest: &Guest, command_id: &str, number: u64, for_good: bool) {
    let until = Instant::now() + LEAVE_DEADLINE;
    let mut backoff = Backoff::broken_link();
    while let Err(error) = guest.leave_output(command_id, number, for_good).await {
        let again = error.is_link_trouble() || error.is_silence();
        if !again || Instant::now() >= until {
            tracing::debug!(%error, "the agent was not told that a reader left");
            return;
        }
        tokio::time::sleep(backoff.step()).await;
    }
}
