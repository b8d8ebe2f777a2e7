//! What `make dist` built, and where the tests put what they keep.

use std::path::{Path, PathBuf};

/// The build's directory.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// A thing below `target/dist`; panics with the command that makes it.
pub fn dist(name: &str) -> PathBuf {
    let path = target().join("dist").join(name);
    assert!(path.exists(), "{} is missing; get it with: make dist", path.display());
    path
}

/// Like [`dist`], for what a scenario can do without.
pub fn dist_if_there(name: &str) -> Option<PathBuf> {
    Some(target().join("dist").join(name)).filter(|path| path.exists())
}

/// A test program of the agent's as `make test` has built it last.
pub fn unit_test(name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(target().join("debug/deps")).ok()?;
    let named = entries.flatten().filter(|entry| {
        let file = entry.file_name();
        let hash = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
        hash.is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    let newest = named.max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
    newest.map(|entry| entry.path())
}

/// Where logs of failed tests are kept.
pub fn logs() -> PathBuf {
    let dir = target().join("test-logs");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
