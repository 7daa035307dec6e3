//! The page that is published: a table per check.

use std::fmt;

use sockrates_core::units;
use sockrates_probe::machine::{Build, fingerprint};

/// What a row says.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    /// Shown beside what is judged.
    Shown,
    Skipped,
}

/// One number: what was expected, and what came out.
pub(crate) struct Row {
    what: String,
    expected: String,
    found: String,
    outcome: Outcome,
}

/// A check that was done.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    /// Makes a row that passes or fails.
    pub(crate) fn judged(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        is_met: bool,
    ) -> Self {
        Self {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
            outcome: if is_met {
                Outcome::Passed
            } else {
                Outcome::Failed
            },
        }
    }

    /// Makes a row for a time that has to lie within a share of the one expected.
    pub(crate) fn near(
        what: impl Into<String>,
        expected_ns: f64,
        found_ns: f64,
        share: f64,
    ) -> Self {
        let error = found_ns / expected_ns - 1.0;
        Self::judged(
            what,
            format!("{} ± {:.0} %", units::time(expected_ns), share * 100.0),
            format!("{} ({:+.1} %)", units::time(found_ns), error * 100.0),
            error.abs() <= share,
        )
    }

    /// Turns the row into one that is not judged.
    pub(crate) fn only_shown(self) -> Self {
        let limit = self.expected.find(" ±").unwrap_or(self.expected.len());
        Self {
            expected: self.expected[..limit].to_owned(),
            outcome: Outcome::Shown,
            ..self
        }
    }

    /// Makes a row for what could not be done here.
    pub(crate) fn skipped(reason: &str) -> Self {
        Self {
            what: "the whole check".to_owned(),
            expected: String::new(),
            found: reason.to_owned(),
            outcome: Outcome::Skipped,
        }
    }

    /// Makes a row for a check that broke down.
    pub(crate) fn broken(error: &anyhow::Error) -> Self {
        let message = format!("{error:#}").replace(['\n', '|'], " ");
        Self::judged("the whole check", "a result", message, false)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            expected,
            found,
            outcome,
        } = self;
        write!(
            f,
            "{}: {what}: expected {expected}, found {found}",
            outcome.word()
        )
    }
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed => "FAIL",
            Self::Shown => "shown",
            Self::Skipped => "skipped",
        }
    }
}

impl Section {
    /// Says whether nothing failed.
    pub(crate) fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.outcome != Outcome::Failed)
    }

    fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n{}\n\n", self.title, self.text);
        text += "| what | expected | found | |\n|---|---|---|---|\n";
        for row in &self.rows {
            let word = match row.outcome {
                Outcome::Failed => "**FAIL**",
                other => other.word(),
            };
            text += &format!(
                "| {} | {} | {} | {word} |\n",
                row.what, row.expected, row.found
            );
        }
        text
    }
}

/// Writes the whole page. Without a date: the repository knows when it was published.
pub(crate) fn page(sections: &[Section]) -> String {
    let failed = sections.iter().filter(|section| !section.is_met()).count();
    let verdict = match failed {
        0 => "None of the checks failed.".to_owned(),
        1 => "**One check failed.**".to_owned(),
        some => format!("**{some} checks failed.**"),
    };
    let mut text = format!(
        "# Validation\n\nMade by `just validate`, on {}.\n\n\
         Before an instrument is believed, it measures what is known already. Each table below says what had to come \
         out and what did; rows marked *shown* are there to be read and decide nothing. Trials that something outside \
         disturbed were repeated; where the last attempt was disturbed, too, the table says so. {verdict}\n",
        machine()
    );
    for section in sections {
        text += &section.markdown();
    }
    text
}

fn machine() -> String {
    let machine = fingerprint(&Build {
        rustc: "",
        profile: "",
        version: env!("CARGO_PKG_VERSION"),
    });
    let kind = match machine.hypervisor.as_str() {
        "virtual machine" => ", a virtual machine",
        _ => "",
    };
    format!(
        "{} with {} CPUs{kind}, {}",
        machine.cpu_model, machine.cpus, machine.kernel
    )
}
