//! Requests of the API from options of the command line.

use serde_json::{Map, Value, json};

use crate::args::{FirstCommand, LimitOptions, ProcessOptions, SessionOptions};
use crate::terminal::{self, Size};

/// The body that makes a session.
pub(super) fn session(image: Option<&str>, options: &SessionOptions, env: &[String]) -> Value {
    object(vec![
        ("image", json!(image)),
        ("pull_policy", json!(options.pull.map(crate::args::PullPolicy::as_str))),
        ("driver", json!(options.driver.map(crate::args::Driver::as_str))),
        ("memory_mb", json!(options.memory)),
        ("cpus", json!(options.cpus)),
        ("ttl", json!(options.ttl)),
        ("root_size_mb", json!(options.root_size)),
        ("disk_mb", json!(options.disk)),
        ("hostname", json!(options.hostname)),
        ("network", json!(options.network)),
        ("ephemeral", json!(true)),
        ("env", environment(env)),
    ])
}

/// What a session starts by itself.
pub(super) fn first_command(body: &mut Value, first: &FirstCommand) {
    if first.entrypoint {
        body["entrypoint"] = true.into();
    }
    if !first.cmd.is_empty() {
        body["cmd"] = json!(first.cmd);
    }
}

/// A command to start.
#[derive(Debug)]
pub(super) struct Exec<'a> {
    pub(super) program: Program<'a>,
    pub(super) process: &'a ProcessOptions,
    pub(super) limits: &'a LimitOptions,
    pub(super) stdin: bool,
    pub(super) tty: Option<Size>,
    /// Somebody reads it from the first byte on.
    pub(super) followed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Program<'a> {
    Argv(&'a [String]),
    /// By the user's login shell; without any it is that shell alone.
    Login(&'a [String]),
}

impl Exec<'_> {
    /// The body that starts it; its output is followed beside it.
    pub(super) fn body(&self) -> Value {
        let process = self.process;
        object(vec![
            ("argv", self.argv()),
            ("login_shell", json!(matches!(self.program, Program::Login(_)).then_some(true))),
            ("cwd", json!(process.cwd)),
            ("user", json!(process.user)),
            ("timeout_ms", json!(process.timeout_ms())),
            ("env", self.env()),
            ("background", json!(true)),
            ("stdin_open", json!(self.stdin)),
            ("tty", json!(self.tty.map(Size::json))),
            ("umask", json!(process.umask)),
            ("nice", json!(process.nice)),
            ("no_new_privs", json!(process.no_new_privs.then_some(true))),
            ("rlimits", rlimits(process)),
            ("capabilities", capabilities(process)),
            ("limits", self.limits()),
            // From the first byte, so that the follower misses none.
            ("lossless", json!(self.followed)),
        ])
    }

    fn argv(&self) -> Value {
        match self.program {
            Program::Argv(argv) => json!(argv),
            Program::Login([]) => Value::Null,
            // The words stay words: they are no script.
            Program::Login(argv) => {
                let mut words = vec!["-c", "exec \"$0\" \"$@\""];
                words.extend(argv.iter().map(String::as_str));
                json!(words)
            }
        }
    }

    fn env(&self) -> Value {
        let mut env = environment(&self.process.env);
        if self.tty.is_some()
            && let Value::Object(map) = &mut env
        {
            map.entry("TERM").or_insert_with(|| terminal::kind().into());
        }
        env
    }

    fn limits(&self) -> Value {
        let none_if_empty = |value: Value| match value {
            Value::Object(map) if map.is_empty() => Value::Null,
            other => other,
        };
        none_if_empty(object(vec![
            ("memory_bytes", json!(self.limits.memory)),
            ("cpus", json!(self.limits.cpus.map(|millis| f64::from(millis) / 1e3))),
            ("pids", json!(self.process.pids_limit)),
        ]))
    }
}

fn rlimits(process: &ProcessOptions) -> Value {
    if process.ulimit.is_empty() {
        return Value::Null;
    }
    process.ulimit.iter().map(|limit| (limit.resource.clone(), limit.json())).collect()
}

/// As docker has it: ALL is every one that the session may have.
fn capabilities(process: &ProcessOptions) -> Value {
    if process.cap_add.is_empty() && process.cap_drop.is_empty() {
        return Value::Null;
    }
    let is_all = |name: &&String| name.eq_ignore_ascii_case("all");
    let none = process.cap_drop.iter().any(|name| is_all(&name));
    let all = process.cap_add.iter().any(|name| is_all(&name));
    let profile = if none && !all { "none" } else { "full" };
    let names =
        |list: &[String]| -> Value { list.iter().filter(|name| !is_all(name)).cloned().collect() };
    json!({"profile": profile, "add": names(&process.cap_add), "drop": names(&process.cap_drop)})
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    let known = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(known.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// `NAME=VALUE`, or `NAME` for this process's own, as docker has it; a name that
/// is not set here is left out.
fn environment(pairs: &[String]) -> Value {
    let mut map = Map::new();
    for pair in pairs {
        match pair.split_once('=') {
            Some((name, value)) => {
                map.insert(name.to_owned(), value.into());
            }
            None => {
                if let Ok(value) = std::env::var(pair) {
                    map.insert(pair.clone(), value.into());
                }
            }
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Ulimit;

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let body = session(None, &SessionOptions::default(), &[]);
        assert_eq!(body, json!({"network": false, "ephemeral": true, "env": {}}));
        let process = ProcessOptions {
            env: vec!["A=b=c".to_owned(), "POSTERN_NOT_SET".to_owned()],
            ..Default::default()
        };
        let body = exec(&process, &LimitOptions::default(), Program::Argv(&["ls".to_owned()]));
        assert_eq!(
            body,
            json!({"argv": ["ls"], "env": {"A": "b=c"}, "background": true, "stdin_open": true, "lossless": true})
        );
    }

    fn exec(process: &ProcessOptions, limits: &LimitOptions, program: Program<'_>) -> Value {
        Exec { program, process, limits, stdin: true, tty: None, followed: true }.body()
    }

    #[test]
    fn an_entrypoint_has_the_images_arguments_unless_others_are_given() {
        let body = |first| {
            let mut body = json!({});
            first_command(&mut body, &first);
            body
        };
        let words = || vec!["a b".to_owned(), "-c".to_owned()];
        assert_eq!(body(FirstCommand { entrypoint: false, cmd: vec![] }), json!({}));
        assert_eq!(
            body(FirstCommand { entrypoint: true, cmd: vec![] }),
            json!({"entrypoint": true})
        );
        assert_eq!(
            body(FirstCommand { entrypoint: true, cmd: words() }),
            json!({"entrypoint": true, "cmd": ["a b", "-c"]})
        );
    }

    #[test]
    fn rights_and_limits() {
        let process = ProcessOptions {
            pids_limit: Some(20),
            cap_drop: vec!["ALL".to_owned(), "CHOWN".to_owned()],
            cap_add: vec!["NET_RAW".to_owned()],
            ulimit: vec![Ulimit { resource: "core".to_owned(), soft: 0, hard: u64::MAX }],
            umask: Some(0o27),
            nice: Some(-5),
            no_new_privs: true,
            timeout: Some(1500),
            ..Default::default()
        };
        let limits = LimitOptions { memory: Some(1 << 20), cpus: Some(1500) };
        let body = exec(&process, &limits, Program::Argv(&["ls".to_owned()]));
        assert_eq!(
            body["capabilities"],
            json!({"profile": "none", "add": ["NET_RAW"], "drop": ["CHOWN"]})
        );
        assert_eq!(body["rlimits"], json!({"core": {"soft": 0, "hard": "unlimited"}}));
        assert_eq!(body["limits"], json!({"memory_bytes": 1 << 20, "cpus": 1.5, "pids": 20}));
        assert_eq!((&body["umask"], &body["nice"]), (&json!(23), &json!(-5)));
        assert_eq!((&body["no_new_privs"], &body["timeout_ms"]), (&json!(true), &json!(1500)));
    }

    #[test]
    fn a_login_shell_alone_or_with_words_that_stay_words() {
        let (process, limits) = (ProcessOptions::default(), LimitOptions::default());
        let body = exec(&process, &limits, Program::Login(&[]));
        assert_eq!((&body["login_shell"], body.get("argv")), (&json!(true), None));
        let words = ["ls".to_owned(), "a b".to_owned()];
        let body = exec(&process, &limits, Program::Login(&words));
        assert_eq!(body["argv"], json!(["-c", "exec \"$0\" \"$@\"", "ls", "a b"]));
    }

    #[test]
    fn a_terminal_has_a_size_and_a_kind() {
        let (process, limits) = (ProcessOptions::default(), LimitOptions::default());
        let tty = Some(Size { rows: 5, cols: 6 });
        let exec = Exec {
            program: Program::Login(&[]),
            process: &process,
            limits: &limits,
            stdin: true,
            tty,
            followed: true,
        };
        let body = exec.body();
        assert_eq!(body["tty"], json!({"rows": 5, "cols": 6}));
        assert!(body["env"]["TERM"].is_string());
    }
}
