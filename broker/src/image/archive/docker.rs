//! `docker-archive:`, what `docker save` writes: `manifest.json` names a config
//! and layers by their paths. Old dockers have `ID/layer.tar`; new ones, and
//! `skopeo`, blobs of an OCI layout beside it.

use oci_spec::distribution::Reference;
use serde::Deserialize;

use super::super::layout::{MAX_DOCUMENT, parse};
use super::super::{Digest, ImageError, said};
use super::tar::Tar;
use super::{Part, Plan};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn plan(tar: Tar, which: Option<&str>) -> Result<Plan, ImageError> {
    let bytes = tar.document("manifest.json", MAX_DOCUMENT)?;
    let images: Vec<Image> = parse(&tar.path, &bytes)?;
    let image = pick(&tar, &images, which)?;
    let config = tar.document(&image.config, MAX_DOCUMENT)?;
    // By whatever path, the config's name is its digest.
    if let Some(named) = named_digest(&image.config)
        && named != Digest::of(&config)
    {
        return Err(tar.malformed(format!("has {} where it says {named}", Digest::of(&config))));
    }
    let layers = image.layers.iter().map(|name| match tar.find(name) {
        Some(place) => Ok(Part { place, digest: blob_digest(name) }),
        None => Err(tar.malformed(format!("has no {:?}", said(name)))),
    });
    let layers: Result<Vec<_>, _> = layers.collect();
    let layers = layers?;
    Ok(Plan { config, layers, manifest: None, tar })
}

fn pick<'a>(tar: &Tar, images: &'a [Image], which: Option<&str>) -> Result<&'a Image, ImageError> {
    match (which, images) {
        (None, [only]) => Ok(only),
        (None, _) => {
            let problem =
                format!("has {} images; name one: docker-archive:FILE:NAME", images.len());
            Err(tar.malformed(problem))
        }
        (Some(which), _) => {
            // `busybox` and `docker.io/library/busybox:latest` are one.
            let whole = |name: &str| name.parse::<Reference>().ok();
            let wanted = whole(which);
            let is_it = |image: &&Image| {
                let mut tags = image.repo_tags.iter().flatten();
                tags.any(|tag| tag == which || (wanted.is_some() && whole(tag) == wanted))
            };
            let found = images.iter().find(is_it);
            found.ok_or_else(|| tar.malformed(format!("has no image {:?}", said(which))))
        }
    }
}

/// `HEX.json` or `blobs/sha256/HEX`.
fn named_digest(name: &str) -> Option<Digest> {
    let name = name.rsplit('/').next().unwrap_or(name);
    Digest::from_hex(name.strip_suffix(".json").unwrap_or(name))
}

/// `blobs/sha256/HEX`. In `HEX/layer.tar` it is some other number, and in
/// `HEX.tar` of `skopeo` the diff_id, which is checked by itself.
fn blob_digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix("blobs/sha256/")?)
}
