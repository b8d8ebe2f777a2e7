//! One agent for as long as its sandbox lives: keeps a link up, and calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use postern_proto::{Hello, Purpose, Reply, Request};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::error::{Fault, GuestError};
use super::hello::{HELLO_DEADLINE, greet};
use super::link::Link;
use crate::transport::Dial;

/// How long a call waits for a link that is down. Long enough for a redial
/// after a pause of the guest; a caller should hear of a dead one sooner than
/// its own client gives up.
pub(crate) const LINK_DEADLINE: Duration = Duration::from_secs(15);

/// How to make the first connection.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// How long the agent may take to be there.
    pub deadline: Duration,
    /// Fires when the agent says that it is ready (the doorbell). Nothing is
    /// dialled before, unless half of the deadline is over.
    pub hint: Option<Arc<Notify>>,
    /// Of two clients the one with the higher epoch wins; None: by the clock,
    /// so that the one that was started later does.
    pub epoch: Option<u64>,
}

/// The serving processes that were met in one guest, oldest first, by their
/// instance ids. The last is the one that serves.
pub type Instances = Arc<[String]>;

/// How many are remembered: commands of those before count as never known. Only
/// a guest that kills its agent for hours gets there.
const MAX_INSTANCES: usize = 64;

/// The client of one agent; cheap to clone. The last handle that goes ends the
/// owner task and with it the control connection.
#[derive(Debug, Clone)]
pub struct Guest {
    pub(super) inner: Arc<Inner>,
    /// Its end is how the owner task learns that nobody is left.
    _alive: Arc<watch::Sender<()>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dial: Arc<dyn Dial>,
    /// Of two brokers the later one wins; a client keeps its epoch over
    /// redials, so that one that was fenced does not fight its way back.
    pub(super) epoch: u64,
    pub(super) state: watch::Sender<LinkState>,
    pub(super) watchers: Arc<AtomicUsize>,
    faults: AtomicU64,
    /// How often the serving process inside was found to be another.
    restarts: AtomicU64,
    instances: watch::Sender<Instances>,
}

#[derive(Debug, Clone)]
pub(super) enum LinkState {
    Down,
    Up(Arc<Link>),
    /// For good, and why.
    Ended(Arc<str>),
    Fenced(postern_proto::Error),
}

/// What may be done again after the link broke under a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Nothing: it may have been done.
    Never,
    /// Sent again to the same serving process, which knows it by its id or offset.
    SameInstance,
}

/// How a call waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) doing: &'static str,
    pub(super) retry: Retry,
    /// None: as long as the link lives and answers pings.
    pub(super) within: Option<Duration>,
}

impl Guest {
    /// Dials until the agent answers or the deadline is over, and keeps the
    /// link up from then on.
    pub async fn connect(dial: Arc<dyn Dial>, options: ConnectOptions) -> Result<Self, GuestError> {
        let inner = Inner::new(dial, options.epoch.unwrap_or_else(now_us), Instances::default());
        let first = inner.first_link(&options).await?;
        Ok(Self::owned(inner, Some(first)))
    }

    /// The client of an agent that another broker has met before, as these
    /// instances. It is dialled from now on, for as long as anybody is interested;
    /// calls wait for the link as they do when it broke.
    pub fn adopt(dial: Arc<dyn Dial>, epoch: u64, instances: Instances) -> Self {
        Self::owned(Inner::new(dial, epoch, instances), None)
    }

    fn owned(inner: Arc<Inner>, first: Option<Running>) -> Self {
        let (alive, gone) = watch::channel(());
        tokio::spawn(own(inner.clone(), first, gone));
        Self { inner, _alive: Arc::new(alive) }
    }

    /// How often the agent broke the protocol.
    pub fn faults(&self) -> u64 {
        self.inner.faults.load(Ordering::Relaxed)
    }

    /// How often the serving process was found to be another one.
    pub fn restarts(&self) -> u64 {
        self.inner.restarts.load(Ordering::Relaxed)
    }

    /// The serving processes that were met; changes when another one is.
    pub fn instances(&self) -> watch::Receiver<Instances> {
        self.inner.instances.subscribe()
    }

    /// The sandbox is over: every wait ends with this reason, nothing is dialled again.
    pub fn end(&self, reason: &str) {
        self.inner.state.send_replace(LinkState::Ended(reason.into()));
    }

    /// The boot and instance of the agent as it was last greeted.
    pub async fn hello(&self) -> Result<Hello, GuestError> {
        Ok(self.link(Instant::now() + LINK_DEADLINE).await?.hello.clone())
    }

    pub(super) fn count_fault(&self, error: &GuestError) {
        self.inner.count_fault(error);
    }

    /// The link, waiting for one while it is down.
    pub(super) async fn link(&self, deadline: Instant) -> Result<Arc<Link>, GuestError> {
        if let Some(link) = usable(&self.inner.state.borrow())? {
            return Ok(link);
        }
        let begun = Instant::now();
        let mut states = self.inner.state.subscribe();
        let up = async {
            loop {
                if let Some(link) = usable(&states.borrow_and_update())? {
                    return Ok(link);
                }
                if states.changed().await.is_err() {
                    return Err(GuestError::Ended("the client is gone".to_owned()));
                }
            }
        };
        tokio::time::timeout_at(deadline, up).await.unwrap_or_else(|_| {
            Err(GuestError::Deadline { doing: "waiting for a link", after: begun.elapsed() })
        })
    }

    pub(super) async fn call(
        &self,
        request: &Request,
        policy: Policy,
    ) -> Result<Reply, GuestError> {
        self.call_by(request, policy, None).await
    }

    /// A call that only this serving process may answer.
    pub(super) async fn call_by(
        &self,
        request: &Request,
        policy: Policy,
        mut instance: Option<String>,
    ) -> Result<Reply, GuestError> {
        let deadline = policy.within.map(|within| Instant::now() + within);
        loop {
            let link_by = Instant::now() + LINK_DEADLINE;
            let link = self.link(deadline.map_or(link_by, |at| at.min(link_by))).await?;
            if instance.as_ref().is_some_and(|first| *first != link.hello.instance_id) {
                return Err(GuestError::Restarted);
            }
            match link.call(request, deadline, policy.doing).await {
                Ok(Reply::Error(error)) => return Err(GuestError::Agent(error)),
                Ok(reply) => return Ok(reply),
                Err(e) if e.is_link_trouble() && policy.retry == Retry::SameInstance => {
                    tracing::debug!(doing = policy.doing, error = %e, "asking again on a new link");
                    instance.get_or_insert_with(|| link.hello.instance_id.clone());
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// A reply that makes no sense: counted, its link closed, and told to the caller.
    pub(super) fn wrong(&self, doing: &'static str, fault: Fault) -> GuestError {
        let error = GuestError::fault(doing, fault);
        self.count_fault(&error);
        if let LinkState::Up(link) = &*self.inner.state.borrow() {
            link.distrust();
        }
        error
    }
}

/// The link of a state, if it can be used; an error if there will be none.
fn usable(state: &LinkState) -> Result<Option<Arc<Link>>, GuestError> {
    match state {
        LinkState::Up(link) if !link.is_over() => Ok(Some(link.clone())),
        LinkState::Up(_) | LinkState::Down => Ok(None),
        LinkState::Ended(reason) => Err(GuestError::Ended(reason.to_string())),
        LinkState::Fenced(refusal) => Err(GuestError::Fenced(refusal.clone())),
    }
}

/// One attempt at a sandbox that is coming up: a connection that was made before
/// the guest listened may never be answered, and the doorbell may be missed.
const FIRST_ATTEMPT: Duration = Duration::from_secs(5);

type Running = (Arc<Link>, std::pin::Pin<Box<dyn Future<Output = GuestError> + Send>>);

impl Inner {
    fn new(dial: Arc<dyn Dial>, epoch: u64, instances: Instances) -> Arc<Self> {
        Arc::new(Self {
            dial,
            epoch,
            state: watch::Sender::new(LinkState::Down),
            watchers: Arc::default(),
            faults: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            instances: watch::Sender::new(instances),
        })
    }

    /// Notes who answered a greeting.
    fn met(&self, instance: &str) {
        let before = self.instances.borrow().clone();
        if before.last().is_some_and(|last| last == instance) {
            return;
        }
        if !before.is_empty() {
            self.restarts.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the agent was started anew; its commands of before are lost");
        }
        let from = before.len().saturating_sub(MAX_INSTANCES - 1);
        let all = before[from..].iter().cloned().chain([instance.to_owned()]);
        self.instances.send_replace(all.collect());
    }

    async fn open_link(&self) -> Result<Running, GuestError> {
        let mut stream = self.dial.dial().await.map_err(GuestError::Dial)?;
        let mut rest = BytesMut::new();
        let greeting = greet(&mut stream, Purpose::Control, self.epoch, |_| Ok(()), &mut rest);
        let hello = tokio::time::timeout(HELLO_DEADLINE, greeting)
            .await
            .map_err(|_| GuestError::Deadline { doing: "greeting", after: HELLO_DEADLINE })??;
        let (link, run) = Link::new(stream, hello, rest, self.watchers.clone());
        Ok((link, Box::pin(run)))
    }

    async fn first_link(&self, options: &ConnectOptions) -> Result<Running, GuestError> {
        let begun = Instant::now();
        let end = begun + options.deadline;
        let mut backoff = Backoff::booting();
        // vhost-device-vsock (0.3) stops for good when a connection meets a
        // guest that is setting up its queues; one that has rung is past that.
        let patience = begun + options.deadline / 2;
        if options.hint.is_some()
            && tokio::time::timeout_at(patience, rung(options.hint.as_deref())).await.is_err()
        {
            tracing::warn!("the guest did not say that it is ready; trying all the same");
        }
        loop {
            let give_up = end.min(Instant::now() + FIRST_ATTEMPT);
            let tried = tokio::select! {
                tried = tokio::time::timeout_at(give_up, self.open_link()) => tried,
                // A dial from before the guest was up may hang for good in the
                // device; the doorbell says that a new one will not.
                () = rung(options.hint.as_deref()) => continue,
            };
            let trouble = match tried {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(fenced @ GuestError::Fenced(_))) => return Err(fenced),
                Ok(Err(trouble)) => trouble,
                // Lost in the device, most likely: the next one need not be.
                Err(_) if Instant::now() < end => continue,
                Err(_) => {
                    let after = begun.elapsed();
                    return Err(GuestError::Deadline {
                        doing: "waiting for its first answer",
                        after,
                    });
                }
            };
            self.count_fault(&trouble);
            let step = backoff.step();
            if Instant::now() + step >= end {
                return Err(trouble);
            }
            // A hint and no proof: without it the next step comes anyway.
            let _ = tokio::time::timeout(step, rung(options.hint.as_deref())).await;
        }
    }

    fn count_fault(&self, error: &GuestError) {
        if let GuestError::Fault { doing, source } = error {
            self.faults.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(doing, fault = %source, "the agent broke the protocol");
        }
    }

    /// Publishes a state unless the sandbox has ended.
    fn publish(&self, new: LinkState) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, LinkState::Ended(_));
            if open {
                *state = new;
            }
            open
        });
    }
}

async fn rung(doorbell: Option<&Notify>) {
    match doorbell {
        Some(doorbell) => doorbell.notified().await,
        None => std::future::pending().await,
    }
}

/// The owner task: runs one link after the other until the sandbox has ended or
/// nobody is left who could ask.
async fn own(inner: Arc<Inner>, mut next: Option<Running>, mut gone: watch::Receiver<()>) {
    let mut ended = inner.state.subscribe();
    loop {
        let (link, run) = match next.take() {
            Some(first) => first,
            None => {
                let redialled = tokio::select! {
                    redialled = redial(&inner) => redialled,
                    _ = gone.changed() => return,
                    _ = ended.wait_for(|state| matches!(state, LinkState::Ended(_))) => return,
                };
                match redialled {
                    Ok(link) => link,
                    Err(refusal) => {
                        tracing::warn!(%refusal, "another broker has taken the session over");
                        inner.publish(LinkState::Fenced(refusal));
                        return;
                    }
                }
            }
        };
        inner.met(&link.hello.instance_id);
        inner.publish(LinkState::Up(link));
        let why = tokio::select! {
            why = run => why,
            _ = gone.changed() => return,
            _ = ended.wait_for(|state| matches!(state, LinkState::Ended(_))) => return,
        };
        inner.count_fault(&why);
        tracing::debug!(error = %why, "the control link is down");
        inner.publish(LinkState::Down);
    }
}

/// Without an end of its own: whoever owns the sandbox ends it, and each caller
/// has a deadline.
async fn redial(inner: &Inner) -> Result<Running, postern_proto::Error> {
    let mut backoff = Backoff::broken_link();
    loop {
        match inner.open_link().await {
            Ok(link) => return Ok(link),
            Err(GuestError::Fenced(refusal)) => return Err(refusal),
            Err(error) => inner.count_fault(&error),
        }
        tokio::time::sleep(backoff.step()).await;
    }
}

/// Microseconds of the wall clock: a broker that is started later has more.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
