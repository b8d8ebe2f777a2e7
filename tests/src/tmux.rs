//! A real terminal for programs that want one: a tmux server of the test's own,
//! with one window and a plain shell in it.

use std::process::Command;
use std::time::Duration;

use crate::wait;

/// The prompt of the window's own shell.
pub const PROMPT: &str = "outside> ";

/// A terminal. Dropped, it hangs up.
#[derive(Debug)]
pub struct Terminal {
    /// Names the server's socket.
    name: String,
}

/// Whether there is a tmux; else prints that `test` is skipped.
pub fn is_there(test: &str) -> bool {
    let found = Command::new("tmux").arg("-V").output().is_ok();
    if !found {
        println!("SKIPPED {test}: no tmux; enable: apt-get install tmux");
    }
    found
}

impl Terminal {
    /// Of this size, with these variables for its shell.
    pub fn open(test: &str, rows: u16, cols: u16, env: &[(&str, &str)]) -> Self {
        let name = format!("postern-{}-{test}", std::process::id());
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &name, "-f", "/dev/null", "new-session", "-d"]);
        tmux.args(["-x", &cols.to_string(), "-y", &rows.to_string()]);
        tmux.args(["env", "--chdir=/", "ENV=", &format!("PS1={PROMPT}")]);
        tmux.args(env.iter().map(|(name, value)| format!("{name}={value}")));
        tmux.arg("sh");
        // A tmux around the test is none of ours.
        let made = tmux.env_remove("TMUX").env("LC_ALL", "C.UTF-8").output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let terminal = Self { name };
        // The window's size is ours to say, not that of a client.
        terminal.tmux(&["set-option", "-g", "window-size", "manual"]);
        terminal.shows(PROMPT.trim_end());
        terminal
    }

    /// Types text as it is, without Enter.
    pub fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys by tmux's names: `Enter`, `C-c`, `Escape`.
    pub fn presses(&self, keys: &[&str]) {
        let words: Vec<&str> = ["send-keys"].iter().chain(keys).copied().collect();
        self.tmux(&words);
    }

    /// Types a line and Enter.
    pub fn enters(&self, line: &str) {
        self.types(line);
        self.presses(&["Enter"]);
    }

    /// What it shows now, wrapped lines joined, without blanks at their ends.
    pub fn screen(&self) -> String {
        let lines = self.tmux(&["capture-pane", "-p", "-J"]);
        let lines = lines.trim_end().lines().map(str::trim_end);
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Waits until a line begins with this; the rest of that line, the last such.
    pub fn line(&self, beginning: &str) -> String {
        self.when(&format!("a line {beginning:?}"), |screen| {
            let line = screen.lines().rev().find_map(|line| line.strip_prefix(beginning));
            line.map(|rest| rest.trim().to_owned())
        })
    }

    /// Waits until the screen shows this text.
    pub fn shows(&self, text: &str) {
        self.when(&format!("the text {text:?}"), |screen| screen.contains(text).then_some(()));
    }

    /// Waits until the last line is this prompt and nothing else but blanks: a program
    /// in raw mode may have left the cursor anywhere.
    pub fn prompts(&self, prompt: &str) {
        self.when(&format!("the prompt {prompt:?}"), |screen| {
            let last = screen.lines().next_back();
            (last.map(str::trim) == Some(prompt.trim())).then_some(())
        });
    }

    /// Waits until what is looked for is on the screen.
    pub fn when<T>(&self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let mut last = String::new();
        let limit = wait::seconds(60);
        let begun = std::time::Instant::now();
        loop {
            if let Some(seen) = look(&last) {
                return seen;
            }
            assert!(begun.elapsed() < limit, "{what} is not on the screen:\n{last}");
            // Each look is a process; a blink of an eye between two.
            wait::pause(Duration::from_millis(20));
            last = self.screen();
        }
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, cols: u16) {
        let (rows, cols) = (rows.to_string(), cols.to_string());
        self.tmux(&["resize-window", "-x", &cols, "-y", &rows]);
    }

    /// Wipes the screen and what was scrolled off it, at the shell's own prompt.
    pub fn wipe(&self) {
        self.enters("clear");
        self.prompts(PROMPT);
        self.when("an empty screen", |screen| (screen.lines().count() == 1).then_some(()));
        self.tmux(&["clear-history"]);
    }

    /// Asks the shell of the window what is wrong with its terminal.
    pub fn must_be_sane(&self) {
        self.enters("stty -a | tr ' ;' '\\n\\n' | grep -xE -- '-(icanon|echo|isig|icrnl|opost)'; echo sane-$?");
        let none = self.line("sane-");
        assert_eq!(none, "1", "the terminal was not restored:\n{}", self.screen());
    }

    /// The shell of the window.
    pub fn pid(&self) -> u32 {
        self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().parse().unwrap()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        let done = tmux.args(["-L", &self.name]).args(arguments).output().unwrap();
        assert!(done.status.success(), "tmux {arguments:?}: {done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.name, "kill-server"]).output();
    }
}
