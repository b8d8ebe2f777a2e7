//! JSON strings written straight into a buffer, in runs of what needs no escape.

use bytes::{BufMut, BytesMut};

const HEX: &[u8; 16] = b"0123456789abcdef";
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Appends `text` as the inside of a JSON string, without the quotes.
pub(crate) fn escape_into(text: &str, out: &mut BytesMut) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (run, tail) = rest.split_at(plain_run(rest));
        out.extend_from_slice(run);
        let Some((&special, after)) = tail.split_first() else { break };
        escape_byte(special, out);
        rest = after;
    }
}

fn escape_byte(byte: u8, out: &mut BytesMut) {
    match byte {
        b'"' => out.put_slice(b"\\\""),
        b'\\' => out.put_slice(b"\\\\"),
        b'\n' => out.put_slice(b"\\n"),
        b'\r' => out.put_slice(b"\\r"),
        b'\t' => out.put_slice(b"\\t"),
        control => {
            out.put_slice(b"\\u00");
            out.put_u8(HEX[usize::from(control >> 4)]);
            out.put_u8(HEX[usize::from(control & 15)]);
        }
    }
}

/// How many bytes from the start need no escape; eight at a time.
fn plain_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        if has_special(u64::from_le_bytes(*word)) {
            break;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|&&b| b >= 0x20 && b != b'"' && b != b'\\').count()
}

/// Whether one of the eight bytes is below 0x20, a quote or a backslash. Bytes
/// with the high bit set (the inside of UTF-8 sequences) never are.
fn has_special(word: u64) -> bool {
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHS;
    let equals = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | equals(word, b'"') | equals(word, b'\\')) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = BytesMut::new();
        escape_into(text, &mut out);
        format!("\"{}\"", std::str::from_utf8(&out).unwrap())
    }

    #[test]
    fn every_control_character() {
        let text: String = (0..=0x7f_u8).map(char::from).collect();
        assert_eq!(serde_json::from_str::<String>(&escaped(&text)).unwrap(), text);
        assert!(!escaped(&text).contains(['\n', '\r']));
    }

    proptest! {
        #[test]
        fn a_json_parser_reads_it_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&escaped(&text)).unwrap(), text);
        }

        #[test]
        fn also_where_specials_are_rare(text in "[a-zé\"\\\\\n ]{0,200}") {
            prop_assert_eq!(serde_json::from_str::<String>(&escaped(&text)).unwrap(), text);
        }
    }
}
