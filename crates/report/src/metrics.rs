//! The numbers of one cell, by name.

use std::collections::{BTreeMap, BTreeSet};

use sockrates_core::capacity::{Bound, Found};
use sockrates_core::failure::FailureKind;
use sockrates_core::record::Metric;
use sockrates_core::scenario::Wait;
use sockrates_core::schedule::Load;
use sockrates_core::summary::{Interval, MetricSummary, Qualifier, Unit};
use sockrates_core::verdict::{self, Flag};

use crate::ratio::median;
use crate::view::{CellView, Trial};

/// The percentiles of every time, by the ending of their names.
pub(crate) const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];
/// The name of the rate of verified operations.
pub(crate) const THROUGHPUT: &str = "throughput";
/// The name of the CPU time of both ends and of the kernel's network thread per operation: the service demand.
pub(crate) const CPU: &str = "cpu_per_operation";
/// The names of its parts. Loopback moves work between them.
pub(crate) const SERVER_CPU: &str = "server_cpu_per_operation";
pub(crate) const CLIENT_CPU: &str = "client_cpu_per_operation";
/// The names of what a client costs that follows news, chats or plays, per second: CPU time of both ends, bytes on the network both ways
/// with all heads, and requests.
pub(crate) const CLIENT_SECOND_CPU: &str = "cpu_per_client_second";
pub(crate) const CLIENT_SECOND_BYTES: &str = "bytes_per_client_second";
pub(crate) const CLIENT_SECOND_REQUESTS: &str = "requests_per_client_second";
/// The name of the highest rate that met its objective.
pub(crate) const CAPACITY: &str = "capacity";

/// Returns a percentile's name: `service_time_p99`.
pub(crate) fn name(metric: Metric, ending: &str) -> String {
    format!("{}_{ending}", metric.name())
}

/// Returns the name of a quantile; of one that has no name of its own that of the next higher, which disturbances harm no
/// less.
pub(crate) fn name_of(metric: Metric, quantile: f64) -> String {
    let next = PERCENTILES.iter().find(|(_, named)| *named >= quantile);
    name(metric, next.map_or("max", |(ending, _)| *ending))
}

/// Returns the unit of a number by its name.
pub(crate) fn unit(name: &str) -> Unit {
    match name {
        THROUGHPUT | CAPACITY => Unit::OperationsPerSecond,
        CPU | SERVER_CPU | CLIENT_CPU => Unit::CpuNsPerOperation,
        CLIENT_SECOND_CPU => Unit::CpuNsPerSecond,
        CLIENT_SECOND_BYTES => Unit::BytesPerSecond,
        CLIENT_SECOND_REQUESTS => Unit::RequestsPerSecond,
        _ => Unit::Ns,
    }
}

/// Computes every number of a cell, from the trials in which it is unharmed. A cell without a valid trial has none.
pub(crate) fn of_cell(cell: &CellView<'_>) -> BTreeMap<String, MetricSummary> {
    let mut metrics = BTreeMap::new();
    if !cell.has_data() {
        return metrics;
    }
    metrics.insert(THROUGHPUT.to_owned(), throughput(cell));
    for name in [CPU, SERVER_CPU, CLIENT_CPU] {
        if let Some(cpu) = cpu(cell, name) {
            metrics.insert(name.to_owned(), cpu);
        }
    }
    for name in [
        CLIENT_SECOND_CPU,
        CLIENT_SECOND_BYTES,
        CLIENT_SECOND_REQUESTS,
    ] {
        let values: Vec<_> = cell
            .valid
            .iter()
            .filter_map(|trial| of_trial(trial, name))
            .collect();
        if let Some(value) = median(&values) {
            let summary = over_trials(Some(value), &values, Qualifier::Equal, unit(name));
            metrics.insert(name.to_owned(), summary);
        }
    }
    if let Some(capacity) = capacity(cell) {
        metrics.insert(CAPACITY.to_owned(), capacity);
    }
    let recorded = cell
        .valid
        .iter()
        .flat_map(|trial| trial.measurement.histograms.keys());
    for metric in &recorded.copied().collect::<BTreeSet<Metric>>() {
        for (ending, quantile) in PERCENTILES {
            metrics.insert(name(*metric, ending), percentile(cell, *metric, quantile));
        }
        metrics.insert(name(*metric, "max"), maximum(cell, *metric));
    }
    for (name, metric) in &mut metrics {
        metric.withheld = u32::try_from(cell.withheld(name)).expect("trials are few");
    }
    metrics
}

fn throughput(cell: &CellView<'_>) -> MetricSummary {
    let rates: Vec<_> = cell
        .valid
        .iter()
        .filter_map(|trial| of_trial(trial, THROUGHPUT))
        .collect();
    let qualifier = qualifier(is_bound(cell, THROUGHPUT));
    over_trials(median(&rates), &rates, qualifier, Unit::OperationsPerSecond)
}

/// Says whether a number only bounds the truth: a rate that the client limited, or a quantile beyond which operations
/// never ended.
pub(crate) fn is_bound(cell: &CellView<'_>, name: &str) -> bool {
    match name {
        THROUGHPUT => {
            let is_limited =
                |trial: &&Trial<'_>| verdict::flags(trial.record).contains(&Flag::ClientLimited);
            let limited = cell.valid.iter().filter(is_limited).count();
            limited * 2 > cell.valid.len() && cell.cell.load == Load::Closed {}
        }
        CAPACITY => {
            let found: Vec<_> = searches(cell).collect();
            let limited = found.iter().filter(|found| found.bound == Bound::AtLeast);
            limited.count() * 2 > found.len()
        }
        _ => {
            quantile_of(name).is_some_and(|(metric, quantile)| is_censored(cell, metric, quantile))
        }
    }
}

fn searches(cell: &CellView<'_>) -> impl Iterator<Item = Found> {
    let searches = cell
        .valid
        .iter()
        .filter_map(|trial| trial.record.search.as_ref());
    searches.map(|search| search.found)
}

/// Returns the time and the quantile that a name is made of.
fn quantile_of(name: &str) -> Option<(Metric, f64)> {
    let (metric, ending) = Metric::ALL
        .into_iter()
        .find_map(|metric| Some((metric, name.strip_prefix(metric.name())?.strip_prefix('_')?)))?;
    let (_, quantile) = PERCENTILES.iter().find(|(known, _)| *known == ending)?;
    Some((metric, *quantile))
}

fn cpu(cell: &CellView<'_>, name: &str) -> Option<MetricSummary> {
    let costs: Vec<_> = cell
        .valid
        .iter()
        .filter_map(|trial| of_trial(trial, name))
        .collect();
    // What was never known cannot be withheld.
    if cell.valid.iter().all(|trial| cpu_of_trial(trial).is_none()) {
        return None;
    }
    let value = median(&costs);
    Some(over_trials(
        value,
        &costs,
        Qualifier::Equal,
        Unit::CpuNsPerOperation,
    ))
}

fn capacity(cell: &CellView<'_>) -> Option<MetricSummary> {
    let found: Vec<_> = searches(cell).collect();
    let rates: Vec<_> = found.iter().filter_map(|one| one.rate_per_second).collect();
    if found.is_empty() {
        return None;
    }
    let qualifier = qualifier(is_bound(cell, CAPACITY));
    // Searches without a number are no small ones: where most have none, there is none.
    let value = median(&rates).filter(|_| rates.len() * 2 > found.len());
    Some(over_trials(
        value,
        &rates,
        qualifier,
        Unit::OperationsPerSecond,
    ))
}

/// Returns one number of one trial by its name, unrounded; `None` where the trial does not support it, or a disturbance may
/// have moved it by more than its margin.
pub(crate) fn of_trial(trial: &Trial<'_>, name: &str) -> Option<f64> {
    if trial.is_harmed(name) {
        return None;
    }
    match name {
        THROUGHPUT => trial.throughput(),
        CPU => Some(cpu_of_trial(trial)?.iter().sum()),
        SERVER_CPU => Some(cpu_of_trial(trial)?[1]),
        CLIENT_CPU => Some(cpu_of_trial(trial)?[0]),
        CLIENT_SECOND_CPU | CLIENT_SECOND_BYTES | CLIENT_SECOND_REQUESTS => {
            per_client_second(trial, name)
        }
        CAPACITY => trial.record.search.as_ref()?.found.rate_per_second,
        _ => {
            let (metric, quantile) = quantile_of(name)?;
            let times = trial.measurement.histograms.get(&metric)?;
            Some(times.quantile_ns(quantile)? as f64)
        }
    }
}

/// Returns what one client cost in one second of the window, or of the load in records that do not know the window's;
/// `None` for workloads that bring nothing by themselves.
fn per_client_second(trial: &Trial<'_>, name: &str) -> Option<f64> {
    let (measurement, cell) = (trial.measurement, &trial.record.spec.cell);
    let updates = measurement.updates.as_ref();
    let of_window = measurement.window_cost.as_ref();
    let cost = of_window.or(measurement.cost.as_ref().filter(|_| updates.is_some()))?;
    let client_seconds = f64::from(cell.connections) * cost.wall_ns as f64 / 1e9;
    let client_cpu_ns = cost.client_cpu_ns.unwrap_or(measurement.client.cpu_ns());
    let total = match name {
        CLIENT_SECOND_CPU if cell.wait == Wait::Blocking => {
            (cost.server_cpu_ns? + client_cpu_ns) as f64
        }
        CLIENT_SECOND_BYTES => cost.network?.ip_bytes as f64,
        // Streams were opened ahead of the load; what they ask for within it is to go on.
        CLIENT_SECOND_REQUESTS if cell.workload.listens() => updates?.reconnections as f64,
        // Each operation of the window is a poll.
        CLIENT_SECOND_REQUESTS if of_window.is_some() && updates.is_some() => {
            measurement.operations.issued as f64
        }
        CLIENT_SECOND_REQUESTS => updates?.requests as f64,
        _ => return None,
    };
    (client_seconds > 0.0).then(|| total / client_seconds)
}

/// Returns the CPU time per operation of client, server and the kernel's network thread. Loopback charges part of a
/// receiver's TCP work to the sender, so only the sum is comparable between lanes. A spinning client's CPU time says
/// nothing about an operation: then there is none.
fn cpu_of_trial(trial: &Trial<'_>) -> Option<[f64; 3]> {
    let measurement = trial.measurement;
    if trial.record.spec.cell.wait != Wait::Blocking {
        return None;
    }
    let operations = (measurement.operations.verified + measurement.warm_up.verified).max(1) as f64;
    let around = measurement.surroundings.as_ref();
    let server_ns = match around.and_then(|around| around.server.as_ref()) {
        Some(server) => server.cpu_ns,
        None => measurement.server.as_ref()?.process.cpu_ns(),
    };
    let kernel_ns = around.map_or(0, |around| around.ksoftirqd_ns);
    Some([measurement.client.cpu_ns(), server_ns, kernel_ns].map(|ns| ns as f64 / operations))
}

fn percentile(cell: &CellView<'_>, metric: Metric, quantile: f64) -> MetricSummary {
    let single: Vec<_> = cell
        .quantiles(metric, quantile)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    let qualifier = qualifier(is_censored(cell, metric, quantile));
    over_trials(
        cell.merged_quantile(metric, quantile),
        &single,
        qualifier,
        Unit::Ns,
    )
}

fn maximum(cell: &CellView<'_>, metric: Metric) -> MetricSummary {
    let single: Vec<_> = cell
        .unharmed(&name(metric, "max"))
        .filter_map(|trial| Some(trial.measurement.histograms.get(&metric)?.max_ns()? as f64))
        .collect();
    let value = single.iter().copied().reduce(f64::max);
    let qualifier = qualifier(is_censored(cell, metric, 1.0));
    over_trials(value, &single, qualifier, Unit::Ns)
}

/// Says whether more operations never came to an end than lie beyond the quantile: then its true value is larger. An
/// operation that ran into its time-out is such a one. Neither says anything of the generator's lateness.
fn is_censored(cell: &CellView<'_>, metric: Metric, quantile: f64) -> bool {
    let (mut endless, mut issued) = (0, 0);
    for trial in &cell.valid {
        let operations = &trial.measurement.operations;
        let timed_out = |kind| operations.failed.get(&kind).copied().unwrap_or(0);
        endless += operations.unfinished
            + timed_out(FailureKind::TimedOut)
            + timed_out(FailureKind::ConnectTimedOut);
        issued += operations.issued;
    }
    // The tolerance absorbs 1 - 0.999 != 0.001.
    metric != Metric::ScheduleLag && endless as f64 > issued as f64 * (1.0 - quantile) + 1e-6
}

fn over_trials(
    value: Option<f64>,
    single: &[f64],
    qualifier: Qualifier,
    unit: Unit,
) -> MetricSummary {
    MetricSummary {
        value,
        low: single
            .iter()
            .copied()
            .reduce(f64::min)
            .filter(|_| value.is_some()),
        high: single
            .iter()
            .copied()
            .reduce(f64::max)
            .filter(|_| value.is_some()),
        interval: Interval::RangeOverTrials,
        qualifier,
        unit,
        withheld: 0,
    }
}

const fn qualifier(is_bound: bool) -> Qualifier {
    if is_bound {
        Qualifier::AtLeast
    } else {
        Qualifier::Equal
    }
}
