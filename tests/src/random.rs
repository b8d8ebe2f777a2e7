//! Random choices that can be repeated: the seed is printed, and
//! `TEST_SEED` sets it.

/// xorshift64*: enough for choices, and no crate.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From `TEST_SEED`, else from the clock; prints which.
    pub fn new(what: &str) -> Self {
        let given = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| u64::from(now.subsec_nanos()) << 20 ^ now.as_secs())
        });
        println!("{what}: TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// From a number, whichever; neighbours give nothing alike.
    pub fn seeded(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.number();
        }
        random
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap();
        &from[at]
    }

    /// So many bytes.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            out.extend_from_slice(&self.number().to_le_bytes());
        }
        out.truncate(n);
        out
    }
}
