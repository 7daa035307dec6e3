//! Two runs, or two lanes of one run, side by side: B relative to A, with intervals and verdicts.
//!
//! Lanes of one run are paired within blocks. Two runs share no block, so their trials are two samples; and their times
//! are only comparable when machine and build are the same. Ratios between lanes of one run, and counts, always are.

mod page;
mod points;
mod told;

use serde::Serialize;
use serde_json::Value;
use sockrates_core::lane::Lane;
use sockrates_core::manifest::RunStatus;
use sockrates_core::suggest;

use crate::dataset::Dataset;
use crate::view::{CellView, LoadPoint, View};
use crate::{findings, judgement, text};
pub use page::Charts;
pub(crate) use points::{Compared, Point, decide_shift};
use points::{lanes_point, runs_point};

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

/// Says why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The run holds no such lane.
    #[error("run {run} has no lane `{lane}`{}; it has: {known}", suggest::hint(.lane, .known.split(", ")))]
    UnknownLane {
        /// The run.
        run: String,
        /// The name that was asked for.
        lane: String,
        /// The lanes there are.
        known: String,
    },
    /// No load point lets both lanes be compared.
    #[error("no load point of run {run} lets {a} and {b} be compared{reasons}")]
    NoSharedLoadPoint {
        /// The run.
        run: String,
        /// The first lane.
        a: String,
        /// The second lane.
        b: String,
        /// What keeps them apart; empty where no load point holds either.
        reasons: String,
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
            (Some(_), _) | (_, Some(_)) if point.has_several_ways() => {
                not_compared.push(NotCompared {
                    what: title(&point),
                    reason:
                        "a lane learns of events in several ways, which the run's report compares"
                            .to_owned(),
                });
            }
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
            reasons: match reasons(&not_compared) {
                none if none.is_empty() => none,
                some => format!(" ({some})"),
            },
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
    if findings::network(a) != findings::network(b) {
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
