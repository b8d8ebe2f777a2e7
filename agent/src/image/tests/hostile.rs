//! Tars that nobody should write: inside the root, or refused.

use super::*;

#[test]
fn names_stay_in_the_root_or_are_refused() {
    for path in ["../outside", "a/../../outside", "a/..", "..", "/../outside"] {
        let mut image = Image::new();
        assert_eq!(
            why(image.try_layer(Tar::default().file(path, b"x"))),
            "goes up with ..",
            "{path}"
        );
    }
    let mut image = Image::new();
    image.layer(Tar::default().file("/etc/abs", b"1").file("//./b", b"2"));
    assert_eq!(image.tree(), ["b", "etc", "etc/abs"]);
    assert_eq!(why(Image::new().try_layer(Tar::default().file("", b"x"))), "has no name");
    for kind in [b'0', b'2', b'6'] {
        let head = Head { kind, path: b"./", link: b"/tmp", ..Head::default() };
        assert_eq!(
            why(Image::new().try_layer(Tar::default().head(&head))),
            "would replace the root directory"
        );
    }
    assert!(
        Image::new().try_layer(Tar::default().pax(&[("path", b"a\0b")]).file("x", b"")).is_err()
    );
    image.layer(Tar::default().pax(&[("path", b"\xff\xfe")]).file("x", b""));
    let long = |parts: usize, len: usize| vec!["x".repeat(len); parts].join("/");
    for bad in [long(1, 5000), long(300, 10), long(1, 300)] {
        assert!(
            Image::new()
                .try_layer(Tar::default().pax(&[("path", bad.as_bytes())]).file("x", b""))
                .is_err()
        );
    }
    Image::new().layer(Tar::default().pax(&[("path", long(250, 3).as_bytes())]).file("x", b""));
}

#[test]
fn symlinks_lead_nowhere_but_inside() {
    for to in ["..", "../..", "/..", "../../../../../../"] {
        let mut image = Image::new();
        image.layer(
            Tar::default()
                .symlink("out", to)
                .file("out/outside", b"x")
                .file("out/new/deep", b"x")
                .dir("out/made")
                .hard_link("out/linked", "out/outside"),
        );
        assert_eq!(image.read("outside"), "x", "{to}");
    }
    // A link in the place of a file is replaced, one in the place of a
    // directory too: neither the write nor the chmod goes through it.
    let mut image = Image::new();
    let outside = image.dir.path().join("outside");
    symlink(&outside, image.at("f")).unwrap();
    symlink(image.dir.path(), image.at("d")).unwrap();
    let before = fs::metadata(image.dir.path()).unwrap().mode();
    image.layer(Tar::default().file("f", b"x").head(&Head {
        kind: b'5',
        path: b"d",
        mode: 0o7777,
        ..Head::default()
    }));
    assert_eq!(fs::metadata(image.dir.path()).unwrap().mode(), before);
    // A hard link to what a link outside points to is a link to the link.
    symlink(&outside, image.at("s")).unwrap();
    image.layer(Tar::default().hard_link("h", "s"));
    assert!(image.at("h").is_symlink());
    let mut image = Image::new();
    symlink(image.dir.path(), image.at("d")).unwrap();
    assert_eq!(
        why(image.try_layer(Tar::default().hard_link("h", "d/outside"))),
        "is a hard link to what is not in the image"
    );
    let mut image = Image::new();
    image.layer(Tar::default().symlink("a", "b").symlink("b", "a"));
    assert!(matches!(
        image.try_layer(Tar::default().file("a/x", b"")),
        Err(Cause::Sys { errno: nix::errno::Errno::ELOOP, .. })
    ));
}

#[test]
fn a_directory_swapped_for_a_link_after_it_was_used_is_not_written_through() {
    let mut image = Image::new();
    image.layer(
        Tar::default().dir("d").file("d/1", b"x").dir("t").symlink("d", "/t").file("d/2", b"x"),
    );
    assert_eq!(image.tree(), ["d", "t", "t/2"]);
}

#[test]
fn the_pax_size_is_the_size() {
    // Whoever goes by the header's size sees another tar inside the contents.
    let inner = Tar::default().file("smuggled", b"x").0;
    let mut image = Image::new();
    image.layer(
        Tar::default()
            .pax(&[("size", inner.len().to_string().as_bytes())])
            .head(&Head { path: b"outer", size: 0, ..Head::default() })
            .data(&inner),
    );
    assert_eq!(image.tree(), ["outer"]);
    assert_eq!(fs::read(image.at("outer")).unwrap(), inner);
    // It is the entry's, not that of an extension header in between.
    let mut image = Image::new();
    image.layer(
        Tar::default()
            .pax(&[("size", b"3")])
            .extension(b'L', b"longer-name\0")
            .head(&Head { path: b"short", ..Head::default() })
            .data(b"abc"),
    );
    assert_eq!(image.read("longer-name"), "abc");
}

#[test]
fn headers_that_two_programs_would_read_differently_are_refused() {
    let file = |tar: Tar| Image::new().try_layer(tar.file("f", b""));
    let ext = Tar::default;
    assert!(matches!(tar_error(file(ext().pax(&[]).pax(&[]))), TarError::Ambiguous("PAX")));
    assert!(matches!(
        tar_error(file(ext().extension(b'L', b"a").extension(b'L', b"b"))),
        TarError::Ambiguous(_)
    ));
    assert!(matches!(
        tar_error(file(ext().extension(b'L', b"a").pax(&[("path", b"b")]))),
        TarError::Ambiguous("path")
    ));
    assert!(matches!(
        tar_error(Image::new().try_layer(ext().pax(&[("path", b"b")]))),
        TarError::Truncated
    ));
    assert!(matches!(
        tar_error(file(ext().extension(b'x', b"999 path=a\n"))),
        TarError::BadField(_)
    ));
    assert!(matches!(
        tar_error(file(ext().pax(&[("uid", b"4294967295")]))),
        TarError::BadField("PAX uid")
    ));
    assert!(matches!(tar_error(file(ext().pax(&[("size", b"-1")]))), TarError::BadField(_)));
    assert!(matches!(
        tar_error(file(ext().extension(b'x', &vec![b'a'; 2 << 20]))),
        TarError::LongExtension(_)
    ));
    assert!(matches!(
        tar_error(Image::new().try_layer(ext().link(b'S', "f", ""))),
        TarError::Sparse(_)
    ));
    assert!(matches!(
        tar_error(Image::new().try_layer(ext().link(b'V', "f", ""))),
        TarError::Unsupported('V')
    ));
    let mut lone = ext().file("a", b"");
    lone.0.extend_from_slice(&[0; 512]);
    assert!(matches!(tar_error(file(lone)), TarError::LoneZeroBlock));
    let mut flipped = ext().file("a", b"");
    flipped.0[0] ^= 1;
    assert!(matches!(tar_error(file(flipped)), TarError::Checksum));
    // A global header changes nothing that follows.
    let mut image = Image::new();
    image.layer(Tar::default().extension(b'g', b"9 path=b\n").file("a", b""));
    assert_eq!(image.tree(), ["a"]);
}

#[test]
fn claims_are_not_believed() {
    let huge = Head { path: b"f", size: 0o77_777_777_777, ..Head::default() };
    assert!(matches!(
        tar_error(Image::new().try_layer(Tar::default().head(&huge).data(b"x"))),
        TarError::Truncated
    ));
    let limits = Limits { bytes: 10_000, ..Limits::default() };
    let over = Image::with(limits).try_layer(Tar::default().file("f", &[0; 20_000]));
    assert!(matches!(tar_error(over), TarError::TooManyBytes(10_000)));
    let mut image = Image::with(limits);
    image.layer(Tar::default().file("f", &[0; 5_000]));
    assert!(image.try_layer(Tar::default().file("g", &[0; 5_000])).is_err());
    let mut image = Image::with(Limits { entries: 2, ..Limits::default() });
    image.layer(Tar::default().file("a", b""));
    assert!(matches!(
        image.try_layer(Tar::default().file("b", b"").file("c", b"")),
        Err(Cause::Limit { what: "entries", .. })
    ));
}

#[test]
fn every_cut_and_every_flipped_byte_ends_in_an_answer() {
    let tar = Tar::default()
        .dir("d")
        .pax(&[("mtime", b"1.5"), ("path", b"d/p")])
        .file("x", b"contents")
        .extension(b'L', b"d/long\0")
        .file("x", b"y")
        .symlink("s", "d")
        .hard_link("h", "d/p")
        .file("d/.wh.q", b"")
        .end();
    let apply = |bytes: &[u8]| {
        let image = Image::new();
        let layer = describe(0, PLAIN, bytes, bytes);
        let done = image.unpacker.apply(&layer, &mut &bytes[..]);
        assert_eq!(fs::read(image.dir.path().join("outside")).unwrap(), b"untouched");
        done
    };
    for cut in (0..tar.len()).step_by(37) {
        let _ = apply(&tar[..cut]);
    }
    for at in (0..tar.len()).step_by(41) {
        let mut bytes = tar.clone();
        bytes[at] ^= 0x81;
        let _ = apply(&bytes);
    }
}
