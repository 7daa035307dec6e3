//! The numbers of one load point, B against A.

use serde::Serialize;
use sockrates_core::lane::Lane;
use sockrates_core::record::Wire;
use sockrates_core::summary::{Estimate, Unit, Verdict};
use sockrates_core::verdict;

use super::{NotCompared, Shared};
use crate::basis::Basis;
use crate::comparison::{self, CONFIDENCE, Pairs, by_block};
use crate::ratio::{centred, median};
use crate::statistics::{self, Decision};
use crate::view::{CellView, LoadPoint};
use crate::{metrics, sheets, text};

/// Both one-sided 95 % bounds together: an interval within the margin shows equivalence.
const EQUIVALENCE_CONFIDENCE: f64 = 0.90;

/// The comparisons of one load point.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) scenario: String,
    pub(crate) connections: u32,
    pub(crate) load: String,
    pub(crate) payload: String,
    #[serde(skip)]
    pub(super) payload_bytes: u32,
    pub(crate) comparisons: Vec<Compared>,
    pub(super) counts: Vec<Counted>,
    #[serde(skip)]
    pub(crate) slug: String,
    #[serde(skip)]
    pub(crate) time: String,
    /// The ids of the cells that are compared, where their times may be drawn over each other.
    #[serde(skip)]
    pub(crate) overlaid: Vec<(String, String)>,
}

/// One number of B against that of A.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    cell_a: String,
    cell_b: String,
    pub(crate) lane_a: Lane,
    pub(crate) lane_b: Lane,
    /// What tells the cell of B from the others of its load point.
    #[serde(skip)]
    pub(crate) name: String,
    /// The lane of the same run and block that both sides were divided by; null for the number itself.
    pub(crate) relative_to: Option<String>,
    pub(crate) metric: String,
    /// Of the medians and the difference; null for ratios, which have none.
    unit: Option<Unit>,
    pub(super) a_median: Option<f64>,
    pub(super) b_median: Option<f64>,
    a_trials: u32,
    b_trials: u32,
    /// Both sides' typical values, A first, as estimated with the ratio: their quotient is the ratio. Null without one.
    pub(super) values: Option<(f64, f64)>,
    /// The estimated ratio with its interval; null when there are too few blocks.
    pub(crate) ratio: Option<Estimate>,
    /// The same as a difference, where blocks are shared.
    difference: Option<Estimate>,
    confidence: f64,
    /// The ratio, less 1, below which a difference does not matter.
    pub(crate) margin: f64,
    verdict: Verdict,
}

/// What an operation took on the wire. Such counts do not depend on the machine.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    pub(super) lane_a: Lane,
    pub(super) lane_b: Lane,
    /// What was counted, per operation.
    pub(super) count: &'static str,
    pub(super) a_per_operation: f64,
    pub(super) b_per_operation: f64,
    pub(super) verdict: Verdict,
}

fn empty_point(point: &LoadPoint<'_>) -> Point {
    Point {
        scenario: text::line(&point.cell().scenario),
        connections: point.cell().connections,
        load: point.load_text(),
        payload: point.payload_text(),
        payload_bytes: point.cell().workload.payload_bytes(),
        comparisons: Vec::new(),
        counts: Vec::new(),
        slug: point.slug(),
        time: text::metric(point.main_metric()),
        overlaid: Vec::new(),
    }
}

/// Counted operations are for counting: their times are those of a cold start.
fn is_counted(point: &LoadPoint<'_>) -> bool {
    point.cell().operations.is_some()
}

/// A search's times are those at a rate of its own, and those of several ways too far apart for one picture.
fn is_overlaid(point: &LoadPoint<'_>) -> bool {
    !is_counted(point) && !point.is_search() && !point.has_several_ways()
}

pub(super) fn runs_point(
    point: &LoadPoint<'_>,
    shared: &[Shared<'_>],
    is_absolute: bool,
    is_conclusive: bool,
) -> Point {
    let mut compared = empty_point(point);
    if is_counted(point) {
        let counts = shared.iter().flat_map(|pair| counts(*pair, is_conclusive));
        compared.counts = counts.collect();
        return compared;
    }
    let names = comparison::compared(point);
    if is_absolute {
        for pair in shared {
            let rows = names.iter().filter_map(|name| absolute(*pair, name));
            compared.comparisons.extend(rows);
        }
        if is_overlaid(point) {
            let ids = |pair: &Shared<'_>| (pair.0.cell.id.clone(), pair.1.cell.id.clone());
            let drawn = shared.iter().filter(|pair| !pair.0.cell.is_null());
            compared.overlaid = drawn.map(ids).collect();
        }
    }
    for reference in comparison::references(point) {
        let is_it = |pair: &&Shared<'_>| pair.0.cell.lane.to_string() == *reference;
        let Some(below) = shared.iter().find(is_it) else {
            continue;
        };
        for pair in shared
            .iter()
            .filter(|pair| pair.0.cell.id != below.0.cell.id)
        {
            let rows = names
                .iter()
                .filter_map(|name| relative(*pair, *below, name));
            compared.comparisons.extend(rows);
        }
    }
    if !is_conclusive {
        for row in &mut compared.comparisons {
            row.verdict = Verdict::Inconclusive;
        }
    }
    compared
}

pub(super) fn lanes_point(
    point: &LoadPoint<'_>,
    a: &CellView<'_>,
    b: &CellView<'_>,
    is_conclusive: bool,
) -> Point {
    let mut compared = empty_point(point);
    if is_counted(point) {
        compared.counts = counts((a, b), is_conclusive);
        return compared;
    }
    let names = comparison::compared(point);
    let rows = names
        .iter()
        .filter_map(|name| paired(point, (a, b), name, is_conclusive));
    compared.comparisons = rows.collect();
    if is_overlaid(point) {
        compared.overlaid = vec![(a.cell.id.clone(), b.cell.id.clone())];
    }
    compared
}

/// Compares two cells of one run, block by block.
fn paired(
    point: &LoadPoint<'_>,
    (a, b): Shared<'_>,
    metric: &str,
    is_conclusive: bool,
) -> Option<Compared> {
    let basis = Basis::of(point, metric);
    let found = comparison::compare(b, a, metric, &basis, is_conclusive)?;
    let pairs = Pairs::of(b, a, metric).values;
    let of_a: Vec<_> = pairs.iter().map(|(_, _, a)| *a).collect();
    let of_b: Vec<_> = pairs.iter().map(|(_, b, _)| *b).collect();
    let mut row = row((a, b), metric, &of_a, &of_b);
    row.ratio = found.ratio;
    row.margin = found.margin;
    row.difference = found.difference;
    row.verdict = found.verdict;
    row.values = found.values.map(|(b, a)| (a, b));
    Some(row)
}

/// Compares a number's trials in two runs.
fn absolute((a, b): Shared<'_>, metric: &str) -> Option<Compared> {
    if !is_supported(metric, &[a, b]) {
        return None;
    }
    let (of_a, of_b) = (positive(a, metric), positive(b, metric));
    unpaired((a, b), metric, &of_a, &of_b)
}

/// Compares what a lane's number is as a multiple of another lane's, in two runs.
fn relative((a, b): Shared<'_>, below: Shared<'_>, metric: &str) -> Option<Compared> {
    if !is_supported(metric, &[a, b, below.0, below.1]) {
        return None;
    }
    let ratios = |cell, below| -> Vec<f64> {
        let logs = Pairs::of(cell, below, metric).log_ratios();
        logs.into_iter().map(f64::exp).collect()
    };
    let (of_a, of_b) = (ratios(a, below.0), ratios(b, below.1));
    let mut row = unpaired((a, b), metric, &of_a, &of_b)?;
    row.relative_to = Some(below.0.cell.lane.to_string());
    row.unit = None;
    Some(row)
}

fn is_supported(metric: &str, cells: &[&CellView<'_>]) -> bool {
    !metric.ends_with("_p99") || cells.iter().all(|cell| comparison::supports_p99(cell))
}

fn positive(cell: &CellView<'_>, metric: &str) -> Vec<f64> {
    let values = by_block(cell, metric).into_iter().map(|(_, value)| value);
    values.filter(|value| *value > 0.0).collect()
}

/// Compares two samples that share no block; `None` when one is empty.
fn unpaired(cells: Shared<'_>, metric: &str, a: &[f64], b: &[f64]) -> Option<Compared> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let mut row = row(cells, metric, a, b);
    let logs = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.ln()).collect() };
    if let Some((shift, decision)) = decide_shift(&logs(a), &logs(b), row.margin) {
        row.ratio = Some(shift);
        row.verdict = comparison::verdict_of(decision);
        row.center();
    }
    Some(row)
}

/// Judges by how much `b` lies above `a`, both natural logarithms, against a margin that is a ratio less 1: as
/// [`statistics::decide`] does, for two samples. `None` when there are too few values for an interval.
pub(crate) fn decide_shift(a: &[f64], b: &[f64], margin: f64) -> Option<(Estimate, Decision)> {
    let limit = margin.ln_1p();
    let shift = statistics::rank_sum_interval(b, a, CONFIDENCE)?;
    let inner = statistics::rank_sum_interval(b, a, EQUIVALENCE_CONFIDENCE)?;
    let decision = if shift.low > limit || shift.high < -limit {
        Decision::Different
    } else if inner.low >= -limit && inner.high <= limit {
        Decision::Equivalent
    } else if shift.low > 0.0 || shift.high < 0.0 {
        Decision::SlightlyDifferent
    } else {
        Decision::Inconclusive
    };
    let ratio = Estimate {
        value: shift.value.exp(),
        low: shift.low.exp(),
        high: shift.high.exp(),
    };
    Some((ratio, decision))
}

/// Makes a row that says no more than the medians.
fn row((a, b): Shared<'_>, metric: &str, of_a: &[f64], of_b: &[f64]) -> Compared {
    let (a_median, b_median) = (median(of_a), median(of_b));
    let count = |values: &[f64]| u32::try_from(values.len()).expect("trials are few");
    Compared {
        cell_a: a.cell.id.clone(),
        cell_b: b.cell.id.clone(),
        name: b.name(),
        lane_a: a.cell.lane.clone(),
        lane_b: b.cell.lane.clone(),
        relative_to: None,
        metric: metric.to_owned(),
        unit: Some(metrics::unit(metric)),
        a_median,
        b_median,
        a_trials: count(of_a),
        b_trials: count(of_b),
        values: None,
        ratio: None,
        difference: None,
        confidence: CONFIDENCE,
        margin: verdict::margin(metric),
        verdict: Verdict::Inconclusive,
    }
}

/// A count's name, and where it is found.
type Count = (&'static str, fn(&Wire) -> u64);

/// Retransmissions are left out: they are the network's doing.
const COUNTS: [Count; 6] = [
    ("connections", |wire| wire.connections),
    ("handshakes", |wire| wire.handshakes),
    ("bytes_sent", |wire| wire.bytes_sent),
    ("bytes_received", |wire| wire.bytes_received),
    ("data_segments_sent", |wire| wire.data_segments_sent),
    ("data_segments_received", |wire| wire.data_segments_received),
];

/// Compares counts per operation: the same when the trials of both sides overlap.
fn counts((a, b): Shared<'_>, is_conclusive: bool) -> Vec<Counted> {
    COUNTS
        .iter()
        .filter_map(|(name, count)| {
            let (of_a, of_b) = (per_operation(a, *count), per_operation(b, *count));
            let verdict = match (is_conclusive, is_apart(&of_a, &of_b)?) {
                (false, _) => Verdict::Inconclusive,
                (true, true) => Verdict::Different,
                (true, false) => Verdict::Equivalent,
            };
            Some(Counted {
                lane_a: a.cell.lane.clone(),
                lane_b: b.cell.lane.clone(),
                count: name,
                a_per_operation: median(&of_a)?,
                b_per_operation: median(&of_b)?,
                verdict,
            })
        })
        .collect()
}

/// Returns a count per operation of each trial. What is counted spans the whole trial, warm-up included.
fn per_operation(cell: &CellView<'_>, count: fn(&Wire) -> u64) -> Vec<f64> {
    cell.valid
        .iter()
        .filter_map(|trial| {
            let measurement = trial.measurement;
            let operations = measurement.operations.verified + measurement.warm_up.verified;
            let wire = measurement.wire.as_ref().filter(|_| operations > 0)?;
            Some(count(wire) as f64 / operations as f64)
        })
        .collect()
}

/// Says whether all values of one side are above all of the other; `None` when one is empty.
fn is_apart(a: &[f64], b: &[f64]) -> Option<bool> {
    let ends = |values: &[f64]| {
        let low = values.iter().copied().reduce(f64::min)?;
        Some((low, values.iter().copied().reduce(f64::max)?))
    };
    let ((low_a, high_a), (low_b, high_b)) = (ends(a)?, ends(b)?);
    Some(low_a > high_b || low_b > high_a)
}

impl Point {
    /// Names the load point: `echo-closed: closed loop, 32 connections`.
    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.scenario, self.load)
    }

    /// Says so when its trials are too short for any number.
    pub(super) fn silence(&self) -> Option<NotCompared> {
        (self.comparisons.is_empty() && self.counts.is_empty()).then(|| NotCompared {
            what: self.title(),
            reason: "no number is supported by enough operations in each trial".to_owned(),
        })
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = &Counted> {
        self.counts.iter()
    }

    /// Returns the lanes whose multiples there are.
    pub(super) fn references(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let named = self.comparisons.iter();
        for reference in named.filter_map(|row| row.relative_to.as_deref()) {
            if !all.contains(&reference) {
                all.push(reference);
            }
        }
        all
    }

    /// Returns the numbers themselves, or what they are as multiples of another lane's.
    pub(crate) fn rows<'a>(
        &'a self,
        relative_to: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Compared> {
        let is_it = move |row: &&Compared| row.relative_to.as_deref() == relative_to;
        self.comparisons.iter().filter(is_it)
    }
}

impl Compared {
    /// Finds the values that may stand beside the ratio.
    fn center(&mut self) {
        let medians = self.a_median.zip(self.b_median);
        self.values = medians
            .zip(self.ratio)
            .map(|((a, b), ratio)| centred(a, b, ratio.value));
    }

    /// Says whether its verdict carries an effect.
    pub(crate) fn is_told(&self) -> bool {
        self.ratio.is_some() && self.verdict != Verdict::Inconclusive
    }

    /// Returns both sides: with the ratio where there is one, else the medians.
    pub(super) fn sides(&self) -> (Option<f64>, Option<f64>) {
        match self.values {
            Some((a, b)) => (Some(a), Some(b)),
            None => (self.a_median, self.b_median),
        }
    }

    pub(super) const fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) const fn unit(&self) -> Option<Unit> {
        self.unit
    }

    pub(super) fn cells(&self) -> Vec<String> {
        if self.cell_a == self.cell_b {
            return vec![self.cell_a.clone()];
        }
        vec![self.cell_a.clone(), self.cell_b.clone()]
    }

    /// Says whether it is the number that its load point is about.
    pub(crate) fn is_main(&self) -> bool {
        self.metric.ends_with("_p50") || self.metric == metrics::CAPACITY
    }

    /// Names the number as in a table whose title names the time.
    pub(crate) fn number(&self) -> &str {
        match self.metric.as_str() {
            metrics::CPU => "CPU/op",
            metrics::CLIENT_SECOND_CPU => "CPU/client",
            metric if metric.ends_with("_p50") => "p50",
            metric if metric.ends_with("_p99") => "p99",
            metric => metric,
        }
    }

    /// Writes the ratio with its interval: `1.20× [1.15–1.26]`; near 1 with a digit more.
    pub(crate) fn ratio_text(&self) -> String {
        let digits = |low: f64, high: f64, ratio: f64| {
            if low > 0.9 && high < 1.1 {
                format!("{ratio:.3}")
            } else {
                text::plain_ratio(ratio)
            }
        };
        let Some(it) = &self.ratio else {
            return text::NONE.to_owned();
        };
        let [value, low, high] =
            [it.value, it.low, it.high].map(|end| digits(it.low, it.high, end));
        if self.is_told() {
            format!("{value}× [{low}–{high}]")
        } else {
            format!("not told [{low}–{high}]")
        }
    }

    /// Writes what may be said.
    pub(crate) fn verdict_text(&self) -> &'static str {
        if self.ratio.is_none() {
            return "too few blocks";
        }
        sheets::verdict(self.verdict)
    }

    pub(super) fn median_text(&self, median: Option<f64>) -> String {
        match (median, self.unit) {
            (Some(value), Some(unit)) => text::number(value, unit),
            (Some(value), None) => text::times(value),
            (None, _) => text::NONE.to_owned(),
        }
    }

    pub(super) fn difference_text(&self) -> String {
        let told = self.difference.zip(self.unit).filter(|_| self.is_told());
        let Some((it, unit)) = told else {
            return text::NONE.to_owned();
        };
        let sign = if it.value > 0.0 { "+" } else { "" };
        format!("{sign}{}", text::number(it.value, unit))
    }

    pub(super) fn trials_text(&self) -> String {
        format!("{} and {}", self.a_trials, self.b_trials)
    }
}
