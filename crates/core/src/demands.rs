//! What a plan demands of the records of its run: that each is the trial that was planned, that what was measured is
//! possible over its lane, and that no two contradict each other. Whoever wrote the records is not known.
//!
//! Only what holds for every record that sockrates writes is demanded here, so that none is refused by chance; what is
//! merely suspicious is [`crate::verdict`]'s business.

use std::collections::{HashMap, HashSet};

use crate::lane::Lifecycle;
use crate::manifest::RunManifest;
use crate::plan::{Cell, TrialSpec};
use crate::record::{FailedTrial, Measurement, Metric, Operations, Outcome, TrialRecord, Wire};
use crate::scenario::Workload;
use crate::verdict;

mod between;

pub use between::contradictions;

/// An exchange takes each end two system calls at least, and no CPU does both in less.
const CPU_NS_PER_EXCHANGE: u64 = 100;
/// So many exchanges tell a lane by its bytes, whatever opening and closing take.
const EXCHANGES_THAT_TELL: u64 = 20;
/// Heads of IP and TCP, with timestamps, without which Linux sends no segment on its own network.
const PACKET_HEAD_BYTES: u64 = 52;
/// A histogram's times are rounded up by less.
const ROUNDING: f64 = 1.002;

/// What a run's plan demands of each record.
#[derive(Debug)]
pub struct Demands<'a> {
    manifest: &'a RunManifest,
    cells: HashMap<&'a str, &'a Cell>,
    /// Where each cell stands in each block, counted over the whole plan.
    places: HashMap<(u32, &'a str), u32>,
}

impl<'a> Demands<'a> {
    /// Takes the demands of a run.
    pub fn of(manifest: &'a RunManifest) -> Self {
        let cells = &manifest.plan.cells;
        let rows = (0u32..).zip(&manifest.plan.blocks);
        let rows = rows.flat_map(|(block, row)| row.iter().map(move |cell| (block, *cell)));
        let place = |(index, (block, cell)): (u32, (u32, u32))| {
            ((block, cells[cell as usize].id.as_str()), index)
        };
        Self {
            manifest,
            cells: cells.iter().map(|cell| (cell.id.as_str(), cell)).collect(),
            places: (0u32..).zip(rows).map(place).collect(),
        }
    }

    /// Says what of a record is not what was asked for, or cannot have been measured.
    pub fn check(&self, record: &TrialRecord) -> Result<(), String> {
        self.check_spec(&record.spec)?;
        match (&record.measurement, &record.outcome) {
            (Some(measured), Outcome::Completed) => check_measurement(&record.spec.cell, measured),
            _ => Ok(()),
        }
    }

    /// Returns the trials that the plan asks for and nobody measured to the end: block and cell, in the order of the plan.
    pub fn missing(&self, records: &[TrialRecord]) -> Vec<(u32, &'a str)> {
        let whole = records.iter().filter(|record| !is_cut_short(record));
        let place = |record: &'_ TrialRecord| (record.spec.block, record.spec.cell.id.clone());
        let whole: HashSet<_> = whole.map(place).collect();
        let is_missing = |((block, cell), _): &((u32, &str), u32)| {
            !whole.contains(&(*block, (*cell).to_owned()))
        };
        let places = self.places.iter().map(|(place, index)| (*place, *index));
        let mut missing: Vec<_> = places.filter(is_missing).collect();
        missing.sort_unstable_by_key(|(_, index)| *index);
        missing.into_iter().map(|(place, _)| place).collect()
    }

    fn check_spec(&self, spec: &TrialSpec) -> Result<(), String> {
        let plan = &self.manifest.plan;
        let id = spec.cell.id.as_str();
        if self.cells.get(id) != Some(&&spec.cell) {
            return Err("its cell is not one of the run's plan".to_owned());
        }
        match self.places.get(&(spec.block, id)) {
            None => {
                let blocks = plan.blocks.len();
                return Err(format!(
                    "its block {} is not one of the plan's {blocks} with this cell",
                    spec.block + 1
                ));
            }
            Some(place) if *place != spec.index => {
                return Err(format!(
                    "it says that it is trial {}, and the plan has it as trial {place}",
                    spec.index
                ));
            }
            Some(_) => {}
        }
        if spec.seed != plan.seed {
            let (seed, planned) = (spec.seed, plan.seed);
            return Err(format!(
                "its seed is {seed}, and that of the plan {planned}"
            ));
        }
        let is_ended_early = match spec.cell.operations {
            Some(count) => spec.stop_after_operations != Some(count.into()),
            None => spec
                .stop_after_operations
                .is_some_and(|count| count != u64::MAX),
        };
        if is_ended_early {
            return Err("it was to end after another number of operations than planned".to_owned());
        }
        if spec.placement != self.manifest.placement {
            return Err("its processes ran on other CPUs than the run's".to_owned());
        }
        if spec.target != self.manifest.target() {
            return Err("it measured another server than the run".to_owned());
        }
        Ok(())
    }
}

/// Says whether a signal ended the trial: what it measured is in no number.
pub fn is_cut_short(record: &TrialRecord) -> bool {
    let interrupted = FailedTrial::Interrupted;
    matches!(&record.outcome, Outcome::Failed { reason, .. } if *reason == interrupted)
}

fn check_measurement(cell: &Cell, measured: &Measurement) -> Result<(), String> {
    check_connections(cell, measured)?;
    check_cpu(cell, measured)?;
    check_times(cell, measured)?;
    check_wire(cell, measured)?;
    check_bytes(cell, measured)
}

fn verified(measured: &Measurement) -> u64 {
    measured.operations.verified + measured.warm_up.verified
}

/// Operations that ended otherwise, and may have cost a connection.
fn lost(measured: &Measurement) -> u64 {
    let spans = [&measured.operations, &measured.warm_up];
    let lost = |span: &&Operations| span.failed_total() + span.unfinished;
    spans.iter().map(lost).sum()
}

/// Says whether each operation of the workload is one exchange, which its connection carries alone.
fn exchanges(cell: &Cell) -> bool {
    match &cell.workload {
        Workload::Echo { .. } | Workload::Custom(_) | Workload::Updates { .. } => {
            !cell.workload.listens()
        }
        _ => false,
    }
}

/// Connections opened follow from the lane: one for so many operations, or one for each slot.
fn check_connections(cell: &Cell, measured: &Measurement) -> Result<(), String> {
    let (opened, slots) = (measured.connections_opened, u64::from(cell.connections));
    let is_foreign = match cell.workload {
        // Whoever chats or plays may use several connections.
        Workload::Fanout { .. } | Workload::Duplex { .. } => return Ok(()),
        Workload::Echo { .. } | Workload::Updates { .. } => false,
        Workload::Custom(_) => true,
    };
    let (done, lost) = (verified(measured), lost(measured));
    let again = measured.updates.map_or(0, |updates| updates.reconnections);
    let (least, most) = match cell.exchanges_per_connection() {
        Some(count) if exchanges(cell) => {
            let each = u64::from(count.max(1));
            let most = done / each + lost + slots;
            (
                done.div_ceil(each),
                if is_foreign { u64::MAX } else { most },
            )
        }
        Some(_) => return Ok(()),
        // Servers of others may close connections as they like.
        None if is_foreign => (slots.min(done), u64::MAX),
        None => (slots, slots + lost + again),
    };
    if (least..=most).contains(&opened) {
        return Ok(());
    }
    Err(format!(
        "{opened} connections were opened, which cannot be over {}: {done} operations on {slots} connections",
        cell.lane
    ))
}

/// Work takes CPU time, at each end.
fn check_cpu(cell: &Cell, measured: &Measurement) -> Result<(), String> {
    let done = verified(measured);
    let least = if exchanges(cell) {
        done * CPU_NS_PER_EXCHANGE
    } else {
        done.min(1)
    };
    let server = measured
        .server
        .as_ref()
        .map(|server| server.process.cpu_ns());
    let both = [
        ("client", Some(measured.client.cpu_ns())),
        ("server", server),
    ];
    for (end, cpu_ns) in both {
        if cpu_ns.is_some_and(|cpu_ns| cpu_ns < least) {
            let cpu_ns = cpu_ns.unwrap_or(0);
            return Err(format!(
                "{cpu_ns} ns of CPU time at the {end} cannot be enough for {done} operations"
            ));
        }
    }
    Ok(())
}

/// A connection does one operation at a time, within the trial.
fn check_times(cell: &Cell, measured: &Measurement) -> Result<(), String> {
    let Some(times) = measured
        .histograms
        .get(&Metric::ServiceTime)
        .filter(|_| exchanges(cell))
    else {
        return Ok(());
    };
    let spans = &measured.spans;
    let lasted_ns = (spans.end_ns - spans.start_ns) as f64;
    let longest_ns = times.max_ns().unwrap_or(0) as f64;
    if times.clamped() == 0 && longest_ns > lasted_ns * ROUNDING {
        return Err(format!(
            "an operation of {longest_ns} ns does not fit into a trial of {lasted_ns} ns"
        ));
    }
    let all_ns = times.mean_ns().unwrap_or(0.0) * times.count() as f64;
    if all_ns > lasted_ns * f64::from(cell.connections) * ROUNDING {
        return Err(format!(
            "its operations took longer than its {} connections had time",
            cell.connections
        ));
    }
    Ok(())
}

/// What counted connections carried follows from the lane's framing.
fn check_wire(cell: &Cell, measured: &Measurement) -> Result<(), String> {
    let Some(wire) = &measured.wire else {
        return Ok(());
    };
    let opened = measured.connections_opened;
    if wire.handshakes > wire.connections || wire.connections != opened && lost(measured) == 0 {
        return Err(format!(
            "{} connections with {} handshakes are counted on the wire, and {opened} were opened",
            wire.connections, wire.handshakes
        ));
    }
    let Workload::Echo { payload_bytes, .. } = cell.workload else {
        return Ok(());
    };
    if lost(measured) > 0 {
        return Ok(());
    }
    let done = verified(measured);
    let payload = done * u64::from(payload_bytes);
    let Wire {
        bytes_sent,
        bytes_received,
        ..
    } = *wire;
    let fits = |bytes: u64| match cell.lane.transport.as_str() {
        "tcp" => bytes == payload + 4 * done,
        "websocket" => bytes >= payload + 2 * done + HANDSHAKE_BYTES * opened,
        _ => bytes >= payload + HTTP_HEAD_BYTES * done,
    };
    // Only a client masks its frames, with four bytes more.
    let is_masked = cell.lane.transport != "websocket" || bytes_sent >= payload + 6 * done;
    let is_kept = cell.lane.lifecycle == Lifecycle::Persistent && done >= EXCHANGES_THAT_TELL;
    let is_framed = !is_kept
        || cell.lane.transport != "websocket"
        || bytes_sent < payload + HTTP_HEAD_BYTES * done + 1000 * opened;
    if fits(bytes_sent) && fits(bytes_received) && is_masked && is_framed {
        return Ok(());
    }
    Err(format!(
        "{bytes_sent} bytes sent and {bytes_received} received cannot be {done} exchanges of {payload_bytes} bytes \
         over {}",
        cell.lane
    ))
}

/// No request and no response to an upgrade is shorter.
const HANDSHAKE_BYTES: u64 = 100;
/// No request and no response of the target contract has a shorter head.
const HTTP_HEAD_BYTES: u64 = 36;

/// What the network of a trial's own carried for each exchange tells the protocols apart.
fn check_bytes(cell: &Cell, measured: &Measurement) -> Result<(), String> {
    let Workload::Echo { payload_bytes, .. } = cell.workload else {
        return Ok(());
    };
    let network = measured.cost.as_ref().and_then(|cost| cost.network);
    let done = verified(measured);
    let (Some(network), true) = (network, done >= EXCHANGES_THAT_TELL && lost(measured) == 0)
    else {
        return Ok(());
    };
    let carried = network
        .ip_bytes
        .saturating_sub(network.ip_packets * PACKET_HEAD_BYTES);
    let framing = carried as f64 / done as f64 - 2.0 * f64::from(payload_bytes);
    let transport = cell.lane.transport.as_str();
    let (least, most) = match (transport, cell.exchanges_per_connection()) {
        ("http1", _) => (70.0, 300.0),
        ("tcp", _) | ("websocket", None) => (6.0, 60.0),
        ("websocket", Some(1)) => (300.0, 1000.0),
        _ => return Ok(()),
    };
    if (least..=most).contains(&framing) {
        return Ok(());
    }
    Err(format!(
        "{framing:.0} bytes beside the payload of each exchange went over the network, which cannot be over {}",
        cell.lane
    ))
}

/// Says whether another attempt was due after this one: something outside disturbed it, or it was not measured to the end.
fn invites_another(record: &TrialRecord) -> bool {
    is_cut_short(record) || !verdict::disturbances(record).is_empty()
}
