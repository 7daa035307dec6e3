//! What was counted of one message in each lane: the same on any machine.

use sockrates_core::finding::{Count, Counted, Effect, Estimator, Finding, Part};
use sockrates_core::record::Wire;

use super::scope;
use crate::view::{CellView, LoadPoint, View};

/// Makes a finding of each lane whose operations were counted; the smallest message leads.
pub(super) fn of(view: &View<'_>, points: &[LoadPoint<'_>]) -> impl Iterator<Item = Finding> {
    let counted = || {
        points
            .iter()
            .filter(|point| point.cell().operations.is_some())
    };
    let smallest = counted()
        .map(|point| point.cell().workload.payload_bytes())
        .min();
    let mut findings = Vec::new();
    for point in counted() {
        let payload_bytes = point.cell().workload.payload_bytes();
        for cell in &point.cells {
            let lane = &cell.cell.lane;
            let is_leading = smallest == Some(payload_bytes) && lane.client.is_none();
            findings.extend(counts(cell).map(|per_message| Finding {
                part: Part::Everywhere,
                effect: Effect::Counted {
                    lane: cell.name(),
                    per_message,
                },
                scope: scope(view, point),
                is_leading,
                estimate: None,
                unit: None,
                values: None,
                verdict: None,
                estimator: Estimator::Count,
                bound: None,
                blocks_needed: None,
                reason: None,
                two_modes: Vec::new(),
                cells: vec![cell.cell.id.clone()],
            }));
        }
    }
    findings.into_iter()
}

/// Returns what a message took in the first trial; a disturbance changes no count.
fn counts(cell: &CellView<'_>) -> Option<Vec<Count>> {
    let operations = f64::from(cell.cell.operations?);
    let wire: &Wire = cell.valid.first()?.measurement.wire.as_ref()?;
    let handshakes = match cell.cell.lane.transport.as_str() {
        "websocket" => wire.handshakes,
        _ => 0,
    };
    let payload = f64::from(cell.cell.workload.payload_bytes());
    let each = |what, count: u64| Count {
        what,
        each: count as f64 / operations,
    };
    Some(vec![
        each(Counted::Connects, wire.connections),
        each(Counted::Handshakes, handshakes),
        Count {
            what: Counted::Exchanges,
            each: 1.0,
        },
        each(Counted::BytesSent, wire.bytes_sent),
        Count {
            what: Counted::PayloadSent,
            each: payload,
        },
        each(Counted::BytesReceived, wire.bytes_received),
        Count {
            what: Counted::PayloadReceived,
            each: payload,
        },
        each(Counted::SegmentsSent, wire.data_segments_sent),
        each(Counted::SegmentsReceived, wire.data_segments_received),
        each(Counted::Connections, wire.connections),
    ])
}
