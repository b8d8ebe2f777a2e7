//! Requests of the API from options of the command line.

use serde_json::{Map, Value, json};

use crate::args::{CommandOptions, SessionOptions};

/// The body that makes a session.
pub(super) fn session(image: Option<&str>, options: &SessionOptions, env: &[String]) -> Value {
    object(vec![
        ("image", json!(image)),
        ("driver", json!(options.driver.map(crate::args::Driver::as_str))),
        ("memory_mb", json!(options.memory)),
        ("cpus", json!(options.cpus)),
        ("ttl", json!(options.ttl)),
        ("root_size_mb", json!(options.root_size)),
        ("hostname", json!(options.hostname)),
        ("network", json!(options.network)),
        ("ephemeral", json!(true)),
        ("env", environment(env)),
    ])
}

/// The body that starts a command whose output is followed beside it.
pub(super) fn exec(argv: &[String], options: &CommandOptions, followed: bool) -> Value {
    object(vec![
        ("argv", json!(argv)),
        ("cwd", json!(options.cwd)),
        ("user", json!(options.user)),
        ("timeout_ms", json!(options.timeout_ms)),
        ("env", environment(&options.env)),
        ("background", json!(true)),
        ("stdin_open", json!(options.interactive)),
        // From the first byte, so that the follower misses none.
        ("lossless", json!(followed)),
    ])
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

    #[test]
    fn what_is_not_asked_for_is_left_out() {
        let body = session(None, &SessionOptions::default(), &[]);
        assert_eq!(body, json!({"network": false, "ephemeral": true, "env": {}}));
        let options = CommandOptions {
            interactive: true,
            env: vec!["A=b=c".to_owned(), "POSTERN_NOT_SET".to_owned()],
            ..Default::default()
        };
        let body = exec(&["ls".to_owned()], &options, true);
        assert_eq!(body["env"], json!({"A": "b=c"}));
        assert_eq!(body["stdin_open"], true);
        assert!(body.get("cwd").is_none());
    }
}
