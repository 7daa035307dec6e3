//! One server, one result: what is derived from fabricated trials, and how far it is trusted.

use std::collections::BTreeMap;

use sockrates_core::custom::{Custom, HttpExchange, MessageExchange};
use sockrates_core::failure::FailureKind;
use sockrates_core::plan::{Cell, Plan, Target, TrialSpec};
use sockrates_core::record::{AnswerCounts, FailedTrial, Metric, Outcome, Silence, TrialRecord};
use sockrates_core::run_result::{RunResult, TrustLevel};
use sockrates_core::scenario::Workload;
use sockrates_core::summary::{Qualifier, Verdict};
use sockrates_core::verdict::Flag;
use sockrates_report::single::{self, BaselineError, Single};
use sockrates_report::{summarize, terminal};

use crate::synthetic::{self, constant, dataset, planned_echo};

fn custom() -> Workload {
    let http: HttpExchange = toml::from_str("path = '/'").unwrap();
    let websocket: MessageExchange =
        toml::from_str("path = '/ws'\nmessage = { random = 9 }").unwrap();
    Workload::Custom(Box::new(Custom {
        http: Some(http),
        websocket: Some(websocket),
    }))
}

/// A plan of exchanges of one's own, of these lanes.
fn plan(lanes: &[&str], blocks: u32) -> Plan {
    let plan = planned_echo(lanes, &[1], blocks);
    let own = |cell: Cell| Cell {
        workload: custom(),
        ..cell
    };
    Plan::of_cells("run", plan.cells.into_iter().map(own).collect(), blocks, 7)
}

/// A trial of a server that takes 100 µs, with a little noise, and was running already.
fn trial(mut spec: TrialSpec, ns: u64) -> TrialRecord {
    spec.target = Target::Running {
        http: "127.0.0.1:80".parse().unwrap(),
        tcp: None,
        host: None,
    };
    let ns = ns + u64::from(spec.index % 5) * ns / 500;
    let times = constant(ns, 500_000_000 / ns);
    let histograms = BTreeMap::from([
        (Metric::ServiceTime, times.clone()),
        (Metric::Exchange, times),
    ]);
    let mut record = synthetic::record(spec, histograms);
    let measured = record.measurement.as_mut().unwrap();
    measured.server = None;
    let statuses = BTreeMap::from([(200, measured.operations.verified)]);
    measured.answers = Some(AnswerCounts {
        statuses,
        ..AnswerCounts::default()
    });
    record
}

/// The result of so many trials, each changed by `change`.
fn result(trials: u32, ns: u64, change: impl Fn(&mut TrialRecord)) -> (Single, RunResult) {
    let cells = plan(&["http1-persistent"], 1).cells;
    let only = cells.into_iter().filter(|cell| !cell.is_null());
    let plan = Plan::of_cells("run", only.collect(), trials, 7);
    let run = dataset(plan, |spec| {
        let mut record = trial(spec, ns);
        change(&mut record);
        record
    });
    let single = Single::new(
        run.manifest,
        run.records,
        "http://h/".to_owned(),
        vec![50.0, 99.99],
    );
    let result = single.result().unwrap();
    (single, result)
}

#[test]
fn a_quiet_trial_is_trusted_and_its_numbers_are_its_own() {
    let (single, result) = result(1, 100_000, |_| ());
    assert_eq!(result.trust.level, TrustLevel::Good, "{:?}", result.trust);
    assert_eq!(result.operations.verified, 5000);
    assert!((result.throughput_per_second.unwrap() - 10_000.0).abs() < 2.0);
    assert_eq!(result.answers.statuses[&200], 5000);
    let service = &result.times[&Metric::ServiceTime];
    assert!(service.percentiles[0].ns.unwrap().abs_diff(100_000) <= 100);
    assert_eq!(service.percentiles[1].ns, None, "half a sample lies beyond");
    assert!(result.health.flags.contains(&Flag::RunningServer));
    let text = single.text(&result, true);
    assert!(
        text.contains("server CPU unknown") && text.contains("--repeat 5"),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn more_percentiles_than_a_line_holds_go_on_below() {
    let (mut single, _) = result(1, 100_000, |_| ());
    single.percentiles = vec![1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 80.0, 90.0, 95.0];
    let result = single.result().unwrap();
    for (columns, parts) in [(100, 2), (80, 2), (60, 4), (20, 10)] {
        single.columns = columns;
        let text = single.text(&result, false);
        let table: Vec<_> = text
            .lines()
            .skip(4)
            .take_while(|line| !line.is_empty())
            .collect();
        let rows = |name: &str| table.iter().filter(|line| line.contains(name)).count();
        assert_eq!(rows("service time"), parts, "{text}");
        let names = table
            .iter()
            .filter(|line| line.starts_with(&" ".repeat(19)));
        let names: Vec<_> = names.flat_map(|line| line.split_whitespace()).collect();
        let all = [
            "p1", "p5", "p10", "p25", "p50", "p75", "p80", "p90", "p95", "max",
        ];
        assert_eq!(names, all, "{text}");
        let widest = table.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= columns.max(30), "{columns}: {text}");
    }
}

#[test]
fn what_spoils_a_result_is_said_in_its_last_line() {
    let level = |change: fn(&mut TrialRecord)| {
        let trust = result(1, 100_000, change).1.trust;
        (trust.level, trust.reasons.join("; "))
    };
    let (trust, reasons) = level(|record| {
        record.measurement.as_mut().unwrap().silence = Some(Silence {
            from_ns: 100_000_000,
            ns: 300_000_000,
        });
    });
    assert_eq!(
        trust,
        TrustLevel::Good,
        "the server's doing, not the measurement's"
    );
    assert!(reasons.contains("300 ms from 100 ms on"), "{reasons}");
    let (trust, reasons) = level(|record| {
        record.measurement.as_mut().unwrap().client.cpu_user_ns = 700_000_000;
    });
    assert_eq!(trust, TrustLevel::Bounded);
    assert!(reasons.contains("the client was the limit"), "{reasons}");
    let (trust, _) = level(|record| {
        let operations = &mut record.measurement.as_mut().unwrap().operations;
        operations
            .failed
            .insert(FailureKind::TimedOut, operations.verified);
        operations.verified = 0;
        record.measurement.as_mut().unwrap().histograms.clear();
    });
    assert_eq!(trust, TrustLevel::None);
    let (trust, reasons) = level(|record| {
        record.measurement.as_mut().unwrap().operations.issued += 1;
    });
    assert_eq!(
        trust,
        TrustLevel::None,
        "books that do not balance: {reasons}"
    );
    let (trust, reasons) = level(|record| {
        record.outcome = Outcome::Failed {
            reason: FailedTrial::Interrupted,
            message: "ended".to_owned(),
        };
    });
    assert_eq!(
        (trust, reasons.contains("ended")),
        (TrustLevel::Good, false)
    );
}

#[test]
fn operations_that_never_ended_make_percentiles_lower_bounds() {
    let (_, result) = result(1, 100_000, |record| {
        let operations = &mut record.measurement.as_mut().unwrap().operations;
        operations.failed.insert(FailureKind::TimedOut, 6000);
        operations.issued += 6000;
    });
    let percentiles = &result.times[&Metric::ServiceTime].percentiles;
    assert_eq!(
        percentiles[0].qualifier,
        Qualifier::AtLeast,
        "6000 of 11000 lie beyond any time"
    );
}

#[test]
fn a_condition_on_a_lower_bound_cannot_pass() {
    let (mut single, _) = result(1, 100_000, |record| {
        let operations = &mut record.measurement.as_mut().unwrap().operations;
        operations.failed.insert(FailureKind::TimedOut, 1000);
        operations.issued += 1000;
    });
    let conditions = [
        ("service_time_p90 > 100ms", true),
        ("service_time_max > 100ms", true),
        ("service_time_p50 > 100ms", false),
        ("service_time_p90 < 1us", false),
        ("failed > 20%", false),
    ];
    single.thresholds = conditions.map(|(text, _)| text.parse().unwrap()).to_vec();
    let judged = single.result().unwrap().thresholds;
    let fails: Vec<_> = judged.iter().map(|one| one.fails).collect();
    assert_eq!(fails, conditions.map(|(_, fails)| fails));
}

#[test]
fn a_rate_counts_the_time_that_late_replies_took() {
    let late = |ends_late: bool, unfinished: u64| {
        let (_, result) = result(1, 100_000, |record| {
            let measured = record.measurement.as_mut().unwrap();
            // The window is half a second; the last reply came another half later, and the drain lasted for five.
            let spans = &mut measured.spans;
            spans.end_ns = spans.window_end_ns + if ends_late { 5_000_000_000 } else { 0 };
            let operations = &mut measured.operations;
            operations.unfinished = unfinished;
            operations.issued += unfinished;
            let times = measured.histograms.get_mut(&Metric::ServiceTime).unwrap();
            times.record(500_000_000);
        });
        result.throughput_per_second.unwrap()
    };
    assert!((late(false, 0) - 10_000.0).abs() < 1.0);
    assert!((late(true, 7) - 5000.0).abs() < 1.0);
}

#[test]
fn answers_that_came_twice_are_no_proof_where_all_messages_are_the_same() {
    let level = |message: &str| {
        let cells = plan(&["websocket-persistent"], 1).cells;
        let websocket: MessageExchange =
            toml::from_str(&format!("path = '/'\nmessage = {message}")).unwrap();
        let own = Custom {
            http: None,
            websocket: Some(websocket),
        };
        let own = |cell: Cell| Cell {
            workload: Workload::Custom(Box::new(own.clone())),
            ..cell
        };
        let plan = Plan::of_cells("run", cells.into_iter().map(own).collect(), 1, 7);
        let run = dataset(plan, |spec| {
            let mut record = trial(spec, 100_000);
            let answers = record.measurement.as_mut().unwrap().answers.as_mut();
            let answers = answers.unwrap();
            (answers.unasked, answers.repeated) = (5, 5);
            record
        });
        let single = Single::new(run.manifest, run.records, "ws://h/".to_owned(), vec![50.0]);
        single.result().unwrap().trust.level
    };
    assert_eq!(level("{ text = 'same' }"), TrustLevel::Doubtful);
    assert_eq!(level("{ random = 2 }"), TrustLevel::Doubtful);
    assert_eq!(level("{ text = 'n {sequence}' }"), TrustLevel::Good);
    assert_eq!(level("{ random = 64 }"), TrustLevel::Good);
}

#[test]
fn text_from_a_server_or_a_user_cannot_move_the_cursor() {
    let (mut single, _) = result(1, 100_000, |_| ());
    single.url = "http://h/\x1b[2J".to_owned();
    let result = single.result().unwrap();
    assert!(!single.text(&result, false).contains('\x1b'));
}

#[test]
fn an_earlier_result_is_compared_when_it_is_alike() {
    let (_, before) = result(6, 100_000, |_| ());
    let (_, same) = result(6, 100_000, |_| ());
    let (_, worse) = result(6, 150_000, |_| ());
    let compared = single::compare(&worse, &before, "base.json").unwrap();
    assert!(!compared.comparisons.is_empty());
    for comparison in &compared.comparisons {
        assert_eq!(comparison.verdict, Verdict::Different, "{comparison:?}");
        assert!(comparison.is_regression, "{comparison:?}");
    }
    let compared = single::compare(&same, &before, "base.json").unwrap();
    assert!(compared.comparisons.iter().all(|one| !one.is_regression));
    let (_, few) = result(3, 100_000, |_| ());
    assert!(matches!(
        single::compare(&same, &few, "f"),
        Err(BaselineError::TooFew { .. })
    ));
    let mut elsewhere = before.clone();
    "other".clone_into(&mut elsewhere.fingerprint);
    assert!(matches!(
        single::compare(&same, &elsewhere, "f"),
        Err(BaselineError::Elsewhere { .. })
    ));
    let mut wider = before;
    wider.connections = 9;
    assert!(matches!(
        single::compare(&same, &wider, "f"),
        Err(BaselineError::Different { .. })
    ));
}

/// The four lanes at 80, 40, 120 and 30 µs, of a server of one's own: the same is said of it as of ours.
#[test]
fn the_two_by_two_of_an_exchange_of_ones_own_is_taken_apart() {
    let lanes = [
        "http1-per-request",
        "http1-persistent",
        "websocket-per-request",
        "websocket-persistent",
    ];
    let run = dataset(plan(&lanes, 8), |spec| {
        let us = match spec.cell.lane.to_string().as_str() {
            "http1-per-request" => 80,
            "websocket-per-request" => 120,
            "websocket-persistent" => 30,
            _ => 40,
        };
        trial(spec, us * 1000)
    });
    let summary = summarize(&run);
    let found = &summary.attributions[0];
    assert!((found.reuse.value - 2.0).abs() < 0.02, "{found:?}");
    assert!((found.total.value - 80.0 / 30.0).abs() < 0.03, "{found:?}");
    let text = terminal(&run, &summary);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("http1-per-request against websocket-persistent: service time p50 2.7×"),
        "{text}"
    );
}
