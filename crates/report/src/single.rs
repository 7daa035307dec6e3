//! One server, one load, one result: what `sockrates run` derives from the records of its trials.
//!
//! The same rules as for runs of many cells, for one. Pure: the same records give the same result.

mod baseline;
mod csv;
mod spectrum;
mod terminal;
mod trust;

use std::collections::BTreeMap;

use sockrates_core::custom::Matching;
use sockrates_core::document::Document;
use sockrates_core::failure::FailureKind;
use sockrates_core::histogram::Histogram;
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::record::{
    AnswerCounts, FailedTrial, Measurement, Metric, Operations, Outcome, TrialRecord,
};
use sockrates_core::run_result::{
    Health, NetworkSummary, OperationBooks, Percentile, RunResult, ThresholdResult, TimeSummary,
};
use sockrates_core::scenario::Workload;
use sockrates_core::schedule::Load;
use sockrates_core::summary::{LoadSummary, Qualifier};
use sockrates_core::threshold::{Count, Statistic, Subject, Threshold};
use sockrates_core::verdict::{self, Flag};

pub use self::baseline::{BaselineError, Likeness, MIN_TRIALS, compare, load_of};
use crate::dataset::Dataset;
use crate::interval_log;
use crate::metrics;
use crate::ratio::median;

use crate::text::COLUMNS;
pub use crate::text::exchange;
use crate::view::{CellView, Trial, View};

/// Everything a result is made of.
#[derive(Debug)]
pub struct Single {
    dataset: Dataset,
    /// The server and what was asked of it.
    pub url: String,
    /// How long it took to look up the server's name; `None` for an address.
    pub resolve_ns: Option<u64>,
    /// The percentiles to tell, from 0 to 100.
    pub percentiles: Vec<f64>,
    /// The conditions under which the run fails.
    pub thresholds: Vec<Threshold>,
    /// How wide tables may be, in columns.
    pub columns: usize,
}

/// The metrics whose values are kept trial by trial, so that later runs can be compared.
const COMPARED: [Metric; 4] = [
    Metric::ResponseTime,
    Metric::ServiceTime,
    Metric::Exchange,
    Metric::InterArrival,
];
const COMPARED_PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

impl Single {
    /// Takes the trials of the only cell of a plan.
    pub fn new(
        manifest: RunManifest,
        records: Vec<TrialRecord>,
        url: String,
        percentiles: Vec<f64>,
    ) -> Self {
        Self {
            dataset: Dataset::new(manifest, records, Vec::new()),
            url,
            resolve_ns: None,
            percentiles,
            thresholds: Vec::new(),
            columns: COLUMNS,
        }
    }

    /// Derives the result. `None` where no trial measured anything.
    pub fn result(&self) -> Option<RunResult> {
        let view = View::new(&self.dataset);
        let cell = &view.cells[0];
        let measured = Measured::of(cell)?;
        let manifest = &self.dataset.manifest;
        let of_cell = cell.cell;
        let times = measured.times(&self.percentiles);
        let health = measured.health();
        let thresholds = self.thresholds.iter();
        Some(RunResult {
            schema: RunResult::SCHEMA.to_owned(),
            schema_version: RunResult::VERSION,
            command: manifest.command.clone(),
            url: self.url.clone(),
            exchange: exchange(of_cell),
            status: manifest.status,
            started_unix_ms: manifest.started_unix_ms,
            fingerprint: manifest.fingerprint.id.clone(),
            seed: manifest.plan.seed,
            lane: of_cell.lane.clone(),
            transport: of_cell.lane.transport.clone(),
            lifecycle: of_cell.lane.lifecycle,
            load: LoadSummary {
                model: of_cell.load.model().to_owned(),
                offered_per_second: of_cell.load.offered_per_second(of_cell.connections),
            },
            connections: of_cell.connections,
            threads: u32::try_from(manifest.placement.client_cpus.len()).expect("CPUs are few"),
            trials: u32::try_from(measured.trials.len()).expect("trials are few"),
            window_ns: measured.windows_ns().iter().sum(),
            operations: measured.books(),
            failures: measured.operations.failed.clone(),
            answers: measured.answers(),
            throughput_per_second: median(&measured.throughputs()),
            throughput_qualifier: if health.is_client_limited && of_cell.load == (Load::Closed {}) {
                Qualifier::AtLeast
            } else {
                Qualifier::Equal
            },
            times,
            network: measured.network(self.resolve_ns),
            trust: trust::of(&measured, manifest.status, &health),
            health,
            thresholds: thresholds.map(|one| measured.judge(one)).collect(),
            baseline: None,
            values_by_trial: measured.values_by_trial(),
        })
    }

    /// Tells a result in plain text; with `is_full`, with the whole spectrum of its times.
    pub fn text(&self, result: &RunResult, is_full: bool) -> String {
        let mut text = terminal::tell(result, self.columns);
        if is_full {
            let view = View::new(&self.dataset);
            let measured = Measured::of(&view.cells[0]);
            text += &measured.map_or_else(String::new, |measured| spectrum::tell(&measured.merged));
        }
        text
    }

    /// Writes a result as rows of name, statistic, value and unit.
    pub fn csv(result: &RunResult) -> anyhow::Result<Vec<u8>> {
        csv::rows(result)
    }

    /// Writes the histograms in the interval log that all `HdrHistogram` tools read.
    pub fn hlog(&self) -> anyhow::Result<Vec<u8>> {
        let measured = self.dataset.records.iter();
        let measured =
            measured.filter_map(|record| Some((record, record.measurement.as_ref()?, false)));
        interval_log::of_trials(&self.dataset.manifest, measured.collect())
    }
}

/// Says whether a threshold looks at something that this load has.
pub fn is_measured(subject: Subject, load: &Load, opens: bool) -> bool {
    let is_open = load.offered_per_second(1).is_some();
    let listens = matches!(load, Load::Events {});
    let Subject::Time(metric, _) = subject else {
        return true;
    };
    match metric {
        Metric::ServiceTime | Metric::Exchange => !listens,
        Metric::ResponseTime | Metric::ScheduleLag | Metric::ConnectionWait => is_open,
        Metric::Connect | Metric::Handshake | Metric::FirstByte => true,
        Metric::Close => opens,
        Metric::InterArrival => listens,
        _ => false,
    }
}

/// The trials of a cell, put together.
struct Measured<'a> {
    cell: &'a CellView<'a>,
    trials: Vec<&'a TrialRecord>,
    operations: Operations,
    /// The histograms of all of them, a disturbed or interrupted one's included: nothing is left out of a single result.
    merged: BTreeMap<Metric, Histogram>,
}

impl<'a> Measured<'a> {
    fn of(cell: &'a CellView<'a>) -> Option<Self> {
        let measured = |record: &&TrialRecord| record.measurement.is_some();
        let trials: Vec<_> = cell.trials.iter().copied().filter(measured).collect();
        let mut operations = Operations::default();
        let mut merged: BTreeMap<Metric, Histogram> = BTreeMap::new();
        for measurement in trials
            .iter()
            .filter_map(|record| record.measurement.as_ref())
        {
            operations.merge(&measurement.operations);
            for (metric, histogram) in &measurement.histograms {
                merged.entry(*metric).or_default().merge(histogram);
            }
        }
        (!trials.is_empty()).then_some(Self {
            cell,
            trials,
            operations,
            merged,
        })
    }

    fn measurements(&self) -> impl Iterator<Item = &'a Measurement> {
        self.trials
            .iter()
            .filter_map(|record| record.measurement.as_ref())
    }

    /// Returns the time of each trial in which operations were due; of one that ended by count or was interrupted, up to
    /// its end.
    fn windows_ns(&self) -> Vec<u64> {
        let ends_early = self.cell.cell.operations.is_some();
        let window = |measurement: &Measurement| {
            let spans = &measurement.spans;
            if ends_early {
                let end_ns = spans.end_ns.min(spans.window_end_ns);
                end_ns.saturating_sub(spans.window_start_ns)
            } else {
                spans.window_end_ns.saturating_sub(spans.window_start_ns)
            }
        };
        self.measurements().map(window).collect()
    }

    /// Returns the rate of each trial: what was due in the window and verified, over the time until the last of it was. A
    /// server that cannot keep up answers after the window, too.
    fn throughputs(&self) -> Vec<f64> {
        let windows = self.windows_ns();
        let rates = self
            .measurements()
            .zip(windows)
            .map(|(measurement, window_ns)| {
                let spans = &measurement.spans;
                let longest = [Metric::ResponseTime, Metric::ServiceTime]
                    .into_iter()
                    .find_map(|metric| measurement.histograms.get(&metric)?.max_ns());
                let ended_ns = spans.end_ns.saturating_sub(spans.window_start_ns);
                let last_ns = ended_ns.min(window_ns + longest.unwrap_or(0));
                (measurement.operations.verified, last_ns.max(window_ns))
            });
        rates
            .filter(|(_, ns)| *ns > 0)
            .map(|(verified, ns)| verified as f64 * 1e9 / ns as f64)
            .collect()
    }

    fn books(&self) -> OperationBooks {
        OperationBooks {
            issued: self.operations.issued,
            verified: self.operations.verified,
            failed: self.operations.failed_total(),
            unfinished: self.operations.unfinished,
            oldest_unfinished_ns: self.operations.oldest_unfinished_ns,
        }
    }

    fn answers(&self) -> AnswerCounts {
        let mut all = AnswerCounts::default();
        for answers in self.measurements().filter_map(|m| m.answers.as_ref()) {
            all.merge(answers);
        }
        all
    }

    /// Returns the merged histogram of a metric, if anything is in it.
    fn histogram(&self, metric: Metric) -> Option<&Histogram> {
        let merged = self.merged.get(&metric)?;
        (merged.count() > 0).then_some(merged)
    }

    fn times(&self, percentiles: &[f64]) -> BTreeMap<Metric, TimeSummary> {
        let time = |metric| Some((metric, self.time(metric, percentiles)?));
        Metric::ALL.into_iter().filter_map(time).collect()
    }

    fn time(&self, metric: Metric, percentiles: &[f64]) -> Option<TimeSummary> {
        let histogram = self.histogram(metric)?;
        let percentile = |percentile: &f64| Percentile {
            percentile: *percentile,
            ns: histogram.quantile_ns(percentile / 100.0),
            qualifier: self.qualifier(metric, percentile / 100.0),
        };
        Some(TimeSummary {
            count: histogram.count(),
            min_ns: histogram.min_ns()?,
            mean_ns: histogram.mean_ns()?,
            percentiles: percentiles.iter().map(percentile).collect(),
            max_ns: histogram.max_ns()?,
        })
    }

    /// More operations that never ended than lie beyond a quantile make it a lower bound.
    fn qualifier(&self, metric: Metric, quantile: f64) -> Qualifier {
        let counts = matches!(
            metric,
            Metric::ServiceTime | Metric::ResponseTime | Metric::Exchange
        );
        let timed_out = |kind| self.operations.failed.get(&kind).copied().unwrap_or(0);
        let endless = self.operations.unfinished
            + timed_out(FailureKind::TimedOut)
            + timed_out(FailureKind::ConnectTimedOut);
        let beyond = self.operations.issued as f64 * (1.0 - quantile) + 1e-6;
        if counts && endless as f64 > beyond {
            Qualifier::AtLeast
        } else {
            Qualifier::Equal
        }
    }

    fn network(&self, resolve_ns: Option<u64>) -> NetworkSummary {
        let mut network = NetworkSummary {
            resolve_ns,
            ..NetworkSummary::default()
        };
        for measurement in self.measurements() {
            network.connections_opened += measurement.connections_opened;
            let wire = measurement.wire.unwrap_or_default();
            network.bytes_sent += wire.bytes_sent;
            network.bytes_received += wire.bytes_received;
            network.segments_retransmitted += wire.segments_retransmitted;
            for span in [&measurement.operations, &measurement.warm_up] {
                network.operations += span.verified + span.failed_total();
            }
        }
        network
    }

    fn health(&self) -> Health {
        let lag = self.histogram(Metric::ScheduleLag);
        let mut flags: Vec<Flag> = self
            .trials
            .iter()
            .flat_map(|record| verdict::flags(record))
            .collect();
        let courses = self
            .cell
            .valid
            .iter()
            .flat_map(|trial: &Trial<'_>| trial.course.flags(&trial.measurement.spans));
        flags.extend(courses);
        flags.sort_unstable();
        flags.dedup();
        let busy: Vec<_> = self
            .trials
            .iter()
            .filter_map(|record| verdict::client_busy_share(record))
            .collect();
        Health {
            schedule_lag_p99_ns: lag.map(|lag| lag.quantile_unchecked_ns(0.99)),
            client_busy_share: median(&busy),
            is_client_limited: flags.contains(&Flag::ClientLimited),
            silence: self
                .measurements()
                .filter_map(verdict::silence)
                .max_by_key(|silence| silence.ns),
            flags,
        }
    }

    fn judge(&self, threshold: &Threshold) -> ThresholdResult {
        let value = self.value(threshold.subject);
        // The true value of a lower bound may be anything above it.
        let may_be_any = self.is_lower_bound(threshold.subject);
        let fails = |value| threshold.holds(value) || may_be_any && threshold.holds(f64::INFINITY);
        ThresholdResult {
            threshold: threshold.to_string(),
            value,
            fails: value.is_none_or(fails),
        }
    }

    fn is_lower_bound(&self, subject: Subject) -> bool {
        let Subject::Time(metric, statistic) = subject else {
            return false;
        };
        let quantile = match statistic {
            Statistic::Quantile(quantile) => quantile,
            Statistic::Min => 0.0,
            Statistic::Mean | Statistic::Max => 1.0,
        };
        self.qualifier(metric, quantile) == Qualifier::AtLeast
    }

    fn value(&self, subject: Subject) -> Option<f64> {
        match subject {
            Subject::Time(metric, statistic) => {
                let histogram = self.histogram(metric)?;
                match statistic {
                    Statistic::Quantile(quantile) => {
                        histogram.quantile_ns(quantile).map(|ns| ns as f64)
                    }
                    Statistic::Min => histogram.min_ns().map(|ns| ns as f64),
                    Statistic::Mean => histogram.mean_ns(),
                    Statistic::Max => histogram.max_ns().map(|ns| ns as f64),
                }
            }
            Subject::Throughput => median(&self.throughputs()),
            Subject::Count(count) => Some(self.count(count) as f64),
            Subject::Share(count) => {
                let issued = self.operations.issued;
                (issued > 0).then(|| 100.0 * self.count(count) as f64 / issued as f64)
            }
        }
    }

    /// Says whether messages that answer cannot be told from each other: all that are sent are the same.
    fn has_one_message(&self) -> bool {
        match &self.cell.cell.workload {
            Workload::Custom(custom) => custom.websocket.as_ref().is_some_and(|websocket| {
                websocket.matching == Matching::Echo && !websocket.has_sequence()
            }),
            _ => false,
        }
    }

    fn count(&self, count: Count) -> u64 {
        match count {
            Count::Failed => self.operations.failed_total(),
            Count::Unfinished => self.operations.unfinished,
            Count::Verified => self.operations.verified,
            Count::Unasked => self.answers().unasked,
        }
    }

    fn values_by_trial(&self) -> BTreeMap<String, Vec<f64>> {
        let mut values = BTreeMap::from([(metrics::THROUGHPUT.to_owned(), self.throughputs())]);
        for metric in COMPARED {
            for (ending, quantile) in COMPARED_PERCENTILES {
                let of_trial = |measurement: &Measurement| {
                    let ns = measurement.histograms.get(&metric)?.quantile_ns(quantile)?;
                    Some(ns as f64)
                };
                let all: Vec<_> = self.measurements().filter_map(of_trial).collect();
                if !all.is_empty() {
                    values.insert(metrics::name(metric, ending), all);
                }
            }
        }
        values
    }

    /// Returns why trials gave less than they should have, but for those that were ended on purpose.
    fn lost_trials(&self) -> impl Iterator<Item = &'a str> {
        let message = |record: &&'a TrialRecord| match &record.outcome {
            Outcome::Failed { reason, message } if *reason != FailedTrial::Interrupted => {
                Some(message.as_str())
            }
            _ => None,
        };
        let trials = self.cell.trials.iter().copied();
        trials.filter_map(move |record| message(&record))
    }
}

fn is_partial(status: RunStatus) -> bool {
    status == RunStatus::Partial
}
