//! The store against a registry that can lie.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::liar::{INDEX, Liar, MANIFEST, Reply};
use super::super::registry::RegistryOptions;
use super::super::{Digest, ImageError, Layout, Progress, Reference, Registries};
use super::{Images, PullPolicy};
use crate::arch::GuestArch;
use crate::store::Store;

mod lies;
mod logins;
mod room;

struct Rig {
    liar: Liar,
    images: Images,
    dir: tempfile::TempDir,
}

const PLENTY: u64 = 1 << 30;

impl Rig {
    async fn new(max_bytes: u64) -> Self {
        Self::with(max_bytes, RegistryOptions::default(), Liar::start().await)
    }

    fn with(max_bytes: u64, mut options: RegistryOptions, liar: Liar) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The machine's own logins are none of ours.
        options.docker_config.get_or_insert_with(|| {
            let path = dir.path().join("config.json");
            std::fs::write(&path, "{}").unwrap();
            path
        });
        let (rows, registries) = (Store::in_memory().unwrap(), Registries::new(options).unwrap());
        let (place, arch) = (dir.path().join("images"), GuestArch::X86_64);
        let images = Images::open(place, rows, registries, max_bytes, arch).unwrap();
        Self { liar, images, dir }
    }

    async fn pull(&self, what: &str) -> Result<Layout, ImageError> {
        self.get(what, PullPolicy::Always).await
    }

    async fn get(&self, what: &str, policy: PullPolicy) -> Result<Layout, ImageError> {
        let given = format!("{}/a{what}", self.liar.host);
        let reference = Reference::parse(&given, self.dir.path()).unwrap();
        self.images.ensure(&reference, policy, None).await
    }

    async fn refused(&self, what: &str) -> String {
        self.pull(what).await.unwrap_err().to_string()
    }

    /// Looks until it is so.
    async fn until(&self, is_so: impl Fn() -> bool) {
        let looking = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looking).await.unwrap();
    }

    /// File names below one of the store's directories.
    fn files(&self, dir: &str) -> Vec<String> {
        let listing = std::fs::read_dir(self.dir.path().join("images").join(dir)).unwrap();
        listing.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    fn leaves_nothing(&self) {
        assert_eq!(self.files("partial"), Vec::<String>::new());
    }
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(byte).collect()
}

#[tokio::test]
async fn by_tag_by_digest_and_by_an_index_of_platforms() {
    let rig = Rig::new(PLENTY).await;
    let layer = noise(1, 300_000);
    let manifest = rig.liar.image("v1", &[&layer, b"second"]);
    let layout = rig.pull(":v1").await.unwrap();
    assert_eq!((layout.layers.len(), layout.total()), (2, 300_006));
    layout.blob(&layout.layers[0]).await.unwrap();
    let digest = Digest::of(manifest.to_string().as_bytes());
    rig.pull(&format!("@{digest}")).await.unwrap();

    let size = manifest.to_string().len();
    let foreign = json!({"mediaType": MANIFEST, "digest": Digest::of(b"other").as_str(), "size": 5,
                         "platform": {"os": "linux", "architecture": "riscv64"}});
    let ours = json!({"mediaType": MANIFEST, "digest": digest.as_str(), "size": size,
                      "platform": {"os": "linux", "architecture": "amd64"}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign, ours]});
    let top = rig.liar.document("multi", INDEX, &index);
    rig.pull(":multi").await.unwrap();
    let stored = rig.images.find(&format!("{}/a:multi", rig.liar.host)).await.unwrap().unwrap();
    assert_eq!((stored.digest.as_str(), &stored.manifest), (top.as_str(), &digest));
    assert_eq!(rig.liar.asked_for("blobs").len(), 3, "blobs that are there came again");
    rig.leaves_nothing();
}

#[tokio::test]
async fn an_image_that_was_pulled_for_other_guests_is_pulled_again() {
    let rig = Rig::new(PLENTY).await;
    let entry = |architecture: &str, layer: &[u8]| {
        let manifest = rig.liar.image_for(architecture, architecture, &[layer]).to_string();
        json!({"mediaType": MANIFEST, "digest": Digest::of(manifest.as_bytes()).as_str(),
               "size": manifest.len(), "platform": {"os": "linux", "architecture": architecture}})
    };
    let both = [entry("amd64", b"one"), entry("arm64", b"other")];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": both});
    rig.liar.document("both", INDEX, &index);
    let first = |layout: &Layout| layout.layers[0].digest.clone();
    let one = rig.get(":both", PullPolicy::Missing).await.unwrap();
    assert_eq!(first(&one), Digest::of(b"one").to_string());

    let (rows, Rig { liar, images, dir }) = (rig.images.inner.rows.clone(), rig);
    drop((one, images));
    let docker_config = Some(dir.path().join("config.json"));
    let options = RegistryOptions { docker_config, ..RegistryOptions::default() };
    let (place, registries) = (dir.path().join("images"), Registries::new(options).unwrap());
    let images = Images::open(place, rows, registries, PLENTY, GuestArch::Aarch64).unwrap();
    let rig = Rig { liar, images, dir };
    let never = rig.get(":both", PullPolicy::Never).await.unwrap_err();
    assert!(matches!(never, ImageError::Absent { .. }), "{never}");
    let other = rig.get(":both", PullPolicy::Missing).await.unwrap();
    assert_eq!(first(&other), Digest::of(b"other").to_string());
    let wrong = rig.refused(":amd64").await;
    assert!(wrong.contains("linux/amd64") && wrong.contains("linux/arm64"), "{wrong}");
}

#[tokio::test]
async fn policies() {
    let rig = Rig::new(PLENTY).await;
    rig.liar.image("v1", &[b"one"]);
    let never = rig.get(":v1", PullPolicy::Never).await.unwrap_err();
    assert!(matches!(never, ImageError::Absent { .. }));
    rig.get(":v1", PullPolicy::Missing).await.unwrap();
    rig.liar.image("v1", &[b"moved"]);
    let before = rig.liar.seen().len();
    let first = |layout: &Layout| layout.layers[0].digest.clone();
    let one = Digest::of(b"one").to_string();
    assert_eq!(first(&rig.get(":v1", PullPolicy::Missing).await.unwrap()), one);
    assert_eq!(first(&rig.get(":v1", PullPolicy::Never).await.unwrap()), one);
    assert_eq!(rig.liar.seen().len(), before, "the registry was asked");
    let moved = rig.get(":v1", PullPolicy::Always).await.unwrap();
    assert_eq!(first(&moved), Digest::of(b"moved").to_string());
}

#[tokio::test]
async fn pulls_at_once_fetch_each_blob_once_and_tell_everybody() {
    let rig = Arc::new(Rig::new(PLENTY).await);
    let layer = noise(2, 4 << 20);
    rig.liar.image("v1", &[&layer]);
    rig.liar.image("v2", &[&layer, b"top"]);
    let pulls = (0..8).map(|n| {
        let rig = rig.clone();
        tokio::spawn(async move {
            let given = format!("{}/a:v{}", rig.liar.host, n % 2 + 1);
            let reference = Reference::parse(&given, rig.dir.path()).unwrap();
            let (sender, progress) = tokio::sync::watch::channel(Progress::default());
            rig.images.ensure(&reference, PullPolicy::Always, Some(&sender)).await.unwrap();
            let last = progress.borrow().clone();
            let Progress::Pulling(layers) = last else { panic!("{last:?}") };
            assert!(layers.iter().all(|layer| layer.have == layer.size), "{layers:?}");
        })
    });
    futures_util::future::try_join_all(pulls).await.unwrap();
    assert_eq!(rig.liar.asked_for(Digest::of(&layer).as_str()).len(), 1);
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on_where_it_stopped() {
    let rig = Rig::new(PLENTY).await;
    let layer = noise(3, 900_000);
    rig.liar.image("v1", &[&layer]);
    let path = format!("/v2/a/blobs/{}", Digest::of(&layer));
    rig.liar.says(&path, Reply::new(layer.clone()).cut_after(500_000));
    rig.pull(":v1").await.unwrap();
    let asked = rig.liar.asked_for(Digest::of(&layer).as_str());
    assert_eq!(asked.len(), 2);
    let from: u64 = asked[1].range.as_ref().unwrap()[6..].trim_end_matches('-').parse().unwrap();
    assert!((1..=500_000).contains(&from), "{asked:?}");
    rig.leaves_nothing();
}

#[tokio::test]
async fn a_registry_without_ranges_begins_again() {
    let rig = Rig::new(PLENTY).await;
    let layer = noise(4, 900_000);
    rig.liar.image("v1", &[&layer]);
    let path = format!("/v2/a/blobs/{}", Digest::of(&layer));
    let reply = Reply { ranges: false, ..Reply::new(layer.clone()).cut_after(500_000) };
    rig.liar.says(&path, reply);
    let layout = rig.pull(":v1").await.unwrap();
    layout.blob(&layout.layers[0]).await.unwrap();
}

#[tokio::test]
async fn what_a_dead_broker_left_is_the_beginning_and_what_is_spoilt_is_not_believed() {
    let rig = Rig::new(PLENTY).await;
    let layer = noise(5, 600_000);
    rig.liar.image("v1", &[&layer]);
    let digest = Digest::of(&layer);
    let partial = rig.dir.path().join("images/partial").join(digest.hex());
    std::fs::write(&partial, &layer[..400_000]).unwrap();
    rig.pull(":v1").await.unwrap();
    assert_eq!(rig.liar.asked_for(digest.as_str())[0].range.as_deref(), Some("bytes=400000-"));

    // As a power cut leaves it: of the right length, and zeros.
    rig.images.remove(&format!("{}/a:v1", rig.liar.host)).await.unwrap();
    std::fs::write(&partial, vec![0; 500_000]).unwrap();
    rig.pull(":v1").await.unwrap();
    rig.leaves_nothing();
}

#[tokio::test]
async fn a_pull_whose_caller_went_away_hands_its_turn_on() {
    let rig = Arc::new(Rig::new(PLENTY).await);
    let layer = noise(6, 2 << 20);
    rig.liar.image("v1", &[&layer]);
    let path = format!("/v2/a/blobs/{}", Digest::of(&layer));
    // More is promised than comes: the first pull stands still there.
    let half = Reply { length: Some(2 << 20), stalls: true, ..Reply::new(&layer[..1 << 20]) };
    rig.liar.says(&path, half);
    let first = rig.clone();
    let first = tokio::spawn(async move { first.pull(":v1").await });
    let partial = rig.dir.path().join("images/partial").join(Digest::of(&layer).hex());
    let is_there = || std::fs::metadata(&partial).is_ok_and(|meta| meta.len() >= 512 << 10);
    rig.until(is_there).await;
    rig.liar.says(&path, Reply::new(layer.clone()));
    let second = rig.clone();
    let second = tokio::spawn(async move { second.pull(":v1").await.map(drop) });
    first.abort();
    second.await.unwrap().unwrap();
    let asked = rig.liar.asked_for(Digest::of(&layer).as_str());
    assert!(asked.len() == 2 && asked[1].range.is_some(), "{asked:?}");
    rig.leaves_nothing();
}
