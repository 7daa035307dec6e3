//! Two runs, or two lanes of one run, side by side: B relative to A, with intervals and verdicts.
//!
//! Lanes of one run are paired within blocks. Two runs share no block, so their trials are two samples; and their times
//! are only comparable when machine and build are the same. Ratios between lanes of one run, and counts, always are.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use sockrates_core::files::write_whole;
use sockrates_core::lane::Lane;
use sockrates_core::manifest::RunStatus;
use sockrates_core::record::Wire;
use sockrates_core::summary::{Estimate, Unit, Verdict};
use sockrates_core::{units, verdict};

use crate::charts::{Drawn, overlay, render};
use crate::comparison::{self, CONFIDENCE, Pairs, REFERENCES, by_block};
use crate::dataset::Dataset;
use crate::ratio::median;
use crate::statistics::{self, Decision};
use crate::view::{CellView, LoadPoint, View};
use crate::{finding, judgement, metrics, text};

/// Both one-sided 95 % bounds together: an interval within the margin shows equivalence.
const EQUIVALENCE_CONFIDENCE: f64 = 0.90;
const COLUMNS: usize = 100;

/// Two runs or two lanes, compared. Every ratio is of B to A.
#[derive(Debug, Serialize)]
pub struct SideBySide {
    schema: &'static str,
    schema_version: u32,
    command: String,
    kind: Kind,
    a: Side,
    b: Side,
    /// Whether times and rates themselves are compared, and not only ratios and counts.
    is_absolute: bool,
    fingerprint_differences: Vec<FieldDifference>,
    notices: Vec<String>,
    pub(crate) load_points: Vec<Point>,
    not_compared: Vec<NotCompared>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Runs,
    Lanes,
}

/// A or B.
#[derive(Debug, Serialize)]
struct Side {
    /// The run's id, or the lane's name.
    name: String,
    run_id: String,
    fingerprint: String,
    version: String,
    is_conclusive: bool,
    reasons: Vec<String>,
}

/// What stands in both fingerprints, and is not the same.
#[derive(Debug, Serialize)]
struct FieldDifference {
    field: String,
    a: String,
    b: String,
}

/// What only one side has, or both have differently.
#[derive(Debug, Serialize)]
struct NotCompared {
    /// A cell's id, or a load point.
    what: String,
    reason: String,
}

/// The comparisons of one load point.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) scenario: String,
    pub(crate) connections: u32,
    pub(crate) load: String,
    pub(crate) payload: String,
    pub(crate) comparisons: Vec<Compared>,
    counts: Vec<Counted>,
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
    pub(crate) lane_a: Lane,
    pub(crate) lane_b: Lane,
    /// The lane of the same run and block that both sides were divided by; null for the number itself.
    pub(crate) relative_to: Option<String>,
    pub(crate) metric: String,
    /// Of the medians and the difference; null for ratios, which have none.
    unit: Option<Unit>,
    a_median: Option<f64>,
    b_median: Option<f64>,
    a_trials: u32,
    b_trials: u32,
    pub(crate) ratio_of_medians: Option<f64>,
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
struct Counted {
    lane_a: Lane,
    lane_b: Lane,
    /// What was counted, per operation.
    count: &'static str,
    a_per_operation: f64,
    b_per_operation: f64,
    verdict: Verdict,
}

/// Says why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The run holds no such lane.
    #[error("run {run} has no lane `{lane}`; it has: {known}")]
    UnknownLane {
        /// The run.
        run: String,
        /// The name that was asked for.
        lane: String,
        /// The lanes there are.
        known: String,
    },
    /// No load point holds both lanes.
    #[error("no load point of run {run} holds valid trials of both {a} and {b}")]
    NoSharedLoadPoint {
        /// The run.
        run: String,
        /// The first lane.
        a: String,
        /// The second lane.
        b: String,
    },
    /// No cell is in both runs.
    #[error(
        "runs {a} and {b} share no cell with valid trials ({reasons}); compare runs of the same profile or scenario"
    )]
    NoSharedCell {
        /// The first run.
        a: String,
        /// The second run.
        b: String,
        /// What keeps the cells apart.
        reasons: String,
    },
}

/// Compares two runs: times where the fingerprints are the same, ratios between lanes and counts in any case.
pub fn compare_runs(a: &Dataset, b: &Dataset) -> Result<SideBySide, CompareError> {
    let views = (View::new(a), View::new(b));
    let sides = (side(&views.0, None), side(&views.1, None));
    let is_absolute = a.manifest.fingerprint.id == b.manifest.fingerprint.id;
    let is_conclusive = sides.0.is_conclusive && sides.1.is_conclusive;
    let (mut load_points, mut not_compared) = (Vec::new(), Vec::new());
    for point in views.0.load_points() {
        let shared = shared_cells(&point, &views.1, &mut not_compared);
        if !shared.is_empty() {
            load_points.push(runs_point(&point, &shared, is_absolute, is_conclusive));
        }
    }
    not_compared.extend(only_in_b(&views.0, &views.1));
    if load_points.is_empty() {
        return Err(CompareError::NoSharedCell {
            a: sides.0.name,
            b: sides.1.name,
            reasons: reasons(&not_compared),
        });
    }
    let fingerprint_differences = if is_absolute {
        Vec::new()
    } else {
        differences(&a.manifest.fingerprint, &b.manifest.fingerprint)
    };
    let mut notices = vec![if is_absolute {
        "Two runs at different times differ by whatever the machine did in between, besides by what was changed."
            .to_owned()
    } else {
        refusal(&fingerprint_differences)
    }];
    notices.extend(conditions(&views.0, &views.1));
    Ok(assemble(
        Kind::Runs,
        sides,
        is_absolute,
        fingerprint_differences,
        notices,
        load_points,
        not_compared,
    ))
}

/// Compares two lanes of one run, load point by load point, within blocks.
pub fn compare_lanes(run: &Dataset, a: &Lane, b: &Lane) -> Result<SideBySide, CompareError> {
    let view = View::new(run);
    let run_id = || text::line(&run.manifest.run_id);
    for lane in [a, b] {
        if !view.cells.iter().any(|cell| cell.cell.lane == *lane) {
            return Err(CompareError::UnknownLane {
                run: run_id(),
                lane: lane.to_string(),
                known: lanes_of(&view),
            });
        }
    }
    let sides = (side(&view, Some(a)), side(&view, Some(b)));
    let (mut load_points, mut not_compared) = (Vec::new(), Vec::new());
    for point in view.load_points() {
        match (point.lane(&a.to_string()), point.lane(&b.to_string())) {
            (Some(one), Some(other)) => {
                load_points.push(lanes_point(&point, one, other, sides.0.is_conclusive));
            }
            (None, None) => {}
            (found, _) => not_compared.push(NotCompared {
                what: title(&point),
                reason: format!("no valid trial of {}", if found.is_some() { b } else { a }),
            }),
        }
    }
    if load_points.is_empty() {
        return Err(CompareError::NoSharedLoadPoint {
            run: run_id(),
            a: a.to_string(),
            b: b.to_string(),
        });
    }
    Ok(assemble(
        Kind::Lanes,
        sides,
        true,
        Vec::new(),
        Vec::new(),
        load_points,
        not_compared,
    ))
}

/// Adds what is to be known of both sides, and the command that says the same by ids.
fn assemble(
    kind: Kind,
    (a, b): (Side, Side),
    is_absolute: bool,
    fingerprint_differences: Vec<FieldDifference>,
    mut notices: Vec<String>,
    load_points: Vec<Point>,
    mut not_compared: Vec<NotCompared>,
) -> SideBySide {
    notices.extend(doubts(&a, &b));
    not_compared.extend(load_points.iter().filter_map(Point::silence));
    notices.push(
        "Each line stands for itself: of a hundred without any difference, about five read `slightly different` by \
         chance."
            .to_owned(),
    );
    let (one, other) = (text::slug(&a.name), text::slug(&b.name));
    let command = match kind {
        Kind::Runs => format!("sockrates compare {one} {other}"),
        Kind::Lanes => format!(
            "sockrates compare {one} {other} --run {}",
            text::slug(&a.run_id)
        ),
    };
    SideBySide {
        schema: "sockrates-side-by-side",
        schema_version: 1,
        command,
        kind,
        a,
        b,
        is_absolute,
        fingerprint_differences,
        notices,
        load_points,
        not_compared,
    }
}

fn side(view: &View<'_>, lane: Option<&Lane>) -> Side {
    let manifest = &view.dataset.manifest;
    let judgement = judgement::of(view);
    let run_id = text::line(&manifest.run_id);
    let mut reasons = judgement.reasons;
    if view.dataset.records.is_empty() {
        reasons.push("no trial was measured".to_owned());
    }
    if manifest.status == RunStatus::Partial {
        reasons.push("the run is not complete".to_owned());
    }
    if !view.dataset.damaged.is_empty() {
        let damaged = view.dataset.damaged.len();
        reasons.push(format!("{damaged} of its files could not be read"));
    }
    Side {
        name: lane.map_or_else(|| run_id.clone(), Lane::to_string),
        run_id,
        fingerprint: text::line(&manifest.fingerprint.id),
        version: text::line(&manifest.fingerprint.version),
        is_conclusive: judgement.is_conclusive,
        reasons,
    }
}

/// Says what each run's own judgement is, once where both sides are of one run.
fn doubts(a: &Side, b: &Side) -> Vec<String> {
    let is_one_run = a.run_id == b.run_id && a.reasons == b.reasons;
    let sides = if is_one_run { vec![a] } else { vec![a, b] };
    sides
        .into_iter()
        .filter(|side| !side.reasons.is_empty() || !side.is_conclusive)
        .map(|side| {
            let reasons = side.reasons.join("; ");
            if side.is_conclusive {
                format!("Run {}: {reasons}.", side.run_id)
            } else {
                format!(
                    "Run {} is inconclusive, so every verdict here is: {reasons}.",
                    side.run_id
                )
            }
        })
        .collect()
}

fn lanes_of(view: &View<'_>) -> String {
    let mut names: Vec<String> = Vec::new();
    for cell in &view.cells {
        let name = cell.cell.lane.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// A cell of A with its like of B.
type Shared<'a> = (&'a CellView<'a>, &'a CellView<'a>);

/// Finds the cells that are the same in both runs, and says of all others why not.
fn shared_cells<'a>(
    point: &LoadPoint<'a>,
    b: &'a View<'a>,
    not_compared: &mut Vec<NotCompared>,
) -> Vec<Shared<'a>> {
    let mut shared = Vec::new();
    for cell in point.cells.iter().copied() {
        let other = b.cells.iter().find(|other| other.cell.id == cell.cell.id);
        match other.map_or(Err("only in A".to_owned()), |other| like(cell, other)) {
            Ok(pair) => shared.push(pair),
            Err(reason) => not_compared.push(NotCompared {
                what: text::line(&cell.cell.id),
                reason,
            }),
        }
    }
    shared
}

fn like<'a>(a: &'a CellView<'a>, b: &'a CellView<'a>) -> Result<Shared<'a>, String> {
    if a.cell != b.cell {
        let fields: Vec<_> = differences(a.cell, b.cell)
            .into_iter()
            .map(|difference| difference.field)
            .collect();
        return Err(format!("defined differently: {}", fields.join(", ")));
    }
    match (a.has_data(), b.has_data()) {
        (true, true) => Ok((a, b)),
        (false, true) => Err("no valid trial in A".to_owned()),
        (true, false) => Err("no valid trial in B".to_owned()),
        (false, false) => Err("no valid trial in either".to_owned()),
    }
}

fn only_in_b(a: &View<'_>, b: &View<'_>) -> Vec<NotCompared> {
    let is_known = |id: &str| a.cells.iter().any(|cell| cell.cell.id == id);
    b.cells
        .iter()
        .filter(|cell| !is_known(&cell.cell.id))
        .map(|cell| NotCompared {
            what: text::line(&cell.cell.id),
            reason: "only in B".to_owned(),
        })
        .collect()
}

/// Counts the reasons: `3 only in A, 2 defined differently: load`.
fn reasons(not_compared: &[NotCompared]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for cell in not_compared {
        match counts.iter_mut().find(|(reason, _)| *reason == cell.reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((&cell.reason, 1)),
        }
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.join("; ")
}

/// Lists the fields in which two documents differ, without ids that only sum up the others.
fn differences<T: Serialize>(a: &T, b: &T) -> Vec<FieldDifference> {
    let value = |document: &T| serde_json::to_value(document).unwrap_or_default();
    let (a, b) = (value(a), value(b));
    let fields = a.as_object().into_iter().chain(b.as_object()).flatten();
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in fields {
        if name != "id" && a.get(name) != b.get(name) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
        .into_iter()
        .map(|name| FieldDifference {
            field: name.clone(),
            a: shown(a.get(name), b.get(name)),
            b: shown(b.get(name), a.get(name)),
        })
        .collect()
}

/// Writes a field's value; of a list, what the other side's list lacks.
fn shown(value: Option<&Value>, other: Option<&Value>) -> String {
    let lacks = |entry: &&Value| {
        !other
            .and_then(Value::as_array)
            .is_some_and(|o| o.contains(entry))
    };
    let word = |value: &Value| match value {
        Value::String(word) => text::line(word),
        value => text::line(&value.to_string()),
    };
    match value {
        Some(Value::Array(entries)) => {
            let entries: Vec<_> = entries.iter().filter(lacks).map(word).collect();
            if entries.is_empty() {
                text::NONE.to_owned()
            } else {
                entries.join(" ")
            }
        }
        Some(value) => word(value),
        None => text::NONE.to_owned(),
    }
}

fn refusal(differences: &[FieldDifference]) -> String {
    let fields: Vec<_> = differences
        .iter()
        .map(|field| field.field.clone())
        .collect();
    let fields = if fields.is_empty() {
        "the fingerprint's id".to_owned()
    } else {
        text::sentence_list(&fields)
    };
    format!(
        "Times and rates are not compared: the runs differ in {fields}, so any difference could be the machine's or the \
         build's. Ratios between lanes of one run, and counts, can be compared."
    )
}

/// Says what else was different, and is no part of a fingerprint.
fn conditions(a: &View<'_>, b: &View<'_>) -> Vec<String> {
    let (one, other) = (&a.dataset.manifest, &b.dataset.manifest);
    let mut found = Vec::new();
    if one.placement != other.placement {
        found.push("the CPUs that client and server ran on");
    }
    if one.server_arguments != other.server_arguments {
        found.push("the server's arguments");
    }
    if finding::scope(a) != finding::scope(b) {
        found.push("the network between client and server");
    }
    found
        .into_iter()
        .map(|what| format!("The runs also differ in {what}."))
        .collect()
}

fn title(point: &LoadPoint<'_>) -> String {
    format!(
        "{}: {}",
        text::line(&point.cell().scenario),
        point.load_text()
    )
}

fn empty_point(point: &LoadPoint<'_>) -> Point {
    Point {
        scenario: text::line(&point.cell().scenario),
        connections: point.cell().connections,
        load: point.load_text(),
        payload: point.payload_text(),
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

/// A search's times are those at a rate of its own.
fn is_overlaid(point: &LoadPoint<'_>) -> bool {
    !is_counted(point) && !point.is_search()
}

fn runs_point(
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
    for reference in REFERENCES {
        let is_it = |pair: &&Shared<'_>| pair.0.cell.lane.to_string() == reference;
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

fn lanes_point(
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
        .filter_map(|name| paired(a, b, name, is_conclusive));
    compared.comparisons = rows.collect();
    if is_overlaid(point) {
        compared.overlaid = vec![(a.cell.id.clone(), b.cell.id.clone())];
    }
    compared
}

/// Compares two cells of one run, block by block.
fn paired(
    a: &CellView<'_>,
    b: &CellView<'_>,
    metric: &str,
    is_conclusive: bool,
) -> Option<Compared> {
    let found = comparison::compare(b, a, metric, is_conclusive)?;
    let pairs = Pairs::of(b, a, metric).values;
    let of_a: Vec<_> = pairs.iter().map(|(_, _, a)| *a).collect();
    let of_b: Vec<_> = pairs.iter().map(|(_, b, _)| *b).collect();
    let mut row = row((a, b), metric, &of_a, &of_b);
    row.ratio = found.ratio;
    row.difference = found.difference;
    row.verdict = found.verdict;
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
    }
    Some(row)
}

/// Judges by how much `b` lies above `a`, both natural logarithms, against a margin that is a ratio less 1: as
/// [`statistics::decide`] does, for two samples. `None` when there are too few values for an interval.
fn decide_shift(a: &[f64], b: &[f64], margin: f64) -> Option<(Estimate, Decision)> {
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
        lane_a: a.cell.lane.clone(),
        lane_b: b.cell.lane.clone(),
        relative_to: None,
        metric: metric.to_owned(),
        unit: Some(unit(metric)),
        a_median,
        b_median,
        a_trials: count(of_a),
        b_trials: count(of_b),
        ratio_of_medians: a_median.zip(b_median).map(|(a, b)| b / a),
        ratio: None,
        difference: None,
        confidence: CONFIDENCE,
        margin: verdict::margin(metric),
        verdict: Verdict::Inconclusive,
    }
}

fn unit(metric: &str) -> Unit {
    match metric {
        metrics::THROUGHPUT | metrics::CAPACITY => Unit::OperationsPerSecond,
        metrics::CPU | metrics::SERVER_CPU | metrics::CLIENT_CPU => Unit::CpuNsPerOperation,
        _ => Unit::Ns,
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
    fn silence(&self) -> Option<NotCompared> {
        (self.comparisons.is_empty() && self.counts.is_empty()).then(|| NotCompared {
            what: self.title(),
            reason: "no number is supported by enough operations in each trial".to_owned(),
        })
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
    /// Says whether it is the number that its load point is about.
    pub(crate) fn is_main(&self) -> bool {
        self.metric.ends_with("_p50") || self.metric == metrics::CAPACITY
    }

    /// Names the number as in a table whose title names the time.
    pub(crate) fn number(&self) -> &str {
        match self.metric.as_str() {
            metrics::CPU => "CPU/op",
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
        match (&self.ratio, self.ratio_of_medians) {
            (Some(it), _) => {
                let [value, low, high] =
                    [it.value, it.low, it.high].map(|end| digits(it.low, it.high, end));
                format!("{value}× [{low}–{high}]")
            }
            (None, Some(ratio)) => format!("{}×", digits(ratio, ratio, ratio)),
            (None, None) => text::NONE.to_owned(),
        }
    }

    /// Writes what may be said.
    pub(crate) fn verdict_text(&self) -> &'static str {
        if self.ratio.is_none() {
            return "too few blocks";
        }
        verdict_word(self.verdict)
    }

    fn median_text(&self, median: Option<f64>) -> String {
        match (median, self.unit) {
            (Some(value), Some(unit)) => text::number(value, unit),
            (Some(value), None) => text::times(value),
            (None, _) => text::NONE.to_owned(),
        }
    }

    fn difference_text(&self) -> String {
        let Some((it, unit)) = self.difference.zip(self.unit) else {
            return text::NONE.to_owned();
        };
        let sign = if it.value > 0.0 { "+" } else { "" };
        format!("{sign}{}", text::number(it.value, unit))
    }

    fn trials_text(&self) -> String {
        format!("{} and {}", self.a_trials, self.b_trials)
    }
}

const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Different => "different",
        Verdict::SlightlyDifferent => "slightly different",
        Verdict::Equivalent => "equivalent",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// A table for the terminal and for Markdown.
struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A table's column. On the terminal those without a width are left out.
struct Column {
    heading: &'static str,
    width: usize,
    is_number: bool,
}

const fn words(heading: &'static str, width: usize) -> Column {
    Column {
        heading,
        width,
        is_number: false,
    }
}

const fn number(heading: &'static str, width: usize) -> Column {
    Column {
        heading,
        width,
        is_number: true,
    }
}

impl SideBySide {
    /// Replaces the command that is told to make this again, where ids alone do not find the runs.
    #[must_use]
    pub fn with_command(mut self, command: &str) -> Self {
        self.command = text::line(command);
        self
    }

    /// Returns a folder's name for what is written: `A--B`.
    pub fn folder_name(&self) -> String {
        format!("{}--{}", text::slug(&self.a.name), text::slug(&self.b.name))
    }

    /// Draws A and B over each other, from the same datasets (lanes: the same one twice) that were compared. Nothing is
    /// drawn where only ratios may be compared.
    pub fn charts(&self, a: &Dataset, b: &Dataset) -> Charts {
        if !self.is_absolute {
            return Charts::default();
        }
        Charts(overlay::draw(self, &View::new(a), &View::new(b)))
    }

    /// Writes `compare.md` and the pictures.
    pub fn write(&self, folder: &Path, charts: &Charts) -> anyhow::Result<()> {
        let save = |name: &str, contents: &[u8]| {
            let path = folder.join(name);
            write_whole(&path, contents).with_context(|| format!("write {}", path.display()))
        };
        save("compare.md", self.page(&charts.0).as_bytes())?;
        for chart in &charts.0 {
            let comment = format!(
                "{}; made by: {}",
                chart.question,
                text::comment(&self.command)
            );
            let svg = render::svg(&chart.scene, &comment)?;
            save(&format!("{}.svg", chart.stem), svg.as_bytes())?;
            let name = format!("{}.png", chart.stem);
            save(&name, &render::png(&chart.scene, &folder.join(&name))?)?;
        }
        Ok(())
    }

    /// Says whether two lanes of one run are compared, and not two runs.
    pub(crate) fn is_of_lanes(&self) -> bool {
        self.kind == Kind::Lanes
    }

    /// Names both sides as pictures do.
    pub(crate) fn sides(&self) -> String {
        let sides = format!("A: {} · B: {}", self.a.name, self.b.name);
        match self.kind {
            Kind::Runs => sides,
            Kind::Lanes => format!("{sides} · run {}", self.a.run_id),
        }
    }

    /// Names the versions that measured.
    pub(crate) fn versions(&self) -> String {
        if self.a.version == self.b.version {
            format!("sockrates {}", self.a.version)
        } else {
            format!("sockrates {} and {}", self.a.version, self.b.version)
        }
    }

    fn heading(&self) -> String {
        match self.kind {
            Kind::Runs => format!("A is run {}, B is run {}", self.a.name, self.b.name),
            Kind::Lanes => format!(
                "A is {}, B is {}, both of run {}",
                self.a.name, self.b.name, self.a.run_id
            ),
        }
    }

    fn legend(&self) -> String {
        let medians = match self.kind {
            Kind::Runs => "medians over trials",
            Kind::Lanes => "medians over blocks",
        };
        format!(
            "B/A is the estimated ratio of B to A with its 95 % interval, beside {medians}; above 1, B's number is the \
             larger."
        )
    }

    /// Tells it in plain text, at most 100 columns wide.
    pub fn text(&self) -> String {
        let mut text = String::new();
        paragraph(&mut text, &format!("{}. {}", self.heading(), self.legend()));
        for notice in &self.notices {
            paragraph(&mut text, &format!("! {notice}"));
        }
        for field in &self.fingerprint_differences {
            let FieldDifference { field, a, b } = field;
            paragraph(&mut text, &format!("- {field}: A: {a} | B: {b}"));
        }
        for table in self.tables(!self.is_absolute) {
            text.push('\n');
            table.write_text(&mut text);
        }
        if !self.not_compared.is_empty() {
            text.push_str("\nNot compared\n");
        }
        for cell in &self.not_compared {
            paragraph(&mut text, &format!("- {}: {}", cell.what, cell.reason));
        }
        text
    }

    /// Tells it as Markdown, all of it, without pictures.
    pub fn markdown(&self) -> String {
        self.page(&[])
    }

    fn page(&self, charts: &[Drawn]) -> String {
        let mut page = format!(
            "Made by: `{}`\n\n# {}\n\n{}\n",
            self.command.replace('`', "'"),
            escaped(&self.heading()),
            escaped(&self.legend())
        );
        let mut list = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                page.push_str(&format!("\n## {title}\n\n"));
                for line in lines {
                    page.push_str(&format!("- {}\n", escaped(&line)));
                }
            }
        };
        list("To know", self.notices.clone());
        let differing = self.fingerprint_differences.iter();
        let differing =
            differing.map(|field| format!("{}: A: {} | B: {}", field.field, field.a, field.b));
        list("Differing fingerprints", differing.collect());
        let left_out = self.not_compared.iter();
        let left_out = left_out.map(|cell| format!("{}: {}", cell.what, cell.reason));
        list("Not compared", left_out.collect());
        for table in self.tables(true) {
            table.write_markdown(&mut page);
        }
        for chart in charts {
            let (alt, stem) = (
                escaped(&format!("{} {}", chart.question, chart.caption)),
                &chart.stem,
            );
            page.push_str(&format!(
                "\n![{alt}]({stem}.svg)\n\n{}\n",
                escaped(chart.reading)
            ));
        }
        page
    }

    /// Makes the tables; a short list keeps only the main number of the ratios between lanes.
    fn tables(&self, is_full: bool) -> Vec<Table> {
        let mut tables = Vec::new();
        for point in &self.load_points {
            tables.extend(self.numbers(point));
            for reference in REFERENCES {
                tables.extend(ratios(point, reference, is_full));
            }
            tables.extend(self.count_table(point));
        }
        tables
    }

    fn numbers(&self, point: &Point) -> Option<Table> {
        let is_of_lanes = self.is_of_lanes();
        let first = |row: &Compared| {
            if is_of_lanes {
                Vec::new()
            } else {
                vec![row.lane_b.to_string()]
            }
        };
        let last = |row: &Compared| {
            if is_of_lanes {
                vec![row.difference_text()]
            } else {
                Vec::new()
            }
        };
        let rows: Vec<_> = point
            .rows(None)
            .map(|row| [first(row), middle(row), last(row), ending(row)].concat())
            .collect();
        let columns = if is_of_lanes {
            vec![
                words("number", 13),
                number("A", 12),
                number("B", 12),
                number("B/A", 25),
                number("B - A", 13),
                words("verdict", 18),
                number("trials", 0),
            ]
        } else {
            run_columns()
        };
        let title = format!("{} ({}; {})", point.title(), point.payload, point.time);
        Table::of(title, columns, rows)
    }

    fn count_table(&self, point: &Point) -> Option<Table> {
        let lane = |row: &Counted| {
            if self.is_of_lanes() {
                Vec::new()
            } else {
                vec![row.lane_b.to_string()]
            }
        };
        let rows = point
            .counts
            .iter()
            .map(|row| {
                let rest = [
                    row.count.replace('_', " "),
                    count_text(row.a_per_operation),
                    count_text(row.b_per_operation),
                    verdict_word(row.verdict).to_owned(),
                ];
                [lane(row), rest.to_vec()].concat()
            })
            .collect();
        let mut columns = vec![
            words("per operation", 24),
            number("A", 12),
            number("B", 12),
            words("verdict", 18),
        ];
        if !self.is_of_lanes() {
            columns.insert(0, words("lane", 24));
        }
        let title = format!("{} ({}; counted)", point.title(), point.payload);
        Table::of(title, columns, rows)
    }
}

fn run_columns() -> Vec<Column> {
    vec![
        words("lane", 23),
        words("number", 11),
        number("A", 10),
        number("B", 10),
        number("B/A", 22),
        words("verdict", 18),
        number("trials", 0),
    ]
}

fn ratios(point: &Point, reference: &str, is_full: bool) -> Option<Table> {
    let rows = point
        .rows(Some(reference))
        .filter(|row| is_full || row.is_main())
        .map(|row| [vec![row.lane_b.to_string()], middle(row), ending(row)].concat())
        .collect();
    let title = format!(
        "{} (as multiples of {reference}; {})",
        point.title(),
        point.time
    );
    Table::of(title, run_columns(), rows)
}

fn middle(row: &Compared) -> Vec<String> {
    vec![
        row.number().to_owned(),
        row.median_text(row.a_median),
        row.median_text(row.b_median),
        row.ratio_text(),
    ]
}

fn ending(row: &Compared) -> Vec<String> {
    vec![row.verdict_text().to_owned(), row.trials_text()]
}

/// Writes a count per operation: whole where it is, else with three decimals.
fn count_text(count: f64) -> String {
    if count >= 999.5 {
        return units::count(count);
    }
    let text = format!("{count:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Table {
    /// Returns the table; `None` without rows.
    fn of(title: String, columns: Vec<Column>, rows: Vec<Vec<String>>) -> Option<Self> {
        (!rows.is_empty()).then_some(Self {
            title,
            columns,
            rows,
        })
    }

    fn write_text(&self, text: &mut String) {
        paragraph(text, &self.title);
        let headings: Vec<_> = self.columns.iter().map(|column| column.heading).collect();
        self.write_line(text, &headings);
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(String::as_str).collect();
            self.write_line(text, &cells);
        }
    }

    fn write_line(&self, text: &mut String, cells: &[&str]) {
        let mut line = "  ".to_owned();
        for (column, cell) in self.columns.iter().zip(cells) {
            let (width, cell): (_, String) =
                (column.width, cell.chars().take(column.width).collect());
            if column.is_number {
                line.push_str(&format!("{cell:>width$}"));
            } else {
                // Words after a number keep their distance.
                let gap = if line.trim().is_empty() || line.ends_with(' ') {
                    ""
                } else {
                    "  "
                };
                line.push_str(&format!("{gap}{cell:<width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }

    fn write_markdown(&self, page: &mut String) {
        page.push_str(&format!("\n### {}\n\n", escaped(&self.title)));
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let columns = || self.columns.iter();
        page.push_str(&line(
            columns().map(|column| column.heading.to_owned()).collect(),
        ));
        let ruler = |column: &Column| if column.is_number { "---:" } else { "---" }.to_owned();
        page.push_str(&line(columns().map(ruler).collect()));
        for row in &self.rows {
            page.push_str(&line(row.iter().map(|cell| escaped(cell)).collect()));
        }
    }
}

/// Pictures of A and B over each other.
#[derive(Default)]
pub struct Charts(Vec<Drawn>);

impl Charts {
    /// Returns how many pictures there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Keeps a text from being markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text::line(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Breaks a text into lines, the second and later ones indented.
fn paragraph(text: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        let lead = match width {
            0 => "",
            _ if width + 1 + length > COLUMNS => "\n  ",
            _ => " ",
        };
        width = match lead {
            "\n  " => 2,
            lead => width + lead.len(),
        } + length;
        text.push_str(lead);
        text.push_str(word);
    }
    text.push('\n');
}
