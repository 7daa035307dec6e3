//! Lanes against each other: log-ratios within blocks, so that what drifts between blocks cancels, with exact intervals,
//! and the one rule by which every effect is judged.

use sockrates_core::plan::Contrast;
use sockrates_core::record::Metric;
use sockrates_core::summary::{Comparison, Estimate, Judgement, Verdict};
use sockrates_core::verdict::{self, DISTURBED_SHARE};

use crate::basis::{Basis, Noise};
use crate::detection::{self, Situation};
use crate::metrics;
use crate::ratio::median;
use crate::statistics::{self, Decision};
use crate::view::{CellView, LoadPoint, View};

/// How sure the intervals are.
pub(crate) const CONFIDENCE: f64 = 0.95;
/// A percentile is compared when each trial holds so many samples beyond it.
const TAIL_SAMPLES: f64 = 20.0;

/// What every lane is compared with: the protocol most people come from, with its connection kept; and the floor.
const REFERENCES: [&str; 2] = ["http1-persistent", "tcp-persistent"];

/// The steps between the four ways of speaking HTTP/1.1 and WebSocket: the contrasts that a reader comes for.
pub(crate) const CONTRASTS: [(&str, &str); 4] = [
    ("http1-per-request", "http1-persistent"),
    ("websocket-per-request", "websocket-persistent"),
    ("http1-persistent", "websocket-persistent"),
    ("http1-per-request", "websocket-persistent"),
];

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

    pub(crate) fn differences(&self) -> Vec<f64> {
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

/// What the rule says of one effect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    /// The ratio with its 95 % interval.
    pub(crate) ratio: Option<Estimate>,
    /// The sign test's interval of it.
    pub(crate) sign_interval: Option<(f64, f64)>,
    /// The margin that was applied.
    pub(crate) margin: f64,
    /// What may be said.
    pub(crate) verdict: Verdict,
    /// The smallest true ratio, less 1, that the rule finds nine times in ten.
    pub(crate) detectable: Option<f64>,
    /// The two-sided p-value of the signed-rank test.
    pub(crate) p_value: f64,
    /// When inconclusive: the ratio, above 1, that the interval excludes in either direction.
    pub(crate) bound: Option<f64>,
    /// When inconclusive: with how many blocks it would not be.
    pub(crate) blocks_needed: Option<u32>,
}

/// Judges an effect: natural-log ratios of blocks, and what the joint fit makes of them, against the metric's margin and
/// against how far two copies of one lane came out apart. Where these may differ by more than the margin, nothing is
/// stated but a difference beyond that; where their difference is not known, nothing is.
pub(crate) fn judge(logs: &[f64], fitted: Option<f64>, metric_margin: f64, noise: Noise) -> Judged {
    let interval = statistics::signed_rank_interval(logs, CONFIDENCE)
        .map(|direct| holding(direct, fitted.unwrap_or(direct.value)));
    let margin = metric_margin.max(noise.reach());
    let decision = match noise {
        Noise::Unknown => Decision::Inconclusive,
        Noise::Known(_) if margin > metric_margin => {
            if statistics::is_beyond(logs, margin) {
                Decision::Different
            } else {
                Decision::Inconclusive
            }
        }
        _ => statistics::decide(logs, margin),
    };
    let sigma = spread(logs);
    let is_open = decision == Decision::Inconclusive;
    let open = interval.filter(|_| is_open);
    let situation = |found: statistics::Estimate| {
        Some(Situation {
            effect: found.value,
            sigma: sigma?,
            margin: metric_margin,
            blocks: logs.len(),
            null: match noise {
                Noise::Known(null) => Some((
                    null.value,
                    (null.high - null.value).max(null.value - null.low),
                )),
                _ => None,
            },
        })
    };
    Judged {
        ratio: interval.map(exponential),
        sign_interval: statistics::sign_interval(logs, CONFIDENCE)
            .map(|(low, high)| (low.exp(), high.exp())),
        margin,
        verdict: verdict_of(decision),
        detectable: sigma.and_then(|sigma| detection::detectable(sigma, logs.len(), margin)),
        p_value: statistics::signed_rank_p(logs),
        bound: open.map(|found| found.high.max(-found.low).exp()),
        blocks_needed: open.and_then(situation).and_then(detection::blocks_needed),
    }
}

/// Moves an interval's estimate, and widens the interval where that would lie outside.
fn holding(direct: statistics::Estimate, value: f64) -> statistics::Estimate {
    statistics::Estimate {
        value,
        low: direct.low.min(value),
        high: direct.high.max(value),
    }
}

fn exponential(estimate: statistics::Estimate) -> Estimate {
    Estimate {
        value: estimate.value.exp(),
        low: estimate.low.exp(),
        high: estimate.high.exp(),
    }
}

/// Turns an estimate on the logarithmic scale into one of ratios.
pub(crate) fn ratio(logs: &[f64]) -> Option<Estimate> {
    statistics::signed_rank_interval(logs, CONFIDENCE).map(exponential)
}

/// Estimates the typical value of a positive number from one value per block: on the logarithmic scale, on which times
/// are spread about evenly to both sides.
pub(crate) fn typical(values: &[f64]) -> Option<Estimate> {
    let is_positive = values.iter().all(|value| *value > 0.0);
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    is_positive.then(|| ratio(&logs)).flatten()
}

/// Estimates what the blocks' values are typically, which may have either sign and lie more to one side: their median,
/// with the sign test's interval of it.
pub(crate) fn middle(values: &[f64]) -> Option<Estimate> {
    middle_holding(values, median(values)?)
}

/// As [`middle`], with an estimate from elsewhere; the interval is widened where that would lie outside.
pub(crate) fn middle_holding(values: &[f64], value: f64) -> Option<Estimate> {
    let (low, high) = statistics::sign_interval(values, CONFIDENCE)?;
    Some(Estimate {
        value,
        low: low.min(value),
        high: high.max(value),
    })
}

/// Of fewer blocks than an interval needs: the median, with the smallest and the largest.
pub(crate) fn range(values: &[f64]) -> Option<Estimate> {
    Some(Estimate {
        value: median(values)?,
        low: values.iter().copied().reduce(f64::min)?,
        high: values.iter().copied().reduce(f64::max)?,
    })
}

/// As [`ratio`]; of fewer blocks than an interval needs the median, with the smallest and the largest.
pub(crate) fn ratio_or_range(logs: &[f64]) -> Option<Estimate> {
    ratio(logs).or_else(|| {
        let range = range(logs)?;
        Some(Estimate {
            value: range.value.exp(),
            low: range.low.exp(),
            high: range.high.exp(),
        })
    })
}

/// Compares everything that is to be compared: the primary contrasts first.
pub(crate) fn all(view: &View<'_>, judgement: &Judgement) -> Vec<Comparison> {
    let mut comparisons = primary(view, judgement);
    for point in &view.load_points() {
        if point.cell().operations.is_some() || !point.has_data() {
            continue;
        }
        for metric in compared(point) {
            let basis = Basis::of(point, &metric);
            for (cell, reference) in pairs(point) {
                let is_known = |known: &Comparison| {
                    known.cell == cell.cell.id
                        && known.reference == reference.cell.id
                        && known.metric == metric
                };
                if !comparisons.iter().any(is_known) {
                    let found = compare(
                        cell,
                        reference,
                        &metric,
                        &basis,
                        judgement.concludes(&metric),
                    );
                    comparisons.extend(found);
                }
            }
        }
    }
    comparisons
}

/// Returns the pairs of cells of a load point that are compared: all with its references, and those of the contrasts.
fn pairs<'a>(point: &LoadPoint<'a>) -> Vec<(&'a CellView<'a>, &'a CellView<'a>)> {
    let mut pairs: Vec<(&CellView<'_>, &CellView<'_>)> = Vec::new();
    for reference in references(point).iter().filter_map(|name| point.lane(name)) {
        let others = point
            .cells
            .iter()
            .filter(|cell| cell.cell.id != reference.cell.id && cell.has_data());
        pairs.extend(others.map(|cell| (*cell, reference)));
    }
    if !point.has_several_ways() {
        let of =
            |(cell, reference): &(&str, &str)| Some((point.lane(cell)?, point.lane(reference)?));
        let is_new = |(a, b): &(&CellView<'_>, &CellView<'_>)| {
            let is_it = |pair: &(&CellView<'_>, &CellView<'_>)| {
                pair.0.cell.id == a.cell.id && pair.1.cell.id == b.cell.id
            };
            !pairs.iter().any(is_it)
        };
        let contrasts: Vec<_> = CONTRASTS.iter().filter_map(of).filter(is_new).collect();
        pairs.extend(contrasts);
    }
    pairs
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
        // Ages of news that are polled follow from the interval; delivery in a room has a tail of its own.
        names.truncate(if main == Metric::Staleness { 1 } else { 2 });
        names.push(metrics::CLIENT_SECOND_CPU.to_owned());
    }
    names
}

/// The comparisons that the run is for: all that were planned. One that cannot be made still is one of the questions that
/// were asked, so that the others' p-values are corrected for it.
fn primary(view: &View<'_>, judgement: &Judgement) -> Vec<Comparison> {
    let planned = &view.dataset.manifest.plan.primary;
    let points = view.load_points();
    let answer = |contrast: &Contrast| {
        let mut comparison = contrasted(view, &points, contrast, judgement)
            .unwrap_or_else(|| unanswered(&contrast.cell, &contrast.reference, &contrast.metric));
        comparison.is_primary = true;
        comparison
    };
    let mut comparisons: Vec<Comparison> = planned.iter().map(answer).collect();
    let raw: Vec<_> = comparisons.iter().map(|found| found.p_value).collect();
    for (comparison, adjusted) in comparisons.iter_mut().zip(statistics::holm(&raw)) {
        comparison.p_adjusted = Some(adjusted);
        if adjusted > 1.0 - CONFIDENCE && comparison.verdict != Verdict::Equivalent {
            comparison.verdict = Verdict::Inconclusive;
        }
    }
    comparisons
}

fn contrasted(
    view: &View<'_>,
    points: &[LoadPoint<'_>],
    contrast: &Contrast,
    judgement: &Judgement,
) -> Option<Comparison> {
    let find = |id: &str| view.cells.iter().find(|cell| cell.cell.id == id);
    let (cell, reference) = (find(&contrast.cell)?, find(&contrast.reference)?);
    let point = points
        .iter()
        .find(|point| point.cells.iter().any(|one| one.cell.id == contrast.cell))?;
    let basis = Basis::of(point, &contrast.metric);
    compare(
        cell,
        reference,
        &contrast.metric,
        &basis,
        judgement.concludes(&contrast.metric),
    )
}

/// A comparison of which nothing is known.
fn unanswered(cell: &str, reference: &str, metric: &str) -> Comparison {
    Comparison {
        cell: cell.to_owned(),
        reference: reference.to_owned(),
        metric: metric.to_owned(),
        blocks: 0,
        ratio: None,
        values: None,
        confidence: CONFIDENCE,
        sign_interval: None,
        difference: None,
        is_primary: false,
        is_null: false,
        p_value: 1.0,
        p_adjusted: None,
        margin: verdict::margin(metric),
        detectable: None,
        is_bounded: false,
        bound: None,
        blocks_needed: None,
        verdict: Verdict::Inconclusive,
    }
}

/// Says whether a number was withheld from too many trials of a cell.
fn is_harmed(cell: &CellView<'_>, metric: &str) -> bool {
    cell.withheld(metric) as f64 > cell.valid.len() as f64 * DISTURBED_SHARE
}

/// Compares two cells by one number; `None` when no block holds a supported value of both. Of a number that is only
/// bounded nothing is said but that.
pub(crate) fn compare(
    cell: &CellView<'_>,
    reference: &CellView<'_>,
    metric: &str,
    basis: &Basis<'_>,
    is_conclusive: bool,
) -> Option<Comparison> {
    if metric.ends_with("_p99") && !(supports_p99(cell) && supports_p99(reference)) {
        return None;
    }
    let pairs = Pairs::of(cell, reference, metric);
    if pairs.values.is_empty() {
        return None;
    }
    let is_null = cell.cell.is_null() && cell.cell.lane == reference.cell.lane.null();
    let known = Comparison {
        blocks: u32::try_from(pairs.values.len()).expect("blocks are few"),
        is_null,
        is_bounded: [cell, reference]
            .iter()
            .any(|cell| metrics::is_bound(cell, metric)),
        ..unanswered(&cell.cell.id, &reference.cell.id, metric)
    };
    if known.is_bounded {
        return Some(known);
    }
    // The null lane is the measure of the others, and not of itself.
    let noise = if is_null {
        Noise::Unplanned
    } else {
        basis.noise
    };
    let fitted = basis.contrast(cell, reference);
    let judged = judge(&pairs.log_ratios(), fitted, known.margin, noise);
    let values = (basis.value(cell))
        .zip(basis.value(reference))
        .filter(|_| judged.ratio.is_some());
    let difference =
        values.and_then(|(value, other)| middle_holding(&pairs.differences(), value - other));
    let is_conclusive =
        is_conclusive && ![cell, reference].iter().any(|cell| is_harmed(cell, metric));
    Some(Comparison {
        ratio: judged.ratio,
        values,
        sign_interval: judged.sign_interval,
        difference,
        p_value: judged.p_value,
        margin: judged.margin,
        detectable: judged.detectable,
        bound: judged.bound.filter(|_| is_conclusive),
        blocks_needed: judged.blocks_needed.filter(|_| is_conclusive),
        verdict: if is_conclusive {
            judged.verdict
        } else {
            Verdict::Inconclusive
        },
        ..known
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
