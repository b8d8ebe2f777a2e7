//! `postern serve`: the broker's daemon.

use std::time::Duration;

use postern_broker::api;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::info;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::args::{OnShutdown, Serve};
use crate::config::Config;
use crate::connect::DEFAULT_ADDRESS;
use crate::error::Error;

/// For the sandboxes to end; what is left then is killed.
const END_DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn run(flags: Serve) -> Result<u8, Error> {
    start_log()?;
    let config = Config::load(flags)?;
    let listener = listen(&config).await?;
    let broker = config.builder()?.build().await.map_err(|source| {
        let doing = "setting up the broker".to_owned();
        Error::Broker { doing, source }
    })?;
    // Before the port is told: who reads it may signal at once.
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Error::io("watching for SIGTERM"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(Error::io("watching for SIGINT"))?;
    let address = listener.local_addr().map_err(Error::io("asking for the port"))?;
    println!("listening on http://{address}");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = api::serve(listener, broker.router(), async {
        // Either way it is time to stop.
        let _ = stopped.await;
    });
    let ending = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("shutting down");
        // New connections are refused while the sandboxes end; streams of their
        // commands end with them.
        drop(stop);
        match config.on_shutdown.unwrap_or_default() {
            OnShutdown::End => broker.shutdown(END_DEADLINE).await,
            OnShutdown::Leave => broker.leave(END_DEADLINE).await,
        }
    };
    tokio::join!(serving, ending);
    Ok(0)
}

async fn listen(config: &Config) -> Result<TcpListener, Error> {
    if !config.allow_anonymous {
        return Err(Error::Usage {
            message: "API keys are not there yet, and without them nobody would be let in"
                .to_owned(),
            hint: Some(
                "start with --allow-anonymous to let in whoever reaches the port on this machine",
            ),
        });
    }
    let address = match config.listen {
        Some(address) => address,
        None => {
            DEFAULT_ADDRESS.parse().map_err(|e| Error::usage(format!("{DEFAULT_ADDRESS}: {e}")))?
        }
    };
    if !address.ip().is_loopback() {
        return Err(Error::Usage {
            message: format!("--allow-anonymous is for loopback only, and {address} is not"),
            hint: Some("listen on 127.0.0.1, and reach it from elsewhere by ssh -L"),
        });
    }
    TcpListener::bind(address).await.map_err(Error::io(format!("listening on {address}")))
}

/// Logs go to stderr; RUST_LOG says which.
pub(crate) fn start_log() -> Result<(), Error> {
    let filter = which_logs(std::env::var("RUST_LOG").unwrap_or_default().as_str())?;
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    // It fails only if there is a log already, which is as good.
    let _ = tracing_subscriber::registry().with(log).with(filter).try_init();
    Ok(())
}

fn which_logs(text: &str) -> Result<Targets, Error> {
    if text.trim().is_empty() {
        return Ok(Targets::new().with_default(LevelFilter::INFO));
    }
    text.parse().map_err(|e| Error::Usage {
        message: format!("RUST_LOG {text:?}: {e}"),
        hint: Some(
            "a level (info), or parts of the program with theirs (info,postern_broker=debug)",
        ),
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn logs_are_chosen_by_level_and_target() {
        let usual = which_logs(" ").unwrap();
        assert!(usual.would_enable("hyper", &Level::INFO));
        assert!(!usual.would_enable("hyper", &Level::DEBUG));
        let chosen = which_logs("warn,postern_broker=debug").unwrap();
        assert!(chosen.would_enable("postern_broker::core", &Level::DEBUG));
        assert!(!chosen.would_enable("hyper", &Level::INFO));
        let error = which_logs("postern_broker=loud").unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG \"postern_broker=loud\": "), "{error}");
    }
}
