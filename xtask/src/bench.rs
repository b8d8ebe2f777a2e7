//! `bench`: builds what is shipped, then measures it beside its floors.

use crate::arch::Arch;
use crate::dist;
use crate::error::Error;
use crate::run;
use crate::setup;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Error> {
    setup::run(workspace, Arch::host())?;
    dist::run(workspace, Arch::host(), dist::For::Tests)?;
    run::run(
        run::cargo(workspace.root())
            .args(["run", "--quiet", "--release", "-p", "postern-bench", "--target-dir"])
            .arg(workspace.target())
            .env("PATH", workspace.path_with_tools())
            .arg("--")
            .args(arguments),
    )
}
