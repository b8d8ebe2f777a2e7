//! A microVM from the start of QEMU until the agent answers, beside the same
//! kernel and modules with an init that does nothing else.

use std::io::{self, Read, Write};
use std::time::Instant;

use postern_tests::raw::Raw;

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::vm::{Vm, pack};
use crate::stats::Samples;

const ROUNDS: usize = 5;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let bare = rig.tmp().join("bare.img");
    let with_agent = rig.tmp().join("agent.img");
    // Both packed here and in the same way, so that nothing else differs.
    pack(&rig.programs.path("bare_init"), &bare)?;
    pack(&rig.agent()?, &with_agent)?;
    let [mut floor, mut ours] = <[Samples; 2]>::default();
    for _ in 0..rig.rounds(ROUNDS) {
        let begun = Instant::now();
        let vm = Vm::boot(rig, &bare)?;
        let mut echo = vm.address.dial()?;
        echo.write_all(b"?")?;
        echo.read_exact(&mut [0])?;
        floor.push(begun.elapsed());
        drop(vm);
        let begun = Instant::now();
        let vm = Vm::boot(rig, &with_agent)?;
        Raw::control(&vm.address)?;
        ours.push(begun.elapsed());
    }
    Ok(vec![
        Row::new("boot to ready, VM", Figure::Seconds(ours.p50()), Target::RatioAtMost(1.1))
            .beside("same kernel, bare init", Figure::Seconds(floor.p50())),
    ])
}
