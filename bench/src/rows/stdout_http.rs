//! Output in bulk through HTTP, without a loss: as raw bytes, and as events.

use std::io;

use crate::floor::relay;
use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::broker::{Broker, start_lossless};
use crate::rig::http::Http;
use crate::stats::Samples;

const ROUNDS: usize = 8;

/// Payload a second in events.
const EVENTS: Figure = Figure::BytesPerSecond(0.4e9);

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let broker = Broker::start(rig, "process")?;
    let mut http = broker.connect()?;
    let session = broker.session(&mut http)?;
    let size = rig.bulk();
    let flood = rig.programs.path("flood");
    let [mut zeros, mut text] = <[Samples; 2]>::default();
    let [mut raw, mut events] = <[Samples; 2]>::default();
    for _ in 0..rig.rounds(ROUNDS) {
        zeros.push(relay::over_tcp(&flood, &[size.to_string()], size)?);
        raw.time(|| raw_output(&mut http, &session, size))?;
        // JSON would blow zeros up to six times their size: lines of text.
        text.push(relay::over_tcp(&flood, &[size.to_string(), "text".to_owned()], size)?);
        events.time(|| as_events(&mut http, &session, size))?;
    }
    let rate = |samples: &Samples| Figure::BytesPerSecond(size as f64 / samples.p50());
    let floor = "relay: pipe, Unix socket, TCP";
    Ok(vec![
        Row::new("stdout in bulk, HTTP, raw, lossless", rate(&raw), Target::RatioAtLeast(0.7))
            .beside(floor, rate(&zeros))
            .paired(zeros.ratio_to(&raw)),
        Row::new("stdout in bulk, SSE, text payload", rate(&events), Target::AtLeast(EVENTS))
            .beside(floor, rate(&text))
            .paired(text.ratio_to(&events)),
    ])
}

fn raw_output(http: &mut Http, session: &str, size: u64) -> io::Result<()> {
    let argv = ["/bin/flood".to_owned(), size.to_string()];
    let command = start_lossless(http, session, &argv)?;
    let answer = http.get(&format!("{command}/output?follow=true&lossless=true"))?;
    if answer.length == size {
        return Ok(());
    }
    Err(io::Error::other(format!("{} bytes of {size}", answer.length)))
}

/// The last event tells how much there was; the stream breaks if any is lost.
fn as_events(http: &mut Http, session: &str, size: u64) -> io::Result<()> {
    let argv = ["/bin/flood".to_owned(), size.to_string(), "text".to_owned()];
    let command = start_lossless(http, session, &argv)?;
    let answer = http.get(&format!("{command}/stream?lossless=true"))?;
    let tail = String::from_utf8_lossy(&answer.tail);
    let whole = tail.contains("event: exit") && tail.contains(&format!("\"output_bytes\":{size}"));
    if whole { Ok(()) } else { Err(io::Error::other(format!("the events ended with {tail}"))) }
}
