//! The key numbers as a table per load point, for both reports and the terminal.

use serde::Serialize;
use sockrates_core::lane::Lane;
use sockrates_core::record::Metric;
use sockrates_core::scenario::Workload;
use sockrates_core::summary::{CellSummary, Summary};

use crate::charts::style;
use crate::metrics::{CLIENT_SECOND_CPU, CPU, THROUGHPUT, name};
use crate::text;
use crate::view::{CellView, LoadPoint, View};

/// The numbers of one load point.
#[derive(Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) detail: String,
    /// What is counted per second: `messages` or `polls`.
    pub(crate) operations: &'static str,
    /// Which time the percentiles are of: `service time`.
    pub(crate) time: String,
    /// What an operation costs, or a client each second where operations are not the same thing.
    pub(crate) cost: &'static str,
    /// Whether the rows are ways of learning of the same events.
    pub(crate) has_ways: bool,
    pub(crate) rows: Vec<Row>,
}

/// The numbers of one lane.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) lane: String,
    /// The lane's colour in the charts, as `#rrggbb`.
    pub(crate) color: String,
    /// How the charts draw it: `filled`, `hollow` or `diamond`.
    pub(crate) marker: &'static str,
    pub(crate) throughput: Number,
    pub(crate) p50: Number,
    pub(crate) p99: Number,
    pub(crate) cpu: Number,
    pub(crate) trials: String,
    pub(crate) flags: String,
}

/// A value and its range, as text.
#[derive(Serialize)]
pub(crate) struct Number {
    pub(crate) value: String,
    pub(crate) range: String,
}

/// Makes a table for every load point.
pub(crate) fn tables(view: &View<'_>, summary: &Summary) -> Vec<Table> {
    let points = view.load_points();
    points
        .iter()
        .filter(|point| point.cell().operations.is_none())
        .map(|point| table(point, summary))
        .collect()
}

fn table(point: &LoadPoint<'_>, summary: &Summary) -> Table {
    let metric = point.main_metric();
    let summary_of = |cell: &CellView<'_>| summary.cells.iter().find(|one| one.id == cell.cell.id);
    let has_ways = point.has_several_ways();
    let cost = if has_ways { CLIENT_SECOND_CPU } else { CPU };
    let rows = point
        .cells
        .iter()
        .filter_map(|cell| Some(row(cell, summary_of(cell)?, (metric, cost))))
        .collect();
    Table {
        title: format!(
            "{}: {}",
            text::line(&point.cell().scenario),
            point.load_text()
        ),
        detail: format!("{}, {}", point.payload_text(), point.trials_text()),
        operations: match point.cell().workload {
            Workload::Echo { .. } => "messages",
            Workload::Updates { .. } if has_ways => "polls or updates",
            Workload::Updates { .. } => "polls",
            Workload::Fanout { .. } => "copies",
            Workload::Duplex { .. } | Workload::Custom(_) => "operations",
        },
        time: text::metric(metric),
        cost: if has_ways {
            "CPU per client and second"
        } else {
            "CPU per operation"
        },
        has_ways,
        rows,
    }
}

fn row(cell: &CellView<'_>, summary: &CellSummary, (metric, cost): (Metric, &str)) -> Row {
    let number = |name: &str| Number {
        value: text::value(summary.metrics.get(name)),
        range: text::range(summary.metrics.get(name)),
    };
    let lane = &summary.lane;
    let mut flags: Vec<_> = summary.flags.keys().map(|flag| text::flag(*flag)).collect();
    if summary.two_modes.is_some() {
        flags.push("two groups of trials".to_owned());
    }
    Row {
        lane: text::line(&cell.name()),
        color: color(lane),
        marker: match style::of(lane).marker {
            style::Marker::Filled => "filled",
            style::Marker::Hollow => "hollow",
            style::Marker::Diamond => "diamond",
        },
        throughput: number(THROUGHPUT),
        p50: number(&name(metric, "p50")),
        p99: number(&name(metric, "p99")),
        cpu: number(cost),
        trials: format!("{} of {}", summary.trials.valid, summary.trials.total),
        flags: flags.join(", "),
    }
}

fn color(lane: &Lane) -> String {
    let (r, g, b) = style::ink(&lane.transport).rgb;
    format!("#{r:02x}{g:02x}{b:02x}")
}
