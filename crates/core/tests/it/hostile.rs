//! Documents and scenarios from nobody knows where: refused with a reason, or harmless to compute with.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use sockrates_core::document::{self, Document, DocumentError};
use sockrates_core::histogram::Histogram;
use sockrates_core::manifest::RunManifest;
use sockrates_core::plan::{Placement, Plan, Target, TrialSpec};
use sockrates_core::record::TrialRecord;
use sockrates_core::run_result::RunResult;
use sockrates_core::scenario::Scenario;
use sockrates_core::verdict;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Puts a value into a fixture, and returns why it is refused.
fn refused<D: Document>(name: &str, place: &str, value: Value) -> String {
    let mut document = fixture(name);
    *document
        .pointer_mut(place)
        .unwrap_or_else(|| panic!("{place}")) = value;
    match document::parse::<D>(document.to_string().as_bytes()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{place} is accepted"),
    }
}

#[test]
fn numbers_that_would_hurt_are_refused() {
    let record = |place, value| refused::<TrialRecord>("trial-record.v4", place, value);
    for (place, value, told) in [
        (
            "/measurement/operations/verified",
            json!(u64::MAX),
            "`operations`",
        ),
        (
            "/measurement/client/cpu_user_ns",
            json!(u64::MAX),
            "`client`",
        ),
        ("/measurement/wire/bytes_sent", json!(1u64 << 51), "`wire`"),
        ("/measurement/spans/start_ns", json!(u64::MAX), "`spans`"),
        ("/measurement/spans/window_end_ns", json!(0), "`spans`"),
        ("/measurement/slices/width_ns", json!(0), "width_ns"),
        ("/started_unix_ms", json!(u64::MAX), "9999"),
        ("/spec/cell/connections", json!(0), "`connections`"),
        ("/spec/cell/connections", json!(u32::MAX), "`connections`"),
        (
            "/spec/cell/load/rate_per_second",
            json!(1e300),
            "rate_per_second",
        ),
        (
            "/spec/cell/load/rate_per_second",
            json!(-1.0),
            "rate_per_second",
        ),
        ("/spec/cell/timing/window_ms", json!(u32::MAX), "window_ms"),
        (
            "/spec/cell/lane",
            json!("x".repeat(100) + "-persistent"),
            "not a lane",
        ),
    ] {
        let message = record(place, value);
        assert!(message.contains(told), "{place}: {message}");
    }
    let manifest = |place, value| refused::<RunManifest>("run-manifest.v4", place, value);
    assert!(manifest("/plan/blocks/0/0", json!(1_000_000)).contains("`plan.blocks`"));
    assert!(manifest("/started_unix_ms", json!(u64::MAX)).contains("9999"));
    let rooms = json!({ "kind": "fanout", "room_members": 0, "payload_bytes": 1 });
    assert!(manifest("/plan/cells/0/workload", rooms).contains("cell"));
    let spec = |place, value| refused::<TrialSpec>("trial-spec.v4", place, value);
    assert!(spec("/cell/timing/drain_ms", json!(u32::MAX)).contains("drain_ms"));
    let result = |place, value| refused::<RunResult>("run-result.v1", place, value);
    assert!(result("/operations/issued", json!(1)).contains("do not add up"));
    assert!(result("/operations/verified", json!(u64::MAX)).contains("do not add up"));
    assert!(result("/failures", json!({ "timed_out": 1 })).contains("`failures`"));
}

#[test]
fn a_course_has_so_many_slices_and_no_more() {
    let slice = serde_json::to_value(Histogram::new()).unwrap();
    let with = |count: usize| {
        let mut record = fixture("trial-record.v4");
        record["measurement"]["slices"]["histograms"] = vec![slice.clone(); count].into();
        document::parse::<TrialRecord>(record.to_string().as_bytes())
    };
    assert!(with(600).is_ok());
    let message = with(601).unwrap_err().to_string();
    assert!(message.contains("up to 600 histograms"), "{message}");
}

#[test]
fn what_has_another_shape_is_an_error_in_every_version() {
    for version in 1..=TrialRecord::VERSION {
        for record in [
            json!([version]),
            json!({ "schema_version": version, "spec": 5 }),
            json!({ "schema_version": version, "spec": [], "measurement": [] }),
            json!({ "schema_version": version }),
        ] {
            let json = record.to_string();
            assert!(
                document::parse::<TrialRecord>(json.as_bytes()).is_err(),
                "{json}"
            );
        }
    }
}

#[test]
fn books_that_do_not_balance_are_told() {
    let books = |place: &str, value: Value| {
        let mut record = fixture("trial-record.v4");
        *record.pointer_mut(place).unwrap() = value;
        let record: TrialRecord = document::parse(record.to_string().as_bytes()).unwrap();
        record.check_books()
    };
    books("/spec/index", json!(1)).unwrap();
    let told = |place, value| books(place, value).unwrap_err();
    assert!(
        told("/measurement/operations/issued", json!(31)).contains("31 issued, and 30 verified")
    );
    assert!(told("/measurement/operations/unfinished", json!(1)).contains("do not add up"));
    assert!(
        told("/measurement/operations/failed", json!({ "timed_out": 1 })).contains("do not add up")
    );
    assert!(told("/measurement/warm_up/verified", json!(1000)).contains("`warm_up`"));
    let none = serde_json::to_value(Histogram::new()).unwrap();
    let message = told("/measurement/histograms/service_time", none.clone());
    assert!(
        message.contains("`service_time` holds 0 times, and 30 operations"),
        "{message}"
    );
    let message = told("/measurement/histograms/response_time", none.clone());
    assert!(message.contains("`response_time`"), "{message}");
    let message = told("/measurement/slices/histograms", json!([none]));
    assert!(message.contains("`slices` holds 0 times"), "{message}");
    // Of what is pushed, slices and histogram tell the same.
    let mut pushed = fixture("trial-record.v3");
    pushed["measurement"]["slices"]["histograms"] = json!([Histogram::new()]);
    let pushed: TrialRecord = document::parse(pushed.to_string().as_bytes()).unwrap();
    let message = pushed.check_books().unwrap_err();
    assert!(message.contains("`staleness` holds"), "{message}");
}

/// Judging a schedule that would take hours to draw takes no time and no memory.
#[test]
fn an_endless_schedule_is_not_drawn() {
    let mut record = fixture("trial-record.v4");
    let load = json!({ "model": "open-poisson", "rate_per_second": 10e6 });
    record["spec"]["cell"]["load"] = load;
    let spans = &mut record["measurement"]["spans"];
    for (name, ns) in [("start_ns", 0), ("window_start_ns", 0)] {
        spans[name] = json!(ns);
    }
    let hour_ns = 3_600_000_000_000u64;
    spans["window_end_ns"] = json!(hour_ns);
    spans["end_ns"] = json!(hour_ns);
    let parsed =
        |record: &Value| document::parse::<TrialRecord>(record.to_string().as_bytes()).unwrap();
    let few = parsed(&record);
    assert!(verdict::faults(&few).contains(&verdict::Flag::WrongSchedule));
    record["measurement"]["operations"]["issued"] = json!(36_000_000_000u64);
    record["measurement"]["warm_up"]["issued"] = json!(0);
    let likely = parsed(&record);
    assert!(!verdict::faults(&likely).contains(&verdict::Flag::WrongSchedule));
}

#[test]
fn a_scenario_of_endless_cells_is_refused() {
    let connections: Vec<u32> = (1..=60_000).collect();
    let text = format!(
        "name = 'x'\nquestion = ''\nanalysis = ''\nlanes = ['http1-persistent']\nconnections = {connections:?}\n\
         load = {{ model = 'closed' }}\nworkload = {{ kind = 'echo', payload = 'text', payload_bytes = 1 }}"
    );
    let message = Scenario::parse(&text).unwrap_err().to_string();
    assert!(
        message.contains("60000 cells") && message.contains("at most 1000"),
        "{message}"
    );
}

#[test]
fn a_record_is_named_after_its_cell_and_stays_in_its_folder() {
    let mut spec: TrialSpec =
        document::parse(fixture("trial-spec.v4").to_string().as_bytes()).unwrap();
    spec.cell.id = "../../etc/x\n\u{202e}".to_owned() + &"y".repeat(1000);
    let name = spec.file_name();
    assert!(
        !name.contains(['/', '\n', '\u{202e}']) && name.len() < 200,
        "{name}"
    );
}

/// What a report asks of any record.
fn judge(record: &TrialRecord) {
    let _ = record.check_books();
    let _ = (verdict::is_valid(record), verdict::flags(record));
    let again: Result<TrialRecord, DocumentError> = document::parse(&document::to_json(record));
    assert_eq!(again.unwrap(), *record);
}

/// Changes a value somewhere in a document.
fn changed(mut document: Value, path: &[prop::sample::Index], value: &Value) -> Value {
    let mut here = &mut document;
    for step in path {
        let count = match &*here {
            Value::Object(all) => all.len(),
            Value::Array(all) => all.len(),
            _ => 0,
        };
        if count == 0 {
            break;
        }
        let at = step.index(count);
        here = match here {
            Value::Object(all) => all.values_mut().nth(at).unwrap(),
            Value::Array(all) => &mut all[at],
            _ => unreachable!("it has no parts"),
        };
    }
    *here = value.clone();
    document
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::from),
        (0u64..100).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn records_that_are_nearly_right_are_refused_or_judged(
        version in 1u32..=4,
        path in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        value in values(),
    ) {
        let record = changed(fixture(&format!("trial-record.v{version}")), &path, &value);
        if let Ok(record) = document::parse::<TrialRecord>(record.to_string().as_bytes()) {
            judge(&record);
        }
    }

    #[test]
    fn manifests_that_are_nearly_right_are_refused_or_harmless(
        version in 1u32..=4,
        path in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        value in values(),
    ) {
        let manifest = changed(fixture(&format!("run-manifest.v{version}")), &path, &value);
        if let Ok(manifest) = document::parse::<RunManifest>(manifest.to_string().as_bytes()) {
            let target = manifest.target();
            prop_assert!(manifest.plan.planned_seconds().is_finite());
            prop_assert_eq!(
                manifest.plan.trials(&manifest.placement, &target).count(),
                manifest.plan.trial_count()
            );
        }
    }

    #[test]
    fn any_bytes_are_no_record(bytes: Vec<u8>) {
        prop_assert!(document::parse::<TrialRecord>(&bytes).is_err());
        prop_assert!(document::parse::<RunManifest>(&bytes).is_err());
    }

    #[test]
    fn any_text_is_no_scenario(text: String) {
        prop_assert!(Scenario::parse(&text).is_err());
    }

    #[test]
    fn stored_histograms_that_are_nearly_right_are_refused_or_the_same(
        times in prop::collection::vec(0u64..100_000, 0..20),
        at: prop::sample::Index,
        byte in b'!'..b'~',
    ) {
        let mut histogram = Histogram::new();
        for ns in times {
            histogram.record(ns);
        }
        let mut json = serde_json::to_vec(&histogram).unwrap();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(read) = serde_json::from_slice::<Histogram>(&json) {
            let again = serde_json::to_vec(&read).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Histogram>(&again).unwrap(), read);
        }
    }

    #[test]
    fn scenarios_that_are_nearly_right_are_refused_or_planned(
        which: prop::sample::Index,
        at: prop::sample::Index,
        put in "[ -~\n]{0,12}",
        cut in 0usize..8,
    ) {
        let all = sockrates_core::profile::scenarios();
        let mut text = all[which.index(all.len())].to_toml();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(end) {
            text.replace_range(at..end, &put);
        }
        plan(&text);
    }
}

/// Plans what is a scenario.
fn plan(text: &str) {
    let Ok(scenario) = Scenario::parse(text) else {
        return;
    };
    assert_eq!(Scenario::parse(&scenario.to_toml()).unwrap(), scenario);
    let plan = Plan::new("x", &[scenario], 2, 1);
    let target = Target::Fresh {
        arguments: Vec::new(),
    };
    for spec in plan.trials(&Placement::default(), &target) {
        let again: TrialSpec = document::parse(&document::to_json(&spec)).unwrap();
        assert_eq!(again, spec);
    }
}

/// The seeds of the fuzz targets, and every input that one of them found a fault with.
#[test]
fn the_seeds_of_the_fuzz_targets_are_refused_or_harmless() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let seeds = |target| {
        let entries = std::fs::read_dir(corpus.join(target)).unwrap();
        entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
    };
    for json in seeds("trial_record") {
        if let Ok(record) = document::parse::<TrialRecord>(&json) {
            judge(&record);
        }
    }
    for text in seeds("scenario") {
        plan(&String::from_utf8_lossy(&text));
    }
}
