//! Signal names, of Linux on every architecture that Postern runs on: as people
//! and clients write them, and as images do in their StopSignal.

/// The highest signal number of Linux (SIGRTMAX).
const MAX_SIGNAL: u32 = 64;

/// The first real-time signal that programs have: the C libraries of Linux keep
/// two for themselves.
const RT_MIN: u32 = 34;

/// SIGTERM: what kill(1) and docker stop send where nobody says.
pub(crate) const TERM: u32 = 15;

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
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number);
    alias.or_else(|| real_time(name))
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-1`: systemd's own images stop by the second.
fn real_time(name: &str) -> Option<u32> {
    let steps = |text: &str, sign| match text.strip_prefix(sign) {
        None if text.is_empty() => Some(0),
        Some(steps) if steps.bytes().all(|b| b.is_ascii_digit()) => steps.parse::<u32>().ok(),
        _ => None,
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(more), _) => RT_MIN.checked_add(steps(more, '+')?),
        (_, Some(less)) => MAX_SIGNAL.checked_sub(steps(less, '-')?),
        _ => None,
    };
    number.filter(|number| (RT_MIN..=MAX_SIGNAL).contains(number))
}

/// A number that is a signal's. 0 is none: it only asks whether one could be sent.
pub(crate) fn by_number(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| (1..=MAX_SIGNAL).contains(number))
}

/// `SIGTERM` and the like; `SIGRTMIN+3`.
pub fn name(signal: u32) -> String {
    let known = usize::try_from(signal).ok().and_then(|n| NAMES.get(n.checked_sub(1)?));
    match known {
        Some(name) => format!("SIG{name}"),
        None if signal == RT_MIN => "SIGRTMIN".to_owned(),
        None if signal > RT_MIN => format!("SIGRTMIN+{}", signal - RT_MIN),
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
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("sigrtmax-14", 50),
            ("RTMAX", 64),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in [
            "",
            "SIG",
            "NOPE",
            "0",
            "65",
            "-9",
            "9.0",
            "SIGSIGTERM",
            "TERM\0",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN-1",
            "RTMIN+",
            "RTMAX+1",
            "RTMIN+4294967295",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(name(9), "SIGKILL");
        assert_eq!((name(33), name(40)), ("SIG33".to_owned(), "SIGRTMIN+6".to_owned()));
        assert!((1..=31).chain(34..=64).all(|n| parse(&name(n)) == Some(n)));
    }
}
