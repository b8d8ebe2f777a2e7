//! Kernel options as `kconfig` writes them, and what became of those wanted.
//!
//! `make olddefconfig` drops without a word what depends on something that is
//! off, and turns on what something else selects. So each line of the fragments
//! and of the `.required` lists is looked up in what came out.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What stands for an option that is off, and for one that does not exist with
/// what else is set: to a kernel it is the same.
const OFF: &str = "n";

/// A line of a fragment or of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `CONFIG_VSOCKETS`
    pub(super) name: String,
    /// `y`, `n`, a number or a text in quotes.
    pub(super) value: String,
    file: PathBuf,
    line: usize,
}

/// An option that is not what it has to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    wanted: Wanted,
    became: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wanted { name, value, file, line } = &self.wanted;
        let became = &self.became;
        write!(out, "{name} has to be {value} and became {became} ({}:{line})", file.display())
    }
}

/// Reads a fragment or list. Comments and empty lines aside, a line that is no
/// option is an error: kconfig would pass over a misspelt one.
pub(super) fn read(file: &Path) -> Result<Vec<Wanted>, Error> {
    let text = fs::read_to_string(file).map_err(Error::io("reading", file))?;
    let mut all: Vec<Wanted> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let problem = |problem| Error::Manifest { file: file.to_path_buf(), line: number, problem };
        let Some((name, value)) = option(line).map_err(&problem)? else {
            continue;
        };
        let wanted = Wanted {
            name: name.to_owned(),
            value: value.to_owned(),
            file: file.to_path_buf(),
            line: number,
        };
        refuse_twice(&all, &wanted)?;
        all.push(wanted);
    }
    Ok(all)
}

/// Lists that hold together: an option stands in one of them only.
pub(super) fn read_all(files: &[PathBuf]) -> Result<Vec<Wanted>, Error> {
    let mut all = Vec::new();
    for file in files {
        for wanted in read(file)? {
            refuse_twice(&all, &wanted)?;
            all.push(wanted);
        }
    }
    Ok(all)
}

fn refuse_twice(all: &[Wanted], new: &Wanted) -> Result<(), Error> {
    let Some(first) = all.iter().find(|wanted| wanted.name == new.name) else {
        return Ok(());
    };
    let at = format!("{}:{}", first.file.display(), first.line);
    let problem = format!("{} is in {at} already", new.name);
    Err(Error::Manifest { file: new.file.clone(), line: new.line, problem })
}

/// What came out: every option that is on, with its value.
pub(super) struct Resolved(BTreeMap<String, String>);

impl Resolved {
    pub(super) fn read(file: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(file).map_err(Error::io("reading", file))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let options = text.lines().filter_map(|line| option(line).ok().flatten());
        Self(options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Fails naming each option that is not what it has to be.
    pub(super) fn check(&self, wanted: &[Wanted]) -> Result<(), Error> {
        let mismatches: Vec<Mismatch> = wanted
            .iter()
            .filter_map(|wanted| {
                let became = self.0.get(&wanted.name).map_or(OFF, String::as_str);
                let same = became == wanted.value;
                (!same).then(|| Mismatch { wanted: wanted.clone(), became: became.to_owned() })
            })
            .collect();
        if mismatches.is_empty() { Ok(()) } else { Err(Error::KernelOptions { mismatches }) }
    }
}

/// `CONFIG_X=y` or `# CONFIG_X is not set`; none for a comment.
fn option(line: &str) -> Result<Option<(&str, &str)>, String> {
    let line = line.trim_end();
    if let Some(comment) = line.strip_prefix('#') {
        let off = comment.trim_start().strip_suffix(" is not set");
        return Ok(off.filter(|name| is_name(name)).map(|name| (name, OFF)));
    }
    if line.is_empty() {
        return Ok(None);
    }
    match line.split_once('=') {
        Some((name, value)) if is_name(name) && !value.is_empty() => Ok(Some((name, value))),
        _ => Err(format!("`{line}` is neither an option nor a comment")),
    }
}

fn is_name(text: &str) -> bool {
    text.strip_prefix("CONFIG_").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::super::ours::{fragments, required};
    use super::*;
    use crate::arch::Arch;

    fn list(text: &str) -> (tempfile::TempDir, Result<Vec<Wanted>, Error>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        fs::write(&file, text).unwrap();
        let read = read(&file);
        (folder, read)
    }

    #[test]
    fn a_configuration_that_lacks_one_fails_and_names_it_with_what_it_became() {
        let (_folder, wanted) = list(
            "# why\nCONFIG_VSOCKETS=y\nCONFIG_NR_CPUS=64\n\n# CONFIG_VSOCKETS_LOOPBACK is not set\n\
             CONFIG_MODULES=n\nCONFIG_OVERLAY_FS=y\n",
        );
        let wanted = wanted.unwrap();
        let good = "CONFIG_VSOCKETS=y\nCONFIG_NR_CPUS=64\n# CONFIG_VSOCKETS_LOOPBACK is not set\n\
                    CONFIG_OVERLAY_FS=y\n";
        Resolved::parse(good).check(&wanted).unwrap();
        let bad = good
            .replace("CONFIG_OVERLAY_FS=y", "# CONFIG_OVERLAY_FS is not set")
            .replace("NR_CPUS=64", "NR_CPUS=8")
            .replace("# CONFIG_VSOCKETS_LOOPBACK is not set", "CONFIG_VSOCKETS_LOOPBACK=y");
        let error = Resolved::parse(&bad).check(&wanted).unwrap_err().to_string();
        for told in [
            "CONFIG_OVERLAY_FS has to be y and became n",
            "CONFIG_NR_CPUS has to be 64 and became 8",
            "CONFIG_VSOCKETS_LOOPBACK has to be n and became y",
            "list:7)",
        ] {
            assert!(error.contains(told), "{told} is not in {error}");
        }
        assert!(!error.contains("CONFIG_VSOCKETS has"), "{error}");
    }

    #[test]
    fn an_option_that_is_not_mentioned_is_off() {
        let (_folder, wanted) = list("CONFIG_MODULES=n\nCONFIG_SMP=y\n");
        let error = Resolved::parse("").check(&wanted.unwrap()).unwrap_err().to_string();
        assert!(error.contains("CONFIG_SMP") && !error.contains("CONFIG_MODULES"), "{error}");
    }

    #[test]
    fn a_module_is_not_built_in() {
        let (_folder, wanted) = list("CONFIG_FUSE_FS=y\n");
        Resolved::parse("CONFIG_FUSE_FS=m\n").check(&wanted.unwrap()).unwrap_err();
    }

    #[test]
    fn what_is_no_option_or_there_twice_is_refused_with_its_line() {
        for (text, told) in [
            ("CONFIG_A=y\nCONFIGB=y\n", "line 2"),
            ("CONFIG_A=y\nCONFIG_B\n", "line 2"),
            ("CONFIG_A=\n", "line 1"),
            ("CONFIG_A=y\n# CONFIG_A is not set\n", "line 2"),
        ] {
            let error = list(text).1.unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_real_lists_can_be_met_by_the_real_fragments() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-config");
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let asked = read_all(&fragments(&folder, arch)).unwrap();
            let required = read_all(&required(&folder, arch)).unwrap();
            assert!(required.len() > 50, "{} lines for {arch:?}", required.len());
            for must in &required {
                let other = asked.iter().find(|asked| asked.name == must.name);
                assert!(
                    other.is_none_or(|asked| asked.value == must.value),
                    "a fragment asks for another {must:?}"
                );
                // `allnoconfig` turns nothing on by itself; what others select is
                // known only when it runs.
                assert!(other.is_some() || must.value == OFF, "no fragment asks for {must:?}");
            }
        }
    }
}
