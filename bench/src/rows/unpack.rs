//! A real image's layer into a sandbox's root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postern_tests::raw::{Raw, load_image};
use serde_json::Value;

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::agent::Sandbox;
use crate::rig::memory;
use crate::stats::Samples;

const ROUNDS: usize = 5;

/// As for any transfer (DESIGN.md, section 9).
const MEMORY: u64 = 8 << 20;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let layout = rig.shipped("images/debian")?;
    let layer = only_layer(&layout)?;
    let [mut gzip, mut tar, mut umoci, mut ours] = <[Samples; 4]>::default();
    let mut peak = 0;
    let mut no_umoci = None;
    for _ in 0..if rig.quick { 1 } else { ROUNDS } {
        gzip.time(|| run(Command::new("gzip").arg("-dc").arg(&layer)))?;
        let dir = rig.dir()?;
        tar.time(|| run(Command::new("tar").arg("-xzf").arg(&layer).arg("-C").arg(dir.path())))?;
        drop(dir);
        peak = peak.max(load(rig, &layout, &mut ours)?);
        if no_umoci.is_none() {
            let dir = rig.dir()?;
            let image = format!("{}:latest", layout.display());
            let mut unpack = Command::new("umoci");
            unpack.args(["unpack", "--image", &image]).arg(dir.path().join("bundle"));
            no_umoci = umoci.time(|| run(&mut unpack)).err();
        }
    }
    let row = |what, floor_is, floor: &Samples, limit| {
        Row::new(what, Figure::Seconds(ours.p50()), Target::RatioAtMost(1.0 / limit))
            .beside(floor_is, Figure::Seconds(floor.p50()))
    };
    let mut rows = vec![row("unpack Debian's layer, 1.3 x as fast", "tar -xzf", &tar, 1.3)];
    rows.push(
        Row::new("  and beside", Figure::Seconds(ours.p50()), Target::None)
            .beside("gzip -dc > /dev/null", Figure::Seconds(gzip.p50())),
    );
    match no_umoci {
        None => rows.push(row("unpack Debian's layer, 2.5 x as fast", "umoci unpack", &umoci, 2.5)),
        Some(e) => eprintln!("umoci is left out: {e}"),
    }
    let limit = Target::AtMost(Figure::Bytes(MEMORY as f64));
    rows.push(Row::new("agent's memory for it, at most", Figure::Bytes(peak as f64), limit));
    Ok(rows)
}

/// Gives how much more memory the agent had meanwhile than before.
fn load(rig: &Rig, layout: &Path, ours: &mut Samples) -> io::Result<u64> {
    let sandbox = Sandbox::start(rig)?;
    let mut control = Raw::control(&sandbox.address)?;
    let serve = memory::named(sandbox.pid(), "postern-serve")?.pid;
    memory::reset_peak(serve)?;
    let (before, _) = memory::now_and_peak(serve)?;
    ours.time(|| load_image(&sandbox.address, &mut control, layout))?;
    let (_, peak) = memory::now_and_peak(serve)?;
    Ok(peak.saturating_sub(before))
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

fn only_layer(layout: &Path) -> io::Result<PathBuf> {
    let blob = |value: &Value| {
        layout.join("blobs").join(value.as_str().unwrap_or_default().replace(':', "/"))
    };
    let read = |path: PathBuf| -> io::Result<Value> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
    };
    let index = read(layout.join("index.json"))?;
    let manifest = read(blob(&index["manifests"][0]["digest"]))?;
    match manifest["layers"].as_array().map(Vec::as_slice) {
        Some([layer]) => Ok(blob(&layer["digest"])),
        _ => Err(io::Error::other("the image has more than one layer")),
    }
}
