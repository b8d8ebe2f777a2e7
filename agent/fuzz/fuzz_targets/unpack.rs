//! Any bytes as a layer: an answer, and nothing touched outside the root.
//!
//! The first byte says how the rest is packed, and whether the checksums of what
//! looks like headers are set right before, so that what is behind them is reached.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use postern_agent::files::Root;
use postern_agent::image::{Limits, Unpacker};
use postern_proto as proto;
use sha2::{Digest as _, Sha256};

const BLOCK: usize = 512;

const LIMITS: Limits =
    Limits { entries: 500, path: 4096, depth: 64, bytes: 1 << 20, allow_devices: false };

const KINDS: [&str; 3] = ["", "+gzip", "+zstd"];

fuzz_target!(|data: &[u8]| {
    let Some((how, blob)) = data.split_first() else { return };
    let mut blob = blob.to_vec();
    let kind = KINDS[usize::from(how % 3)];
    if kind.is_empty() && how & 0x80 == 0 {
        repair(&mut blob);
    }
    let dir = tempfile::tempdir_in("/dev/shm").expect("a place to unpack in");
    let (root, secret) = (dir.path().join("root"), dir.path().join("secret"));
    fs::create_dir(&root).expect("a root");
    fs::write(&secret, "untouched").expect("a file beside it");
    let hex: String = Sha256::digest(&blob).iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = format!("sha256:{hex}");
    let layer = proto::Layer {
        index: 0,
        media_type: format!("application/vnd.oci.image.layer.v1.tar{kind}"),
        // Wrong for what is packed: then all is written before it is refused.
        diff_id: digest.clone(),
        digest,
        size: blob.len() as u64,
    };
    let unpacker = Unpacker::new(Root::open(&root).expect("the root"), LIMITS);
    if let Err(error) = unpacker.apply(&layer, &mut &blob[..]) {
        let error = proto::Error::from(error);
        assert_ne!(error.code, proto::Code::Internal, "{error:?}");
    }
    assert_eq!(fs::read(&secret).expect("the file beside it"), b"untouched");
    assert_eq!(fs::read_dir(dir.path()).expect("the place").count(), 2);
});

fn repair(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(BLOCK) {
        if block[257..].starts_with(b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}
