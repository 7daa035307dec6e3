//! What was counted of one message in each lane: the same on any machine.

use sockrates_core::finding::{Count, Counted, Effect, Estimator, Finding, Part};
use sockrates_core::summary::{ByteParts, CountedLane, Summary};

use super::{find, point_of, scope};
use crate::view::{LoadPoint, View};

/// Makes a finding of each lane whose operations were counted; the smallest message leads.
pub(super) fn of(view: &View<'_>, points: &[LoadPoint<'_>], summary: &Summary) -> Vec<Finding> {
    let smallest = summary.counted.iter().map(|lane| lane.payload_bytes).min();
    let finding = |lane: &CountedLane| {
        let cell = find(view, &lane.cell)?;
        Some(Finding {
            part: Part::Everywhere,
            effect: Effect::Counted {
                lane: cell.name(),
                per_message: counts(lane),
            },
            scope: scope(view, point_of(points, &lane.cell)?),
            is_leading: smallest == Some(lane.payload_bytes) && lane.lane.client.is_none(),
            estimate: None,
            unit: None,
            values: None,
            verdict: None,
            estimator: Estimator::Count,
            bound: None,
            blocks_needed: None,
            reason: None,
            two_modes: Vec::new(),
            cells: vec![lane.cell.clone()],
        })
    };
    summary.counted.iter().filter_map(finding).collect()
}

/// Returns every count that is known, per message.
fn counts(lane: &CountedLane) -> Vec<Count> {
    use Counted as C;
    let waits = &lane.turn_arounds;
    let sent = [
        C::BytesSent,
        C::PayloadSent,
        C::FramingSent,
        C::HandshakeSent,
    ];
    let received = [
        C::BytesReceived,
        C::PayloadReceived,
        C::FramingReceived,
        C::HandshakeReceived,
    ];
    let totals = [
        (C::Connects, Some(waits.connect)),
        (C::Handshakes, waits.handshake),
        (C::Exchanges, Some(waits.exchange)),
    ];
    let rest = [
        (C::SegmentsSent, lane.segments_sent),
        (C::SegmentsReceived, lane.segments_received),
        (C::Connections, Some(lane.connections)),
    ];
    let all = (totals.into_iter())
        .chain(bytes(&lane.sent, sent))
        .chain(bytes(&lane.received, received))
        .chain(rest);
    let each = |(what, count): (Counted, Option<u64>)| {
        let each = lane.each(count?);
        Some(Count { what, each })
    };
    let work = lane.work.iter().flat_map(|work| {
        [
            (C::ClientSystemCalls, work.client_system_calls),
            (C::ServerSystemCalls, work.server_system_calls),
            (C::ClientInstructions, work.client_instructions),
            (C::ServerInstructions, work.server_instructions),
        ]
    });
    let work = work.filter_map(|(what, count)| {
        let each = count?.per_operation;
        Some(Count { what, each })
    });
    all.filter_map(each).chain(work).collect()
}

fn bytes(parts: &ByteParts, names: [Counted; 4]) -> [(Counted, Option<u64>); 4] {
    let [total, payload, framing, handshake] = names;
    [
        (total, Some(parts.total)),
        (payload, Some(parts.payload)),
        (framing, parts.framing),
        (handshake, parts.handshake),
    ]
}
