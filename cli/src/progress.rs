//! What takes long shows how far it is; on a terminal only, and on stderr.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::client::types::{Layer, Progress};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

const LAYER: &str = "  {msg} [{bar:30}] {bytes}/{total_bytes}";

const BYTES: &str = "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";

/// As much of a digest as tells layers apart.
const SHORT_DIGEST: usize = 12;

/// More bars than a screen has lines would scroll away.
const MAX_BARS: usize = 20;

/// A pull: a bar for each layer.
#[derive(Debug, Default)]
pub(crate) struct Pulling {
    all: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Pulling {
    pub(crate) fn show(&mut self, step: &Progress) {
        if self.bars.is_empty() {
            self.bars = step.layers.iter().take(MAX_BARS).map(|layer| self.bar(layer)).collect();
        }
        for (bar, layer) in self.bars.iter().zip(&step.layers) {
            bar.set_position(layer.have);
            if layer.have == layer.size && !bar.is_finished() {
                bar.finish();
            }
        }
    }

    fn bar(&self, layer: &Layer) -> ProgressBar {
        let bar = self.all.add(ProgressBar::new(layer.size).with_style(style(LAYER)));
        let name = layer.digest.trim_start_matches("sha256:");
        bar.set_message(name.chars().take(SHORT_DIGEST).collect::<String>());
        bar
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        for bar in &self.bars {
            bar.finish_and_clear();
        }
    }
}

/// The making of a session.
#[derive(Debug)]
pub(crate) struct Making {
    bar: ProgressBar,
    image: String,
    /// One screen for all bars: two that draw by themselves overwrite each other.
    all: MultiProgress,
    pulling: Option<Pulling>,
}

impl Making {
    pub(crate) fn new(image: Option<&str>) -> Self {
        // Hidden by indicatif itself where stderr is no terminal.
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new_spinner());
        bar.set_message("starting a sandbox");
        bar.enable_steady_tick(TICK);
        Self { bar, image: image.unwrap_or("image").to_owned(), all, pulling: None }
    }

    pub(crate) fn show(&mut self, step: &Progress) {
        if step.stage != "pulling" {
            self.pulling = None;
        }
        match step.stage.as_str() {
            "pulling" => {
                self.bar.set_message(format!("pulling {}", self.image));
                let screen = || Pulling { all: self.all.clone(), bars: Vec::new() };
                self.pulling.get_or_insert_with(screen).show(step);
            }
            "booting" => self.bar.set_message("booting"),
            "image" => {
                if let (Some(sent), Some(total)) = (step.sent, step.total) {
                    self.bar.set_style(style(BYTES));
                    self.bar.set_length(total);
                    self.bar.set_position(sent);
                }
                self.bar.set_message(format!("unpacking {}", self.image));
            }
            "committing" => self.bar.set_message("putting the root together"),
            _ => {}
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A copy of so many bytes, if that is known.
pub(crate) fn copy(name: &str, total: Option<u64>) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total).with_style(style(BYTES)),
        None => {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {msg} {bytes} {bytes_per_sec}"));
            bar
        }
    };
    bar.set_message(name.to_owned());
    bar
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one would only be plain.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
