//! One short command through HTTP, in a process sandbox.

use std::io;

use crate::floor::echo::Echo;
use crate::floor::spawn::bare_spawn;
use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::broker::{Broker, exec};
use crate::stats::Samples;

const ROUNDS: usize = 2000;

/// The daemon, the sandbox and their caches are warm after so many.
const WARM_UP: usize = 50;

/// The tail's bound, and the best peer's median without HTTP
/// (reference/speed.md).
const TAIL: Figure = Figure::Seconds(0.001);

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let broker = Broker::start(rig, "process")?;
    let mut rows = Vec::new();
    for program in ["nop", "hello"] {
        rows.extend(one(rig, &broker, program)?);
    }
    Ok(rows)
}

fn one(rig: &Rig, broker: &Broker, program: &str) -> io::Result<Vec<Row>> {
    let mut http = broker.connect()?;
    let session = broker.session(&mut http)?;
    let mut echo = Echo::start()?;
    let bare = rig.programs.path(program);
    let inside = format!("/bin/{program}");
    let [mut spawns, mut echoes, mut empty, mut execs] = <[Samples; 4]>::default();
    for round in 0..rig.rounds(ROUNDS) + WARM_UP {
        if round == WARM_UP {
            [spawns, echoes, empty, execs] = Default::default();
        }
        spawns.time(|| bare_spawn(&bare))?;
        echoes.time(|| echo.round_trip())?;
        empty.time(|| http.get("/healthz"))?;
        execs.time(|| exec(&mut http, &session, &[&inside]))?;
    }
    http.delete(&session)?;
    let floor = "spawn + Unix echo + empty HTTP";
    let p50 = spawns.p50() + echoes.p50() + empty.p50();
    let p99 = spawns.p99() + echoes.p99() + empty.p99();
    let row = |quantile, ours, target, beside| {
        Row::new(format!("exec {program}, HTTP, {quantile}"), Figure::Seconds(ours), target)
            .beside(floor, Figure::Seconds(beside))
    };
    Ok(vec![
        row("p50", execs.p50(), Target::RatioAtMost(1.4), p50),
        row("p99", execs.p99(), Target::AtMost(TAIL), p99),
    ])
}
