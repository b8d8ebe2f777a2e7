//! `postern-broker` in a program of its own, for the tests: DATA-DIR DIST-DIR
//! `[ADDRESS [ARCH | stream | disk]...]`; the last two for how images reach microVMs.
//!
//! Its stdin is a lifeline: when the tests are gone, for whatever reason, it
//! reads the end there and ends its sandboxes.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use postern_broker::api;
use postern_broker::core::{Broker, DriverChoice, GuestArch, ImageTransfer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// For the sandboxes to end once the tests are gone.
const END_DEADLINE: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    let filter: Targets = std::env::var("POSTERN_LOG").as_deref().unwrap_or("debug").parse()?;
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(log).with(filter).init();
    let mut args = std::env::args_os().skip(1);
    let (Some(data), Some(dist)) = (args.next(), args.next()) else {
        return Err(
            "usage: rig-broker DATA-DIR DIST-DIR [ADDRESS [ARCH | stream | disk]...]".into()
        );
    };
    let address = match args.next() {
        Some(given) => given.to_str().ok_or("ADDRESS is IP:PORT")?.parse()?,
        None => SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let (mut arch, mut transfer) = (GuestArch::host(), ImageTransfer::default());
    for word in args {
        match word.to_str().ok_or("a word is UTF-8")? {
            "stream" => transfer = ImageTransfer::Stream,
            "disk" => transfer = ImageTransfer::Disk,
            name => arch = name.parse()?,
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(data.into(), dist.into(), address, arch, transfer))
}

async fn run(
    data: PathBuf,
    dist: PathBuf,
    address: SocketAddr,
    arch: GuestArch,
    transfer: ImageTransfer,
) -> Result<(), Box<dyn Error>> {
    // As `xtask dist --arch` names what is not for this machine.
    let suffix =
        if arch == GuestArch::host() { String::new() } else { format!("-{}", arch.name()) };
    let broker = Broker::builder()
        .data_dir(&data)
        .guest_arch(arch)
        .images_dir(dist.join(format!("images{suffix}")))
        .default_image("busybox")
        .driver(DriverChoice::Process)
        .image_transfer(transfer)
        .agent(dist.join("postern-agent"))
        .kernel(dist.join(format!("vmlinuz{suffix}")))
        .initramfs(dist.join(format!("initramfs{suffix}.img")))
        .build()
        .await?;
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    std::io::stdout().flush()?;
    let router = broker.router();
    let ending = async {
        let mut lifeline = tokio::io::stdin();
        let mut buffer = [0; 64];
        // Nobody writes there; an error means as much as the end.
        while lifeline.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        broker.shutdown(END_DEADLINE).await;
    };
    api::serve(listener, router, ending).await;
    // The tests may be gone, and only what was made for them is in it.
    match std::fs::remove_dir_all(&data) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}
