//! Headers that lie, contradict one another or are too large.

use postern_proto::Code;

use super::{Case, refused, tree};
use crate::tarball::{Head, Tar};

pub(super) fn cases() -> Vec<Case> {
    let mut all = fields();
    all.extend(extensions());
    all.extend(sizes());
    all.extend(sparse());
    all
}

fn fields() -> Vec<Case> {
    let t = Tar::default;
    let head = |head: Head<'_>| t().head(&Head { path: b"f", ..head });
    let mut flipped = t().file("f", b"x");
    flipped.0[0] ^= 1;
    let mut letters = [0; 512];
    t().file("f", b"").0.iter().zip(&mut letters).for_each(|(from, to)| *to = *from);
    letters[100..107].copy_from_slice(b"rwxr-xr");
    let mut lone = t().file("f", b"x");
    lone.0.extend_from_slice(&[0; 512]);
    vec![
        refused("no tar at all", "wrong checksum", [t().data(&[b'x'; 2000])]),
        refused("a header with a flipped bit", "wrong checksum", [flipped]),
        refused("a mode in letters", "bad mode", [t().block(letters)]),
        refused("a lone block of zeros", "a lone zero block", [lone.file("g", b"y")]),
        refused(
            "the uid that is none",
            "bad uid",
            [head(Head { uid: 0xffff_ffff, ..Head::default() })],
        ),
        refused("a gid below zero", "bad gid", [head(Head { gid: u64::MAX, ..Head::default() })]),
        refused(
            "a uid of 2^32 by PAX",
            "bad PAX uid",
            [t().pax(&[("uid", b"4294967296")]).file("f", b"x")],
        ),
        tree(
            "the largest uid, in binary",
            &["f 4294967294:4294967294 f"],
            [head(Head { uid: 0xffff_fffe, gid: 0xffff_fffe, ..Head::default() })],
        ),
        tree("a time before the epoch", &["f f"], [head(Head { mtime: -5, ..Head::default() })]),
        tree(
            "a time at the end of all",
            &["f f"],
            [head(Head { mtime: i64::MAX, ..Head::default() })],
        ),
        refused(
            "a PAX time that is no number",
            "bad PAX mtime",
            [t().pax(&[("mtime", b"1e9")]).file("f", b"x")],
        ),
    ]
}

fn extensions() -> Vec<Case> {
    let t = Tar::default;
    let claims = |kind, size| t().head(&Head { kind, path: b"ext", size, ..Head::default() });
    let over = "is over the cap of 1048576";
    let records = |records: &[u8]| t().extension(b'x', records).file("f", b"x");
    vec![
        refused("a PAX header of 2 MiB", over, [records(&[b'a'; 2 << 20])]),
        refused("a PAX header that claims 8 GiB", over, [claims(b'x', 8 << 30)]),
        refused("a global PAX header that claims 8 GiB", over, [claims(b'g', 8 << 30)]),
        refused("a GNU long name that claims 8 GiB", over, [claims(b'L', 8 << 30)]),
        refused("a GNU long link that claims 8 GiB", over, [claims(b'K', 8 << 30)]),
        refused(
            "a PAX record longer than its header",
            "bad PAX record",
            [records(b"999 path=a\n")],
        ),
        refused("a PAX record of no length", "bad PAX record", [records(b"0 path=a\n")]),
        refused("a PAX record without a key", "bad PAX record", [records(b"5 =b\n")]),
        refused(
            "two PAX headers before one entry",
            "two PAX headers",
            [t().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("f", b"x")],
        ),
        refused(
            "two long names before one entry",
            "two long-name headers",
            [t().extension(b'L', b"a\0").extension(b'L', b"b\0").file("f", b"x")],
        ),
        refused(
            "a PAX path and a GNU long name",
            "two path headers",
            [t().extension(b'L', b"a\0").pax(&[("path", b"b")]).file("f", b"x")],
        ),
        refused(
            "extensions and no entry",
            "in the midst of an entry",
            [t().pax(&[("path", b"b")])],
        ),
        tree(
            "a global PAX header, which renames nothing",
            &["f f=x"],
            [t().extension(b'g', b"9 path=b\n").file("f", b"x")],
        ),
        tree(
            "PAX records that differ from their header",
            &["f 5:6 b=xy"],
            [t().pax(&[("path", b"b"), ("uid", b"5"), ("gid", b"6"), ("size", b"2")])
                .head(&Head { path: b"a", uid: 7, gid: 8, size: 1, ..Head::default() })
                .data(b"xy")],
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let t = Tar::default;
    let claims = |size| t().head(&Head { path: b"f", size, ..Head::default() }).data(b"x");
    let inner = t().file("smuggled", b"x").0;
    let len = inner.len().to_string();
    let line = format!("f outer:{len}");
    vec![
        refused(
            "a file that claims more than comes",
            "in the midst of an entry",
            [claims(8 << 20)],
        ),
        refused("a file that claims 4 EiB", "more than the 68719476736 bytes", [claims(1 << 62)])
            .with_code(Code::ResourceExhausted),
        refused("a file of a size below zero", "bad size", [claims(-1)]),
        refused(
            "a PAX size below zero",
            "bad PAX size",
            [t().pax(&[("size", b"-1")]).file("f", b"x")],
        ),
        refused(
            "a PAX size over 2^63",
            "bad PAX size",
            [t().pax(&[("size", b"9223372036854775808")]).file("f", b"x")],
        ),
        tree(
            "a tar smuggled in behind a PAX size",
            &[&line],
            [t().pax(&[("size", len.as_bytes())])
                .head(&Head { path: b"outer", ..Head::default() })
                .data(&inner)],
        ),
        refused(
            "a file that claims less than comes",
            "wrong checksum",
            [t().head(&Head { path: b"f", size: 1, ..Head::default() }).data(&[b'x'; 513])],
        ),
    ]
}

fn sparse() -> Vec<Case> {
    let t = Tar::default;
    let map = |map: &[u8], size: &[u8]| {
        t().pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)]).file("f", b"xyz")
    };
    let in_contents = |text: &[u8]| {
        t().pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"9"),
        ])
        .file("f", text)
    };
    vec![
        refused("a sparse file whose extents overlap", "over one another", [map(b"0,2,1,1", b"9")]),
        refused("a sparse file with extents beyond its end", "beyond its end", [map(b"8,3", b"9")]),
        refused(
            "a sparse file with more extents than contents",
            "not as long",
            [map(b"0,4", b"9")],
        ),
        refused("a sparse file of half a map", "half a map", [map(b"0,3,1", b"9")]),
        refused(
            "a sparse file of 2^63 bytes",
            "bad PAX sparse",
            [map(b"0,3", b"9223372036854775808")],
        ),
        refused(
            "a sparse map of a billion extents",
            "more extents",
            [in_contents(b"1000000000\n")],
        ),
        refused("a sparse map without an end", "map goes beyond", [in_contents(b"2\n0\n")]),
        refused(
            "an old sparse header that is not GNU's",
            "is not GNU's",
            [t().head(&Head { kind: b'S', path: b"f", ..Head::default() })],
        ),
        tree(
            "a sparse file of a TiB that is one hole",
            &["f f:1099511627776"],
            [t().pax(&[("GNU.sparse.map", b""), ("GNU.sparse.size", b"1099511627776")])
                .file("f", b"")],
        ),
    ]
}
