//! Signal names, of Linux on every architecture that Postern runs on.

/// The highest signal number of Linux (SIGRTMAX).
const MAX_SIGNAL: u32 = 64;

/// In the order of their numbers, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of the same signals (signal(7)).
const ALIASES: [(&str, u32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

/// By name, with or without `SIG`, in any case, or by number.
pub fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return by_number(u64::from(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let at = NAMES.iter().position(|known| *known == name);
    if let Some(number) = at.and_then(|at| u32::try_from(at + 1).ok()) {
        return Some(number);
    }
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number)
}

/// A number that is a signal's. 0 is none: it only asks whether one could be sent.
pub(crate) fn by_number(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| (1..=MAX_SIGNAL).contains(number))
}

/// `SIGTERM` and the like; real-time signals by their number.
pub fn name(signal: u32) -> String {
    let known = usize::try_from(signal).ok().and_then(|n| NAMES.get(n.checked_sub(1)?));
    match known {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sigint", 2),
            ("hup", 1),
            ("64", 64),
            ("POLL", 29),
            ("SYS", 31),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in ["", "SIG", "NOPE", "0", "65", "-9", "9.0", "SIGSIGTERM", "TERM\0"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(40), "SIG40");
        assert!((1..=31).all(|n| parse(&name(n)) == Some(n)));
    }
}
