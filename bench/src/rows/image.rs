//! From a request to the end of a first command, by how much of the image is at
//! hand: nothing (a registry has it), its layers, or what another session unpacked.

use std::io;

use postern_tests::registry::{Registry, sample};
use serde_json::json;

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::broker::{Broker, exec};
use crate::rig::http::Http;
use crate::stats::Samples;

const ROUNDS: usize = 5;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let Some(registry) = Registry::start("bench") else {
        return Err(io::Error::other("no docker-registry or no skopeo"));
    };
    registry.push(&sample("debian"), "debian:1");
    let image = format!("{}/debian:1", registry.address);
    let [mut cold, mut cached, mut shared] = <[Samples; 3]>::default();
    for _ in 0..rig.rounds(ROUNDS) {
        // Nothing is shared here: the second session unpacks as the first did.
        let alone = Broker::with_settings(rig, "process", "share_images = false")?;
        let mut http = alone.connect()?;
        for samples in [&mut cold, &mut cached] {
            let session = samples.time(|| first_exec(&alone, &mut http, &image))?;
            http.delete(&session)?;
        }
        drop(alone);
        let sharing = Broker::start(rig, "process")?;
        let mut http = sharing.connect()?;
        first_exec(&sharing, &mut http, &image)?;
        shared.time(|| first_exec(&sharing, &mut http, &image))?;
    }
    let row = |what, samples: &Samples| {
        Row::new(what, Figure::Seconds(samples.p50()), Target::None)
            .beside("its layers at hand", Figure::Seconds(cached.p50()))
    };
    Ok(vec![
        row("Debian to its first exec, pulled", &cold),
        row("  with its layers in the store", &cached),
        row("  unpacked by an earlier session", &shared),
    ])
}

fn first_exec(broker: &Broker, http: &mut Http, image: &str) -> io::Result<String> {
    let session = broker.create(http, &json!({"image": image, "memory_mb": 1024}))?;
    exec(http, &session, &["/bin/true"])?;
    Ok(session)
}
