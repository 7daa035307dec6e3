//! How much of a difference comes from keeping the connection, and how much from the protocol: the two-by-two
//! {http1, websocket} x {per-request, persistent}, on the logarithmic scale within blocks, where effects add up exactly.

use std::collections::BTreeMap;

use sockrates_core::summary::{Attribution, Estimate};

use crate::comparison::{by_block, estimate, ratio};
use crate::metrics;
use crate::view::{CellView, LoadPoint, View};

/// The four lanes, in the order of the arrays below.
const LANES: [&str; 4] = [
    "http1-per-request",
    "http1-persistent",
    "websocket-per-request",
    "websocket-persistent",
];
const FLOOR: &str = "tcp-persistent";

/// Takes every load point apart that holds all four lanes.
pub(crate) fn all(view: &View<'_>) -> Vec<Attribution> {
    let points = view.load_points();
    let plain = points.iter().filter(|point| point.is_plain_echo());
    plain
        .flat_map(|point| {
            let main = metrics::name(point.main_metric(), "p50");
            let mut names = vec![(main, false)];
            if point.is_closed() {
                names.push((metrics::THROUGHPUT.to_owned(), true));
                names.push((metrics::CPU.to_owned(), false));
            }
            names
                .into_iter()
                .filter_map(|(name, is_gain)| attribute(point, &name, is_gain))
        })
        .collect()
}

fn attribute(point: &LoadPoint<'_>, metric: &str, is_gain: bool) -> Option<Attribution> {
    let cells: Vec<&CellView<'_>> = LANES
        .iter()
        .map(|name| point.lane(name))
        .collect::<Option<_>>()?;
    let blocks = common_blocks(&cells, metric);
    // A gain is turned round, so that each effect is again the factor by which the kept WebSocket is better.
    let sign = if is_gain { -1.0 } else { 1.0 };
    let effect = |effect: fn(&[f64; 4]) -> f64| {
        let logs = blocks.iter().map(|(_, values)| values.map(f64::ln));
        let effects: Vec<_> = logs.map(|values| sign * effect(&values)).collect();
        ratio(&effects)
    };
    Some(Attribution {
        scenario: point.cell().scenario.clone(),
        connections: point.cell().connections,
        metric: metric.to_owned(),
        is_gain,
        blocks: u32::try_from(blocks.len()).expect("blocks are few"),
        total: effect(|[h, _, _, wp]| h - wp)?,
        reuse: effect(|[h, hp, _, _]| h - hp)?,
        protocol: effect(|[_, hp, _, wp]| hp - wp)?,
        protocol_per_request: effect(|[h, _, w, _]| h - w)?,
        reuse_of_websocket: effect(|[_, _, w, wp]| w - wp)?,
        reuse_main: effect(|[h, hp, w, wp]| f64::midpoint(h - hp, w - wp))?,
        protocol_main: effect(|[h, hp, w, wp]| f64::midpoint(h - w, hp - wp))?,
        interaction: effect(|[h, hp, w, wp]| (w - wp) - (h - hp))?,
        above_floor: if is_gain {
            BTreeMap::new()
        } else {
            above_floor(point, &cells, metric)
        },
    })
}

/// Returns the four lanes' values of each block that holds all of them.
fn common_blocks(cells: &[&CellView<'_>], metric: &str) -> Vec<(u32, [f64; 4])> {
    let of_lanes: Vec<BTreeMap<u32, f64>> = cells
        .iter()
        .map(|cell| by_block(cell, metric).into_iter().collect())
        .collect();
    of_lanes[0]
        .keys()
        .filter_map(|block| {
            let value = |lane: usize| of_lanes[lane].get(block).copied().filter(|v| *v > 0.0);
            Some((*block, [value(0)?, value(1)?, value(2)?, value(3)?]))
        })
        .collect()
}

/// Returns each lane's difference to the floor: loopback makes the floor so low that ratios exaggerate.
fn above_floor(
    point: &LoadPoint<'_>,
    cells: &[&CellView<'_>],
    metric: &str,
) -> BTreeMap<String, Estimate> {
    let Some(floor) = point.lane(FLOOR) else {
        return BTreeMap::new();
    };
    let floor: BTreeMap<u32, f64> = by_block(floor, metric).into_iter().collect();
    let above = |cell: &&CellView<'_>| {
        let values = by_block(cell, metric).into_iter();
        let differences: Vec<_> = values
            .filter_map(|(block, value)| Some(value - floor.get(&block)?))
            .collect();
        Some((cell.cell.lane.to_string(), estimate(&differences)?))
    };
    cells.iter().filter_map(above).collect()
}
