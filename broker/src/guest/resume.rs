//! `Resume`: what a guest cannot know after it, or its host, stood still.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use postern_proto::{Reply, Request, Resume};
use rand::Rng as _;

use super::client::{Guest, Policy, Retry};
use super::error::{Fault, GuestError};

/// How much fresh entropy goes with it: as much as the kernel's pool holds
/// (random(4)), so that clones of one snapshot part for good.
const ENTROPY: usize = 64;

/// The agent answers once the clock is set and the pool reseeded. Longer would
/// let a guest that hangs keep whoever resumes it.
const DEADLINE: Duration = Duration::from_secs(20);

impl Guest {
    /// Sets the guest's wall clock to the host's and mixes fresh entropy into
    /// its pool. Each call says what is true when it is sent.
    pub async fn resume(&self) -> Result<(), GuestError> {
        // Sent again it would set the clock to a time that is over; whoever asked asks anew.
        let policy = Policy { doing: "resuming", retry: Retry::Never, within: Some(DEADLINE) };
        // The link first: what waits for one is late.
        self.hello().await?;
        let mut entropy = [0; ENTROPY];
        rand::rng().fill_bytes(&mut entropy);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = Request::Resume(Resume {
            unix_us: u64::try_from(since.as_micros()).unwrap_or(0),
            entropy: Bytes::copy_from_slice(&entropy),
            configure: None,
        });
        match self.call(&request, policy).await? {
            Reply::Done => Ok(()),
            _ => Err(self.wrong(policy.doing, Fault::WrongReply("done"))),
        }
    }
}
