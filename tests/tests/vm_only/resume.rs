//! A machine that was restored: its clock and its random numbers.

use bytes::Bytes;
use postern_proto::{Code, Exec, ExitStatus, Purpose, Reply, Request, Resume};
use postern_tests::raw::{Raw, ok};
use postern_tests::{Rig, wait};
use serde_json::json;

const DAY: u64 = 24 * 3600;

/// Runs a line of shell to its end, and gives what it said and how it ended.
fn run(
    host: &mut Raw,
    id: &str,
    line: &str,
    timeout_ms: Option<u64>,
) -> (String, postern_proto::Exit) {
    let exec = Exec {
        command_id: id.to_owned(),
        argv: ["sh", "-c", line].map(|arg| Bytes::from(arg.to_owned())).to_vec(),
        timeout_ms,
        wait: true,
        inline_limit: 4096,
        ..Exec::default()
    };
    let reply = ok(host.ask(&Request::Exec(Box::new(exec))).unwrap()).unwrap();
    let Reply::Exec(result) = reply else { panic!("{reply:?}") };
    let said: Vec<u8> = result.output.iter().flat_map(|c| c.data.iter().copied()).collect();
    let postern_proto::CommandState::Exited(exit) = result.command.state else {
        panic!("{result:?}")
    };
    (String::from_utf8(said).unwrap().trim_end().to_owned(), exit)
}

pub(crate) fn a_resume_sets_the_clock_and_no_timeout_runs_out(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let mut host = Raw::connect(&session.agent(), Purpose::Control, u64::MAX).unwrap();
    let exec = Exec {
        command_id: "before".to_owned(),
        argv: ["sh", "-c", "read x; echo went on"].map(Bytes::from).to_vec(),
        stdin_open: true,
        timeout_ms: Some(wait::seconds(600).as_millis().try_into().unwrap()),
        ..Exec::default()
    };
    ok(host.ask(&Request::Exec(Box::new(exec))).unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let tomorrow = now.as_secs() + DAY;
    let resume = |unix_us, entropy| {
        Request::Resume(Resume { unix_us, entropy: Bytes::from(entropy), configure: None })
    };
    let code = |host: &mut Raw, request: &Request| host.ask(request).unwrap().unwrap_err().code;
    assert_eq!(code(&mut host, &resume(tomorrow * 1_000_000, vec![1; 31])), Code::InvalidArgument);
    let (today, _) = run(&mut host, "today", "date +%s", None);
    assert!(today.parse::<u64>().unwrap() < tomorrow - DAY / 2, "nothing is done by halves");
    let asked = resume(tomorrow * 1_000_000, vec![7; 64]);
    assert_eq!(host.ask(&asked).unwrap(), Ok(Reply::Done));
    let (date, _) = run(&mut host, "date", "date +%s", None);
    let ahead = date.parse::<u64>().unwrap().checked_sub(tomorrow);
    assert!(ahead.is_some_and(|s| s < wait::seconds(60).as_secs()), "{date} is not {tomorrow}");
    // The timeout of before has not run out, and one of now does in its time.
    let write = postern_proto::WriteStdin {
        command_id: "before".to_owned(),
        offset: Some(0),
        data: Bytes::from("\n"),
        eof: true,
    };
    ok(host.ask(&Request::WriteStdin(write)).unwrap()).unwrap();
    let waits = Request::WaitCommand {
        command_id: "before".to_owned(),
        timeout_ms: None,
        until_closed: true,
    };
    let Reply::Command(info) = ok(host.ask(&waits).unwrap()).unwrap() else { panic!("no command") };
    let exit = match info.state {
        postern_proto::CommandState::Exited(exit) => exit,
        other => panic!("{other:?}"),
    };
    assert_eq!((exit.status, exit.timed_out), (ExitStatus::Code(0), false));
    let (_, exit) = run(&mut host, "late", "sleep 1000", Some(200));
    assert!(exit.timed_out);
}
