//! A search for capacity: probes in fresh processes, one after the other, until the search has found its rate.

use std::time::Duration;

use sockrates_core::capacity::{ProbeOutcome, ProbeVerdict, Search, Step};
use sockrates_core::document::Document;
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{CapacitySearch, Measurement, Metric, Outcome, Probe, TrialRecord};
use sockrates_core::schedule::Load;
use sockrates_core::verdict::{self, Flag, MAX_REPEATS};
use sockrates_probe::clock;

use super::child;
use crate::signals::Stop;

/// Where a search begins: low enough for any lane on any machine.
const FIRST_RATE: f64 = 500.0;
/// Failed operations beyond this share miss the objective, whatever the others took.
const FAILED_SHARE: f64 = 1e-3;

/// Searches the highest rate at which the 99th percentile of the response time stays below the objective. The record
/// holds every probe, and the measurement of the last one that met it.
pub(super) async fn search(spec: &TrialSpec, p99_ms: f64, stop: &Stop) -> TrialRecord {
    let started_unix_ms = clock::unix_ms();
    let objective = Duration::from_secs_f64(p99_ms / 1e3);
    let objective_ns = u64::try_from(objective.as_nanos()).expect("an objective is at most a day");
    let mut search = Search::new(FIRST_RATE, objective_ns);
    let mut probes = Vec::new();
    let (mut best, mut last) = (None, None);
    let found = loop {
        let rate_per_second = match search.next() {
            Step::Done(found) => break found,
            Step::Probe {
                rate_per_second, ..
            } => rate_per_second,
        };
        let record = probe(spec, rate_per_second, probes.len(), stop).await;
        if let Outcome::Failed { reason, message } = record.outcome {
            return TrialRecord::failed(spec.clone(), started_unix_ms, reason, message);
        }
        let outcome = judge(&record, objective_ns);
        search.observe(outcome);
        probes.push(Probe {
            rate_per_second,
            p99_ns: outcome.p99_ns,
            verdict: outcome.verdict,
        });
        match outcome.verdict {
            ProbeVerdict::Met => best = record.measurement,
            _ => last = record.measurement,
        }
    };
    TrialRecord {
        schema_version: TrialRecord::VERSION,
        spec: spec.clone(),
        started_unix_ms,
        outcome: Outcome::Completed,
        measurement: best.or(last),
        search: Some(CapacitySearch { found, probes }),
    }
}

/// Performs one probe; a disturbed one is repeated.
async fn probe(spec: &TrialSpec, rate_per_second: f64, number: usize, stop: &Stop) -> TrialRecord {
    let mut probe = spec.clone();
    probe.cell.load = Load::OpenPoisson { rate_per_second };
    // Each probe has arrivals of its own: the same luck twice would confirm nothing.
    probe.seed = (spec.seed ^ ((number as u64 + 1) << 32)) & ((1 << 53) - 1);
    let mut repeats = 0;
    loop {
        let record = child::perform(&probe, Some(stop)).await;
        if repeats == MAX_REPEATS || verdict::disturbances(&record).is_empty() {
            return record;
        }
        repeats += 1;
    }
}

fn judge(record: &TrialRecord, objective_ns: u64) -> ProbeOutcome {
    let Some(measurement) = &record.measurement else {
        return ProbeOutcome {
            verdict: ProbeVerdict::Missed,
            p99_ns: None,
        };
    };
    let operations = &measurement.operations;
    let p99_ns = measurement
        .histograms
        .get(&Metric::ResponseTime)
        .and_then(|times| times.quantile_ns(0.99));
    let flags = verdict::flags(record);
    let lost = (operations.failed_total() + operations.unfinished) as f64;
    let is_met = p99_ns.is_some_and(|ns| ns <= objective_ns)
        && lost <= operations.issued as f64 * FAILED_SHARE
        && !flags.contains(&Flag::NotSustained)
        && !flags.contains(&Flag::Overloaded);
    let verdict = if is_met {
        ProbeVerdict::Met
    } else if !verdict::disturbances(record).is_empty() {
        ProbeVerdict::Disturbed
    } else if is_client_limited(measurement, objective_ns) {
        ProbeVerdict::ClientLimited
    } else {
        ProbeVerdict::Missed
    };
    ProbeOutcome { verdict, p99_ns }
}

/// A generator that is late by a good part of the objective is what missed it.
fn is_client_limited(measurement: &Measurement, objective_ns: u64) -> bool {
    let lag = measurement.histograms.get(&Metric::ScheduleLag);
    lag.is_some_and(|lag| lag.quantile_unchecked_ns(0.99) > objective_ns / 2)
}
