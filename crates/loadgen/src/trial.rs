//! One trial, client side: deal the work out to the workers, run them, put their books together.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use sockrates_core::failure::FailureKind;
use sockrates_core::histogram::Histogram;
use sockrates_core::plan::{Cell, Target, TrialSpec};
use sockrates_core::record::{
    AnswerCounts, DuplexCounts, FanoutCounts, LoadCost, Metric, Operations, Silence, Slices,
    SocketFacts, Spans, UpdateCounts, Wire,
};
use sockrates_core::scenario::Workload;
use sockrates_core::schedule::Arrival;
use sockrates_core::target::ProcessUsage;
use sockrates_probe::timer::TimerFd;
use sockrates_probe::{clock, cpu, process};

use crate::control::Control;
pub use crate::control::Unmet;
use crate::dial::{Dialer, facts};
use crate::live::Live;
use crate::meter::{self, Meter};
use crate::registry::{self, LaneError, Port, Row};
use crate::transport::{Door, Peer};
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
    /// The server's process, where it may be watched.
    pub server_pid: Option<u32>,
    /// Whether nobody else uses the network, so that what it carries is the trial's.
    pub network_is_own: bool,
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
    /// What the fanout workload saw.
    pub fanout: Option<FanoutCounts>,
    /// What the duplex workload saw.
    pub duplex: Option<DuplexCounts>,
    /// How the custom workload was answered.
    pub answers: Option<AnswerCounts>,
    /// The longest time in which operations were open and none ended.
    pub silence: Option<Silence>,
    /// What the process used.
    pub client: ProcessUsage,
    /// What the load cost the server and the network.
    pub cost: Option<LoadCost>,
    /// What the window cost both ends and the network.
    pub window_cost: Option<LoadCost>,
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
        /// The address that was dialed.
        address: SocketAddr,
        /// How it failed.
        failure: FailureKind,
    },
    /// The target does not do what the workload needs beside the load: make topics or games, or tell a topic's history.
    #[error("the target does not serve what `{workload}` needs: {unmet}")]
    Unprepared {
        /// The workload's name.
        workload: &'static str,
        /// What it was asked, and how it failed.
        unmet: Unmet,
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
    run_live(spec, addresses, sources, &Arc::default())
}

/// As [`run`], with a view of the load while it is on, through which it can be ended.
pub fn run_live(
    spec: &TrialSpec,
    addresses: Addresses,
    sources: &[Ipv4Addr],
    live: &Arc<Live>,
) -> Result<Load, TrialError> {
    let row = registry::find(&spec.cell.lane, &spec.cell.workload)?;
    let target = address(row, addresses).ok_or(TrialError::NoFloor(spec.cell.lane.to_string()))?;
    let dialer = Dialer::new(target, sources);
    let timeout_ns = u64::from(spec.cell.timing.timeout_ms) * 1_000_000;
    let socket = reach(&dialer, target, timeout_ns)?;
    let unprepared = |unmet| TrialError::Unprepared {
        workload: spec.cell.workload.name(),
        unmet,
    };
    let needs_control = !matches!(
        spec.cell.workload,
        Workload::Echo { .. } | Workload::Custom(_)
    );
    // Between its uses it would be idle for as long as the load takes, which servers need not put up with.
    let control = || {
        let made = Control::new(&dialer, host(spec, target));
        made.map_err(|failure| unprepared(failure.into()))
    };
    if needs_control {
        control()?.prepare(spec).map_err(unprepared)?;
    }
    let meter = Meter {
        server_pid: addresses.server_pid,
        network_is_own: addresses.network_is_own,
    };
    let plans = deal(spec, &dialer, target, meter, live);
    let outcomes = run_workers(row, &plans, &spec.placement.client_cpus)?;
    let mut whole = merge(outcomes);
    if let (Workload::Updates { topics, .. }, true) =
        (&spec.cell.workload, spec.cell.workload.listens())
    {
        let WorkerOutcome {
            span,
            end_ns,
            recorder,
            ..
        } = &mut whole;
        let counted = control()?.count_lost(*topics, *span, *end_ns, recorder);
        counted.map_err(unprepared)?;
        // What was to arrive is what arrived, went wrong or was lost.
        whole.issued = whole.recorder.accounted();
    }
    Ok(finish(spec, socket, whole))
}

/// Returns what the server is called in requests.
pub(crate) fn host(spec: &TrialSpec, address: SocketAddr) -> String {
    match &spec.target {
        Target::Running {
            host: Some(host), ..
        } => host.clone(),
        _ => address.to_string(),
    }
}

/// Returns how WebSockets are opened, where the workload says how.
pub(crate) fn door(spec: &TrialSpec) -> Option<Arc<Door>> {
    let Workload::Custom(custom) = &spec.cell.workload else {
        return None;
    };
    let exchange = custom.websocket.clone()?;
    Some(Arc::new(Door::new(exchange, spec.seed)))
}

fn address(row: &Row, addresses: Addresses) -> Option<SocketAddr> {
    match row.port {
        Port::Http => Some(addresses.http),
        Port::Tcp => addresses.tcp,
    }
}

/// Opens one connection to see that it can be done, and what stands on the socket.
fn reach(dialer: &Dialer, address: SocketAddr, timeout_ns: u64) -> Result<SocketFacts, TrialError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let runtime = runtime.map_err(WorkerError::Setup)?;
    let dialing = async {
        let mut timer = TimerFd::new().map_err(|error| FailureKind::of_io(&error))?;
        let deadline_ns = clock::monotonic_ns() + timeout_ns;
        tokio::select! {
            biased;
            stream = dialer.dial(0) => stream,
            _ = timer.until(deadline_ns) => Err(FailureKind::ConnectTimedOut),
        }
    };
    let stream = runtime.block_on(dialing);
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
fn deal(
    spec: &TrialSpec,
    dialer: &Dialer,
    target: SocketAddr,
    meter: Meter,
    live: &Arc<Live>,
) -> Vec<WorkerPlan> {
    let cell = &spec.cell;
    let timing = cell.timing;
    let ns = |ms: u32| u64::from(ms) * 1_000_000;
    let length_ns = ns(timing.warm_up_ms) + ns(timing.window_ms);
    let slots = cell.connections;
    let polls = cell.polls(length_ns + ns(timing.drain_ms), spec.seed, spec.block);
    let mut arrivals = cell.arrivals(length_ns, spec.seed, spec.block);
    let allowed = spec.stop_after_operations.unwrap_or(u64::MAX);
    arrivals.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
    let is_open = cell.load.offered_per_second(slots).is_some();
    let cpus = u32::try_from(spec.placement.client_cpus.len().max(1)).expect("CPUs are few");
    // A room stays together: its books are kept by one worker.
    let together = cell.workload.room_members(slots).unwrap_or(1);
    let workers = cpus.min(slots / together);
    let shares = Shares {
        together,
        workers,
        slots,
    };
    let door = door(spec);
    let plan = |worker: u32| WorkerPlan {
        ramp_ns: ns(timing.ramp_ms),
        live: Arc::clone(live),
        connections: slots,
        meter: if worker == 0 { meter } else { Meter::default() },
        dialer: dialer.clone(),
        peer: Peer {
            host: host(spec, target),
            lifecycle: cell.lane.lifecycle,
            door: door.clone(),
        },
        workload: cell.workload.clone(),
        exchanges: cell
            .exchanges_per_connection()
            .map_or(Exchanges::UNLIMITED, Exchanges),
        counts_wire: counts_wire(cell),
        seed: spec.seed,
        wait: cell.wait,
        slots: shares.slots_of(worker),
        arrivals: is_open.then(|| shares.arrivals_of(worker, &arrivals)),
        polls: shares.arrivals_of(worker, &polls),
        allowed: share_of_count(allowed, worker, workers),
        warm_up_ns: ns(timing.warm_up_ms),
        window_ns: ns(timing.window_ms),
        drain_ns: ns(timing.drain_ms),
        timeout_ns: ns(timing.timeout_ms),
        slice_width_ns: SLICE_NS.max(length_ns.div_ceil(MAX_SLICES)),
    };
    (0..workers).map(plan).collect()
}

/// Says whether the kernel is asked what connections carried: where operations are counted, and where bytes are of
/// interest because the exchange is a user's own.
const fn counts_wire(cell: &Cell) -> bool {
    cell.operations.is_some() || matches!(cell.workload, Workload::Custom(_))
}

/// How slots and arrivals are dealt out.
#[derive(Clone, Copy)]
struct Shares {
    /// So many slots in a row stay on one worker.
    together: u32,
    workers: u32,
    slots: u32,
}

impl Shares {
    const fn worker_of(self, slot: u32) -> u32 {
        (slot / self.together) % self.workers
    }

    fn slots_of(self, worker: u32) -> Vec<u32> {
        (0..self.slots)
            .filter(|slot| self.worker_of(*slot) == worker)
            .collect()
    }

    /// Picks a worker's arrivals: those bound to one of its slots, renumbered within it, and its turn of the others.
    fn arrivals_of(self, worker: u32, arrivals: &[Arrival]) -> Vec<Arrival> {
        let mut mine = Vec::with_capacity(arrivals.len());
        for (arrival, turn) in arrivals.iter().zip((0..self.workers).cycle()) {
            if arrival.slot.map_or(turn, |slot| self.worker_of(slot)) == worker {
                let local = |slot: u32| {
                    slot / (self.together * self.workers) * self.together + slot % self.together
                };
                mine.push(Arrival {
                    slot: arrival.slot.map(local),
                    ..*arrival
                });
            }
        }
        mine
    }
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

/// Puts the workers' books together.
fn merge(outcomes: Vec<WorkerOutcome>) -> WorkerOutcome {
    let mut outcomes = outcomes.into_iter();
    let mut whole = outcomes.next().expect("a trial has a worker");
    for other in outcomes {
        whole.recorder.merge(&other.recorder);
        whole.issued.add(other.issued);
        whole.end_ns = whole.end_ns.max(other.end_ns);
        whole.span.end_ns = whole.span.end_ns.max(other.span.end_ns);
        whole.silence = whole.silence.zip(other.silence).and_then(both);
        process::add(&mut whole.usage, &other.usage);
        meter::add_client(&mut whole.cost, other.cost.as_ref());
        meter::add_client(&mut whole.window_cost, other.window_cost.as_ref());
    }
    whole
}

/// Returns when two workers were silent at the same time.
fn both((one, other): (Silence, Silence)) -> Option<Silence> {
    let from_ns = one.from_ns.max(other.from_ns);
    let to_ns = (one.from_ns + one.ns).min(other.from_ns + other.ns);
    let ns = to_ns.checked_sub(from_ns).filter(|ns| *ns > 0)?;
    Some(Silence { from_ns, ns })
}

fn finish(spec: &TrialSpec, socket: SocketFacts, whole: WorkerOutcome) -> Load {
    let WorkerOutcome {
        mut recorder,
        issued,
        span,
        end_ns,
        usage,
        cost,
        window_cost,
        silence,
    } = whole;
    let (warm_up, operations) = recorder.operations(issued);
    let workload = &spec.cell.workload;
    let updates = matches!(workload, Workload::Updates { .. }).then_some(recorder.updates);
    let fanout = matches!(workload, Workload::Fanout { .. }).then_some(recorder.fanout);
    let duplex = matches!(workload, Workload::Duplex { .. }).then_some(recorder.duplex);
    let connections_opened = recorder.connections_opened;
    let is_custom = matches!(workload, Workload::Custom(_));
    let answers = is_custom.then(|| recorder.take_answers());
    let wire = counts_wire(&spec.cell).then_some(recorder.wire);
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
        fanout,
        duplex,
        answers,
        silence,
        client: usage,
        cost,
        window_cost,
    }
}
