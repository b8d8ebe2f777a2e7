//! `postern-agent`: PID 1 of a microVM, or of a process sandbox.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use postern_agent::boot::{self, SandboxArgs, SandboxRoot};

const USAGE: &str = "\
usage: postern-agent                              as PID 1 of a microVM
       postern-agent --sandbox --dir DIR [--root-mb N] [--root-dir DIR | --lower DIR]
                     [--hostname NAME] [--cgroups on|off]
       postern-agent --check-overlay DIR
       postern-agent --version";

/// What the command line asks for.
enum Role {
    Machine,
    Sandbox(SandboxArgs),
    CheckOverlay(PathBuf),
    Version,
}

fn main() -> ExitCode {
    let role = match parse(std::env::args_os().skip(1)) {
        Ok(role) => role,
        Err(e) => return fail(&format!("{e}\n{USAGE}"), 64),
    };
    let result = match role {
        Role::Machine => boot::machine(),
        Role::Sandbox(args) => boot::sandbox(args),
        Role::CheckOverlay(dir) => boot::check_overlay(&dir),
        Role::Version => {
            use std::io::Write;
            writeln!(std::io::stdout(), "{}", postern_agent::SOFTWARE)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e.to_string(), 1),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "postern-agent: {message}");
    ExitCode::from(code)
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Role, String> {
    // The kernel passes words of its command line to PID 1: they are no options.
    if std::process::id() == 1 {
        return Ok(Role::Machine);
    }
    match args.next().as_ref().and_then(|a| a.to_str()) {
        Some("--sandbox") => {}
        Some("--version") => return Ok(Role::Version),
        Some("--check-overlay") => {
            let dir = args.next().ok_or("--check-overlay needs a directory")?;
            return Ok(Role::CheckOverlay(dir.into()));
        }
        _ => return Err("not PID 1, and not asked for a sandbox".to_owned()),
    }
    let mut sandbox = SandboxArgs::default();
    while let Some(name) = args.next() {
        let name = name.to_string_lossy().into_owned();
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let text = value.to_string_lossy().into_owned();
        let number = || text.parse().map_err(|_| format!("{name}: {text} is no number"));
        match name.as_str() {
            "--dir" => sandbox.dir = value.into(),
            "--root-mb" => sandbox.root_mb = Some(number()?),
            "--root-dir" => sandbox.root = SandboxRoot::Directory(value.into()),
            "--lower" => sandbox.root = SandboxRoot::Over(value.into()),
            "--hostname" => sandbox.hostname = text,
            "--cgroups" => sandbox.no_cgroups = text == "off",
            // A process sandbox has the host's memory; the option is taken so
            // that one driver can start both kinds.
            "--memory-mb" => drop(number()?),
            _ => return Err(format!("{name} is no option")),
        }
    }
    if sandbox.dir.as_os_str().is_empty() {
        return Err("--dir is missing".to_owned());
    }
    Ok(Role::Sandbox(sandbox))
}
