//! What holds everywhere: what a message takes in each lane, counted exactly in cells of a fixed number of messages.
//!
//! Bytes, segments and connections are the kernel's own counts at the client's sockets. Nothing of them is timed, so that
//! disturbed trials count here, too. Instructions and system calls come from `work.json`, which lies beside the records.

use std::collections::BTreeMap;

use sockrates_core::record::{HandshakeWire, Isolation, TrialRecord, Wire};
use sockrates_core::scenario::Workload;
use sockrates_core::summary::{ByteParts, CountedLane, Summary, TurnArounds};
use sockrates_core::verdict;
use sockrates_core::work::{LaneWork, WorkCount};

use crate::sheets::Sheet;
use crate::text;
use crate::view::{CellView, View};

/// Returns the whole trials of a cell with what their sockets carried. A disturbance changes no count, so disturbed trials
/// are among them.
pub(crate) fn whole<'a>(cell: &CellView<'a>) -> impl Iterator<Item = (&'a TrialRecord, &'a Wire)> {
    cell.trials.iter().filter_map(|record| {
        let record: &'a TrialRecord = record;
        let measurement = record.measurement.as_ref()?;
        let done = measurement.operations.verified + measurement.warm_up.verified;
        let is_whole = Some(done) == record.spec.stop_after_operations;
        let wire = measurement.wire.as_ref()?;
        (verdict::is_valid(record) && is_whole).then_some((record, wire))
    })
}

/// The server's repetitions are only known where nobody else shares the network: there the kernel counts both ends'.
pub(crate) fn data_segments_received(record: &TrialRecord, wire: &Wire) -> Option<u64> {
    let measurement = record.measurement.as_ref()?;
    if measurement.isolation != Isolation::NetworkNamespace {
        return None;
    }
    let all = measurement
        .surroundings
        .as_ref()?
        .network
        .segments_retransmitted;
    let servers = all.saturating_sub(wire.segments_retransmitted);
    wire.data_segments_received.checked_sub(servers)
}

/// Counts every lane of the run that has a cell of echoes with a fixed number of them.
pub(crate) fn all(view: &View<'_>) -> Vec<CountedLane> {
    let is_echo = |cell: &&CellView<'_>| matches!(cell.cell.workload, Workload::Echo { .. });
    let works = view.dataset.work.as_ref().map(|work| work.lanes.as_slice());
    let cells = view.cells.iter().filter(is_echo);
    cells
        .filter_map(|cell| lane(cell, works.unwrap_or_default()))
        .collect()
}

fn lane(cell: &CellView<'_>, works: &[LaneWork]) -> Option<CountedLane> {
    let messages = u64::from(cell.cell.operations?);
    let payload_bytes = cell.cell.workload.payload_bytes();
    let mut counts = Counts {
        cell,
        varying: Vec::new(),
    };
    let connections = counts.of("connections", |_, wire| Some(wire.connections))?;
    let waits = counts.of("handshakes", |_, wire| Some(asked(wire)?.waits));
    let hand_sent = counts.of("handshake_bytes_sent", |_, wire| {
        Some(asked(wire)?.bytes_sent)
    });
    let hand_received = counts.of("handshake_bytes_received", |_, wire| {
        Some(asked(wire)?.bytes_received)
    });
    let sent = counts.of("bytes_sent", |_, wire| Some(wire.bytes_sent))?;
    let received = counts.of("bytes_received", |_, wire| Some(wire.bytes_received))?;
    let payload = messages * u64::from(payload_bytes);
    let segments_sent = counts.of("data_segments_sent", |_, wire| {
        Some(wire.data_segments_sent)
    });
    let segments_received = counts.of("data_segments_received", data_segments_received);
    let lane = &cell.cell.lane;
    Some(CountedLane {
        cell: cell.cell.id.clone(),
        lane: lane.clone(),
        messages,
        payload_bytes,
        turn_arounds: TurnArounds {
            connect: connections,
            handshake: waits,
            exchange: messages,
        },
        sent: parts(sent, payload, hand_sent),
        received: parts(received, payload, hand_received),
        segments_sent,
        segments_received,
        connections,
        varying: counts.varying,
        work: works.iter().find(|work| work.lane == *lane).cloned(),
    })
}

/// Reads counts over the whole trials of a cell.
struct Counts<'a, 'b> {
    cell: &'b CellView<'a>,
    varying: Vec<String>,
}

impl Counts<'_, '_> {
    /// Returns the count that most trials have, the smaller of two that are equally frequent; notes those that vary.
    fn of(&mut self, name: &str, read: impl Fn(&TrialRecord, &Wire) -> Option<u64>) -> Option<u64> {
        let mut found: BTreeMap<u64, usize> = BTreeMap::new();
        for value in whole(self.cell).filter_map(|(record, wire)| read(record, wire)) {
            *found.entry(value).or_default() += 1;
        }
        if found.len() > 1 {
            self.varying.push(name.to_owned());
        }
        let most = found.values().max()?;
        let (value, _) = found.iter().find(|(_, times)| *times == most)?;
        Some(*value)
    }
}

/// Returns what connections had carried when they became usable, where all of them were asked.
fn asked(wire: &Wire) -> Option<&HandshakeWire> {
    let asked = wire.handshake.as_ref()?;
    (asked.connections == wire.connections).then_some(asked)
}

fn parts(total: u64, payload: u64, handshake: Option<u64>) -> ByteParts {
    ByteParts {
        total,
        payload: payload.min(total),
        handshake,
        framing: handshake.map(|handshake| total.saturating_sub(payload + handshake)),
    }
}

/// Writes what was counted as a table, per message; empty where the run has no counted cells.
pub(crate) fn table(_view: &View<'_>, summary: &Summary) -> Sheet {
    Sheet {
        title: "Per message, counted: holds everywhere",
        detail: "Counted by the kernel over exactly so many messages: the same on any machine. Turn-arounds the client waits \
                 for are connect + handshake + exchange; on a network each adds a round trip. Bytes of TCP payload, without \
                 the headers of TCP and IP, are payload + headers and frames + handshake. Each connection takes an \
                 ephemeral port. Instructions and system calls of the two ends are counted by `scripts/just reproduce --work`.",
        heads: vec![
            "lane",
            "turn-arounds",
            "bytes sent",
            "bytes received",
            "segments sent",
            "segments received",
            "connections",
            "client: instructions, calls",
            "server: instructions, calls",
        ],
        rows: summary.counted.iter().map(row).collect(),
    }
}

fn row(lane: &CountedLane) -> Vec<String> {
    let count = |count: Option<u64>| {
        count.map_or_else(|| NOT_COUNTED.to_owned(), |count| number(lane.each(count)))
    };
    let bytes = |parts: &ByteParts| match (parts.framing, parts.handshake) {
        (Some(framing), Some(handshake)) => sum(
            lane.each(parts.total),
            &[parts.payload, framing, handshake].map(|part| lane.each(part)),
        ),
        _ => number(lane.each(parts.total)),
    };
    let turn_arounds = lane.turn_arounds_each().map_or_else(
        || NOT_COUNTED.to_owned(),
        |total| {
            let all = &lane.turn_arounds;
            let handshake = all.handshake.unwrap_or(0);
            let parts = [all.connect, handshake, all.exchange];
            sum(total, &parts.map(|part| lane.each(part)))
        },
    );
    let work = |of: fn(&LaneWork) -> [Option<WorkCount>; 2]| match &lane.work {
        Some(work) => of(work)
            .map(|count| count.map_or_else(|| NOT_COUNTED.to_owned(), written))
            .join(", "),
        None => NOT_COUNTED.to_owned(),
    };
    vec![
        text::line(&lane.lane.to_string()),
        turn_arounds,
        bytes(&lane.sent),
        bytes(&lane.received),
        count(lane.segments_sent),
        count(lane.segments_received),
        number(lane.each(lane.connections)),
        work(|work| [work.client_instructions, work.client_system_calls]),
        work(|work| [work.server_instructions, work.server_system_calls]),
    ]
}

/// What is absent is said, never 0.
const NOT_COUNTED: &str = "not counted";

fn sum(total: f64, parts: &[f64]) -> String {
    let parts: Vec<_> = parts.iter().copied().map(number).collect();
    format!("{} = {}", number(total), parts.join(" + "))
}

fn number(each: f64) -> String {
    if each.fract() == 0.0 {
        format!("{each:.0}")
    } else {
        let written = format!("{each:.3}");
        written.trim_end_matches('0').to_owned()
    }
}

fn written(count: WorkCount) -> String {
    if count.per_operation >= 100.0 {
        format!("{:.0}", count.per_operation)
    } else {
        format!("{:.2}", count.per_operation)
    }
}
