//! `GetInfo`: the agent and its guest.

use postern_proto::{Info, Reply};

use crate::SOFTWARE;
use crate::guest::State;

pub(super) fn handle(state: &State) -> Reply {
    let (running, kept) = state.commands.table.counts();
    let (init_start_us, ready_us) = state.boot_times();
    let (memory_total_bytes, memory_available_bytes) = memory();
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
        cgroup_controllers: Vec::new(),
    }))
}

fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim_end().to_owned()
}

/// MemTotal and MemAvailable of proc_meminfo(5), bytes.
fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    (field("MemTotal:").unwrap_or(0), field("MemAvailable:").unwrap_or(0))
}
