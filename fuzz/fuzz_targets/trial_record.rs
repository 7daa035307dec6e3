//! A trial's record from a file, and what a report makes of it.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use sockrates_core::document;
use sockrates_core::manifest::RunManifest;
use sockrates_core::plan::Plan;
use sockrates_core::record::TrialRecord;
use sockrates_report::{Dataset, summarize, terminal};

const MANIFEST: &[u8] = include_bytes!("../../crates/core/tests/fixtures/run-manifest.v4.json");
/// Drawing more arrivals takes longer than one input is worth.
const FEW: f64 = 1e6;

fuzz_target!(|json: &[u8]| {
    let Ok(record) = document::parse::<TrialRecord>(json) else {
        return;
    };
    let again = document::to_json(&record);
    assert_eq!(
        document::parse::<TrialRecord>(&again).ok().as_ref(),
        Some(&record)
    );
    if record.check_books().is_err() || arrivals(&record) > FEW {
        return;
    }
    let mut plan = Plan::of_cells("fuzz", vec![record.spec.cell.clone()], 1, 1);
    plan.blocks = vec![vec![0]; 3];
    let manifest = RunManifest {
        plan,
        ..document::parse(MANIFEST).expect("it is one of ours")
    };
    let trials = (0..3).map(|block| {
        let mut trial = record.clone();
        trial.spec.block = block;
        trial
    });
    let dataset = Dataset::new(
        manifest,
        trials.collect(),
        vec![(PathBuf::from("x"), String::new())],
    );
    let summary = summarize(&dataset);
    let text = terminal(&dataset, &summary);
    assert!(
        !text.contains(|c: char| c != '\n' && c.is_control()),
        "{text:?}"
    );
});

fn arrivals(record: &TrialRecord) -> f64 {
    let cell = &record.spec.cell;
    let rate = cell
        .load
        .offered_per_second(cell.connections)
        .unwrap_or(0.0);
    let spans = record.measurement.as_ref().map(|measured| measured.spans);
    let ns = spans.map_or(0, |spans| spans.window_end_ns - spans.start_ns);
    rate * ns as f64 / 1e9
}
