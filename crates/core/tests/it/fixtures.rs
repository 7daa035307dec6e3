//! Documents as earlier versions wrote them, one per kind and version: they must load for ever.

use std::path::Path;

use sockrates_core::cpu_idle::CpuIdle;
use sockrates_core::document::{self, Document};
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::plan::{Target, TrialSpec};
use sockrates_core::record::{Metric, Outcome, TrialRecord, UpdateCounts};
use sockrates_core::run_result::{RunResult, TrustLevel};
use sockrates_core::summary::{Comparison, Summary};
use sockrates_core::surroundings::{CpuTimes, Surroundings, TaskTimes};
use sockrates_core::target::ServerUsage;
use sockrates_core::verdict::{self, Flag};

/// Loads the fixture of a version and checks that today's form of it loads as the same.
fn load<D: Document + std::fmt::Debug + PartialEq>(version: u32) -> D {
    let name = format!("tests/fixtures/{}.v{version}.json", D::KIND);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let loaded: D = document::parse(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        document::parse::<D>(&document::to_json(&loaded)).unwrap(),
        loaded
    );
    loaded
}

#[test]
fn every_version_has_a_fixture() {
    fn check<D: Document>() {
        for version in 1..=D::VERSION {
            let name = format!("tests/fixtures/{}.v{version}.json", D::KIND);
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(&name).exists(),
                "{name}"
            );
        }
    }
    check::<TrialSpec>();
    check::<TrialRecord>();
    check::<RunManifest>();
    check::<Summary>();
    check::<ServerUsage>();
    check::<RunResult>();
}

#[test]
fn version_1_documents_load_with_their_facts() {
    let record: TrialRecord = load(1);
    assert_eq!(record.outcome, Outcome::Completed);
    assert!(verdict::is_valid(&record));
    let measured = record.measurement.unwrap();
    // 150 ms at 200/s from the schedule's zero on: due at 0, 5, …, 145 ms.
    assert_eq!(
        (measured.warm_up.verified, measured.operations.verified),
        (10, 20)
    );
    assert_eq!(measured.histograms[&Metric::ResponseTime].count(), 20);
    assert_eq!(load::<TrialSpec>(1), record.spec);
    assert_eq!(load::<ServerUsage>(1), measured.server.unwrap());
    assert_eq!(load::<RunManifest>(1).status, RunStatus::Complete);
    assert_eq!(load::<Summary>(1).cells[0].operations.verified, 20);
}

#[test]
fn version_2_documents_load_with_their_facts() {
    let record: TrialRecord = load(2);
    assert!(verdict::is_valid(&record));
    assert_eq!(load::<TrialSpec>(2), record.spec);
    let measured = record.measurement.unwrap();
    let wire = measured.wire.unwrap();
    // Ten messages of 64 bytes, each on a connection of its own.
    assert_eq!((wire.connections, wire.bytes_sent), (10, 10 * 149));
    assert!(measured.surroundings.unwrap().wall_ns > 0);
    let manifest: RunManifest = load(2);
    assert_eq!(
        (manifest.plan.primary.len(), manifest.calibrations.len()),
        (3, 2)
    );
    let summary: Summary = load(2);
    assert!(summary.comparisons.iter().any(|found| found.is_null));
    assert_eq!(summary.attributions[0].above_floor.len(), 4);
}

#[test]
fn version_3_documents_load_with_their_facts() {
    let record: TrialRecord = load(3);
    assert!(verdict::is_valid(&record));
    assert_eq!(load::<TrialSpec>(3), record.spec);
    let measured = record.measurement.unwrap();
    let updates = measured.updates.unwrap();
    // Three listeners of one topic: each update came to all of them, once.
    assert_eq!((updates.received % 3, updates.requests), (0, 3));
    assert_eq!((updates.missed, updates.repeated, updates.lost), (0, 0, 0));
    assert_eq!(
        measured.histograms[&Metric::Staleness].count(),
        updates.received
    );
    assert!(measured.cost.unwrap().network.unwrap().ip_bytes > 0);
    assert_eq!(load::<RunManifest>(3).status, RunStatus::Complete);
    assert!(!load::<Summary>(3).cells.is_empty());
}

#[test]
fn version_4_documents_load_with_their_facts() {
    let record: TrialRecord = load(4);
    assert!(verdict::is_valid(&record));
    assert_eq!(load::<TrialSpec>(4), record.spec);
    assert!(verdict::flags(&record).contains(&Flag::RunningServer));
    let measured = record.measurement.unwrap();
    // 150 ms at 200/s, every reply with status 200.
    assert_eq!(measured.operations.verified, 30);
    assert_eq!(measured.answers.unwrap().statuses[&200], 30);
    let manifest: RunManifest = load(4);
    assert!(matches!(manifest.target(), Target::Running { .. }));
    assert_eq!(load::<Summary>(4).cells.len(), 2);
}

#[test]
fn version_5_documents_load_with_their_facts() {
    let record: TrialRecord = load(5);
    assert!(verdict::is_valid(&record));
    assert_eq!(load::<TrialSpec>(5), record.spec);
    assert_eq!(record.spec.cell.cpu_idle, CpuIdle::Awake);
    assert_eq!(
        load::<TrialRecord>(4).spec.cell.cpu_idle,
        CpuIdle::AsIs,
        "as it was before there was a choice"
    );
    let measured = record.measurement.as_ref().unwrap();
    let around = measured.surroundings.as_ref().unwrap();
    let facts = measured.cpu_idle.as_ref().unwrap();
    assert_eq!(
        (facts.achieved, facts.spinner_cpu_ns),
        (CpuIdle::Awake, around.spinner_cpu_ns)
    );
    assert!(facts.spinner_cpu_ns > 0);
}

#[test]
fn what_keeps_cpus_awake_is_not_foreign_and_a_refusal_is_said() {
    let mut record: TrialRecord = load(5);
    let measured = record.measurement.as_mut().unwrap();
    let around = measured.surroundings.insert(Surroundings {
        wall_ns: 1_000_000_000,
        cpus: vec![
            CpuTimes {
                busy_ns: 1_000_000_000,
                ..CpuTimes::default()
            };
            2
        ],
        server: Some(TaskTimes::default()),
        ..Surroundings::default()
    });
    assert_eq!(verdict::foreign_share(around), Some(1.0));
    around.spinner_cpu_ns = 1_990_000_000;
    assert!(verdict::foreign_share(around).unwrap() < 0.01);
    assert!(verdict::disturbances(&record).is_empty());
    assert!(!verdict::flags(&record).contains(&Flag::NotAwake));
    let facts = record.measurement.as_mut().unwrap().cpu_idle.as_mut();
    facts.unwrap().achieved = CpuIdle::AsIs;
    assert!(verdict::flags(&record).contains(&Flag::NotAwake));
    assert_eq!(Flag::NotAwake.class(), verdict::Class::Outcome);
}

#[test]
fn version_5_of_a_manifest_loads_with_its_facts() {
    assert_eq!(load::<RunManifest>(5).resumed_unix_ms.len(), 1);
    assert!(load::<RunManifest>(4).resumed_unix_ms.is_empty());
}

#[test]
fn version_5_of_a_summary_loads_with_its_facts() {
    let summary: Summary = load(5);
    assert_eq!(summary.attributions[0].verdicts.len(), 8);
    let ratio = |found: &Comparison| found.ratio.map(|ratio| ratio.value);
    for found in &summary.comparisons {
        let quotient = found.values.map(|(value, other)| value / other);
        assert_eq!(quotient.is_some(), ratio(found).is_some());
    }
    assert!(load::<Summary>(4).judgement.ordered_pairs_covered.is_none());
}

#[test]
fn version_1_of_a_result_loads_with_its_facts() {
    let result: RunResult = load(1);
    assert_eq!((result.trials, result.operations.verified), (4, 120));
    assert_eq!(result.values_by_trial["throughput"].len(), 4);
    assert!(result.trust.level <= TrustLevel::Doubtful);
    // 70 bytes of request each, over two connections a trial that were kept.
    assert_eq!(result.network.bytes_sent, 4 * 40 * 70);
    assert_eq!(result.network.connections_opened, 4 * 2);
}

#[test]
fn a_failed_record_is_not_valid_and_a_broken_book_neither() {
    let record: TrialRecord = load(1);
    let mut broken = record.clone();
    broken.measurement.as_mut().unwrap().operations.issued += 1;
    assert!(!verdict::is_valid(&broken));
    assert!(verdict::flags(&broken).contains(&Flag::NotConserved));
    let mut late = record;
    let histograms = &mut late.measurement.as_mut().unwrap().histograms;
    for _ in 0..100 {
        histograms
            .get_mut(&Metric::ScheduleLag)
            .unwrap()
            .record(verdict::LAG_TARGET_BLOCKING_NS * 2);
    }
    assert!(verdict::flags(&late).contains(&Flag::LateSchedule));
    assert!(verdict::is_valid(&late), "lateness is said, not hidden");
}

/// A whole closed trial of one connection, in which a millisecond's operations fill the window.
fn closed_trial(operations: u64) -> TrialRecord {
    let mut record: TrialRecord = load(2);
    record.spec.cell.operations = None;
    record.spec.stop_after_operations = None;
    let measured = record.measurement.as_mut().unwrap();
    measured.surroundings = None;
    measured.spans.window_start_ns = measured.spans.start_ns;
    measured.spans.window_end_ns = measured.spans.start_ns + 1_000_000_000;
    measured.operations.issued = operations;
    measured.operations.verified = operations;
    let mut times = sockrates_core::histogram::Histogram::new();
    for _ in 0..operations {
        times.record(1_000_000);
    }
    measured.histograms.remove(&Metric::Close);
    measured.histograms.insert(Metric::ServiceTime, times);
    record
}

#[test]
fn throughput_and_cycle_time_must_not_contradict_each_other() {
    assert!(verdict::faults(&closed_trial(1000)).is_empty());
    assert!(
        verdict::faults(&closed_trial(990)).is_empty(),
        "between two cycles"
    );
    assert_eq!(verdict::faults(&closed_trial(900)), [Flag::LittlesLaw]);
    assert!(!verdict::is_valid(&closed_trial(900)));
}

#[test]
fn an_open_load_must_issue_what_its_schedule_holds() {
    let mut record: TrialRecord = load(1);
    assert!(verdict::faults(&record).is_empty());
    let measured = record.measurement.as_mut().unwrap();
    measured.operations.issued -= 1;
    measured.operations.verified -= 1;
    assert_eq!(verdict::faults(&record), [Flag::WrongSchedule]);
}

#[test]
fn each_disturbance_is_seen_by_its_rule() {
    let quiet = || Surroundings {
        wall_ns: 1_000_000_000,
        cpus: vec![
            CpuTimes {
                busy_ns: 500_000_000,
                ..CpuTimes::default()
            };
            2
        ],
        client: TaskTimes {
            cpu_ns: 500_000_000,
            queued_ns: 1000,
        },
        server: Some(TaskTimes {
            cpu_ns: 490_000_000,
            queued_ns: 1000,
        }),
        ..Surroundings::default()
    };
    let disturbances = |change: fn(&mut Surroundings)| {
        let mut record: TrialRecord = load(2);
        let mut around = quiet();
        change(&mut around);
        record.measurement.as_mut().unwrap().surroundings = Some(around);
        verdict::disturbances(&record)
    };
    assert!(disturbances(|_| {}).is_empty());
    let is = |change, flag| assert_eq!(disturbances(change), [flag]);
    is(|around| around.cpus[1].steal_ns = 30_000_000, Flag::Stolen);
    is(|around| around.steal_worst_share = 0.3, Flag::Stolen);
    is(
        |around| around.cpus[0].busy_ns += 300_000_000,
        Flag::ForeignCpu,
    );
    is(|around| around.hiccup_max_ns = 30_000_000, Flag::Hiccup);
    is(|around| around.client.queued_ns = 60_000_000, Flag::Queued);
    is(|around| around.clock_drift_ppm = -600.0, Flag::ClockFault);
    is(|around| around.clock_steps_back = 1, Flag::ClockFault);
    is(|around| around.throttled = 1, Flag::Throttled);
    is(|around| around.major_faults = 1, Flag::Throttled);
    // What the network did is an outcome: it repeats nothing.
    assert!(disturbances(|around| around.network.listen_drops = 1).is_empty());
}

/// What a kernel of 250 Hz tells of a short trial that nobody disturbs: each tick charges whoever runs, in steps of 10 ms.
#[test]
fn ticks_alone_are_no_foreign_program() {
    use rand::Rng;
    let mut draw = sockrates_core::seed::stream(5, "ticks", 0);
    let record: TrialRecord = load(2);
    let mut flagged = 0;
    for _ in 0..500 {
        let mut record = record.clone();
        let cpus = (0..2).map(|cpu| {
            let ticks: u64 = (0..37).map(|_| u64::from(draw.random_bool(0.5))).sum();
            let told = (ticks * 4_000_000 + draw.random_range(0..10_000_000)) / 10_000_000;
            CpuTimes {
                cpu,
                busy_ns: told * 10_000_000,
                ..CpuTimes::default()
            }
        });
        let times = TaskTimes {
            cpu_ns: 75_000_000,
            queued_ns: 0,
        };
        let around = Surroundings {
            wall_ns: 150_000_000,
            cpus: cpus.collect(),
            client: times,
            server: Some(times),
            ..Surroundings::default()
        };
        record.measurement.as_mut().unwrap().surroundings = Some(around);
        flagged += u32::from(!verdict::disturbances(&record).is_empty());
    }
    assert!(flagged < 10, "{flagged} of 500");
}

#[test]
fn bad_news_and_an_overloaded_publisher_are_outcomes() {
    let mut record: TrialRecord = load(3);
    let measured = record.measurement.as_mut().unwrap();
    let updates = measured.updates.insert(UpdateCounts::default());
    updates.received = 100;
    let server = measured.server.as_mut().unwrap();
    server.publisher_lag_last_ns = verdict::PUBLISHER_LAG_NS;
    let of_news = |record: &TrialRecord| {
        let mut flags = verdict::flags(record);
        flags.retain(|flag| matches!(flag, Flag::NewsLost | Flag::PublisherOverloaded));
        flags
    };
    assert!(of_news(&record).is_empty());
    for spoil in [
        |updates: &mut UpdateCounts| updates.missed += 1,
        |updates: &mut UpdateCounts| updates.lost += 1,
        |updates: &mut UpdateCounts| updates.repeated += 1,
        |updates: &mut UpdateCounts| updates.out_of_order += 1,
    ] {
        let mut spoilt = record.clone();
        let measured = spoilt.measurement.as_mut().unwrap();
        spoil(measured.updates.as_mut().unwrap());
        assert_eq!(of_news(&spoilt), [Flag::NewsLost]);
        assert_eq!(Flag::NewsLost.class(), verdict::Class::Outcome);
    }
    let server = record.measurement.as_mut().unwrap().server.as_mut();
    server.unwrap().publisher_lag_last_ns += 1;
    assert_eq!(of_news(&record), [Flag::PublisherOverloaded]);
}

#[test]
fn a_client_that_reads_a_crowd_of_copies_is_the_limit() {
    let mut record: TrialRecord = load(3);
    let is_limited = |record: &TrialRecord| verdict::flags(record).contains(&Flag::ClientLimited);
    let measured = record.measurement.as_mut().unwrap();
    // Three listeners of one topic, of whom each sees what it sees after 100 ms.
    let mut ages = sockrates_core::histogram::Histogram::new();
    (0..100).for_each(|_| ages.record(100_000_000));
    measured.histograms.insert(Metric::Staleness, ages);
    let read = measured.operations.verified + measured.warm_up.verified;
    // To read three copies takes 48 ms, and then 54 ms.
    measured.client.cpu_system_ns = 0;
    measured.client.cpu_user_ns = read * 16_000_000;
    assert!(!is_limited(&record));
    record.measurement.as_mut().unwrap().client.cpu_user_ns = read * 18_000_000;
    assert!(is_limited(&record));
    record.spec.cell.wait = sockrates_core::scenario::Wait::Spin;
    assert!(!is_limited(&record), "it is always busy");
}
