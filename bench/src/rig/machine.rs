//! The head of the table: what it was measured on.

use std::fs;
use std::process::Command;

use super::Rig;

pub(crate) fn describe(rig: &Rig) -> Vec<(&'static str, String)> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let agent = rig.agent().ok().and_then(|path| Command::new(path).arg("--version").output().ok());
    let agent = agent.map_or_else(
        || "not there".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    vec![
        ("machine", format!("{cpus} x {}", model.map_or("?", |(_, name)| name.trim()))),
        ("kernel", kernel.trim().to_owned()),
        ("load", format!("{load} (1 and 5 minutes; above 0.5 the figures are noisy)")),
        ("agent", agent),
        ("files", "on tmpfs; floor and ours in turns within one run".to_owned()),
    ]
}
