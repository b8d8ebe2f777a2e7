//! The agent's size, and its memory when nothing happens.

use std::io;
use std::process::Command;

use postern_proto::Request;
use postern_tests::raw::ok;

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::agent::{Sandbox, run};
use crate::rig::memory::{self, Memory};

/// init, serve and the workload's init, by the names that ps(1) shows.
const PROCESSES: [&str; 3] = ["postern-init", "postern-serve", "init"];

const MANY: usize = 1000;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let agent = rig.agent()?;
    let size = std::fs::metadata(&agent)?.len();
    let (sandbox, mut control) = Sandbox::with_image(rig, &rig.image)?;
    ok(control.ask(&Request::Ping)?)?;
    let idle = of_all(&sandbox)?;
    for _ in 0..rig.rounds(MANY) {
        run(&mut control, &["/bin/nop"])?;
    }
    let used = of_all(&sandbox)?;
    let megabytes = |mb: f64| Target::AtMost(Figure::Bytes(mb * 1e6));
    let figure = |bytes: u64| Figure::Bytes(bytes as f64);
    let label = format!("agent binary ({})", kind(&agent)?);
    let mut rows = vec![
        Row::new(label, figure(size), megabytes(2.0)),
        Row::new("idle memory, 3 processes, RSS", figure(idle.rss), megabytes(2.5)),
        Row::new("idle memory, anonymous", figure(idle.anonymous), megabytes(0.6)),
        Row::new("idle memory, proportional", figure(idle.proportional), Target::None),
        Row::new(format!("RSS after {} execs", rig.rounds(MANY)), figure(used.rss), Target::None),
        Row::new("anonymous after them", figure(used.anonymous), Target::None),
    ];
    for name in PROCESSES {
        let memory = memory::of(memory::named(sandbox.pid(), name)?.pid)?;
        let label = format!("  of it {name}, anonymous");
        rows.push(Row::new(label, figure(memory.anonymous), Target::None));
    }
    Ok(rows)
}

fn of_all(sandbox: &Sandbox) -> io::Result<Memory> {
    let mut sum = Memory::default();
    for name in PROCESSES {
        let memory = memory::of(memory::named(sandbox.pid(), name)?.pid)?;
        sum.rss += memory.rss;
        sum.anonymous += memory.anonymous;
        sum.proportional += memory.proportional;
    }
    Ok(sum)
}

/// What file(1) says of it, in two words.
fn kind(agent: &std::path::Path) -> io::Result<String> {
    let Ok(output) = Command::new("file").arg("-b").arg(agent).output() else {
        return Ok("file(1) is not there".to_owned());
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let linked = if text.contains("static") { "static" } else { "DYNAMIC" };
    let stripped = if text.contains("not stripped") { "NOT STRIPPED" } else { "stripped" };
    Ok(format!("{linked}, {stripped}"))
}
