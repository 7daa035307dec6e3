//! Lanes against each other: log-ratios within blocks, so that what drifts between blocks cancels, with exact intervals.

use sockrates_core::summary::{Comparison, Estimate, Verdict};
use sockrates_core::verdict;

use crate::metrics;
use crate::ratio::median;
use crate::statistics::{self, Decision};
use crate::view::{CellView, LoadPoint, View};

/// How sure the intervals are.
pub(crate) const CONFIDENCE: f64 = 0.95;
/// The level of the tests that a run's smallest detectable effect is told for, and their power.
const DETECTION_LEVEL: f64 = 0.01;
const DETECTION_POWER: f64 = 0.9;
/// A percentile is compared when each trial holds so many samples beyond it.
const TAIL_SAMPLES: f64 = 20.0;

/// What every lane is compared with: the protocol most people come from, with its connection kept; and the floor.
const REFERENCES: [&str; 2] = ["http1-persistent", "tcp-persistent"];

/// What many ways of learning of events are compared with.
pub(crate) const PUSH: &str = "websocket-persistent";

/// Two cells' values of one number, block by block.
pub(crate) struct Pairs {
    pub(crate) values: Vec<(u32, f64, f64)>,
}

impl Pairs {
    /// Pairs the undisturbed trials of two cells by their blocks.
    pub(crate) fn of(cell: &CellView<'_>, reference: &CellView<'_>, metric: &str) -> Self {
        let below = by_block(reference, metric);
        let values = by_block(cell, metric)
            .into_iter()
            .filter_map(|(block, value)| {
                let (_, other) = below.iter().find(|(of, _)| *of == block)?;
                (value > 0.0 && *other > 0.0).then_some((block, value, *other))
            })
            .collect();
        Self { values }
    }

    /// Returns the natural logarithms of the ratios.
    pub(crate) fn log_ratios(&self) -> Vec<f64> {
        let log = |(_, value, other): &(u32, f64, f64)| (value / other).ln();
        self.values.iter().map(log).collect()
    }

    fn differences(&self) -> Vec<f64> {
        let difference = |(_, value, other): &(u32, f64, f64)| value - other;
        self.values.iter().map(difference).collect()
    }
}

/// Returns one number of each counting trial, with its block.
pub(crate) fn by_block(cell: &CellView<'_>, metric: &str) -> Vec<(u32, f64)> {
    cell.valid
        .iter()
        .filter_map(|trial| Some((trial.record.spec.block, metrics::of_trial(trial, metric)?)))
        .collect()
}

/// Turns an estimate on the logarithmic scale into one of ratios.
pub(crate) fn ratio(logs: &[f64]) -> Option<Estimate> {
    let estimate = statistics::signed_rank_interval(logs, CONFIDENCE)?;
    Some(Estimate {
        value: estimate.value.exp(),
        low: estimate.low.exp(),
        high: estimate.high.exp(),
    })
}

/// Estimates a number from one value per block.
pub(crate) fn estimate(values: &[f64]) -> Option<Estimate> {
    let estimate = statistics::signed_rank_interval(values, CONFIDENCE)?;
    Some(Estimate {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
    })
}

/// As [`estimate`]; of fewer blocks than an interval needs the median, with the smallest and the largest.
pub(crate) fn estimate_or_range(values: &[f64]) -> Option<Estimate> {
    let range = || {
        Some(Estimate {
            value: median(values)?,
            low: values.iter().copied().reduce(f64::min)?,
            high: values.iter().copied().reduce(f64::max)?,
        })
    };
    estimate(values).or_else(range)
}

/// As [`ratio`]; of fewer blocks than an interval needs the median, with the smallest and the largest.
pub(crate) fn ratio_or_range(logs: &[f64]) -> Option<Estimate> {
    let estimate = estimate_or_range(logs)?;
    Some(Estimate {
        value: estimate.value.exp(),
        low: estimate.low.exp(),
        high: estimate.high.exp(),
    })
}

/// Compares everything that is to be compared: the primary contrasts first.
pub(crate) fn all(view: &View<'_>, is_conclusive: bool) -> Vec<Comparison> {
    let mut comparisons = primary(view, is_conclusive);
    for point in &view.load_points() {
        if point.cell().operations.is_some() || !point.has_data() {
            continue;
        }
        for reference in references(point).iter().filter_map(|name| point.lane(name)) {
            for cell in &point.cells {
                if cell.cell.id == reference.cell.id || !cell.has_data() {
                    continue;
                }
                for metric in compared(point) {
                    let is_known = |known: &Comparison| {
                        known.cell == cell.cell.id
                            && known.reference == reference.cell.id
                            && known.metric == metric
                    };
                    if !comparisons.iter().any(is_known) {
                        let found = compare(cell, reference, &metric, is_conclusive);
                        comparisons.extend(found);
                    }
                }
            }
        }
    }
    comparisons
}

/// Returns the lanes with which the others of a load point are compared.
pub(crate) fn references(point: &LoadPoint<'_>) -> &'static [&'static str] {
    if point.has_several_ways() {
        &[PUSH]
    } else {
        &REFERENCES
    }
}

/// Returns the numbers by which the lanes of a load point are compared.
pub(crate) fn compared(point: &LoadPoint<'_>) -> Vec<String> {
    let main = point.main_metric();
    let mut names = vec![metrics::name(main, "p50"), metrics::name(main, "p99")];
    if point.is_closed() {
        names.extend([metrics::THROUGHPUT.to_owned(), metrics::CPU.to_owned()]);
    }
    if point.is_search() {
        names = vec![metrics::CAPACITY.to_owned()];
    }
    if point.has_several_ways() {
        names = vec![
            metrics::name(main, "p50"),
            metrics::CLIENT_SECOND_CPU.to_owned(),
        ];
    }
    names
}

fn primary(view: &View<'_>, is_conclusive: bool) -> Vec<Comparison> {
    let find = |id: &str| view.cells.iter().find(|cell| cell.cell.id == id);
    let mut comparisons: Vec<Comparison> = view
        .dataset
        .manifest
        .plan
        .primary
        .iter()
        .filter_map(|contrast| {
            let (cell, reference) = (find(&contrast.cell)?, find(&contrast.reference)?);
            let mut comparison = compare(cell, reference, &contrast.metric, is_conclusive)?;
            comparison.is_primary = true;
            Some(comparison)
        })
        .collect();
    let raw: Vec<_> = comparisons.iter().map(|found| found.p_value).collect();
    for (comparison, adjusted) in comparisons.iter_mut().zip(statistics::holm(&raw)) {
        comparison.p_adjusted = Some(adjusted);
        if adjusted > 1.0 - CONFIDENCE && comparison.verdict != Verdict::Equivalent {
            comparison.verdict = Verdict::Inconclusive;
        }
    }
    comparisons
}

/// Compares two cells by one number; `None` when no block holds a supported value of both.
pub(crate) fn compare(
    cell: &CellView<'_>,
    reference: &CellView<'_>,
    metric: &str,
    is_conclusive: bool,
) -> Option<Comparison> {
    if metric.ends_with("_p99") && !(supports_p99(cell) && supports_p99(reference)) {
        return None;
    }
    let pairs = Pairs::of(cell, reference, metric);
    if pairs.values.is_empty() {
        return None;
    }
    let logs = pairs.log_ratios();
    let margin = verdict::margin(metric);
    let decision = statistics::decide(&logs, margin);
    let sign = statistics::sign_interval(&logs, CONFIDENCE);
    let detectable = spread(&logs).and_then(|sigma| {
        statistics::minimum_detectable(sigma, logs.len(), DETECTION_LEVEL, DETECTION_POWER, 0.0)
    });
    Some(Comparison {
        cell: cell.cell.id.clone(),
        reference: reference.cell.id.clone(),
        metric: metric.to_owned(),
        blocks: u32::try_from(logs.len()).expect("blocks are few"),
        ratio: ratio(&logs),
        confidence: CONFIDENCE,
        sign_interval: sign.map(|(low, high)| (low.exp(), high.exp())),
        difference: estimate(&pairs.differences()),
        is_primary: false,
        is_null: cell.cell.is_null() && cell.cell.lane == reference.cell.lane.null(),
        p_value: statistics::signed_rank_p(&logs),
        p_adjusted: None,
        margin,
        detectable,
        verdict: if is_conclusive {
            verdict_of(decision)
        } else {
            Verdict::Inconclusive
        },
    })
}

/// How far single blocks lie apart: the larger of a robust and the usual measure, so that one wild block is not hidden.
fn spread(logs: &[f64]) -> Option<f64> {
    let robust = statistics::spread(logs)?;
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    Some(robust.max((squares / (count - 1.0)).sqrt()))
}

pub(crate) fn supports_p99(cell: &CellView<'_>) -> bool {
    let metric = cell.main_metric();
    cell.histograms(metric)
        .all(|(_, times)| times.count() as f64 * 0.01 >= TAIL_SAMPLES)
}

pub(crate) const fn verdict_of(decision: Decision) -> Verdict {
    match decision {
        Decision::Different => Verdict::Different,
        Decision::SlightlyDifferent => Verdict::SlightlyDifferent,
        Decision::Equivalent => Verdict::Equivalent,
        Decision::Inconclusive => Verdict::Inconclusive,
    }
}
