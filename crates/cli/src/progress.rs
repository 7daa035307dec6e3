//! Progress on stderr: a bar with the current cell and the time left on a terminal, a line per
//! block elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use sockrates_core::harmless;
use sockrates_core::plan::{Plan, TrialSpec};
use sockrates_core::units;

use crate::output;

/// Shows how far a run is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    blocks: usize,
    seconds_left: f64,
    block: Option<u32>,
}

impl Progress {
    pub(crate) fn new(plan: &Plan, trials: &[TrialSpec], is_quiet: bool) -> Self {
        let bar = (!is_quiet && std::io::stderr().is_terminal()).then(|| {
            let style = "{bar:30} {pos}/{len} trials, {prefix} left  {wide_msg}";
            let style = ProgressStyle::with_template(style).expect("the template is constant");
            ProgressBar::new(trials.len() as u64).with_style(style)
        });
        let seconds = trials.iter().map(|spec| spec.cell.planned_seconds());
        Self {
            bar,
            is_quiet,
            blocks: plan.blocks.len(),
            seconds_left: seconds.sum(),
            block: None,
        }
    }

    /// Says which trial begins.
    pub(crate) fn begin(&mut self, trial: &TrialSpec) {
        let left = units::seconds(self.seconds_left);
        if let Some(bar) = &self.bar {
            bar.set_prefix(left);
            bar.set_message(harmless::slug(&trial.cell.id));
            bar.tick();
        } else if !self.is_quiet && self.block != Some(trial.block) {
            output::note(&format!(
                "block {} of {}, {left} left",
                trial.block + 1,
                self.blocks
            ));
        }
        self.block = Some(trial.block);
    }

    /// Says that a trial is over.
    pub(crate) fn end(&mut self, trial: &TrialSpec) {
        self.seconds_left -= trial.cell.planned_seconds();
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Prints a line without tearing the bar.
    pub(crate) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(line)),
            None => output::note(line),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
