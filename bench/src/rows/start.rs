//! From nothing to a sandbox that takes commands, on the process rig.

use std::io;
use std::time::Duration;

use postern_proto::{Reply, Request};
use postern_tests::raw::{Raw, ok};

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::agent::Sandbox;
use crate::rig::broker::{Broker, exec};
use crate::stats::Samples;

const ROUNDS: usize = 30;

const READY: Figure = Figure::Seconds(0.010);

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let mut ready = Samples::default();
    for _ in 0..rig.rounds(ROUNDS) {
        ready.push(init_to_ready(rig)?);
    }
    let mut rows = vec![
        Row::new(
            "PID 1 to ready, process rig, p50",
            Figure::Seconds(ready.p50()),
            Target::AtMost(READY),
        ),
        Row::new("PID 1 to ready, process rig, p99", Figure::Seconds(ready.p99()), Target::None),
    ];
    rows.extend(by_http(rig)?);
    Ok(rows)
}

/// As the agent's own clock has it.
fn init_to_ready(rig: &Rig) -> io::Result<Duration> {
    let sandbox = Sandbox::start(rig)?;
    let mut control = Raw::control(&sandbox.address)?;
    match ok(control.ask(&Request::GetInfo)?)? {
        Reply::Info(info) => {
            Ok(Duration::from_micros(info.ready_us.saturating_sub(info.init_start_us)))
        }
        other => Err(io::Error::other(format!("GetInfo was answered with {other:?}"))),
    }
}

fn by_http(rig: &Rig) -> io::Result<Vec<Row>> {
    let broker = Broker::start(rig, "process")?;
    let mut http = broker.connect()?;
    let [mut create, mut first, mut delete] = <[Samples; 3]>::default();
    for _ in 0..rig.rounds(ROUNDS) {
        let session = create.time(|| broker.session(&mut http))?;
        first.time(|| exec(&mut http, &session, &["/bin/nop"]))?;
        delete.time(|| http.delete(&session))?;
    }
    let row =
        |what, samples: &Samples| Row::new(what, Figure::Seconds(samples.p50()), Target::None);
    Ok(vec![
        row("session created, HTTP, 3 MB image", &create),
        row("its first exec", &first),
        row("its deletion", &delete),
    ])
}
