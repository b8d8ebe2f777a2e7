//! The architectures that the guest's parts are built for.
//!
//! What is for this machine has plain names (`initramfs.img`); what is for
//! another one says so (`initramfs-aarch64.img`), and both lie side by side.

use crate::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// This machine's.
    pub(crate) fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// What follows a command: nothing, or `--arch NAME`.
    pub(crate) fn asked(arguments: &[&str]) -> Result<Self, Error> {
        let name = match arguments {
            [] => return Ok(Self::host()),
            ["--arch", name] => name,
            _ => return Err(Error::Usage(format!("what is {}?", arguments.join(" ")))),
        };
        match [Self::X86_64, Self::Aarch64].into_iter().find(|arch| arch.name() == *name) {
            Some(Self::X86_64) if Self::host() != Self::X86_64 => {
                Err(Error::Usage("--arch x86_64: built on such a machine only".to_owned()))
            }
            Some(arch) => Ok(arch),
            None => Err(Error::Usage(format!("--arch {name}: it is one of x86_64, aarch64"))),
        }
    }

    /// As the kernel, Rust and QEMU call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian and OCI call it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The target of the agent: one file that runs under any kernel and any image.
    pub(crate) fn musl(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    pub(crate) fn is_host(self) -> bool {
        self == Self::host()
    }

    /// `initramfs.img` for this machine, `initramfs-aarch64.img` for another.
    pub(crate) fn file(self, name: &str) -> String {
        match name.split_once('.') {
            _ if self.is_host() => name.to_owned(),
            Some((stem, extension)) => format!("{stem}-{}.{extension}", self.name()),
            None => format!("{name}-{}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_machines_say_so() {
        let other = if Arch::host() == Arch::X86_64 { Arch::Aarch64 } else { Arch::X86_64 };
        assert_eq!(Arch::host().file("initramfs.img"), "initramfs.img");
        assert_eq!(other.file("initramfs.img"), format!("initramfs-{}.img", other.name()));
        assert_eq!(other.file("vmlinuz"), format!("vmlinuz-{}", other.name()));
    }

    #[test]
    fn an_architecture_that_is_not_known_is_refused() {
        assert_eq!(Arch::asked(&[]).unwrap(), Arch::host());
        assert_eq!(Arch::asked(&["--arch", "aarch64"]).unwrap(), Arch::Aarch64);
        let error = Arch::asked(&["--arch", "arm64"]).unwrap_err().to_string();
        assert!(error.contains("arm64") && error.contains("aarch64"), "{error}");
        assert!(Arch::asked(&["aarch64"]).is_err());
    }
}
