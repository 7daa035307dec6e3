//! What the environment asks for.

use std::env;
use std::path::{Path, PathBuf};

/// How the checks are done.
pub(crate) struct Options {
    pub(crate) is_quick: bool,
    /// How often the small difference is looked for.
    pub(crate) repetitions: u32,
    /// The window of each trial of that search.
    pub(crate) window_ms: u32,
    /// Folders of runs of one plan that were made in a row.
    pub(crate) runs: Vec<PathBuf>,
    only: Vec<String>,
    is_changed: bool,
}

impl Options {
    pub(crate) fn from_environment() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str| {
            text(name).map(|text| {
                text.parse()
                    .unwrap_or_else(|_| panic!("{name}={text}: use a whole number"))
            })
        };
        let is_quick = text("SOCKRATES_VALIDATE_QUICK").is_some();
        let only = text("SOCKRATES_VALIDATE_ONLY");
        let repetitions = number("SOCKRATES_VALIDATE_REPETITIONS");
        let window_ms = number("SOCKRATES_VALIDATE_WINDOW_MS");
        Self {
            is_quick,
            is_changed: is_quick || only.is_some() || repetitions.is_some() || window_ms.is_some(),
            repetitions: repetitions.unwrap_or(if is_quick { 2 } else { 10 }),
            window_ms: window_ms.unwrap_or(if is_quick { 300 } else { 400 }),
            runs: text("SOCKRATES_RUNS")
                .map(|text| text.split(':').map(PathBuf::from).collect())
                .unwrap_or_default(),
            only: only
                .map(|text| text.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }

    /// Says whether a check is to be done.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only))
    }

    /// Chooses between what takes its time and what does not.
    pub(crate) fn choose<T>(&self, whole: T, quick: T) -> T {
        if self.is_quick { quick } else { whole }
    }

    /// Returns where the page goes: only a whole run is published.
    pub(crate) fn page_path(&self) -> PathBuf {
        if self.is_changed {
            Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("VALIDATION.md")
        } else {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/VALIDATION.md")
        }
    }
}
