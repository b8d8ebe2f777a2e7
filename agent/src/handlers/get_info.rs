//! `GetInfo`: the agent and its guest.

use postern_proto::{Info, Reply};

use crate::SOFTWARE;
use crate::guest::State;

pub(super) fn handle(state: &State) -> Reply {
    let (running, kept) = state.commands.table.counts();
    let (init_start_us, ready_us) = state.boot_times();
    let (memory_total_bytes, memory_available_bytes) = crate::sys::process::memory();
    Reply::Info(Box::new(Info {
        software: SOFTWARE.to_owned(),
        kernel: kernel(),
        cgroup_v2: state.commands.have_cgroups(),
        image_ready: state.has_session(),
        memory_total_bytes,
        memory_available_bytes,
        commands_running: u32::try_from(running).unwrap_or(u32::MAX),
        commands_kept: u32::try_from(kept).unwrap_or(u32::MAX),
        init_start_us,
        ready_us,
        cgroup_controllers: state.commands.controllers().to_vec(),
    }))
}

fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim_end().to_owned()
}
