//! `postern run IMAGE -- COMMAND`: a session for one command. It ends with the
//! command; the session's teardown goes on behind it.

use std::time::Duration;

use super::request;
use crate::args::Run;
use crate::client::Client;
use crate::connect;
use crate::error::Error;
use crate::live::{Running, Signals};
use crate::progress::Making;

/// For the daemon to have read that the session is to end; it goes on by itself.
const HAND_OVER: Duration = Duration::from_millis(150);

pub(crate) async fn run(args: Run) -> Result<u8, Error> {
    let mut signals = Signals::take()?;
    let (client, embedded) = connect::or_embed(args.images.as_deref()).await?;
    if args.keep && embedded.is_some() {
        return Err(Error::Usage {
            message: "--keep needs a daemon: the broker of this call ends with it".to_owned(),
            hint: Some("start one with `postern serve --allow-anonymous`"),
        });
    }
    let making = Making::new(Some(&args.image));
    // The session's environment is left alone: -e is for the command.
    let body = request::session(Some(&args.image), &args.session, &[]);
    let session = tokio::select! {
        // Dropping the call ends what the broker had begun to make.
        _ = signals.next() => return Err(Error::Interrupted),
        made = client.create_session(&body, |step| making.show(step)) => made?,
    };
    drop(making);
    let ended = command(&client, &session.id, &args, &mut signals).await;
    if args.keep {
        eprintln!("postern: session {}", session.id);
    } else if embedded.is_none() {
        hand_over(&client, &session.id).await;
    }
    ended
}

async fn command(
    client: &Client,
    session: &str,
    args: &Run,
    signals: &mut Signals,
) -> Result<u8, Error> {
    let body = request::exec(&args.argv, &args.command, true);
    let started = client.start(session, &body).await?;
    let running = Running {
        client: client.clone(),
        session: session.to_owned(),
        command: started.command_id,
    };
    running.attend(signals, args.command.interactive).await
}

/// Asks for the session's end and waits only until that is surely sent. An
/// embedded broker needs no asking: it ends with this process.
async fn hand_over(client: &Client, session: &str) {
    let ending = client.delete_session(session, true);
    if let Ok(Err(error)) = tokio::time::timeout(HAND_OVER, ending).await {
        error.print();
    }
}
