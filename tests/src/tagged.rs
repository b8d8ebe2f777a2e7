//! A command whose every byte is known: numbered records on stdout and stderr,
//! and what it read from stdin between them.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::random::Random;

/// Busybox's awk does it all in one process, so that each of its streams has one
/// order. It exits with 7, with another status if stdin was not what it must be.
const PROGRAM: &str = r#"BEGIN {
    f = ENVIRON["FILLER"]
    for (i = 0; i < ENVIRON["ROUNDS"]; i++) {
        printf "o€%08d %s\n", i, substr(f, 1, (i * 7919) % 1500)
        printf "e€%08d %s\n", i, substr(f, 1, (i * 104729) % 1500) > "/dev/stderr"
        if ((getline line) < 1) exit 3
        print "i" line
    }
    if ((getline line) > 0) exit 4
    exit 7
}"#;

/// The longest rest of a record.
const FILLER: usize = 1500;

/// What the rests of two records have on the average, and what is before them.
const ROUND: u64 = 1500 + 2 * 13;

/// So much output.
#[derive(Debug)]
pub struct Tagged {
    rounds: u64,
    filler: String,
}

impl Tagged {
    /// About `bytes` of records, and a quarter of that on stdin.
    pub fn new(bytes: u64) -> Self {
        let letters = Random::seeded(7).bytes(FILLER);
        let filler = letters.iter().map(|b| char::from(b'a' + b % 26)).collect();
        Self { rounds: bytes / ROUND, filler }
    }

    /// The request that starts it, in the background, without a key.
    pub fn request(&self) -> Value {
        json!({
            "argv": ["awk", PROGRAM],
            "env": {"FILLER": self.filler, "ROUNDS": self.rounds.to_string()},
            "background": true, "stdin_open": true, "lossless": true,
        })
    }

    /// All that is to be written to it.
    pub fn stdin(&self) -> Vec<u8> {
        let line = |i| format!("n{i:08} {}\n", self.rest(i, 31, 740));
        (0..self.rounds).map(line).collect::<String>().into_bytes()
    }

    /// All that it says on stdout.
    pub fn stdout(&self) -> Vec<u8> {
        let mut all = String::new();
        for i in 0..self.rounds {
            let _ = writeln!(all, "o€{i:08} {}", self.rest(i, 7919, 1500));
            let _ = writeln!(all, "in{i:08} {}", self.rest(i, 31, 740));
        }
        all.into_bytes()
    }

    /// All that it says on stderr.
    pub fn stderr(&self) -> Vec<u8> {
        let line = |i| format!("e€{i:08} {}\n", self.rest(i, 104_729, 1500));
        (0..self.rounds).map(line).collect::<String>().into_bytes()
    }

    fn rest(&self, i: u64, step: u64, most: u64) -> &str {
        &self.filler[..usize::try_from(i * step % most).unwrap()]
    }
}
