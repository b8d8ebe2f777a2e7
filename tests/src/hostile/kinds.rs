//! Entries of the wrong kind, or of one kind over another.

use super::{Case, refused, tree};
use crate::tarball::{Head, Tar};

const DEVICE: &str = "is a device, which images may not have";

pub(super) fn cases() -> Vec<Case> {
    let mut all = nodes();
    all.extend(replaced());
    all.extend(attributes());
    all
}

fn nodes() -> Vec<Case> {
    let t = Tar::default;
    let device = |kind, path: &'static str, device| {
        let path = path.as_bytes();
        t().head(&Head { kind, path, device, mode: 0o666, ..Head::default() })
    };
    let suid = Head { path: b"su", mode: 0o6755, uid: 1000, gid: 1001, size: 1, ..Head::default() };
    let mode = |path: &'static [u8], mode| Head { path, mode, size: 1, ..Head::default() };
    vec![
        refused("a character device", DEVICE, [device(b'3', "null", (1, 3))]),
        refused("a block device", DEVICE, [device(b'4', "etc/sda", (8, 0))]),
        refused("a whiteout of an overlay file system", DEVICE, [device(b'3', "gone", (0, 0))]),
        tree("a device in /dev, which is never seen", &[], [device(b'4', "dev/sda", (8, 0))]),
        tree(
            "setuid and setgid belong to the entry's owner",
            &["f 6755 1000:1001 su=x"],
            [t().head(&suid).data(b"x")],
        ),
        tree(
            "setuid is not left to the file that takes the name",
            &["f su=y"],
            [t().head(&suid).data(b"x"), t().file("su", b"y")],
        ),
        tree(
            "a file type in the mode",
            &["f 4755 odd=x"],
            [t().head(&mode(b"odd", 0o104_755)).data(b"x")],
        ),
    ]
}

fn replaced() -> Vec<Case> {
    let t = Tar::default;
    let fifo = |path: &'static [u8]| t().head(&Head { kind: b'6', path, ..Head::default() });
    let kind = |kind| t().head(&Head { kind, path: b"f", ..Head::default() });
    vec![
        tree(
            "a file over a directory and back in one layer",
            &["d x", "f x/in=3"],
            [t().dir("x").file("x/gone", b"1").file("x", b"2").dir("x").file("x/in", b"3")],
        ),
        tree(
            "a file over a full directory of the layer below",
            &["f x=2"],
            [t().file("x/a/b/c", b"1"), t().file("x", b"2")],
        ),
        tree(
            "a directory over a file of the layer below",
            &["d x"],
            [t().file("x", b"1"), t().dir("x")],
        ),
        tree(
            "a directory over a symlink to a directory",
            &["d d", "f d/a=1", "d s", "f s/b=2"],
            [t().file("d/a", b"1").symlink("s", "d"), t().dir("s").file("s/b", b"2")],
        ),
        tree(
            "a file over a fifo, which nobody reads",
            &["f pipe=x"],
            [fifo(b"pipe"), t().file("pipe", b"x")],
        ),
        refused("a file below a file", "Not a directory", [t().file("f", b"x").file("f/g", b"y")]),
        refused("a file below a fifo", "Not a directory", [fifo(b"p").file("p/g", b"y")]),
        tree("a file of the kind contiguous", &["f f"], [kind(b'7')]),
        tree(
            "a directory of the old kind",
            &["d 644 d"],
            [t().head(&Head { kind: 0, path: b"d/", ..Head::default() })],
        ),
        refused("an entry of a multi-volume archive", "type 'M' are not supported", [kind(b'M')]),
        refused("an entry of no known kind", "type '?' are not supported", [kind(b'?')]),
    ]
}

fn attributes() -> Vec<Case> {
    let t = Tar::default;
    vec![
        tree(
            "attributes that an overlay file system would obey",
            &["d d"],
            [t().pax(&[
                ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/"),
            ])
            .dir("d")],
        ),
        refused(
            "an attribute longer than the kernel takes",
            "bad PAX attribute",
            [t().pax(&[("SCHILY.xattr.user.big", &[b'v'; 70_000])]).file("f", b"x")],
        ),
        refused(
            "an attribute of a longer name than the kernel takes",
            "bad PAX attribute",
            [t().pax(&[(&format!("SCHILY.xattr.user.{}", "n".repeat(300)), b"v")]).file("f", b"x")],
        ),
        refused(
            "capabilities that are none",
            "setting an extended attribute",
            [t().pax(&[("SCHILY.xattr.security.capability", b"all")]).file("f", b"x")],
        ),
    ]
}
