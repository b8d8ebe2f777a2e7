//! `postern ps [SESSION]`: the commands of a session, or of all.

use super::resolve;
use crate::args::Ps;
use crate::client::types::Command;
use crate::connect;
use crate::error::Error;
use crate::table;

/// As much of a command line as a row has room for.
const MAX_LINE: usize = 60;

pub(crate) async fn run(args: Ps) -> Result<u8, Error> {
    let client = connect::daemon().await?;
    let sessions = match &args.session {
        Some(given) => vec![resolve::session(&client, given).await?],
        None => {
            let all = client.sessions().await?.into_iter();
            all.filter(|session| session.status == "running").map(|session| session.id).collect()
        }
    };
    let mut commands = Vec::new();
    for session in &sessions {
        commands.extend(client.commands(session).await?);
    }
    if args.json {
        println!("{}", serde_json::json!(commands));
        return Ok(0);
    }
    let rows: Vec<_> = commands.into_iter().map(row).collect();
    table::print(&["SESSION", "COMMAND", "STATUS", "PID", "EXIT", "TOOK", "LINE"], &rows);
    Ok(0)
}

fn row(command: Command) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        command.session_id,
        command.command_id,
        command.status,
        or_dash(command.pid.map(|pid| pid.to_string())),
        or_dash(command.exit_code.map(|code| code.to_string())),
        or_dash(command.duration_ms.map(table::duration)),
        table::shorten(&command.command, MAX_LINE),
    ]
}
