//! `test`: every check and test, fast first, every failure collected.
//!
//! The last line is `N passed, N failed, N skipped`. A check that is no test
//! (formatting, clippy, documentation, set-up, dist) counts as one.
//!
//! How a test says that it cannot run here: it prints, on a line of its own,
//!
//! ```text
//! SKIPPED <test name>: <reason>; enable: <command>
//! ```
//!
//! and returns. Tests run with `--show-output`, so such a line of a passing test
//! is seen; it counts as skipped and not as passed. `#[ignore]` counts as skipped
//! too, but says neither reason nor command.
//!
//! Every step has a time limit, and all of them together have one: a step that
//! would start after it counts as failed.

mod libtest;
mod steps;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::error::{self, Error};
use crate::run;
use crate::step::seconds;
use crate::workspace::Workspace;

use libtest::{Report, Tally};
use steps::{Group, Step};

/// The whole run ends within the hour, whatever hangs; two minutes are left for
/// killing and printing.
const TOTAL_LIMIT: Duration = Duration::from_secs(58 * 60);

pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<ExitCode, Error> {
    let only = match arguments {
        [] => None,
        ["--only", group] => Some(Group::parse(group)?),
        _ => {
            let groups = steps::GROUPS.replace(", ", "|");
            return Err(Error::Usage(format!("usage: xtask test [--only {groups}]")));
        }
    };
    let deadline = Instant::now() + TOTAL_LIMIT;
    let mut results = Vec::new();
    for step in steps::all(workspace)? {
        if !step.needed_for(only) || run::interrupted() {
            continue;
        }
        let outcome = run_step(&step, deadline);
        println!("    {}: {} in {}", step.name, outcome.report.tally(), seconds(outcome.time));
        results.push((step.name, outcome));
    }
    Ok(summary(&results))
}

/// What one step gave, and how long it took.
struct Outcome {
    report: Report,
    time: Duration,
}

fn run_step(step: &Step, deadline: Instant) -> Outcome {
    println!("\n==> {}", step.name);
    let start = Instant::now();
    let limit = step.limit.min(deadline.saturating_duration_since(start));
    let mut report = Report::default();
    let ended = if limit.is_zero() {
        Err(Error::Usage("not run: the time for the whole run is used up".to_owned()))
    } else {
        run::lines(&mut step.command(), limit, |line| {
            println!("{line}");
            report.line(line);
        })
    };
    match ended {
        Ok(status) => report.end(step.name, status.success()),
        Err(error) => report.broke(step.name, &error::chain(&error)),
    }
    Outcome { report, time: start.elapsed() }
}

fn summary(results: &[(&str, Outcome)]) -> ExitCode {
    println!("\n==> summary");
    let mut total = Tally::default();
    for (name, outcome) in results {
        println!("  {name:<28} {:>9}  {}", seconds(outcome.time), outcome.report.tally());
        total += outcome.report.tally();
    }
    for (title, pick) in [
        ("skipped", (|report| &report.skipped) as fn(&Report) -> &Vec<String>),
        ("failed", |report| &report.failed),
    ] {
        let lines: Vec<&String> =
            results.iter().flat_map(|(_, outcome)| pick(&outcome.report)).collect();
        if !lines.is_empty() {
            println!("\n{title}:");
            lines.iter().for_each(|line| println!("  {line}"));
        }
    }
    let interrupted = run::interrupted();
    if interrupted {
        println!("\ninterrupted: what comes later was not run");
    }
    println!("\n{total}");
    if total.failed == 0 && !interrupted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
