//! The record of one trial: facts only. What they mean is decided in [`crate::verdict`] and in the report, so that a
//! record can be judged again by better rules.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capacity::{Found, ProbeVerdict};
use crate::cpu_idle::CpuIdleFacts;
use crate::document::{self, Document};
use crate::failure::FailureCounts;
use crate::histogram::Histogram;
use crate::plan::TrialSpec;
use crate::surroundings::Surroundings;
use crate::target::{ProcessUsage, ServerUsage};

mod check;
mod counts;

pub(crate) use check::MAX_UNIX_MS;
pub use counts::{AnswerCounts, DuplexCounts, FanoutCounts, LoadCost, NetworkCost, UpdateCounts};

/// The times that are recorded, each in a histogram of its own. The glossary in `docs/METHODOLOGY.md` defines them.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// completed - started.
    ServiceTime,
    /// completed - intended; open loads only.
    ResponseTime,
    /// noticed - intended; open loads only. The generator's fault.
    ScheduleLag,
    /// started - noticed; open loads only. No idle connection: the system's own doing.
    ConnectionWait,
    /// From before `socket()` to the connected socket; per-request lanes only.
    Connect,
    /// From the connected socket to a usable connection (the upgrade, for WebSocket); per-request lanes only.
    Handshake,
    /// From the usable connection to the first byte of its first reply; `custom` only.
    FirstByte,
    /// From the usable connection to the last verified byte; per-request lanes only.
    Exchange,
    /// From the last verified byte to the socket's end, the server closing first; per-request lanes only.
    Close,
    /// received - event created; `updates`, and snapshots of `duplex`.
    Staleness,
    /// received - message intended, for each copy; `fanout` only.
    Delivery,
    /// From the first to the last member that received a message; `fanout` only.
    DeliverySpread,
    /// tick came - tick due, at the server; `duplex` only.
    TickLag,
    /// How far the distance between two snapshots on arrival is off the tick's; `duplex` only.
    TickJitter,
    /// From the instant an input was due to the arrival of the first snapshot that knows it; `duplex` only.
    InputToSnapshot,
    /// From one message to the next on the same connection; `custom` that only receives.
    InterArrival,
}

impl Metric {
    /// All metrics, in the order of an operation's life.
    pub const ALL: [Self; 16] = [
        Self::ServiceTime,
        Self::ResponseTime,
        Self::ScheduleLag,
        Self::ConnectionWait,
        Self::Connect,
        Self::Handshake,
        Self::FirstByte,
        Self::Exchange,
        Self::Close,
        Self::Staleness,
        Self::Delivery,
        Self::DeliverySpread,
        Self::TickLag,
        Self::TickJitter,
        Self::InputToSnapshot,
        Self::InterArrival,
    ];

    /// Returns the name used on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceTime => "service_time",
            Self::ResponseTime => "response_time",
            Self::ScheduleLag => "schedule_lag",
            Self::ConnectionWait => "connection_wait",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::FirstByte => "first_byte",
            Self::Exchange => "exchange",
            Self::Close => "close",
            Self::Staleness => "staleness",
            Self::Delivery => "delivery",
            Self::DeliverySpread => "delivery_spread",
            Self::TickLag => "tick_lag",
            Self::TickJitter => "tick_jitter",
            Self::InputToSnapshot => "input_to_snapshot",
            Self::InterArrival => "inter_arrival",
        }
    }
}

/// One trial, as measured.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct TrialRecord {
    /// Always [`TrialRecord::VERSION`].
    pub schema_version: u32,
    /// What was asked for.
    pub spec: TrialSpec,
    /// Wall-clock start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What was measured; absent when the trial failed before anything could be.
    pub measurement: Option<Measurement>,
    /// How a search for capacity went; its `measurement` is that of the last probe that met the objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<CapacitySearch>,
}

impl Document for TrialRecord {
    const KIND: &'static str = "trial-record";
    const VERSION: u32 = 5;

    /// Version 2 adds surroundings, wire counts and searches, version 3 costs, chats and games, version 4 answers and
    /// silence, version 5 what CPUs did when idle; all may be absent.
    fn upgrade(from: u32, mut json: Value) -> Option<Value> {
        if let Some(spec) = json.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("schema_version".to_owned(), TrialSpec::VERSION.into());
        }
        if let Some(server) = json.pointer_mut("/measurement/server/schema_version") {
            *server = ServerUsage::VERSION.into();
        }
        document::with_additions(from, from + 1, json)
    }

    fn check(&self) -> Result<(), String> {
        check::bounds(self)
    }
}

impl TrialRecord {
    /// Says what in the books does not balance: operations, and the times that were recorded of them.
    pub fn check_books(&self) -> Result<(), String> {
        self.measurement.as_ref().map_or(Ok(()), |measurement| {
            check::books(&self.spec.cell, measurement)
        })
    }

    /// Makes the record of a trial that gave no measurement.
    pub fn failed(
        spec: TrialSpec,
        started_unix_ms: u64,
        reason: FailedTrial,
        message: String,
    ) -> Self {
        let outcome = Outcome::Failed { reason, message };
        Self {
            schema_version: Self::VERSION,
            spec,
            started_unix_ms,
            outcome,
            measurement: None,
            search: None,
        }
    }
}

/// How a trial ended.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The load was offered to the end.
    Completed,
    /// It was not; `measurement` holds what there is, if anything.
    Failed {
        /// The class of failure.
        reason: FailedTrial,
        /// What happened, in a sentence.
        message: String,
    },
}

/// Why a trial failed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedTrial {
    /// The server did not start or did not answer.
    TargetUnreachable,
    /// The server ended while it was measured.
    ServerLost,
    /// The environment refused something the trial needs (descriptors, permission).
    Environment,
    /// The load generator itself failed.
    Harness,
    /// It was ended early on purpose; what was measured until then is kept.
    Interrupted,
}

/// What one trial measured.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Measurement {
    /// How the trial was shielded from others on the same machine.
    pub isolation: Isolation,
    /// What stood on each socket, read back from the kernel.
    pub socket: SocketFacts,
    /// When the parts began and ended, by `CLOCK_MONOTONIC`.
    pub spans: Spans,
    /// The operations that were due in the window.
    pub operations: Operations,
    /// Operations due in the warm-up, not part of anything else.
    pub warm_up: Operations,
    /// Connections opened by the client over the whole trial.
    pub connections_opened: u64,
    /// One histogram per recorded metric; metrics that do not apply are absent. Only verified operations of the window.
    pub histograms: BTreeMap<Metric, Histogram>,
    /// How punctual the generator was; absent in a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacing: Option<Pacing>,
    /// The course over time.
    pub slices: Slices,
    /// What the updates workload saw; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<UpdateCounts>,
    /// What the fanout workload saw; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fanout: Option<FanoutCounts>,
    /// What the duplex workload saw; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplex: Option<DuplexCounts>,
    /// How servers answered the custom workload; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerCounts>,
    /// The longest time in which operations were open and none ended, to 10 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// What the load alone cost, connections opened ahead of it left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<LoadCost>,
    /// The same of the window alone, where clients learn of news, chat or play, and time ended the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_cost: Option<LoadCost>,
    /// The client process, from the load's start to the drain's end.
    pub client: ProcessUsage,
    /// The server process, from its start to its end; absent for a server that was already running.
    pub server: Option<ServerUsage>,
    /// What was done about idle CPUs; absent where the trial did not ask for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_idle: Option<CpuIdleFacts>,
    /// What machine and network did meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
    /// What went over the wire, in trials with a fixed count of operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<Wire>,
}

/// What the client's sockets carried over a whole trial, as the kernel counted it (`TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Wire {
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that became usable, for WebSocket by an upgrade.
    pub handshakes: u64,
    /// Payload bytes of TCP sent, repetitions not counted.
    pub bytes_sent: u64,
    /// Payload bytes of TCP received.
    pub bytes_received: u64,
    /// Segments with payload sent, repetitions not counted.
    pub data_segments_sent: u64,
    /// Segments with payload received, the server's repetitions included.
    pub data_segments_received: u64,
    /// Segments sent again.
    pub segments_retransmitted: u64,
    /// The part of it that made connections usable; absent where that was not read, as in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<HandshakeWire>,
}

/// What connections had carried when they became usable: an upgrade to WebSocket, nothing over bare TCP and HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HandshakeWire {
    /// Connections that were asked.
    pub connections: u64,
    /// Those of them on which the client had waited for an answer.
    pub waits: u64,
    /// Payload bytes of TCP sent.
    pub bytes_sent: u64,
    /// Payload bytes of TCP received.
    pub bytes_received: u64,
}

impl HandshakeWire {
    /// Adds another connection's or worker's counts.
    pub const fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.waits += other.waits;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}

impl Wire {
    /// Adds another connection's or worker's counts.
    pub const fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.handshakes += other.handshakes;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.data_segments_sent += other.data_segments_sent;
        self.data_segments_received += other.data_segments_received;
        self.segments_retransmitted += other.segments_retransmitted;
        match (&mut self.handshake, other.handshake) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (None, theirs) => self.handshake = theirs,
            (Some(_), None) => {}
        }
    }
}

/// A search for the highest rate that meets an objective.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CapacitySearch {
    /// What was found.
    pub found: Found,
    /// Every probe, in order.
    pub probes: Vec<Probe>,
}

impl CapacitySearch {
    /// Returns the highest rate that met the objective in every probe of it, and the lowest one above it that missed; each
    /// where there is one. Of a search without a number this is all that is known.
    pub fn bracket(&self) -> (Option<f64>, Option<f64>) {
        let of = |verdict: ProbeVerdict| {
            let probes = self
                .probes
                .iter()
                .filter(move |probe| probe.verdict == verdict);
            probes.map(|probe| probe.rate_per_second)
        };
        let is_missed = |rate: &f64| of(ProbeVerdict::Missed).any(|missed| missed <= *rate);
        let held = of(ProbeVerdict::Met).filter(|rate| !is_missed(rate));
        let held = held.max_by(f64::total_cmp);
        let above = of(ProbeVerdict::Missed).filter(|rate| held.is_none_or(|held| *rate > held));
        (held, above.min_by(f64::total_cmp))
    }
}

/// One probe of a search.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Probe {
    /// The rate that was offered.
    pub rate_per_second: f64,
    /// The 99th percentile of the response time; null when too few operations support it.
    pub p99_ns: Option<u64>,
    /// What it says about the rate.
    pub verdict: ProbeVerdict,
}

/// How punctual the generator was in the window.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Pacing {
    /// The 99th percentile of the schedule lag.
    pub lag_p99_ns: u64,
    /// What it should have stayed below, for a client that waits as this one did.
    pub target_ns: u64,
    /// Whether it did.
    pub is_met: bool,
}

/// How a trial was shielded.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A network namespace of its own: own ports, own `TIME_WAIT` table, own counters.
    NetworkNamespace,
    /// The host's network, with source addresses that the previous trials did not use.
    FreshAddresses,
    /// Whatever the running server's network is.
    None,
}

/// Socket options that decide small-message timing.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct SocketFacts {
    /// `TCP_NODELAY` on the client's sockets.
    pub nodelay: bool,
    /// The congestion control on the client's sockets.
    pub congestion_control: String,
    /// How many source addresses were used.
    pub source_addresses: u32,
}

/// A time without an answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Silence {
    /// When it began, since the load began.
    pub from_ns: u64,
    /// How long it lasted.
    pub ns: u64,
}

/// Instants by `CLOCK_MONOTONIC`, comparable with the server's stamps on the same host.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Spans {
    /// The schedule's zero: warm-up begins.
    pub start_ns: u64,
    /// The window begins.
    pub window_start_ns: u64,
    /// The window ends: no operation is due from here on.
    pub window_end_ns: u64,
    /// The last operation ended or was given up.
    pub end_ns: u64,
}

impl Spans {
    /// Returns the window's length.
    pub const fn window_ns(&self) -> u64 {
        self.window_end_ns - self.window_start_ns
    }
}

/// What became of the operations of a span. `issued = verified + failed + unfinished`, always.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Operations {
    /// Due in the span (started, in a closed loop).
    pub issued: u64,
    /// Ended with exactly the reply that was asked for.
    pub verified: u64,
    /// Ended otherwise, by kind.
    pub failed: FailureCounts,
    /// Still open, or still waiting for a connection, when the drain ended.
    pub unfinished: u64,
    /// The age of the oldest unfinished one when the drain ended; null when there is none.
    pub oldest_unfinished_ns: Option<u64>,
}

impl Operations {
    /// Returns the number of failures of all kinds.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Says whether every issued operation is accounted for.
    pub fn is_conserved(&self) -> bool {
        self.issued == self.verified + self.failed_total() + self.unfinished
    }

    /// Adds another span's operations.
    pub fn merge(&mut self, other: &Self) {
        self.issued += other.issued;
        self.verified += other.verified;
        self.unfinished += other.unfinished;
        self.oldest_unfinished_ns = self.oldest_unfinished_ns.max(other.oldest_unfinished_ns);
        for (kind, count) in &other.failed {
            *self.failed.entry(*kind).or_default() += count;
        }
    }
}

/// The course of a trial in slices of equal width, warm-up included.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Slices {
    /// The width of a slice.
    pub width_ns: u64,
    /// What the slices hold: service time in a closed loop, response time under an open load.
    pub metric: Metric,
    /// Verified operations by the slice in which they were due (started, in a closed loop), from `start_ns` on.
    #[serde(deserialize_with = "check::few_histograms")]
    pub histograms: Vec<Histogram>,
    /// What is shown of each slice, in place of its histogram: in packed copies of runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub condensed: Vec<Slice>,
}

/// What is shown of one slice.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Slice {
    /// How many times it holds.
    pub count: u64,
    /// Their median; null when too few support it.
    pub p50_ns: Option<u64>,
    /// Their 99th percentile; null when too few support it.
    pub p99_ns: Option<u64>,
    /// The longest; null when there is none.
    pub max_ns: Option<u64>,
}
