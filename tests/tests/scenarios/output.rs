//! Output has absolute offsets, and what is gone is named.

use postern_tests::events::contiguous;
use postern_tests::{Rig, Session, command::Command};
use serde_json::json;

fn numbers(session: &Session) -> (Command<'_>, Vec<u8>) {
    let command = session.start(json!({"argv": ["seq", "1", "5000"]}));
    command.closed();
    let all = (1..=5000).map(|n| format!("{n}\n")).collect::<String>().into_bytes();
    (command, all)
}

pub(crate) fn output_is_read_from_any_offset(rig: &Rig) {
    let session = rig.shared();
    let (command, all) = numbers(&session);
    for from in [0, 1, 2, 4095, 4096, 4097, 10_000, all.len() - 1, all.len()] {
        let rest = &all[from..];
        assert_eq!(contiguous(&command.events(&format!("?from={from}")), from as u64), rest);
        let mut raw = command.output(&format!("?from={from}"));
        assert_eq!(raw.header("x-postern-offset"), Some(from.to_string().as_str()));
        assert_eq!(raw.whole().unwrap(), rest);
        let resumed = postern_tests::events::Events::new(command.resume("?from=1", from as u64));
        assert_eq!(contiguous(&resumed.all().unwrap(), from as u64), rest);
    }
}

pub(crate) fn an_offset_that_is_none_is_refused(rig: &Rig) {
    let session = rig.shared();
    let (command, all) = numbers(&session);
    for path in ["stream", "output"] {
        let ask = |from: &str| {
            let path = format!("/commands/{}/{path}?from={from}", command.id);
            session.ask("GET", &path, &json!(null))
        };
        let beyond = (all.len() + 1).to_string();
        for from in [beyond.as_str(), "9223372036854775808", "18446744073709551615"] {
            let error = ask(from).error(416, "out_of_range");
            assert_eq!(error["field"], "from", "{from}");
        }
        for from in ["-1", "abc", "1.5", "99999999999999999999"] {
            assert_eq!(ask(from).error(400, "invalid_argument")["field"], "from", "{from}");
        }
    }
}

pub(crate) fn dropped_output_is_a_named_gap(rig: &Rig) {
    let session = rig.shared();
    let request = json!({"command": "seq 1 100000", "window_bytes": 65536});
    let command = session.start(request);
    let info = command.closed();
    let all = (1..=100_000).map(|n| format!("{n}\n")).collect::<String>().into_bytes();
    assert_eq!(info["output_bytes"], all.len());
    let first = info["output_first"].as_u64().unwrap();
    assert!(first > 0, "nothing was dropped: {info}");
    let events = command.events("");
    assert_eq!(events[0].name, "gap");
    assert_eq!((events[0].number("from"), events[0].number("to")), (0, first));
    let rest = usize::try_from(first).unwrap();
    assert_eq!(contiguous(&events[1..], first), &all[rest..]);
    let mut raw = command.output("");
    assert_eq!(raw.header("x-postern-offset"), Some(first.to_string().as_str()));
    assert_eq!(raw.whole().unwrap(), &all[rest..]);
}

pub(crate) fn a_filtered_reader_counts_its_own_stream(rig: &Rig) {
    let session = rig.shared();
    let line = "i=0; while [ $i -lt 200 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done";
    let command = session.start(json!({"command": line}));
    let info = command.closed();
    let expected = |name: &str| (0..200).map(|i| format!("{name}{i}\n")).collect::<String>();
    for (stream, name) in [("stdout", "out"), ("stderr", "err")] {
        let all = expected(name).into_bytes();
        assert_eq!(info[format!("{stream}_bytes")], all.len());
        for from in [0, 1, 100, all.len()] {
            let mut raw = command.output(&format!("?stream={stream}&from={from}"));
            assert_eq!(raw.whole().unwrap(), &all[from..], "{stream} from {from}");
        }
    }
    let events = command.events("");
    for (stream, name) in [("stdout", "out"), ("stderr", "err")] {
        let of = events.iter().filter(|e| e.data["stream"] == stream);
        let bytes: Vec<u8> = of.flat_map(postern_tests::events::Event::bytes).collect();
        assert_eq!(bytes, expected(name).into_bytes());
    }
    assert_eq!(contiguous(&events, 0).len() as u64, info["output_bytes"].as_u64().unwrap());
}

pub(crate) fn bytes_that_are_no_text_arrive_exactly(rig: &Rig) {
    let session = rig.shared();
    let all: Vec<u8> = (0..=255).chain("é€😀".bytes()).chain([0xff, 0, 0xf0, 0x9f]).collect();
    assert_eq!(session.put("/tmp/bytes", &all).status, 200);
    let command = session.start(json!({"argv": ["cat", "/tmp/bytes"]}));
    command.closed();
    assert_eq!(contiguous(&command.events(""), 0), all);
    assert_eq!(command.output("").whole().unwrap(), all);
    let small = command.events("?max_bytes=1");
    assert_eq!(contiguous(&small, 0), all);
    let done = session.exec(&json!({"argv": ["cat", "/tmp/bytes"]})).ok();
    assert_eq!(done["output_encoding"], "base64");
}

pub(crate) fn a_quick_death_loses_no_byte(rig: &Rig) {
    let session = rig.shared();
    let size = rig.size(8 << 20, 1 << 20);
    for _ in 0..5 {
        let request = json!({"argv": ["head", "-c", size.to_string(), "/dev/zero"]});
        let done = session.exec(&request).ok();
        assert_eq!(done["output_bytes"], size);
        assert_eq!(done["stdout"].as_str().unwrap().len(), size);
        assert_eq!(done["output_truncated"], false);
    }
}

pub(crate) fn foreground_output_over_the_cap_is_marked(rig: &Rig) {
    let session = rig.shared();
    let done =
        session.exec(&json!({"command": "seq 1 2000; echo end >&2", "max_output_bytes": 100})).ok();
    assert_eq!(done["output_truncated"], true);
    assert_eq!(done["output"].as_str().unwrap().len(), 100);
    assert_eq!(done["exit_code"], 0, "the cap does not stop the command");
    let command = session.command(done["command_id"].as_str().unwrap());
    let mut rest = command.output("?from=100");
    assert_eq!(rest.whole().unwrap().len() as u64, done["output_bytes"].as_u64().unwrap() - 100);
}

pub(crate) fn a_flood_that_nobody_reads_stays_within_its_window(rig: &Rig) {
    let session = rig.shared();
    let command =
        session.start(json!({"command": "yes", "timeout_ms": 2000, "kill_grace_ms": 100}));
    let info = command.closed();
    let (first, end) =
        (info["output_first"].as_u64().unwrap(), info["output_bytes"].as_u64().unwrap());
    assert!(end > 2 << 20, "{info}");
    assert!(end - first <= 2 << 20, "the log keeps {} bytes", end - first);
}
