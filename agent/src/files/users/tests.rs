//! Users are found as the image names them, and a hostile image harms nobody.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
    broken\n1000:x:0:0:shadows a uid:/root:/bin/sh\n\
    huge:x:4294967296:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\n\
    user:x:1000:1000::/home/user:/bin/bash\nbare:x:7:8\n";
const GROUP: &str =
    "root:x:0:\nuser:x:1000:\nsudo:x:27:user,other\nvideo:x:44:other,user\nwheel:x:10:other\n";

fn image(passwd: &str, group: &str) -> (TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
    fs::write(dir.path().join("etc/group"), group).unwrap();
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

#[test]
fn are_found_by_name_and_by_number() {
    let (_dir, root) = image(PASSWD, GROUP);
    let ids = |spec: &str| {
        let user = User::resolve(&root, spec).unwrap();
        (user.uid, user.gid, user.groups, user.name, user.home)
    };
    let is = |uid, gid, groups: &[u32], name: &str, home: &str| {
        (uid, gid, groups.to_vec(), name.to_owned(), home.to_owned())
    };
    assert_eq!(ids(""), is(0, 0, &[0], "root", "/root"));
    assert_eq!(ids("user"), is(1000, 1000, &[27, 44, 1000], "user", "/home/user"));
    assert_eq!(ids("1000"), is(1000, 1000, &[27, 44, 1000], "user", "/home/user"));
    assert_eq!(ids("user:sudo"), is(1000, 27, &[27], "user", "/home/user"));
    assert_eq!(ids("1000:5"), is(1000, 5, &[5], "user", "/home/user"));
    assert_eq!(ids("4242"), is(4242, 0, &[0], "4242", "/"));
    assert_eq!(ids("bare"), is(7, 8, &[8], "bare", "/"));
    assert_eq!(ids("4294967294").0, 4_294_967_294);
    assert_eq!(User::resolve(&root, "user").unwrap().shell, "/bin/bash");
    assert_eq!(User::resolve(&root, "bare").unwrap().shell, "/bin/sh");
}

#[test]
fn that_are_none_are_refused_and_never_root() {
    let (_dir, root) = image(PASSWD, GROUP);
    for spec in [
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "-1",
        "+0",
        "0:0:0",
        ":",
        ":0",
        "0:",
        "0:-1",
        "1:4294967295",
    ] {
        assert!(matches!(User::resolve(&root, spec), Err(UserError::Malformed { .. })), "{spec}");
    }
    for spec in ["nobody-here", "huge", "minus", "broken", " 0", "0x0", "user "] {
        assert!(matches!(User::resolve(&root, spec), Err(UserError::NoSuchUser(_))), "{spec}");
    }
    assert!(matches!(User::resolve(&root, "user:nogroup"), Err(UserError::NoSuchGroup(_))));
}

#[test]
fn need_no_database_when_they_are_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    assert_eq!(User::resolve(&root, "12:34").unwrap().groups, [34]);
    assert_eq!(User::resolve(&root, "").unwrap().name, "root");
    assert!(matches!(User::resolve(&root, "user"), Err(UserError::NoSuchUser(_))));
}

#[test]
fn a_hostile_database_is_an_error_and_no_wait() {
    let (dir, root) = image(PASSWD, GROUP);
    let passwd = dir.path().join("etc/passwd");
    let refused = |what: &str| {
        assert!(matches!(User::resolve(&root, "0"), Err(UserError::Unreadable { .. })), "{what}");
    };
    fs::File::create(&passwd).unwrap().set_len(1 << 30).unwrap();
    refused("a gigabyte");
    fs::remove_file(&passwd).unwrap();
    mkfifo(&passwd, Mode::from_bits_truncate(0o666)).unwrap();
    refused("a FIFO");
    fs::remove_file(&passwd).unwrap();
    fs::create_dir(&passwd).unwrap();
    refused("a directory");
    fs::remove_dir(&passwd).unwrap();
    symlink("/etc/passwd-", &passwd).unwrap();
    fs::write(dir.path().join("etc/passwd-"), PASSWD).unwrap();
    assert_eq!(User::resolve(&root, "user").unwrap().uid, 1000);
}
