//! Damaged layers: random bytes of good and of hostile ones changed, with the
//! headers' checksums set right again, so that what is behind them is reached.
//! Whatever comes of it is an answer, and nothing outside the root is touched.
//!
//! `MUTATIONS` says how many (300 unless it does), `TEST_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use postern_agent::files::Root;
use postern_agent::image::{Limits, Unpacker};
use postern_proto as proto;
use postern_tests::hostile::cases;
use postern_tests::layout::Blob;
use postern_tests::random::Random;
use postern_tests::stacks::Stack;

const MUTATIONS: u64 = 300;

const BLOCK: usize = 512;

/// Larger ones are cut: what is damaged is their beginning.
const MAX_SEED: usize = 64 << 10;

/// Far below what a damaged size may claim.
const LIMITS: Limits =
    Limits { entries: 5000, path: 4096, depth: 64, bytes: 8 << 20, allow_devices: false };

/// Plain tars to start from.
fn seeds(random: &mut Random) -> Vec<Vec<u8>> {
    let blobs = cases("/nowhere/outside").into_iter().flat_map(|case| case.layers);
    let plain = blobs.filter(|blob| blob.media_type.ends_with(".tar")).map(|blob| blob.bytes);
    let stacks = (0..20).flat_map(|_| Stack::new(Random::seeded(random.number())).layers(3));
    let mut all: Vec<_> = plain.chain(stacks).collect();
    all.iter_mut().for_each(|tar| tar.truncate(MAX_SEED));
    all
}

fn mutate(random: &mut Random, tar: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=random.below(3) {
        let len = tar.len() as u64;
        if len == 0 {
            return;
        }
        let at = usize::try_from(random.below(len)).unwrap();
        // Most of it is contents; what decides is at the beginning of a block.
        let at = if random.below(2) == 0 { at / BLOCK * BLOCK + at % 157 } else { at };
        match random.below(6) {
            0 => tar.truncate(at),
            1 => {
                // A block of another tar, or all of it.
                let other = random.pick(others);
                let start = at / BLOCK * BLOCK;
                let piece = &other[..other.len().min(BLOCK << random.below(4))];
                tar.splice(start..start, piece.iter().copied());
            }
            2 => {
                let end = (at / BLOCK * BLOCK + BLOCK).min(tar.len());
                tar.drain(at / BLOCK * BLOCK..end);
            }
            kind => {
                if let Some(byte) = tar.get_mut(at) {
                    *byte = match kind {
                        3 => *byte ^ (1 << random.below(8)),
                        4 => *random.pick(b"\0 /.0179=\n\x80\xff,xSLK5"),
                        _ => u8::try_from(random.below(256)).unwrap(),
                    };
                }
            }
        }
    }
}

/// Sets the checksum of every block that looks like a header.
fn repair(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(BLOCK) {
        if block[257..].starts_with(b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

#[test]
fn damaged_layers_end_in_an_answer() {
    let mut random = Random::new("damaged_layers_end_in_an_answer");
    let count = std::env::var("MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    let seeds = seeds(&mut random);
    let (mut whole, mut refused) = (0u64, 0u64);
    for _ in 0..count {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let (root, secret) = (dir.path().join("root"), dir.path().join("secret"));
        fs::create_dir(&root).unwrap();
        fs::write(&secret, "untouched").unwrap();
        let unpacker = Unpacker::new(Root::open(&root).unwrap(), LIMITS);
        for index in 0..2 {
            let mut tar = random.pick(&seeds).clone();
            mutate(&mut random, &mut tar, &seeds);
            repair(&mut tar);
            let way = usize::try_from(random.below(3)).unwrap();
            let blob = Blob::pack(way, &tar);
            let layer = proto::Layer {
                index,
                media_type: blob.media_type.to_owned(),
                digest: blob.digest,
                diff_id: blob.diff_id,
                size: blob.size,
            };
            match unpacker.apply(&layer, &mut &blob.bytes[..]) {
                Ok(_) => whole += 1,
                Err(error) => {
                    refused += 1;
                    // An errno without a meaning would be a case that is not thought of.
                    let error = proto::Error::from(error);
                    assert_ne!(error.code, proto::Code::Internal, "{error:?}");
                    break;
                }
            }
        }
        assert_eq!(fs::read(&secret).unwrap(), b"untouched");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "something is beside the root");
    }
    println!("{whole} layers unpacked, {refused} refused");
    assert!(whole > 0 && refused > 0, "they are all alike: {whole} whole, {refused} refused");
}
