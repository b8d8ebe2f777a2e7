//! What entries make of the tree.

use super::*;

#[test]
fn get_their_owners_modes_and_times_to_the_nanosecond() {
    let mut image = Image::new();
    let big = 70_000_u32.to_string();
    let done = image.layer(
        Tar::default()
            .head(&Head {
                kind: b'5',
                path: b"./",
                mode: 0o711,
                uid: 1,
                gid: 2,
                mtime: 5,
                ..Head::default()
            })
            .head(&Head {
                kind: b'5',
                path: b"d/",
                mode: 0o1777,
                uid: 3,
                gid: 4,
                mtime: 77,
                ..Head::default()
            })
            .pax(&[("uid", big.as_bytes()), ("gid", b"70001"), ("mtime", b"1234.000000567")])
            .head(&Head { path: b"d/suid", mode: 0o104_755, size: 3, ..Head::default() })
            .data(b"abc")
            .head(&Head {
                kind: b'2',
                path: b"d/l",
                link: b"suid",
                uid: 9,
                gid: 8,
                mtime: 99,
                ..Head::default()
            })
            .pax(&[("mtime", b"-1.25")])
            .head(&Head { kind: b'6', path: b"d/fifo", mode: 0o622, uid: 7, ..Head::default() }),
    );
    assert_eq!((done.entries, done.bytes), (5, 3));
    let stat = |path| {
        let m = fs::symlink_metadata(image.at(path)).unwrap();
        (m.mode() & 0o7777, m.uid(), m.gid(), m.mtime(), m.mtime_nsec())
    };
    assert_eq!(stat(""), (0o711, 1, 2, 5, 0));
    assert_eq!(stat("d"), (0o1777, 3, 4, 77, 0));
    assert_eq!(stat("d/suid"), (0o4755, 70_000, 70_001, 1234, 567));
    assert_eq!(stat("d/l"), (0o777, 9, 8, 99, 0));
    assert_eq!(stat("d/fifo"), (0o622, 7, 0, -2, 750_000_000));
    assert_eq!(image.read("d/suid"), "abc");
}

#[test]
fn leave_the_times_of_directories_that_they_do_not_speak_of() {
    let mut image = Image::new();
    let dir = |tar: Tar, path: &str, mtime| {
        let (kind, path) = (b'5', path.as_bytes());
        tar.head(&Head { kind, path, mode: 0o755, mtime, ..Head::default() })
    };
    let first = dir(dir(dir(Tar::default(), "./", 5), "d", 6), "e", 7);
    image.layer(first.file("d/old", b"1").file("e/old", b"1").symlink("to-e", "e").file("a", b""));
    let time = |image: &Image, path| fs::metadata(image.at(path)).unwrap().mtime();
    assert_eq!(["", "d", "e"].map(|path| time(&image, path)), [5, 6, 7]);
    // New names, old ones over again, marks; by a link; with an entry after all.
    let second = Tar::default().file("d/new", b"2").file("d/.wh.old", b"").file("to-e/x", b"2");
    image.layer(second.file("e/.wh..wh..opq", b"").file(".wh.a", b""));
    assert_eq!(image.tree(), ["d", "d/new", "e", "e/x", "to-e"]);
    assert_eq!(["", "d", "e"].map(|path| time(&image, path)), [5, 6, 7]);
    image.layer(dir(Tar::default().file("d/newer", b"3"), "d", 8).file("d/newest", b"3"));
    assert_eq!(time(&image, "d"), 8);
    // What has the name in the end is another thing.
    image.layer(dir(Tar::default(), "d", 9).symlink("d", "e"));
    assert_eq!((time(&image, "e"), image.at("d").is_symlink()), (7, true));
}

#[test]
fn replace_what_is_there_whatever_it_is() {
    let mut image = Image::new();
    image.layer(Tar::default().file("x", b"file").dir("keep").file("keep/a", b"a"));
    image.layer(Tar::default().dir("x").file("x/in", b"1").dir("keep").file("keep/b", b"b"));
    assert_eq!(image.tree(), ["keep", "keep/a", "keep/b", "x", "x/in"]);
    image.layer(Tar::default().file("x", b"again"));
    assert_eq!(image.read("x"), "again");
    image.layer(Tar::default().symlink("x", "keep"));
    image.layer(Tar::default().head(&Head {
        kind: b'5',
        path: b"x",
        mode: 0o700,
        ..Head::default()
    }));
    assert!(!image.at("x").is_symlink());
    assert_eq!(fs::metadata(image.at("keep")).unwrap().mode() & 0o777, 0o755);
    image.layer(Tar::default().file("x", b"1").file("x", b"2").dir("x").file("./x//", b"3"));
    assert_eq!(image.read("x"), "3");
}

#[test]
fn make_their_parents_and_use_directories_that_were_there() {
    let mut image = Image::new();
    for name in ["proc", "dev"] {
        fs::create_dir(image.at(name)).unwrap();
    }
    image.layer(
        Tar::default()
            .head(&Head { kind: b'5', path: b"proc/", mode: 0o555, mtime: 3, ..Head::default() })
            .file("a/b/c", b"1")
            .symlink("var/run", "/run/x")
            .file("var/run/pid", b"2"),
    );
    let proc = fs::metadata(image.at("proc")).unwrap();
    assert_eq!((proc.mode() & 0o777, proc.mtime()), (0o555, 3));
    assert_eq!(fs::metadata(image.at("a/b")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(image.read("run/x/pid"), "2");
}

#[test]
fn are_linked_across_layers() {
    let mut image = Image::new();
    image.layer(Tar::default().file("a", b"one").symlink("s", "a").hard_link("s2", "s"));
    image.layer(Tar::default().hard_link("d/b", "/a").hard_link("a", "a").hard_link("d/b", "./a"));
    let ino = |path| fs::symlink_metadata(image.at(path)).unwrap().ino();
    assert_eq!(ino("a"), ino("d/b"));
    assert!(image.at("s2").is_symlink());
    // A file of a later layer takes the place of the name, not of the inode.
    image.layer(Tar::default().file("a", b"two"));
    assert_eq!((image.read("a"), image.read("d/b")), ("two".into(), "one".into()));
    assert_eq!(
        why(image.try_layer(Tar::default().hard_link("c", "nowhere/at/all"))),
        "is a hard link to what is not in the image"
    );
}

#[test]
fn may_be_empty_large_or_split_at_any_byte_of_a_chunk() {
    let mut image = Image::new();
    let large: Vec<u8> = (0..3_000_001u32).map(|i| (i % 251) as u8).collect();
    let mut tar = Tar::default().file("empty", b"").file("large", &large);
    for i in 0..600 {
        tar = tar.file(&format!("f{i}"), &large[..i]);
    }
    image.layer(tar);
    assert_eq!(fs::read(image.at("large")).unwrap(), large);
    assert_eq!(fs::read(image.at("f599")).unwrap(), &large[..599]);
    assert_eq!(image.read("empty"), "");
}

#[test]
fn have_their_attributes_and_those_that_cannot_be_held_are_counted() {
    let mut image = Image::new();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let done = image.layer(
        Tar::default()
            .pax(&[("SCHILY.xattr.security.capability", &capability)])
            .head(&Head { path: b"ping", mode: 0o755, uid: 5, size: 1, ..Head::default() })
            .data(b"x")
            .pax(&[("SCHILY.xattr.user.note", b"hi")])
            .symlink("link", "ping"),
    );
    let mut value = [0; 64];
    let file = fs::File::open(image.at("ping")).unwrap();
    use std::os::fd::AsFd as _;
    let len = xattr::get(file.as_fd(), c"security.capability", &mut value).unwrap();
    assert_eq!(&value[..len], capability);
    // No file system holds user.* on a symlink.
    assert_eq!(done.xattrs_skipped, 1);
    // An overlay file system over the root would obey the one, and the other is
    // about the machine that built the image.
    let foreign: [(&str, &[u8]); 2] = [
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.security.selinux", b"label"),
    ];
    let done = image.layer(Tar::default().pax(&foreign).dir("d"));
    assert_eq!(done.xattrs_skipped, 2);
    let dir = fs::File::open(image.at("d")).unwrap();
    assert!(xattr::get(dir.as_fd(), c"trusted.overlay.redirect", &mut value).is_err());
    assert!(xattr::get(dir.as_fd(), c"security.selinux", &mut value).is_err());
    // The entry of a later layer says all that a directory has.
    image.layer(Tar::default().pax(&[("SCHILY.xattr.trusted.old", b"v")]).dir("d"));
    assert_eq!(xattr::get(dir.as_fd(), c"trusted.old", &mut value).unwrap(), 1);
    image.layer(Tar::default().file("d/x", b"").dir("d"));
    assert!(xattr::get(dir.as_fd(), c"trusted.old", &mut value).is_err());
}

#[test]
fn have_long_names_by_every_extension() {
    let mut image = Image::new();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(140));
    let prefix = Head { path: b"name", size: 1, ..Head::default() };
    let mut tar = Tar::default()
        .pax(&[("path", long.as_bytes())])
        .file("short", b"pax")
        .extension(b'L', format!("{long}2\0").as_bytes())
        .file("short", b"gnu")
        .extension(b'K', format!("{long}2\0").as_bytes())
        .hard_link("linked", "x")
        .pax(&[("linkpath", long.as_bytes()), ("path", b"sym")])
        .symlink("short", "x")
        .head(&prefix)
        .data(b"u");
    let at = tar.0.len() - 1024;
    tar.0[at + 345..at + 351].copy_from_slice(b"prefix");
    let sum: u32 = tar.0[at..at + 512]
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
        .sum();
    tar.0[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    image.layer(tar);
    assert_eq!(image.read(&long), "pax");
    assert_eq!(image.read("linked"), "gnu");
    assert_eq!(fs::read_link(image.at("sym")).unwrap().as_os_str().as_bytes(), long.as_bytes());
    assert_eq!(image.read("prefix/name"), "u");
    assert!(!image.at("short").exists());
}

#[test]
fn that_are_devices_are_made_only_when_allowed() {
    let null = |path| Head { kind: b'3', path, device: (1, 3), mode: 0o666, ..Head::default() };
    let mut image = Image::new();
    // The workload has a /dev of its own.
    image.layer(Tar::default().head(&null(b"dev/null")));
    assert!(!image.at("dev/null").exists());
    assert_eq!(
        why(image.try_layer(Tar::default().head(&null(b"etc/null")))),
        "is a device, which images may not have"
    );

    let mut image = Image::with(Limits { allow_devices: true, ..Limits::default() });
    image.layer(Tar::default().head(&null(b"etc/null")));
    let made = fs::metadata(image.at("etc/null")).unwrap();
    assert!(made.file_type().is_char_device());
    assert_eq!((made.rdev(), made.mode() & 0o777), (0x103, 0o666));
}
