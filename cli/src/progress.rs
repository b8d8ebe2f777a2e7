//! What takes long shows how far it is; on a terminal only, and on stderr.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::client::types::Progress;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

const BYTES: &str = "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";

/// The making of a session.
#[derive(Debug)]
pub(crate) struct Making {
    bar: ProgressBar,
    image: String,
}

impl Making {
    pub(crate) fn new(image: Option<&str>) -> Self {
        // Hidden by indicatif itself where stderr is no terminal.
        let bar = ProgressBar::new_spinner();
        bar.set_message("starting a sandbox");
        bar.enable_steady_tick(TICK);
        Self { bar, image: image.unwrap_or("image").to_owned() }
    }

    pub(crate) fn show(&self, step: &Progress) {
        match step.stage.as_str() {
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
