//! `postern sessions ls|create|rm`.

use super::{request, resolve};
use crate::args::{Sessions, SessionsAction};
use crate::connect;
use crate::error::Error;
use crate::progress::Making;
use crate::table;

pub(crate) async fn run(args: Sessions) -> Result<u8, Error> {
    match args.action {
        None => list(args.json).await,
        Some(SessionsAction::Ls { json }) => list(json || args.json).await,
        Some(SessionsAction::Create { options, env, first, no_new_privs, json, image }) => {
            let mut body = request::session(image.as_deref(), &options, &env);
            body["no_new_privs"] = no_new_privs.into();
            request::first_command(&mut body, &first);
            create(image.as_deref(), &body, json || args.json).await
        }
        Some(SessionsAction::Rm { force, sessions }) => remove(&sessions, force).await,
    }
}

async fn list(json: bool) -> Result<u8, Error> {
    let sessions = connect::daemon().await?.sessions().await?;
    if json {
        println!("{}", serde_json::json!(sessions));
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = sessions
        .into_iter()
        .map(|s| {
            vec![s.id, s.status, s.driver, s.image, format!("{} MiB", s.memory_mb), s.created_at]
        })
        .collect();
    table::print(&["SESSION", "STATUS", "DRIVER", "IMAGE", "MEMORY", "CREATED"], &rows);
    Ok(0)
}

async fn create(image: Option<&str>, body: &serde_json::Value, json: bool) -> Result<u8, Error> {
    let client = connect::daemon().await?;
    let mut making = Making::new(image);
    let session = client.create_session(body, |step| making.show(step)).await?;
    drop(making);
    if json {
        println!("{}", serde_json::json!(session));
    } else {
        println!("{}", session.id);
    }
    Ok(0)
}

/// Each is tried, and each failure told.
async fn remove(sessions: &[String], force: bool) -> Result<u8, Error> {
    let client = connect::daemon().await?;
    let mut failed = None;
    for given in sessions {
        let ended = async {
            let id = resolve::session(&client, given).await?;
            client.delete_session(&id, force).await?;
            Ok::<_, Error>(id)
        };
        match ended.await {
            Ok(id) => println!("{id}"),
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    earlier.print();
                }
            }
        }
    }
    failed.map_or(Ok(0), Err)
}
