//! `postern doctor`: what this machine can do, and how to get what is missing.

mod checks;
mod kvm;
mod look;

use serde::Serialize;

use crate::args::Doctor;
use crate::error::Error;
use crate::table;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Postern works without it, worse.
    Poor,
    Missing,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// How to get what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    fn poor(name: &'static str, found: impl Into<String>, fix: &'static str) -> Self {
        Self { name, verdict: Verdict::Poor, found: found.into(), fix: Some(fix) }
    }

    fn missing(name: &'static str, found: impl Into<String>, fix: &'static str) -> Self {
        Self { name, verdict: Verdict::Missing, found: found.into(), fix: Some(fix) }
    }
}

/// Exits 0 if sandboxes of some kind can be made, else 1.
pub(crate) async fn run(args: Doctor) -> Result<u8, Error> {
    let places = look::Places::of_this_program();
    let checks = checks::all(&places).await;
    let has = |names: &[&str]| {
        checks.iter().all(|c| !names.contains(&c.name) || c.verdict != Verdict::Missing)
    };
    let microvms = has(&["qemu", "vsock", "kernel", "initramfs", "images"]);
    let processes = has(&["agent", "namespaces", "images"]);
    if args.json {
        let drivers = serde_json::json!({"qemu": microvms, "process": processes});
        println!("{}", serde_json::json!({"checks": checks, "drivers": drivers}));
    } else {
        print(&checks);
        println!();
        println!("microVMs (driver qemu):        {}", yes_or_no(microvms));
        println!("namespaces (driver process):   {}", yes_or_no(processes));
    }
    Ok(u8::from(!microvms && !processes))
}

fn print(checks: &[Check]) {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Poor => "poor",
                Verdict::Missing => "MISSING",
            };
            vec![check.name.to_owned(), verdict.to_owned(), check.found.clone()]
        })
        .collect();
    table::print(&["CHECK", "", "FOUND"], &rows);
    let fixes = checks.iter().filter_map(|check| check.fix.map(|fix| (check.name, fix)));
    for (at, (name, fix)) in fixes.enumerate() {
        if at == 0 {
            println!("\nWhat to do:");
        }
        println!("  {name}: {fix}");
    }
}

fn yes_or_no(can: bool) -> &'static str {
    if can { "yes" } else { "no" }
}
