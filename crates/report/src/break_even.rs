//! From how many messages on a kept connection beats one connection per message: computed from measured costs, and
//! checked against trials whose connections lived for a known number of exchanges.

use std::collections::BTreeMap;

use sockrates_core::lane::Lifecycle;
use sockrates_core::record::Metric;
use sockrates_core::scenario::Workload;
use sockrates_core::summary::{BreakEven, BreakEvenPoint, Estimate};

use crate::comparison::estimate;
use crate::view::{CellView, LoadPoint, Trial, View};

const TRANSPORTS: [&str; 2] = ["http1", "websocket"];

/// Returns the break-even of each kept lane with each lane that opens a connection per request, at closed echoes of one
/// connection, where the time per message is the reciprocal of throughput.
pub(crate) fn all(view: &View<'_>) -> Vec<BreakEven> {
    let points = view.load_points();
    let simple = |point: &&LoadPoint<'_>| {
        point.is_closed() && point.is_plain_echo() && point.cell().connections == 1
    };
    let mut found = Vec::new();
    for point in points.iter().filter(simple) {
        for kept in TRANSPORTS {
            for fresh in TRANSPORTS {
                found.extend(between(view, point, kept, fresh));
            }
        }
    }
    found
}

fn between(view: &View<'_>, point: &LoadPoint<'_>, kept: &str, fresh: &str) -> Option<BreakEven> {
    let of =
        |transport: &str, lifecycle: Lifecycle| point.lane(&format!("{transport}-{lifecycle}"));
    let kept_cell = of(kept, Lifecycle::Persistent)?;
    let opened_cell = of(kept, Lifecycle::PerRequest)?;
    let fresh_cell = of(fresh, Lifecycle::PerRequest)?;
    let set_ups = per_block(opened_cell, time_to_set_up);
    let messages = per_block(kept_cell, time_per_message);
    let freshes = per_block(fresh_cell, time_per_message);
    // How many set-ups one message saves: its reciprocal is the break-even. Unlike that it passes through 0 smoothly.
    let savings: Vec<f64> = set_ups
        .iter()
        .filter_map(|(block, set_up)| Some((freshes.get(block)? - messages.get(block)?) / set_up))
        .collect();
    let saving = estimate(&savings)?;
    let reciprocal = (saving.low > 0.0).then(|| Estimate {
        value: (1.0 / saving.value).max(1.0),
        low: (1.0 / saving.high).max(1.0),
        high: (1.0 / saving.low).max(1.0),
    });
    let whole =
        |values: &BTreeMap<u32, f64>| estimate(&values.values().copied().collect::<Vec<_>>());
    let (set_up_ns, message_ns) = (whole(&set_ups)?, whole(&messages)?);
    Some(BreakEven {
        scenario: point.cell().scenario.clone(),
        kept: kept_cell.cell.lane.clone(),
        fresh: fresh_cell.cell.lane.clone(),
        messages: reciprocal,
        measured: measured(view, kept_cell, set_up_ns.value, message_ns.value),
        set_up_ns,
        message_ns,
        fresh_ns: whole(&freshes)?,
    })
}

/// Finds the trials of the same lane and payload whose connections lived for a known number of exchanges.
fn measured(
    view: &View<'_>,
    kept: &CellView<'_>,
    set_up_ns: f64,
    message_ns: f64,
) -> Vec<BreakEvenPoint> {
    let mut points: Vec<_> = view
        .cells
        .iter()
        .filter(|cell| {
            let cell = cell.cell;
            cell.lane == kept.cell.lane
                && cell.connections == 1
                && cell.load == kept.cell.load
                && cell.operations.is_none()
                && cell.workload.payload_bytes() == kept.cell.workload.payload_bytes()
        })
        .filter_map(|cell| {
            let Workload::Echo {
                exchanges_per_connection: Some(exchanges),
                ..
            } = cell.cell.workload
            else {
                return None;
            };
            let values: Vec<_> = per_block(cell, time_per_message).into_values().collect();
            Some(BreakEvenPoint {
                exchanges,
                measured_ns: estimate(&values)?,
                expected_ns: set_up_ns / f64::from(exchanges) + message_ns,
            })
        })
        .collect();
    points.sort_by_key(|point| point.exchanges);
    points
}

fn per_block(cell: &CellView<'_>, value: fn(&Trial<'_>) -> Option<f64>) -> BTreeMap<u32, f64> {
    let of = |trial: &Trial<'_>| Some((trial.record.spec.block, value(trial)?));
    cell.valid.iter().filter_map(of).collect()
}

/// The mean time to open, upgrade and close a connection.
fn time_to_set_up(trial: &Trial<'_>) -> Option<f64> {
    let mean = |metric| trial.measurement.histograms.get(&metric)?.mean_ns();
    Some(mean(Metric::Connect)? + mean(Metric::Handshake)? + mean(Metric::Close)?)
}

/// The mean time per message of one connection's closed loop, everything included.
fn time_per_message(trial: &Trial<'_>) -> Option<f64> {
    Some(1e9 / trial.throughput().filter(|rate| *rate > 0.0)?)
}
