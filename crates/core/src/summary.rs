//! The summary of a run (`summary.json`): derived from the records, one entry per cell, for people and programs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::failure::FailureCounts;
use crate::lane::{Lane, Lifecycle};
use crate::manifest::RunStatus;
use crate::verdict::Flag;

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
    /// The cells, in the plan's order.
    pub cells: Vec<CellSummary>,
}

impl Document for Summary {
    const KIND: &'static str = "summary";
    const VERSION: u32 = 1;
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
    /// All that were tried.
    pub total: u32,
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
    /// Nanoseconds of CPU time per operation, client and server together.
    CpuNsPerOperation,
}
