//! A host daemon that embeds the broker.
//!
//! It makes one session, runs a command to its end, follows another one while
//! it runs, and offers the HTTP API on a port of its own choosing.
//!
//! ```text
//! make dist
//! cargo run -p postern-broker --example embed
//! ```
//!
//! The example takes the process driver, which needs neither a kernel nor QEMU
//! and is no security boundary. A product says `DriverChoice::Qemu`, or hands
//! over its own virtual machine with `CreateSession { attach, .. }`.

use std::error::Error;
use std::time::Duration;

use postern_broker::api;
use postern_broker::core::{
    Broker, CommandState, CreateSession, DriverChoice, ExecRequest, ExitStatus, FollowItem,
    FollowOptions, Limits, Program, Session,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What is not down by then is killed.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// The most output of a command that is taken into memory at once.
const OUTPUT_CAP: usize = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::temp_dir().join(format!("postern-embed-{}", std::process::id()));
    let broker = Broker::builder()
        .data_dir(&data)
        .driver(DriverChoice::Process)
        .limits(Limits { max_sessions: 16, ..Limits::default() })
        .build()
        .await?;
    let request = CreateSession {
        image: Some("busybox".to_owned()),
        memory_mb: Some(256),
        ttl: Some(Duration::from_secs(600)),
        ..CreateSession::default()
    };
    let session = broker.create_session(request, None).await?;
    run(&session).await?;
    follow(&session).await?;
    offer_the_api(&broker, &session).await?;
    // Dropping the broker does not end its sandboxes in order; this does.
    broker.shutdown(SHUTDOWN_DEADLINE).await;
    std::fs::remove_dir_all(&data)?;
    Ok(())
}

/// A short command: one round trip to the agent brings its exit and its output.
async fn run(session: &Session) -> Result<(), Box<dyn Error>> {
    let program = Program::Argv(vec!["uname".into(), "-sr".into()]);
    let finished = session.run(ExecRequest::new(program), OUTPUT_CAP).await?;
    for chunk in &finished.chunks {
        print!("{}", String::from_utf8_lossy(&chunk.data));
    }
    Ok(())
}

/// A command in the background, and a cursor in its output. After an error a
/// new follower from `next_offset` goes on where this one stopped.
async fn follow(session: &Session) -> Result<(), Box<dyn Error>> {
    let script = "for i in 1 2 3; do echo line $i; done; exit 7".to_owned();
    let started = session.exec(ExecRequest::new(Program::Shell(script))).await?;
    let options = FollowOptions { lossless: true, until_exit: true, ..FollowOptions::default() };
    let mut follower = session.follow(&started.info.command_id, options).await?;
    while let Some(item) = follower.next().await? {
        match item {
            FollowItem::Data(chunk) => {
                print!("{}: {}", chunk.offset, String::from_utf8_lossy(&chunk.data));
            }
            FollowItem::Gap { from, to } => println!("bytes {from} to {to} are gone"),
            FollowItem::Exited(_) | FollowItem::Closed(_) => {}
        }
    }
    let info = session.command(&started.info.command_id).await?;
    if let CommandState::Exited(exit) = info.state {
        match exit.status {
            ExitStatus::Code(code) => println!("exit code {code}"),
            ExitStatus::Signal(signal) => println!("ended by signal {signal}"),
        }
    }
    Ok(())
}

/// The same sessions over HTTP. `Broker::router` lets in loopback callers only;
/// `api::router(broker, Access::Embedder)` leaves that to layers of your own.
async fn offer_the_api(broker: &Broker, session: &Session) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("GET http://{}/v1/sessions/{}", listener.local_addr()?, session.id());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(api::serve(listener, broker.router(), async {
        // An example serves nobody for long; a daemon waits for SIGTERM here.
        let _ = stopped.await;
    }));
    drop(stop);
    Ok(serving.await?)
}
