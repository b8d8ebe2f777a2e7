//! What an image's configuration says, checked and capped.
//!
//! What commands cannot do without is refused when it is wrong; what is only told
//! on is left out with a reason.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_spec::image::Config;
use postern_proto::EnvVar;
use serde::{Deserialize, Serialize};

use super::error::said;
use crate::signal;

/// Bytes of Entrypoint, Cmd, User and WorkingDir together. Real ones have some
/// hundred; they are shown with every session and kept in the store.
const MAX_WORDS: usize = 64 << 10;

/// Labels that are kept. Builders write a dozen.
const MAX_LABELS: usize = 256;

/// Bytes of all labels' names and values that are kept. Tools that put documents in
/// labels (dev containers) come to some KiB.
const MAX_LABEL_BYTES: usize = 64 << 10;

/// Ports that are kept; an image that exposes more says it with a range.
const MAX_PORTS: usize = 256;

/// Reasons that are kept. The last one then stands for the others.
const MAX_LEFT_OUT: usize = 32;

/// What an image says of itself and its commands, beside their environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// As the image names it: `name`, `uid`, `uid:gid`, `name:group`; empty: root.
    pub user: String,
    /// Made if it is missing; empty: `/`.
    pub working_dir: String,
    /// With `cmd` the command of `CreateSession::entrypoint`.
    pub entrypoint: Vec<String>,
    /// Arguments of the entrypoint, or a command of their own where there is none.
    pub cmd: Vec<String>,
    /// What asks the entrypoint to end, 1 to 64; SIGTERM where the image says none.
    pub stop_signal: u32,
    /// Names and values, at most 256 and 64 KiB.
    pub labels: BTreeMap<String, String>,
    /// `80/tcp`, `8000-8010/udp`: at most 256, in order. Nothing is opened by them.
    pub exposed_ports: Vec<String>,
    /// What of the image's configuration is not heeded, at most 32.
    pub left_out: Vec<LeftOut>,
}

/// A part of an image's configuration that is not heeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `StopSignal`, `Labels` or `ExposedPorts`.
    pub field: String,
    /// As the image has it, cut to a line; for labels their names.
    pub value: String,
    /// Why.
    pub reason: String,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            user: String::new(),
            working_dir: String::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            stop_signal: signal::TERM,
            labels: BTreeMap::new(),
            exposed_ports: Vec::new(),
            left_out: Vec::new(),
        }
    }
}

impl ImageConfig {
    fn leave_out(&mut self, field: &str, value: &str, reason: impl Into<String>) {
        if self.left_out.len() < MAX_LEFT_OUT {
            let (field, value) = (field.to_owned(), said(value));
            self.left_out.push(LeftOut { field, value, reason: reason.into() });
        } else if let Some(last) = self.left_out.last_mut() {
            "and more".clone_into(&mut last.reason);
        }
    }
}

/// What the agent is told, and what people are; or what is wrong with it.
pub(super) fn read(
    config: Option<&Config>,
) -> Result<(postern_proto::ImageConfig, ImageConfig), String> {
    let Some(config) = config else { return Ok(Default::default()) };
    let mut about = ImageConfig {
        user: config.user().clone().unwrap_or_default(),
        working_dir: config.working_dir().clone().unwrap_or_default(),
        entrypoint: words(config.entrypoint().as_ref()),
        cmd: words(config.cmd().as_ref()),
        ..ImageConfig::default()
    };
    let words = about.entrypoint.iter().chain(&about.cmd).chain([&about.user, &about.working_dir]);
    let bytes: usize = words.map(String::len).sum();
    if bytes > MAX_WORDS {
        return Err(format!(
            "has {bytes} bytes of Entrypoint, Cmd, User and WorkingDir; the cap is {MAX_WORDS}"
        ));
    }
    stop_signal(&mut about, config.stop_signal().as_deref().unwrap_or_default());
    labels(&mut about, config.labels().iter().flatten().collect());
    ports(&mut about, config.exposed_ports().iter().flatten().collect());
    let bytes = |list: &[String]| list.iter().map(|s| Bytes::from(s.clone())).collect();
    let env = config.env().iter().flatten().filter_map(|pair| pair.split_once('='));
    let told = postern_proto::ImageConfig {
        env: env.map(|(name, value)| EnvVar::new(name, value)).collect(),
        user: about.user.clone(),
        working_dir: about.working_dir.clone(),
        entrypoint: bytes(&about.entrypoint),
        cmd: bytes(&about.cmd),
    };
    Ok((told, about))
}

/// One empty word stands for none, as with docker.
fn words(list: Option<&Vec<String>>) -> Vec<String> {
    match list.map(Vec::as_slice) {
        Some([only]) if only.is_empty() => Vec::new(),
        other => other.unwrap_or_default().to_vec(),
    }
}

/// One that is none leaves SIGTERM, as with docker: an image that was made with a
/// slip in it must not be one that nobody can use.
fn stop_signal(about: &mut ImageConfig, text: &str) {
    match signal::parse(text) {
        Some(signal) => about.stop_signal = signal,
        None if text.is_empty() => {}
        None => about.leave_out("StopSignal", text, "is no signal; SIGTERM is sent"),
    }
}

fn labels(about: &mut ImageConfig, mut all: Vec<(&String, &String)>) {
    // By name, so that the same ones are left out each time.
    all.sort_unstable();
    let mut bytes = 0;
    for (name, value) in all {
        let size = name.len() + value.len();
        if about.labels.len() == MAX_LABELS {
            about.leave_out("Labels", name, format!("only {MAX_LABELS} are kept"));
        } else if bytes + size > MAX_LABEL_BYTES {
            let reason = format!("only {MAX_LABEL_BYTES} bytes of all labels are kept");
            about.leave_out("Labels", name, reason);
        } else {
            bytes += size;
            about.labels.insert(name.clone(), value.clone());
        }
    }
}

fn ports(about: &mut ImageConfig, all: Vec<&String>) {
    let mut good: Vec<Port> = Vec::new();
    let mut bad: Vec<&String> = Vec::new();
    for text in all {
        match Port::parse(text) {
            Some(port) => good.push(port),
            None => bad.push(text),
        }
    }
    good.sort_unstable();
    good.dedup();
    bad.sort_unstable();
    for text in bad {
        let reason = "is no port (1 to 65535, or a range, with tcp, udp or sctp)";
        about.leave_out("ExposedPorts", text, reason);
    }
    let over = good.split_off(good.len().min(MAX_PORTS));
    about.exposed_ports = good.iter().map(Port::text).collect();
    for port in over {
        about.leave_out("ExposedPorts", &port.text(), format!("only {MAX_PORTS} are kept"));
    }
}

/// One port or a range of them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    first: u16,
    last: u16,
    protocol: &'static str,
}

impl Port {
    fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let known = ["tcp", "udp", "sctp"];
        let protocol = known.into_iter().find(|p| p.eq_ignore_ascii_case(protocol))?;
        let number = |text: &str| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port != 0)
        };
        let (first, last) = match ports.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(ports)?, number(ports)?),
        };
        (first <= last).then_some(Self { first, last, protocol })
    }

    fn text(&self) -> String {
        let Self { first, last, protocol } = self;
        if first == last {
            format!("{first}/{protocol}")
        } else {
            format!("{first}-{last}/{protocol}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn about(config: Value) -> Result<ImageConfig, String> {
        let config: Config = serde_json::from_value(config).unwrap();
        read(Some(&config)).map(|(_, about)| about)
    }

    fn left_out(about: &ImageConfig) -> Vec<(&str, &str)> {
        about.left_out.iter().map(|l| (l.field.as_str(), l.value.as_str())).collect()
    }

    #[test]
    fn everything_that_an_image_says() {
        let about = about(json!({
            "User": "odd:users", "WorkingDir": "/srv", "Entrypoint": ["/e", "-x"], "Cmd": ["c"],
            "StopSignal": "SIGQUIT", "Labels": {"b": "2", "a": "1"},
            "ExposedPorts": {"443": {}, "80/tcp": {}, "53/UDP": {}, "8000-8010/tcp": {}},
        }))
        .unwrap();
        assert_eq!((about.user.as_str(), about.working_dir.as_str()), ("odd:users", "/srv"));
        assert_eq!((about.entrypoint.len(), about.cmd.len(), about.stop_signal), (2, 1, 3));
        assert_eq!(about.labels.get("a").map(String::as_str), Some("1"));
        assert_eq!(about.exposed_ports, ["53/udp", "80/tcp", "443/tcp", "8000-8010/tcp"]);
        assert_eq!(about.left_out, []);
    }

    #[test]
    fn an_image_that_says_nothing_is_stopped_by_term() {
        assert_eq!(read(None).unwrap().1, ImageConfig::default());
        assert_eq!(
            about(json!({"Entrypoint": [""], "Cmd": null})).unwrap(),
            ImageConfig::default()
        );
        assert_eq!(ImageConfig::default().stop_signal, 15);
    }

    #[test]
    fn a_stop_signal_that_is_none_is_left_out_with_a_reason() {
        for text in ["SIGNOPE", "0", "65", "-1", "TERM\u{1b}[31m"] {
            let about = about(json!({"StopSignal": text})).unwrap();
            assert_eq!(about.stop_signal, 15, "{text:?}");
            assert_eq!(about.left_out[0].field, "StopSignal");
            assert!(!about.left_out[0].value.contains('\u{1b}'), "{about:?}");
        }
        for (text, number) in [("9", 9), ("int", 2), ("SIGRTMIN+3", 37)] {
            assert_eq!(about(json!({"StopSignal": text})).unwrap().stop_signal, number, "{text}");
        }
    }

    #[test]
    fn ports_that_are_none_are_left_out_with_a_reason() {
        let bad = [
            "",
            "0",
            "99999/tcp",
            "80/icmp",
            "80/",
            "/tcp",
            "-1",
            "+80",
            "9-8",
            "80/tcp/udp",
            "1-2-3",
        ];
        let map: serde_json::Map<_, _> = bad.iter().map(|p| ((*p).to_owned(), json!({}))).collect();
        let about = about(json!({"ExposedPorts": map})).unwrap();
        assert!(about.exposed_ports.is_empty(), "{about:?}");
        let mut sorted = bad.map(|text| ("ExposedPorts", text));
        sorted.sort_unstable();
        assert_eq!(left_out(&about), sorted);
    }

    #[test]
    fn what_is_too_much_is_left_out_and_too_many_words_are_refused() {
        let many: BTreeMap<_, _> =
            (0..MAX_LABELS + 100).map(|n| (format!("l{n:04}"), "")).collect();
        let kept = about(json!({"Labels": many})).unwrap();
        assert_eq!((kept.labels.len(), kept.left_out.len()), (MAX_LABELS, MAX_LEFT_OUT));
        assert_eq!(kept.left_out.last().unwrap().reason, "and more");
        let long = about(json!({"Labels": {"a": "x".repeat(MAX_LABEL_BYTES), "b": "y"}})).unwrap();
        assert_eq!(long.labels.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(left_out(&long), [("Labels", "a")]);
        let ports: BTreeMap<_, _> = (1..=300).map(|n| (n.to_string(), json!({}))).collect();
        let ports = about(json!({"ExposedPorts": ports})).unwrap();
        assert_eq!((ports.exposed_ports.len(), ports.left_out.len()), (MAX_PORTS, MAX_LEFT_OUT));
        let error = about(json!({"Cmd": ["x".repeat(MAX_WORDS + 1)]})).unwrap_err();
        assert!(error.contains("Cmd"), "{error}");
    }
}
