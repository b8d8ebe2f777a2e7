//! `postern`: the daemon, and the command line for people.

#![forbid(unsafe_code)]

mod args;
mod attach;
mod client;
mod commands;
mod config;
mod connect;
mod embedded;
mod error;
mod progress;
mod signals;
mod table;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::error::{Error, OWN_FAILURE};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(usage) => {
            let code = if usage.use_stderr() { OWN_FAILURE } else { 0 };
            // Nothing can be told when not even the usage can be printed.
            let _ = usage.print();
            return ExitCode::from(code);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("postern: starting the runtime: {cause}");
            return ExitCode::from(OWN_FAILURE);
        }
    };
    let result = runtime.block_on(dispatch(args.command));
    // A read of the terminal cannot be called back: do not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}

async fn dispatch(command: Command) -> Result<u8, Error> {
    match command {
        Command::Serve(args) => commands::serve::run(args).await,
        Command::Run(args) => commands::run::run(args).await,
        Command::Exec(args) => commands::exec::run(args).await,
        Command::Shell(args) => commands::shell::run(args).await,
        Command::Attach(args) => commands::attach::run(args).await,
        Command::Sessions(args) => commands::sessions::run(args).await,
        Command::Images(args) => commands::images::run(args).await,
        Command::Ps(args) => commands::ps::run(args).await,
        Command::Logs(args) => commands::logs::run(args).await,
        Command::Kill(args) => commands::kill::run(args).await,
        Command::Cp(args) => commands::cp::run(args).await,
        Command::Doctor(args) => commands::doctor::run(args).await,
        Command::Embedded(args) => embedded::child(args).await,
    }
}
