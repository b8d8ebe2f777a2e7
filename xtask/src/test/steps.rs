//! The list of steps, in the order in which they run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::error::Error;
use crate::run;
use crate::workspace::Workspace;

/// As people name them.
pub(super) const GROUPS: &str = "lint, unit, process, vm, aarch64";

/// What `--only` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Needed by every other: runs whatever is asked for.
    Setup,
    Lint,
    Unit,
    /// Needed by the rigs, and by tests of the broker's.
    Dist,
    Process,
    Vm,
    /// Runs only when it is asked for by name: a processor that is emulated and
    /// another build of the agent take more minutes than each `make test` is to wait.
    Aarch64,
}

impl Group {
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "lint" => Ok(Self::Lint),
            "unit" => Ok(Self::Unit),
            "process" => Ok(Self::Process),
            "vm" => Ok(Self::Vm),
            "aarch64" => Ok(Self::Aarch64),
            _ => Err(Error::Usage(format!("--only {name}: it is one of {GROUPS}"))),
        }
    }
}

/// One program to run.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    group: Group,
    /// Several times what it takes on two cores from nothing: a hang reaches
    /// it, a slow machine does not.
    pub(crate) limit: Duration,
    program: PathBuf,
    arguments: &'static [&'static str],
    root: PathBuf,
    target: PathBuf,
    path: OsString,
}

impl Step {
    /// Whether it runs when this group was asked for, or none.
    pub(crate) fn needed_for(&self, only: Option<Group>) -> bool {
        let Some(only) = only else { return self.group != Group::Aarch64 };
        match self.group {
            Group::Setup => only != Group::Lint,
            Group::Dist => only != Group::Lint,
            group => group == only,
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments).current_dir(&self.root);
        // One folder for every step, where `dist` is looked for too.
        command.env("CARGO_TARGET_DIR", &self.target);
        command.env("PATH", &self.path);
        if self.arguments.first() == Some(&"doc") {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        command
    }
}

/// Fast first. A table, so exempt from the length that functions keep to.
const STEPS: &[(&str, Group, u64, &[&str])] = &[
    ("set-up", Group::Setup, 10, &["setup"]),
    ("format", Group::Lint, 2, &["fmt", "--all", "--check"]),
    (
        "clippy",
        Group::Lint,
        12,
        &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ),
    ("documentation", Group::Lint, 8, &["doc", "--quiet", "--no-deps", "--workspace"]),
    // Tests of the broker's own start agents with the sample image.
    ("build what is shipped", Group::Dist, 20, &["dist", "--for-tests"]),
    (
        "unit tests",
        Group::Unit,
        15,
        &[
            "test",
            "--workspace",
            "--exclude",
            "postern-tests",
            "--tests",
            "--no-fail-fast",
            "--",
            "--show-output",
        ],
    ),
    (
        "examples in documentation",
        Group::Unit,
        8,
        &["test", "--workspace", "--doc", "--no-fail-fast", "--", "--show-output"],
    ),
    (
        "scenarios, process sandbox",
        Group::Process,
        20,
        &[
            "test",
            "-p",
            "postern-tests",
            "--release",
            "--lib",
            "--test",
            "process",
            "--no-fail-fast",
            "--",
            "--show-output",
        ],
    ),
    (
        "scenarios, microVM",
        Group::Vm,
        25,
        &[
            "test",
            "-p",
            "postern-tests",
            "--release",
            "--test",
            "vm",
            "--no-fail-fast",
            "--",
            "--show-output",
        ],
    ),
    ("set-up for aarch64", Group::Aarch64, 10, &["setup", "--arch", "aarch64"]),
    (
        "clippy for aarch64",
        Group::Aarch64,
        12,
        &[
            "clippy",
            "--quiet",
            "--target",
            "aarch64-unknown-linux-musl",
            "-p",
            "postern-agent",
            "-p",
            "postern-proto",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("build for aarch64", Group::Aarch64, 20, &["dist", "--arch", "aarch64"]),
    (
        "scenarios, aarch64 microVM",
        Group::Aarch64,
        25,
        &[
            "test",
            "-p",
            "postern-tests",
            "--release",
            "--test",
            "aarch64",
            "--no-fail-fast",
            "--",
            "--show-output",
        ],
    ),
];

pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Step>, Error> {
    let myself = std::env::current_exe().map_err(Error::io("finding the program of", "xtask"))?;
    let cargo = PathBuf::from(run::cargo(workspace.root()).get_program());
    Ok(STEPS
        .iter()
        .map(|&(name, group, minutes, arguments)| Step {
            name,
            group,
            limit: Duration::from_secs(minutes * 60),
            // A process of its own for our own steps too, so that the limit holds.
            program: if matches!(arguments.first(), Some(&"setup" | &"dist")) {
                myself.clone()
            } else {
                cargo.clone()
            },
            arguments,
            root: workspace.root().to_path_buf(),
            target: workspace.target(),
            path: workspace.path_with_tools(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: Option<&str>) -> Vec<&'static str> {
        let only = only.map(|name| Group::parse(name).unwrap());
        let steps = all(&Workspace::at("/checkout".into())).unwrap();
        steps.iter().filter(|step| step.needed_for(only)).map(|step| step.name).collect()
    }

    #[test]
    fn an_emulated_architecture_is_tested_when_it_is_named_and_not_otherwise() {
        let of_it = |name: &&str| name.contains("aarch64");
        assert!(!names(None).iter().any(&of_it), "{:?}", names(None));
        assert!(!names(Some("vm")).iter().any(&of_it));
        let named = names(Some("aarch64"));
        assert_eq!(named.iter().filter(|name| of_it(name)).count(), 4, "{named:?}");
        // The rig wants the host's part too.
        assert!(named.contains(&"build what is shipped"), "{named:?}");
    }
}
