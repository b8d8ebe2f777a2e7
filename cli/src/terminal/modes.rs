//! What a program has switched on in the terminal, so that it can be switched
//! off when we leave the program behind: in an editor's alternate screen, with
//! the mouse captured, a shell prompt is of little use.

/// DEC private modes that a left terminal must not keep; all are off at first.
const WATCHED: [u16; 15] =
    [1, 9, 47, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1047, 1048, 1049, 2004];

/// The cursor is visible: the one mode that is on at first.
const CURSOR: u16 = 25;

/// A sequence longer than this is none that we know.
const MAX_PARAMETERS: usize = 64;

/// Follows a program's output.
#[derive(Debug, Default)]
pub(crate) struct Modes {
    on: Vec<u16>,
    cursor_hidden: bool,
    keypad: bool,
    other_keys: bool,
    parse: Parse,
}

#[derive(Debug, Default)]
enum Parse {
    #[default]
    Text,
    Escape,
    Sequence(Vec<u8>),
}

impl Modes {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, next)) = rest.split_first() {
            rest = next;
            self.parse = match std::mem::take(&mut self.parse) {
                Parse::Text if *byte == 0x1b => Parse::Escape,
                Parse::Text => {
                    // Nearly all bytes are text: skip to the next escape at once.
                    let skip = rest.iter().position(|b| *b == 0x1b).unwrap_or(rest.len());
                    rest = &rest[skip..];
                    Parse::Text
                }
                Parse::Escape => self.escape(*byte),
                Parse::Sequence(parameters) => self.sequence(parameters, *byte),
            };
        }
    }

    fn escape(&mut self, byte: u8) -> Parse {
        match byte {
            b'[' => return Parse::Sequence(Vec::new()),
            0x1b => return Parse::Escape,
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            // A full reset.
            b'c' => *self = Self::default(),
            _ => {}
        }
        Parse::Text
    }

    fn sequence(&mut self, mut parameters: Vec<u8>, byte: u8) -> Parse {
        match byte {
            0x1b => Parse::Escape,
            0x20..=0x3f if parameters.len() < MAX_PARAMETERS => {
                parameters.push(byte);
                Parse::Sequence(parameters)
            }
            0x40..=0x7e => {
                self.done(&parameters, byte);
                Parse::Text
            }
            _ => Parse::Text,
        }
    }

    fn done(&mut self, parameters: &[u8], end: u8) {
        let numbers = |text: &[u8]| -> Vec<u16> {
            let text = String::from_utf8_lossy(text);
            text.split(';').map(|number| number.parse().unwrap_or(0)).collect()
        };
        match (parameters.split_first(), end) {
            (Some((b'?', list)), b'h' | b'l') => {
                for mode in numbers(list) {
                    self.set(mode, end == b'h');
                }
            }
            // xterm's modifyOtherKeys.
            (Some((b'>', list)), b'm') => {
                let list = numbers(list);
                if list.first() == Some(&4) {
                    self.other_keys = list.get(1).is_some_and(|level| *level != 0);
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, mode: u16, on: bool) {
        if mode == CURSOR {
            self.cursor_hidden = !on;
        } else if WATCHED.contains(&mode) {
            self.on.retain(|known| *known != mode);
            if on {
                self.on.push(mode);
            }
        }
    }

    /// What switches off all that is on; empty when nothing is.
    pub(crate) fn undo(&self) -> String {
        let mut text = String::new();
        for mode in self.on.iter().rev() {
            text.push_str(&format!("\x1b[?{mode}l"));
        }
        if self.cursor_hidden {
            text.push_str("\x1b[?25h");
        }
        if self.keypad {
            text.push_str("\x1b>");
        }
        if self.other_keys {
            text.push_str("\x1b[>4m");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> String {
        let mut modes = Modes::default();
        modes.feed(bytes);
        modes.undo()
    }

    #[test]
    fn what_is_on_is_switched_off() {
        assert_eq!(after(b"plain \x1b[1mtext\x1b[0m"), "");
        assert_eq!(after(b"\x1b[?1049h\x1b[?25l"), "\x1b[?1049l\x1b[?25h");
        assert_eq!(after(b"\x1b[?1049h\x1b[?1049l"), "");
        assert_eq!(after(b"\x1b[?1000;1006;2004h"), "\x1b[?2004l\x1b[?1006l\x1b[?1000l");
        assert_eq!(after(b"\x1b=\x1b[>4;2m"), "\x1b>\x1b[>4m");
        assert_eq!(after(b"\x1b=\x1b[>4;2m\x1b[>4;m\x1b>"), "");
        assert_eq!(after(b"\x1b[?1049h\x1bc"), "");
    }

    #[test]
    fn cuts_do_not_matter() {
        let text = b"a\x1b[?1049hb\x1b[?25l\x1b[?2004h\x1b[?2004l\x1b\x1b[?1h";
        for cut in 0..text.len() {
            let mut modes = Modes::default();
            modes.feed(&text[..cut]);
            modes.feed(&text[cut..]);
            assert_eq!(modes.undo(), "\x1b[?1l\x1b[?1049l\x1b[?25h", "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_is_bounded_and_forgotten() {
        let mut long = b"\x1b[?".to_vec();
        long.resize(5000, b'1');
        long.push(b'h');
        assert_eq!(after(&long), "");
        assert_eq!(after(b"\x1b[?99999999h\x1b[?h\x1b[\xff\x00h"), "");
    }
}
