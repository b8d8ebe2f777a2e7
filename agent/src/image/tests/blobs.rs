//! Blobs: packing, digests, sizes, broken streams.

use super::*;

fn tar() -> Vec<u8> {
    Tar::default().file("f", &vec![7; 300_000]).end()
}

fn apply(media_type: &str, blob: &[u8], tar: &[u8]) -> Result<proto::LayerDone, Cause> {
    let layer = describe(0, media_type, blob, tar);
    Image::new().unpacker.apply(&layer, &mut &blob[..]).map_err(|e| e.cause)
}

#[test]
fn are_plain_or_gzip_of_one_or_many_members() {
    let tar = tar();
    apply(PLAIN, &tar, &tar).unwrap();
    apply(GZIP, &gzip(&tar), &tar).unwrap();
    apply("application/vnd.docker.image.rootfs.diff.tar.gzip", &gzip(&tar), &tar).unwrap();
    let (a, b) = tar.split_at(1000);
    let members = [gzip(a), gzip(b""), gzip(b)].concat();
    apply(GZIP, &members, &tar).unwrap();
    let empties = [gzip(b"").repeat(10_000), gzip(&tar)].concat();
    apply(GZIP, &empties, &tar).unwrap();
}

#[test]
fn that_are_cut_or_continued_are_refused() {
    let tar = tar();
    let blob = gzip(&tar);
    for cut in [0, 5, 10, 100, blob.len() - 8, blob.len() - 1] {
        assert!(matches!(apply(GZIP, &blob[..cut], &tar), Err(Cause::Gzip(_))), "{cut}");
    }
    assert!(matches!(apply(GZIP, &[&blob[..], b"garbage"].concat(), &tar), Err(Cause::Gzip(_))));
    let mut bad_crc = blob.clone();
    let at = blob.len() - 6;
    bad_crc[at] ^= 1;
    assert!(matches!(apply(GZIP, &bad_crc, &tar), Err(Cause::Gzip(_))));
    assert!(matches!(apply(GZIP, &tar, &tar), Err(Cause::Gzip(_))));
    assert!(matches!(
        apply("application/vnd.oci.image.layer.v1.tar+zstd", &tar, &tar),
        Err(Cause::MediaType { .. })
    ));
    assert!(matches!(apply("text/plain", &tar, &tar), Err(Cause::MediaType { .. })));
}

#[test]
fn have_the_digests_and_the_size_that_were_named_to_the_last_byte() {
    let tar = tar();
    let blob = gzip(&tar);
    let good = describe(0, GZIP, &blob, &tar);
    let apply = |layer: &proto::Layer, blob: &[u8]| {
        Image::new().unpacker.apply(layer, &mut &blob[..]).map_err(|e| e.cause)
    };
    apply(&good, &blob).unwrap();
    let other = sha(b"other");
    let wrong = proto::Layer { digest: other.clone(), ..good.clone() };
    assert!(matches!(apply(&wrong, &blob), Err(Cause::DigestMismatch { what: BLOB, .. })));
    let wrong = proto::Layer { diff_id: other, ..good.clone() };
    assert!(matches!(apply(&wrong, &blob), Err(Cause::DigestMismatch { what: DIFF_ID, .. })));
    for text in
        ["", "sha256:", "sha512:00", &good.digest.to_uppercase(), &format!("{}0", good.digest)]
    {
        let wrong = proto::Layer { digest: text.into(), ..good.clone() };
        assert!(matches!(apply(&wrong, &blob), Err(Cause::BadDigest { .. })), "{text}");
    }
    for size in [0, good.size - 1, good.size + 1] {
        let wrong = proto::Layer { size, ..good.clone() };
        assert!(matches!(apply(&wrong, &blob), Err(Cause::SizeMismatch { .. })), "{size}");
    }
    // What follows the tar's end counts for both digests.
    let trailed = [&tar[..], b"trailing"].concat();
    let layer = describe(0, GZIP, &gzip(&trailed), &trailed);
    apply(&layer, &gzip(&trailed)).unwrap();
    let layer = describe(0, GZIP, &gzip(&trailed), &tar);
    assert!(matches!(
        apply(&layer, &gzip(&trailed)),
        Err(Cause::DigestMismatch { what: DIFF_ID, .. })
    ));
}

#[test]
fn that_fail_poison_the_unpacker_and_only_they_do() {
    let mut image = Image::new();
    let tar = tar();
    let early = describe(1, PLAIN, &tar, &tar);
    let refused = image.unpacker.apply(&early, &mut &tar[..]).unwrap_err();
    assert!(matches!(refused.cause, Cause::OutOfOrder { expected: 0, got: 1 }));
    let layer = describe(0, PLAIN, &tar, &tar);
    image.unpacker.apply(&layer, &mut &tar[..]).unwrap();
    let broken = image.unpacker.apply(&early, &mut &tar[..100]).unwrap_err();
    let message = proto::Error::from(broken).message;
    assert!(message.starts_with("unpacking layer 1: "), "{message}");
    let refused = image.unpacker.apply(&early, &mut &tar[..]).unwrap_err();
    assert!(matches!(refused.cause, Cause::Poisoned));
    assert!(matches!(image.unpacker.finish().unwrap_err().cause, Cause::Poisoned));
}

#[test]
fn whose_stream_breaks_say_so() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let tar = tar();
    for media_type in [PLAIN, GZIP] {
        let layer = describe(0, media_type, &tar, &tar);
        let error = Image::new().unpacker.apply(&layer, &mut Broken).unwrap_err();
        assert!(matches!(error.cause, Cause::Blob(_)));
        assert_eq!(proto::Error::from(error).code, proto::Code::Unavailable);
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let mut image = Image::with(Limits { bytes: 1 << 20, ..Limits::default() });
    let tar = Tar::default().file("f", &vec![0; 8 << 20]).end();
    let blob = gzip(&tar);
    let layer = describe(0, GZIP, &blob, &tar);
    let error = image.unpacker.apply(&layer, &mut &blob[..]).unwrap_err();
    assert_eq!(proto::Error::from(error).code, proto::Code::ResourceExhausted);
    assert!(fs::metadata(image.at("f")).map_or(0, |m| m.len()) <= 1 << 20);
}

#[test]
fn a_full_disk_is_told_with_its_errno() {
    let image = Image::new();
    let path = image.at("");
    let outcome = std::thread::spawn(move || {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=128k"))?;
        let tar = tar();
        let layer = describe(0, PLAIN, &tar, &tar);
        let mut unpacker = Unpacker::new(Root::open(&path).unwrap(), Limits::default());
        let error = proto::Error::from(unpacker.apply(&layer, &mut &tar[..]).unwrap_err());
        assert_eq!((error.code, error.errno), (proto::Code::ResourceExhausted, Some(libc::ENOSPC)));
        Ok::<(), nix::errno::Errno>(())
    })
    .join()
    .unwrap();
    if let Err(errno) = outcome {
        eprintln!(
            "SKIPPED a_full_disk_is_told_with_its_errno: mounting a tmpfs: {errno}; enable: run as root"
        );
    }
}
