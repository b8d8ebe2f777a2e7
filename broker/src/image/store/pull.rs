//! From a registry or an archive into the store.

use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::distribution::Reference as RegistryReference;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::super::archive;
use super::super::layout::{MAX_DOCUMENT, MAX_LAYERS, MAX_NESTING, check_kind, for_arch, parse};
use super::super::reference::ArchivePlace;
use super::super::registry::{Document, Repository};
use super::super::{Digest, ImageError, Layout, ProgressSender, Reference};
use super::PullPolicy;
use super::fetch::{From, Wanted};
use super::hold::Hold;
use super::images::{Images, blocking, now_us};
use super::progress::Tally;
use crate::arch::GuestArch;
use crate::store::ImageRow;

/// Blobs at once: more gain nothing on one line, and registries count them.
const AT_ONCE: usize = 3;

/// What is to be noted of an image that is there.
struct Noted {
    name: String,
    digest: Digest,
    manifest: Digest,
    blobs: Vec<(Digest, u64)>,
    stamp: Option<String>,
}

/// The documents that lead to a manifest, and it.
struct Found {
    top: Digest,
    manifest: ImageManifest,
    manifest_digest: Digest,
    documents: Vec<(Digest, Vec<u8>)>,
}

impl Images {
    /// An image, held; pulled if the policy says so. A layout of this host is
    /// used where it lies.
    pub(crate) async fn ensure(
        &self,
        reference: &Reference,
        policy: PullPolicy,
        progress: Option<&ProgressSender>,
    ) -> Result<Layout, ImageError> {
        let stamp = match reference {
            Reference::Layout(place) => return Layout::open(place, self.inner.arch).await,
            Reference::Archive(place) if policy != PullPolicy::Never => {
                Some(archive::stamp(&place.file).await?)
            }
            _ => None,
        };
        let name = reference.name().unwrap_or_default();
        if policy != PullPolicy::Always
            && self.is_as_stamped(&name, stamp.as_deref()).await?
            && let Some(there) = self.open_stored(&name).await?
        {
            return Ok(there);
        }
        if policy == PullPolicy::Never {
            return Err(ImageError::Absent { name });
        }
        match reference {
            Reference::Registry(from) => self.pull_from_registry(from, progress).await,
            Reference::Archive(place) => self.read_from_archive(place, stamp, progress).await,
            Reference::Layout(place) => Layout::open(place, self.inner.arch).await,
        }
    }

    /// Whether the archive is the one that was read; others have no stamp.
    async fn is_as_stamped(&self, name: &str, stamp: Option<&str>) -> Result<bool, ImageError> {
        let Some(stamp) = stamp else { return Ok(true) };
        let stored = self.find(name).await?;
        Ok(stored.is_some_and(|stored| stored.stamp.as_deref() == Some(stamp)))
    }

    async fn pull_from_registry(
        &self,
        reference: &RegistryReference,
        progress: Option<&ProgressSender>,
    ) -> Result<Layout, ImageError> {
        let name = reference.whole();
        let found = {
            let repository = self.inner.registries.repository(reference);
            let which = reference.digest().or(reference.tag()).unwrap_or("latest");
            let top = repository.manifest(which).await?;
            find_manifest(&name, &repository, top, self.inner.arch).await?
        };
        let config = wanted(&name, found.manifest.config())?;
        let layers: Result<Vec<_>, _> =
            found.manifest.layers().iter().map(|layer| wanted(&name, layer)).collect();
        let layers = layers?;
        if layers.len() > MAX_LAYERS || config.1 > MAX_DOCUMENT {
            return Err(ImageError::malformed(&name, "has too many layers, or too long a config"));
        }
        let documents = found.documents.iter().map(|(d, bytes)| (d.clone(), bytes.len() as u64));
        let blobs: Vec<_> =
            documents.chain([config.clone()]).chain(layers.iter().cloned()).collect();
        let hold = self.reserve(&blobs).await?;
        let (store, documents) = (self.inner.blobs.clone(), found.documents);
        blocking(move || documents.iter().try_for_each(|(_, bytes)| store.add(bytes).map(drop)))
            .await?;
        let from = From { registries: self.inner.registries.clone(), reference: reference.clone() };
        self.fetch(&from, &config, |_| {}).await?;
        // What the guests cannot run is known before its layers are fetched.
        let dir = self.inner.blobs.dir().to_owned();
        let layout = Layout::stored(dir, &found.manifest_digest, self.inner.arch).await?;
        let tally = Tally::new(&layers, progress);
        let mut fetches = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let tally = &tally;
            fetches.push(self.fetch(&from, layer, move |have| tally.tell(at, have)));
        }
        stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let (digest, manifest) = (found.top, found.manifest_digest);
        self.note(Noted { name, digest, manifest, blobs, stamp: None }).await?;
        Ok(layout.holding(hold))
    }

    async fn fetch(
        &self,
        from: &From,
        (digest, size): &(Digest, u64),
        tell: impl FnMut(u64),
    ) -> Result<(), ImageError> {
        let wanted = Wanted { digest: digest.clone(), size: *size };
        self.inner.blobs.fetch(from, &wanted, tell).await
    }

    async fn read_from_archive(
        &self,
        place: &ArchivePlace,
        stamp: Option<String>,
        progress: Option<&ProgressSender>,
    ) -> Result<Layout, ImageError> {
        let (given, plan, arch) = (place.given.clone(), place.clone(), self.inner.arch);
        let plan = blocking(move || archive::plan(&plan, arch)).await?;
        // Some layers have no digest yet: room for all is promised under one name.
        let promise = (Digest::of(given.as_bytes()), plan.total());
        let promised = self.reserve(&[promise]).await?;
        let sizes: Vec<_> = plan.layer_sizes();
        let tally = Arc::new(Tally::new(&sizes, progress));
        let store = self.inner.blobs.clone();
        let read =
            blocking(move || plan.import(&store, |layer, have| tally.tell(layer, have))).await?;
        let holds: Vec<Hold> = read.holds;
        drop(promised);
        let hold = self.reserve(&read.blobs).await?;
        drop(holds);
        let dir = self.inner.blobs.dir().to_owned();
        let layout = Layout::stored(dir, &read.manifest, self.inner.arch).await?;
        let (digest, manifest) = (read.manifest.clone(), read.manifest);
        self.note(Noted { name: given, digest, manifest, blobs: read.blobs, stamp }).await?;
        Ok(layout.holding(hold))
    }

    async fn note(&self, image: Noted) -> Result<(), ImageError> {
        let blobs: Vec<_> = image.blobs.iter().map(|(d, size)| (d.as_str(), size)).collect();
        let now = now_us();
        let row = ImageRow {
            blobs: serde_json::json!(blobs).to_string(),
            name: image.name,
            digest: image.digest.to_string(),
            manifest: image.manifest.to_string(),
            stamp: image.stamp,
            pulled_us: now,
            used_us: now,
        };
        let _room = self.inner.room.lock().await;
        Ok(self.inner.rows.put_image(row).await?)
    }
}

/// Walks down from what the name stands for to the manifest for the guests' architecture.
async fn find_manifest(
    name: &str,
    repository: &Repository<'_>,
    top: Document,
    arch: GuestArch,
) -> Result<Found, ImageError> {
    let mut documents = Vec::new();
    let (top_digest, mut here, mut expected) = (top.digest.clone(), top, None::<Descriptor>);
    let place = Path::new(name);
    for _ in 0..=MAX_NESTING {
        let kind = kind(place, &here, expected.as_ref())?;
        let (digest, bytes) = (here.digest, here.bytes);
        documents.push((digest.clone(), bytes.clone()));
        if !is_index(&kind) {
            let manifest: ImageManifest = parse(place, &bytes)?;
            return Ok(Found { top: top_digest, manifest, manifest_digest: digest, documents });
        }
        let index: ImageIndex = parse(place, &bytes)?;
        let next = for_arch(place, index.manifests(), arch)?;
        let (digest, size) = wanted(name, &next)?;
        here = repository.manifest(digest.as_str()).await?;
        if here.bytes.len() as u64 != size {
            let problem =
                format!("names {digest} with {size} bytes, which has {}", here.bytes.len());
            return Err(ImageError::malformed(name, problem));
        }
        expected = Some(next);
    }
    Err(ImageError::malformed(name, "nests an index in an index in an index"))
}

/// What a document is: as the index names it, else as its answer's head does,
/// and in no contradiction to itself.
fn kind(
    place: &Path,
    document: &Document,
    expected: Option<&Descriptor>,
) -> Result<String, ImageError> {
    let json: serde_json::Value = parse(place, &document.bytes)?;
    let own = json.get("mediaType").and_then(|kind| kind.as_str()).map(str::to_owned);
    let head = document.content_type.split(';').next().unwrap_or_default().trim();
    let named = expected.map(|descriptor| descriptor.media_type().to_string());
    let named = named.or_else(|| is_known(head).then(|| head.to_owned()));
    let kind = named.or(own).unwrap_or_default();
    if !is_known(&kind) {
        let problem = format!("is of a kind that is not known: {:?}", super::super::said(&kind));
        return Err(ImageError::malformed(place, problem));
    }
    check_kind(place, &document.bytes, &kind)?;
    Ok(kind)
}

fn is_index(kind: &str) -> bool {
    kind.ends_with("index.v1+json") || kind.ends_with("manifest.list.v2+json")
}

fn is_known(kind: &str) -> bool {
    is_index(kind)
        || kind == "application/vnd.oci.image.manifest.v1+json"
        || kind == "application/vnd.docker.distribution.manifest.v2+json"
}

fn wanted(name: &str, descriptor: &Descriptor) -> Result<(Digest, u64), ImageError> {
    let digest = descriptor.digest().to_string();
    match Digest::parse(&digest) {
        Some(digest) => Ok((digest, descriptor.size())),
        None => Err(ImageError::malformed(
            name,
            format!("names a blob by {:?}; only sha256 is known", super::super::said(&digest)),
        )),
    }
}
