//! Ids may be given by their beginning, as long as it is the beginning of one.

use crate::client::Client;
use crate::client::types::Command;
use crate::error::Error;

/// What ids begin with, which nobody wants to type.
const SESSION: &str = "sess_";
const COMMAND: &str = "cmd_";

pub(super) async fn session(client: &Client, given: &str) -> Result<String, Error> {
    let ids = client.sessions().await?.into_iter().map(|session| session.id);
    pick("session", SESSION, given, ids)
}

pub(super) async fn command(client: &Client, session: &str, given: &str) -> Result<String, Error> {
    let ids = client.commands(session).await?.into_iter().map(|command| command.command_id);
    pick("command", COMMAND, given, ids)
}

/// The command itself, in one of these sessions.
pub(super) async fn command_in(
    client: &Client,
    sessions: &[String],
    given: &str,
) -> Result<Command, Error> {
    let mut commands = Vec::new();
    for session in sessions {
        commands.extend(client.commands(session).await?);
    }
    let id = pick("command", COMMAND, given, commands.iter().map(|c| c.command_id.clone()))?;
    let found = commands.into_iter().find(|command| command.command_id == id);
    found.ok_or_else(|| Error::Usage {
        message: format!("there is no command {given}"),
        hint: Some("`postern ps` lists them"),
    })
}

/// An id that is unknown is passed on: the broker's answer says it best.
fn pick(
    what: &str,
    prefix: &str,
    given: &str,
    ids: impl Iterator<Item = String>,
) -> Result<String, Error> {
    let begins = |id: &String| {
        id.starts_with(given) || id.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(given))
    };
    let mut found: Vec<String> = ids.filter(begins).collect();
    if found.iter().any(|id| id == given) {
        return Ok(given.to_owned());
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Ok(given.to_owned()),
        many => Err(Error::usage(format!(
            "{given} is the beginning of {many} {what} ids: give more of it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        let ids = || ["sess_abc", "sess_abd", "sess_x"].into_iter().map(str::to_owned);
        assert_eq!(pick("session", SESSION, "sess_x", ids()).unwrap(), "sess_x");
        assert_eq!(pick("session", SESSION, "x", ids()).unwrap(), "sess_x");
        assert_eq!(pick("session", SESSION, "nope", ids()).unwrap(), "nope");
        assert!(pick("session", SESSION, "ab", ids()).is_err());
        assert!(pick("session", SESSION, "", ids()).is_err());
    }
}
