//! Blobs that break off, go on, lie about themselves or swell.

use postern_proto::Code;

use super::{Case, Expect, refused};
use crate::layout::{Blob, GZIP, PLAIN, ZSTD, digest};
use crate::tarball::{Tar, gzip, zstd, zstd_skippable};

/// Entries that cost the file system nothing: a link of a name to itself.
const ENTRIES: usize = 10_000_000;
const ENTRIES_A_MEMBER: usize = 20_000;

pub(super) fn cases() -> Vec<Case> {
    let mut all = packed();
    all.extend(named());
    all.extend(swelling());
    all.extend(cut());
    all
}

fn tar() -> Vec<u8> {
    let text: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    Tar::default().file("f", &text).end()
}

fn bad(name: &'static str, says: &'static str, blob: Blob) -> Case {
    let expect = Expect::Refused(Code::InvalidArgument, says);
    Case { name, layers: vec![blob], expect, limits: None }
}

fn good(name: &'static str, blob: Blob) -> Case {
    let expect = Expect::Tree(vec!["f f:100000".to_owned()]);
    Case { name, layers: vec![blob], expect, limits: None }
}

fn packed() -> Vec<Case> {
    let tar = tar();
    let of = |media_type, bytes: &[u8]| Blob::of(media_type, bytes.to_vec(), &tar);
    let (gz, zst) = (gzip(&tar), zstd(&tar));
    let flipped = |blob: &[u8], from_the_end: usize| {
        let mut blob = blob.to_vec();
        let at = blob.len() - from_the_end;
        blob[at] ^= 1;
        blob
    };
    let (a, b) = tar.split_at(5000);
    let skip = zstd_skippable(b"a table of contents");
    let wide = [&0xfd2f_b528_u32.to_le_bytes()[..], &[0, 31 << 3], b"\x01\0\0"].concat();
    let ends = "it ends too early";
    let follows = "what follows its end";
    let damaged = "none or damaged";
    vec![
        bad("gzip without its end", ends, of(GZIP, &gz[..gz.len() / 2])),
        bad("gzip without its checksum", ends, of(GZIP, &gz[..gz.len() - 8])),
        bad("gzip with a wrong checksum", damaged, of(GZIP, &flipped(&gz, 6))),
        bad("gzip with garbage behind it", follows, of(GZIP, &[&gz[..], b"garbage"].concat())),
        bad("gzip with zeros behind it", follows, of(GZIP, &[&gz[..], &[0; 512]].concat())),
        bad(
            "gzip that begins again and ends",
            ends,
            of(GZIP, &[&gz[..], b"\x1f\x8b\x08"].concat()),
        ),
        good("gzip of many members", of(GZIP, &[gzip(a), gzip(b""), gzip(b)].concat())),
        good(
            "gzip of ten thousand empty members",
            of(GZIP, &[gzip(b"").repeat(10_000), gz.clone()].concat()),
        ),
        bad("a plain tar that is named gzip", damaged, of(GZIP, &tar)),
        bad("zstd that is named gzip", damaged, of(GZIP, &zst)),
        bad("gzip that is named plain", "wrong checksum", of(PLAIN, &gz)),
        bad("nothing that is named gzip", ends, of(GZIP, b"")),
        bad("zstd without its end", ends, of(ZSTD, &zst[..zst.len() / 2])),
        bad("zstd with a wrong checksum", damaged, of(ZSTD, &flipped(&zst, 2))),
        bad("zstd with garbage behind it", follows, of(ZSTD, &[&zst[..], b"garbage"].concat())),
        bad("zstd with a window of 2 TiB", "a window of more than", of(ZSTD, &wide)),
        bad("zstd that skips more than comes", ends, of(ZSTD, &[&zst[..], &skip[..9]].concat())),
        bad("gzip that is named zstd", damaged, of(ZSTD, &gz)),
        good(
            "zstd of many frames with skippable ones",
            of(ZSTD, &[&skip[..], &zstd(a), &zstd(b""), &skip, &zstd(b), &skip].concat()),
        ),
    ]
}

fn named() -> Vec<Case> {
    let tar = tar();
    let blob = Blob::of(GZIP, gzip(&tar), &tar);
    let other = digest(b"other");
    let with = |change: fn(&mut Blob, String)| {
        let mut blob = blob.clone();
        change(&mut blob, other.clone());
        blob
    };
    let mut second = bad("a wrong digest in the second layer", "digest of the blob", blob.clone());
    second.layers.push(with(|blob, other| blob.digest = other));
    vec![
        bad("another blob than its digest", "digest of the blob", with(|b, d| b.digest = d)),
        bad("another tar than its diff_id", "diff_id of the layer", with(|b, d| b.diff_id = d)),
        bad("a digest of no known kind", "is not sha256:", with(|b, _| b.digest = "md5:00".into())),
        bad("a diff_id of no kind", "is not sha256:", with(|b, _| b.diff_id = String::new())),
        bad("a blob longer than its size", "were announced", with(|b, _| b.size -= 1)),
        bad("a blob shorter than its size", "were announced", with(|b, _| b.size += 1)),
        bad(
            "a layer of no known kind",
            "are not supported",
            with(|b, _| {
                b.media_type = "application/vnd.oci.image.layer.v1.tar+encrypted";
            }),
        ),
        second,
    ]
}

fn swelling() -> Vec<Case> {
    let bomb = Tar::default().file("f", &vec![0; 32 << 20]).end();
    let over = "more than the 1048576 bytes";
    let small = |name, blob| {
        bad(name, over, blob).with_code(Code::ResourceExhausted).with_limits(1000, 1 << 20)
    };
    let one = Tar::default().hard_link("f", "f").0;
    let member = gzip(&one.repeat(ENTRIES_A_MEMBER));
    let first = gzip(&Tar::default().file("f", b"").0);
    let many = [first, member.repeat(ENTRIES / ENTRIES_A_MEMBER), gzip(&[0; 1024])].concat();
    vec![
        small("a gzip bomb", Blob::of(GZIP, gzip(&bomb), &bomb)),
        small("a zstd bomb", Blob::of(ZSTD, zstd(&bomb), &bomb)),
        // Nobody unpacks the five gigabytes, so nobody knows the digest either.
        bad("ten million entries", "entries", Blob::of(GZIP, many, b""))
            .with_code(Code::ResourceExhausted)
            .with_limits(50_000, 1 << 40),
    ]
}

fn cut() -> Vec<Case> {
    let whole = Tar::default().dir("d").file("d/f", &[b'x'; 3000]).0;
    let at = |len: usize| Tar(whole[..len].to_vec());
    let plain = |tar: Tar| Blob::of(PLAIN, tar.0.clone(), &tar.0);
    let midst = "in the midst of an entry";
    let mut fails_late = refused("a good layer and a broken one", midst, [Tar(whole.clone())]);
    fails_late.layers.push(plain(at(700)));
    vec![
        bad("a tar cut in a header", midst, plain(at(700))),
        bad("a tar cut in a file", midst, plain(at(2000))),
        bad("a tar cut in the padding of a file", midst, plain(at(1024 + 3050))),
        fails_late,
    ]
}
