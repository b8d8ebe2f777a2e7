//! The threads in which processes are born.
//!
//! A spawner thread lives in the workload's namespaces: what it clones is born
//! there. It is suspended while a child is on its way to execve(2), which is
//! why it is a thread of its own and the runtime never is.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;
use tokio::sync::oneshot;

use crate::sys::clone::{ChildStack, PidfdSlot};
use crate::sys::process::set_name;
use crate::sys::spawn::{Plan, SpawnError, Spawned, Step, spawn};

/// Two, so that one child stopped on its way to execve(2) does not stop all,
/// and so that two processors start processes at once.
const SPAWNERS: usize = 2;

/// A child that has not reached execve(2) after this is killed. It is some
/// hundred microseconds' work; a loaded machine may need a second.
const WATCHDOG: Duration = Duration::from_secs(10);

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

/// The way to the spawner threads.
#[derive(Debug)]
pub struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    /// Starts the threads and moves each into the workload's namespaces.
    pub fn new(namespaces: Namespaces, reset_oom: bool) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let namespaces = Arc::new(namespaces);
        let proc_dir = reset_oom.then(|| File::open("/proc")).transpose()?.map(Arc::new);
        for _ in 0..SPAWNERS {
            let (queue, namespaces) = (Arc::clone(&queue), Arc::clone(&namespaces));
            let proc_dir = proc_dir.clone();
            let (ready, entered) = mpsc::channel();
            std::thread::Builder::new().stack_size(THREAD_STACK).spawn(move || {
                let result = enter(&namespaces);
                let failed = result.is_err();
                let _ = ready.send(result);
                if !failed {
                    serve(&queue, proc_dir.as_deref());
                }
            })?;
            entered.recv().map_err(|_| io::Error::other("a spawner died at its start"))??;
        }
        Ok(Self { jobs })
    }

    /// Starts a program and waits until it runs or has failed to.
    pub async fn spawn(&self, plan: Plan) -> Result<Spawned, SpawnError> {
        let failed = |errno| SpawnError { step: Step::Clone, errno };
        let slot = Arc::new(PidfdSlot::default());
        let (done, mut result) = oneshot::channel();
        let job = Job { plan, slot: Arc::clone(&slot), done };
        self.jobs.send(job).map_err(|_| failed(Errno::ESRCH))?;
        loop {
            match tokio::time::timeout(WATCHDOG, &mut result).await {
                Ok(Ok(result)) => return result,
                Ok(Err(_gone)) => return Err(failed(Errno::ESRCH)),
                // Not born yet (a queue behind a stopped one): wait on.
                Err(_late) => drop(slot.kill()),
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
    // setns(2) into a mount namespace wants a root and cwd of the thread's own.
    unshare(CloneFlags::CLONE_FS)?;
    for fd in &namespaces.fds {
        setns(fd, CloneFlags::empty())?;
    }
    Ok(())
}

fn serve(queue: &Mutex<mpsc::Receiver<Job>>, proc_dir: Option<&File>) {
    let mut stack = ChildStack::default();
    loop {
        // The lock is held while waiting: the other spawners wait for it then,
        // which is the same as waiting for a job.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let result = spawn(&job.plan, &mut stack, &job.slot, proc_dir.map(AsFd::as_fd));
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
