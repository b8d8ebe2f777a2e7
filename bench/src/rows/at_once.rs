//! Many commands in flight over one control connection.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::thread;

use postern_proto::{Reply, Request};
use postern_tests::raw::Raw;

use crate::floor::spawn::bare_spawn;
use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::agent::{Sandbox, exec, succeeded};
use crate::stats::Samples;

const COMMANDS: usize = 64;

/// As many as the machine has processors: more would only wait for one another.
const THREADS: usize = 2;

const ROUNDS: usize = 60;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let (_sandbox, mut control) = Sandbox::with_image(rig, &rig.image)?;
    let mut rows = Vec::new();
    for program in ["nop", "hello"] {
        let bare = rig.programs.path(program);
        let inside = format!("/bin/{program}");
        let (mut floor, mut ours) = (Samples::default(), Samples::default());
        for _ in 0..rig.rounds(ROUNDS) {
            floor.time(|| spawn_all(&bare))?;
            ours.time(|| exec_all(&mut control, &inside))?;
        }
        rows.push(
            Row::new(
                format!("{COMMANDS} execs of {program} at once"),
                Figure::Seconds(ours.p50()),
                Target::RatioAtMost(1.5),
            )
            .beside(format!("{COMMANDS} spawns by {THREADS} threads"), Figure::Seconds(floor.p50()))
            .paired(ours.ratio_to(&floor)),
        );
    }
    Ok(rows)
}

fn spawn_all(program: &Path) -> io::Result<()> {
    thread::scope(|scope| {
        let share = || (0..COMMANDS / THREADS).try_for_each(|_| bare_spawn(program));
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(share)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| io::Error::other("a spawning thread panicked"))?
        })
    })
}

fn exec_all(control: &mut Raw, program: &str) -> io::Result<()> {
    let mut open = HashSet::new();
    for _ in 0..COMMANDS {
        open.insert(control.send(&Request::Exec(Box::new(exec(&[program]))))?);
    }
    while !open.is_empty() {
        let (id, reply) = control.reply()?;
        match reply {
            Reply::Exec(result) if open.remove(&id) => drop(succeeded(*result)?),
            other => return Err(io::Error::other(format!("{id} was answered with {other:?}"))),
        }
    }
    Ok(())
}
