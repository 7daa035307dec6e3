//! What a run may conclude: comparisons, attributions and break-evens of known costs, and what disturbances do to them.

use std::collections::BTreeMap;

use sockrates_core::plan::{Plan, TrialSpec};
use sockrates_core::record::{Metric, TrialRecord};
use sockrates_core::summary::{Comparison, Crossing, Summary, Verdict};
use sockrates_core::surroundings::{CpuTimes, Surroundings, TaskTimes};
use sockrates_core::validity::Family;
use sockrates_report::{Dataset, summarize, terminal};

use crate::synthetic::{constant, dataset, planned_echo, record};

/// The null lane comes by itself.
const LANES: [&str; 5] = [
    "tcp-persistent",
    "http1-per-request",
    "http1-persistent",
    "websocket-per-request",
    "websocket-persistent",
];

/// The four lanes at 80, 40, 120 and 30 µs over a floor of 20 µs: 2 by keeping HTTP, 4 by keeping WebSocket.
fn micros(lane: &str) -> u64 {
    match lane {
        "tcp-persistent" => 20,
        "http1-per-request" => 80,
        "http1-persistent" | "http1-persistent@null" => 40,
        "websocket-per-request" => 120,
        _ => 30,
    }
}

/// A trial of known times, with noise that all lanes of a block share and half a percent that they do not.
fn known(spec: TrialSpec) -> TrialRecord {
    let lane = spec.cell.lane.to_string();
    let shared = f64::from(spec.block % 5) * 0.1 + 1.0;
    let own = f64::from((spec.index * 7919) % 11) / 2000.0 + 1.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let scaled = |ns: u64| (ns as f64 * shared * own) as u64;
    let ns = scaled(micros(&lane) * 1000);
    // As many as fit into the window of half a second, one after the other.
    let mut histograms = BTreeMap::from([(Metric::ServiceTime, constant(ns, 500_000_000 / ns))]);
    if lane.ends_with("per-request") {
        for (metric, ns) in [
            (Metric::Connect, 30_000),
            (Metric::Handshake, 20_000),
            (Metric::Close, 10_000),
        ] {
            histograms.insert(metric, constant(scaled(ns), 10));
        }
    }
    record(spec, histograms)
}

fn plan(blocks: u32) -> Plan {
    planned_echo(&LANES, &[1], blocks)
}

fn find<'a>(summary: &'a Summary, cell: &str, reference: &str) -> &'a Comparison {
    let is_lane = |id: &str, lane: &str| id == format!("tiny.{lane}.c1");
    let metric = "service_time_p50";
    let mut all = summary.comparisons.iter();
    all.find(|found| {
        is_lane(&found.cell, cell) && is_lane(&found.reference, reference) && found.metric == metric
    })
    .unwrap()
}

#[test]
fn known_ratios_are_found_and_copies_are_equivalent() {
    let summary = summarize(&dataset(plan(12), known));
    assert!(summary.judgement.is_conclusive, "{:?}", summary.judgement);
    let found = find(&summary, "http1-per-request", "http1-persistent");
    let ratio = found.ratio.unwrap();
    assert!(
        (ratio.value - 2.0).abs() < 0.01 && ratio.low <= 2.0 && ratio.high >= 2.0,
        "{ratio:?}"
    );
    assert_eq!(
        (found.verdict, found.is_primary),
        (Verdict::Different, true)
    );
    assert!(found.p_adjusted.unwrap() >= found.p_value && found.detectable.unwrap() < 0.07);
    let null = find(&summary, "http1-persistent@null", "http1-persistent");
    assert_eq!((null.verdict, null.is_null), (Verdict::Equivalent, true));
    let primary = summary.comparisons.iter().filter(|found| found.is_primary);
    assert_eq!(primary.count(), 3);
}

#[test]
fn the_two_by_two_is_taken_apart_exactly() {
    let summary = summarize(&dataset(plan(12), known));
    let time = &summary.attributions[0];
    assert_eq!(time.metric, "service_time_p50");
    let is = |estimate: &sockrates_core::summary::Estimate, expected: f64| {
        assert!(
            (estimate.value / expected - 1.0).abs() < 0.01,
            "{estimate:?} is not {expected}"
        );
    };
    is(&time.total, 80.0 / 30.0);
    is(&time.reuse, 2.0);
    is(&time.protocol, 40.0 / 30.0);
    is(&time.protocol_per_request, 80.0 / 120.0);
    is(&time.reuse_of_websocket, 4.0);
    is(&time.interaction, 2.0);
    is(&time.reuse_main, 8.0_f64.sqrt());
    is(&time.protocol_main, (8.0 / 9.0_f64).sqrt());
    let differences = &time.above_floor["http1-persistent"];
    assert!(
        (differences.value / 24_000.0 - 1.0).abs() < 0.05,
        "{differences:?}"
    );
    let rate = summary
        .attributions
        .iter()
        .find(|found| found.is_gain)
        .unwrap();
    is(&rate.total, 80.0 / 30.0);
}

#[test]
fn the_findings_say_what_is_reuse_and_what_is_protocol() {
    let dataset = dataset(plan(12), known);
    let text = terminal(&dataset, &summarize(&dataset));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let here = text.split_once("Holds on this machine").unwrap().1;
    for found in [
        "http1-per-request against websocket-persistent: service time p50 2.7× [",
        "http1-per-request against http1-persistent: service time p50 2.0× [",
        "http1-persistent against websocket-persistent: service time p50 1.33× [",
        "websocket-per-request against websocket-persistent: service time p50 4.0× [",
    ] {
        assert!(here.contains(found), "{found}: {here}");
    }
}

#[test]
fn the_break_even_follows_from_known_costs() {
    let summary = summarize(&dataset(plan(12), known));
    let find = |kept: &str, fresh: &str| {
        let mut all = summary.break_evens.iter();
        all.find(|found| found.kept.to_string() == kept && found.fresh.to_string() == fresh)
            .unwrap()
    };
    // A WebSocket for one message takes 120 µs, a further message 30 µs; over HTTP a connection each takes 80 µs:
    // 90 / (80 - 30).
    let found = find("websocket-persistent", "http1-per-request");
    let messages = found.messages.unwrap();
    assert!((messages.value - 1.8).abs() < 0.05, "{found:?}");
    assert_eq!(found.crossing, Crossing::Found);
    let computed = found.set_up_ns.value / (found.fresh_ns.value - found.message_ns.value);
    assert!((messages.value / computed - 1.0).abs() < 1e-9);
    // Kept HTTP takes 40 µs and its connection 40 µs more: (90 - 40) / (40 - 30).
    let kept = find("websocket-persistent", "http1-persistent");
    assert!((kept.messages.unwrap().value - 5.0).abs() < 0.3, "{kept:?}");
    assert!(kept.fresh_set_up_ns.is_some());
    // One message over kept HTTP takes 80 µs, over a WebSocket of its own 120 µs: there is nothing to pay for.
    let always = find("http1-persistent", "websocket-per-request");
    assert_eq!((always.crossing, always.messages), (Crossing::Always, None));
    assert!((found.message_ns.value / found.fresh_ns.value - 30.0 / 80.0).abs() < 0.01);
    assert!(found.measured.is_empty());
}

/// A trial during which the hypervisor took a tenth of a CPU.
fn stolen(mut record: TrialRecord) -> TrialRecord {
    let around = Surroundings {
        wall_ns: 1_000_000_000,
        cpus: vec![CpuTimes {
            busy_ns: 900_000_000,
            steal_ns: 100_000_000,
            ..CpuTimes::default()
        }],
        client: TaskTimes {
            cpu_ns: 800_000_000,
            queued_ns: 0,
        },
        ..Surroundings::default()
    };
    record.measurement.as_mut().unwrap().surroundings = Some(around);
    record
}

#[test]
fn a_disturbed_trial_loses_what_the_disturbance_harmed_and_nothing_else() {
    let dataset = dataset(plan(12), |spec| {
        if spec.index == 3 {
            stolen(known(spec))
        } else {
            known(spec)
        }
    });
    let summary = summarize(&dataset);
    let judgement = &summary.judgement;
    assert!(judgement.is_conclusive);
    assert_eq!(judgement.disturbed_trials, 1);
    assert!(
        judgement.reasons[0].contains("throughput withheld in 1 of 72 trials (the hypervisor"),
        "{judgement:?}"
    );
    let disturbed = summary
        .cells
        .iter()
        .find(|cell| cell.trials.disturbed == 1)
        .unwrap();
    assert_eq!((disturbed.trials.valid, disturbed.trials.total), (12, 12));
    let withheld = |name: &str| disturbed.metrics[name].withheld;
    assert_eq!(
        (withheld("throughput"), withheld("service_time_p50")),
        (1, 0)
    );
    let rates = summary.comparisons.iter().filter(|found| {
        found.metric == "throughput" && [&found.cell, &found.reference].contains(&&disturbed.id)
    });
    for found in rates {
        assert_eq!(found.blocks, 11);
    }
}

#[test]
fn a_repeated_trial_counts_once_by_its_last_attempt() {
    let whole = dataset(plan(8), known);
    let mut records = whole.records;
    let mut first = stolen(records[0].clone());
    records[0].spec.attempt = 1;
    first.spec.attempt = 0;
    records.push(first);
    let summary = summarize(&Dataset::new(whole.manifest, records, Vec::new()));
    let cell = summary
        .cells
        .iter()
        .find(|cell| cell.trials.repeated == 1)
        .unwrap();
    assert_eq!(
        (cell.trials.valid, cell.trials.total, cell.trials.disturbed),
        (8, 8, 0)
    );
    assert_eq!(summary.judgement.repeated_trials, 1);
}

#[test]
fn a_machine_of_which_a_tenth_is_taken_keeps_counts_cpu_time_and_medians() {
    let dataset = dataset(plan(12), |spec| {
        if spec.block < 4 {
            stolen(known(spec))
        } else {
            known(spec)
        }
    });
    let summary = summarize(&dataset);
    let judgement = &summary.judgement;
    assert!(judgement.is_conclusive, "{judgement:?}");
    for family in Family::ALL {
        assert_eq!(
            judgement.holds(family),
            family != Family::Rates,
            "{family:?}"
        );
    }
    assert!(judgement.reasons[0].contains("24 of 72 trials (the hypervisor"));
    let rates = summary
        .comparisons
        .iter()
        .filter(|found| found.metric == "throughput");
    for found in rates {
        assert_eq!(found.verdict, Verdict::Inconclusive, "{found:?}");
    }
    let found = find(&summary, "http1-per-request", "http1-persistent");
    assert!((found.ratio.unwrap().value - 2.0).abs() < 0.01);
    assert_eq!(found.verdict, Verdict::Different);
    let text = terminal(&dataset, &summary);
    assert!(!text.contains("nothing is to be concluded"), "{text}");
}

/// A machine so busy that each operation may have been interrupted.
fn swamped(mut record: TrialRecord) -> TrialRecord {
    let busy = |cpu_ns| TaskTimes {
        cpu_ns,
        queued_ns: 600_000_000,
    };
    let around = Surroundings {
        wall_ns: 1_000_000_000,
        cpus: vec![CpuTimes {
            busy_ns: 1_000_000_000,
            ..CpuTimes::default()
        }],
        client: busy(100_000_000),
        server: Some(busy(100_000_000)),
        ..Surroundings::default()
    };
    let measurement = record.measurement.as_mut().unwrap();
    measurement.surroundings = Some(around);
    // Every fourth operation took ten times as long.
    for times in measurement.histograms.values_mut() {
        let usual_ns = times.max_ns().unwrap();
        let count = times.count();
        *times = constant(usual_ns, count - count / 4);
        times.merge(&constant(usual_ns / 4, count / 4));
    }
    record
}

#[test]
fn a_swamped_machine_keeps_its_counts_and_says_so() {
    let dataset = dataset(plan(12), |spec| swamped(known(spec)));
    let summary = summarize(&dataset);
    let judgement = &summary.judgement;
    assert!(!judgement.is_conclusive, "{judgement:?}");
    assert!(judgement.holds(Family::Counts) && !judgement.holds(Family::CpuTime));
    assert!(!judgement.holds(Family::Medians) && !judgement.holds(Family::Tails));
    let text = terminal(&dataset, &summary);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!text.contains("nothing is to be concluded"), "{text}");
    assert!(
        text.contains("Inconclusive for ") && text.contains("What holds: counts"),
        "{text}"
    );
}

#[test]
fn a_disturbance_that_one_lane_brings_itself_is_no_accident() {
    let dataset = dataset(plan(12), |spec| {
        let is_lane = spec.cell.lane.to_string() == "websocket-persistent";
        if is_lane && spec.block < 10 {
            stolen(known(spec))
        } else {
            known(spec)
        }
    });
    let judgement = summarize(&dataset).judgement;
    assert!(!judgement.holds(Family::Rates) && judgement.holds(Family::Medians));
    assert!(
        judgement.reasons.iter().any(|reason| {
            reason.contains("throughput of lane websocket-persistent withheld in 10 of 12")
        }),
        "{judgement:?}"
    );
}

#[test]
fn two_copies_that_differ_conclude_nothing() {
    let dataset = dataset(plan(12), |spec| {
        let mut record = known(spec);
        if record.spec.cell.is_null() {
            let times = BTreeMap::from([(Metric::ServiceTime, constant(100_000, 5000))]);
            record.measurement.as_mut().unwrap().histograms = times;
        }
        record
    });
    let judgement = summarize(&dataset).judgement;
    assert!(
        !judgement.is_conclusive && judgement.reasons[0].contains("two copies of http1-persistent")
    );
}

#[test]
fn few_blocks_give_no_interval_and_no_verdict() {
    let summary = summarize(&dataset(plan(4), known));
    let found = find(&summary, "http1-per-request", "http1-persistent");
    assert_eq!(
        (found.blocks, found.ratio, found.verdict),
        (4, None, Verdict::Inconclusive)
    );
}

#[test]
fn effects_multiply_and_agree_with_the_comparisons() {
    let summary = summarize(&dataset(plan(12), known));
    for found in &summary.attributions {
        let is = |product: f64, whole: f64| assert!((product / whole - 1.0).abs() < 1e-9);
        is(found.reuse.value * found.protocol.value, found.total.value);
        is(
            found.protocol_per_request.value * found.reuse_of_websocket.value,
            found.total.value,
        );
        is(
            found.reuse_main.value * found.protocol_main.value,
            found.total.value,
        );
        assert_eq!(found.verdicts.len(), 8);
    }
    let reuse = find(&summary, "http1-per-request", "http1-persistent");
    let time = &summary.attributions[0];
    assert_eq!(reuse.ratio.unwrap(), time.reuse);
    assert_eq!(reuse.verdict, time.verdicts["reuse"]);
    for found in &summary.comparisons {
        let (value, other) = found.values.unwrap();
        assert!((value / other / found.ratio.unwrap().value - 1.0).abs() < 1e-9);
    }
    let design = &summary.judgement;
    assert!(design.within_block_correlation.unwrap() > 0.9, "{design:?}");
    assert!((0.1..=1.0).contains(&design.ordered_pairs_covered.unwrap()));
}

/// A client that was busy all the time was the limit of what it measured.
#[test]
fn bounds_have_neither_ratio_nor_verdict_nor_attribution() {
    let summary = summarize(&dataset(plan(12), |spec| {
        let is_limited = spec.cell.lane.to_string() == "websocket-persistent";
        let mut record = known(spec);
        if is_limited {
            record.measurement.as_mut().unwrap().client.cpu_user_ns = 600_000_000;
        }
        record
    }));
    let of_rates = summary
        .comparisons
        .iter()
        .filter(|found| found.metric == "throughput");
    let (bounded, others): (Vec<_>, Vec<_>) = of_rates.partition(|found| {
        [&found.cell, &found.reference]
            .iter()
            .any(|cell| cell.contains("websocket-persistent"))
    });
    assert!(!bounded.is_empty() && !others.is_empty());
    for found in bounded {
        assert!(found.is_bounded && found.ratio.is_none() && found.values.is_none());
        assert_eq!(found.verdict, Verdict::Inconclusive);
    }
    assert!(
        others
            .iter()
            .all(|found| !found.is_bounded && found.ratio.is_some())
    );
    let mut attributed = summary.attributions.iter();
    assert!(attributed.all(|found| found.metric != "throughput"));
}

#[test]
fn a_contrast_that_vanished_still_counts_among_the_questions() {
    let mut whole = dataset(plan(8), known);
    let is_kept =
        |record: &TrialRecord| record.spec.cell.lane.to_string() != "websocket-persistent";
    whole.records.retain(is_kept);
    let summary = summarize(&Dataset::new(whole.manifest, whole.records, Vec::new()));
    let primary: Vec<_> = summary
        .comparisons
        .iter()
        .filter(|found| found.is_primary)
        .collect();
    assert_eq!(primary.len(), 3);
    let vanished: Vec<_> = primary.iter().filter(|found| found.blocks == 0).collect();
    assert_eq!(vanished.len(), 2);
    assert!(
        vanished
            .iter()
            .all(|found| found.verdict == Verdict::Inconclusive)
    );
    let answered = primary.iter().find(|found| found.blocks == 8).unwrap();
    assert!((answered.p_adjusted.unwrap() / answered.p_value - 3.0).abs() < 1e-9);
}
