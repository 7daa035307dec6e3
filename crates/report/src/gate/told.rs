//! What a check found, as findings: they are put into words where those of runs are.

use sockrates_core::finding::{Effect, Estimator, Finding, Part, Reason, Scope};
use sockrates_core::summary::Verdict;

use super::{Check, CountRow, Outcome, RatioRow};
use crate::findings::differences::part;
use crate::ratio;
use crate::text;

impl Check {
    /// Returns what has to match exactly, what was timed, and what could not be told.
    pub fn findings(&self) -> Vec<Finding> {
        let counts = self.counts.iter().map(count);
        counts.chain(self.ratios.iter().map(timed)).collect()
    }
}

fn scope() -> Scope {
    Scope {
        scenario: "the run after the reference".to_owned(),
        load: String::new(),
        network: "loopback".to_owned(),
        payload_bytes: 0,
    }
}

fn plain(what: String, metric: &str, verdict: Verdict) -> Finding {
    Finding {
        part: part(verdict),
        effect: Effect::Change {
            what,
            metric: metric.to_owned(),
        },
        scope: scope(),
        is_leading: verdict != Verdict::Equivalent,
        estimate: None,
        unit: None,
        values: None,
        verdict: Some(verdict),
        estimator: Estimator::BetweenRuns,
        bound: None,
        blocks_needed: None,
        reason: None,
        two_modes: Vec::new(),
        cells: Vec::new(),
    }
}

const fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Agrees => Verdict::Equivalent,
        Outcome::Differs => Verdict::Different,
        Outcome::Beside | Outcome::Inconclusive | Outcome::Suspicious => Verdict::Inconclusive,
    }
}

fn count(row: &CountRow) -> Finding {
    let made = plain(row.cell.clone(), row.count, verdict(row.outcome));
    let operations = f64::from(row.operations.max(1));
    let each = |count: u64| count as f64 / operations;
    let is_known = made.verdict != Some(Verdict::Inconclusive);
    Finding {
        part: if is_known {
            Part::Everywhere
        } else {
            Part::NotTold
        },
        values: row
            .run
            .first()
            .filter(|_| is_known)
            .map(|run| (each(*run), each(row.baseline))),
        estimator: Estimator::Count,
        cells: vec![row.cell.clone()],
        ..made
    }
}

fn timed(row: &RatioRow) -> Finding {
    let lane = |id: &str| text::line(id.split('.').nth(1).unwrap_or(id));
    let what = format!("{} : {}", lane(&row.cell), lane(&row.below));
    let limit = 1.0 + row.margin;
    let is_within =
        (row.change).is_some_and(|change| change.low >= 1.0 / limit && change.high <= limit);
    let verdict = match row.outcome {
        Outcome::Agrees if !is_within => Verdict::Inconclusive,
        outcome => verdict(outcome),
    };
    let made = plain(what, row.metric, verdict);
    let is_judged = row.outcome != Outcome::Beside;
    Finding {
        estimate: row.change,
        values: sides(row).filter(|_| made.part != Part::NotTold),
        bound: row
            .change
            .filter(|_| made.part == Part::NotTold && is_judged)
            .map(|change| change.high.max(1.0 / change.low)),
        reason: match row.change {
            None => Some(Reason::FewBlocks),
            Some(_) => (!is_judged).then_some(Reason::Unjudged),
        }
        .filter(|_| made.part == Part::NotTold),
        cells: vec![row.cell.clone(), row.below.clone()],
        ..made
    }
}

/// Returns the ratio in the run and in the reference, whose quotient is the change.
pub(super) fn sides(row: &RatioRow) -> Option<(f64, f64)> {
    let (before, now) = ratio::centred(row.baseline?, row.run?, row.change?.value);
    Some((now, before))
}
