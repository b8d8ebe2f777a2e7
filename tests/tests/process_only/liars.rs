//! Agents that break the protocol: a typed error for who asked, and nothing
//! for anybody else.

use postern_tests::events::Events;
use postern_tests::fake::{FakeAgent, Lie};
use postern_tests::{Rig, Session, wait};
use serde_json::{Value, json};

fn attached<'a>(rig: &'a Rig, liar: &FakeAgent) -> postern_tests::rig::Fresh<'a> {
    rig.fresh(json!({"attach": {"unix": liar.socket()}}))
}

/// What a follower gets to see must be an error and no exit.
fn ends_in_an_error(session: &Session, lie: Lie) -> Value {
    let command = session.start(json!({"command": "whatever"}));
    let events = Events::new(command.stream("")).all().unwrap();
    let exits = events.iter().filter(|event| event.name == "exit").count();
    assert_eq!(exits, 0, "{lie:?}: an exit was believed: {events:?}");
    let last = events.last().unwrap_or_else(|| panic!("{lie:?}: the stream ended without a word"));
    assert_eq!(last.name, "error", "{lie:?}: {events:?}");
    last.data.clone()
}

/// Whether raw output comes to a proper end. A lie in the very first bytes may
/// cut the connection before there is an answer.
fn ends_well(session: &Session, query: &str) -> bool {
    let command = session.start(json!({"command": "x"}));
    let path = format!("/v1/sessions/{}/commands/{}/output{query}", session.id, command.id);
    let response = session.broker().http.send("GET", &path, &[], b"");
    response.is_ok_and(|mut response| response.status == 200 && response.whole().is_ok())
}

fn is_found_out(rig: &Rig, lie: Lie) {
    let liar = FakeAgent::start(lie);
    let session = attached(rig, &liar);
    let witness = rig.shared();
    let error = ends_in_an_error(&session, lie);
    assert!(!error["message"].as_str().unwrap().is_empty(), "{lie:?}: {error}");
    assert!(!ends_well(&session, "?follow=true"), "{lie:?}: raw output ended as if it were whole");
    assert_eq!(witness.say("echo others go on"), "others go on");
}

pub(crate) fn offsets_that_jump_are_an_error(rig: &Rig) {
    is_found_out(rig, Lie::OffsetJump);
}

pub(crate) fn offsets_that_go_back_are_an_error(rig: &Rig) {
    is_found_out(rig, Lie::OffsetBack);
}

pub(crate) fn a_log_that_is_final_elsewhere_is_an_error(rig: &Rig) {
    // A stream that ends with the exit may leave late output unread; one that
    // goes to the end of the log may not.
    let liar = FakeAgent::start(Lie::ClosedElsewhere);
    let session = attached(rig, &liar);
    assert!(!ends_well(&session, "?follow=true&until=closed"), "998 bytes were lost in silence");
    assert_eq!(rig.shared().say("echo others go on"), "others go on");
}

pub(crate) fn a_frame_over_the_cap_is_an_error(rig: &Rig) {
    is_found_out(rig, Lie::FrameOverCap);
}

pub(crate) fn bytes_that_are_no_frame_are_an_error(rig: &Rig) {
    is_found_out(rig, Lie::Garbage);
}

pub(crate) fn a_second_exit_is_told_once(rig: &Rig) {
    let liar = FakeAgent::start(Lie::SecondExit);
    let session = attached(rig, &liar);
    let command = session.start(json!({"command": "x"}));
    let events = Events::new(command.stream("")).all().unwrap();
    assert_eq!(events.iter().filter(|event| event.name == "exit").count(), 1, "{events:?}");
    assert_eq!(rig.shared().say("echo others go on"), "others go on");
}

pub(crate) fn silence_is_no_exit_and_stalls_nobody_else(rig: &Rig) {
    let liar = FakeAgent::start(Lie::Silence);
    let session = attached(rig, &liar);
    let command = session.start(json!({"command": "x"}));
    let streams: Vec<_> = (0..50).map(|_| command.stream("")).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    let witness = rig.shared();
    for _ in 0..20 {
        assert_eq!(witness.say("echo others go on"), "others go on");
    }
    assert_eq!(command.info()["status"], "running");
}

pub(crate) fn a_link_that_always_breaks_costs_no_spinning(rig: &Rig) {
    let liar = FakeAgent::start(Lie::HangsUp);
    let session = attached(rig, &liar);
    let command = session.start(json!({"command": "x"}));
    // Each connection brings a byte: it goes on by offset, and never invents.
    let mut events = Events::new(command.stream(""));
    for at in 0..3 {
        let event = events.event().unwrap().unwrap();
        assert_eq!((event.name.as_str(), event.number("offset")), ("output", at));
    }
    drop(events);
    assert_eq!(rig.shared().say("echo others go on"), "others go on");
}

pub(crate) fn an_agent_that_is_not_there_is_an_error_with_a_deadline(rig: &Rig) {
    let begun = std::time::Instant::now();
    let answer = rig.make(json!({"attach": {"unix": "/no/such/agent.sock"}})).unwrap_err();
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    assert!(begun.elapsed() < wait::seconds(120));
}
