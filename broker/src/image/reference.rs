//! What a caller names an image by.

use std::path::{Path, PathBuf};

use super::ImageError;

/// Longer than any name that people type; it becomes a file name.
const MAX_NAME: usize = 128;

/// A place of an image on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The OCI layout.
    pub(crate) dir: PathBuf,
    /// None: the layout has one image, or one called `latest`.
    pub(crate) tag: Option<String>,
    /// As it was given.
    pub(crate) given: String,
}

impl Reference {
    /// `NAME` below `images`, or `oci:DIR[:tag]`.
    pub(crate) fn parse(given: &str, images: &Path) -> Result<Self, ImageError> {
        let bad = |problem: &str| ImageError::BadReference {
            reference: given.chars().take(MAX_NAME).collect(),
            problem: problem.to_owned(),
        };
        if let Some(rest) = given.strip_prefix("oci:") {
            let (dir, tag) = split_tag(rest);
            if dir.is_empty() {
                return Err(bad("names no directory: oci:DIR[:tag]"));
            }
            return Ok(Self { dir: dir.into(), tag, given: given.to_owned() });
        }
        if given.is_empty() || given.len() > MAX_NAME {
            return Err(bad("is empty or too long"));
        }
        if given.starts_with(['.', '/', '-']) || given.split('/').any(|part| part == "..") {
            return Err(bad("is no name below the images' directory"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !given.chars().all(plain) {
            return Err(bad(
                "is of a kind that is not supported yet: use a name below the images' directory or oci:DIR[:tag]",
            ));
        }
        let dir = images.join(given);
        if !dir.is_dir() {
            return Err(ImageError::NotFound { name: given.to_owned(), dir: images.to_owned() });
        }
        Ok(Self { dir, tag: None, given: given.to_owned() })
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

    #[test]
    fn names_stay_below_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("busybox")).unwrap();
        let found = Reference::parse("busybox", dir.path()).unwrap();
        assert_eq!(found.dir, dir.path().join("busybox"));
        for evil in ["", "..", ".", "../x", "a/../../b", "/etc", "-x", ".hidden", "a\0b", "a b"] {
            let error = Reference::parse(evil, dir.path()).unwrap_err();
            assert!(matches!(error, ImageError::BadReference { .. }), "{evil:?}: {error}");
        }
        let missing = Reference::parse("none", dir.path()).unwrap_err();
        assert!(matches!(missing, ImageError::NotFound { .. }));
    }

    #[test]
    fn other_kinds_are_named_as_not_supported_yet() {
        for later in ["docker.io/library/debian:12", "debian:12", "docker-archive:/x.tar"] {
            let error = Reference::parse(later, Path::new("/nowhere")).unwrap_err();
            assert!(error.to_string().contains("not supported yet"), "{error}");
        }
    }

    #[test]
    fn layouts_with_and_without_a_tag() {
        let parse = |given| Reference::parse(given, Path::new("/nowhere")).unwrap();
        assert_eq!(parse("oci:/a/b").dir, Path::new("/a/b"));
        assert_eq!(parse("oci:/a/b").tag, None);
        assert_eq!(parse("oci:/a/b:v1").tag.as_deref(), Some("v1"));
        assert_eq!(parse("oci:/a:b/c").dir, Path::new("/a:b/c"));
        assert!(Reference::parse("oci:", Path::new("/")).is_err());
    }
}
