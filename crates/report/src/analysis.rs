//! From records to the summary: one entry per cell, every number with the range of the single trials.

use std::collections::BTreeMap;

use sockrates_core::document::Document;
use sockrates_core::failure::FailureCounts;
use sockrates_core::finding::TwoModes;
use sockrates_core::plan::Cell;
use sockrates_core::scenario::Workload;
use sockrates_core::schedule::Load;
use sockrates_core::summary::{CellSummary, LoadSummary, OperationCounts, Summary, TrialCounts};
use sockrates_core::verdict::{self, Flag};

use crate::dataset::Dataset;
use crate::metrics;
use crate::text;
use crate::view::{CellView, View, interval_of};
use crate::{
    attribution, break_even, comparison, completeness, counted, findings, judgement, polling, rooms,
};

/// Judges a run. Pure: the same records give the same summary.
pub fn summarize(dataset: &Dataset) -> Summary {
    of_view(&View::new(dataset))
}

pub(crate) fn of_view(view: &View<'_>) -> Summary {
    let manifest = &view.dataset.manifest;
    let judgement = judgement::of(view);
    let comparisons = comparison::all(view, &judgement);
    let counted = counted::all(view);
    let mut summary = Summary {
        schema: Summary::SCHEMA.to_owned(),
        schema_version: Summary::VERSION,
        run_id: manifest.run_id.clone(),
        command: text::rebuild_command(manifest),
        status: manifest.status,
        fingerprint: manifest.fingerprint.id.clone(),
        completeness: completeness::of(view),
        cells: view.cells.iter().map(cell_summary).collect(),
        attributions: attribution::all(view, &comparisons, judgement.is_conclusive),
        comparisons,
        break_evens: break_even::all(view),
        polling_break_evens: polling::all(view),
        room_fits: rooms::all(view),
        counted,
        judgement,
        findings: Vec::new(),
    };
    summary.findings = findings::of(view, &summary);
    summary
}

/// Says whether the medians of a cell's trials fall into two groups.
fn two_modes(view: &CellView<'_>) -> Option<TwoModes> {
    let metric = metrics::name(view.main_metric(), "p50");
    let values = view.quantiles(view.main_metric(), 0.5);
    let values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
    findings::modes::of(&view.cell.id, &metric, &values)
}

fn cell_summary(view: &CellView<'_>) -> CellSummary {
    let cell = view.cell;
    CellSummary {
        id: cell.id.clone(),
        scenario: cell.scenario.clone(),
        workload: cell.workload.name().to_owned(),
        lane: cell.lane.clone(),
        transport: cell.lane.transport.clone(),
        lifecycle: cell.lane.lifecycle,
        load: LoadSummary {
            model: cell.load.model().to_owned(),
            offered_per_second: cell.load.offered_per_second(cell.connections),
        },
        connections: cell.connections,
        payload_bytes: cell.workload.payload_bytes(),
        factors: factors(view),
        trials: TrialCounts {
            valid: count(view.valid.len()),
            total: count(view.trials.len()),
            disturbed: count(view.disturbed),
            repeated: count(view.repeated),
        },
        operations: operations(view),
        failures: failures(view),
        flags: flags(view),
        metrics: metrics::of_cell(view),
        two_modes: two_modes(view),
    }
}

/// Returns how members of rooms and players learn of what happens.
fn way(cell: &Cell) -> Option<(&'static str, String)> {
    let delivery = cell.workload.delivery(&cell.lane)?;
    Some(("delivery", delivery.name().to_owned()))
}

fn factors(view: &CellView<'_>) -> BTreeMap<String, String> {
    let cell = view.cell;
    let client = cell.lane.client.as_deref().unwrap_or("lean");
    let mut factors = vec![
        ("wait", cell.wait.name().to_owned()),
        ("client", client.to_owned()),
    ];
    match &cell.workload {
        Workload::Echo {
            payload,
            exchanges_per_connection,
            ..
        } => {
            factors.push(("payload", text::payload(*payload).to_owned()));
            if let Some(exchanges) = exchanges_per_connection {
                factors.push(("exchanges_per_connection", exchanges.to_string()));
            }
        }
        Workload::Updates {
            delivery,
            events_per_second,
            ..
        } => {
            factors.push(("delivery", delivery.name().to_owned()));
            factors.push(("events_per_second", events_per_second.to_string()));
        }
        Workload::Fanout { .. } => {
            let members = cell.workload.room_members(cell.connections).unwrap_or(0);
            factors.push(("room_members", members.to_string()));
            factors.extend(way(cell));
        }
        Workload::Duplex {
            ticks_per_second, ..
        } => {
            factors.push(("ticks_per_second", ticks_per_second.to_string()));
            factors.extend(way(cell));
        }
        Workload::Custom(_) => factors.push(("exchange", text::exchange(cell))),
    }
    if let Some(interval_ms) = interval_of(cell) {
        factors.push(("interval_ms", interval_ms.to_string()));
    }
    if let Load::Capacity { p99_ms } = cell.load {
        factors.push(("p99_ms", p99_ms.to_string()));
    }
    if let Some(operations) = cell.operations {
        factors.push(("operations", operations.to_string()));
    }
    factors
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn operations(view: &CellView<'_>) -> OperationCounts {
    let mut counts = OperationCounts::default();
    for trial in &view.valid {
        let operations = &trial.measurement.operations;
        counts.verified += operations.verified;
        counts.failed += operations.failed_total();
        counts.unfinished += operations.unfinished;
    }
    counts
}

fn failures(view: &CellView<'_>) -> FailureCounts {
    let mut failures = FailureCounts::new();
    for trial in &view.valid {
        for (kind, count) in &trial.measurement.operations.failed {
            *failures.entry(*kind).or_default() += count;
        }
    }
    failures
}

/// Counts over all trials: why one does not count is worth knowing too.
fn flags(view: &CellView<'_>) -> BTreeMap<Flag, u32> {
    let mut counts = BTreeMap::new();
    let records = view.trials.iter().flat_map(|record| verdict::flags(record));
    let courses = view
        .valid
        .iter()
        .flat_map(|trial| trial.course.flags(&trial.measurement.spans));
    for flag in records.chain(courses) {
        *counts.entry(flag).or_default() += 1;
    }
    counts
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("trials are few")
}
