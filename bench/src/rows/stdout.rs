//! Output in bulk through the agent's protocol, without a loss.

use std::io;

use postern_proto::{Follow, Request, StreamEnd, StreamOpen};
use postern_tests::raw::{Raw, ok};

use crate::floor::relay;
use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::agent::{Sandbox, exec};
use crate::rig::link::Link;
use crate::stats::Samples;

const ROUNDS: usize = 10;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let (sandbox, mut control) = Sandbox::with_image(rig, &rig.image)?;
    let size = rig.bulk();
    let args = [size.to_string()];
    let (mut floor, mut ours) = (Samples::default(), Samples::default());
    for _ in 0..rig.rounds(ROUNDS) {
        floor.push(relay::over_unix(&rig.programs.path("flood"), &args, size)?);
        ours.time(|| follow(&sandbox, &mut control, size))?;
    }
    let rate = |samples: &Samples| Figure::BytesPerSecond(size as f64 / samples.p50());
    Ok(vec![
        Row::new("stdout in bulk, protocol, lossless", rate(&ours), Target::RatioAtLeast(0.7))
            .beside("relay: pipe, Unix socket", rate(&floor))
            .paired(floor.ratio_to(&ours)),
    ])
}

fn follow(sandbox: &Sandbox, control: &mut Raw, size: u64) -> io::Result<()> {
    let mut command = exec(&["/bin/flood", &size.to_string()]);
    command.wait = false;
    command.lossless = true;
    let command_id = command.command_id.clone();
    ok(control.ask(&Request::Exec(Box::new(command)))?)?;
    let open = Follow { command_id, lossless: true, until_exit: true, ..Follow::default() };
    let (got, end) = Link::open(&sandbox.address, &StreamOpen::Follow(open))?.drain()?;
    match end {
        StreamEnd::Output(_) if got == size => Ok(()),
        other => Err(io::Error::other(format!("{got} bytes of {size}, then {other:?}"))),
    }
}
