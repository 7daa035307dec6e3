//! Two runs, or two lanes, side by side: what is found, what is refused, and how it is told.

#![allow(
    clippy::assigning_clones,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "fabricated runs: small positive times, and facts set once"
)]

use std::collections::BTreeMap;

use serde_json::Value;
use sockrates_core::lane::Lane;
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{Metric, TrialRecord, Wire};
use sockrates_report::{Charts, CompareError, Dataset, SideBySide, compare_lanes, compare_runs};

use crate::synthetic::{self, constant, dataset, planned_echo};

const LANES: [&str; 3] = ["tcp-persistent", "http1-persistent", "websocket-persistent"];

/// A trial with one time per lane that wavers by a few tenths of a percent from block to block, longer by `factor`.
fn steady(spec: TrialSpec, factor: f64) -> TrialRecord {
    let lane = spec.cell.lane.to_string();
    let ns = match lane.as_str() {
        "tcp-persistent" => 20e3,
        "http1-persistent" | "http1-persistent@null" => 30e3,
        _ => 25e3,
    };
    let waver = 1.0 + f64::from((spec.block * 7 + spec.cell.connections) % 5) * 0.002;
    let count = (1e8 / (ns * factor)) as u64;
    let times = constant((ns * factor * waver) as u64, count);
    synthetic::record(spec, BTreeMap::from([(Metric::ServiceTime, times)]))
}

/// A run in which these lanes are slower by a factor.
fn run(name: &str, blocks: u32, factor_of: impl Fn(&str) -> f64) -> Dataset {
    let mut run = dataset(planned_echo(&LANES, &[1], blocks), |spec| {
        let factor = factor_of(&spec.cell.lane.to_string());
        steady(spec, factor)
    });
    name.clone_into(&mut run.manifest.run_id);
    run
}

fn elsewhere(mut run: Dataset) -> Dataset {
    run.manifest.fingerprint.id = "0badcafe".to_owned();
    run.manifest.fingerprint.cpu_model = "Another CPU".to_owned();
    run
}

fn json(compared: &SideBySide) -> Value {
    serde_json::from_str(&serde_json::to_string(compared).unwrap()).unwrap()
}

fn rows(compared: &SideBySide) -> Vec<Value> {
    let points = json(compared)["load_points"].as_array().unwrap().clone();
    points
        .iter()
        .flat_map(|point| point["comparisons"].as_array().unwrap().clone())
        .collect()
}

/// Finds a lane's row of the p50: the time itself, or as a multiple of another lane's.
fn p50(compared: &SideBySide, lane: &str, relative_to: Option<&str>) -> Value {
    let is_it = |row: &&Value| {
        row["lane_b"] == lane
            && row["metric"] == "service_time_p50"
            && row["relative_to"] == Value::from(relative_to)
    };
    rows(compared).iter().find(is_it).unwrap().clone()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lane(name: &str) -> Lane {
    name.parse().unwrap()
}

#[test]
fn equal_runs_do_not_differ() {
    let compared = compare_runs(&run("a", 8, |_| 1.0), &run("b", 8, |_| 1.0)).unwrap();
    let rows = rows(&compared);
    // Four lanes with four numbers, and three lanes as multiples of each of two references.
    assert_eq!(rows.len(), 4 * 4 + 2 * 3 * 4);
    assert!(rows.iter().all(|row| row["verdict"] == "equivalent"));
    assert!(compared.text().contains("differ by whatever the machine"));
    let realistic = |name: &str, seed| {
        let mut plan = planned_echo(&LANES, &[1, 4], 6);
        plan.seed = seed;
        let mut run = dataset(plan, |spec| synthetic::realistic(spec, 50));
        name.clone_into(&mut run.manifest.run_id);
        run
    };
    let compared = compare_runs(&realistic("a", 1), &realistic("b", 2)).unwrap();
    let verdicts = self::rows(&compared);
    assert!(verdicts.iter().all(|row| row["verdict"] != "different"));
}

#[test]
fn a_slower_lane_is_found() {
    let slow = |lane: &str| {
        if lane == "websocket-persistent" {
            1.2
        } else {
            1.0
        }
    };
    let compared = compare_runs(&run("a", 8, |_| 1.0), &run("b", 8, slow)).unwrap();
    let row = p50(&compared, "websocket-persistent", None);
    assert_eq!(row["verdict"], "different");
    let ratio = row["ratio"]["value"].as_f64().unwrap();
    assert!((ratio - 1.2).abs() < 0.01, "{ratio}");
    let row = p50(&compared, "websocket-persistent", Some("http1-persistent"));
    assert_eq!(row["verdict"], "different");
    assert_eq!(
        p50(&compared, "http1-persistent", None)["verdict"],
        "equivalent"
    );
}

#[test]
fn another_machine_leaves_ratios_only() {
    // Twice as slow as a whole: no lane is to blame.
    let (a, b) = (run("a", 8, |_| 1.0), elsewhere(run("b", 8, |_| 2.0)));
    let compared = compare_runs(&a, &b).unwrap();
    let document = json(&compared);
    assert_eq!(document["is_absolute"], false);
    let differing = document["fingerprint_differences"].as_array().unwrap();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert_eq!(differing[0]["field"], "cpu_model");
    assert_eq!(differing[0]["b"], "Another CPU");
    let rows = rows(&compared);
    assert!(!rows.is_empty() && rows.iter().all(|row| !row["relative_to"].is_null()));
    let row = p50(&compared, "websocket-persistent", Some("tcp-persistent"));
    assert_eq!(row["verdict"], "equivalent");
    let text = compared.text();
    assert!(
        one_line(&text).contains("Times and rates are not compared: the runs differ in cpu_model")
            && text.contains("Another CPU"),
        "{text}"
    );
    assert!(compared.charts(&a, &b).is_empty());
}

#[test]
fn lanes_of_a_run_are_paired() {
    let run = run("a", 8, |_| 1.0);
    let (a, b) = (lane("http1-persistent"), lane("websocket-persistent"));
    let compared = compare_lanes(&run, &a, &b).unwrap();
    let row = p50(&compared, "websocket-persistent", None);
    assert_eq!(row["verdict"], "different");
    let ratio = row["ratio"]["value"].as_f64().unwrap();
    assert!((ratio - 25.0 / 30.0).abs() < 0.01, "{ratio}");
    assert!(row["difference"]["value"].as_f64().unwrap() < -4_000.0);
    assert_eq!(
        compared.folder_name(),
        "http1-persistent--websocket-persistent"
    );
    let unknown = compare_lanes(&run, &a, &lane("quic-persistent")).unwrap_err();
    let message = unknown.to_string();
    assert!(
        message.contains("`quic-persistent`") && message.contains("tcp-persistent, "),
        "{message}"
    );
}

#[test]
fn too_few_blocks_are_said_to_be_too_few() {
    let (a, b) = (run("a", 2, |_| 1.0), run("b", 3, |_| 1.0));
    let compared = compare_runs(&a, &b).unwrap();
    let row = p50(&compared, "tcp-persistent", None);
    assert!(row["ratio"].is_null() && row["values"].is_null());
    assert!(compared.text().contains("too few blocks"));
    let compared = compare_lanes(&a, &lane("http1-persistent"), &lane("tcp-persistent")).unwrap();
    assert!(compared.text().contains("too few blocks"));
}

#[test]
fn cells_that_are_not_the_same_are_listed() {
    let a = run("a", 4, |_| 1.0);
    let plan = planned_echo(&["tcp-persistent", "http1-per-request"], &[1], 4);
    let b = dataset(plan, |spec| steady(spec, 1.0));
    let compared = compare_runs(&a, &b).unwrap();
    let text = compared.text();
    assert!(
        text.contains("tiny.websocket-persistent.c1: only in A"),
        "{text}"
    );
    assert!(
        text.contains("tiny.http1-per-request.c1: only in B"),
        "{text}"
    );
    let mut other = planned_echo(&LANES, &[1], 4);
    for cell in &mut other.cells {
        cell.timing.window_ms += 1;
    }
    let error = compare_runs(&a, &dataset(other, |spec| steady(spec, 1.0))).unwrap_err();
    assert!(matches!(error, CompareError::NoSharedCell { .. }));
    assert!(
        error.to_string().contains("4 defined differently: timing"),
        "{error}"
    );
}

#[test]
fn nothing_is_concluded_from_a_run_that_concludes_nothing() {
    // Two copies of one lane that differ.
    let odd = |lane: &str| if lane.ends_with("@null") { 1.3 } else { 1.0 };
    let compared = compare_runs(&run("a", 8, |_| 1.0), &run("odd", 8, odd)).unwrap();
    let rows = rows(&compared);
    assert!(rows.iter().all(|row| row["verdict"] == "inconclusive"));
    let text = one_line(&compared.text());
    assert!(
        text.contains("Run odd is inconclusive, so every verdict here is: two copies"),
        "{text}"
    );
}

#[test]
fn counts_are_compared_between_machines() {
    let counted = |bytes: u64| {
        let mut plan = planned_echo(&["http1-persistent"], &[1], 2);
        for cell in &mut plan.cells {
            cell.operations = Some(1000);
        }
        dataset(plan, |spec| {
            let mut record = steady(spec, 1.0);
            let measurement = record.measurement.as_mut().unwrap();
            let done = measurement.operations.verified + measurement.warm_up.verified;
            measurement.wire = Some(Wire {
                connections: 1,
                bytes_sent: done * bytes,
                bytes_received: done * 100,
                ..Wire::default()
            });
            record
        })
    };
    let compared = compare_runs(&counted(64), &elsewhere(counted(68))).unwrap();
    let document = json(&compared);
    let counts = &document["load_points"][0]["counts"];
    let verdict = |name: &str| {
        let counts = counts.as_array().unwrap();
        let count = counts.iter().find(|count| count["count"] == name).unwrap();
        (count["verdict"].clone(), count["b_per_operation"].clone())
    };
    assert_eq!(verdict("bytes_sent"), ("different".into(), 68.0.into()));
    assert_eq!(verdict("bytes_received").0, "equivalent");
    assert!(compared.text().contains("bytes sent"));
}

#[test]
fn all_fits_its_page() {
    let (a, b) = (run("a", 8, |_| 1.0), run("b|<i>", 8, |_| 1.3));
    let of_lanes =
        compare_lanes(&a, &lane("http1-persistent"), &lane("websocket-persistent")).unwrap();
    for compared in [compare_runs(&a, &b).unwrap(), of_lanes] {
        let text = compared.text();
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        let page = compared.markdown();
        assert!(page.starts_with("Made by: `sockrates compare "), "{page}");
        assert!(!page.contains("<i>"), "{page}");
        // Every line of a table has as many cells as its heading.
        for table in page.split("\n\n").filter(|part| part.starts_with("| ")) {
            let cells = |line: &str| line.replace("\\|", "").matches('|').count();
            let width = cells(table.lines().next().unwrap());
            assert!(table.lines().all(|line| cells(line) == width), "{table}");
        }
    }
}

#[test]
fn pictures_stand_beside_the_page() {
    let plan = |seed| {
        let mut plan = planned_echo(&LANES, &[1, 16], 6);
        plan.seed = seed;
        dataset(plan, |spec| synthetic::realistic(spec, 20))
    };
    let (a, b) = (plan(3), plan(4));
    let compared = compare_runs(&a, &b).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let charts = compared.charts(&a, &b);
    assert_eq!(charts.len(), 3);
    compared.write(folder.path(), &charts).unwrap();
    let page = std::fs::read_to_string(folder.path().join("compare.md")).unwrap();
    for stem in ["percentiles-tiny-c1", "percentiles-tiny-c16", "ratios"] {
        assert!(page.contains(&format!("({stem}.svg)")), "{page}");
        let svg = std::fs::read_to_string(folder.path().join(format!("{stem}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("made by: sockrates compare"));
        let png = std::fs::read(folder.path().join(format!("{stem}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
    let without = tempfile::tempdir().unwrap();
    compared.write(without.path(), &Charts::default()).unwrap();
    assert_eq!(std::fs::read_dir(without.path()).unwrap().count(), 1);
}
