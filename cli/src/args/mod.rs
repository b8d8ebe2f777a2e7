//! The command line.

#![allow(rustdoc::broken_intra_doc_links, reason = "the comments are the help text")]

mod images;
mod options;
pub(crate) mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use self::images::{Images, ImagesAction};
pub(crate) use self::options::{
    CommandOptions, DetachOptions, LimitOptions, ProcessOptions, PullPolicy, SessionOptions,
};
#[cfg(test)]
pub(crate) use self::values::Ulimit;

/// Runs commands in microVMs.
#[derive(Debug, Parser)]
#[command(name = "postern", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Environment: POSTERN_URL (http://HOST:PORT or unix:PATH) and POSTERN_API_KEY say which broker to use;
without them the one on 127.0.0.1:7070, and without that, `run` and `shell` make one for the call.
POSTERN_DETACH_KEYS says which keys leave a terminal (ctrl-]).
Exit codes: the command's own; 125 Postern failed, 126 not executable, 127 not found.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker's daemon
    Serve(Serve),
    /// Run one command in a session of its own
    Run(Run),
    /// Run a command in a session
    Exec(Exec),
    /// Open a shell in a session
    Shell(Shell),
    /// Come back to a command that runs
    Attach(Attach),
    /// List, make and end sessions
    Sessions(Sessions),
    /// List, pull and remove images
    Images(Images),
    /// List commands
    Ps(Ps),
    /// Print a command's output
    Logs(Logs),
    /// Send a signal to a command
    Kill(Kill),
    /// Copy a file into or out of a session (SESSION:PATH)
    Cp(Cp),
    /// Say what this machine can do, and how to get what is missing
    Doctor(Doctor),
    /// The broker of one `run`; started by it.
    #[command(name = "__embedded", hide = true)]
    Embedded(Embedded),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    Auto,
    Qemu,
    Process,
}

impl Driver {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Qemu => "qemu",
            Self::Process => "process",
        }
    }
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// How sandboxes are made [default: auto]
    #[arg(long)]
    pub(crate) driver: Option<Driver>,
    /// Sockets, consoles, and what survives a restart
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where image names are looked up [default: images beside the executable]
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Image of sessions that name none [default: debian]
    #[arg(long, value_name = "NAME")]
    pub(crate) default_image: Option<String>,
    /// Settings in TOML; flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Let in whoever can reach the port (loopback only)
    #[arg(long)]
    pub(crate) allow_anonymous: bool,
    /// What SIGTERM does to the sandboxes: end them, or leave them for the next daemon with
    /// this data directory [default: end]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_shutdown: Option<OnShutdown>,
}

/// What becomes of sandboxes when the daemon is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnShutdown {
    #[default]
    End,
    Leave,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: postern run -it debian -- bash")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) session: SessionOptions,
    #[command(flatten)]
    pub(crate) command: CommandOptions,
    /// Where image names are looked up, when this call makes its own broker
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Keep the session (with a daemon only) and print its id on stderr
    #[arg(long)]
    pub(crate) keep: bool,
    /// A name below the images' directory, a registry's (debian:12, docker://debian), oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]
    pub(crate) image: String,
    /// Program and arguments
    #[arg(required_unless_present = "login", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: postern exec -it --user 1000 SESSION -- vi notes.txt")]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) command: CommandOptions,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
    /// Do not wait: print the command's id and leave it running
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Session id, or its beginning
    pub(crate) session: String,
    /// Program and arguments
    #[arg(required_unless_present = "login", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: postern shell --image debian --keep")]
pub(crate) struct Shell {
    /// Image of a new session, as `run` takes it
    #[arg(long, conflicts_with = "target")]
    pub(crate) image: Option<String>,
    /// Keep the session that was made for the shell
    #[arg(long, conflicts_with = "target")]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) process: ProcessOptions,
    #[command(flatten)]
    pub(crate) detach: DetachOptions,
    #[command(flatten)]
    pub(crate) options: SessionOptions,
    /// Where image names are looked up, when this call makes its own broker
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Session id, or its beginning [default: the newest, or a new one]
    #[arg(value_name = "SESSION")]
    pub(crate) target: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: postern attach 3f2 9ac (ids as `postern ps` lists them)")]
pub(crate) struct Attach {
    /// First byte of the output [default: the first that is left]
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from: Option<u64>,
    /// Only look on
    #[arg(long)]
    pub(crate) no_stdin: bool,
    #[command(flatten)]
    pub(crate) detach: DetachOptions,
    /// Session id and command id, or their beginnings; the command's alone will do
    #[arg(required = true, num_args = 1..=2, value_names = ["SESSION", "COMMAND"])]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Sessions {
    #[command(subcommand)]
    pub(crate) action: Option<SessionsAction>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsAction {
    /// List sessions
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a session and print its id
    Create {
        #[command(flatten)]
        options: Box<SessionOptions>,
        /// Environment of its commands
        #[arg(short, long, value_name = "NAME[=VALUE]")]
        env: Vec<String>,
        /// No program gives any of its commands more rights than it has
        #[arg(long)]
        no_new_privs: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Image, as `run` takes it [default: the broker's]
        image: Option<String>,
        #[command(flatten)]
        first: FirstCommand,
    },
    /// End sessions
    Rm {
        /// Leave their commands no grace
        #[arg(short, long)]
        force: bool,
        /// Session ids, or their beginnings
        #[arg(required = true)]
        sessions: Vec<String>,
    },
}

/// What runs from the beginning.
#[derive(Debug, clap::Args)]
pub(crate) struct FirstCommand {
    /// Start the image's entrypoint as the first command
    #[arg(long)]
    pub(crate) entrypoint: bool,
    /// Arguments of the entrypoint, in the place of the image's Cmd
    #[arg(last = true, requires = "entrypoint", value_name = "CMD")]
    pub(crate) cmd: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Session id, or its beginning [default: every session]
    pub(crate) session: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputStream {
    All,
    Stdout,
    Stderr,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Go on until the command exits
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// First byte
    #[arg(long, default_value_t = 0, value_name = "OFFSET")]
    pub(crate) from: u64,
    /// Which stream
    #[arg(long, default_value = "all")]
    pub(crate) stream: OutputStream,
    /// Session id, or its beginning
    pub(crate) session: String,
    /// Command id, or its beginning
    pub(crate) command: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    Process,
    Group,
    Tree,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// Name or number
    #[arg(short, long, default_value = "TERM")]
    pub(crate) signal: String,
    /// Whom it goes to
    #[arg(long, default_value = "tree")]
    pub(crate) scope: Scope,
    /// Session id, or its beginning
    pub(crate) session: String,
    /// Command id, or its beginning
    pub(crate) command: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Cp {
    /// Whose rights apply and who owns the copy, in the session
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// A local file, SESSION:PATH, or - for stdin
    pub(crate) from: String,
    /// A local file or directory, SESSION:PATH, or - for stdout
    pub(crate) to: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Embedded {
    /// A private directory of this broker
    #[arg(long)]
    pub(crate) dir: PathBuf,
    #[arg(long)]
    pub(crate) images: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
