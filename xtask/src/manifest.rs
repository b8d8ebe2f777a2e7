//! `rootfs/manifest`: what goes into the initramfs, and why.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// One line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Agent {
        path: String,
    },
    Directory {
        path: String,
        mode: u32,
    },
    CharacterDevice {
        path: String,
        mode: u32,
        major: u32,
        minor: u32,
    },
    /// The list of modules; their files lie beside it.
    Load {
        path: String,
    },
    Module {
        name: String,
    },
}

pub(crate) fn read(file: &Path) -> Result<Vec<Line>, Error> {
    let text = fs::read_to_string(file).map_err(Error::io("reading", file))?;
    let mut lines = Vec::new();
    for (index, text) in text.lines().enumerate() {
        match parse(text) {
            Ok(line) => lines.extend(line),
            Err(problem) => {
                return Err(Error::Manifest { file: file.to_path_buf(), line: index + 1, problem });
            }
        }
    }
    Ok(lines)
}

/// A comment or an empty line is no entry.
fn parse(text: &str) -> Result<Option<Line>, String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (entry, reason) = text.split_once('#').ok_or("no reason after a `#`")?;
    if reason.trim().is_empty() {
        return Err("the reason is empty".to_owned());
    }
    let words: Vec<&str> = entry.split_whitespace().collect();
    let line = match words.as_slice() {
        ["agent", path] => Line::Agent { path: absolute(path)? },
        ["dir", path, mode] => Line::Directory { path: absolute(path)?, mode: octal(mode)? },
        ["char", path, mode, major, minor] => Line::CharacterDevice {
            path: absolute(path)?,
            mode: octal(mode)?,
            major: number(major)?,
            minor: number(minor)?,
        },
        ["load", path] => Line::Load { path: absolute(path)? },
        ["module", name] => Line::Module { name: (*name).to_owned() },
        _ => {
            return Err(format!("`{}` is none of the forms at the top of the file", entry.trim()));
        }
    };
    Ok(Some(line))
}

fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(format!("`{path}` is not an absolute path"))
    }
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| format!("`{text}` is not an octal mode"))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_form() {
        assert_eq!(parse("# comment"), Ok(None));
        assert_eq!(
            parse("dir /tmp 1777 # scratch"),
            Ok(Some(Line::Directory { path: "/tmp".into(), mode: 0o1777 }))
        );
        assert_eq!(
            parse("char /dev/console 0600 5 1 # stdio"),
            Ok(Some(Line::CharacterDevice {
                path: "/dev/console".into(),
                mode: 0o600,
                major: 5,
                minor: 1
            }))
        );
    }

    #[test]
    fn refuses_what_has_no_reason_or_no_sense() {
        for text in [
            "dir /tmp 1777",
            "dir /tmp 1777 #",
            "module overlay",
            "load /modules/load #  ",
            "dir tmp 1777 # why",
            "dir /tmp 999 # why",
            "link /a /b # why",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_real_manifest_is_in_order() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rootfs/manifest");
        let lines = read(&file).unwrap();
        assert!(lines.contains(&Line::Agent { path: "/init".into() }));
    }
}
