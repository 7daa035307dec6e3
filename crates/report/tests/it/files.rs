//! What is written can be read: by programs, by other tools, and again by this crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use sockrates_core::document::{self, Document};
use sockrates_core::record::{Metric, TrialRecord};
use sockrates_core::summary::Summary;
use sockrates_report::{Dataset, LoadError};

use crate::synthetic::{self, constant, dataset, echo_plan, quick, realistic, record, save};

fn written(dataset: &Dataset, run: &Path) -> Summary {
    sockrates_report::write(run, dataset).unwrap()
}

#[test]
fn a_run_survives_the_disk_and_everything_is_written() {
    let run = tempfile::tempdir().unwrap();
    // Six blocks are the fewest that give intervals.
    let made = dataset(quick(6), |spec| realistic(spec, 25));
    // Slices are condensed in memory, so the folder gets records of its own.
    for record in &made.records {
        let whole = realistic(record.spec.clone(), 25);
        let path = run.path().join("trials").join(record.spec.file_name());
        sockrates_core::files::write_whole(&path, &document::to_json(&whole)).unwrap();
    }
    let manifest = document::to_json(&made.manifest);
    sockrates_core::files::write_whole(&run.path().join("run.json"), &manifest).unwrap();
    let loaded = Dataset::load(run.path()).unwrap();
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    assert_eq!(loaded.records, made.records);
    let summary = written(&loaded, run.path());
    assert_eq!(summary, sockrates_report::summarize(&made));
    let charts = [
        "attribution-echo-closed-c1",
        "attribution-echo-closed-c32",
        "ratios",
        "break-even-echo-closed",
        "blocks-echo-closed-c1",
        "blocks-echo-closed-c32",
        "honesty-echo-open-c16",
        "throughput",
        "percentiles-echo-closed-c1",
        "percentiles-echo-closed-c32",
        "percentiles-echo-open-c16",
        "connections",
        "phases",
        "time-series-echo-closed-c1",
        "time-series-echo-closed-c32",
        "time-series-echo-open-c16",
        "news-cost-news-c200",
        "staleness",
    ];
    let names = [
        "summary.json",
        "summary.csv",
        "histograms.hlog",
        "report.md",
        "report.html",
    ];
    let charts = charts
        .iter()
        .flat_map(|stem| ["svg", "png"].map(|end| format!("charts/{stem}.{end}")));
    let mut expected: Vec<String> = names.map(str::to_owned).into_iter().chain(charts).collect();
    for name in &expected {
        let file = fs::metadata(run.path().join(name));
        let size = file.unwrap_or_else(|error| panic!("{name}: {error}")).len();
        assert!(size > 500, "{name} has {size} bytes");
    }
    expected.retain(|name| name.starts_with("charts/"));
    let drawn = fs::read_dir(run.path().join("charts")).unwrap();
    let drawn: BTreeSet<_> = drawn
        .map(|file| format!("charts/{}", file.unwrap().file_name().display()))
        .collect();
    assert_eq!(drawn, expected.into_iter().collect());
}

#[test]
fn the_summary_follows_its_schema() {
    let run = tempfile::tempdir().unwrap();
    let summary = written(&dataset(quick(1), |spec| realistic(spec, 50)), run.path());
    let json = fs::read(run.path().join("summary.json")).unwrap();
    assert_eq!(document::parse::<Summary>(&json).unwrap(), summary);
    let schema = include_str!("../../../core/schema/summary.v5.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    validator
        .validate(&serde_json::from_slice(&json).unwrap())
        .unwrap();
    assert_eq!(summary.command, "sockrates report 20260921T132640Z-6f8eec1");
}

#[test]
fn the_table_has_units_in_its_columns_and_whole_nanoseconds() {
    let run = tempfile::tempdir().unwrap();
    let service = |spec| {
        record(
            spec,
            BTreeMap::from([(Metric::ServiceTime, constant(12_345, 1000))]),
        )
    };
    written(
        &dataset(echo_plan(&["http1-persistent"], &[1], 2), service),
        run.path(),
    );
    let mut table = csv::Reader::from_path(run.path().join("summary.csv")).unwrap();
    let header = table.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let rows: Vec<_> = table.records().map(Result::unwrap).collect();
    let row = |metric: &str| {
        rows.iter()
            .find(|row| &row[column("metric")] == metric)
            .unwrap()
    };
    assert_eq!(&row("service_time_max")[column("value_ns")], "12345");
    assert_eq!(
        &row("service_time_max")[column("value_operations_per_second")],
        ""
    );
    assert_eq!(
        &row("throughput")[column("value_operations_per_second")],
        "2000.000"
    );
    assert_eq!(
        &row("cpu_per_operation")[column("value_cpu_ns_per_operation")],
        "10503"
    );
    assert_eq!(&row("service_time_p99_9")[column("value_ns")], "");
    assert_eq!(
        &row("throughput")[column("rebuild_command")],
        "sockrates report 20260921T132640Z-6f8eec1"
    );
}

#[test]
fn the_interval_log_gives_the_histograms_back() {
    let run = tempfile::tempdir().unwrap();
    let made = dataset(
        echo_plan(&["http1-persistent", "http1-per-request"], &[1], 2),
        |spec| realistic(spec, 50),
    );
    written(&made, run.path());
    let log = fs::read(run.path().join("histograms.hlog")).unwrap();
    let text = String::from_utf8(log.clone()).unwrap();
    assert!(
        text.starts_with("#rebuild: sockrates report 20260921T132640Z-6f8eec1\n"),
        "{}",
        &text[..200]
    );
    let (mut found, mut base) = (BTreeMap::new(), None);
    for entry in IntervalLogIterator::new(&log) {
        match entry.unwrap() {
            LogEntry::Interval(line) => {
                let histogram: Histogram<u64> = decoded(line.encoded_histogram());
                found.insert(
                    line.tag().unwrap().as_str().to_owned(),
                    (histogram, line.duration()),
                );
            }
            LogEntry::BaseTime(time) => base = Some(time),
            LogEntry::StartTime(_) => {}
        }
    }
    assert_eq!(base.unwrap().as_millis(), u128::from(synthetic::STARTED_MS));
    let mut expected = 0;
    for record in &made.records {
        let measurement = record.measurement.as_ref().unwrap();
        for (metric, histogram) in &measurement.histograms {
            let tag = format!(
                "{}.{}.b{}",
                metric.name(),
                record.spec.cell.id,
                record.spec.block
            );
            let (stored, duration) = &found[&tag];
            assert_eq!(stored, histogram.counts(), "{tag}");
            assert_eq!(duration.as_millis(), 500);
            expected += 1;
        }
    }
    assert_eq!(found.len(), expected);
}

fn decoded(base64: &str) -> Histogram<u64> {
    let bytes = STANDARD.decode(base64).unwrap();
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .unwrap()
}

#[test]
fn a_damaged_trial_is_listed_and_the_others_count() {
    let run = tempfile::tempdir().unwrap();
    let service = |spec| {
        record(
            spec,
            BTreeMap::from([(Metric::ServiceTime, constant(10_000, 1000))]),
        )
    };
    let made = dataset(echo_plan(&["http1-persistent"], &[1], 4), service);
    save(&made, run.path());
    let file = |index: usize| {
        run.path()
            .join("trials")
            .join(made.records[index].spec.file_name())
    };
    let replace = |path: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from));
        sockrates_core::files::write_whole(path, text.replacen(from, to, 1).as_bytes()).unwrap();
    };
    replace(&file(0), "{", "");
    let version = format!("\"schema_version\": {}", TrialRecord::VERSION);
    replace(&file(1), &version, "\"schema_version\": 99");
    fs::copy(file(2), run.path().join("trials/copy.json")).unwrap();
    sockrates_core::files::write_whole(&run.path().join("trials/.hidden.json"), b"{").unwrap();
    let loaded = Dataset::load(run.path()).unwrap();
    assert_eq!(loaded.records.len(), 2);
    let reasons: Vec<_> = loaded
        .damaged
        .iter()
        .map(|(path, why)| format!("{}: {why}", path.display()))
        .collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons[0].starts_with(
            "trials/0000-tiny.http1-persistent.c1.b0.json: not a readable trial-record"
        )
    );
    assert!(reasons[1].contains("use a newer sockrates"));
    assert!(reasons[2].contains("copy.json: another file holds the same cell"));
    written(&loaded, run.path());
    let page = fs::read_to_string(run.path().join("report.html")).unwrap();
    assert!(page.contains("3 trial files could not be used"));
}

#[test]
fn records_that_cannot_be_are_listed_with_the_reason() {
    let run = tempfile::tempdir().unwrap();
    let service = |spec| {
        record(
            spec,
            BTreeMap::from([(Metric::ServiceTime, constant(10_000, 1000))]),
        )
    };
    let mut made = dataset(echo_plan(&["http1-persistent"], &[1], 6), service);
    for (index, spoil) in [
        (0, |record: &mut TrialRecord| {
            record.measurement.as_mut().unwrap().operations.issued += 1;
        }),
        (1, |record: &mut TrialRecord| {
            let measured = record.measurement.as_mut().unwrap();
            measured.operations.verified += 1;
            measured.operations.issued += 1;
        }),
        (2, |record: &mut TrialRecord| {
            record.measurement.as_mut().unwrap().client.cpu_user_ns = u64::MAX;
        }),
    ] as [(usize, fn(&mut TrialRecord)); 3]
    {
        spoil(&mut made.records[index]);
    }
    save(&made, run.path());
    let file = |name: &str| run.path().join("trials").join(name);
    // What is no file, what has no end, and what is too large to be looked at.
    let _socket = std::os::unix::net::UnixListener::bind(file("socket.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", file("zero.json")).unwrap();
    let large = fs::File::create_new(file("large.json")).unwrap();
    large.set_len(65 << 20).unwrap();
    let loaded = Dataset::load(run.path()).unwrap();
    assert_eq!(loaded.records.len(), 3);
    let reason = |name: &str| {
        let found = loaded.damaged.iter();
        let found = found
            .filter(|(path, _)| path.display().to_string().contains(name))
            .map(|(_, reason)| reason.as_str());
        found.collect::<String>()
    };
    for (name, told) in [
        (
            "0000-",
            "`operations` do not add up: 1001 issued, and 1000 verified",
        ),
        (
            "0001-",
            "`service_time` holds 1000 times, and 1001 operations were verified",
        ),
        ("0002-", "`client` holds a number beyond"),
        ("socket", "no regular file"),
        ("zero", "no regular file"),
        ("large", "larger than 64 MiB"),
    ] {
        assert!(reason(name).contains(told), "{name}: {}", reason(name));
    }
    written(&loaded, run.path());
    let page = fs::read_to_string(run.path().join("report.md")).unwrap();
    assert!(page.contains("6 trial files could not be used") && page.contains("do not add up"));
}

#[test]
fn what_is_no_run_is_said_with_the_remedy() {
    let run = tempfile::tempdir().unwrap();
    let error = || Dataset::load(run.path()).unwrap_err();
    assert!(matches!(error(), LoadError::NotARun(_)));
    assert!(error().to_string().contains("holds no run.json"));
    let manifest = run.path().join("run.json");
    sockrates_core::files::write_whole(&manifest, b"{\"schema_version\": 99}").unwrap();
    assert!(matches!(error(), LoadError::TooNew { .. }));
    assert!(error().to_string().contains("use a newer sockrates"));
    sockrates_core::files::write_whole(&manifest, b"{\"schema_version\": 1").unwrap();
    assert!(matches!(error(), LoadError::Damaged { .. }));
    assert!(error().to_string().contains("run.json is damaged"));
}

/// A run's folder from elsewhere may hold links to what is nobody's business.
#[test]
fn links_in_a_runs_folder_are_replaced_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (run, mine) = (folder.path().join("run"), folder.path().join("mine"));
    fs::create_dir_all(mine.join("pictures")).unwrap();
    fs::create_dir(&run).unwrap();
    let text = mine.join("text");
    sockrates_core::files::write_whole(&text, b"precious").unwrap();
    std::os::unix::fs::symlink(&text, run.join("report.md")).unwrap();
    std::os::unix::fs::symlink(mine.join("pictures"), run.join("charts")).unwrap();
    written(&dataset(quick(2), |spec| realistic(spec, 25)), &run);
    assert_eq!(fs::read(&text).unwrap(), b"precious");
    assert_eq!(fs::read_dir(mine.join("pictures")).unwrap().count(), 0);
    assert!(fs::read_dir(run.join("charts")).unwrap().count() > 0);
}
