//! `check` and `report --check`: what must be red, what is refused, and what it says.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{json, manifest_version, scenario, sockrates, stderr};

const LANES: [&str; 3] = [
    "tcp-per-request",
    "http1-persistent",
    "websocket-persistent",
];
/// Exactly a hundred operations, in a window that no machine is too slow for.
const COUNTED: &str = "operations = 100\ntiming = { warm_up_ms = 0, window_ms = 60000 }";

/// Measures the counted scenario, and returns the run's folder.
fn measured(folder: &Path, name: &str, serve_with: &str) -> PathBuf {
    let file = scenario(folder, &LANES, COUNTED);
    let results = folder.join(name);
    sockrates()
        .arg("bench")
        .arg(file)
        .args(["--blocks", "2", "--quiet"])
        .arg(format!("--serve-with={serve_with}"))
        .arg("--results")
        .arg(&results)
        .assert()
        .success();
    std::fs::canonicalize(results.join("latest")).unwrap()
}

fn check(run: &Path, baseline: &Path, further: &[&str]) -> (i32, String, String) {
    let output = sockrates()
        .arg("check")
        .arg(run)
        .arg("--baseline")
        .arg(baseline)
        .args(further)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), text, stderr(&output))
}

#[test]
fn counts_match_exactly_and_ten_bytes_more_are_red() {
    let folder = tempfile::tempdir().unwrap();
    let reference = measured(folder.path(), "reference", "");
    let same = measured(folder.path(), "same", "");
    let (code, text, _) = check(&same, &reference, &["--counts-only"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("24 of 24 counts match exactly"), "{text}");

    let padded = measured(folder.path(), "padded", "--pad http1=10");
    let page = folder.path().join("summary.md");
    let further = ["--counts-only", "--markdown", page.to_str().unwrap()];
    let (code, text, message) = check(&padded, &reference, &further);
    assert_eq!(code, 5, "{text}");
    let red: Vec<_> = text
        .lines()
        .filter(|line| line.contains("DIFFERS"))
        .collect();
    assert_eq!(red.len(), 1, "{text}");
    assert!(red[0].contains("http1-persistent") && red[0].contains("bytes_received"));
    assert!(message.contains("differs from"), "{message}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("| DIFFERS |") && page.starts_with("## sockrates: DIFFERS"));
    let manifest = json(&padded.join("run.json"));
    assert_eq!(
        manifest["server_arguments"],
        serde_json::json!(["--pad", "http1=10"])
    );
}

#[test]
fn the_kernel_counts_what_the_protocols_say() {
    let folder = tempfile::tempdir().unwrap();
    let run = measured(folder.path(), "run", "");
    let mut seen = 0;
    for entry in std::fs::read_dir(run.join("trials")).unwrap() {
        let record = json(&entry.unwrap().path());
        let wire = &record["measurement"]["wire"];
        let count = |name: &str| wire[name].as_u64().unwrap();
        match record["spec"]["cell"]["lane"].as_str().unwrap() {
            // A head of 4 bytes and 64 of payload, both ways, on a connection each.
            "tcp-per-request" => {
                assert_eq!((count("bytes_sent"), count("bytes_received")), (6800, 6800));
                assert_eq!(
                    (count("connections"), count("data_segments_sent")),
                    (100, 100)
                );
            }
            // Frames of 2 + 4 + 64 and 2 + 64 bytes (RFC 6455), and a handshake on each of two connections.
            "websocket-persistent" => {
                assert_eq!(
                    (count("connections"), count("data_segments_sent")),
                    (2, 102)
                );
                assert!(count("bytes_sent") > 7000 && count("bytes_sent") < 7400);
                assert!(count("bytes_received") > 6600 && count("bytes_received") < 7000);
            }
            _ => assert_eq!(
                (count("connections"), count("data_segments_received")),
                (2, 100)
            ),
        }
        seen += 1;
    }
    assert!(seen >= 2 * LANES.len());
}

#[test]
fn what_cannot_be_checked_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let run = measured(folder.path(), "run", "");
    let nowhere = folder.path().join("nowhere");
    let (code, _, message) = check(&run, &nowhere, &[]);
    assert_eq!(code, 6);
    assert!(
        message.contains("nowhere") && message.contains("is no run"),
        "{message}"
    );

    let other = folder.path().join("other");
    std::fs::create_dir_all(&other).unwrap();
    let manifest = std::fs::read_to_string(run.join("run.json")).unwrap();
    let write = |name: &str, text: &str| {
        sockrates_core::files::write_whole(&other.join(name), text.as_bytes()).unwrap();
    };
    write(
        "run.json",
        &manifest.replacen(&manifest_version(), "\"schema_version\": 99", 1),
    );
    let (code, _, message) = check(&run, &other, &[]);
    assert_eq!(
        (code, message.contains("use a newer sockrates")),
        (6, true),
        "{message}"
    );
    write("run.json", &manifest[..manifest.len() / 2]);
    let (code, _, message) = check(&run, &other, &[]);
    assert_eq!(
        (code, message.contains("is damaged")),
        (6, true),
        "{message}"
    );
    // A run without one valid trial: all of its records are gone.
    write("run.json", &manifest);
    let (code, _, message) = check(&other, &run, &[]);
    assert_eq!(
        (code, message.contains("no valid trial")),
        (4, true),
        "{message}"
    );
}

#[test]
fn a_truncated_record_is_left_out_and_the_others_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let run = measured(folder.path(), "run", "");
    // All attempts: on a busy machine there may be several.
    let mut truncated = 0;
    for entry in std::fs::read_dir(run.join("trials")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("0000-") {
            let text = std::fs::read(&path).unwrap();
            sockrates_core::files::write_whole(&path, &text[..text.len() / 2]).unwrap();
            truncated += 1;
        }
    }
    assert!(truncated > 0);
    let (code, text, message) = check(&run, &run, &["--counts-only"]);
    assert!(text.contains("24 of 24 counts match exactly"), "{text}");
    assert!(text.contains("it lacks 1 trial"), "{text}");
    assert_eq!(
        code, 5,
        "what is missing cannot be called unchanged: {message}"
    );
}

#[test]
fn a_histogram_that_would_explode_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = measured(folder.path(), "run", "");
    let path = std::fs::read_dir(run.join("trials"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut record = json(&path);
    let histogram = &mut record["measurement"]["histograms"]["service_time"];
    histogram["hdr_v2_deflate_base64"] = Value::from("A".repeat(2 << 20));
    sockrates_core::files::write_whole(&path, record.to_string().as_bytes()).unwrap();
    let output = sockrates().args(["report"]).arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let page = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(
        page.contains("larger than any that sockrates writes"),
        "{page}"
    );
}

#[test]
fn a_report_is_what_its_records_give_or_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let run = measured(folder.path(), "run", "");
    let report = || {
        sockrates()
            .args(["report", "--check"])
            .arg(&run)
            .output()
            .unwrap()
    };
    assert_eq!(report().status.code(), Some(0), "{}", stderr(&report()));
    let path = run.join("summary.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    sockrates_core::files::write_whole(&path, text.replace('1', "2").as_bytes()).unwrap();
    let output = report();
    assert_eq!(output.status.code(), Some(5));
    let message = stderr(&output);
    assert!(message.contains("summary.csv differs") && message.contains("sockrates report"));
    assert_ne!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "checking changes nothing"
    );
}

#[test]
fn wrong_arguments_for_servers_are_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = scenario(folder.path(), &LANES, COUNTED);
    let output = sockrates()
        .arg("bench")
        .arg(file)
        .args(["--serve-with=--burn http1", "--results"])
        .arg(folder.path().join("results"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--burn"), "{}", stderr(&output));
    assert!(!folder.path().join("results").exists());
}
