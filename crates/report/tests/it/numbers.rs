//! The summary of known times is known.

use std::collections::BTreeMap;

use sockrates_core::failure::FailureKind;
use sockrates_core::manifest::RunStatus;
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{FailedTrial, Metric, TrialRecord};
use sockrates_core::summary::{CellSummary, Qualifier, Summary, Unit};
use sockrates_core::verdict::Flag;
use sockrates_report::{Dataset, summarize};

use crate::synthetic::{self, constant, dataset, echo_plan, record};

/// A trial whose operations all took 10 µs per block, from 1 on, and 40 µs more over fresh connections.
fn stairs(spec: TrialSpec, count: u64) -> TrialRecord {
    let is_fresh = spec.cell.lane.to_string().contains("per-request");
    let ns = u64::from(spec.block + 1) * 10_000 + if is_fresh { 40_000 } else { 0 };
    record(
        spec,
        BTreeMap::from([(Metric::ServiceTime, constant(ns, count))]),
    )
}

fn cell<'a>(summary: &'a Summary, lane: &str) -> &'a CellSummary {
    summary
        .cells
        .iter()
        .find(|cell| cell.lane.to_string() == lane)
        .unwrap()
}

fn value(cell: &CellSummary, name: &str) -> (Option<f64>, Option<f64>, Option<f64>) {
    let metric = &cell.metrics[name];
    let round = |number: Option<f64>| number.map(|ns| (ns / 1e3).round() * 1e3);
    (round(metric.value), round(metric.low), round(metric.high))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn percentiles_are_merged_and_ranges_are_over_trials() {
    let dataset = dataset(echo_plan(&["http1-persistent"], &[1], 3), |spec| {
        stairs(spec, 1000)
    });
    let summary = summarize(&dataset);
    let cell = cell(&summary, "http1-persistent");
    let range = (Some(20e3), Some(10e3), Some(30e3));
    assert_eq!(value(cell, "service_time_p50"), range);
    assert_eq!(
        value(cell, "service_time_p99"),
        (Some(30e3), Some(10e3), Some(30e3))
    );
    assert_eq!(cell.metrics["service_time_max"].value, Some(30_000.0));
    assert_eq!(cell.metrics["throughput"].value, Some(2000.0));
    assert_eq!(
        (
            cell.trials.valid,
            cell.trials.total,
            cell.operations.verified
        ),
        (3, 3, 3000)
    );
    assert_eq!(cell.factors["wait"], "blocking");
    assert_eq!(cell.factors["payload"], "binary");
    assert_eq!(cell.factors["client"], "lean");
}

#[test]
fn unsupported_percentiles_are_null() {
    let dataset = dataset(echo_plan(&["http1-persistent"], &[1], 3), |spec| {
        stairs(spec, 400)
    });
    let summary = summarize(&dataset);
    let cell = cell(&summary, "http1-persistent");
    // 1,200 samples carry a 99th percentile, 400 of one trial do not; nothing carries a 99.9th.
    let p99 = &cell.metrics["service_time_p99"];
    assert!(p99.value.is_some() && p99.low.is_none() && p99.high.is_none());
    let p99_9 = &cell.metrics["service_time_p99_9"];
    assert_eq!((p99_9.value, p99_9.low, p99_9.high), (None, None, None));
    assert!(!cell.metrics.contains_key("response_time_p50"));
}

#[test]
fn cpu_time_counts_both_ends_and_the_warm_up() {
    let dataset = dataset(echo_plan(&["http1-persistent"], &[1], 1), |spec| {
        stairs(spec, 3000)
    });
    let summary = summarize(&dataset);
    let cpu = &cell(&summary, "http1-persistent").metrics["cpu_per_operation"];
    // 6 µs and 8 µs for each of 3,000 operations, spread over 4,000 with the warm-up.
    assert_eq!(
        (cpu.value, cpu.unit),
        (Some(10_500.0), Unit::CpuNsPerOperation)
    );

    let mut unknown = dataset;
    unknown.records[0].measurement.as_mut().unwrap().server = None;
    let summary = summarize(&unknown);
    assert!(
        !cell(&summary, "http1-persistent")
            .metrics
            .contains_key("cpu_per_operation")
    );
}

#[test]
fn unfinished_operations_make_upper_percentiles_lower_bounds() {
    let mut dataset = dataset(echo_plan(&["http1-persistent"], &[1], 1), |spec| {
        stairs(spec, 10_000)
    });
    let operations = &mut dataset.records[0].measurement.as_mut().unwrap().operations;
    operations.unfinished = 300;
    operations.issued += 300;
    let summary = summarize(&dataset);
    let cell = cell(&summary, "http1-persistent");
    let qualifier = |name: &str| cell.metrics[name].qualifier;
    assert_eq!(qualifier("service_time_p50"), Qualifier::Equal);
    assert_eq!(qualifier("service_time_p90"), Qualifier::Equal);
    assert_eq!(qualifier("service_time_p99"), Qualifier::AtLeast);
    assert_eq!(qualifier("service_time_max"), Qualifier::AtLeast);
    assert_eq!(
        (cell.operations.unfinished, cell.flags[&Flag::Unfinished]),
        (300, 1)
    );
}

#[test]
fn a_busy_client_makes_throughput_a_lower_bound() {
    let mut dataset = dataset(echo_plan(&["http1-persistent"], &[1], 3), |spec| {
        stairs(spec, 1000)
    });
    for (record, busy) in dataset.records.iter_mut().zip([true, true, false]) {
        let measurement = record.measurement.as_mut().unwrap();
        measurement.client.cpu_user_ns = if busy { 600_000_000 } else { 1000 };
    }
    let summary = summarize(&dataset);
    let cell = cell(&summary, "http1-persistent");
    assert_eq!(cell.metrics["throughput"].qualifier, Qualifier::AtLeast);
    assert_eq!(cell.flags[&Flag::ClientLimited], 2);
}

#[test]
fn failed_trials_are_counted_and_in_no_number() {
    let plan = echo_plan(&["http1-persistent", "websocket-persistent"], &[1], 2);
    let dataset = dataset(plan, |spec| {
        if spec.cell.lane.transport == "websocket" || spec.block == 1 {
            let why = "the server ended".to_owned();
            TrialRecord::failed(spec, synthetic::STARTED_MS, FailedTrial::ServerLost, why)
        } else {
            stairs(spec, 100)
        }
    });
    let summary = summarize(&dataset);
    let half = cell(&summary, "http1-persistent");
    assert_eq!((half.trials.valid, half.trials.total), (1, 2));
    assert_eq!(value(half, "service_time_p50").0, Some(10e3));
    let none = cell(&summary, "websocket-persistent");
    assert_eq!((none.trials.valid, none.trials.total), (0, 2));
    assert!(none.metrics.is_empty());
}

#[test]
fn a_partial_run_keeps_all_its_cells() {
    let plan = echo_plan(&["http1-persistent", "websocket-persistent"], &[1], 2);
    let mut all = dataset(plan, |spec| stairs(spec, 100));
    all.manifest.status = RunStatus::Partial;
    all.records
        .retain(|record| record.spec.cell.lane.transport == "http1");
    let partial = Dataset::new(all.manifest, all.records, Vec::new());
    let summary = summarize(&partial);
    assert_eq!(
        (summary.cells.len(), summary.status),
        (2, RunStatus::Partial)
    );
    assert_eq!(cell(&summary, "websocket-persistent").trials.total, 0);
}

#[test]
fn failures_are_counted_by_kind() {
    let mut dataset = dataset(echo_plan(&["http1-persistent"], &[1], 1), |spec| {
        stairs(spec, 100)
    });
    let operations = &mut dataset.records[0].measurement.as_mut().unwrap().operations;
    operations.failed.insert(FailureKind::ConnectRefused, 5);
    operations.issued += 5;
    let summary = summarize(&dataset);
    let cell = cell(&summary, "http1-persistent");
    assert_eq!(
        cell.failures,
        BTreeMap::from([(FailureKind::ConnectRefused, 5)])
    );
    assert_eq!(cell.operations.failed, 5);
    assert_eq!(cell.metrics["service_time_p99"].qualifier, Qualifier::Equal);
}

#[test]
fn three_blocks_tell_nothing_and_it_is_said_where() {
    let plan = echo_plan(
        &[
            "tcp-persistent",
            "http1-per-request",
            "http1-persistent",
            "websocket-persistent",
        ],
        &[1],
        3,
    );
    let dataset = dataset(plan, |spec| stairs(spec, 1000));
    let text = sockrates_report::terminal(&dataset, &summarize(&dataset));
    let text = one_line(&text);
    for part in [
        "Holds on this machine, over loopback No difference was told.",
        "Could not be told tiny, closed loop, 1 connection, 64 B",
        "http1-per-request against http1-persistent: service time p50",
        "no interval: too few blocks",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_finding_says_what_there_is() {
    let start =
        |dataset: &Dataset| one_line(&sockrates_report::terminal(dataset, &summarize(dataset)));
    let one = dataset(echo_plan(&["http1-persistent"], &[1], 1), |spec| {
        stairs(spec, 1000)
    });
    assert!(start(&one).contains("http1-persistent: service time p50 10.0 µs [10.0 µs]"));
    let few = dataset(echo_plan(&["http1-persistent"], &[1], 1), |spec| {
        stairs(spec, 5)
    });
    assert!(start(&few).contains("too few operations"));
    let none = Dataset::new(one.manifest, Vec::new(), Vec::new());
    assert!(start(&none).starts_with("No trial of this run counts"));
}

#[test]
fn the_terminal_keeps_to_its_columns() {
    let dataset = dataset(synthetic::quick(2), |spec| synthetic::realistic(spec, 20));
    let text = sockrates_report::terminal(&dataset, &summarize(&dataset));
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}
