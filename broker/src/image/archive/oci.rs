//! `oci-archive:`, a tar of an OCI layout.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::super::layout::{MAX_DOCUMENT, MAX_NESTING, by_tag, check_kind, for_arch, parse};
use super::super::{Digest, ImageError};
use super::tar::Tar;
use super::{Part, Plan};
use crate::arch::GuestArch;

pub(super) fn plan(tar: Tar, tag: Option<&str>, arch: GuestArch) -> Result<Plan, ImageError> {
    let mut index: ImageIndex = parse(&tar.path, &tar.document("index.json", MAX_DOCUMENT)?)?;
    let mut found = by_tag(&tar.path, index.manifests(), tag, arch)?;
    let mut nested = 0;
    while found.media_type().as_ref().ends_with("index.v1+json")
        || found.media_type().as_ref().ends_with("manifest.list.v2+json")
    {
        nested += 1;
        if nested > MAX_NESTING {
            return Err(tar.malformed("nests an index in an index in an index"));
        }
        index = parse(&tar.path, &document(&tar, &found)?)?;
        found = for_arch(&tar.path, index.manifests(), arch)?;
    }
    let bytes = document(&tar, &found)?;
    let manifest: ImageManifest = parse(&tar.path, &bytes)?;
    let config = document(&tar, manifest.config())?;
    let layers: Result<Vec<_>, _> = manifest.layers().iter().map(|l| layer(&tar, l)).collect();
    Ok(Plan { config, layers: layers?, manifest: Some(bytes), tar })
}

fn document(tar: &Tar, of: &Descriptor) -> Result<Vec<u8>, ImageError> {
    let (digest, name) = blob(tar, of)?;
    let bytes = tar.document(&name, MAX_DOCUMENT)?;
    let found = Digest::of(&bytes);
    if found != digest || bytes.len() as u64 != of.size() {
        return Err(tar.malformed(format!("has {found} where it says {digest}")));
    }
    check_kind(&tar.path, &bytes, of.media_type().as_ref())?;
    Ok(bytes)
}

fn layer(tar: &Tar, of: &Descriptor) -> Result<Part, ImageError> {
    let (digest, name) = blob(tar, of)?;
    let Some(place) = tar.find(&name).filter(|place| place.size == of.size()) else {
        return Err(tar.malformed(format!("has no layer {digest} of {} bytes", of.size())));
    };
    Ok(Part { place, digest: Some(digest) })
}

fn blob(tar: &Tar, of: &Descriptor) -> Result<(Digest, String), ImageError> {
    let text = of.digest().to_string();
    let Some(digest) = Digest::parse(&text) else {
        let text = super::super::said(&text);
        return Err(tar.malformed(format!("names a blob by {text:?}; only sha256 is known")));
    };
    let name = format!("blobs/sha256/{}", digest.hex());
    Ok((digest, name))
}
