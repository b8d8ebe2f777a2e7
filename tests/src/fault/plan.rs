//! What goes wrong, and after how many bytes: drawn from a seed.

use std::time::Duration;

use crate::random::Random;

/// How bad it is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Bytes from the host to the agent between two faults of a connection, on
    /// the average; 0 for no faults.
    pub up: u64,
    /// Likewise from the agent to the host.
    pub down: u64,
    /// One connection in so many begins a time in which none is taken; 0 for never.
    pub refuse_one_in: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self { up: 0, down: 0, refuse_one_in: 0 };
}

/// What happens to one direction of a connection at some byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The next bytes, so many, are written in pieces of this size.
    Split {
        /// How many.
        bytes: u64,
        /// At the most in one write.
        piece: usize,
    },
    /// Nothing goes this way for a while; the other way everything does.
    Stall(Duration),
    /// Likewise, and then the connection is over.
    HalfOpen(Duration),
    /// The connection is over.
    Cut(Close),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// What was sent arrives, then the end of file.
    Clean,
    /// With bytes unread, which a Unix socket tells as a reset (ECONNRESET).
    Reset,
    /// The end overtakes what is on its way on every other connection: those
    /// stand still for so long.
    Ahead(Duration),
}

/// At a byte of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// After this many bytes have gone through.
    pub at: u64,
    /// What happens then.
    pub act: Act,
}

/// How a dial fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is taken, and the end of file follows at once.
    HangUp,
    /// There is no socket.
    Gone,
}

/// One connection's fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// It is refused, and so is whoever comes within the time.
    pub refused: Option<(Refusal, Duration)>,
    /// From the host to the agent.
    pub up: Vec<Fault>,
    /// From the agent to the host.
    pub down: Vec<Fault>,
    /// An end that one side makes reaches the other so much later.
    pub late_end: Duration,
}

/// More than a connection lives to see.
const MAX_FAULTS: usize = 64;

/// A first fault this early meets a `Hello`, an opening, a frame's header.
const EARLY: u64 = 300;

impl Plan {
    /// Of the connection with this number, which is always the same for a seed.
    pub fn draw(seed: u64, connection: u64, weather: Weather) -> Self {
        let mut random = Random::seeded(seed ^ connection.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let refused =
            (weather.refuse_one_in > 0 && random.below(weather.refuse_one_in) == 0).then(|| {
                let kind = *random.pick(&[Refusal::HangUp, Refusal::Gone]);
                (kind, milliseconds(&mut random, 250))
            });
        let up = faults(&mut random, weather.up);
        let down = faults(&mut random, weather.down);
        let late_end = match random.below(3) {
            0 => milliseconds(&mut random, 100),
            _ => Duration::ZERO,
        };
        Self { refused, up, down, late_end }
    }
}

fn milliseconds(random: &mut Random, most: u64) -> Duration {
    Duration::from_millis(random.below(most) + 1)
}

/// They end with the first that ends the connection.
fn faults(random: &mut Random, every: u64) -> Vec<Fault> {
    let mut list = Vec::new();
    let mut at = 0;
    while every > 0 && list.len() < MAX_FAULTS {
        let early = list.is_empty() && random.below(4) == 0;
        at += if early { random.below(EARLY) } else { random.below(2 * every) + 1 };
        let act = act(random);
        list.push(Fault { at, act });
        if matches!(act, Act::Cut(_) | Act::HalfOpen(_)) {
            break;
        }
    }
    list
}

fn act(random: &mut Random) -> Act {
    match random.below(16) {
        0..=4 => Act::Split {
            bytes: random.below(4096) + 1,
            piece: *random.pick(&[1, 2, 3, 7, 23, 24, 25, 1000]),
        },
        5..=9 => Act::Stall(milliseconds(random, 20)),
        10 => Act::Stall(milliseconds(random, 600)),
        11 => Act::HalfOpen(milliseconds(random, 400)),
        12 | 13 => Act::Cut(Close::Clean),
        14 => Act::Cut(Close::Reset),
        _ => Act::Cut(Close::Ahead(milliseconds(random, 50))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUGH: Weather = Weather { up: 1000, down: 100_000, refuse_one_in: 10 };

    #[test]
    fn a_seed_gives_the_same_again_and_another_seed_does_not() {
        let plans = |seed| (0..50).map(|n| Plan::draw(seed, n, ROUGH)).collect::<Vec<_>>();
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
    }

    #[test]
    fn every_kind_of_fault_is_drawn_in_its_order() {
        let plans: Vec<_> = (0..400).map(|n| Plan::draw(1, n, ROUGH)).collect();
        let faults: Vec<_> = plans.iter().flat_map(|plan| &plan.down).collect();
        let has = |wanted: fn(&Act) -> bool| faults.iter().any(|fault| wanted(&fault.act));
        assert!(has(|act| matches!(act, Act::Split { .. })));
        assert!(has(|act| matches!(act, Act::Stall(_))));
        assert!(has(|act| matches!(act, Act::HalfOpen(_))));
        assert!(has(|act| matches!(act, Act::Cut(Close::Clean))));
        assert!(has(|act| matches!(act, Act::Cut(Close::Reset))));
        assert!(has(|act| matches!(act, Act::Cut(Close::Ahead(_)))));
        assert!(plans.iter().any(|plan| plan.refused.is_some_and(|r| r.0 == Refusal::Gone)));
        assert!(plans.iter().all(|plan| plan.down.is_sorted_by_key(|fault| fault.at)));
        assert!(faults.iter().any(|fault| fault.at < EARLY));
    }

    #[test]
    fn calm_is_calm() {
        for n in 0..100 {
            let plan = Plan::draw(3, n, Weather::CALM);
            assert_eq!(plan.refused, None);
            assert!(plan.up.is_empty() && plan.down.is_empty());
        }
    }
}
