//! The gate: what must be red is red, and what cannot be told is not.

use std::collections::BTreeMap;

use sockrates_core::plan::{Plan, TrialSpec};
use sockrates_core::record::{HandshakeWire, Metric, TrialRecord, Wire};
use sockrates_core::surroundings::Surroundings;
use sockrates_report::Dataset;
use sockrates_report::gate::{Check, CheckError, Outcome, check};

use crate::synthetic::{constant, dataset, echo_plan, record};

const LANES: [&str; 6] = [
    "tcp-per-request",
    "tcp-persistent",
    "http1-per-request",
    "http1-persistent",
    "websocket-per-request",
    "websocket-persistent",
];
const OPERATIONS: u32 = 1000;

/// A plan of timed and of counted cells.
fn plan(blocks: u32) -> Plan {
    let mut cells = echo_plan(&LANES, &[1], blocks).cells;
    let counted = cells.clone().into_iter().map(|mut cell| {
        cell.id = cell.id.replace("tiny", "counted");
        "counted".clone_into(&mut cell.scenario);
        cell.operations = Some(OPERATIONS);
        cell
    });
    cells.extend(counted.collect::<Vec<_>>());
    Plan::of_cells("both", cells, blocks, 7)
}

/// What a fabricated machine does: slows HTTP down, sends more bytes, and has luck of its own.
#[derive(Clone, Copy)]
struct World {
    http_factor: f64,
    more_bytes: u64,
    luck: u64,
}

const USUAL: World = World {
    http_factor: 1.0,
    more_bytes: 0,
    luck: 1,
};

/// A number in [0, 1) from what identifies a trial.
fn chance(spec: &TrialSpec, luck: u64) -> f64 {
    let mut z = luck.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (u64::from(spec.index) << 32 | u64::from(spec.block));
    for shift in [30, 27, 31] {
        z = (z ^ (z >> shift)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (z >> 11) as f64 / (1u64 << 53) as f64
}

fn trial(spec: TrialSpec, world: World) -> TrialRecord {
    let lane = spec.cell.lane.to_string();
    let base = if lane.contains("per-request") {
        80e3
    } else {
        25e3
    };
    let factor = if lane.starts_with("http1") {
        world.http_factor
    } else {
        1.0
    };
    // A tenth of the trials meet a spike.
    let spike = if chance(&spec, world.luck + 100) < 0.1 {
        0.3 * chance(&spec, world.luck + 200)
    } else {
        0.0
    };
    let noise = 1.0 + 0.06 * (chance(&spec, world.luck) - 0.5) + spike;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let ns = (base * factor * noise) as u64;
    let is_counted = spec.cell.operations.is_some();
    let count = if is_counted {
        u64::from(OPERATIONS)
    } else {
        400
    };
    let mut record = record(
        spec,
        BTreeMap::from([(Metric::ServiceTime, constant(ns, count))]),
    );
    let measurement = record.measurement.as_mut().unwrap();
    let cpu = |ns: u64| sockrates_core::target::ProcessUsage {
        cpu_user_ns: ns * count,
        ..Default::default()
    };
    measurement.warm_up = sockrates_core::record::Operations::default();
    measurement.client = cpu(ns / 4);
    measurement.server.as_mut().unwrap().process = cpu(ns / 4);
    if is_counted {
        measurement.surroundings = Some(Surroundings {
            wall_ns: 1_000_000,
            ..Surroundings::default()
        });
        measurement.wire = Some(Wire {
            connections: 1,
            handshakes: 1,
            bytes_sent: 130 * count,
            bytes_received: (180 + world.more_bytes) * count,
            data_segments_sent: count,
            data_segments_received: count,
            segments_retransmitted: 0,
            handshake: None,
        });
    }
    record
}

fn run(blocks: u32, world: World) -> Dataset {
    dataset(plan(blocks), |spec| trial(spec, world))
}

fn checked(run: &Dataset, baseline: &Dataset) -> Check {
    check(run, baseline, false).unwrap()
}

#[test]
fn the_same_again_agrees() {
    let check = checked(&run(10, World { luck: 2, ..USUAL }), &run(12, USUAL));
    assert_eq!(check.outcome, Outcome::Agrees, "{}", check.text());
    assert_eq!((check.counts.len(), check.ratios.len()), (36, 21));
    assert!(
        check
            .text()
            .contains("36 of 36 counts match exactly; 21 of 21 ratios agree")
    );
    assert!(check.markdown().starts_with("## sockrates: agrees"));
    assert!(check.text().lines().all(|line| line.chars().count() <= 104));
}

#[test]
fn ten_bytes_more_are_red_on_any_machine() {
    let mut other = run(
        2,
        World {
            more_bytes: 10,
            ..USUAL
        },
    );
    other.manifest.fingerprint.cpu_model = "another".to_owned();
    let check = checked(&other, &run(12, USUAL));
    assert_eq!(check.outcome, Outcome::Differs);
    let rows: Vec<_> = check
        .counts
        .iter()
        .filter(|row| row.outcome == Outcome::Differs)
        .collect();
    assert_eq!(rows.len(), LANES.len());
    assert!(
        rows.iter()
            .all(|row| row.count == "bytes_received" && row.run == [190_000])
    );
}

#[test]
fn a_slower_lane_is_suspicious_and_red_when_it_is_slower_again() {
    let baseline = run(12, USUAL);
    let slow = World {
        http_factor: 1.4,
        luck: 3,
        ..USUAL
    };
    let mut check = checked(&run(10, slow), &baseline);
    assert_eq!(check.outcome, Outcome::Suspicious, "{}", check.text());
    let cells = check.suspicious_cells();
    assert!(
        cells.contains(&"tiny.http1-persistent.c1".to_owned()),
        "{cells:?}"
    );
    let mut red = check.clone();
    red.retest(&run(15, World { luck: 4, ..slow }), &baseline);
    assert_eq!(red.outcome, Outcome::Differs);
    // Once only was chance.
    check.retest(&run(15, World { luck: 5, ..USUAL }), &baseline);
    assert_ne!(check.outcome, Outcome::Differs, "{}", check.text());
    assert!(check.suspicious_cells().is_empty());
    assert!(
        check
            .notes
            .iter()
            .any(|note| note.contains("did not come out so again"))
    );
}

#[test]
fn a_slowdown_of_every_lane_is_invisible_to_ratios() {
    let mut slow = run(10, USUAL);
    for record in &mut slow.records {
        let measurement = record.measurement.as_mut().unwrap();
        let times = measurement
            .histograms
            .get_mut(&Metric::ServiceTime)
            .unwrap();
        let (ns, count) = (times.max_ns().unwrap() * 2, times.count());
        *times = constant(ns, count);
    }
    let check = checked(&slow, &run(12, USUAL));
    let is_red = |outcome| matches!(outcome, Outcome::Suspicious | Outcome::Differs);
    assert!(!is_red(check.outcome), "{}", check.text());
    assert!(check.ratios.iter().all(|row| !is_red(row.outcome)));
}

#[test]
fn on_another_machine_ratios_are_never_red() {
    let mut other = run(
        10,
        World {
            http_factor: 3.0,
            ..USUAL
        },
    );
    other.manifest.fingerprint.cpu_model = "another".to_owned();
    let check = checked(&other, &run(12, USUAL));
    assert_eq!(check.outcome, Outcome::Agrees);
    assert!(
        check
            .ratios
            .iter()
            .all(|row| row.outcome == Outcome::Beside)
    );
    assert!(check.notes[0].contains("cpu_model: another"));
}

#[test]
fn a_disturbed_run_is_inconclusive_and_never_red() {
    let mut slow = run(
        10,
        World {
            http_factor: 1.5,
            ..USUAL
        },
    );
    for record in &mut slow.records {
        let around = Surroundings {
            wall_ns: 1_000_000,
            clock_steps_back: 1,
            ..Surroundings::default()
        };
        record.measurement.as_mut().unwrap().surroundings = Some(around);
    }
    let check = checked(&slow, &run(12, USUAL));
    assert_eq!(check.outcome, Outcome::Inconclusive);
    assert!(
        check
            .counts
            .iter()
            .all(|row| row.outcome == Outcome::Agrees),
        "counts need no quiet"
    );
}

/// Three in ten more, seen through noise that is as large: neither agreement nor a difference.
#[test]
fn what_cannot_be_told_does_not_agree() {
    let noisy = |luck: u64| {
        let mut run = run(10, World { luck, ..USUAL });
        for record in &mut run.records {
            let factor = 0.6 + 0.8 * chance(&record.spec, luck + 300);
            let measurement = record.measurement.as_mut().unwrap();
            let times = measurement
                .histograms
                .get_mut(&Metric::ServiceTime)
                .unwrap();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small and positive"
            )]
            let ns = (times.max_ns().unwrap() as f64 * factor) as u64;
            *times = constant(ns, times.count());
        }
        run
    };
    let check = checked(&noisy(6), &noisy(7));
    assert_eq!(check.outcome, Outcome::Inconclusive, "{}", check.text());
    let text = check.text();
    assert!(
        text.contains("Could not tell whether anything changed"),
        "{text}"
    );
    assert!(text.contains("could not be told"), "{text}");
    assert!(!text.contains("Nothing changed"), "{text}");
}

#[test]
fn too_few_blocks_are_inconclusive() {
    let check = checked(&run(1, USUAL), &run(12, USUAL));
    assert_eq!(check.outcome, Outcome::Inconclusive);
    assert!(check.text().contains("too few blocks"));
}

#[test]
fn without_anything_in_common_or_valid_there_is_no_check() {
    let mut other = run(2, USUAL);
    for cell in &mut other.manifest.plan.cells {
        cell.id += "x";
    }
    let other = Dataset::new(other.manifest, Vec::new(), Vec::new());
    let error = check(&other, &run(2, USUAL), false).unwrap_err();
    assert!(matches!(error, CheckError::NoValidTrial(_)), "{error}");
    let counted = dataset(echo_plan(&["http1-persistent"], &[1], 2), |spec| {
        trial(spec, USUAL)
    });
    let error = check(&counted, &run(2, USUAL), true).unwrap_err();
    assert!(error.to_string().contains("share no cell"), "{error}");
}

#[test]
fn what_is_counted_is_taken_apart_and_absent_counts_are_absent() {
    let mut run = run(2, USUAL);
    let summary = sockrates_report::summarize(&run);
    assert_eq!(summary.counted.len(), LANES.len());
    let lane = &summary.counted[0];
    assert_eq!((lane.messages, lane.sent.total), (1000, 130_000));
    assert_eq!((lane.sent.handshake, lane.sent.framing), (None, None));
    assert_eq!(lane.turn_arounds_each(), None);
    assert!(lane.work.is_none() && lane.varying.is_empty());

    for record in &mut run.records {
        let block = u64::from(record.spec.block);
        if let Some(wire) = &mut record.measurement.as_mut().unwrap().wire {
            wire.data_segments_sent += block;
            wire.handshake = Some(HandshakeWire {
                connections: 1,
                waits: 1,
                bytes_sent: 500,
                bytes_received: 200,
            });
        }
    }
    let summary = sockrates_report::summarize(&run);
    let lane = &summary.counted[0];
    let sent = lane.sent;
    assert_eq!((sent.payload, sent.handshake), (64_000, Some(500)));
    assert_eq!(sent.framing, Some(130_000 - 64_000 - 500));
    assert_eq!(lane.received.handshake, Some(200));
    assert_eq!(lane.turn_arounds_each(), Some(1.002));
    // One of two trials had a segment more: the smaller count is given, and it is said.
    assert_eq!(lane.segments_sent, Some(1000));
    assert_eq!(lane.varying, ["data_segments_sent"]);
}

/// The margin absorbs what chance does to unchanged lanes: of 60 unchanged runs none is red after a retest.
#[test]
fn unchanged_runs_are_not_red() {
    let baseline = run(12, USUAL);
    let mut suspicious = 0;
    for luck in 10..70 {
        let mut check = checked(&run(10, World { luck, ..USUAL }), &baseline);
        if check.outcome == Outcome::Suspicious {
            suspicious += 1;
            check.retest(
                &run(
                    15,
                    World {
                        luck: luck + 1000,
                        ..USUAL
                    },
                ),
                &baseline,
            );
        }
        assert_ne!(check.outcome, Outcome::Differs, "{luck}: {}", check.text());
    }
    assert!(suspicious <= 6, "{suspicious} of 60 were suspicious");
}
