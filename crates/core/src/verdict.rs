//! Judgement of one trial: every threshold stands here, and every rule is a function of a record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::record::{Measurement, Metric, Outcome, Pacing, TrialRecord};
use crate::scenario::Wait;

/// The p99 schedule lag that a trial should stay below: twice the wake-up cost of a good machine.
pub const LAG_TARGET_BLOCKING_NS: u64 = 60_000;
/// The same for a spinning client, which has no wake-up to pay.
pub const LAG_TARGET_SPIN_NS: u64 = 25_000;
/// A blocking client busier than this is the limit of what it measures.
pub const CLIENT_LIMITED_SHARE: f64 = 0.85;
/// Less than this share of the offered operations verified in an open load: the rate was not sustained.
pub const SUSTAINED_SHARE: f64 = 0.99;

/// What is to be known about a trial before its numbers are trusted.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The books do not balance: a fault of the harness; the trial does not count.
    NotConserved,
    /// No operation was verified; the trial does not count.
    NothingVerified,
    /// Some operations failed.
    Failures,
    /// Some operations did not end in time: percentiles are too low.
    Unfinished,
    /// An open load was not sustained.
    NotSustained,
    /// The generator was late by more than the target at the 99th percentile.
    LateSchedule,
    /// The client, not the server, was the limit: throughput is a lower bound.
    ClientLimited,
    /// Client and server shared a CPU.
    SharedCpu,
    /// Some times were longer than the histogram's largest bucket.
    Clamped,
}

impl Flag {
    /// Explains the flag in one sentence, for reports.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NotConserved => "operations do not add up: a fault of the harness, not counted",
            Self::NothingVerified => "no operation was verified: not counted",
            Self::Failures => "some operations failed; they are counted, and are not in the times",
            Self::Unfinished => {
                "some operations did not end in time: the upper percentiles are too low"
            }
            Self::NotSustained => "less than 99 % of the offered operations were done",
            Self::LateSchedule => {
                "the generator was late by more than its target at the 99th percentile"
            }
            Self::ClientLimited => "the client was the limit: throughput is a lower bound",
            Self::SharedCpu => "client and server shared a CPU",
            Self::Clamped => "some times were longer than 60 s and counted as 60 s",
        }
    }
}

/// Returns the p99 schedule lag that a client waiting this way should stay below.
pub const fn lag_target_ns(wait: Wait) -> u64 {
    match wait {
        Wait::Blocking => LAG_TARGET_BLOCKING_NS,
        Wait::Spin => LAG_TARGET_SPIN_NS,
    }
}

/// Compares a window's schedule lag with its target; `None` when nothing was due by a schedule.
pub fn pacing(wait: Wait, lag: Option<&Histogram>) -> Option<Pacing> {
    let lag = lag.filter(|lag| lag.count() > 0)?;
    let (lag_p99_ns, target_ns) = (lag.quantile_unchecked_ns(0.99), lag_target_ns(wait));
    Some(Pacing {
        lag_p99_ns,
        target_ns,
        is_met: lag_p99_ns <= target_ns,
    })
}

/// Says whether the trial may be used at all: it ran to its end, and its books balance. Failures, lateness and overload
/// are outcomes, not reasons to drop it: dropping them would favour the lane that has more of them.
pub fn is_valid(record: &TrialRecord) -> bool {
    let usable = |m: &Measurement| m.operations.is_conserved() && m.operations.verified > 0;
    record.outcome == Outcome::Completed && record.measurement.as_ref().is_some_and(usable)
}

/// Returns everything that is to be known about a trial.
pub fn flags(record: &TrialRecord) -> Vec<Flag> {
    let Some(measurement) = &record.measurement else {
        return Vec::new();
    };
    let operations = &measurement.operations;
    let rules = [
        (Flag::NotConserved, !operations.is_conserved()),
        (Flag::NothingVerified, operations.verified == 0),
        (Flag::Failures, operations.failed_total() > 0),
        (Flag::Unfinished, operations.unfinished > 0),
        (Flag::NotSustained, is_not_sustained(record, measurement)),
        (Flag::LateSchedule, is_late(record, measurement)),
        (Flag::ClientLimited, is_client_limited(record)),
        (Flag::SharedCpu, record.spec.placement.is_shared()),
        (
            Flag::Clamped,
            measurement
                .histograms
                .values()
                .any(|histogram| histogram.clamped() > 0),
        ),
    ];
    rules
        .into_iter()
        .filter_map(|(flag, holds)| holds.then_some(flag))
        .collect()
}

/// Returns the share of its CPUs that a blocking client used; `None` for a spinning one, which always uses all.
pub fn client_busy_share(record: &TrialRecord) -> Option<f64> {
    let measurement = record.measurement.as_ref()?;
    let cell = &record.spec.cell;
    let cpus = record.spec.placement.client_cpus.len().max(1) as f64;
    let spans = &measurement.spans;
    let wall_ns = spans.end_ns.saturating_sub(spans.start_ns).max(1) as f64;
    (cell.wait == Wait::Blocking).then(|| measurement.client.cpu_ns() as f64 / wall_ns / cpus)
}

fn is_client_limited(record: &TrialRecord) -> bool {
    // An open load's throughput is the offered one; its client is judged by its lag.
    let is_closed = record.spec.cell.load.offered_per_second(1).is_none();
    is_closed && client_busy_share(record).is_some_and(|share| share > CLIENT_LIMITED_SHARE)
}

fn is_not_sustained(record: &TrialRecord, measurement: &Measurement) -> bool {
    let cell = &record.spec.cell;
    let is_open = cell.load.offered_per_second(cell.connections).is_some();
    is_open
        && (measurement.operations.verified as f64)
            < measurement.operations.issued as f64 * SUSTAINED_SHARE
}

fn is_late(record: &TrialRecord, measurement: &Measurement) -> bool {
    let lag = measurement.histograms.get(&Metric::ScheduleLag);
    pacing(record.spec.cell.wait, lag).is_some_and(|pacing| !pacing.is_met)
}
