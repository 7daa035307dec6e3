//! How the delivery of a message grows with its room: a line through measured times.

use std::collections::BTreeMap;

use sockrates_core::plan::Cell;
use sockrates_core::record::Metric;
use sockrates_core::scenario::{Delivery, Workload};
use sockrates_core::summary::RoomFit;

use crate::comparison::{middle, range};
use crate::metrics;
use crate::view::{CellView, LoadPoint, View, interval_of};

/// The times that are fitted: until a member has a message, and from the first member's copy to the last one's.
pub(crate) const METRICS: [Metric; 2] = [Metric::Delivery, Metric::DeliverySpread];
/// Fewer sizes make no line.
const FEWEST_SIZES: usize = 3;

/// Rooms of one scenario and lane that differ in their sizes only.
pub(crate) struct Rooms<'a> {
    /// Each with its members, the smallest first.
    pub(crate) sizes: Vec<(u32, &'a CellView<'a>)>,
}

/// A straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    base: f64,
    slope: f64,
    r_squared: f64,
}

/// Finds the rooms whose sizes make a line.
pub(crate) fn groups<'a>(points: &[LoadPoint<'a>]) -> Vec<Rooms<'a>> {
    let mut groups: Vec<Rooms<'a>> = Vec::new();
    for cell in points.iter().flat_map(|point| &point.cells) {
        let members = cell.cell.workload.room_members(cell.cell.connections);
        let Some(members) = members.filter(|_| is_chat(cell) && cell.has_data()) else {
            continue;
        };
        let is_same = |group: &&mut Rooms<'_>| {
            let other = group.sizes[0].1.cell;
            other.scenario == cell.cell.scenario
                && other.lane == cell.cell.lane
                && way(other) == way(cell.cell)
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.sizes.push((members, cell)),
            None => groups.push(Rooms {
                sizes: vec![(members, cell)],
            }),
        }
    }
    for group in &mut groups {
        group.sizes.sort_by_key(|(members, _)| *members);
        group.sizes.dedup_by_key(|(members, _)| *members);
    }
    groups.retain(|group| group.sizes.len() >= FEWEST_SIZES);
    groups
}

/// Returns how members learn of messages.
fn way(cell: &Cell) -> (Option<Delivery>, Option<u64>) {
    (cell.workload.delivery(&cell.lane), interval_of(cell))
}

fn is_chat(cell: &CellView<'_>) -> bool {
    matches!(cell.cell.workload, Workload::Fanout { .. })
}

/// Fits every group.
pub(crate) fn all(view: &View<'_>) -> Vec<RoomFit> {
    let points = view.load_points();
    let groups = groups(&points);
    let fits = groups
        .iter()
        .flat_map(|group| METRICS.map(|metric| fit(group, metric)));
    fits.flatten().collect()
}

/// Fits one group's medians, block by block.
pub(crate) fn fit(rooms: &Rooms<'_>, metric: Metric) -> Option<RoomFit> {
    let mut blocks: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for (members, cell) in &rooms.sizes {
        for (block, ns) in cell.quantiles(metric, 0.5) {
            let points = blocks.entry(block).or_default();
            points.push((f64::from(*members), ns));
        }
    }
    // Small rooms may have too few messages in a trial for a median.
    let enough = blocks
        .values()
        .filter(|points| points.len() >= FEWEST_SIZES);
    let slopes: Vec<_> = enough.filter_map(|points| line(points)).collect();
    let slopes: Vec<_> = slopes.iter().map(|line| line.slope).collect();
    let all: Vec<_> = blocks.into_values().flatten().collect();
    let through_all = line(&all)?;
    let cell = rooms.sizes[0].1.cell;
    Some(RoomFit {
        scenario: cell.scenario.clone(),
        lane: cell.lane.clone(),
        metric: metrics::name(metric, "p50"),
        members: rooms.sizes.iter().map(|(members, _)| *members).collect(),
        per_member_ns: middle(&slopes).or_else(|| range(&slopes))?,
        base_ns: through_all.base,
        r_squared: through_all.r_squared,
    })
}

/// Fits by least squares; `None` for points that stand above each other.
fn line(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        let each = points.iter().map(|(x, y)| of(x - x_mean, y - y_mean));
        each.sum()
    };
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    (xx > 0.0).then(|| Line {
        base: y_mean - xy / xx * x_mean,
        slope: xy / xx,
        r_squared: if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_found_and_noise_is_told() {
        let exact = [(10.0, 130.0), (50.0, 250.0), (200.0, 700.0)];
        let found = line(&exact).unwrap();
        assert!((found.slope - 3.0).abs() < 1e-9 && (found.base - 100.0).abs() < 1e-9);
        assert!((found.r_squared - 1.0).abs() < 1e-12);
        let noise = [(10.0, 5.0), (50.0, -5.0), (200.0, 5.0), (240.0, -5.0)];
        assert!(line(&noise).unwrap().r_squared < 0.2);
        assert_eq!(line(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(line(&[]), None);
    }

    proptest! {
        /// Residuals of a least-squares line have no mean and no correlation with x.
        #[test]
        fn nothing_of_a_trend_is_left(points in prop::collection::vec((0.0f64..300.0, 0.0f64..1e6), 3..20)) {
            let Some(found) = line(&points) else { return Ok(()) };
            let rest = |(x, y): &(f64, f64)| y - found.base - found.slope * x;
            let scale = 1e6 * points.len() as f64;
            prop_assert!(points.iter().map(rest).sum::<f64>().abs() < scale * 1e-6);
            prop_assert!(points.iter().map(|point| rest(point) * point.0).sum::<f64>().abs() < scale * 3e-4);
            prop_assert!((0.0..=1.0 + 1e-9).contains(&found.r_squared));
        }
    }
}
