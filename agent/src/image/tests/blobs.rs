//! Blobs: packing, digests, sizes, broken streams.

use postern_proto::limits::LAYERS_AT_ONCE;

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
fn are_zstd_of_one_or_many_frames_and_what_may_be_skipped() {
    let tar = tar();
    apply(ZSTD, &zstd(&tar), &tar).unwrap();
    apply("application/vnd.docker.image.rootfs.diff.tar.zstd", &zstd(&tar), &tar).unwrap();
    let (a, b) = tar.split_at(1000);
    let skipped = [&0x184d_2a50_u32.to_le_bytes()[..], &5u32.to_le_bytes(), b"12345"].concat();
    // As zstd:chunked is: a frame a file, and tables at the end.
    let frames = [&skipped, &zstd(a), &zstd(b""), &skipped, &zstd(b), &skipped];
    let chunked = frames.map(|frame| &frame[..]).concat();
    apply(ZSTD, &chunked, &tar).unwrap();
}

#[test]
fn that_are_cut_or_continued_are_refused() {
    let tar = tar();
    for (media_type, blob) in [(GZIP, gzip(&tar)), (ZSTD, zstd(&tar))] {
        let problem = |blob: &[u8]| match apply(media_type, blob, &tar).unwrap_err() {
            Cause::Packing { problem, .. } => problem,
            other => panic!("{media_type}: {other:?}"),
        };
        let end = blob.len();
        for cut in [0, 3, 10, 20, end / 2, end - 8, end - 1] {
            let problem = problem(&blob[..cut]);
            assert!(matches!(problem, PackingError::Truncated), "{media_type} {cut}: {problem:?}");
        }
        for garbage in [&b"g"[..], b"garbage", &[0; 512]] {
            let problem = problem(&[&blob[..], garbage].concat());
            let cut = media_type == ZSTD && garbage.len() < 4;
            assert!(
                matches!(problem, PackingError::Trailing)
                    || cut && matches!(problem, PackingError::Truncated),
                "{media_type}: {problem:?}"
            );
        }
        let mut bad_checksum = blob.clone();
        bad_checksum[end - if media_type == GZIP { 6 } else { 2 }] ^= 1;
        assert!(matches!(problem(&bad_checksum), PackingError::Corrupt(_)), "{media_type}");
        assert!(matches!(problem(&tar), PackingError::Corrupt(_)), "{media_type}");
        let error = apply(media_type, &tar, &tar).unwrap_err();
        let error = proto::Error::from(UnpackError { layer: 0, cause: error });
        assert_eq!(error.field.as_deref(), Some("layer"));
    }
}

#[test]
fn of_a_zstd_window_over_the_cap_are_refused_before_memory_is_taken() {
    let tar = tar();
    // Magic, a descriptor without anything, a window of 2^(10 + n).
    let frame =
        |n: u8| [0xfd2f_b528_u32.to_le_bytes().as_slice(), &[0, n << 3], b"\x01\0\0"].concat();
    for (exponent, refused) in [(17, false), (18, true), (31, true)] {
        let error = apply(ZSTD, &[frame(exponent), zstd(&tar)].concat(), &tar).err();
        let over = matches!(&error, Some(Cause::Packing { problem: PackingError::Window, .. }));
        assert_eq!(over, refused, "{exponent}: {error:?}");
    }
}

#[test]
fn of_other_media_types_are_refused() {
    let tar = tar();
    let layer = "application/vnd.oci.image.layer.v1.tar";
    for text in ["text/plain", "", &format!("{layer}+bzip2"), &format!("{layer}+encrypted")] {
        let error = apply(text, &tar, &tar).unwrap_err();
        assert!(matches!(error, Cause::MediaType { .. }), "{text}");
    }
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
    let image = Image::new();
    let tar = tar();
    let early = describe(LAYERS_AT_ONCE, PLAIN, &tar, &tar);
    let refused = image.unpacker.apply(&early, &mut &tar[..]).unwrap_err();
    assert!(matches!(refused.cause, Cause::OutOfOrder { expected: 0, got: LAYERS_AT_ONCE }));
    let layer = describe(0, PLAIN, &tar, &tar);
    image.unpacker.apply(&layer, &mut &tar[..]).unwrap();
    let second = describe(1, PLAIN, &tar, &tar);
    let broken = image.unpacker.apply(&second, &mut &tar[..100]).unwrap_err();
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
    for media_type in [PLAIN, GZIP, ZSTD] {
        let layer = describe(0, media_type, &tar, &tar);
        let error = Image::new().unpacker.apply(&layer, &mut Broken).unwrap_err();
        assert!(matches!(error.cause, Cause::Blob(_)));
        assert_eq!(proto::Error::from(error).code, proto::Code::Unavailable);
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let tar = Tar::default().file("f", &vec![0; 8 << 20]).end();
    for (media_type, blob) in [(GZIP, gzip(&tar)), (ZSTD, zstd(&tar))] {
        let image = Image::with(Limits { bytes: 1 << 20, ..Limits::default() });
        let layer = describe(0, media_type, &blob, &tar);
        let error = image.unpacker.apply(&layer, &mut &blob[..]).unwrap_err();
        assert_eq!(proto::Error::from(error).code, proto::Code::ResourceExhausted);
        assert!(fs::metadata(image.at("f")).map_or(0, |m| m.len()) <= 1 << 20);
    }
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
        let unpacker = Unpacker::new(Root::open(&path).unwrap(), Limits::default());
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

#[test]
fn that_come_at_once_and_in_any_order_are_written_in_theirs() {
    let image = Image::new();
    // Each takes away what the one before it wrote, and writes its own.
    let tars: Vec<Vec<u8>> = (0..LAYERS_AT_ONCE)
        .map(|n: u32| {
            let tar = Tar::default().file("same", format!("{n}").as_bytes());
            let tar = tar.file(&format!("own-{n}"), &vec![b'x'; 3 << 20]);
            match n.checked_sub(1) {
                Some(before) => tar.file(&format!(".wh.own-{before}"), b"").end(),
                None => tar.end(),
            }
        })
        .collect();
    std::thread::scope(|scope| {
        for (index, tar) in tars.iter().enumerate().rev() {
            let index = u32::try_from(index).unwrap();
            let unpacker = &image.unpacker;
            scope.spawn(move || {
                let layer = describe(index, PLAIN, tar, tar);
                unpacker.apply(&layer, &mut &tar[..]).unwrap();
            });
        }
    });
    assert_eq!(image.unpacker.finish().unwrap().layers, LAYERS_AT_ONCE);
    let last = LAYERS_AT_ONCE - 1;
    assert_eq!(image.read("same"), format!("{last}"));
    assert_eq!(image.tree(), [format!("own-{last}"), "same".to_owned()]);
}

#[test]
fn that_wait_for_their_turn_end_with_the_one_that_fails() {
    let image = Image::new();
    let tar = tar();
    let (first, second) = (describe(0, PLAIN, &tar, &tar), describe(1, PLAIN, &tar, &tar));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| image.unpacker.apply(&second, &mut &tar[..]));
        let failed = image.unpacker.apply(&first, &mut &tar[..100]).unwrap_err();
        assert!(
            matches!(failed.cause, Cause::SizeMismatch { .. } | Cause::Tar { .. }),
            "{failed:?}"
        );
        let waited = waiting.join().unwrap().unwrap_err();
        assert!(matches!(waited.cause, Cause::Poisoned), "{waited:?}");
    });
    assert!(image.unpacker.finish().is_err());
}
