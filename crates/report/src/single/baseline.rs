//! A result against an earlier one: the trials of both are two samples, compared as two runs are.

use sockrates_core::run_result::{BaselineComparison, BaselineResult, RunResult};
use sockrates_core::summary::{LoadSummary, Verdict};
use sockrates_core::verdict;

use crate::comparison::{self, CONFIDENCE};
use crate::metrics::THROUGHPUT;
use crate::ratio::{centred, median};
use crate::side_by_side::decide_shift;
use crate::text;

/// With fewer trials on a side there is no interval to judge by.
pub const MIN_TRIALS: u32 = 4;

/// Says why two results cannot be compared.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum BaselineError {
    /// They are of different things.
    #[error("the baseline has {what} {baseline}, this run {value}: measure both alike")]
    Different {
        /// What differs.
        what: &'static str,
        /// The baseline's.
        baseline: String,
        /// The run's.
        value: String,
    },
    /// They were measured in different places.
    #[error(
        "the baseline is of another machine or build (fingerprint {baseline}, here {value}), and times of two machines are not comparable: measure it here"
    )]
    Elsewhere {
        /// The baseline's fingerprint.
        baseline: String,
        /// The run's.
        value: String,
    },
    /// One of them has too few trials.
    #[error(
        "{which} has {trials} trials, and an interval needs {MIN_TRIALS}: measure it with --repeat {MIN_TRIALS} or more"
    )]
    TooFew {
        /// The baseline, or this run.
        which: &'static str,
        /// How many it has.
        trials: u32,
    },
}

/// What must be alike in two results.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Likeness {
    /// The lane's name.
    pub lane: String,
    /// How many connections were used.
    pub connections: u32,
    /// The load, with its rate.
    pub load: String,
    /// What was asked.
    pub exchange: String,
    /// The client's threads.
    pub threads: u32,
    /// The fingerprint's id.
    pub fingerprint: String,
}

impl Likeness {
    /// Describes what a result is of.
    pub fn of(result: &RunResult) -> Self {
        Self {
            lane: result.lane.to_string(),
            connections: result.connections,
            load: load_of(&result.load),
            exchange: result.exchange.clone(),
            threads: result.threads,
            fingerprint: result.fingerprint.clone(),
        }
    }

    /// Says whether an earlier result can be compared with a run like this.
    pub fn check(&self, baseline: &RunResult) -> Result<(), BaselineError> {
        let earlier = Self::of(baseline);
        let pairs = [
            ("the lane", &earlier.lane, &self.lane),
            ("the load", &earlier.load, &self.load),
            ("the exchange", &earlier.exchange, &self.exchange),
            (
                "threads:",
                &earlier.threads.to_string(),
                &self.threads.to_string(),
            ),
            (
                "connections:",
                &earlier.connections.to_string(),
                &self.connections.to_string(),
            ),
        ];
        if let Some((what, baseline, value)) =
            pairs.into_iter().find(|(_, one, other)| one != other)
        {
            return Err(BaselineError::Different {
                what,
                baseline: text::line(baseline),
                value: value.clone(),
            });
        }
        if earlier.fingerprint != self.fingerprint {
            return Err(BaselineError::Elsewhere {
                baseline: text::line(&earlier.fingerprint),
                value: self.fingerprint.clone(),
            });
        }
        enough("the baseline", baseline.trials)
    }
}

/// Describes a load with its rate.
pub fn load_of(load: &LoadSummary) -> String {
    let rate = load.offered_per_second;
    let rate = rate.map_or_else(String::new, |rate| format!(" at {rate}/s"));
    format!("{}{rate}", text::line(&load.model))
}

/// Compares a result with an earlier one from this file.
pub fn compare(
    result: &RunResult,
    baseline: &RunResult,
    file: &str,
) -> Result<BaselineResult, BaselineError> {
    Likeness::of(result).check(baseline)?;
    enough("this run", result.trials)?;
    let names = result.values_by_trial.iter();
    let comparisons =
        names.filter_map(|(name, values)| shift(name, baseline.values_by_trial.get(name)?, values));
    Ok(BaselineResult {
        file: file.to_owned(),
        started_unix_ms: baseline.started_unix_ms,
        confidence: CONFIDENCE,
        comparisons: comparisons.collect(),
    })
}

fn enough(which: &'static str, trials: u32) -> Result<(), BaselineError> {
    if trials < MIN_TRIALS {
        return Err(BaselineError::TooFew { which, trials });
    }
    Ok(())
}

fn shift(name: &str, before: &[f64], now: &[f64]) -> Option<BaselineComparison> {
    let is_positive = |values: &[f64]| values.iter().all(|value| *value > 0.0 && value.is_finite());
    if !is_positive(before) || !is_positive(now) {
        return None;
    }
    let logs = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.ln()).collect() };
    let margin = verdict::margin(name);
    let decided = decide_shift(&logs(before), &logs(now), margin);
    let (ratio, verdict) = match decided {
        Some((ratio, decision)) => (Some(ratio), comparison::verdict_of(decision)),
        None => (None, Verdict::Inconclusive),
    };
    let is_worse = ratio.is_some_and(|ratio| {
        if name == THROUGHPUT {
            ratio.value < 1.0
        } else {
            ratio.value > 1.0
        }
    });
    let count = |values: &[f64]| u32::try_from(values.len()).expect("trials are few");
    let medians = (median(before)?, median(now)?);
    let (baseline, value) = match ratio {
        Some(ratio) => centred(medians.0, medians.1, ratio.value),
        None => medians,
    };
    Some(BaselineComparison {
        metric: name.to_owned(),
        baseline,
        value,
        trials: (count(before), count(now)),
        ratio,
        margin,
        verdict,
        is_regression: verdict == Verdict::Different && is_worse,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clearly_worse_is_a_regression() {
        let before = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2];
        let scaled = |factor: f64| before.map(|value| value * factor);
        let verdict = |name: &str, factor: f64| {
            let found = shift(name, &before, &scaled(factor)).unwrap();
            (found.verdict, found.is_regression)
        };
        assert_eq!(verdict("service_time_p50", 1.3), (Verdict::Different, true));
        assert_eq!(
            verdict("service_time_p50", 0.7),
            (Verdict::Different, false)
        );
        assert_eq!(
            verdict("service_time_p50", 1.0),
            (Verdict::Equivalent, false)
        );
        assert_eq!(verdict("throughput", 0.7), (Verdict::Different, true));
        assert_eq!(verdict("throughput", 1.3), (Verdict::Different, false));
        let few = shift("throughput", &before[..2], &scaled(0.5)[..2]).unwrap();
        assert_eq!(
            (few.verdict, few.is_regression),
            (Verdict::Inconclusive, false)
        );
        assert!(shift("throughput", &[0.0], &before).is_none());
    }
}
