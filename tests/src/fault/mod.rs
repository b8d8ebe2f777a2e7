//! A bad link: a proxy on a Unix socket between a broker and an agent that,
//! driven by a seed, delays, splits, cuts, half-opens, refuses dials and lets an
//! end overtake bytes that were sent before it.
//!
//! ```text
//! broker ── socket of the proxy ══ faults ══ socket of the agent (or of the VMM)
//! ```
//!
//! It knows no protocol: faults come at bytes. Times that it lets go by are part
//! of the faults and win no race. The n-th connection of a seed has always the
//! same fate ([`plan`]); what it carries depends on who comes when.

pub mod plan;
mod relay;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, sleep_until};

pub use plan::Weather;
use plan::{Plan, Refusal};

/// The proxy. Dropped, it cuts every connection.
#[derive(Debug)]
pub struct FaultProxy {
    path: PathBuf,
    shared: Arc<Shared>,
    // Its end ends every task at once.
    runtime: Option<Runtime>,
}

/// How often something was done.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections carried.
    pub connections: AtomicU64,
    /// Dials that failed.
    pub refused: AtomicU64,
    /// Times in which writes were split.
    pub splits: AtomicU64,
    /// Pauses of one direction.
    pub stalls: AtomicU64,
    /// Directions that fell silent until the end.
    pub half_open: AtomicU64,
    /// Connections cut at a byte.
    pub cuts: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    upstream: PathBuf,
    seed: u64,
    weather: Weather,
    calm: AtomicBool,
    tally: Tally,
    /// The connection whose end comes first, and until when the others wait.
    ahead: Mutex<Option<(u64, Instant)>>,
}

impl FaultProxy {
    /// Listens at `path` for what is to go to `upstream`.
    pub fn start(path: &Path, upstream: &Path, seed: u64, weather: Weather) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fault-proxy")
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _in_it = runtime.enter();
            UnixListener::bind(path).unwrap()
        };
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            seed,
            weather,
            calm: AtomicBool::new(false),
            tally: Tally::default(),
            ahead: Mutex::default(),
        });
        runtime.spawn(accept(listener, path.to_owned(), Arc::clone(&shared)));
        Self { path: path.to_owned(), shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// What it has done.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// From now on nothing goes wrong.
    pub fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::Relaxed);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: UnixListener, path: PathBuf, shared: Arc<Shared>) {
    let mut closed_until = Instant::now();
    for number in 0.. {
        let Ok((host, _)) = listener.accept().await else { return };
        let plan = Plan::draw(shared.seed, number, shared.weather);
        if shared.is_calm() {
            closed_until = Instant::now();
        } else if let Some((refusal, time)) = plan.refused {
            closed_until = Instant::now() + time;
            if refusal == Refusal::Gone {
                drop(host);
                shared.tally.refused.fetch_add(1, Ordering::Relaxed);
                // Nobody can be told of a failure; the scenario sees that nothing comes.
                let _ = away(&path, time).await;
                continue;
            }
        }
        if Instant::now() < closed_until {
            shared.tally.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        shared.tally.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // An agent that is not there: the host sees its connection end.
            let Ok(agent) = UnixStream::connect(&shared.upstream).await else { return };
            relay::relay(shared, number, plan, host, agent).await;
        });
    }
}

/// Takes the socket's name away for a while.
async fn away(path: &Path, time: Duration) -> io::Result<()> {
    let hidden = path.with_extension("away");
    std::fs::rename(path, &hidden)?;
    sleep(time).await;
    std::fs::rename(&hidden, path)
}

impl Shared {
    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn hold_others(&self, number: u64, time: Duration) {
        let until = Instant::now() + time;
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, until));
    }

    async fn wait_for_others(&self, number: u64) {
        let ahead = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, until)) = ahead
            && first != number
        {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests;
