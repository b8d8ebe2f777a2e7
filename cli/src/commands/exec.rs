//! `postern exec SESSION -- COMMAND`: a command in a session that is there.

use super::{request, resolve};
use crate::args::Exec;
use crate::connect;
use crate::error::Error;
use crate::live::{Running, Signals};

pub(crate) async fn run(args: Exec) -> Result<u8, Error> {
    let mut signals = Signals::take()?;
    // Without a daemon the call's own broker answers: it knows the sessions that
    // outlived their broker, once there is a store of them.
    let (client, embedded) = connect::or_embed(None).await?;
    let session = resolve::session(&client, &args.session).await?;
    let body = request::exec(&args.argv, &args.command, !args.detach);
    let started = match client.start(&session, &body).await {
        Err(Error::Api { failure, .. }) if embedded.is_some() && failure.code == "not_found" => {
            return Err(Error::Usage {
                message: format!("there is no session {session}, and no daemon that could have it"),
                hint: Some(
                    "`postern serve --allow-anonymous` starts one; POSTERN_URL points to another",
                ),
            });
        }
        started => started?,
    };
    if args.detach {
        println!("{}", started.command_id);
        return Ok(0);
    }
    let running = Running { client, session, command: started.command_id };
    running.attend(&mut signals, args.command.interactive).await
}
