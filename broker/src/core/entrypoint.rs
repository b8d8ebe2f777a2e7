//! A session whose image's entrypoint is its first command.

use bytes::Bytes;
use postern_proto::OnDisconnect;
use postern_proto::limits::MAX_EXEC_STRINGS;

use super::{CreateSession, Error, ExecRequest, ImageConfig, Program, Result, Session};
use crate::guest::{Guest, GuestError};

/// What is to be started once the image is in place.
#[derive(Debug)]
pub(super) struct Entrypoint {
    argv: Vec<Bytes>,
    stop_signal: u32,
}

impl Entrypoint {
    /// None if the request asks for none. Checked before anything is made.
    pub(super) fn of(request: &CreateSession, image: Option<&ImageConfig>) -> Result<Option<Self>> {
        if !request.entrypoint {
            return match &request.cmd {
                None => Ok(None),
                Some(_) => {
                    Err(Error::invalid("cmd", "cmd is for the entrypoint; set entrypoint to true"))
                }
            };
        }
        let Some(image) = image else {
            let message = "the image of an attached sandbox is not known here; name one";
            return Err(Error::invalid("entrypoint", message));
        };
        let cmd = request.cmd.as_ref().unwrap_or(&image.cmd);
        let words = || image.entrypoint.iter().chain(cmd);
        let bytes = words().map(String::len).sum::<usize>();
        if bytes > MAX_EXEC_STRINGS {
            let message = format!(
                "entrypoint and cmd have {bytes} bytes; {MAX_EXEC_STRINGS} can be passed on"
            );
            return Err(Error::invalid("cmd", message));
        }
        match words().next().map(String::as_str) {
            None => {
                let message = "the image has neither Entrypoint nor Cmd; give cmd";
                Err(Error::invalid("entrypoint", message))
            }
            Some("") => Err(Error::invalid("entrypoint", "its first word is empty")),
            Some(_) => {
                let argv = words().map(|word| Bytes::from(word.clone())).collect();
                Ok(Some(Self { argv, stop_signal: image.stop_signal }))
            }
        }
    }

    /// Starts it, in a session that takes no other command yet; gives its id. It is
    /// started once: a request that is repeated has the same id, and is not repeated
    /// to another serving process than the first.
    pub(super) async fn start(&self, session: &Session, guest: &Guest) -> Result<String> {
        let request = ExecRequest::new(Program::Argv(self.argv.clone()));
        let mut exec = request.to_exec(session.command_id(guest), OnDisconnect::Keep)?;
        exec.stop_signal = Some(self.stop_signal);
        match guest.exec(exec).await {
            Ok(result) => Ok(result.command.command_id),
            Err(error @ GuestError::Agent(_)) => {
                let mut error = Error::from(error);
                error.message = format!("the entrypoint could not be started: {}", error.message);
                error.field = Some("entrypoint".to_owned());
                Err(error)
            }
            Err(unknown) => Err(unknown.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    fn of(entrypoint: &[&str], cmd: &[&str], asked: Option<&[&str]>) -> Result<Vec<Bytes>> {
        let image = ImageConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..ImageConfig::default()
        };
        let cmd = asked.map(words);
        let request = CreateSession { entrypoint: true, cmd, ..CreateSession::default() };
        Ok(Entrypoint::of(&request, Some(&image))?.unwrap().argv)
    }

    #[test]
    fn cmd_is_replaced_and_the_entrypoint_stays() {
        assert_eq!(of(&["e", "-x"], &["c"], None).unwrap(), ["e", "-x", "c"]);
        assert_eq!(of(&["e"], &["c"], Some(&["d", "f"])).unwrap(), ["e", "d", "f"]);
        assert_eq!(of(&["e"], &["c"], Some(&[])).unwrap(), ["e"]);
        assert_eq!(of(&[], &["c"], None).unwrap(), ["c"]);
        assert_eq!(of(&[], &[], Some(&["d"])).unwrap(), ["d"]);
    }

    #[test]
    fn what_cannot_be_started_names_its_field() {
        let field = |result: Result<Vec<Bytes>>| result.unwrap_err().field.unwrap();
        assert_eq!(field(of(&[], &[], None)), "entrypoint");
        assert_eq!(field(of(&[], &["c"], Some(&[]))), "entrypoint");
        assert_eq!(field(of(&["", "x"], &[], None)), "entrypoint");
        let long = "x".repeat(MAX_EXEC_STRINGS);
        assert_eq!(field(of(&["e"], &[], Some(&[&long]))), "cmd");
        let asked = CreateSession { entrypoint: true, ..CreateSession::default() };
        assert_eq!(Entrypoint::of(&asked, None).unwrap_err().field.unwrap(), "entrypoint");
        let stray = CreateSession { cmd: Some(words(&["x"])), ..CreateSession::default() };
        assert_eq!(Entrypoint::of(&stray, None).unwrap_err().field.unwrap(), "cmd");
        assert!(Entrypoint::of(&CreateSession::default(), None).unwrap().is_none());
    }
}
