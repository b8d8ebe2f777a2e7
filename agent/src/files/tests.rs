//! Files are read and written as the asked user, inside the root, or not at all.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use postern_proto as proto;
use proto::Code;
use tempfile::TempDir;

use super::*;

fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn user(uid: u32) -> User {
    User { uid, gid: uid, groups: vec![uid], ..User::root() }
}

fn write_req(path: &str) -> proto::WriteFile {
    proto::WriteFile { path: path.to_owned().into(), ..Default::default() }
}

fn put(
    root: &Root,
    req: &proto::WriteFile,
    who: &User,
    bytes: &[u8],
) -> Result<proto::FileInfo, FileError> {
    let mut write = AtomicWrite::begin(root, req, who)?;
    write.write(bytes)?;
    write.finish()
}

fn get(root: &Root, path: &str, who: &User) -> Result<Vec<u8>, FileError> {
    let req = proto::ReadFile { path: path.to_owned().into(), ..Default::default() };
    let (info, file) = open_read(root, &req, who)?;
    let mut bytes = Vec::new();
    file.take(info.length).read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

fn code(error: FileError) -> (Code, Option<i32>) {
    let error = proto::Error::from(error);
    (error.code, error.errno)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_write_is_published_at_its_end_and_a_dropped_one_never_was() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    fs::write(dir.path().join("f"), "old").unwrap();
    let mut write = AtomicWrite::begin(&root, &write_req("/f"), &User::root()).unwrap();
    write.write(b"new").unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"old");
    assert_eq!(names(dir.path()).len(), 2);
    drop(write);
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["f"]);

    let info = put(&root, &write_req("/f"), &User::root(), b"newer").unwrap();
    assert_eq!((info.size, info.length), (5, 5));
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"newer");
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn another_amount_than_announced_publishes_nothing() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    let req = proto::WriteFile { size: Some(4), ..write_req("/f") };
    assert!(matches!(
        put(&root, &req, &User::root(), b"abc"),
        Err(FileError::SizeMismatch { got: 3, .. })
    ));
    assert!(matches!(
        put(&root, &req, &User::root(), b"abcde"),
        Err(FileError::SizeMismatch { got: 5, .. })
    ));
    assert_eq!(names(dir.path()), [""; 0]);

    // A failed write is not forgotten by the time of finish.
    let mut write = AtomicWrite::begin(&root, &req, &User::root()).unwrap();
    write.write(b"abcde").unwrap_err();
    assert!(matches!(write.finish(), Err(FileError::Broken { .. })));
    put(&root, &req, &User::root(), b"abcd").unwrap();
}

#[test]
fn mode_and_owner_are_the_users_or_those_of_the_file_that_was_there() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    chown(dir.path(), Some(1000), Some(1000)).unwrap();
    let info = put(&root, &write_req("/new"), &user(1000), b"x").unwrap();
    assert_eq!((info.mode & 0o7777, info.uid, info.gid), (0o644, 1000, 1000));

    let path = dir.path().join("kept");
    fs::write(&path, "x").unwrap();
    chown(&path, Some(5), Some(6)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).unwrap();
    let info = put(&root, &write_req("/kept"), &User::root(), b"y").unwrap();
    assert_eq!((info.mode & 0o7777, info.uid, info.gid), (0o4750, 5, 6));

    let req = proto::WriteFile { mode: Some(0o600), ..write_req("/kept") };
    assert_eq!(put(&root, &req, &User::root(), b"z").unwrap().mode & 0o7777, 0o600);
    let req = proto::WriteFile { mode: Some(0o10_600), ..write_req("/kept") };
    assert_eq!(code(put(&root, &req, &User::root(), b"z").unwrap_err()).0, Code::InvalidArgument);
}

#[test]
fn a_setuid_file_that_others_may_write_loses_its_bit() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    let path = dir.path().join("suid");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
    let info = put(&root, &write_req("/suid"), &user(1000), b"mine").unwrap();
    assert_eq!((info.mode & 0o7777, info.uid), (0o777, 0));
    let req = proto::WriteFile { mode: Some(0o4777), ..write_req("/suid") };
    let refused = put(&root, &req, &user(1000), b"mine").unwrap_err();
    assert_eq!(code(refused), (Code::PermissionDenied, Some(libc::EPERM)));
}

#[test]
fn the_users_rights_apply_to_reading_writing_and_making() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    fs::write(dir.path().join("root-only"), "secret").unwrap();
    fs::set_permissions(dir.path().join("root-only"), fs::Permissions::from_mode(0o600)).unwrap();
    let denied = (Code::PermissionDenied, Some(libc::EACCES));
    assert_eq!(code(get(&root, "/root-only", &user(1000)).unwrap_err()), denied);
    assert_eq!(code(put(&root, &write_req("/root-only"), &user(1000), b"x").unwrap_err()), denied);
    assert_eq!(code(put(&root, &write_req("/new"), &user(1000), b"x").unwrap_err()), denied);
    let deep = proto::WriteFile { make_parents: true, ..write_req("/a/b/c") };
    assert_eq!(code(put(&root, &deep, &user(1000), b"x").unwrap_err()), denied);
    assert_eq!(get(&root, "/root-only", &User::root()).unwrap(), b"secret");
    assert_eq!(names(dir.path()), ["root-only"]);

    // The file is theirs although the directory is not: open(2) would let them.
    let path = dir.path().join("theirs");
    fs::write(&path, "x").unwrap();
    chown(&path, Some(1000), Some(1000)).unwrap();
    assert_eq!(put(&root, &write_req("/theirs"), &user(1000), b"y").unwrap().uid, 1000);
}

#[test]
fn parents_are_made_and_belong_to_the_user() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    chown(dir.path(), Some(1000), Some(1000)).unwrap();
    symlink("/deep/er", dir.path().join("link")).unwrap();
    let missing = put(&root, &write_req("/a/b/c"), &user(1000), b"x").unwrap_err();
    assert_eq!(code(missing), (Code::NotFound, Some(libc::ENOENT)));
    let req = proto::WriteFile { make_parents: true, ..write_req("/a/../link/b/c") };
    put(&root, &req, &user(1000), b"x").unwrap();
    let made = fs::metadata(dir.path().join("deep/er/b")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o755, 1000, 1000));
    assert_eq!(fs::read(dir.path().join("deep/er/b/c")).unwrap(), b"x");
}

#[test]
fn symlinks_are_written_through_inside_the_root_only() {
    let dir = dir();
    fs::create_dir_all(dir.path().join("root/etc")).unwrap();
    fs::write(dir.path().join("outside"), "untouched").unwrap();
    let root = Root::open(&dir.path().join("root")).unwrap();
    for (name, to) in [
        ("abs", "/etc/target"),
        ("rel", "etc/target"),
        ("up", "../../../../etc/target"),
        ("chain", "abs"),
    ] {
        symlink(to, dir.path().join("root").join(name)).unwrap();
        put(&root, &write_req(&format!("/{name}")), &User::root(), name.as_bytes()).unwrap();
        assert_eq!(fs::read(dir.path().join("root/etc/target")).unwrap(), name.as_bytes());
        assert!(dir.path().join("root").join(name).is_symlink());
    }
    symlink("../outside", dir.path().join("root/escape")).unwrap();
    put(&root, &write_req("/escape"), &User::root(), b"inside").unwrap();
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"untouched");
    assert_eq!(fs::read(dir.path().join("root/outside")).unwrap(), b"inside");
    assert_eq!(get(&root, "/../../outside", &User::root()).unwrap(), b"inside");
    symlink("loop", dir.path().join("root/loop")).unwrap();
    let looped = put(&root, &write_req("/loop"), &User::root(), b"x").unwrap_err();
    assert_eq!(code(looped), (Code::InvalidArgument, Some(libc::ELOOP)));
}

#[test]
fn what_is_not_a_regular_file_is_neither_read_nor_replaced() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    mkfifo(&dir.path().join("fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    for name in ["/fifo", "/dir", "/socket"] {
        assert!(
            matches!(get(&root, name, &User::root()), Err(FileError::Irregular { .. })),
            "{name}"
        );
        let refused = put(&root, &write_req(name), &User::root(), b"x").unwrap_err();
        assert!(matches!(refused, FileError::Irregular { .. }), "{name}");
    }
    for path in ["/", "/dir/", "/dir/..", "/dir/."] {
        let refused = put(&root, &write_req(path), &User::root(), b"x").unwrap_err();
        assert!(matches!(refused, FileError::BadPath { .. }), "{path}");
    }
    for path in ["", "relative", "/nul\0byte", &format!("/{}", "a/".repeat(3000))] {
        assert!(
            matches!(get(&root, path, &User::root()), Err(FileError::BadPath { .. })),
            "{path}"
        );
    }
    assert_eq!(names(dir.path()), ["dir", "fifo", "socket"]);
}

#[test]
fn a_planted_link_to_proc_self_mem_is_refused() {
    let dir = dir();
    let link = dir.path().join("mem");
    symlink("/proc/self/mem", &link).unwrap();
    // With a root that shows procfs, as a workload might bring about by a mount.
    let root = Root::open(Path::new("/")).unwrap();
    let path = link.to_str().unwrap();
    assert!(matches!(get(&root, path, &User::root()), Err(FileError::Procfs { .. })));
    let refused = put(&root, &write_req(path), &User::root(), b"x").unwrap_err();
    assert!(matches!(refused, FileError::Procfs { .. }));
    // And a magic link is not even walked.
    symlink("/proc/self/root/etc/passwd", dir.path().join("magic")).unwrap();
    let path = format!("{}/magic", dir.path().display());
    assert_eq!(code(get(&root, &path, &User::root()).unwrap_err()).1, Some(libc::ELOOP));
}

#[test]
fn what_the_workload_sees_mounts_on_is_not_written_behind_its_back() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    for name in ["proc", "sys", "dev"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        symlink(format!("/{name}/x"), dir.path().join(format!("to-{name}"))).unwrap();
        for path in [format!("/{name}/x"), format!("/./{name}//x"), format!("/to-{name}")] {
            let refused = put(&root, &write_req(&path), &User::root(), b"x").unwrap_err();
            assert!(matches!(refused, FileError::Covered { .. }), "{path}");
        }
        assert_eq!(names(&dir.path().join(name)), [""; 0]);
    }
    fs::create_dir_all(dir.path().join("home/proc")).unwrap();
    put(&root, &write_req("/home/proc/x"), &User::root(), b"x").unwrap();
}

#[test]
fn a_read_begins_where_it_is_asked_and_never_beyond_the_end() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    fs::write(dir.path().join("f"), "0123456789").unwrap();
    for (offset, length, want) in [
        (0, None, "0123456789"),
        (3, Some(4), "3456"),
        (8, Some(100), "89"),
        (10, None, ""),
        (0, Some(0), ""),
    ] {
        let req = proto::ReadFile { path: "/f".into(), offset, length, ..Default::default() };
        let (info, file) = open_read(&root, &req, &User::root()).unwrap();
        let mut got = String::new();
        file.take(info.length).read_to_string(&mut got).unwrap();
        assert_eq!((got.as_str(), info.length, info.size), (want, want.len() as u64, 10));
    }
    for offset in [11, u64::MAX] {
        let req = proto::ReadFile { path: "/f".into(), offset, ..Default::default() };
        assert_eq!(code(open_read(&root, &req, &User::root()).unwrap_err()).0, Code::OutOfRange);
    }
}

#[test]
fn a_full_disk_is_told_as_such_and_leaves_the_old_file() {
    let dir = dir();
    let path = dir.path().to_owned();
    // A mount namespace of this thread's own, which ends with it.
    let outcome = std::thread::spawn(move || {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=64k"))?;
        let root = Root::open(&path).unwrap();
        put(&root, &write_req("/f"), &User::root(), b"old").unwrap();
        let full = put(&root, &write_req("/f"), &User::root(), &[7; 1 << 20]).unwrap_err();
        assert_eq!(code(full), (Code::ResourceExhausted, Some(libc::ENOSPC)));
        assert_eq!(get(&root, "/f", &User::root()).unwrap(), b"old");
        assert_eq!(names(&path), ["f"]);
        Ok::<(), nix::errno::Errno>(())
    })
    .join()
    .unwrap();
    if let Err(errno) = outcome {
        eprintln!(
            "SKIPPED a_full_disk_is_told_as_such_and_leaves_the_old_file: mounting a tmpfs: {errno}; enable: run as root"
        );
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dir = dir();
    let inside = dir.path().join("root");
    let outside = dir.path().join("outside");
    fs::create_dir_all(inside.join("real")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink("../../outside", inside.join("link")).unwrap();
    symlink(&outside, inside.join("link2")).unwrap();
    let root = Root::open(&inside).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // `d` is by turns a directory and one of two links that point out.
            while !stop.load(Ordering::Relaxed) {
                for name in ["real", "link", "link2"] {
                    let _ = fs::rename(inside.join(name), inside.join("d"));
                    let _ = fs::rename(inside.join("d"), inside.join(name));
                }
            }
        });
        let req = proto::WriteFile { make_parents: true, ..write_req("/d/f") };
        for _ in 0..3000 {
            let _ = put(&root, &req, &User::root(), b"x");
            let _ = get(&root, "/d/f", &User::root());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&outside), [""; 0]);
}

#[test]
fn messages_name_the_act_the_path_and_the_cause_without_control_characters() {
    let dir = dir();
    let root = Root::open(dir.path()).unwrap();
    let error = proto::Error::from(get(&root, "/no\u{1b}[2J", &User::root()).unwrap_err());
    assert_eq!(error.message, "opening /no\\u{1b}[2J: ENOENT: No such file or directory");
}
