//! One trial, client side: deal the work out to the workers, run them, put their books together.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use sockrates_core::histogram::Histogram;
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{Metric, Operations, Slices, SocketFacts, Spans, UpdateCounts, Wire};
use sockrates_core::scenario::Workload;
use sockrates_core::schedule::{self, Arrival};
use sockrates_core::target::ProcessUsage;
use sockrates_probe::cpu;

use crate::dial::{Dialer, facts};
use crate::registry::{self, LaneError, Port, Row};
use crate::transport::Peer;
pub use crate::worker::WorkerError;
use crate::worker::{Start, WorkerOutcome, WorkerPlan};
use crate::workload::Exchanges;

/// The width of a slice of the time course: short enough to show a warm-up, long enough to hold samples.
const SLICE_NS: u64 = 50_000_000;
/// A long trial has wider slices, not more of them.
const MAX_SLICES: u64 = 60;

/// Where the target serves.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// The floor, if it is served.
    pub tcp: Option<SocketAddr>,
}

/// What the client side of a trial measured.
#[derive(Debug)]
pub struct Load {
    /// What stood on the sockets.
    pub socket: SocketFacts,
    /// When the parts began and ended.
    pub spans: Spans,
    /// The operations due in the window.
    pub operations: Operations,
    /// The operations due before it.
    pub warm_up: Operations,
    /// Connections opened.
    pub connections_opened: u64,
    /// The window's times.
    pub histograms: BTreeMap<Metric, Histogram>,
    /// The course over time.
    pub slices: Slices,
    /// What the updates workload saw.
    pub updates: Option<UpdateCounts>,
    /// What went over the wire, where that is counted.
    pub wire: Option<Wire>,
    /// What the process used.
    pub client: ProcessUsage,
}

/// Says why a trial gave no measurement.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The spec asks for a lane that cannot be measured.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The target does not serve the lane's port.
    #[error("the target serves no tcp floor, which lane `{0}` needs")]
    NoFloor(String),
    /// The target cannot be reached.
    #[error("cannot reach {address}: {failure}")]
    Unreachable {
        /// Who was dialed.
        address: SocketAddr,
        /// How it failed.
        failure: sockrates_core::failure::FailureKind,
    },
    /// A worker could not begin.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Runs a trial's load against a server, from these source addresses.
pub fn run(
    spec: &TrialSpec,
    addresses: Addresses,
    sources: &[Ipv4Addr],
) -> Result<Load, TrialError> {
    let row = registry::find(&spec.cell.lane, &spec.cell.workload)?;
    let target = address(row, addresses).ok_or(TrialError::NoFloor(spec.cell.lane.to_string()))?;
    let dialer = Dialer::new(target, sources);
    let socket = reach(&dialer, target)?;
    let plans = deal(spec, &dialer, target);
    let outcomes = run_workers(row, &plans, &spec.placement.client_cpus)?;
    Ok(merge(spec, socket, outcomes))
}

fn address(row: &Row, addresses: Addresses) -> Option<SocketAddr> {
    match row.port {
        Port::Http => Some(addresses.http),
        Port::Tcp => addresses.tcp,
    }
}

/// Opens one connection to see that it can be done, and what stands on the socket.
fn reach(dialer: &Dialer, address: SocketAddr) -> Result<SocketFacts, TrialError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let runtime = runtime.map_err(WorkerError::Setup)?;
    let stream = runtime.block_on(dialer.dial(0));
    let stream = stream.map_err(|failure| TrialError::Unreachable { address, failure })?;
    let (nodelay, congestion_control) = facts(&stream).map_err(WorkerError::Setup)?;
    let source_addresses = u32::try_from(dialer.source_count()).expect("sources are few");
    Ok(SocketFacts {
        nodelay,
        congestion_control,
        source_addresses,
    })
}

/// Deals connections and arrivals out, round and round, to as many workers as there are CPUs.
fn deal(spec: &TrialSpec, dialer: &Dialer, target: SocketAddr) -> Vec<WorkerPlan> {
    let cell = &spec.cell;
    let timing = cell.timing;
    let ns = |ms: u32| u64::from(ms) * 1_000_000;
    let length_ns = ns(timing.warm_up_ms) + ns(timing.window_ms);
    let slots = cell.connections;
    let mut arrivals = schedule::arrivals(&cell.load, slots, length_ns, spec.seed, spec.block);
    let allowed = spec.stop_after_operations.unwrap_or(u64::MAX);
    arrivals.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
    let is_open = cell.load.offered_per_second(slots).is_some();
    let cpus = u32::try_from(spec.placement.client_cpus.len().max(1)).expect("CPUs are few");
    let workers = cpus.min(slots);
    let plan = |worker: u32| WorkerPlan {
        dialer: dialer.clone(),
        peer: Peer {
            host: target.to_string(),
            lifecycle: cell.lane.lifecycle,
        },
        workload: cell.workload.clone(),
        exchanges: cell
            .exchanges_per_connection()
            .map_or(Exchanges::UNLIMITED, Exchanges),
        counts_wire: cell.operations.is_some(),
        seed: spec.seed,
        wait: cell.wait,
        slots: (worker..slots).step_by(workers as usize).collect(),
        arrivals: is_open.then(|| share(&arrivals, worker, workers)),
        allowed: share_of_count(allowed, worker, workers),
        warm_up_ns: ns(timing.warm_up_ms),
        window_ns: ns(timing.window_ms),
        drain_ns: ns(timing.drain_ms),
        timeout_ns: ns(timing.timeout_ms),
        slice_width_ns: SLICE_NS.max(length_ns.div_ceil(MAX_SLICES)),
    };
    (0..workers).map(plan).collect()
}

/// Picks a worker's arrivals: those bound to one of its slots, and its turn of the others.
fn share(arrivals: &[Arrival], worker: u32, workers: u32) -> Vec<Arrival> {
    let mut mine = Vec::with_capacity(arrivals.len());
    for (arrival, turn) in arrivals.iter().zip((0..workers).cycle()) {
        if arrival.slot.map_or(turn, |slot| slot % workers) == worker {
            mine.push(Arrival {
                slot: arrival.slot.map(|slot| slot / workers),
                ..*arrival
            });
        }
    }
    mine
}

fn share_of_count(count: u64, worker: u32, workers: u32) -> u64 {
    let (worker, workers) = (u64::from(worker), u64::from(workers));
    count / workers + u64::from(worker < count % workers)
}

/// Runs the workers, the first on this thread: a trial with one worker is one thread.
fn run_workers(
    row: &Row,
    plans: &[WorkerPlan],
    cpus: &[u32],
) -> Result<Vec<WorkerOutcome>, WorkerError> {
    let start = &Start::new(plans.len());
    let run_on = |plan: &WorkerPlan, cpu: &[u32]| {
        cpu::pin_thread(cpu)?;
        (row.run)(plan, start)
    };
    let cpu_of = |worker: usize| cpus.get(worker..=worker).unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = plans[1..]
            .iter()
            .enumerate()
            .map(|(index, plan)| scope.spawn(move || run_on(plan, cpu_of(index + 1))))
            .collect();
        let first = run_on(&plans[0], cpu_of(0));
        let others = others
            .into_iter()
            .map(|other| other.join().expect("a worker does not panic"));
        std::iter::once(first).chain(others).collect()
    })
}

fn merge(spec: &TrialSpec, socket: SocketFacts, outcomes: Vec<WorkerOutcome>) -> Load {
    let end_ns = outcomes
        .iter()
        .map(|outcome| outcome.end_ns)
        .max()
        .unwrap_or_default();
    let mut outcomes = outcomes.into_iter();
    let mut whole = outcomes.next().expect("a trial has a worker");
    for other in outcomes {
        whole.recorder.merge(&other.recorder);
        whole.issued.warm_up += other.issued.warm_up;
        whole.issued.window += other.issued.window;
    }
    let WorkerOutcome {
        recorder,
        issued,
        span,
        usage,
        ..
    } = whole;
    let (warm_up, operations) = recorder.operations(issued);
    let is_updates = matches!(spec.cell.workload, Workload::Updates { .. });
    let updates = is_updates.then_some(recorder.updates);
    let connections_opened = recorder.connections_opened;
    let wire = spec.cell.operations.map(|_| recorder.wire);
    let (histograms, slices) = recorder.into_histograms();
    Load {
        socket,
        spans: Spans {
            start_ns: span.start_ns,
            window_start_ns: span.window_start_ns,
            window_end_ns: span.end_ns,
            end_ns,
        },
        operations,
        warm_up,
        connections_opened,
        histograms,
        slices,
        updates,
        wire,
        client: usage,
    }
}
