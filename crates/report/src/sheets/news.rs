//! The tables of news, chats and games.

use sockrates_core::summary::{CellSummary, PollingBreakEven, RoomFit, Summary, Unit};
use sockrates_core::units;

use super::{Sheet, none, unit_interval};
use crate::metrics::{CLIENT_SECOND_BYTES, CLIENT_SECOND_CPU, CLIENT_SECOND_REQUESTS, THROUGHPUT};
use crate::text;
use crate::view::{CellView, View};

pub(super) fn news(view: &View<'_>, summary: &Summary) -> Sheet {
    let row = |(cell, found): (&CellView<'_>, &CellSummary)| {
        let counts = cell.updates()?;
        let metric = |name: &str| text::value(found.metrics.get(name));
        // Both are those of the window; requests would be those of the whole trial.
        let polls = found.operations.verified.max(1) as f64;
        let empty = cell
            .interval_ms()
            .map(|_| counts.empty_polls as f64 / polls);
        Some(vec![
            named(cell),
            metric("staleness_p50"),
            metric("staleness_p99"),
            metric(CLIENT_SECOND_CPU),
            metric(CLIENT_SECOND_BYTES),
            metric(CLIENT_SECOND_REQUESTS),
            empty.map_or_else(none, |share| format!("{:.0} %", share * 100.0)),
            counts.received.to_string(),
            (counts.missed + counts.lost).to_string(),
            (counts.repeated + counts.out_of_order).to_string(),
            counts.reconnections.to_string(),
        ])
    };
    Sheet {
        title: "What learning of news costs",
        detail: "Per client and second: CPU time of both ends, bytes both ways with all heads, requests. Empty: polls that \
                 brought nothing. Events are those of the windows of all trials; each way must bring every one once and in order.",
        heads: vec![
            "way",
            "staleness p50",
            "p99",
            "CPU",
            "bytes",
            "requests",
            "empty",
            "events",
            "missed",
            "repeated or late",
            "resumed",
        ],
        rows: both(view, summary).filter_map(row).collect(),
    }
}

pub(super) fn polling(view: &View<'_>, summary: &Summary) -> Sheet {
    let row = |found: &PollingBreakEven| {
        let [value, low, high] = [
            found.interval_ms.value,
            found.interval_ms.low,
            found.interval_ms.high,
        ]
        .map(|ms| units::time(ms * 1e6));
        let cell = view.cells.iter().find(|cell| cell.cell.id == found.poll);
        let measured = if found.is_extrapolated { "no" } else { "yes" };
        vec![
            cell.map_or_else(|| text::line(&found.poll), named),
            unit_interval(&found.poll_ns, Unit::Ns),
            unit_interval(&found.push_ns, Unit::Ns),
            units::rate(found.events_per_second),
            format!("{value} [{low} – {high}]"),
            measured.to_owned(),
        ]
    };
    Sheet {
        title: "From which interval on is polling cheaper than push?",
        detail: "CPU time of both ends: what a poll costs, over what push costs in a second. Polling more often than that costs \
                 more than push and is staler; polling less often is cheaper, and staler still.",
        heads: vec![
            "nearest polling",
            "CPU per poll",
            "CPU per pushed event",
            "events per client",
            "cheaper from an interval of",
            "among those measured",
        ],
        rows: summary.polling_break_evens.iter().map(row).collect(),
    }
}

pub(super) fn rooms(view: &View<'_>, summary: &Summary) -> Sheet {
    let row = |(cell, found): (&CellView<'_>, &CellSummary)| {
        let counts = cell.fanout()?;
        let members = cell.cell.workload.room_members(cell.cell.connections)?;
        let metric = |name: &str| text::value(found.metrics.get(name));
        Some(vec![
            named(cell),
            format!("{} × {members}", cell.cell.connections / members),
            metric(THROUGHPUT),
            metric("delivery_p50"),
            metric("delivery_p99"),
            metric("delivery_spread_p50"),
            metric("delivery_spread_p99"),
            metric(CLIENT_SECOND_CPU),
            metric(CLIENT_SECOND_BYTES),
            counts.sent.to_string(),
            (counts.missing + counts.wrong).to_string(),
            (counts.repeated + counts.out_of_order).to_string(),
        ])
    };
    Sheet {
        title: "What the members of a room wait for",
        detail: "From the instant a message was due to a member's copy, over all copies; and from the first member's copy to \
                 the last one's, over all messages that reached everyone. CPU time of both ends and bytes both ways are those of \
                 one member in one second.",
        heads: vec![
            "members",
            "rooms × members",
            "copies per second",
            "delivery p50",
            "p99",
            "first to last p50",
            "p99",
            "CPU",
            "bytes",
            "messages",
            "missing or wrong copies",
            "repeated or late",
        ],
        rows: both(view, summary).filter_map(row).collect(),
    }
}

pub(super) fn room_fits(summary: &Summary) -> Sheet {
    let row = |found: &RoomFit| {
        let members: Vec<_> = found.members.iter().map(u32::to_string).collect();
        vec![
            text::line(&found.scenario),
            text::line(&found.lane.to_string()),
            text::line(&found.metric),
            members.join(", "),
            unit_interval(&found.per_member_ns, Unit::Ns),
            units::time(found.base_ns),
            format!("{:.3}", found.r_squared),
        ]
    };
    Sheet {
        title: "What one more member costs the others",
        detail: "A straight line through the medians of rooms of several sizes, by least squares: its slope within each block, \
                 its start and the share of the variance it explains over all trials.",
        heads: vec![
            "scenario",
            "lane",
            "metric",
            "members",
            "per member",
            "at none",
            "R²",
        ],
        rows: summary.room_fits.iter().map(row).collect(),
    }
}

pub(super) fn games(view: &View<'_>, summary: &Summary) -> Sheet {
    let row = |(cell, found): (&CellView<'_>, &CellSummary)| {
        let counts = cell.duplex()?;
        let metric = |name: &str| text::value(found.metrics.get(name));
        let share = |count: u64| {
            let all = (counts.snapshots + counts.skipped).max(1) as f64;
            format!("{:.1} %", count as f64 / all * 100.0)
        };
        Some(vec![
            named(cell),
            metric("input_to_snapshot_p50"),
            metric("input_to_snapshot_p99"),
            metric("staleness_p50"),
            metric("tick_jitter_p50"),
            metric("tick_jitter_p99"),
            metric("tick_lag_p99"),
            metric(CLIENT_SECOND_CPU),
            metric(CLIENT_SECOND_BYTES),
            share(counts.late),
            share(counts.skipped),
        ])
    };
    Sheet {
        title: "What players wait for",
        detail: "From an input to the snapshot that knows it; the age of a snapshot when it arrives; how far two snapshots lie \
                 off the beat; how late the server ticked. Late: when the next tick was due already. Unseen: a player never \
                 got that tick's snapshot. CPU time of both ends and bytes both ways are those of one player in one second.",
        heads: vec![
            "players",
            "input p50",
            "p99",
            "age p50",
            "off the beat p50",
            "p99",
            "server late p99",
            "CPU",
            "bytes",
            "late",
            "unseen",
        ],
        rows: both(view, summary).filter_map(row).collect(),
    }
}

/// Yields each cell with its summary.
fn both<'a>(
    view: &'a View<'_>,
    summary: &'a Summary,
) -> impl Iterator<Item = (&'a CellView<'a>, &'a CellSummary)> {
    view.cells.iter().zip(&summary.cells)
}

fn named(cell: &CellView<'_>) -> String {
    let scenario = text::line(&cell.cell.scenario);
    format!("{scenario}, {}", text::line(&cell.name()))
}
