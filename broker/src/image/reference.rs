//! What a caller names an image by.
//!
//! ```text
//! debian                             a directory below the images' directory
//! debian:12   registry.example/o/i@sha256:…   a registry: whatever has a `/`, `:` or `@`
//! docker://debian                    a registry, also where the name is bare
//! oci:DIR[:TAG]                      an OCI layout, used where it lies
//! oci-archive:FILE[:TAG]             a tar of one
//! docker-archive:FILE[:NAME[:TAG]]   what `docker save` writes
//! ```
//!
//! Which it is follows from the text alone, never from what happens to lie on
//! the disk: a bare name that is misspelt must not become a download.

use std::path::{Path, PathBuf};

use oci_spec::distribution::Reference as RegistryReference;

use super::{Digest, ImageError};

/// Longer than any name that people type; it becomes a file name.
const MAX_NAME: usize = 128;

/// Names of files and registries: what a path can be, and no more.
const MAX_REFERENCE: usize = 4096;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A layout on this host.
    Layout(LayoutPlace),
    /// A file that is read into the store.
    Archive(ArchivePlace),
    /// Pulled into the store.
    Registry(RegistryReference),
}

/// A layout on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayoutPlace {
    pub(crate) dir: PathBuf,
    /// None: the layout has one image, or one called `latest`.
    pub(crate) tag: Option<String>,
}

/// An archive on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivePlace {
    pub(crate) kind: ArchiveKind,
    pub(crate) file: PathBuf,
    /// None: the archive has one image (or one called `latest`).
    pub(crate) which: Option<String>,
    /// As it was given: its name in the store.
    pub(crate) given: String,
}

/// Who wrote an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveKind {
    Oci,
    Docker,
}

impl Reference {
    /// Reads what a caller gave; bare names are looked up below `images`.
    pub(crate) fn parse(given: &str, images: &Path) -> Result<Self, ImageError> {
        let bad = |problem: &str| bad(given, problem);
        if given.is_empty() || given.len() > MAX_REFERENCE {
            return Err(bad("is empty or too long"));
        }
        if let Some(rest) = given.strip_prefix("oci:") {
            let (dir, tag) = split_tag(rest);
            if dir.is_empty() {
                return Err(bad("names no directory: oci:DIR[:TAG]"));
            }
            return Ok(Self::Layout(LayoutPlace { dir: dir.into(), tag }));
        }
        if let Some(rest) = given.strip_prefix("oci-archive:") {
            let (file, tag) = split_tag(rest);
            return archive(given, ArchiveKind::Oci, file, tag);
        }
        if let Some(rest) = given.strip_prefix("docker-archive:") {
            // The reference has colons of its own, so the first one ends the file.
            let (file, which) = match rest.split_once(':') {
                Some((file, which)) => (file, Some(which.to_owned())),
                None => (rest, None),
            };
            return archive(given, ArchiveKind::Docker, file, which);
        }
        if let Some(rest) = given.strip_prefix("docker://") {
            return registry(rest);
        }
        if given.contains(['/', ':', '@']) && !given.starts_with(['.', '/', '-']) {
            return registry(given);
        }
        local(given, images)
    }

    /// What the store calls it; None for a layout, which is used where it lies.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Layout(_) => None,
            Self::Archive(place) => Some(place.given.clone()),
            Self::Registry(reference) => Some(reference.whole()),
        }
    }
}

fn local(given: &str, images: &Path) -> Result<Reference, ImageError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = given.len() <= MAX_NAME && given.chars().all(plain);
    if !is_name || given.starts_with(['.', '/', '-']) {
        return Err(bad(given, "is no name below the images' directory, and no registry's"));
    }
    let dir = images.join(given);
    if !dir.is_dir() {
        return Err(ImageError::NotFound { name: given.to_owned(), dir: images.to_owned() });
    }
    Ok(Reference::Layout(LayoutPlace { dir, tag: None }))
}

fn registry(given: &str) -> Result<Reference, ImageError> {
    let parsed: RegistryReference =
        given.parse().map_err(|e| bad(given, &format!("names no image of a registry: {e}")))?;
    if parsed.digest().is_some_and(|digest| Digest::parse(digest).is_none()) {
        return Err(bad(given, "has a digest that is not sha256; only that is known"));
    }
    Ok(Reference::Registry(parsed))
}

fn archive(
    given: &str,
    kind: ArchiveKind,
    file: &str,
    which: Option<String>,
) -> Result<Reference, ImageError> {
    if file.is_empty() {
        return Err(bad(given, "names no file"));
    }
    let which = which.filter(|which| !which.is_empty());
    Ok(Reference::Archive(ArchivePlace { kind, file: file.into(), which, given: given.to_owned() }))
}

fn bad(given: &str, problem: &str) -> ImageError {
    ImageError::BadReference {
        reference: given.chars().take(MAX_NAME).collect(),
        problem: problem.to_owned(),
    }
}

/// A tag has no slash, so that a colon inside a directory's name is no tag.
fn split_tag(rest: &str) -> (&str, Option<String>) {
    match rest.rsplit_once(':') {
        Some((dir, tag)) if !tag.contains('/') && !tag.is_empty() => (dir, Some(tag.to_owned())),
        _ => (rest, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &str) -> Result<Reference, ImageError> {
        Reference::parse(given, Path::new("/nowhere"))
    }

    #[test]
    fn names_stay_below_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("busybox")).unwrap();
        let found = Reference::parse("busybox", dir.path()).unwrap();
        let place = LayoutPlace { dir: dir.path().join("busybox"), tag: None };
        assert_eq!(found, Reference::Layout(place));
        for evil in
            ["", "..", ".", "../x", "a/../../b", "/etc", "-x", ".hidden", "a\0b", "a b", "a:b c"]
        {
            let error = Reference::parse(evil, dir.path()).unwrap_err();
            assert!(matches!(error, ImageError::BadReference { .. }), "{evil:?}: {error}");
        }
        let missing = Reference::parse("none", dir.path()).unwrap_err();
        assert!(matches!(missing, ImageError::NotFound { .. }));
    }

    #[test]
    fn what_has_a_slash_a_colon_or_an_at_is_a_registrys() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (given, whole) in [
            ("debian:12", "docker.io/library/debian:12"),
            ("docker://debian", "docker.io/library/debian:latest"),
            ("user/tool", "docker.io/user/tool:latest"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
            ("registry.example/a/b:v1", "registry.example/a/b:v1"),
            (&format!("a.example/b@{digest}"), &format!("a.example/b@{digest}")),
        ] {
            assert_eq!(parse(given).unwrap().name().as_deref(), Some(whole), "{given}");
        }
        let other = format!("a.example/b@sha512:{}", "a".repeat(128));
        for bad in ["UPPER/case:", "a/b:", "a//b", "docker://", &other, &"a/".repeat(5000)] {
            let error = parse(bad).unwrap_err();
            assert!(matches!(error, ImageError::BadReference { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn a_bare_name_is_never_a_download() {
        assert!(matches!(parse("debian").unwrap_err(), ImageError::NotFound { .. }));
    }

    #[test]
    fn layouts_with_and_without_a_tag() {
        let place = |given| match parse(given).unwrap() {
            Reference::Layout(place) => place,
            other => panic!("{other:?}"),
        };
        assert_eq!(place("oci:/a/b"), LayoutPlace { dir: "/a/b".into(), tag: None });
        assert_eq!(place("oci:/a/b:v1").tag.as_deref(), Some("v1"));
        assert_eq!(place("oci:/a:b/c").dir, Path::new("/a:b/c"));
        assert!(parse("oci:").is_err());
    }

    #[test]
    fn archives() {
        let place = |given| match parse(given).unwrap() {
            Reference::Archive(place) => (place.kind, place.file, place.which),
            other => panic!("{other:?}"),
        };
        let docker = place("docker-archive:/x/a.tar:busybox:1.36");
        assert_eq!(docker, (ArchiveKind::Docker, "/x/a.tar".into(), Some("busybox:1.36".into())));
        assert_eq!(place("docker-archive:a.tar"), (ArchiveKind::Docker, "a.tar".into(), None));
        let oci = place("oci-archive:/x:y/a.tar:v1");
        assert_eq!(oci, (ArchiveKind::Oci, "/x:y/a.tar".into(), Some("v1".into())));
        assert!(parse("oci-archive:").is_err() && parse("docker-archive::x").is_err());
    }
}
