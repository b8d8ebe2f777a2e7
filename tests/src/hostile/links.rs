//! Links out of the root, in one layer and between layers, and marks through them.

use postern_proto::Code;

use super::{Case, refused, tree};
use crate::tarball::{Head, Tar};

const MISSING: &str = "is a hard link to what is not in the image";
const UP: &str = "goes up with ..";

pub(super) fn cases(outside: &str) -> Vec<Case> {
    let mut all = symlinks(outside);
    all.extend(hard_links(outside));
    all.extend(marks(outside));
    all
}

fn symlinks(outside: &str) -> Vec<Case> {
    let t = Tar::default;
    let up = "../".repeat(40);
    let chmod = |path: &'static [u8]| Head { kind: b'5', path, mode: 0o7777, ..Head::default() };
    // Absolute targets are taken below the root, where they are missing and made.
    let rebuilt = |tail: &[&str]| {
        let mut lines: Vec<String> = outside
            .match_indices('/')
            .skip(1)
            .map(|(at, _)| format!("d {}", &outside[1..at]))
            .collect();
        lines.push(format!("d {}", &outside[1..]));
        lines.push(format!("f {}/secret=x", &outside[1..]));
        lines.extend(tail.iter().map(|line| (*line).to_owned()));
        lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
        lines
    };
    let link = format!("l out -> {outside}");
    let rebuilt = rebuilt(&[&link]);
    let rebuilt: Vec<&str> = rebuilt.iter().map(String::as_str).collect();
    vec![
        tree(
            "a file through an absolute symlink",
            &rebuilt,
            [t().symlink("out", outside).file("out/secret", b"x")],
        ),
        tree(
            "a file through a symlink of the layer below",
            &rebuilt,
            [t().symlink("out", outside), t().file("out/secret", b"x")],
        ),
        tree(
            "a file through a symlink that goes up",
            &["l out -> ../../../../../../../../", "f secret=x"],
            [t().symlink("out", &up[..24]).file("out/secret", b"x")],
        ),
        refused(
            "a file through symlinks that lead to one another",
            "Too many symbolic links",
            [t().symlink("a", "b").symlink("b", "a").file("a/x", b"x")],
        ),
        refused(
            "a file through a symlink to a file",
            "Not a directory",
            [t().file("f", b"x").symlink("s", "f").file("s/x", b"x")],
        ),
        tree(
            "a file over a symlink to a file outside",
            &["f link=x"],
            [t().symlink("link", &format!("{outside}/secret")).file("link", b"x")],
        ),
        tree(
            "a directory's mode through a symlink",
            &["d 7777 out"],
            [t().symlink("out", outside), t().head(&chmod(b"out"))],
        ),
        tree(
            "a directory that was used, swapped for a symlink",
            &["l d -> /d2", "d d2", "f d2/b=2"],
            [t().dir("d").file("d/a", b"1").dir("d2").symlink("d", "/d2").file("d/b", b"2")],
        ),
        refused("a symlink to nothing", "is a symlink to nothing", [t().symlink("s", "")]),
        refused(
            "a symlink longer than a path",
            "File name too long",
            [t().extension(b'K', &[b'n'; 5000]).symlink("s", "x")],
        ),
    ]
}

fn hard_links(outside: &str) -> Vec<Case> {
    let t = Tar::default;
    let secret = format!("{outside}/secret");
    let by_pax = |link: &str| t().pax(&[("linkpath", link.as_bytes())]).hard_link("h", "x");
    vec![
        refused("a hard link to a file of the host", MISSING, [by_pax(&secret)]),
        refused("a hard link that goes up", UP, [t().hard_link("h", "../secret")]),
        refused(
            "a hard link through a symlink that leads out",
            MISSING,
            [t().symlink("out", outside).hard_link("h", "out/secret")],
        ),
        refused(
            "a hard link through a symlink of the layer below",
            MISSING,
            [t().symlink("out", ".."), t().hard_link("h", "out/secret")],
        ),
        tree(
            "a hard link to a symlink that leads out, and a file over it",
            &["f h=x", "l s -> /secret"],
            [t().symlink("s", "/secret").hard_link("h", "s").file("h", b"x")],
        ),
        refused(
            "a hard link to a directory",
            "Operation not permitted",
            [t().dir("d").hard_link("h", "d")],
        )
        .with_code(Code::PermissionDenied),
        refused("a hard link to itself", MISSING, [t().hard_link("h", "h")]),
        refused("a hard link to the root", "", [t().hard_link("h", "./")]),
        refused(
            "a hard link to what this layer hides",
            MISSING,
            [t().file("f", b"x"), t().file(".wh.f", b"").hard_link("h", "f")],
        ),
        tree(
            "a file over one name of a hard link leaves the other",
            &["f a=2", "f b=1"],
            [t().file("a", b"1"), t().hard_link("b", "a").file("a", b"2")],
        ),
    ]
}

fn marks(outside: &str) -> Vec<Case> {
    let t = Tar::default;
    let out = format!("l out -> {outside}");
    let no_name = "is a whiteout of no name";
    vec![
        tree(
            "a whiteout through a symlink that leads out",
            &[&out],
            [t().symlink("out", outside), t().file("out/.wh.secret", b"")],
        ),
        tree(
            "an opaque mark through a symlink that leads out",
            &[&out],
            [t().symlink("out", outside), t().file("out/.wh..wh..opq", b"")],
        ),
        tree(
            "a whiteout through a symlink that goes up",
            &["l out -> ../.."],
            [t().symlink("out", "../.."), t().file("out/.wh.secret", b"")],
        ),
        tree(
            "a whiteout of a symlink takes the link, not what it leads to",
            &["d d", "f d/a=x"],
            [t().file("d/a", b"x").symlink("s", "d"), t().file(".wh.s", b"")],
        ),
        refused("a whiteout of ..", no_name, [t().file("d/.wh...", b"")]),
        refused("a whiteout of .", no_name, [t().file("d/.wh..", b"")]),
        refused("a whiteout of no name", no_name, [t().file(".wh.", b"")]),
        refused("a whiteout that goes up", UP, [t().file("../.wh.secret", b"")]),
        refused("a file in a whiteout", "lies below a whiteout", [t().file(".wh.x/y", b"x")]),
        tree(
            "whiteouts in the first layer, which has nothing to hide",
            &["f a=x"],
            [t().file("a", b"x").file(".wh.a", b"").file(".wh..wh..opq", b"")],
        ),
        tree(
            "an opaque root",
            &["f new=x"],
            [
                t().file("a/b/c", b"x").symlink("out", outside),
                t().file("new", b"x").file(".wh..wh..opq", b""),
            ],
        ),
    ]
}
