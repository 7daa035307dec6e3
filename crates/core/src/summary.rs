//! The summary of a run (`summary.json`): derived from the records, one entry per cell, for people and programs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::{self, Document};
use crate::failure::FailureCounts;
use crate::finding::{Finding, TwoModes};
use crate::lane::{Lane, Lifecycle};
use crate::manifest::RunStatus;
use crate::plan::Contrast;
use crate::validity::Family;
use crate::verdict::Flag;
use crate::work::LaneWork;

/// What a run found.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Summary {
    /// Always `sockrates-summary`.
    pub schema: String,
    /// Always [`Summary::VERSION`].
    pub schema_version: u32,
    /// The run it was derived from.
    pub run_id: String,
    /// The command that rebuilds it.
    pub command: String,
    /// Whether the run is all there.
    pub status: RunStatus,
    /// The fingerprint's id.
    pub fingerprint: String,
    /// Whether the machine let the run conclude anything.
    #[serde(default)]
    pub judgement: Judgement,
    /// Whether the run holds what its plan asked for.
    #[serde(default)]
    pub completeness: Completeness,
    /// What the run says, in the order of its parts: all that outputs state of effects. Empty in summaries made before.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The cells, in the plan's order.
    pub cells: Vec<CellSummary>,
    /// Lanes against each other, paired within blocks.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// How much of a difference comes from keeping the connection, and how much from the protocol.
    #[serde(default)]
    pub attributions: Vec<Attribution>,
    /// From how many messages on a kept connection beats one per message.
    #[serde(default)]
    pub break_evens: Vec<BreakEven>,
    /// From which interval on polling costs less CPU time than push.
    #[serde(default)]
    pub polling_break_evens: Vec<PollingBreakEven>,
    /// How the delivery of a message grows with its room.
    #[serde(default)]
    pub room_fits: Vec<RoomFit>,
    /// What a message takes in each lane, counted exactly: it holds on any machine.
    #[serde(default)]
    pub counted: Vec<CountedLane>,
}

impl Document for Summary {
    const KIND: &'static str = "summary";
    const VERSION: u32 = 5;

    /// Version 2 adds judgement, comparisons, attributions and break-evens, version 3 units, version 4 flags, version 5 a
    /// verdict for every effect and what could have been told; all may be absent.
    fn upgrade(from: u32, json: Value) -> Option<Value> {
        document::with_additions(from, from + 1, json)
    }
}

impl Summary {
    /// The value of `schema`.
    pub const SCHEMA: &'static str = "sockrates-summary";
}

/// What was found for one cell.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CellSummary {
    /// The cell's id.
    pub id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The workload's name.
    pub workload: String,
    /// The lane.
    pub lane: Lane,
    /// The lane's transport.
    pub transport: String,
    /// The lane's lifecycle.
    pub lifecycle: Lifecycle,
    /// The load.
    pub load: LoadSummary,
    /// How many connections (slots, in per-request lanes) were used.
    pub connections: u32,
    /// The length of one message's payload.
    pub payload_bytes: u32,
    /// What else distinguishes the cell: `wait`, `client`, `delivery`, `interval_ms`, …
    pub factors: BTreeMap<String, String>,
    /// How many trials there are.
    pub trials: TrialCounts,
    /// What became of the operations of all valid trials' windows.
    pub operations: OperationCounts,
    /// The failures by kind.
    pub failures: FailureCounts,
    /// What is to be known before the numbers are trusted, with the number of trials it holds for.
    pub flags: BTreeMap<Flag, u32>,
    /// The numbers by name: `throughput`, `service_time_p50`, …
    pub metrics: BTreeMap<String, MetricSummary>,
    /// Said where the trials' medians fall into two groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_modes: Option<TwoModes>,
}

/// The load of a cell.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct LoadSummary {
    /// `closed`, `open-constant`, `open-poisson` or `interval`.
    pub model: String,
    /// The total offered rate; null for a closed loop.
    pub offered_per_second: Option<f64>,
}

/// How many trials a cell has.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TrialCounts {
    /// Those that count.
    pub valid: u32,
    /// All that were tried, but for attempts that were repeated.
    pub total: u32,
    /// Those that something outside disturbed, in spite of repetitions.
    #[serde(default)]
    pub disturbed: u32,
    /// Attempts that were disturbed and repeated.
    #[serde(default)]
    pub repeated: u32,
}

/// What became of a cell's operations.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct OperationCounts {
    /// Ended with exactly the reply that was asked for.
    pub verified: u64,
    /// Ended otherwise.
    pub failed: u64,
    /// Did not end in time.
    pub unfinished: u64,
}

/// One number of a cell.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct MetricSummary {
    /// The value over all valid trials; null when too few samples support it.
    pub value: Option<f64>,
    /// The lower end of `interval`; null when there is none.
    pub low: Option<f64>,
    /// The upper end of `interval`; null when there is none.
    pub high: Option<f64>,
    /// What `low` and `high` are.
    pub interval: Interval,
    /// Whether the value is what it says or only bounds it.
    pub qualifier: Qualifier,
    /// The unit of all three.
    pub unit: Unit,
    /// Trials whose value is withheld, since a disturbance may have moved it by more than its margin.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub withheld: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What a metric's `low` and `high` are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// The smallest and the largest of the single trials' values.
    RangeOverTrials,
}

/// How a value is to be read.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Qualifier {
    /// It is what was measured.
    #[serde(rename = "=")]
    Equal,
    /// The truth is at least this: the client was the limit.
    #[serde(rename = ">=")]
    AtLeast,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Verified operations per second.
    OperationsPerSecond,
    /// Nanoseconds of CPU time per operation.
    CpuNsPerOperation,
    /// Nanoseconds of CPU time per second, of one client.
    CpuNsPerSecond,
    /// Bytes per second, of one client.
    BytesPerSecond,
    /// Requests per second, of one client.
    RequestsPerSecond,
}

/// A number with its interval.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Estimate {
    /// The Hodges-Lehmann estimate.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// What the machine did to the run, and whether the run may conclude anything.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Judgement {
    /// Whether differences of the cells' main numbers may be concluded from this run.
    pub is_conclusive: bool,
    /// Whether its lanes may be compared at all: it is whole, and copies of one lane are alike. Which
    /// numbers were harmed is another question (`families`).
    #[serde(default)]
    pub is_comparable: bool,
    /// Why not, or what else is to be known; sentences.
    pub reasons: Vec<String>,
    /// Trials that something outside disturbed, in spite of repetitions.
    pub disturbed_trials: u32,
    /// Attempts that were disturbed and repeated.
    pub repeated_trials: u32,
    /// How alike the trials of one block are: the share of the variance of the logarithms of medians, each cell's own
    /// level apart, that blocks explain (the intraclass correlation). Pairing within blocks gains about this much; null
    /// where too few cells were measured in every block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_block_correlation: Option<f64>,
    /// The share of all ordered pairs of cells of which one was planned directly after the other at least once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_pairs_covered: Option<f64>,
    /// What the disturbances did to which kind of number; empty in older summaries.
    #[serde(default)]
    pub families: Vec<FamilyJudgement>,
}

impl Judgement {
    /// Says whether numbers of this kind may be concluded from, as far as disturbances go.
    pub fn holds(&self, family: Family) -> bool {
        let found = self.families.iter().find(|found| found.family == family);
        found.map_or(self.is_conclusive, |found| found.holds)
    }

    /// Says whether differences of this number, by its name in a cell's `metrics`, may be concluded.
    pub fn concludes(&self, metric: &str) -> bool {
        self.is_comparable && self.holds(Family::of(metric))
    }
}

/// What disturbances did to one kind of number.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct FamilyJudgement {
    /// The kind.
    pub family: Family,
    /// Trials that have such a number.
    pub trials: u32,
    /// Those of them in which it was harmed, and is withheld.
    pub withheld: u32,
    /// Whether enough of it is left.
    pub holds: bool,
    /// What harmed it, most often first.
    pub because: Vec<Flag>,
}

/// Whether a run holds what its plan asked for, by the records that can be used.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Completeness {
    /// How many trials the plan asks for; 0 where that is not known.
    pub planned_trials: u32,
    /// The blocks, from 0 on, none of whose trials was measured to its end.
    pub missing_blocks: Vec<u32>,
    /// The trials of other blocks that were not.
    pub missing_trials: Vec<MissingTrial>,
    /// The ids of the cells that have records, and none that counts.
    pub broken_cells: Vec<String>,
    /// The primary contrasts that lack a side, since no trial of it counts. They keep their place in the family.
    pub missing_primary: Vec<Contrast>,
}

/// A trial that the plan asks for and no record holds.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct MissingTrial {
    /// The cell's id.
    pub cell: String,
    /// The block, from 0 on.
    pub block: u32,
}

impl Completeness {
    /// Says whether everything is there that the plan asked for, and every primary contrast has two sides.
    pub const fn is_whole(&self) -> bool {
        self.missing_blocks.is_empty()
            && self.missing_trials.is_empty()
            && self.missing_primary.is_empty()
    }
}

/// One cell against another, paired within blocks.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Comparison {
    /// The id of the cell that is compared.
    pub cell: String,
    /// The id of the cell it is compared with.
    pub reference: String,
    /// The number that is compared, by its name in `metrics`.
    pub metric: String,
    /// Blocks that hold an undisturbed value of both.
    pub blocks: u32,
    /// The estimated ratio, of the one fit of its load point, with the exact signed-rank interval; null when there are
    /// too few blocks, or when either number is only a bound.
    pub ratio: Option<Estimate>,
    /// The typical value of the cell and of its reference, in the metric's unit, from the same fit: their quotient is
    /// the ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<(f64, f64)>,
    /// How sure the intervals are: 0.95.
    pub confidence: f64,
    /// The sign test's interval of the same ratio, which assumes less; null when there are too few blocks.
    pub sign_interval: Option<(f64, f64)>,
    /// The difference of the typical values, in the metric's unit, with the sign test's interval of the median of the
    /// blocks' differences.
    pub difference: Option<Estimate>,
    /// Whether the run was for this comparison; others are descriptive.
    pub is_primary: bool,
    /// Whether both are the same lane, so that any difference is noise.
    pub is_null: bool,
    /// The exact two-sided p-value of the signed-rank test.
    pub p_value: f64,
    /// The same after Holm's correction over the primary comparisons; null for others.
    pub p_adjusted: Option<f64>,
    /// The ratio, less 1, below which a difference does not matter: the metric's own, or as far as two copies of one lane
    /// may have come out apart at this load point, where that is more.
    pub margin: f64,
    /// The smallest true ratio, less 1, that runs like this one call different nine times in ten: the rule itself,
    /// simulated with the spread of this run's blocks.
    pub detectable: Option<f64>,
    /// Whether either number is only a bound, so that nothing is to be said of the ratio.
    #[serde(default)]
    pub is_bounded: bool,
    /// Of an inconclusive comparison: the ratio, above 1, that its interval excludes in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Of an inconclusive comparison: with how many blocks runs with this spread and effect come to a verdict nine times
    /// in ten; null when no practical number does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_needed: Option<u32>,
    /// What may be said.
    pub verdict: Verdict,
}

/// What may be said of a comparison.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They differ by more than the margin.
    Different,
    /// They differ, perhaps by less than the margin.
    SlightlyDifferent,
    /// They differ by less than the margin, if at all.
    Equivalent,
    /// The run cannot tell.
    Inconclusive,
}

/// The two-by-two of one load point and metric: {http1, websocket} x {per-request, persistent}, on the logarithmic
/// scale, from the one fit of the load point: `total = reuse x protocol` to rounding; all are ratios.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Attribution {
    /// The scenario's name.
    pub scenario: String,
    /// How many connections were used.
    pub connections: u32,
    /// The number that is taken apart, by its name in `metrics`.
    pub metric: String,
    /// Whether more of it is better, so that ratios are of the better lane to the worse.
    pub is_gain: bool,
    /// Blocks that hold all four lanes, undisturbed.
    pub blocks: u32,
    /// `http1-per-request` to `websocket-persistent`.
    pub total: Estimate,
    /// Keeping the connection, over HTTP/1.1: the first step of the way that can be gone without changing the protocol.
    pub reuse: Estimate,
    /// Changing the protocol, the connection kept: the second step.
    pub protocol: Estimate,
    /// The other way round, first step: changing the protocol, still with a connection per request.
    pub protocol_per_request: Estimate,
    /// The other way round, second step: keeping the connection, over WebSocket.
    pub reuse_of_websocket: Estimate,
    /// The mean effect of keeping the connection over both protocols: the main effect of a 2 x 2 factorial.
    pub reuse_main: Estimate,
    /// The mean effect of the protocol over both lifecycles.
    pub protocol_main: Estimate,
    /// By how much keeping the connection matters more over WebSocket than over HTTP/1.1: 1 when the effects multiply.
    pub interaction: Estimate,
    /// What may be said of each effect, by its name above; empty in summaries of earlier versions, which judged none.
    #[serde(default)]
    pub verdicts: BTreeMap<String, Verdict>,
    /// The four lanes' differences to the persistent tcp floor, in the metric's unit; empty for gains.
    pub above_floor: BTreeMap<String, Estimate>,
}

/// From how many messages on one connection a kept lane is cheaper than another lane: one connection per message, or
/// another kept lane.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct BreakEven {
    /// The scenario's name.
    pub scenario: String,
    /// The lane that keeps its connection for n messages.
    pub kept: Lane,
    /// The lane it is compared with: one that opens a connection for each message, or a kept one.
    pub fresh: Lane,
    /// The smallest n, as a real number; null unless `crossing` is `found`.
    pub messages: Option<Estimate>,
    /// Whether there is such an n.
    #[serde(default)]
    pub crossing: Crossing,
    /// What a connection of the kept lane costs beyond its messages, in nanoseconds: opening, the first exchange on it
    /// and closing, less a message on an open connection.
    pub set_up_ns: Estimate,
    /// One message on an open connection, in nanoseconds.
    pub message_ns: Estimate,
    /// One message of the other lane, in nanoseconds: opening and closing included, unless it is kept.
    pub fresh_ns: Estimate,
    /// What a connection of the other lane costs beyond its messages, in nanoseconds; null unless it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_set_up_ns: Option<Estimate>,
    /// What was measured with so many exchanges per connection, beside what the model expects.
    pub measured: Vec<BreakEvenPoint>,
}

/// Whether one lane becomes cheaper than another as its connections carry more messages.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// From some number of messages on, with its interval.
    Found,
    /// From the first message on: there is no crossing.
    Always,
    /// Not at any number.
    Never,
    /// The run cannot tell.
    #[default]
    Unclear,
}

/// The model of a break-even, checked at one number of exchanges per connection.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct BreakEvenPoint {
    /// Exchanges per connection.
    pub exchanges: u32,
    /// The measured time per message, in nanoseconds.
    pub measured_ns: Estimate,
    /// What set-up and message cost add up to, in nanoseconds.
    pub expected_ns: f64,
    /// Whether what is expected lies within the measured interval.
    #[serde(default)]
    pub agrees: bool,
}

/// From which interval on polling costs less CPU time than push: what a poll costs, over what push costs in a second, its
/// deliveries at the rate of the events. Whoever polls more often pays more than push, and is staler all the same.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PollingBreakEven {
    /// The id of the polling cell whose interval lies nearest: its costs are used.
    pub poll: String,
    /// The id of the cell it is compared with.
    pub push: String,
    /// The events of one client's topic.
    pub events_per_second: f64,
    /// CPU time of both ends for a poll, in nanoseconds.
    pub poll_ns: Estimate,
    /// CPU time of both ends for an event that is pushed, in nanoseconds.
    pub push_ns: Estimate,
    /// The interval, in milliseconds.
    pub interval_ms: Estimate,
    /// Whether it lies outside the intervals that were measured: then it is no more than an extrapolation.
    pub is_extrapolated: bool,
}

/// A straight line through the times of rooms of several sizes: `base + per member x members`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RoomFit {
    /// The scenario's name.
    pub scenario: String,
    /// The lane.
    pub lane: Lane,
    /// The number that was fitted, by its name in `metrics`.
    pub metric: String,
    /// The sizes of the rooms.
    pub members: Vec<u32>,
    /// What one more member adds, in nanoseconds: least squares within each block.
    pub per_member_ns: Estimate,
    /// Where the line through all trials begins, in nanoseconds.
    pub base_ns: f64,
    /// The share of the variance of all trials that the line through all of them explains.
    pub r_squared: f64,
}

/// What a lane took for a fixed number of messages, counted by the kernel at the client's end. All counts are for all
/// messages together; [`CountedLane::each`] divides.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CountedLane {
    /// The id of the cell that was counted.
    pub cell: String,
    /// The lane.
    pub lane: Lane,
    /// How many messages were sent and answered.
    pub messages: u64,
    /// The length of one message's payload; its reply is as long.
    pub payload_bytes: u32,
    /// How often the client waits for the server, or for its kernel, before it can go on.
    pub turn_arounds: TurnArounds,
    /// What the client sent.
    pub sent: ByteParts,
    /// What the client received.
    pub received: ByteParts,
    /// Segments with data that the client sent, repetitions left out; null where the kernel did not say.
    pub segments_sent: Option<u64>,
    /// Segments with data that the client received, repetitions left out; null where these could not be told apart.
    pub segments_received: Option<u64>,
    /// Connections that were opened. Each takes an ephemeral port.
    pub connections: u64,
    /// The counts that were not the same in every trial, by name: for these the most frequent value is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub varying: Vec<String>,
    /// Instructions and system calls of both ends; null where they were not counted (`just reproduce --work`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<LaneWork>,
}

impl CountedLane {
    /// Returns a count per message.
    pub fn each(&self, count: u64) -> f64 {
        count as f64 / self.messages as f64
    }

    /// Returns the turn-arounds per message; `None` where those of handshakes were not counted.
    pub fn turn_arounds_each(&self) -> Option<f64> {
        let all = &self.turn_arounds;
        Some(self.each(all.connect + all.handshake? + all.exchange))
    }
}

/// Turn-arounds by what they are for. On a network each adds a round trip.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TurnArounds {
    /// Connections that were opened: SYN, and the SYN-ACK that is waited for.
    pub connect: u64,
    /// Handshakes whose answer was waited for, as the upgrade to WebSocket; null where that was not counted.
    pub handshake: Option<u64>,
    /// Messages whose reply was waited for.
    pub exchange: u64,
}

/// Bytes of TCP payload in one direction, by what they are for. The parts add up to the total.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ByteParts {
    /// All of them.
    pub total: u64,
    /// Payload of messages.
    pub payload: u64,
    /// What made connections usable, as the upgrade to WebSocket; null where that was not counted.
    pub handshake: Option<u64>,
    /// The rest: headers of HTTP, frame headers and closing frames of WebSocket; null where `handshake` is.
    pub framing: Option<u64>,
}
