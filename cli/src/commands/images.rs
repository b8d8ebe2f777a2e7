//! `postern images ls|pull|rm|prune|inspect`.

use crate::args::{Images, ImagesAction, PullPolicy};
use crate::client::types::Image;
use crate::connect;
use crate::error::Error;
use crate::progress::Pulling;
use crate::table;

/// As much of a digest as tells two images apart.
const SHORT_DIGEST: usize = "sha256:".len() + 12;

/// RFC 3339 to the second.
const SECONDS: usize = "2026-01-01T00:00:00".len();

pub(crate) async fn run(args: Images) -> Result<u8, Error> {
    match args.action {
        None => list(args.json).await,
        Some(ImagesAction::Ls { json }) => list(json || args.json).await,
        Some(ImagesAction::Pull { json, policy, image }) => {
            pull(&image, policy, json || args.json).await
        }
        Some(ImagesAction::Rm { images }) => remove(&images).await,
        Some(ImagesAction::Prune { all, max_size, json }) => {
            prune(all, max_size, json || args.json).await
        }
        Some(ImagesAction::Inspect { image }) => {
            let image = connect::daemon().await?.inspect_image(&image).await?;
            println!("{image:#}");
            Ok(0)
        }
    }
}

async fn list(json: bool) -> Result<u8, Error> {
    let images = connect::daemon().await?.images().await?;
    if json {
        println!("{}", serde_json::json!(images));
        return Ok(0);
    }
    let rows: Vec<_> = images.into_iter().map(row).collect();
    table::print(&["IMAGE", "DIGEST", "SIZE", "PULLED", "USED"], &rows);
    Ok(0)
}

fn row(image: Image) -> Vec<String> {
    let short = |text: Option<String>, max| match text {
        Some(text) => text.chars().take(max).collect(),
        None => "-".to_owned(),
    };
    vec![
        image.name,
        short(image.digest, SHORT_DIGEST),
        image.size.map_or_else(|| "-".to_owned(), table::size),
        short(image.pulled_at, SECONDS),
        short(image.used_at, SECONDS),
    ]
}

async fn pull(image: &str, policy: PullPolicy, json: bool) -> Result<u8, Error> {
    let client = connect::daemon().await?;
    let mut pulling = Pulling::default();
    let pulled = client.pull_image(image, policy.as_str(), |step| pulling.show(step)).await;
    drop(pulling);
    let image = pulled?;
    if json {
        println!("{}", serde_json::json!(image));
    } else {
        println!("{}", image.digest.unwrap_or(image.name));
    }
    Ok(0)
}

/// Each is tried, and each failure told.
async fn remove(images: &[String]) -> Result<u8, Error> {
    let client = connect::daemon().await?;
    let mut failed = None;
    for image in images {
        match client.remove_image(image).await {
            Ok(_) => println!("{image}"),
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    earlier.print();
                }
            }
        }
    }
    failed.map_or(Ok(0), Err)
}

async fn prune(all: bool, max_size: Option<u64>, json: bool) -> Result<u8, Error> {
    let freed = connect::daemon().await?.prune_images(all, max_size).await?;
    if json {
        println!("{}", serde_json::json!(freed));
        return Ok(0);
    }
    for name in &freed.removed {
        println!("{name}");
    }
    eprintln!("{} are free", table::size(freed.freed_bytes));
    Ok(0)
}
