//! Reads what Rust's test harness prints, line by line, and counts.

use std::fmt;
use std::ops::AddAssign;

/// Counts of tests and checks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Why a test was skipped, if that is what the line says; with or without its name,
/// for one that is not counted would be taken for a pass.
fn skipped(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("SKIPPED")?;
    rest.starts_with([' ', ':']).then(|| rest.trim_start_matches([' ', ':']))
}

/// What one step's output amounts to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// As the harnesses say; none have, for a step that is one check.
    harness: Option<Tally>,
    /// Tests that said `SKIPPED`; their harness counts them as passed.
    said_skipped: u64,
    /// Set when the step is one check, or broke beside its tests.
    check: Tally,
    /// Names of failed tests.
    pub(crate) failed: Vec<String>,
    /// `NAME: REASON; enable: COMMAND`, and names of ignored tests.
    pub(crate) skipped: Vec<String>,
}

impl Report {
    /// One line of standard output.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.result(rest);
        } else if let Some(reason) = skipped(line) {
            self.said_skipped += 1;
            self.skipped.push(reason.to_owned());
        } else if let Some((name, verdict)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            match verdict {
                "FAILED" => self.failed.push(name.to_owned()),
                ignored if ignored.starts_with("ignored") => {
                    self.skipped.push(format!("{name}: {ignored}"));
                }
                _ => {}
            }
        }
    }

    /// `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`
    fn result(&mut self, text: &str) {
        let tally = self.harness.get_or_insert_default();
        for part in text.split([';', '.']) {
            let Some((count, what)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => tally.passed += count,
                "failed" => tally.failed += count,
                "ignored" => tally.skipped += count,
                _ => {}
            }
        }
    }

    /// The step's program has ended.
    pub(crate) fn end(&mut self, step: &str, success: bool) {
        if !success && self.tally().failed == 0 {
            self.broke(step, "ended with an error");
        } else if success && self.harness.is_none() {
            self.check.passed += 1;
        }
    }

    /// The step itself failed, beside what its tests said: it did not compile,
    /// was killed by its limit, or could not be started.
    pub(crate) fn broke(&mut self, step: &str, why: &str) {
        self.check.failed += 1;
        self.failed.push(format!("{step}: {why}"));
    }

    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.harness.unwrap_or_default();
        // A harness that died never said that the skipped ones passed.
        tally.passed = tally.passed.saturating_sub(self.said_skipped);
        tally.skipped += self.said_skipped;
        tally += self.check;
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.line(line));
        report
    }

    #[test]
    fn sums_the_harnesses_of_a_step() {
        let report = report(
            "test a ... ok\ntest b::c ... FAILED\ntest d ... ignored, needs KVM\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n",
        );
        assert_eq!(report.tally(), Tally { passed: 8, failed: 1, skipped: 1 });
        assert_eq!(report.failed, ["b::c"]);
        assert_eq!(report.skipped, ["d: ignored, needs KVM"]);
    }

    #[test]
    fn a_skip_is_not_a_pass_wherever_its_line_comes() {
        for text in [
            "SKIPPED a: no KVM; enable: modprobe kvm\ntest a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored",
            "test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\nSKIPPED a: no KVM; enable: modprobe kvm",
        ] {
            let report = report(text);
            assert_eq!(report.tally(), Tally { passed: 0, failed: 0, skipped: 1 });
            assert_eq!(report.skipped, ["a: no KVM; enable: modprobe kvm"]);
        }
    }

    #[test]
    fn a_skip_without_a_name_is_one_too() {
        let report = report(
            "SKIPPED: no image; enable: make dist\ntest a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored",
        );
        assert_eq!(report.tally(), Tally { passed: 0, failed: 0, skipped: 1 });
        assert_eq!(report.skipped, ["no image; enable: make dist"]);
    }

    #[test]
    fn a_step_without_a_harness_is_one_check() {
        let mut good = report("");
        good.end("fmt", true);
        assert_eq!(good.tally(), Tally { passed: 1, failed: 0, skipped: 0 });
        let mut bad = report("");
        bad.end("fmt", false);
        assert_eq!(bad.tally(), Tally { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_harness_that_dies_counts_as_a_failure() {
        let mut report = report("SKIPPED a: why; enable: how\ntest b ... ok");
        report.end("unit tests", false);
        assert_eq!(report.tally(), Tally { passed: 0, failed: 1, skipped: 1 });
    }

    #[test]
    fn a_failing_test_is_counted_once() {
        let mut report =
            report("test b ... FAILED\ntest result: FAILED. 0 passed; 1 failed; 0 ignored");
        report.end("unit tests", false);
        assert_eq!(report.tally().failed, 1);
    }
}
