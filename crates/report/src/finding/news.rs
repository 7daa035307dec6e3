//! The finding of runs with news, chats and games.

use sockrates_core::lane::Lifecycle;
use sockrates_core::record::Metric;
use sockrates_core::scenario::Workload;
use sockrates_core::summary::RoomFit;
use sockrates_core::units;

use super::{with_interval, with_range};
use crate::view::{CellView, LoadPoint, interval};
use crate::{comparison, metrics, polling, ratio, rooms, text};

/// Says what a run found whose first load point is no echo; `None` when there is nothing to say beyond its numbers.
pub(super) fn sentence(points: &[LoadPoint<'_>]) -> Option<String> {
    let first = points.iter().find(|point| point.has_data())?;
    match first.cell().workload {
        Workload::Echo { .. } | Workload::Custom(_) => None,
        Workload::Updates { .. } => points.iter().find_map(polling),
        Workload::Fanout { .. } => joined(groups(points).chain(sizes(points))),
        Workload::Duplex { .. } => joined(points.iter().filter_map(game)),
    }
}

fn joined(clauses: impl Iterator<Item = String>) -> Option<String> {
    let clauses: Vec<_> = clauses.collect();
    (!clauses.is_empty()).then(|| clauses.join("; "))
}

/// Says how soon the members of many rooms have a message.
fn groups(points: &[LoadPoint<'_>]) -> impl Iterator<Item = String> {
    points.iter().filter_map(|point| {
        let cell = point.cells.iter().find(|cell| cell.has_data())?;
        let connections = point.cell().connections;
        let members = point.cell().workload.room_members(connections)?;
        let p50 = cell.merged_quantile(Metric::Delivery, 0.5)?;
        let spread = cell.merged_quantile(Metric::DeliverySpread, 0.5)?;
        (members < connections).then(|| {
            format!(
                "in {} rooms of {members}, a member has a message {} after it was due at the median, the last {} after the \
                 first",
                connections / members,
                units::time(p50),
                units::time(spread)
            )
        })
    })
}

/// Says how delivery grows with the room.
fn sizes(points: &[LoadPoint<'_>]) -> Vec<String> {
    let clause = |group: &rooms::Rooms<'_>| {
        let fit: RoomFit = rooms::fit(group, Metric::Delivery)?;
        let ((few, small), (many, large)) = (group.sizes.first()?, group.sizes.last()?);
        let p50 = |cell: &CellView<'_>| cell.merged_quantile(Metric::Delivery, 0.5);
        Some(format!(
            "a message takes {} in a room of {few} and {} in one of {many}: each further member adds {} to the median (R² \
             {:.2})",
            units::time(p50(small)?),
            units::time(p50(large)?),
            units::time(fit.per_member_ns.value),
            fit.r_squared
        ))
    };
    rooms::groups(points).iter().filter_map(clause).collect()
}

/// Says how soon a player sees an input, lane by lane.
fn game(point: &LoadPoint<'_>) -> Option<String> {
    let Workload::Duplex {
        ticks_per_second, ..
    } = point.cell().workload
    else {
        return None;
    };
    let metric = Metric::InputToSnapshot;
    let push = point.lane(comparison::PUSH)?;
    let push_ns = push.merged_quantile(metric, 0.5)?;
    let others = point.cells.iter().filter_map(|cell| {
        let ratio = ratio::paired(cell, push, metric, 0.5)?;
        let is_push = cell.cell.id == push.cell.id;
        let name = text::line(&cell.name());
        (!is_push).then(|| format!("{} as long over {name}", with_range(&ratio)))
    });
    let others: Vec<_> = others.collect();
    let longer = if others.is_empty() {
        String::new()
    } else {
        format!(", and takes {}", text::sentence_list(&others))
    };
    Some(format!(
        "at {ticks_per_second} ticks a second and {} players, an input is in its player's snapshot after {} over a WebSocket \
         (p50; half a tick is {}){longer}",
        point.cell().connections,
        units::time(push_ns),
        units::time(5e8 / ticks_per_second)
    ))
}

/// Says what polling at about the rate of the events costs against push, where both were measured.
pub(super) fn polling(point: &LoadPoint<'_>) -> Option<String> {
    if !point.has_several_ways() {
        return None;
    }
    let Workload::Updates {
        events_per_second, ..
    } = point.cell().workload
    else {
        return None;
    };
    let push = point.lane(comparison::PUSH)?;
    let away = |cell: &&CellView<'_>| {
        let interval_ms = cell.interval_ms().unwrap_or(u64::MAX);
        (interval_ms as f64 * events_per_second / 1e3).ln().abs()
    };
    let poll = point
        .cells
        .iter()
        .copied()
        .filter(|cell| cell.interval_ms().is_some() && cell.has_data())
        .filter(|cell| cell.cell.lane.lifecycle == Lifecycle::Persistent)
        .min_by(|a, b| away(a).total_cmp(&away(b)))?;
    let stale = |cell: &CellView<'_>| {
        let p50 = cell.merged_quantile(Metric::Staleness, 0.5);
        p50.map(units::time)
    };
    let pairs = comparison::Pairs::of(poll, push, metrics::CLIENT_SECOND_CPU);
    let cpu = comparison::ratio_or_range(&pairs.log_ratios())?;
    let cheaper = polling::of_point(point)
        .into_iter()
        .find(|found| found.poll.contains(&poll.cell.lane.to_string()) && !found.is_extrapolated)
        .map_or_else(String::new, |found| {
            let interval = units::time(found.interval_ms.value * 1e6);
            format!("; polling costs less than push from an interval of {interval} on")
        });
    Some(format!(
        "at {} and {} clients, polling every {} on a kept connection is stale by {} at the median and costs {} the CPU \
         of push, which is stale by {}{cheaper}",
        units::rate(events_per_second).replace("/s", " event/s"),
        point.cell().connections,
        interval(poll.interval_ms()?),
        stale(poll)?,
        with_interval(&cpu),
        stale(push)?
    ))
}
