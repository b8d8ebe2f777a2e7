//! What a program asks the terminal, taken out of output that is shown again: the
//! answer would come as if it were typed, long after the program has gone on, or
//! into our own shell where nobody reads for the program.
//!
//! Control sequences are those of ECMA-48 and of xterm (ctlseqs). Reports with 8-bit
//! introducers are not looked for: in UTF-8 those bytes are parts of characters.

/// A sequence longer than this asks for nothing that we know: pictures are as long.
const MAX_SEQUENCE: usize = 4096;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// "Who are you?", which some terminals answer.
const ENQ: u8 = 0x05;

/// Takes questions out, however the output is cut.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// The beginning of a sequence, from its ESC on.
    held: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Sequence {
    Unfinished,
    Other,
    Question,
}

impl Questions {
    /// `bytes` without questions; what may be the beginning of one is held back.
    pub(crate) fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut rest = bytes;
        let mut shown = Vec::with_capacity(bytes.len());
        while let Some((byte, next)) = rest.split_first() {
            if self.held.is_empty() {
                // Nearly all bytes are text: they go at once.
                let text = rest.iter().position(|b| matches!(*b, ESC | ENQ)).unwrap_or(rest.len());
                shown.extend_from_slice(&rest[..text]);
                rest = &rest[text..];
                if let Some((first, next)) = rest.split_first() {
                    self.held.extend(Some(*first).filter(|b| *b == ESC));
                    rest = next;
                }
                continue;
            }
            rest = next;
            self.held.push(*byte);
            if let Some(next_one) = broken_off(&self.held) {
                let next_one = self.held.split_off(next_one);
                shown.append(&mut self.held);
                self.held = next_one;
            }
            match look(&self.held) {
                Sequence::Unfinished if self.held.len() < MAX_SEQUENCE => {}
                Sequence::Unfinished | Sequence::Other => shown.append(&mut self.held),
                Sequence::Question => self.held.clear(),
            }
        }
        shown
    }

    /// What was held back, when no more is to be taken out.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Where another sequence begins before this one has ended: at an ESC, which in a
/// string may also be the beginning of its end.
fn broken_off(held: &[u8]) -> Option<usize> {
    match held {
        [ESC, b']' | b'P' | b'_', .., ESC, last] => (*last != b'\\').then_some(held.len() - 2),
        [ESC, b']' | b'P' | b'_', ..] => None,
        [_, .., ESC] => Some(held.len() - 1),
        _ => None,
    }
}

/// What begins with ESC.
fn look(sequence: &[u8]) -> Sequence {
    match sequence {
        [ESC] => Sequence::Unfinished,
        [ESC, b'[', inner @ ..] => control(inner),
        [ESC, b']', inner @ ..] => string(inner, |text| {
            // A colour, the clipboard: "?" in the place of the value.
            text.split(|b| *b == b';').skip(1).any(|field| field == b"?")
        }),
        // DECRQSS, XTGETTCAP.
        [ESC, b'P', inner @ ..] => {
            string(inner, |text| text.starts_with(b"$q") || text.starts_with(b"+q"))
        }
        // The kitty graphics protocol.
        [ESC, b'_', inner @ ..] => string(inner, |text| {
            let keys = text.strip_prefix(b"G").and_then(|t| t.split(|b| *b == b';').next());
            keys.is_some_and(|keys| keys.split(|b| *b == b',').any(|key| key == b"a=q"))
        }),
        // DECID.
        [ESC, b'Z'] => Sequence::Question,
        _ => Sequence::Other,
    }
}

/// A control sequence: parameters, intermediates, and one final byte.
fn control(inner: &[u8]) -> Sequence {
    let Some((last, before)) = inner.split_last() else { return Sequence::Unfinished };
    match last {
        0x20..=0x3f => Sequence::Unfinished,
        0x40..=0x7e if asks(before, *last) => Sequence::Question,
        _ => Sequence::Other,
    }
}

fn asks(before: &[u8], end: u8) -> bool {
    let prefix = before.first().copied().filter(|b| (b'<'..=b'?').contains(b));
    let number = || -> Option<u16> {
        let digits = before.split(|b| *b == b';').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    match (prefix, end) {
        // Device attributes, but what is no request has a "?".
        (None | Some(b'>' | b'='), b'c') => true,
        // Status and the cursor's place; with ">" it switches keys.
        (None | Some(b'?'), b'n') => true,
        // The kitty keyboard's flags.
        (Some(b'?'), b'u') => true,
        // XTVERSION.
        (Some(b'>'), b'q') => true,
        // DECRQM, with "?" or without.
        (_, b'p') => before.ends_with(b"$"),
        // DECRQCRA.
        (_, b'y') => before.ends_with(b"*"),
        // Graphics attributes; with "1" first it reads.
        (Some(b'?'), b'S') => true,
        // DECREQTPARM.
        (None, b'x') => !before.ends_with(b"*") && !before.ends_with(b"$"),
        // The window's state, place, sizes and titles.
        (None, b't') => number().is_some_and(|n| matches!(n, 11 | 13..=16 | 18..=21)),
        _ => false,
    }
}

/// A string up to BEL or ST (ESC \).
fn string(inner: &[u8], asks: impl Fn(&[u8]) -> bool) -> Sequence {
    let text = match inner {
        [text @ .., BEL] | [text @ .., ESC, b'\\'] => text,
        _ => return Sequence::Unfinished,
    };
    if asks(text) { Sequence::Question } else { Sequence::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(bytes: &[u8]) -> Vec<u8> {
        let mut questions = Questions::default();
        let mut shown = questions.strip(bytes);
        shown.append(&mut questions.rest());
        shown
    }

    const QUESTIONS: [&str; 25] = [
        "\x05",
        "\x1bZ",
        "\x1b[c",
        "\x1b[0c",
        "\x1b[>c",
        "\x1b[=0c",
        "\x1b[5n",
        "\x1b[6n",
        "\x1b[?6n",
        "\x1b[?996n",
        "\x1b[?u",
        "\x1b[>0q",
        "\x1b[?2026$p",
        "\x1b[4$p",
        "\x1b[1;0;1;1;2;2*y",
        "\x1b[?1;1;0S",
        "\x1b[x",
        "\x1b[14t",
        "\x1b[18t",
        "\x1b[21t",
        "\x1b]11;?\x07",
        "\x1b]4;1;?\x1b\\",
        "\x1b]52;c;?\x07",
        "\x1bP$qm\x1b\\",
        "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\",
    ];

    const OTHERS: [&str; 17] = [
        "plain text, \u{0105}\u{9b}\u{1f600}",
        "\x1b[1;31mred\x1b[0m",
        "\x1b[?1049h\x1b[?25l",
        "\x1b[>4;2m\x1b[>4n",
        "\x1b[2 q",
        "\x1b[?62;c",
        "\x1b[!p",
        "\x1b[8;24;80t\x1b[22;0t",
        "\x1b[u\x1b[>1u\x1b[<u",
        "\x1b[3S",
        "\x1b(B\x1b)0\x1b7\x1b8\x1b=",
        "\x1b]0;what is this?\x07",
        "\x1b]8;;http://host/?a;b\x1b\\link\x1b]8;;\x1b\\",
        "\x1bP0;1;0q\"1;1;2;2#0~\x1b\\",
        "\x1b_Ga=T,f=100;a=q\x1b\\",
        "\x1b[1\x1b[2J\x1b\x1b[K",
        "an end\x1b",
    ];

    #[test]
    fn questions_are_taken_out_and_nothing_else() {
        for question in QUESTIONS {
            assert_eq!(stripped(question.as_bytes()), b"", "{question:?}");
        }
        for other in OTHERS {
            assert_eq!(stripped(other.as_bytes()), other.as_bytes(), "{other:?}");
        }
    }

    #[test]
    fn cuts_do_not_matter() {
        let others = || OTHERS.iter().cycle().take(QUESTIONS.len());
        let all: String = QUESTIONS.iter().zip(others()).flat_map(|(q, o)| [*q, *o]).collect();
        let expected: String = others().copied().collect();
        for cut in 0..=all.len() {
            let mut questions = Questions::default();
            let mut shown = questions.strip(&all.as_bytes()[..cut]);
            shown.append(&mut questions.strip(&all.as_bytes()[cut..]));
            shown.append(&mut questions.rest());
            assert_eq!(String::from_utf8_lossy(&shown), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_string_without_an_end_is_shown() {
        let text = [b"\x1b]0;".as_slice(), &[b'a'; 3 * MAX_SEQUENCE]].concat();
        assert_eq!(stripped(&[&text, b"\x1b[6n".as_slice()].concat()), text);
        assert_eq!(stripped(b"\x1b]0;ab\x1b[6nc\x1b[5\x1b[6nd"), b"\x1b]0;abc\x1b[5d");
    }
}
