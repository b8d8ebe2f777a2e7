//! Ids that nobody can guess and that sort into no order.

use rand::Rng as _;

/// 26 characters of 5 bits: 130 bits, as many as a UUID has and more.
const RANDOM_CHARS: usize = 26;

/// Lower-case base32 of RFC 4648: no case to lose, no character to escape.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `sess_…`.
pub(crate) fn session() -> String {
    prefixed("sess_")
}

/// `cmd_…`.
pub(crate) fn command() -> String {
    prefixed("cmd_")
}

/// Some 130 bits that nobody guesses, in letters and digits.
pub(crate) fn prefixed(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + RANDOM_CHARS);
    id.push_str(prefix);
    let mut random = [0u8; RANDOM_CHARS];
    rand::rng().fill_bytes(&mut random);
    id.push_str(&letters(&random));
    id
}

/// A character for each byte, of five of its bits.
pub(crate) fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form_and_differ() {
        let (a, b) = (command(), command());
        assert_ne!(a, b);
        assert!(a.starts_with("cmd_"));
        assert_eq!(a.len(), 30);
        assert!(a.len() <= postern_proto::limits::MAX_ID);
        assert!(session()[5..].bytes().all(|c| ALPHABET.contains(&c)));
    }
}
