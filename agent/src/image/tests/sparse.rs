//! Sparse files, as GNU tar writes them and as nobody should.

use std::process::Command;

use super::*;

/// A file of 3 MiB with two stretches of bytes, the end a hole.
fn holed(path: &Path) -> Vec<u8> {
    let mut contents = vec![0; 3 << 20];
    contents[4096..8192].fill(1);
    contents[1 << 20..(1 << 20) + 5000].fill(2);
    // More extents than an old header and one block of more hold.
    for at in 0..40 {
        contents[(2 << 20) + at * 16_384] = 3;
    }
    let file = fs::File::create(path).unwrap();
    file.set_len(contents.len() as u64).unwrap();
    for (at, block) in contents.chunks(4096).enumerate() {
        if block.iter().any(|b| *b != 0) {
            std::os::unix::fs::FileExt::write_all_at(&file, block, at as u64 * 4096).unwrap();
        }
    }
    contents
}

#[test]
fn are_read_in_every_format_that_gnu_tar_writes() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let name = format!("{}-holed", "long-name-".repeat(15));
    let contents = holed(&dir.path().join(&name));
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let made = Command::new("tar")
            .args(["--create", "--sparse", "--hole-detection=raw", "--file=-"])
            .args(format)
            .arg("--directory")
            .arg(dir.path())
            .args(["--transform=s,^,d/,", &name])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(made.stdout.len() < contents.len() / 2, "{format:?}: tar made it whole");
        let image = Image::new();
        let layer = describe(0, PLAIN, &made.stdout, &made.stdout);
        image.unpacker.apply(&layer, &mut &made.stdout[..]).unwrap();
        let there = image.at("d").join(&name);
        assert!(fs::read(&there).unwrap() == contents, "{format:?}: other contents");
        let on_disk = fs::metadata(&there).unwrap().blocks() * 512;
        assert!(on_disk < contents.len() as u64 / 2, "{format:?}: the holes take {on_disk} bytes");
        assert_eq!(image.tree(), ["d".to_owned(), format!("d/{name}")], "{format:?}");
    }
}

fn pax(records: &[(&str, &[u8])], data: &[u8]) -> Result<Image, TarError> {
    let mut image = Image::new();
    match image.try_layer(Tar::default().pax(records).file("f", data).file("after", b"x")) {
        Ok(_) => Ok(image),
        Err(Cause::Tar { cause, .. }) => Err(cause),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn may_be_all_hole_or_all_there() {
    let records: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"0"), ("GNU.sparse.minor", b"1"), ("GNU.sparse.map", b"")];
    let all_hole = [&records[..], &[("GNU.sparse.size", b"1099511627776")]].concat();
    let image = pax(&all_hole, b"").unwrap();
    let file = fs::metadata(image.at("f")).unwrap();
    assert_eq!((file.len(), file.blocks()), (1 << 40, 0));
    let image = pax(&[("GNU.sparse.map", b"0,3"), ("GNU.sparse.size", b"3")], b"abc").unwrap();
    assert_eq!((image.read("f"), image.read("after")), ("abc".into(), "x".into()));
    let image = pax(
        &[
            ("GNU.sparse.size", b"7"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"1"),
            ("GNU.sparse.numbytes", b"2"),
            ("GNU.sparse.offset", b"6"),
            ("GNU.sparse.numbytes", b"1"),
        ],
        b"abc",
    )
    .unwrap();
    assert_eq!(image.read("f"), "\0ab\0\0\0c");
}

#[test]
fn whose_maps_make_no_sense_are_refused() {
    let maps: [(&[u8], &[u8]); 9] = [
        (b"0,2,1,1", b"10"),
        (b"5,1,0,2", b"10"),
        (b"0,2", b"10"),
        (b"0,4", b"10"),
        (b"8,3", b"10"),
        (b"9223372036854775807,3", b"9223372036854775807"),
        (b"0,3,1", b"10"),
        (b"0,-3", b"10"),
        (b"0,3", b"99999999999999999999"),
    ];
    for (map, size) in maps {
        let refused = pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)], b"abc");
        assert!(
            matches!(refused, Err(TarError::Sparse(_) | TarError::BadField(_))),
            "{} of {}",
            String::from_utf8_lossy(map),
            String::from_utf8_lossy(size),
        );
    }
    for records in [
        &[("GNU.sparse.major", &b"2"[..]), ("GNU.sparse.minor", b"0")][..],
        &[("GNU.sparse.map", b"0,3")],
        &[("GNU.sparse.map", b"0,3"), ("GNU.sparse.size", b"3"), ("GNU.sparse.realsize", b"4")],
        &[("GNU.sparse.map", b"0,3"), ("GNU.sparse.size", b"3"), ("GNU.sparse.numblocks", b"2")],
        &[("GNU.sparse.numbytes", b"3"), ("GNU.sparse.size", b"3")],
        &[("GNU.sparse.hole", b"3"), ("GNU.sparse.size", b"3")],
    ] {
        assert!(pax(records, b"abc").is_err(), "{records:?}");
    }
    let in_contents = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"9"),
    ];
    for map in ["1\n0\n3", "", "1\n0\n", "99999999\n", "x\n", "123456789012345678901234567890\n"] {
        assert!(pax(&in_contents, map.as_bytes()).is_err(), "{map:?}");
    }
    // The bytes after the map are fewer than it says.
    let mut short = b"1\n0\n9\n".to_vec();
    short.resize(512 + 3, 0);
    assert!(matches!(pax(&in_contents, &short), Err(TarError::Sparse(_))));
}
