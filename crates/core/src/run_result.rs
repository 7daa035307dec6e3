//! The result of measuring one server with one load (`sockrates run --json`): derived from the records of its trials, for
//! people and programs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::failure::FailureCounts;
use crate::lane::{Lane, Lifecycle};
use crate::manifest::RunStatus;
use crate::record::{AnswerCounts, Metric, Silence};
use crate::summary::{Estimate, LoadSummary, Qualifier, Verdict};
use crate::verdict::Flag;

/// What was measured.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RunResult {
    /// Always `sockrates-run-result`.
    pub schema: String,
    /// Always [`RunResult::VERSION`].
    pub schema_version: u32,
    /// The command that made it.
    pub command: String,
    /// The server and what was asked of it.
    pub url: String,
    /// What was asked: method and path, or how messages were matched.
    pub exchange: String,
    /// `partial` when it was interrupted.
    pub status: RunStatus,
    /// Wall-clock start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// The id of machine and build, where times are comparable.
    pub fingerprint: String,
    /// Draws arrivals, messages and masks.
    pub seed: u64,
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
    /// The client's threads, one for each of its CPUs.
    pub threads: u32,
    /// How often it was measured.
    pub trials: u32,
    /// The time in which operations were due that count, over all trials.
    pub window_ns: u64,
    /// What became of the window's operations. `issued = verified + failed + unfinished`, always.
    pub operations: OperationBooks,
    /// The failures by kind.
    pub failures: FailureCounts,
    /// How the server answered.
    pub answers: AnswerCounts,
    /// Verified operations per second; over several trials the median.
    pub throughput_per_second: Option<f64>,
    /// Whether the throughput is what it says or only a lower bound.
    pub throughput_qualifier: Qualifier,
    /// The window's times by metric.
    pub times: BTreeMap<Metric, TimeSummary>,
    /// What connections took to set up and carried.
    pub network: NetworkSummary,
    /// The measurement's own health.
    pub health: Health,
    /// How far to trust it.
    pub trust: Trust,
    /// The thresholds that were asked for.
    pub thresholds: Vec<ThresholdResult>,
    /// The comparison with an earlier result, if one was asked for.
    pub baseline: Option<BaselineResult>,
    /// The numbers that are compared, one value for each trial that supports it.
    pub values_by_trial: BTreeMap<String, Vec<f64>>,
}

impl Document for RunResult {
    const KIND: &'static str = "run-result";
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        let OperationBooks {
            issued,
            verified,
            failed,
            unfinished,
            ..
        } = self.operations;
        let sum = |counts: &[u64]| {
            let mut counts = counts.iter();
            counts.try_fold(0u64, |sum, count| sum.checked_add(*count))
        };
        if sum(&[verified, failed, unfinished]) != Some(issued) {
            return Err("`operations` do not add up".to_owned());
        }
        let kinds: Vec<_> = self.failures.values().copied().collect();
        if sum(&kinds) != Some(failed) {
            return Err("`failures` do not add up to `operations.failed`".to_owned());
        }
        Ok(())
    }
}

impl RunResult {
    /// The value of `schema`.
    pub const SCHEMA: &'static str = "sockrates-run-result";
}

/// What became of operations.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct OperationBooks {
    /// Due in the window (started, in a closed loop).
    pub issued: u64,
    /// Ended with a reply that counts.
    pub verified: u64,
    /// Ended otherwise.
    pub failed: u64,
    /// Had not ended when the drain was over.
    pub unfinished: u64,
    /// The age of the oldest unfinished one then; null when there is none.
    pub oldest_unfinished_ns: Option<u64>,
}

/// A distribution of times.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct TimeSummary {
    /// How many times there are.
    pub count: u64,
    /// The smallest.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The percentiles that were asked for.
    pub percentiles: Vec<Percentile>,
    /// The largest.
    pub max_ns: u64,
}

/// One percentile.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Percentile {
    /// From 0 to 100.
    pub percentile: f64,
    /// Its value; null when fewer than ten times lie beyond it.
    pub ns: Option<u64>,
    /// `>=` when more operations never ended than lie beyond it.
    pub qualifier: Qualifier,
}

/// What connections took to set up and carried.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct NetworkSummary {
    /// How long it took to look up the server's name, once, ahead of the load; null for an address.
    pub resolve_ns: Option<u64>,
    /// Connections opened over the whole run, the warm-up included.
    pub connections_opened: u64,
    /// Payload bytes of TCP sent, over the whole run, handshakes included.
    pub bytes_sent: u64,
    /// Payload bytes of TCP received.
    pub bytes_received: u64,
    /// Segments sent again.
    pub segments_retransmitted: u64,
    /// Operations of the whole run that ended, well or not: what the bytes were for.
    pub operations: u64,
}

/// The measurement's own health.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Health {
    /// The 99th percentile of how late the generator noticed that something was due; null in a closed loop.
    pub schedule_lag_p99_ns: Option<u64>,
    /// The share of its CPUs that the client used; null for a client that spins.
    pub client_busy_share: Option<f64>,
    /// Whether the client was the limit.
    pub is_client_limited: bool,
    /// The longest time in which nothing was answered, where that is worth a word.
    pub silence: Option<Silence>,
    /// What is to be known before the numbers are trusted.
    pub flags: Vec<Flag>,
}

/// How far to trust a result.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Trust {
    /// In a word.
    pub level: TrustLevel,
    /// Why, in sentences.
    pub reasons: Vec<String>,
}

/// How far to trust a result, in a word.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TrustLevel {
    /// Nothing speaks against it.
    Good,
    /// Some numbers are bounds, or hold for this run only.
    Bounded,
    /// The machine or the generator disturbed it.
    Doubtful,
    /// There is nothing to trust.
    None,
}

/// What became of a threshold.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ThresholdResult {
    /// As it was written.
    pub threshold: String,
    /// What was measured, in nanoseconds, per second, operations or percent; null when too few operations say.
    pub value: Option<f64>,
    /// Whether the run fails by it; so it does where it cannot be told.
    pub fails: bool,
}

/// The comparison with an earlier result.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct BaselineResult {
    /// The earlier result's file.
    pub file: String,
    /// When it began, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How sure the intervals are.
    pub confidence: f64,
    /// Number by number.
    pub comparisons: Vec<BaselineComparison>,
}

/// One number against the earlier one: the trials of both are two samples.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct BaselineComparison {
    /// The number's name.
    pub metric: String,
    /// What the earlier trials' value is typically: near their median, and such that `value` over it is the ratio.
    pub baseline: f64,
    /// What the value of these is typically, likewise; both are medians where there is no ratio.
    pub value: f64,
    /// Trials on both sides.
    pub trials: (u32, u32),
    /// The estimated ratio with the exact rank-sum interval; null when there are too few trials.
    pub ratio: Option<Estimate>,
    /// The ratio, less 1, below which a difference does not matter.
    pub margin: f64,
    /// What may be said.
    pub verdict: Verdict,
    /// Whether it became worse by more than the margin.
    pub is_regression: bool,
}
