//! A root whose file system is full at any byte: an error with its errno, nothing
//! published, and the next try with more room works.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use postern_agent::files::Root;
use postern_agent::image::{Limits, Unpacker};
use postern_proto as proto;
use postern_tests::layout::Blob;
use postern_tests::tarball::Tar;

const PAGE: usize = 4096;

/// Of everything that takes room: names, contents, holes, targets, attributes.
fn layer() -> Vec<u8> {
    let mut tar = Tar::default();
    for n in 0..6 {
        tar = tar
            .dir(&format!("d{n}"))
            .file(&format!("d{n}/small"), b"x")
            .file(&format!("d{n}/large"), &[b'x'; 3 * PAGE - 5])
            .pax(&[("GNU.sparse.map", b"40960,5"), ("GNU.sparse.size", b"90000")])
            .file(&format!("d{n}/holed"), b"holed")
            .hard_link(&format!("d{n}/link"), &format!("d{n}/large"))
            .pax(&[("SCHILY.xattr.trusted.note", b"v")])
            .symlink(&format!("d{n}/symlink"), &"../".repeat(30));
    }
    tar.end()
}

/// What comes of the layer on a tmpfs with these options.
fn unpack_on(at: &Path, options: &str, tar: &[u8]) -> Result<(), proto::Error> {
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
    let unpacker = Unpacker::new(Root::open(at).unwrap(), Limits::default());
    let blob = Blob::pack(2, tar);
    let layer = proto::Layer {
        index: 0,
        media_type: blob.media_type.to_owned(),
        digest: blob.digest,
        diff_id: blob.diff_id,
        size: blob.size,
    };
    let done = unpacker.apply(&layer, &mut &blob.bytes[..]).map(drop);
    assert_eq!(unpacker.finish().is_ok(), done.is_ok(), "a half image was published");
    umount2(at, MntFlags::empty()).unwrap();
    done.map_err(proto::Error::from)
}

fn fill_up(at: &Path) {
    let tar = layer();
    // Pages, then inodes: at each number of them another step meets the end.
    for what in ["size", "nr_inodes"] {
        let mut fits = 0;
        for n in 1..=100usize {
            let amount = if what == "size" { n * PAGE } else { n };
            match unpack_on(at, &format!("{what}={amount}"), &tar) {
                Ok(()) => fits += 1,
                Err(error) => {
                    let told = (error.code, error.errno);
                    assert_eq!(
                        told,
                        (proto::Code::ResourceExhausted, Some(libc::ENOSPC)),
                        "{error:?}"
                    );
                    assert_eq!(fits, 0, "{what}={amount} is too little where less was enough");
                }
            }
        }
        assert!((1..95).contains(&fits), "{what}: {fits} of 100 sizes are enough");
    }
}

#[test]
fn a_file_system_that_is_full_at_any_byte_makes_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_owned();
    let private = || -> Result<(), Errno> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
    };
    // A thread of its own, whose mounts end with it.
    let outcome = std::thread::spawn(move || private().map(|()| fill_up(&at))).join().unwrap();
    if let Err(errno) = outcome {
        eprintln!(
            "SKIPPED a_file_system_that_is_full: mounts of its own: {errno}; enable: run as root"
        );
    }
}
