//! Whether a run may conclude anything: what happened to the machine while it went on.

use std::collections::BTreeMap;

use sockrates_core::calibration::Calibration;
use sockrates_core::summary::{FamilyJudgement, Judgement};
use sockrates_core::validity::{self, Family};
use sockrates_core::verdict::{
    self, CANARY_SHARE, DISTURBED_SHARE, FLOOR_SHIFT_SHARE, Flag, UNEVEN_P,
};

use crate::comparison::by_block;
use crate::completeness;
use crate::design;
use crate::metrics;
use crate::ratio::median;
use crate::statistics::{self, Decision};
use crate::text;
use crate::view::{CellView, View};

/// CPUs that slow each other down by more than this share a core.
const SHARED_CORE_SHARE: f64 = 0.1;

/// Judges a run.
pub(crate) fn of(view: &View<'_>) -> Judgement {
    let usable: usize = view.cells.iter().map(|cell| cell.valid.len()).sum();
    let disturbed: usize = view.cells.iter().map(|cell| cell.disturbed).sum();
    let repeated: usize = view.cells.iter().map(|cell| cell.repeated).sum();
    // Whoever takes a part of a plan for the whole chooses what counts.
    let mut against = completeness::clauses(&completeness::of(view));
    against.extend(different_twins(view));
    let is_comparable = against.is_empty();
    let mut reasons = against;
    let (families, uneven): (Vec<_>, Vec<_>) = Family::ALL
        .into_iter()
        .map(|family| of_family(view, family))
        .unzip();
    reasons.extend(families.iter().filter_map(withheld));
    reasons.extend(uneven.into_iter().flatten());
    let medians_hold = families
        .iter()
        .all(|found| found.family != Family::Medians || found.holds);
    let is_conclusive = is_comparable && medians_hold && usable > 0;
    reasons.extend(shifted_floor(view));
    reasons.extend(canary(view));
    let count = |number: usize| u32::try_from(number).expect("trials are few");
    Judgement {
        within_block_correlation: design::within_block_correlation(view),
        ordered_pairs_covered: design::ordered_pairs_covered(&view.dataset.manifest.plan),
        is_conclusive,
        is_comparable,
        reasons,
        disturbed_trials: count(disturbed),
        repeated_trials: count(repeated),
        families,
    }
}

/// Judges one kind of number by the one of each cell that stands for it; says also which lane was harmed too often.
fn of_family(view: &View<'_>, family: Family) -> (FamilyJudgement, Option<String>) {
    let mut found = FamilyJudgement {
        family,
        trials: 0,
        withheld: 0,
        holds: true,
        because: Vec::new(),
    };
    let mut by_flag: BTreeMap<Flag, usize> = BTreeMap::new();
    for cell in &view.cells {
        let name = representative(cell, family);
        for trial in &cell.valid {
            let harms = validity::harms(trial.record, &name);
            found.trials += 1;
            found.withheld += u32::from(!harms.is_empty());
            for flag in harms {
                *by_flag.entry(flag).or_default() += 1;
            }
        }
    }
    let mut because: Vec<_> = by_flag.into_iter().collect();
    because.sort_by_key(|(_, trials)| std::cmp::Reverse(*trials));
    found.because = because.into_iter().map(|(flag, _)| flag).collect();
    let uneven = uneven(view, family);
    let is_rare = f64::from(found.withheld) <= f64::from(found.trials) * DISTURBED_SHARE;
    found.holds = is_rare && uneven.is_none();
    (found, uneven)
}

/// Returns the number of a cell that stands for a kind.
fn representative(cell: &CellView<'_>, family: Family) -> String {
    match family {
        Family::Counts => "operations".to_owned(),
        Family::CpuTime => metrics::CPU.to_owned(),
        Family::Medians => metrics::name(cell.main_metric(), "p50"),
        Family::Rates => metrics::THROUGHPUT.to_owned(),
        Family::Tails => metrics::name(cell.main_metric(), "p99"),
    }
}

/// Says how often a kind of number was withheld, and why; nothing where it never was.
fn withheld(found: &FamilyJudgement) -> Option<String> {
    let (first, _) = found.because.first()?.meaning().split_once(':')?;
    Some(format!(
        "{} withheld in {} of {} trials ({first})",
        found.family.name(),
        found.withheld,
        found.trials,
    ))
}

/// What harms one lane more than the others does not come from outside.
fn uneven(view: &View<'_>, family: Family) -> Option<String> {
    let mut of_lanes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for cell in &view.cells {
        let counts = of_lanes.entry(cell.cell.lane.to_string()).or_default();
        let disturbed = cell.withheld(&representative(cell, family)) as u64;
        counts.0 += disturbed;
        counts.1 += cell.valid.len() as u64 - disturbed;
    }
    let all = of_lanes
        .values()
        .fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    // Each lane against all others; with so many looks, each must be the clearer.
    let level = UNEVEN_P / of_lanes.len().max(1) as f64;
    of_lanes.iter().find_map(|(lane, (disturbed, quiet))| {
        let others = (all.0 - disturbed, all.1 - quiet);
        let p = fisher_exact((*disturbed, *quiet), others);
        (p < level).then(|| {
            format!(
                "{} of lane {} withheld in {disturbed} of {} trials, of all others in {} of {}: that is no accident",
                family.name(),
                text::line(lane),
                disturbed + quiet,
                others.0,
                others.0 + others.1
            )
        })
    })
}

/// The probability of a table at least as uneven by chance (R. A. Fisher 1922; two-sided, by summing all tables that are
/// no more likely).
fn fisher_exact((a, b): (u64, u64), (c, d): (u64, u64)) -> f64 {
    let log_factorials: Vec<f64> = std::iter::once(0.0)
        .chain((1..=a + b + c + d).scan(0.0, |sum, n| {
            *sum += (n as f64).ln();
            Some(*sum)
        }))
        .collect();
    let log = |n: u64| log_factorials[usize::try_from(n).expect("trials are few")];
    let (row, other, column) = (a + b, c + d, a + c);
    let fixed = log(row) + log(other) + log(column) + log(b + d) - log(row + other);
    let probability = |first: u64| {
        let [second, third] = [row - first, column - first];
        (fixed - log(first) - log(second) - log(third) - log(other - third)).exp()
    };
    let observed = probability(a);
    let first = column.saturating_sub(other);
    let all = (first..=row.min(column)).map(probability);
    all.filter(|p| *p <= observed * (1.0 + 1e-9)).sum()
}

/// Two copies of one lane that differ show that something else does.
fn different_twins(view: &View<'_>) -> Option<String> {
    view.load_points().iter().find_map(|point| {
        let null = point.cells.iter().find(|cell| cell.cell.is_null())?;
        let twin = point
            .cells
            .iter()
            .find(|cell| cell.cell.lane.null() == null.cell.lane && !cell.cell.is_null())?;
        let metric = metrics::name(point.main_metric(), "p50");
        let pairs = crate::comparison::Pairs::of(null, twin, &metric);
        let logs = pairs.log_ratios();
        let margin = verdict::margin(&metric);
        (statistics::decide(&logs, margin) == Decision::Different).then(|| {
            format!(
                "two copies of {} differed by more than {:.0} % ({})",
                text::line(&twin.cell.lane.to_string()),
                margin * 100.0,
                text::line(&point.cell().scenario)
            )
        })
    })
}

/// Says in which blocks the floor lay far from where it usually did.
fn shifted_floor(view: &View<'_>) -> Option<String> {
    let points = view.load_points();
    let floor = points
        .iter()
        .filter(|point| point.is_closed() && point.is_plain_echo())
        .find_map(|point| point.lane("tcp-persistent"))?;
    let values = by_block(floor, "service_time_p50");
    let typical = median(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
    let shifted: Vec<_> = values
        .iter()
        .filter(|(_, value)| (value / typical).ln().abs() > FLOOR_SHIFT_SHARE.ln_1p())
        .map(|(block, _)| (block + 1).to_string())
        .collect();
    (!shifted.is_empty()).then(|| {
        format!(
            "the floor lay more than {:.0} % away from its median in block {}",
            FLOOR_SHIFT_SHARE * 100.0,
            shifted.join(", ")
        )
    })
}

/// Says what the calibrations before and after the run tell of the CPUs: of each alone, and of all at once.
fn canary(view: &View<'_>) -> Vec<String> {
    canary_of(&view.dataset.manifest.calibrations)
}

fn canary_of(calibrations: &[Calibration]) -> Vec<String> {
    let mean = |times: &[u64]| times.iter().sum::<u64>() as f64 / times.len().max(1) as f64;
    let mut notes = Vec::new();
    if let [before, .., after] = calibrations {
        for (how, was, is) in [
            (
                "on one CPU at a time",
                &before.spin_alone_ns,
                &after.spin_alone_ns,
            ),
            (
                "on all CPUs at once",
                &before.spin_together_ns,
                &after.spin_together_ns,
            ),
        ] {
            let change = mean(is) / mean(was) - 1.0;
            if change.is_finite() && change.abs() > CANARY_SHARE {
                let word = if change > 0.0 { "longer" } else { "shorter" };
                notes.push(format!(
                    "the same work {how} took {:.0} % {word} at the end of the run than at its start",
                    change.abs() * 100.0
                ));
            }
        }
    }
    if let Some(first) = calibrations.first() {
        let together = mean(&first.spin_together_ns) / mean(&first.spin_alone_ns) - 1.0;
        if together.is_finite() && together > SHARED_CORE_SHARE {
            notes.push(format!(
                "at the start, the same work took {:.0} % longer on all CPUs at once than on one at a time: they \
                 seem to share a core, or their host to be busy",
                together * 100.0
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_and_together_are_told_apart() {
        let calibration = |alone: u64, together: u64| Calibration {
            spin_alone_ns: vec![alone; 2],
            spin_together_ns: vec![together; 2],
            ..Calibration::default()
        };
        let notes = canary_of(&[calibration(100, 100), calibration(74, 123)]);
        assert_eq!(
            notes,
            [
                "the same work on one CPU at a time took 26 % shorter at the end of the run than at its start",
                "the same work on all CPUs at once took 23 % longer at the end of the run than at its start",
            ]
        );
        assert!(canary_of(&[calibration(100, 105), calibration(95, 100)]).is_empty());
        assert!(canary_of(&[calibration(100, 150)])[0].contains("50 % longer on all CPUs at once"));
        assert!(canary_of(&[calibration(0, 0), calibration(0, 0)]).is_empty());
    }

    #[test]
    fn fishers_test_gives_the_known_values() {
        // R: fisher.test(matrix(c(3, 1, 1, 3), 2))$p.value and fisher.test(matrix(c(10, 2, 3, 15), 2))$p.value
        assert!((fisher_exact((3, 1), (1, 3)) - 0.485_714).abs() < 1e-6);
        assert!((fisher_exact((10, 2), (3, 15)) - 0.000_536_7).abs() < 1e-6);
        assert!((fisher_exact((0, 5), (0, 50)) - 1.0).abs() < 1e-9);
    }
}
