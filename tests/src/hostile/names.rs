//! Names that lead, or try to lead, somewhere else.

use postern_proto::Code;

use super::{Case, refused, tree};
use crate::tarball::{Head, Tar};

const UP: &str = "goes up with ..";

pub(super) fn cases(outside: &str) -> Vec<Case> {
    let t = Tar::default;
    let one = |path: &str| t().file(path, b"x");
    let long = |parts: usize, len: usize| vec!["n".repeat(len); parts].join("/");
    let pax = |path: &str| t().pax(&[("path", path.as_bytes())]).file("inside", b"x");
    let mut inside = Vec::new();
    for (at, _) in outside.match_indices('/').skip(1) {
        inside.push(format!("d {}", &outside[1..at]));
    }
    inside.push(format!("d {}", &outside[1..]));
    inside.push(format!("f {}/made=x", &outside[1..]));
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    vec![
        tree("a name from the root", &["d etc", "f etc/abs=x"], [one("/etc/abs")]),
        tree("a name from the host's root", &inside, [pax(&format!("{outside}/made"))]),
        refused("a name that goes up", UP, [one("../secret")]),
        refused("a name that goes down and further up", UP, [one("a/../../secret")]),
        refused("a name that goes up and stays inside", UP, [one("a/b/../c")]),
        refused("a name that is only ..", UP, [one("..")]),
        refused("a directory that is ..", UP, [t().dir("a/..")]),
        refused("a PAX path that goes up behind an innocent header", UP, [pax("../secret")]),
        refused(
            "a GNU long name that goes up behind an innocent header",
            UP,
            [t().extension(b'L', b"../secret\0").file("inside", b"x")],
        ),
        refused("no name", "has no name", [one("")]),
        refused("a file in the place of the root", "would replace the root", [one("./")]),
        refused(
            "a symlink in the place of the root",
            "would replace the root",
            [t().symlink(".", outside)],
        ),
        refused("a NUL in a PAX path", "bad PAX path", [pax("a\0b")]),
        refused("a name of 256 bytes", "File name too long", [pax(&long(1, 256))]),
        refused("a path over PATH_MAX", "more than 4096 bytes in a path", [pax(&long(50, 100))])
            .with_code(Code::ResourceExhausted),
        refused(
            "a thousand directories deep",
            "more than 256 directories in a path",
            [pax(&long(1000, 2))],
        )
        .with_code(Code::ResourceExhausted),
        tree(
            "a name in no encoding",
            &["f \\xff\\xfe=x"],
            [t().head(&Head { path: b"\xff\xfe", size: 1, ..Head::default() }).data(b"x")],
        ),
        tree(
            "names that differ by case",
            &["d ETC", "f ETC/passwd=1", "d etc", "f etc/PASSWD=3", "f etc/passwd=2"],
            [t().file("ETC/passwd", b"1").file("etc/passwd", b"2").file("etc/PASSWD", b"3")],
        ),
        tree(
            "names with what other systems take for a path",
            &["f C:\\\\..\\\\x=x", "f a\\nb=x"],
            [one("C:\\..\\x").file("a\nb", b"x")],
        ),
    ]
}
