//! The processor architectures of guests.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Arch;

/// A processor architecture of guests: the kernel, the initramfs and the images
/// of a broker are for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuestArch {
    /// `amd64` in images.
    X86_64,
    /// `arm64` in images.
    Aarch64,
}

impl GuestArch {
    /// This host's own, the only one that KVM runs.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// As the kernel and QEMU call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    pub(crate) fn is_host(self) -> bool {
        self == Self::host()
    }

    /// As an image's config and index call it.
    pub(crate) fn oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::Amd64,
            Self::Aarch64 => Arch::ARM64,
        }
    }

    /// A shipped file: `initramfs.img`, and `initramfs-aarch64.img` where that is
    /// not this host's architecture.
    pub(crate) fn file(self, name: &str) -> String {
        match name.split_once('.') {
            _ if self.is_host() => name.to_owned(),
            Some((stem, extension)) => format!("{stem}-{self}.{extension}"),
            None => format!("{name}-{self}"),
        }
    }
}

impl Default for GuestArch {
    fn default() -> Self {
        Self::host()
    }
}

impl fmt::Display for GuestArch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A name that is none of an architecture that guests can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no architecture of guests; it is one of x86_64, aarch64")]
pub struct UnknownArch(String);

impl FromStr for GuestArch {
    type Err = UnknownArch;

    fn from_str(name: &str) -> Result<Self, UnknownArch> {
        let found = [Self::X86_64, Self::Aarch64].into_iter().find(|arch| arch.name() == name);
        found.ok_or_else(|| UnknownArch(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels_and_files_of_others_say_so() {
        assert_eq!("aarch64".parse(), Ok(GuestArch::Aarch64));
        assert!("arm64".parse::<GuestArch>().unwrap_err().to_string().contains("aarch64"));
        assert_eq!(GuestArch::host().file("initramfs.img"), "initramfs.img");
        let other = match GuestArch::host() {
            GuestArch::X86_64 => GuestArch::Aarch64,
            GuestArch::Aarch64 => GuestArch::X86_64,
        };
        assert_eq!(other.file("initramfs.img"), format!("initramfs-{}.img", other.name()));
        assert_eq!(other.file("vmlinuz"), format!("vmlinuz-{}", other.name()));
    }
}
