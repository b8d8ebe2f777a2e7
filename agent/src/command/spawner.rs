//! The threads in which processes are born.
//!
//! A spawner thread lives in the workload's namespaces: what it clones is born
//! there. It is suspended while a child is on its way to execve(2), which is
//! why it is a thread of its own and the runtime never is.

use std::cell::Cell;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::sys::clone::{ChildStack, PidfdSlot};
use crate::sys::process::set_name;
use crate::sys::pty::Devpts;
use crate::sys::spawn::{Plan, SpawnError, Spawned, Step, spawn};

/// Two, so that one child stopped on its way to execve(2) does not stop all,
/// and so that two processors start processes at once.
const SPAWNERS: usize = 2;

/// A child that has not reached execve(2) so long after its birth is killed. It
/// is some hundred microseconds' work; a loaded machine may need a second.
const WATCHDOG: Duration = Duration::from_secs(10);

/// A start that takes so long is worth a look.
const STRANGE: Duration = Duration::from_secs(1);

/// How often a child that is slow to get to execve(2) is continued: processes of
/// the same user may stop it as soon as it is theirs.
const NUDGE: Duration = Duration::from_millis(20);

/// Spawners make system calls and hold a few lists of pointers.
const THREAD_STACK: usize = 128 << 10;

/// The namespaces of the workload, as descriptors of /proc/PID/ns.
#[derive(Debug)]
pub struct Namespaces {
    /// Entered in this order.
    pub fds: Vec<OwnedFd>,
}

struct Job {
    plan: Plan,
    slot: Arc<PidfdSlot>,
    done: oneshot::Sender<Result<Spawned, SpawnError>>,
}

/// The way to the spawner threads, each with a queue of its own: a queue in
/// common would wake them all for each job.
#[derive(Debug)]
pub(super) struct Spawner {
    threads: Vec<Thread>,
    /// Of the workload.
    devpts: Option<Devpts>,
    /// The agent has an oom_score_adj of its own, which is not for commands.
    reset_oom: bool,
    started: Cell<u64>,
    finished: Cell<u64>,
    done: Notify,
}

#[derive(Debug)]
struct Thread {
    jobs: mpsc::Sender<Job>,
    /// Given to it and not done yet.
    busy: Rc<Cell<usize>>,
}

/// How long an exit waits for other starts to be through; each takes less than
/// a millisecond, and longer on a loaded machine.
const SETTLE: Duration = Duration::from_millis(200);

/// One job in a thread's count.
struct Busy(Rc<Cell<usize>>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Spawner {
    /// Starts the threads and moves each into the workload's namespaces.
    pub(super) fn new(namespaces: Namespaces, reset_oom: bool) -> io::Result<Self> {
        let namespaces = Arc::new(namespaces);
        let proc_dir = Arc::new(File::open("/proc")?);
        let mut threads = Vec::new();
        let mut devpts = None;
        for _ in 0..SPAWNERS {
            let (jobs, queue) = mpsc::channel();
            let namespaces = Arc::clone(&namespaces);
            let proc_dir = Arc::clone(&proc_dir);
            let (ready, entered) = mpsc::channel();
            std::thread::Builder::new().stack_size(THREAD_STACK).spawn(move || {
                // A workload without a devpts has no terminals, and all the rest.
                let result = enter(&namespaces).map(|()| Devpts::open().ok());
                let failed = result.is_err();
                let _ = ready.send(result);
                if !failed {
                    serve(&queue, &proc_dir);
                }
            })?;
            devpts =
                entered.recv().map_err(|_| io::Error::other("a spawner died at its start"))??;
            threads.push(Thread { jobs, busy: Rc::default() });
        }
        let (started, finished) = <(Cell<u64>, Cell<u64>)>::default();
        Ok(Self { threads, devpts, reset_oom, started, finished, done: Notify::new() })
    }

    /// Waits until the starts that are under way now are through.
    ///
    /// A child on its way to execve(2) has a copy of every descriptor, also of
    /// the ends of other commands' pipes: until then nobody can tell whether a
    /// pipe is held by a descendant.
    pub(super) async fn settle(&self) {
        let until = self.started.get();
        let deadline = Instant::now() + SETTLE;
        while self.finished.get() < until {
            if tokio::time::timeout_at(deadline, self.done.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Where terminals come from that the workload can name.
    pub(super) fn devpts(&self) -> Option<&Devpts> {
        self.devpts.as_ref()
    }

    /// A start is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.finished.get() < self.started.get()
    }

    /// Starts a program and waits until it runs or has failed to. `stuck` is
    /// called when that takes strangely long.
    pub(super) async fn spawn(&self, plan: Plan, stuck: impl Fn()) -> Result<Spawned, SpawnError> {
        self.started.set(self.started.get() + 1);
        let result = self.hand_over(plan, stuck).await;
        self.finished.set(self.finished.get() + 1);
        self.done.notify_waiters();
        result
    }

    async fn hand_over(&self, mut plan: Plan, stuck: impl Fn()) -> Result<Spawned, SpawnError> {
        if self.reset_oom {
            plan.setup.oom_score_adj.get_or_insert(0);
        }
        let failed = |errno| SpawnError { step: Step::Clone, errno };
        let slot = Arc::new(PidfdSlot::default());
        let (done, mut result) = oneshot::channel();
        let job = Job { plan, slot: Arc::clone(&slot), done };
        let idlest = self.threads.iter().min_by_key(|t| t.busy.get());
        let thread = idlest.ok_or_else(|| failed(Errno::ESRCH))?;
        thread.busy.set(thread.busy.get() + 1);
        let _busy = Busy(Rc::clone(&thread.busy));
        thread.jobs.send(job).map_err(|_| failed(Errno::ESRCH))?;
        let begun = Instant::now();
        let (mut strange, mut born) = (begun + STRANGE, None);
        loop {
            match tokio::time::timeout(NUDGE, &mut result).await {
                Ok(Ok(result)) => return result,
                Ok(Err(_gone)) => return Err(failed(Errno::ESRCH)),
                Err(_late) => {}
            }
            // In the queue behind others it is nobody's fault yet.
            if slot.send(libc::SIGCONT).is_ok() {
                let born = *born.get_or_insert_with(Instant::now);
                if born.elapsed() >= WATCHDOG {
                    let _ = slot.send(libc::SIGKILL);
                }
            }
            if Instant::now() >= strange {
                strange = Instant::now() + STRANGE;
                stuck();
            }
        }
    }
}

/// Moves the calling thread into the workload's namespaces.
fn enter(namespaces: &Namespaces) -> io::Result<()> {
    const NAME: &CStr = c"spawner";
    set_name(NAME);
    // A signal that arrived here would be handled in the child's name, too.
    SigSet::all().thread_block()?;
    // Bounding sets are inherited: nobody that is born here can have it back.
    for capability in crate::sys::process::WITHHELD {
        crate::sys::process::drop_bounding(capability)?;
    }
    // setns(2) into a mount namespace wants a root and cwd of the thread's own.
    unshare(CloneFlags::CLONE_FS)?;
    for fd in &namespaces.fds {
        setns(fd, CloneFlags::empty())?;
    }
    Ok(())
}

fn serve(queue: &mpsc::Receiver<Job>, proc_dir: &File) {
    let mut stack = ChildStack::default();
    while let Ok(job) = queue.recv() {
        let result = spawn(&job.plan, &mut stack, &job.slot, proc_dir.as_fd());
        // The child's ends of the pipes first: whoever hears of the process may
        // look at once whether somebody still holds them.
        drop(job.plan);
        // A caller that went away: its process must not run unknown to all.
        if let Err(Ok(orphan)) = job.done.send(result) {
            let _ = crate::sys::pidfd::send_signal(&orphan.pidfd, libc::SIGKILL);
            let _ = crate::sys::pidfd::wait(&orphan.pidfd);
        }
    }
}

impl Namespaces {
    /// Those of a process that the agent can see.
    pub fn of(pid: i32, kinds: &[&str]) -> io::Result<Self> {
        let open = |kind: &&str| File::open(format!("/proc/{pid}/ns/{kind}")).map(OwnedFd::from);
        let fds = kinds.iter().map(open).collect::<io::Result<Vec<_>>>()?;
        debug_assert!(fds.iter().all(|fd| fd.as_raw_fd() > 2));
        Ok(Self { fds })
    }
}
