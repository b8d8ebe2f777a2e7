//! A process sandbox has its host's clock, and never sets it.

use bytes::Bytes;
use postern_proto::{Code, Purpose, Reply, Request, Resume};
use postern_tests::Rig;
use postern_tests::raw::Raw;
use serde_json::json;

pub(crate) fn a_sandbox_leaves_the_hosts_clock_alone(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let mut host = Raw::connect(&session.agent(), Purpose::Control, u64::MAX).unwrap();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let resume = |unix_us| {
        Request::Resume(Resume { unix_us, entropy: Bytes::from(vec![7; 64]), configure: None })
    };
    let before = now();
    let tomorrow = u64::try_from(before.as_micros()).unwrap() + 24 * 3_600_000_000;
    let error = host.ask(&resume(tomorrow)).unwrap().unwrap_err();
    assert_eq!((error.code, error.field.as_deref()), (Code::FailedPrecondition, Some("unix_us")));
    // What it says anyway may be asked for, and so may entropy alone.
    let this_moment = u64::try_from(now().as_micros()).unwrap();
    for unix_us in [this_moment, 0] {
        assert_eq!(host.ask(&resume(unix_us)).unwrap(), Ok(Reply::Done));
    }
    assert!(now() - before < std::time::Duration::from_secs(3600), "the host's clock was set");
}
