//! The table.

use std::fmt;

use serde_json::{Value, json};

use crate::rig::Rig;

/// A figure with its unit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    Seconds(f64),
    BytesPerSecond(f64),
    Bytes(f64),
}

impl Figure {
    fn number(self) -> f64 {
        match self {
            Self::Seconds(n) | Self::BytesPerSecond(n) | Self::Bytes(n) => n,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Seconds(_) => "s",
            Self::BytesPerSecond(_) => "bytes/s",
            Self::Bytes(_) => "bytes",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Seconds(s) if s < 0.001 => write!(f, "{:.1} us", s * 1e6),
            Self::Seconds(s) if s < 1.0 => write!(f, "{:.3} ms", s * 1e3),
            Self::Seconds(s) => write!(f, "{s:.2} s"),
            Self::BytesPerSecond(r) => write!(f, "{:.2} GB/s", r / 1e9),
            Self::Bytes(b) => write!(f, "{:.2} MB", b / 1e6),
        }
    }
}

/// What is promised (DESIGN.md, section 9).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// ours / floor.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// Ours alone.
    AtMost(Figure),
    AtLeast(Figure),
    /// Only to be known.
    None,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(r) => write!(f, "<= {r:.2} x"),
            Self::RatioAtLeast(r) => write!(f, ">= {r:.2} x"),
            Self::AtMost(figure) => write!(f, "<= {figure}"),
            Self::AtLeast(figure) => write!(f, ">= {figure}"),
            Self::None => f.write_str("-"),
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    floor: Option<(String, Figure)>,
    ours: Figure,
    /// Of the medians, unless the rounds were compared one by one.
    paired: Option<f64>,
    target: Target,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, ours: Figure, target: Target) -> Self {
        Self { what: what.into(), floor: None, ours, paired: None, target }
    }

    pub(crate) fn beside(mut self, what: impl Into<String>, floor: Figure) -> Self {
        self.floor = Some((what.into(), floor));
        self
    }

    /// The median of the ratios of the rounds.
    pub(crate) fn paired(mut self, ratio: f64) -> Self {
        self.paired = Some(ratio);
        self
    }

    fn ratio(&self) -> Option<f64> {
        let of_medians = || Some(self.ours.number() / self.floor.as_ref()?.1.number());
        self.paired.or_else(of_medians)
    }

    fn met(&self) -> Option<bool> {
        match self.target {
            Target::RatioAtMost(limit) => self.ratio().map(|ratio| ratio <= limit),
            Target::RatioAtLeast(limit) => self.ratio().map(|ratio| ratio >= limit),
            Target::AtMost(limit) => Some(self.ours.number() <= limit.number()),
            Target::AtLeast(limit) => Some(self.ours.number() >= limit.number()),
            Target::None => None,
        }
    }

    fn cells(&self) -> [String; 7] {
        let (floor_is, floor) = match &self.floor {
            Some((what, figure)) => (what.clone(), figure.to_string()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        [
            self.what.clone(),
            floor_is,
            floor,
            self.ours.to_string(),
            self.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            self.target.to_string(),
            match self.met() {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            }
            .to_owned(),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "floor": self.floor.as_ref().map(|(what, figure)| json!({"what": what, "value": figure.number()})),
            "ours": self.ours.number(),
            "unit": self.ours.unit(),
            "ratio": self.ratio(),
            "target": self.target.to_string(),
            "met": self.met(),
        })
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Vec<(&'static str, String)>,
    rows: Vec<Row>,
    skipped: Vec<(String, String)>,
}

const HEAD: [&str; 7] = ["what", "floor", "floor", "ours", "ratio", "target", ""];

/// Columns of words; the others are numbers and stand to the right.
const WORDS: [usize; 3] = [0, 1, 6];

impl Report {
    pub(crate) fn new(rig: &Rig) -> Self {
        Self { machine: crate::rig::machine::describe(rig), rows: Vec::new(), skipped: Vec::new() }
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn skip(&mut self, name: &str, why: &std::io::Error) {
        self.skipped.push((name.to_owned(), why.to_string()));
    }

    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            let machine: serde_json::Map<String, Value> =
                self.machine.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
            let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
            println!("{:#}", json!({"machine": machine, "rows": rows, "skipped": self.skipped}));
            return;
        }
        for (name, value) in &self.machine {
            println!("{name:<8} {value}");
        }
        println!();
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width =
            |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        for line in &lines {
            println!("{}", aligned(line, &widths).trim_end());
        }
        let missed = self.rows.iter().filter(|row| row.met() == Some(false)).count();
        let met = self.rows.iter().filter(|row| row.met() == Some(true)).count();
        println!("\n{met} met, {missed} missed, {} not measured", self.skipped.len());
        for (name, why) in &self.skipped {
            println!("not measured: {name}: {why}");
        }
    }
}

fn aligned(line: &[String; 7], widths: &[usize; 7]) -> String {
    let cell = |(column, text): (usize, &String)| {
        let width = widths[column];
        if WORDS.contains(&column) { format!("{text:<width$}") } else { format!("{text:>width$}") }
    };
    line.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ")
}
