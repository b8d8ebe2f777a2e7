//! Room, and what makes it.

use std::sync::Arc;

use super::super::super::liar::Reply;
use super::super::super::{Digest, ImageError, Registries};
use super::super::{Images, PullPolicy};
use super::{PLENTY, Rig, noise};
use crate::arch::GuestArch;
use crate::store::Store;

#[tokio::test]
async fn the_longest_unused_image_makes_room_and_what_is_in_use_stays() {
    let rig = Rig::new(1_000_000).await;
    for n in 1..=4 {
        rig.liar.image(&format!("v{n}"), &[&noise(n, 300_000)]);
    }
    let names = async || {
        let list = rig.images.list().await.unwrap();
        list.into_iter().map(|s| s.name.rsplit(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for tag in [":v1", ":v2", ":v3"] {
        rig.pull(tag).await.unwrap();
    }
    // Used: now v2 is the one that was not for the longest time.
    drop(rig.get(":v1", PullPolicy::Never).await.unwrap());
    let in_use = rig.pull(":v4").await.unwrap();
    assert_eq!(names().await, ["v3", "v1", "v4"]);
    assert!(rig.images.used().await.unwrap() <= 1_000_000);

    let held: Vec<_> = futures_util::future::join_all([
        rig.get(":v3", PullPolicy::Never),
        rig.get(":v1", PullPolicy::Never),
    ])
    .await;
    let full = rig.pull(":v2").await.unwrap_err();
    assert!(full.to_string().contains("in use"), "{full}");
    let pruned = rig.images.prune(true, None).await.unwrap();
    assert_eq!((pruned.images.len(), names().await.len()), (0, 3), "what is in use was pruned");
    in_use.blob(&in_use.layers[0]).await.unwrap();
    drop((held, in_use));
    let pruned = rig.images.prune(true, None).await.unwrap();
    assert_eq!((pruned.images.len(), rig.images.used().await.unwrap()), (3, 0));
    assert_eq!(rig.files("blobs/sha256"), Vec::<String>::new());
}

#[tokio::test]
async fn a_shared_blob_goes_with_its_last_image() {
    let rig = Rig::new(PLENTY).await;
    let layer = noise(10, 50_000);
    rig.liar.image("v1", &[&layer]);
    rig.liar.image("v2", &[&layer, b"top"]);
    rig.pull(":v1").await.unwrap();
    rig.pull(":v2").await.unwrap();
    let name = |tag: &str| format!("{}/a:{tag}", rig.liar.host);
    let freed = rig.images.remove(&name("v1")).await.unwrap();
    assert!(freed < 50_000, "the shared layer went: {freed}");
    rig.get(":v2", PullPolicy::Never).await.unwrap();
    let freed = rig.images.remove(&name("v2")).await.unwrap();
    assert!(freed > 50_000);
    let missing = rig.images.remove(&name("v2")).await.unwrap_err();
    assert!(matches!(missing, ImageError::NotStored { .. }));
}

#[tokio::test]
async fn a_blob_that_went_missing_is_fetched_again() {
    let rig = Rig::new(PLENTY).await;
    rig.liar.image("v1", &[b"layer"]);
    let layout = rig.pull(":v1").await.unwrap();
    let digest = Digest::parse(&layout.layers[0].digest).unwrap();
    std::fs::remove_file(rig.dir.path().join("images/blobs/sha256").join(digest.hex())).unwrap();
    let never = rig.get(":v1", PullPolicy::Never).await.unwrap_err();
    assert!(matches!(never, ImageError::Absent { .. }));
    let layout = rig.get(":v1", PullPolicy::Missing).await.unwrap();
    layout.blob(&layout.layers[0]).await.unwrap();
}

#[tokio::test]
async fn an_image_store_has_one_broker() {
    let rig = Rig::new(PLENTY).await;
    let dir = rig.dir.path().join("images");
    let (rows, registries) = (Store::in_memory().unwrap(), Registries::new(Default::default()));
    let second =
        Images::open(dir, rows, registries.unwrap(), PLENTY, GuestArch::X86_64).unwrap_err();
    assert!(matches!(second, ImageError::Store(_)), "{second}");
}

#[tokio::test]
async fn what_a_pull_left_is_kept_for_a_day() {
    use std::time::{Duration, SystemTime};
    let rig = Rig::new(PLENTY).await;
    let images = rig.dir.path().join("images");
    let [old, new, orphan] = [b"old", b"new", b"gon"].map(|name| Digest::of(name).hex().to_owned());
    for path in
        [format!("partial/{old}"), format!("partial/{new}"), format!("blobs/sha256/{orphan}")]
    {
        std::fs::write(images.join(&path), "some").unwrap();
        if !path.ends_with(&new) {
            let file = std::fs::File::options().write(true).open(images.join(&path)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(25 * 3600)).unwrap();
        }
    }
    rig.images.tidy().await.unwrap();
    assert_eq!((rig.files("partial"), rig.files("blobs/sha256")), (vec![new], vec![]));
    assert_eq!(rig.images.prune(false, None).await.unwrap().bytes, 4);
    rig.leaves_nothing();
}

#[tokio::test]
async fn an_image_that_is_removed_while_it_is_used_stays_until_it_is_not() {
    let rig = Rig::new(PLENTY).await;
    rig.liar.image("v1", &[&noise(11, 50_000)]);
    let in_use = rig.pull(":v1").await.unwrap();
    let freed = rig.images.remove(&format!("{}/a:v1", rig.liar.host)).await.unwrap();
    let pruned = rig.images.prune(true, Some(0)).await.unwrap();
    assert_eq!((freed, pruned.bytes), (0, 0), "what is in use was deleted");
    in_use.blob(&in_use.layers[0]).await.unwrap();
    drop(in_use);
    assert!(rig.images.prune(false, None).await.unwrap().bytes > 50_000);
}

#[tokio::test]
async fn a_pull_under_way_is_not_pruned() {
    let rig = Arc::new(Rig::new(PLENTY).await);
    let (first, second) = (noise(12, 100_000), noise(13, 2 << 20));
    rig.liar.image("v1", &[&first, &second]);
    let path = format!("/v2/a/blobs/{}", Digest::of(&second));
    let half = Reply { length: Some(2 << 20), stalls: true, ..Reply::new(&second[..1 << 20]) };
    rig.liar.says(&path, half);
    let other = rig.clone();
    let pulling = tokio::spawn(async move { other.pull(":v1").await.map(drop) });
    let images = rig.dir.path().join("images");
    let whole = images.join("blobs/sha256").join(Digest::of(&first).hex());
    let partial = images.join("partial").join(Digest::of(&second).hex());
    rig.until(|| whole.exists() && partial.exists()).await;
    assert_eq!(rig.images.prune(true, None).await.unwrap(), Default::default());
    assert!(whole.exists() && partial.exists(), "what a pull needs was pruned");
    pulling.abort();
}
