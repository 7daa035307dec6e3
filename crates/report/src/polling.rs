//! From which interval on polling costs less than push, from measured costs.

use sockrates_core::lane::Lane;
use sockrates_core::scenario::Workload;
use sockrates_core::summary::PollingBreakEven;

use crate::comparison::{PUSH, Pairs, range, ratio_or_range, typical};
use crate::metrics::CLIENT_SECOND_CPU;
use crate::ratio::median;
use crate::view::{CellView, LoadPoint, View};

/// Returns the break-even of each polling lane with push, where both follow the same events.
pub(crate) fn all(view: &View<'_>) -> Vec<PollingBreakEven> {
    let points = view.load_points();
    let points = points.iter().filter(|point| point.has_several_ways());
    points.flat_map(of_point).collect()
}

/// Returns those of one load point, in the order of its lanes.
pub(crate) fn of_point(point: &LoadPoint<'_>) -> Vec<PollingBreakEven> {
    let mut lanes = Vec::new();
    for cell in point
        .cells
        .iter()
        .filter(|cell| cell.interval_ms().is_some())
    {
        if !lanes.contains(&&cell.cell.lane) {
            lanes.push(&cell.cell.lane);
        }
    }
    let of_lane = |lane: &Lane| {
        let polls: Vec<_> = point
            .cells
            .iter()
            .copied()
            .filter(|cell| cell.cell.lane == *lane && cell.interval_ms().is_some())
            .collect();
        between(&polls, point.lane(PUSH)?)
    };
    lanes.into_iter().filter_map(of_lane).collect()
}

fn between(polls: &[&CellView<'_>], push: &CellView<'_>) -> Option<PollingBreakEven> {
    let Workload::Updates {
        events_per_second, ..
    } = push.cell.workload
    else {
        return None;
    };
    // What a poll costs changes a little with its interval, as caches cool down: the nearest to the break-even counts.
    let away = |poll: &CellView<'_>| {
        let logs = Pairs::of(poll, push, CLIENT_SECOND_CPU).log_ratios();
        median(&logs).map(f64::abs)
    };
    let (poll, _) = polls
        .iter()
        .filter_map(|poll| Some((*poll, away(poll)?)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let interval_ms = poll.interval_ms()? as f64;
    let pairs = Pairs::of(poll, push, CLIENT_SECOND_CPU);
    let of_blocks = |of: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        let blocks = pairs.values.iter();
        blocks.map(|(_, poll, push)| of(*poll, *push)).collect()
    };
    let found = ratio_or_range(&of_blocks(&|poll, push| (interval_ms * poll / push).ln()))?;
    let measured = polls.iter().filter_map(|poll| poll.interval_ms());
    let (low, high) = (measured.clone().min()?, measured.max()?);
    let typical_of = |values: &[f64]| typical(values).or_else(|| range(values));
    Some(PollingBreakEven {
        poll: poll.cell.id.clone(),
        push: push.cell.id.clone(),
        events_per_second,
        poll_ns: typical_of(&of_blocks(&|poll, _| poll * interval_ms / 1e3))?,
        push_ns: typical_of(&of_blocks(&|_, push| push / events_per_second))?,
        is_extrapolated: found.value < low as f64 || found.value > high as f64,
        interval_ms: found,
    })
}
