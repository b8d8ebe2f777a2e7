//! How fast Postern is, each figure beside its floor: what the kernel lets any
//! program do, measured in the same run and in turns, since machines are noisy.
//!
//! `make bench` builds what is measured (`target/dist`) and runs this. Each file
//! in `rows/` is one measured thing; `floor/` has what they are compared with,
//! `rig/` what they are run on. The programs that the sandboxes run are in C in
//! `bench/programs/` and compiled here.

mod options;
mod report;
mod stats;

mod floor;
mod rig;
mod rows;

use std::process::ExitCode;

use options::{Options, Parsed, USAGE};
use report::Report;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("postern-bench: {message}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(report) => {
            report.print(options.json);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("postern-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// One after another; a thing that cannot be measured says why, and the others
/// are measured all the same.
fn run(options: &Options) -> std::io::Result<Report> {
    let rig = rig::Rig::prepare(options)?;
    let mut report = Report::new(&rig);
    for (name, measure) in rows::ALL {
        if !options.wants(name) {
            continue;
        }
        eprintln!("measuring {name} …");
        match measure(&rig) {
            Ok(rows) => report.add(rows),
            Err(e) => report.skip(name, &e),
        }
    }
    Ok(report)
}
