//! One short command through HTTP, in a microVM.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use postern_tests::raw::Address;
use serde_json::json;

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::broker::{Broker, exec};
use crate::rig::http::Http;
use crate::rig::wait;
use crate::stats::Samples;

/// Each has a share of every measurement, so that all see the same machine.
const ROUNDS: usize = 10;

const IN_A_ROUND: usize = 30;

/// The echo's; above 1023, where a command's user may listen.
const PORT: u32 = 5000;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let broker = Broker::start(rig, "qemu")?;
    let mut http = broker.connect()?;
    let session = broker.session(&mut http)?;
    let mut echo = start_echo(&broker, &mut http, &session)?;
    let mut rows = Vec::new();
    for program in ["nop", "hello"] {
        rows.extend(one(rig, &mut http, &session, &mut echo, program)?);
    }
    http.delete(&session)?;
    Ok(rows)
}

/// A program of ours in the guest that sends back what it gets.
fn start_echo(broker: &Broker, http: &mut Http, session: &str) -> io::Result<UnixStream> {
    let argv = json!(["/bin/vsock_echo", PORT.to_string()]);
    http.post(&format!("{session}/exec"), &json!({"argv": argv, "background": true}))?;
    let address = Address::Hybrid(broker.find("vm.vsock")?, PORT);
    wait::until("the echo in the guest", Duration::from_secs(30), || Ok(address.dial().ok()))
}

fn one(
    rig: &Rig,
    http: &mut Http,
    session: &str,
    echo: &mut UnixStream,
    program: &str,
) -> io::Result<Vec<Row>> {
    let inside = format!("/bin/{program}");
    let count = IN_A_ROUND.to_string();
    let [mut spawns, mut echoes, mut empty, mut execs] = <[Samples; 4]>::default();
    exec(http, session, &[&inside])?;
    for _ in 0..rig.rounds(ROUNDS) {
        let answer = exec(http, session, &["/bin/spawns", &count, &inside])?;
        spawns.push(median(answer["stdout"].as_str().unwrap_or_default())?);
        for _ in 0..IN_A_ROUND {
            echoes.time(|| round_trip(echo))?;
            empty.time(|| http.get("/healthz"))?;
            execs.time(|| exec(http, session, &[&inside]))?;
        }
    }
    let floor = echoes.p50() + spawns.p50() + empty.p50();
    let parts = format!(
        "vsock echo {} + spawn {} + HTTP {}",
        Figure::Seconds(echoes.p50()),
        Figure::Seconds(spawns.p50()),
        Figure::Seconds(empty.p50())
    );
    Ok(vec![
        Row::new(
            format!("exec {program}, HTTP, VM, p50"),
            Figure::Seconds(execs.p50()),
            Target::RatioAtMost(1.4),
        )
        .beside(parts, Figure::Seconds(floor)),
        Row::new(
            format!("exec {program}, HTTP, VM, p99"),
            Figure::Seconds(execs.p99()),
            Target::None,
        ),
    ])
}

/// The first number that `spawns` prints, nanoseconds.
fn median(said: &str) -> io::Result<Duration> {
    let number = said.split_whitespace().next().and_then(|word| word.parse().ok());
    number
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other(format!("the spawns in the guest said {said:?}")))
}

fn round_trip(echo: &mut UnixStream) -> io::Result<()> {
    let mut piece = [0; 64];
    echo.write_all(&piece)?;
    echo.read_exact(&mut piece)
}
