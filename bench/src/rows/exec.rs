//! One short command through the agent's protocol over a Unix socket.

use std::io;

use crate::floor::echo::Echo;
use crate::floor::spawn::bare_spawn;
use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::agent::{Sandbox, run};
use crate::stats::Samples;

const ROUNDS: usize = 2000;

/// A sandbox and its caches are warm after so many.
const WARM_UP: usize = 50;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for program in ["nop", "hello"] {
        rows.extend(one(rig, program)?);
    }
    Ok(rows)
}

fn one(rig: &Rig, program: &str) -> io::Result<Vec<Row>> {
    let (_sandbox, mut control) = Sandbox::with_image(rig, &rig.image)?;
    let mut echo = Echo::start()?;
    let bare = rig.programs.path(program);
    let inside = format!("/bin/{program}");
    let (mut spawns, mut echoes, mut execs) = Default::default();
    for round in 0..rig.rounds(ROUNDS) + WARM_UP {
        if round == WARM_UP {
            (spawns, echoes, execs) = <(Samples, Samples, Samples)>::default();
        }
        spawns.time(|| bare_spawn(&bare))?;
        echoes.time(|| echo.round_trip())?;
        execs.time(|| run(&mut control, &[&inside]))?;
    }
    let floor = "spawn + Unix echo";
    let p50 = spawns.p50() + echoes.p50();
    let p99 = spawns.p99() + echoes.p99();
    Ok(vec![
        Row::new(
            format!("exec {program}, protocol, p50"),
            Figure::Seconds(execs.p50()),
            Target::RatioAtMost(1.5),
        )
        .beside(floor, Figure::Seconds(p50)),
        Row::new(
            format!("exec {program}, protocol, p99"),
            Figure::Seconds(execs.p99()),
            Target::None,
        )
        .beside(floor, Figure::Seconds(p99)),
    ])
}
