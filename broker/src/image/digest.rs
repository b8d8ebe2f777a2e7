//! A blob's name: the digest of its bytes.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 lower-case hexadecimal digits. Nothing else becomes a file
/// name or a part of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(PREFIX)?;
        let is_hex = |c| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == 64 && hex.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// Of everything that the hasher was given.
    pub(crate) fn finish(hasher: Sha256) -> Self {
        Self(format!("{PREFIX}{}", hex(&hasher.finalize())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the algorithm: the blob's file name.
    pub(crate) fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// From a file's name in a directory of blobs.
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        Self::parse(&format!("{PREFIX}{hex}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_in_lower_case() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty).unwrap().hex(), &empty[7..]);
        let bad = [
            String::new(),
            "sha256:".to_owned(),
            empty.to_uppercase(),
            format!("{empty}0"),
            empty.replace('e', "/"),
            empty.replace("sha256", "sha512"),
            format!("sha256:../../{}", &empty[13..]),
        ];
        for text in bad {
            assert_eq!(Digest::parse(&text), None, "{text}");
        }
    }
}
