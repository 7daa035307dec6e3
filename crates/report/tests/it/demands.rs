//! Records are what the plan asked for, or they are not used: whatever is done to the files of a run is named.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use sockrates_core::document;
use sockrates_core::files::{deflate, write_whole};
use sockrates_core::plan::Plan;
use sockrates_core::record::{LoadCost, Metric, NetworkCost, TrialRecord};
use sockrates_core::summary::{MissingTrial, Summary};
use sockrates_core::verdict::Flag;
use sockrates_report::{Dataset, summarize};

use crate::synthetic::{self, constant, dataset, echo_plan, record, save};

const LANES: [&str; 3] = [
    "http1-per-request",
    "http1-persistent",
    "websocket-persistent",
];
const BLOCKS: u32 = 3;
const TRIALS: usize = LANES.len() * BLOCKS as usize;
const SERVICE_NS: u64 = 100_000;
/// As many as fill the window of 500 ms.
const OPERATIONS: u64 = 5_000;

fn plan() -> Plan {
    echo_plan(&LANES, &[1], BLOCKS)
}

/// A record in which everything fits: times and window, bytes and lane.
fn measured(spec: sockrates_core::plan::TrialSpec) -> TrialRecord {
    let times = BTreeMap::from([(Metric::ServiceTime, constant(SERVICE_NS, OPERATIONS))]);
    let mut record = record(spec, times);
    record.spec.stop_after_operations = None;
    let framing = match record.spec.cell.lane.to_string().as_str() {
        "http1-per-request" => 236,
        "http1-persistent" => 182,
        _ => 8,
    };
    let measured = record.measurement.as_mut().unwrap();
    let done = measured.operations.verified + measured.warm_up.verified;
    measured.cost = Some(LoadCost {
        wall_ns: 600_000_000,
        client_cpu_ns: None,
        server_cpu_ns: Some(8_000 * done),
        network: Some(NetworkCost {
            ip_bytes: done * (128 + framing + 2 * 52),
            ip_packets: done * 2,
        }),
    });
    record
}

fn whole() -> Dataset {
    dataset(plan(), measured)
}

/// Saves a run whose records were changed, and reads it again.
fn loaded(change: impl FnOnce(&mut Vec<TrialRecord>)) -> (Dataset, Summary) {
    let run = tempfile::tempdir().unwrap();
    let mut changed = whole();
    change(&mut changed.records);
    write_whole(
        &run.path().join("run.json"),
        &document::to_json(&changed.manifest),
    )
    .unwrap();
    for (number, record) in changed.records.iter().enumerate() {
        let path = run.path().join(format!("trials/{number:04}.json"));
        write_whole(&path, &document::to_json(record)).unwrap();
    }
    let loaded = Dataset::load(run.path()).unwrap();
    let summary = summarize(&loaded);
    (loaded, summary)
}

fn reasons(run: &Dataset) -> String {
    let reasons = run
        .damaged
        .iter()
        .map(|(path, why)| format!("{}: {why}\n", path.display()));
    reasons.collect()
}

#[test]
fn what_was_planned_is_used_without_a_complaint() {
    let (run, summary) = loaded(|_| {});
    assert_eq!(reasons(&run), "");
    assert!(summary.completeness.is_whole());
    assert_eq!(summary.completeness.planned_trials as usize, TRIALS);
    assert!(
        summary.cells.iter().all(|cell| cell.flags.is_empty()),
        "{:?}",
        summary.cells[0].flags
    );
}

#[test]
fn an_extra_attempt_supersedes_no_clean_one() {
    let (run, summary) = loaded(|records| {
        let mut again = records[4].clone();
        again.spec.attempt = 1;
        let measured = again.measurement.as_mut().unwrap();
        measured.spans.start_ns += 5;
        let faster = constant(SERVICE_NS / 2, OPERATIONS);
        measured.histograms.insert(Metric::ServiceTime, faster);
        records.push(again);
    });
    assert!(
        reasons(&run).contains("attempt 0 of the same trial was not disturbed"),
        "{}",
        reasons(&run)
    );
    assert_eq!(run.records.len(), TRIALS);
    assert!(summary.completeness.is_whole());
}

#[test]
fn an_attempt_without_the_one_before_it_is_none() {
    let (run, summary) = loaded(|records| records[4].spec.attempt = 1);
    assert!(
        reasons(&run).contains("there is no attempt 0"),
        "{}",
        reasons(&run)
    );
    assert_eq!(summary.completeness.missing_trials.len(), 1);
}

#[test]
fn a_run_that_lacks_a_block_says_so_first() {
    let (run, summary) = loaded(|records| records.retain(|record| record.spec.block != 1));
    assert_eq!(summary.completeness.missing_blocks, [1]);
    assert!(!summary.judgement.is_conclusive);
    assert!(summary.judgement.reasons[0].contains("it lacks 1 block (2)"));
    let text = sockrates_report::terminal(&run, &summary);
    let first = "Inconclusive, since the run is not whole (it lacks 1 block (2))";
    assert!(text.starts_with(first), "{text}");
    let check = sockrates_report::gate::check(&run, &whole(), false);
    if let Ok(check) = check {
        assert!(
            !check.is_whole && !check.text().to_lowercase().contains("nothing changed"),
            "{}",
            check.text()
        );
    }
}

#[test]
fn a_primary_contrast_without_a_side_keeps_its_place() {
    let (_, summary) = loaded(|records| {
        for record in records.iter_mut() {
            if record.spec.cell.lane.to_string() == "http1-persistent" {
                // Every one breaks Little's law.
                let times = constant(SERVICE_NS / 2, OPERATIONS);
                let measured = record.measurement.as_mut().unwrap();
                measured.histograms.insert(Metric::ServiceTime, times);
            }
        }
    });
    let lack = &summary.completeness;
    assert_eq!(lack.broken_cells.len(), 1);
    assert_eq!(lack.missing_primary.len(), 2, "{lack:?}");
    assert!(!summary.judgement.is_conclusive);
    assert!(
        summary.judgement.reasons[0].contains("no trial counts on a side of 2 primary contrasts")
    );
}

/// What is done to a run's files.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Exchange,
    CopyBlock,
    BlockBeyond,
    Drop,
    ScaleUp,
    ScaleDown,
    NoClientCpu,
    NoServerCpu,
    Relabel,
    ExchangeLabels,
    Seed,
    Connections,
    EndedEarlier,
}

impl Mutation {
    const ALL: [Self; 13] = [
        Self::Exchange,
        Self::CopyBlock,
        Self::BlockBeyond,
        Self::Drop,
        Self::ScaleUp,
        Self::ScaleDown,
        Self::NoClientCpu,
        Self::NoServerCpu,
        Self::Relabel,
        Self::ExchangeLabels,
        Self::Seed,
        Self::Connections,
        Self::EndedEarlier,
    ];

    fn of(self, records: &mut Vec<TrialRecord>, one: usize, other: usize) {
        let measured = |record: &mut TrialRecord| record.measurement.take().unwrap();
        let scale = |record: &mut TrialRecord, ns: u64| {
            let measured = record.measurement.as_mut().unwrap();
            let times = constant(ns, OPERATIONS);
            measured.histograms.insert(Metric::ServiceTime, times);
        };
        match self {
            Self::Exchange => {
                let (a, b) = (measured(&mut records[one]), measured(&mut records[other]));
                (records[one].measurement, records[other].measurement) = (Some(b), Some(a));
            }
            Self::CopyBlock => {
                let (from, to) = (
                    records[one].spec.block,
                    (records[one].spec.block + 1) % BLOCKS,
                );
                let place = |records: &[TrialRecord], block: u32, id: &str| {
                    let is_it = |record: &TrialRecord| {
                        record.spec.block == block && record.spec.cell.id == id
                    };
                    records.iter().position(is_it).unwrap()
                };
                let ids: Vec<_> = plan().cells.into_iter().map(|cell| cell.id).collect();
                for id in ids {
                    let copy = records[place(records, from, &id)].measurement.clone();
                    let to = place(records, to, &id);
                    records[to].measurement = copy;
                }
            }
            Self::BlockBeyond => {
                let mut copy = records[one].clone();
                copy.spec.block = BLOCKS;
                copy.spec.index += u32::try_from(TRIALS).unwrap();
                records.push(copy);
            }
            Self::Drop => {
                records.remove(one);
            }
            Self::ScaleUp => scale(&mut records[one], SERVICE_NS * 3 / 2),
            Self::ScaleDown => scale(&mut records[one], SERVICE_NS * 2 / 3),
            Self::NoClientCpu => {
                let measured = records[one].measurement.as_mut().unwrap();
                (measured.client.cpu_user_ns, measured.client.cpu_system_ns) = (0, 0);
            }
            Self::NoServerCpu => {
                let measured = records[one].measurement.as_mut().unwrap();
                let process = &mut measured.server.as_mut().unwrap().process;
                (process.cpu_user_ns, process.cpu_system_ns) = (0, 0);
            }
            Self::Relabel => {
                let cell = &mut records[one].spec.cell;
                let is_http = cell.lane.transport == "http1";
                let lane = if is_http {
                    "websocket-persistent"
                } else {
                    "http1-persistent"
                };
                cell.lane = lane.parse().unwrap();
            }
            Self::ExchangeLabels => {
                let specs = (records[one].spec.clone(), records[other].spec.clone());
                (records[other].spec, records[one].spec) = specs;
            }
            Self::Seed => records[one].spec.seed += 1,
            Self::Connections => {
                records[one]
                    .measurement
                    .as_mut()
                    .unwrap()
                    .connections_opened += 1 + OPERATIONS * 2;
            }
            Self::EndedEarlier => records[one].spec.stop_after_operations = Some(7_000),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Every change is named: its record is not used, or it is told what is missing or contradicts itself.
    #[test]
    fn every_mutation_is_named(one in 0..TRIALS, distance in 1..TRIALS) {
        let other = (one + distance) % TRIALS;
        for mutation in Mutation::ALL {
            let (run, summary) = loaded(|records| mutation.of(records, one, other));
            let breaks_law = summary.cells.iter().any(|cell| cell.flags.contains_key(&Flag::LittlesLaw));
            let lack = &summary.completeness;
            let is_named = match mutation {
                Mutation::Drop => !lack.missing_trials.is_empty(),
                Mutation::ScaleDown => breaks_law,
                _ => !run.damaged.is_empty(),
            };
            prop_assert!(is_named, "{:?} of {} and {}: {}", mutation, one, other, reasons(&run));
            if !run.damaged.is_empty() && !matches!(mutation, Mutation::BlockBeyond) {
                prop_assert!(!lack.is_whole() && !summary.judgement.is_conclusive, "{:?}", mutation);
            }
        }
    }
}

#[test]
fn a_trial_that_is_missing_is_named() {
    let dropped = whole().records[5].spec.clone();
    let (_, summary) = loaded(|records| {
        records.remove(5);
    });
    let missing = MissingTrial {
        cell: dropped.cell.id,
        block: dropped.block,
    };
    assert_eq!(summary.completeness.missing_trials, [missing]);
}

#[test]
fn a_packed_copy_gives_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    let (run, packed) = (folder.path().join("run"), folder.path().join("packed"));
    let made = dataset(plan(), |spec| synthetic::realistic(spec, 10));
    for record in &made.records {
        let whole = synthetic::realistic(record.spec.clone(), 10);
        let path = run.join("trials").join(record.spec.file_name());
        write_whole(&path, &document::to_json(&whole)).unwrap();
    }
    write_whole(&run.join("run.json"), &document::to_json(&made.manifest)).unwrap();
    let first = Dataset::load(&run).unwrap();
    sockrates_report::pack(&first, &packed).unwrap();
    let second = Dataset::load(&packed).unwrap();
    assert_eq!(reasons(&second), "");
    sockrates_report::write(&run, &first).unwrap();
    sockrates_report::write(&packed, &second).unwrap();
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
    for name in [
        "summary.json",
        "summary.csv",
        "histograms.hlog",
        "report.md",
        "report.html",
    ] {
        assert!(read(&run, name) == read(&packed, name), "{name}");
    }
    assert!(
        read(&run, "charts/time-series-tiny-c1.svg")
            == read(&packed, "charts/time-series-tiny-c1.svg")
    );
    let again = sockrates_report::pack(&first, &packed).unwrap_err();
    assert!(again.to_string().contains("is there already"), "{again}");
}

#[test]
fn hostile_packed_files_are_listed_and_take_no_memory() {
    let run = tempfile::tempdir().unwrap();
    let made = whole();
    save(&made, run.path());
    let file = |name: &str| run.path().join("trials").join(name);
    let bomb = deflate(&vec![b' '; 65 << 20]);
    assert!(bomb.len() < 1 << 20);
    write_whole(&file("bomb.json.gz"), &bomb).unwrap();
    write_whole(&file("torn.json.gz"), &bomb[..bomb.len() / 2]).unwrap();
    write_whole(&file("plain.json.gz"), b"{}").unwrap();
    write_whole(
        &file("two.json.gz"),
        &deflate(b"{}\n{\"schema_version\": 99}\n"),
    )
    .unwrap();
    let loaded = Dataset::load(run.path()).unwrap();
    assert_eq!(loaded.records.len(), TRIALS);
    let reasons = reasons(&loaded);
    for told in [
        "bomb.json.gz: it does not inflate: it is larger than 64 MiB",
        "torn.json.gz: it does not inflate",
        "plain.json.gz: it does not inflate",
        "two.json.gz, record 1: ",
        "two.json.gz, record 2: trial-record has schema version 99",
    ] {
        assert!(reasons.contains(told), "{told}: {reasons}");
    }
}
