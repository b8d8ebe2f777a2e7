//! A large file in and out through HTTP.

use std::io;

use crate::floor::copy::{self, Hops};
use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::broker::Broker;
use crate::rig::memory;
use crate::stats::Samples;

const ROUNDS: usize = 8;

/// What a transfer may cost a side beyond what it used before.
const GROWTH: f64 = (8 << 20) as f64;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let broker = Broker::start(rig, "process")?;
    let mut http = broker.connect()?;
    let session = broker.roomy_session(&mut http)?;
    let url = format!("{session}/files/home/user/large");
    let size = rig.bulk();
    let file = rig.tmp().join("large");
    let serve = memory::named(broker.pid(), "postern-serve")?.pid;
    let sides = [broker.pid(), serve];
    let mut used = [0; 2];
    for (side, used) in sides.iter().zip(&mut used) {
        (*used, _) = memory::now_and_peak(*side)?;
        memory::reset_peak(*side)?;
    }
    let [mut in_floor, mut in_ours, mut out_floor, mut out_ours] = <[Samples; 4]>::default();
    for _ in 0..rig.rounds(ROUNDS) {
        in_floor.push(copy::into_file(Hops::UnixAndTcp, &file, size)?);
        in_ours.time(|| http.put(&url, size))?;
        out_floor.push(copy::out_of_file(Hops::UnixAndTcp, &file, size)?);
        let answer = out_ours.time(|| http.get(&url))?;
        if answer.length != size {
            return Err(io::Error::other(format!("{} bytes of {size}", answer.length)));
        }
        // Both start anew: a file that is there would be freed in our time.
        http.put(&url, 0)?;
    }
    std::fs::remove_file(&file)?;
    let rate = |samples: &Samples| Figure::BytesPerSecond(size as f64 / samples.p50());
    let mut rows = vec![
        Row::new("upload, HTTP PUT", rate(&in_ours), Target::RatioAtLeast(0.7))
            .beside("copy: TCP, Unix socket, file", rate(&in_floor))
            .paired(in_floor.ratio_to(&in_ours)),
        Row::new("download, HTTP GET", rate(&out_ours), Target::RatioAtLeast(0.7))
            .beside("copy: file, Unix socket, TCP", rate(&out_floor))
            .paired(out_floor.ratio_to(&out_ours)),
    ];
    for ((side, used), name) in sides.iter().zip(used).zip(["the broker", "serve"]) {
        let (_, peak) = memory::now_and_peak(*side)?;
        let growth = Figure::Bytes(peak.saturating_sub(used) as f64);
        let label = format!("growth of {name} meanwhile");
        rows.push(Row::new(label, growth, Target::AtMost(Figure::Bytes(GROWTH))));
    }
    Ok(rows)
}
