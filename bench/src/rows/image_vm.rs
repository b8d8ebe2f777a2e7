//! A real image into a microVM: its layers by streams and on a disk, its root in
//! memory and on a disk.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::broker::Broker;
use crate::stats::Samples;

/// Each boots three machines.
const ROUNDS: usize = 5;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let stream = Broker::with_settings(rig, "qemu", "image_transfer = \"stream\"")?;
    let disk = Broker::with_settings(rig, "qemu", "image_transfer = \"disk\"")?;
    let [mut by_stream, mut by_disk, mut onto_disk] = <[Samples; 3]>::default();
    for _ in 0..rig.rounds(ROUNDS) {
        by_stream.push(image_time(rig, &stream, json!({}))?);
        by_disk.push(image_time(rig, &disk, json!({}))?);
        onto_disk.push(image_time(rig, &stream, json!({"disk_mb": 2048}))?);
    }
    let row = |what, ours: &Samples| {
        Row::new(what, Figure::Seconds(ours.p50()), Target::None)
            .beside("streams, root in memory", Figure::Seconds(by_stream.p50()))
            .paired(ours.ratio_to(&by_stream))
    };
    Ok(vec![
        row("Debian into a VM, layers on a disk", &by_disk),
        row("Debian into a VM, root on a disk", &onto_disk),
    ])
}

/// What sending and unpacking took, by the broker's own clock, the copy onto the
/// disk included: the boot before it is another row's.
fn image_time(rig: &Rig, broker: &Broker, mut settings: Value) -> io::Result<Duration> {
    let image = rig.shipped("images/debian")?;
    settings["image"] = format!("oci:{}", image.display()).into();
    settings["memory_mb"] = 1024.into();
    let mut http = broker.connect()?;
    let answer = http.post("/v1/sessions", &settings)?;
    let (id, time) = (&answer["id"], &answer["boot"]["image_ms"]);
    let (Some(id), Some(time)) = (id.as_str(), time.as_u64()) else {
        return Err(io::Error::other(answer.to_string()));
    };
    http.delete(&format!("/v1/sessions/{id}"))?;
    Ok(Duration::from_millis(time))
}
