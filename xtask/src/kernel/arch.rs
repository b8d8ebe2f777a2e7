//! What building a kernel has to know of an architecture.

use crate::arch::Arch;
use crate::setup::{Package, Probe};

/// A file of the build, and its name in `target/dist/kernel/ARCH`.
pub(super) struct Product {
    pub(super) built: &'static str,
    pub(super) name: &'static str,
    /// An ELF file with a symbol table that no machine needs to boot it.
    pub(super) strip: bool,
}

impl Arch {
    /// As the kernel's makefile calls it.
    pub(super) fn kernel_name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Before the names of compiler and linker; empty on a machine of its kind.
    pub(super) fn cross_prefix(self) -> &'static str {
        match self {
            _ if self.is_host() => "",
            Self::X86_64 => "x86_64-linux-gnu-",
            Self::Aarch64 => "aarch64-linux-gnu-",
        }
    }

    /// The compiler for it, where it is not this machine's own.
    pub(super) fn cross_compiler(self) -> Option<&'static Package> {
        static X86_64: Package = Package {
            name: "gcc-x86-64-linux-gnu",
            probe: Probe::Program("x86_64-linux-gnu-gcc"),
            needed_for: "the kernel for x86_64",
        };
        static AARCH64: Package = Package {
            name: "gcc-aarch64-linux-gnu",
            probe: Probe::Program("aarch64-linux-gnu-gcc"),
            needed_for: "the kernel for aarch64",
        };
        match self {
            _ if self.cross_prefix().is_empty() => None,
            Self::X86_64 => Some(&X86_64),
            Self::Aarch64 => Some(&AARCH64),
        }
    }

    /// The make target.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "bzImage",
            Self::Aarch64 => "Image",
        }
    }

    /// The first one is what QEMU is given.
    pub(super) fn products(self) -> &'static [Product] {
        match self {
            Self::X86_64 => &[
                Product { built: "arch/x86/boot/bzImage", name: "vmlinuz", strip: false },
                // With a PVH note: Firecracker and Cloud Hypervisor start it.
                Product { built: "vmlinux", name: "vmlinux", strip: true },
            ],
            Self::Aarch64 => {
                &[Product { built: "arch/arm64/boot/Image", name: "vmlinuz", strip: false }]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machines_kernel_has_another_compiler() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            assert_eq!(arch.cross_prefix().is_empty(), arch.cross_compiler().is_none());
            assert_eq!(arch.products()[0].name, "vmlinuz");
        }
    }
}
