//! The keys that leave a command running, written as docker writes them.

use std::str::FromStr;

/// What is pressed to detach if nobody says otherwise: it is no shell's, no
/// editor's and, other than docker's ctrl-p, no history's.
pub(crate) const DEFAULT: &str = "ctrl-]";

/// A sequence of keys; none at all means that there is no way to detach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// No key detaches.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    /// `ctrl-p,ctrl-q`, `ctrl-]`, `a`; nothing for none.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::none());
        }
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

fn key(text: &str) -> Result<u8, String> {
    let wrong =
        || format!("`{text}` is no key: give a letter, or ctrl- and one of a-z @ [ \\ ] ^ _");
    let (name, control) = match text.split_at_checked(5) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("ctrl-") => (rest, true),
        _ => (text, false),
    };
    let [byte] = name.as_bytes() else { return Err(wrong()) };
    match (control, byte.to_ascii_lowercase()) {
        (false, _) if byte.is_ascii_graphic() => Ok(*byte),
        // As ASCII has it: the key without its upper three bits.
        (true, b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_') => Ok(byte & 0x1f),
        _ => Err(wrong()),
    }
}

/// Looks for the keys in what is typed, however the reads cut it.
#[derive(Debug)]
pub(crate) struct Matcher {
    keys: Vec<u8>,
    /// So many of the keys have been seen and are held back.
    seen: usize,
}

/// What became of typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// For the command.
    pub(crate) forward: Vec<u8>,
    /// The keys were there; what came after them is dropped.
    pub(crate) detach: bool,
}

impl Matcher {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys: keys.0, seen: 0 }
    }

    /// The beginning of a match is held back until the next byte decides.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Typed {
        if self.keys.is_empty() {
            return Typed { forward: bytes.to_vec(), detach: false };
        }
        let mut forward = Vec::with_capacity(bytes.len() + self.seen);
        for byte in bytes {
            self.step(*byte, &mut forward);
            if self.seen == self.keys.len() {
                self.seen = 0;
                return Typed { forward, detach: true };
            }
        }
        Typed { forward, detach: false }
    }

    /// What is held is always a beginning of the keys. When the next byte does not
    /// go on with it, the longest end of it that is a shorter beginning stays.
    fn step(&mut self, byte: u8, forward: &mut Vec<u8>) {
        while self.keys[self.seen] != byte {
            if self.seen == 0 {
                forward.push(byte);
                return;
            }
            let kept = (0..self.seen)
                .rev()
                .find(|kept| self.keys[self.seen - kept..self.seen] == self.keys[..*kept])
                .unwrap_or(0);
            forward.extend_from_slice(&self.keys[..self.seen - kept]);
            self.seen = kept;
        }
        self.seen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> DetachKeys {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        assert_eq!(keys("ctrl-p,ctrl-q"), DetachKeys(vec![16, 17]));
        assert_eq!(keys(DEFAULT), DetachKeys(vec![0x1d]));
        assert_eq!(keys("Ctrl-A,x"), DetachKeys(vec![1, b'x']));
        assert_eq!(
            keys("ctrl-@,ctrl-[,ctrl-\\,ctrl-^,ctrl-_"),
            DetachKeys(vec![0, 27, 28, 30, 31])
        );
        assert_eq!(keys("~,."), DetachKeys(b"~.".to_vec()));
        assert_eq!(keys(""), DetachKeys::none());
        for wrong in ["ctrl-", "ctrl-1", "ctrl-ab", "ab", "ctrl-p,", ",", "é", "ctrl-é", "meta-x"]
        {
            assert!(wrong.parse::<DetachKeys>().is_err(), "{wrong}");
        }
    }

    /// Every cut of the input into two reads, and byte by byte.
    fn every_way(keys_text: &str, input: &[u8], forward: &[u8], detach: bool) {
        let mut ways: Vec<Vec<&[u8]>> =
            (0..=input.len()).map(|cut| vec![&input[..cut], &input[cut..]]).collect();
        ways.push(input.chunks(1).collect());
        for way in ways {
            let mut matcher = Matcher::new(keys(keys_text));
            let mut all = Vec::new();
            let mut detached = false;
            for read in &way {
                let typed = matcher.feed(read);
                all.extend(typed.forward);
                detached |= typed.detach;
                if detached {
                    break;
                }
            }
            assert_eq!((all.as_slice(), detached), (forward, detach), "{keys_text} {way:?}");
        }
    }

    #[test]
    fn keys_are_found_however_the_reads_cut_them() {
        every_way("ctrl-]", b"ls\r\x1drest", b"ls\r", true);
        every_way("ctrl-p,ctrl-q", b"ab\x10\x11c", b"ab", true);
        every_way("ctrl-p,ctrl-q", b"a\x10b", b"a\x10b", false);
        every_way("ctrl-p,ctrl-q", b"\x10\x10\x11", b"\x10", true);
        every_way("a,a,b", b"aaab", b"a", true);
        every_way("a,b,a,b,c", b"xababababc", b"xabab", true);
        every_way("", b"\x1d\x10\x11", b"\x1d\x10\x11", false);
    }

    #[test]
    fn a_beginning_is_held_until_the_next_byte_decides() {
        let mut matcher = Matcher::new(keys("ctrl-p,ctrl-q"));
        assert_eq!(matcher.feed(b"\x10").forward, b"");
        assert_eq!(matcher.feed(b"z").forward, b"\x10z");
    }
}
