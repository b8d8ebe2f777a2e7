//! `postern kill SESSION COMMAND`: a signal for a command.

use super::resolve;
use crate::args::{Kill, Scope};
use crate::connect;
use crate::error::Error;

pub(crate) async fn run(args: Kill) -> Result<u8, Error> {
    let client = connect::daemon().await?;
    let session = resolve::session(&client, &args.session).await?;
    let command = resolve::command(&client, &session, &args.command).await?;
    let scope = match args.scope {
        Scope::Process => "process",
        Scope::Group => "group",
        Scope::Tree => "tree",
    };
    let answer = client.signal(&session, &command, &args.signal, scope).await?;
    if !answer.delivered {
        eprintln!("postern: {command} has ended already");
    }
    Ok(0)
}
