//! A large file in and out through the agent's protocol.

use std::io;

use bytes::Bytes;
use postern_proto::{ReadFile, StreamEnd, StreamOpen, WriteFile};

use crate::floor::copy::{self, Hops};
use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::agent::Sandbox;
use crate::rig::link::Link;
use crate::rig::memory;
use crate::stats::Samples;

const ROUNDS: usize = 8;

/// What a transfer may cost a side beyond what it used before.
const GROWTH: f64 = (8 << 20) as f64;

const PATH: &[u8] = b"/home/user/large";

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let (sandbox, _control) = Sandbox::with_image(rig, &rig.image)?;
    let size = rig.bulk();
    let file = rig.tmp().join("large");
    let serve = memory::named(sandbox.pid(), "postern-serve")?.pid;
    let (used, _) = memory::now_and_peak(serve)?;
    memory::reset_peak(serve)?;
    let [mut in_floor, mut in_ours, mut out_floor, mut out_ours] = <[Samples; 4]>::default();
    for _ in 0..rig.rounds(ROUNDS) {
        in_floor.push(copy::into_file(Hops::Unix, &file, size)?);
        in_ours.time(|| upload(&sandbox, size))?;
        out_floor.push(copy::out_of_file(Hops::Unix, &file, size)?);
        out_ours.time(|| download(&sandbox, size))?;
        // Both start anew: a file that is there would be freed in our time.
        upload(&sandbox, 0)?;
    }
    std::fs::remove_file(&file)?;
    let (_, peak) = memory::now_and_peak(serve)?;
    let rate = |samples: &Samples| Figure::BytesPerSecond(size as f64 / samples.p50());
    let growth = Figure::Bytes(peak.saturating_sub(used) as f64);
    Ok(vec![
        Row::new("upload, protocol", rate(&in_ours), Target::RatioAtLeast(0.7))
            .beside("copy: Unix socket, file", rate(&in_floor))
            .paired(in_floor.ratio_to(&in_ours)),
        Row::new("download, protocol", rate(&out_ours), Target::RatioAtLeast(0.7))
            .beside("copy: file, Unix socket", rate(&out_floor))
            .paired(out_floor.ratio_to(&out_ours)),
        Row::new("growth of serve meanwhile", growth, Target::AtMost(Figure::Bytes(GROWTH))),
    ])
}

fn upload(sandbox: &Sandbox, size: u64) -> io::Result<()> {
    let open =
        WriteFile { path: Bytes::from_static(PATH), size: Some(size), ..WriteFile::default() };
    match Link::open(&sandbox.address, &StreamOpen::WriteFile(open))?.send(size)? {
        StreamEnd::File(info) if info.size == size => Ok(()),
        other => Err(io::Error::other(format!("an upload ended with {other:?}"))),
    }
}

fn download(sandbox: &Sandbox, size: u64) -> io::Result<()> {
    let open = ReadFile { path: Bytes::from_static(PATH), ..ReadFile::default() };
    let (got, end) = Link::open(&sandbox.address, &StreamOpen::ReadFile(open))?.drain()?;
    match end {
        StreamEnd::Error(e) => Err(io::Error::other(e.message)),
        _ if got == size => Ok(()),
        _ => Err(io::Error::other(format!("{got} bytes of {size}"))),
    }
}
