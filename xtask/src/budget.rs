//! How large the initramfs may be.
//!
//! It is in the memory of every guest until PID 1 has run, and is unpacked at
//! every boot. What grows past a budget fails the build, with the sizes of its parts.

use std::fmt;

use crate::error::Error;
use crate::step::bytes;

/// Without modules: the agent, near enough. Three times what it takes today.
const WITHOUT_MODULES: u64 = 3_000_000;

/// What a distribution's modules add. A kernel of our own adds nothing; five
/// times what Debian's take today.
const MODULES: u64 = 1_000_000;

/// Bytes of a packed initramfs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Compressed, as it is shipped.
    pub(crate) whole: u64,
    /// Compressed, the same without its modules.
    pub(crate) without_modules: u64,
    /// `/init`, as it is.
    pub(crate) init: u64,
    /// All modules, as they are.
    pub(crate) modules: u64,
    pub(crate) module_count: usize,
}

impl Sizes {
    /// An error that names the part that is too large.
    pub(crate) fn check(&self, image: &str) -> Result<(), Error> {
        let modules = self.whole.saturating_sub(self.without_modules);
        let parts = [
            ("without modules", self.without_modules, WITHOUT_MODULES),
            ("its modules alone", modules, MODULES),
        ];
        match parts.into_iter().find(|(_, size, budget)| size > budget) {
            None => Ok(()),
            Some((part, size, budget)) => Err(Error::Budget {
                what: format!("{image}, {part},"),
                size: bytes(size),
                budget: bytes(budget),
                holds: self.holds(),
            }),
        }
    }

    fn holds(&self) -> String {
        let (init, modules) = (bytes(self.init), bytes(self.modules));
        format!("/init {init}, {} modules {modules}", self.module_count)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, bare) = (bytes(self.whole), bytes(self.without_modules));
        write!(out, "{whole}, {bare} without modules (unpacked: {})", self.holds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Sizes = Sizes {
        whole: 900_000,
        without_modules: 700_000,
        init: 1_700_000,
        modules: 1_100_000,
        module_count: 14,
    };

    #[test]
    fn at_the_budget_is_within_it() {
        TODAY.check("x").unwrap();
        let most = WITHOUT_MODULES + MODULES;
        Sizes { whole: most, without_modules: WITHOUT_MODULES, ..TODAY }.check("x").unwrap();
    }

    #[test]
    fn an_agent_that_is_too_large_is_named_with_the_sizes() {
        let (without_modules, init) = (WITHOUT_MODULES + 1, 9_100_000);
        let sizes = Sizes { whole: without_modules, without_modules, init, ..TODAY };
        let error = sizes.check("initramfs.img").unwrap_err().to_string();
        for part in [
            "initramfs.img, without modules",
            "budget of 3.0 MB",
            "/init 9.1 MB",
            "14 modules 1.1 MB",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn modules_that_are_too_large_are_not_the_agents_fault() {
        let sizes = Sizes { whole: TODAY.without_modules + MODULES + 1, ..TODAY };
        let error = sizes.check("initramfs.img").unwrap_err().to_string();
        assert!(error.contains("modules alone") && error.contains("budget of 1.0 MB"), "{error}");
    }
}
