//! All commands of a guest, and what they are made with.

use std::cell::OnceCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use postern_proto::limits::OUTPUT_BUDGET;
use postern_proto::{Code, Error};
use tokio::sync::mpsc;

use super::cgroup::CgroupPool;
use super::record::Command;
use super::spawner::{Namespaces, Spawner};
use super::table::Table;
use crate::output::Meter;

/// Of a guest that has little, logs take one part in so many.
const MEMORY_PART: u64 = 8;

/// How a command comes to its end.
#[derive(Debug)]
pub enum End {
    /// It came to its final state.
    Final(Rc<Command>),
    /// Some time after that, its log did.
    Closed(Rc<Command>),
}

/// News of ends, in their order.
pub type Ended = mpsc::UnboundedReceiver<End>;

/// The commands of a guest.
#[derive(Debug)]
pub struct Commands {
    /// Every command that is remembered.
    pub table: Table,
    pub(super) cgroups: CgroupPool,
    /// What the logs take.
    meter: Rc<Meter>,
    /// For commands without stdin.
    pub(super) dev_null: Arc<OwnedFd>,
    spawner: OnceCell<Spawner>,
    /// Unbounded, and yet bounded by the cap on running commands.
    ended: mpsc::UnboundedSender<End>,
}

impl Commands {
    /// `cgroups` is the directory for their cgroups, where there is one.
    pub fn new(cgroups: Option<OwnedFd>) -> io::Result<(Rc<Self>, Ended)> {
        let (ended, news) = mpsc::unbounded_channel();
        let (memory, _) = crate::sys::process::memory();
        let budget = OUTPUT_BUDGET.min(memory / MEMORY_PART);
        let meter = Meter::new(usize::try_from(budget).unwrap_or(usize::MAX));
        let commands = Self {
            table: Table::new(Rc::clone(&meter)),
            meter,
            cgroups: CgroupPool::new(cgroups),
            dev_null: Arc::new(std::fs::File::open("/dev/null")?.into()),
            spawner: OnceCell::new(),
            ended,
        };
        Ok((Rc::new(commands), news))
    }

    /// The workload's root is in place: starts the spawners in its namespaces.
    pub fn enter(&self, namespaces: Namespaces, reset_oom: bool) -> io::Result<()> {
        let spawner = Spawner::new(namespaces, reset_oom)?;
        self.cgroups.refill();
        // A second root is refused long before this.
        let _ = self.spawner.set(spawner);
        Ok(())
    }

    pub(super) fn spawner(&self) -> Result<&Spawner, Error> {
        let none = || Error::new(Code::FailedPrecondition, "there is no image yet");
        self.spawner.get().ok_or_else(none)
    }

    /// Commands have cgroups of their own.
    pub fn have_cgroups(&self) -> bool {
        self.cgroups.is_available()
    }

    /// What the kernel counts and limits for each command; see cgroups(7).
    pub fn controllers(&self) -> &[String] {
        self.cgroups.controllers()
    }

    /// A command came to its final state. Its waiters are awake already; whoever
    /// hears of this goes behind them.
    pub(super) fn ended(&self, command: &Rc<Command>) {
        self.table.ended(command);
        let _ = self.ended.send(End::Final(Rc::clone(command)));
    }

    /// The log of a command that was over already is final.
    pub(super) fn closed(&self, command: &Rc<Command>) {
        let _ = self.ended.send(End::Closed(Rc::clone(command)));
    }

    /// Waits until the logs take more than they may, and makes room.
    pub async fn keep_to_the_budget(&self) {
        self.meter.over().await;
        self.table.relieve();
    }

    /// After a command's end: takes back its cgroup and keeps some ready.
    pub fn tidy_after(&self, command: &Command) {
        command.give_back(&self.cgroups);
        self.cgroups.refill();
        if self.table.is_over_its_caps() {
            self.tidy();
        }
    }

    /// Now and then: retention, graces, cgroups that have become empty.
    pub fn tidy(&self) {
        self.table.sweep(Instant::now(), |command| command.give_back(&self.cgroups));
    }
}
