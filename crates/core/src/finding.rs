//! A finding: one thing that a run says, as data. All outputs render findings, and none says anything else of an effect.
//!
//! What may be said of it is decided where it is made; nothing is computed here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::summary::{Crossing, Estimate, Unit, Verdict};

/// One thing that a run says.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Finding {
    /// How far it holds.
    pub part: Part,
    /// What is stated.
    pub effect: Effect,
    /// Where it was found.
    pub scope: Scope,
    /// Whether it belongs to the questions that the run was for, and so to the first screen of a report.
    pub is_leading: bool,
    /// The number with its interval: of a difference or a change the ratio of both values, else a number in `unit`. Null
    /// for counts, and where there are too few blocks.
    pub estimate: Option<Estimate>,
    /// The unit of `values`, and of an `estimate` that is no ratio; null for plain numbers.
    pub unit: Option<Unit>,
    /// Both sides of a ratio, from the estimator of the ratio: their quotient is the estimate.
    pub values: Option<(f64, f64)>,
    /// What may be said of the effect; null where nothing is compared.
    pub verdict: Option<Verdict>,
    /// How the estimate was made.
    pub estimator: Estimator,
    /// Of what could not be told: the ratio, above 1, beyond which the truth does not lie in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Of what could not be told: with about how many blocks a run would tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_needed: Option<u32>,
    /// Of what could not be told: why there is not even a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The cells it rests on whose trials fall into two groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub two_modes: Vec<TwoModes>,
    /// The ids of the cells it rests on.
    pub cells: Vec<String>,
}

/// How far a finding holds.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// On any machine: it was counted, and is exact.
    Everywhere,
    /// On this machine and network: it was timed.
    Here,
    /// Nowhere: the run could not tell.
    NotTold,
}

/// Why nothing can be said of an effect.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Single trials hold too few operations for the number.
    FewOperations,
    /// Either number is only a bound.
    OnlyBounds,
    /// An interval needs more blocks.
    FewBlocks,
    /// The run was disturbed, or is judged to conclude nothing.
    Unjudged,
}

/// Where a finding was made.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Scope {
    /// The scenario's name.
    pub scenario: String,
    /// The load in words: `closed loop, 1 connection`.
    pub load: String,
    /// `loopback`, or between which machines.
    pub network: String,
    /// The length of one message's payload.
    pub payload_bytes: u32,
}

/// What a finding states.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// What one message takes, counted by the kernel.
    Counted {
        /// The lane.
        lane: String,
        /// Each count, per message.
        per_message: Vec<Count>,
    },
    /// One lane's number as a multiple of another's.
    Difference {
        /// The lane or the way of learning of events.
        lane: String,
        /// What it is compared with.
        reference: String,
        /// The number, by its name in a cell's `metrics`.
        metric: String,
        /// Whether both are the same lane, so that any difference is noise.
        is_null: bool,
    },
    /// One lane's number in one run as a multiple of the same in another.
    Change {
        /// What is compared.
        what: String,
        /// The number, by its name in a cell's `metrics`.
        metric: String,
    },
    /// From how many messages on a kept connection is cheaper; the estimate is that number.
    BreakEven {
        /// The lane that keeps its connection.
        kept: String,
        /// What it is compared with.
        other: String,
        /// Whether there is such a number.
        crossing: Crossing,
    },
    /// From which interval on polling costs less CPU time than push; the estimate is that interval in nanoseconds.
    PollingBreakEven {
        /// How is polled.
        poll: String,
        /// What it is compared with.
        push: String,
        /// Events of one client's topic per second.
        events_per_second: f64,
        /// Whether it lies outside the intervals that were measured.
        is_extrapolated: bool,
    },
    /// Which measured way of seeing news in time costs least CPU time; the estimate is that of one client in a second.
    Freshness {
        /// The age, in milliseconds, that 99 of 100 events may have on arrival.
        within_ms: u32,
        /// The way.
        way: String,
        /// Events of one client's topic per second.
        events_per_second: f64,
        /// The 99th percentile of its staleness, in nanoseconds, over all trials together.
        staleness_p99_ns: f64,
        /// Bytes of one client in a second, both ways, with all heads.
        bytes_per_second: Option<f64>,
        /// Requests of one client in a second.
        requests_per_second: Option<f64>,
        /// Ways that are fresh enough, and of which the run cannot tell that they cost more.
        rivals: Vec<String>,
    },
    /// What one more member of a room adds to a time; the estimate is that, in nanoseconds.
    Growth {
        /// The lane.
        lane: String,
        /// The number, by its name in a cell's `metrics`.
        metric: String,
        /// The smallest and the largest room.
        members: (u32, u32),
    },
    /// What it took to wake a CPU that had nothing to do; the estimate is the mean of the medians before and after the
    /// run, with the smaller and the larger.
    WakeUp {
        /// The same with the CPUs kept awake, in nanoseconds; null where idle priority was refused.
        awake_ns: Option<f64>,
    },
    /// What a number was, compared with nothing: the median of the trials with their range.
    Level {
        /// The lane or the way of learning of events.
        lane: String,
        /// The number, by its name in a cell's `metrics`.
        metric: String,
    },
}

/// One count.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Count {
    /// What was counted.
    pub what: Counted,
    /// How often, or how many bytes, per message.
    pub each: f64,
}

/// What is counted of a message.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Waits for a connection.
    Connects,
    /// Waits for the answer to a handshake.
    Handshakes,
    /// Waits for a reply.
    Exchanges,
    /// Bytes of TCP payload sent.
    BytesSent,
    /// Of these, the message's own.
    PayloadSent,
    /// Of these, headers and frames.
    FramingSent,
    /// Of these, those of handshakes.
    HandshakeSent,
    /// Bytes of TCP payload received.
    BytesReceived,
    /// Of these, the reply's own.
    PayloadReceived,
    /// Of these, headers and frames.
    FramingReceived,
    /// Of these, those of handshakes.
    HandshakeReceived,
    /// Segments with data sent.
    SegmentsSent,
    /// Segments with data received.
    SegmentsReceived,
    /// Connections opened, each from an ephemeral port of its own.
    Connections,
    /// System calls of the client.
    ClientSystemCalls,
    /// System calls of the server.
    ServerSystemCalls,
    /// Instructions of the client in user space.
    ClientInstructions,
    /// Instructions of the server in user space.
    ServerInstructions,
}

/// How an estimate was made.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Counted, the same in every trial or its most frequent value.
    Count,
    /// Ratios of medians or rates within blocks, with the signed-rank interval.
    WithinBlocks,
    /// Trials of two runs, with the rank-sum interval.
    BetweenRuns,
    /// The median of the trials' values, with the smallest and the largest.
    MedianOfTrials,
    /// Measured before and after the run: the mean, with the smaller and the larger.
    Calibrations,
    /// A straight line by least squares within each block.
    LeastSquares,
}

/// Trials of one cell that fall into two groups: a single number describes neither.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct TwoModes {
    /// The cell's id.
    pub cell: String,
    /// The number whose trials do, by its name in the cell's `metrics`.
    pub metric: String,
    /// The median of the lower group, in nanoseconds.
    pub low_ns: f64,
    /// How many trials lie in it.
    pub low_trials: u32,
    /// The median of the upper group, in nanoseconds.
    pub high_ns: f64,
    /// How many trials lie in it.
    pub high_trials: u32,
}
