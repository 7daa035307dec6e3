//! `compare`: fabricated runs in folders, exit codes and messages.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{manifest_version, sockrates, stderr};

#[path = "../../../report/tests/it/synthetic.rs"]
#[allow(dead_code, reason = "the report's own tests use the rest")]
mod synthetic;

const LANES: [&str; 3] = ["tcp-persistent", "http1-persistent", "websocket-persistent"];

/// Writes a run into the results folder.
fn fabricate(results: &Path, name: &str, lanes: &[&str], seed: u64, fingerprint: &str) {
    let mut plan = synthetic::echo_plan(lanes, &[1], 6);
    plan.seed = seed;
    let mut run = synthetic::dataset(plan, |spec| synthetic::realistic(spec, 100));
    name.clone_into(&mut run.manifest.run_id);
    fingerprint.clone_into(&mut run.manifest.fingerprint.id);
    fingerprint.clone_into(&mut run.manifest.fingerprint.kernel);
    synthetic::save(&run, &results.join(name));
}

/// Makes three runs: two on one machine, the third on another; `latest` is the second.
fn results() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fabricate(folder.path(), "first", &LANES, 1, "here");
    fabricate(folder.path(), "second", &LANES, 2, "here");
    fabricate(folder.path(), "third", &LANES, 3, "there");
    std::os::unix::fs::symlink("second", folder.path().join("latest")).unwrap();
    folder
}

fn compare(results: &Path, arguments: &[&str]) -> Output {
    sockrates()
        .arg("compare")
        .args(arguments)
        .arg("--results")
        .arg(results)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(results: &Path, arguments: &[&str], code: i32) -> String {
    let output = compare(results, arguments);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    stderr(&output)
}

#[test]
fn runs_are_compared_and_drawn() {
    let folder = results();
    let text = stdout(&compare(folder.path(), &["first", "latest"]));
    let written = folder.path().join("compare/first--second");
    assert!(text.contains("A is run first, B is run second."), "{text}");
    assert!(
        text.contains(&format!("{}", written.join("compare.md").display())),
        "{text}"
    );
    let page = std::fs::read_to_string(written.join("compare.md")).unwrap();
    assert!(
        page.starts_with("Made by: `sockrates compare first second --results "),
        "{page}"
    );
    for name in [
        "percentiles-tiny-c1.svg",
        "percentiles-tiny-c1.png",
        "ratios.svg",
    ] {
        assert!(written.join(name).exists(), "{name}");
    }
    // A folder is as good as an id.
    let path = folder.path().join("first");
    let by_path = compare(
        folder.path(),
        &[path.to_str().unwrap(), "second", "--no-charts"],
    );
    assert!(stdout(&by_path).contains("A is run first"));
}

#[test]
fn runs_of_two_machines_keep_their_ratios() {
    let folder = results();
    let output = compare(folder.path(), &["first", "third", "--json"]);
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["is_absolute"], false);
    assert_eq!(document["fingerprint_differences"][0]["field"], "kernel");
    assert!(stderr(&output).contains("compare.md"), "says where");
    let written = folder.path().join("compare/first--third");
    assert_eq!(std::fs::read_dir(written).unwrap().count(), 1, "no picture");
}

#[test]
fn lanes_are_compared_within_a_run() {
    let folder = results();
    let arguments = ["http1-persistent", "websocket-persistent", "--no-charts"];
    let text = stdout(&compare(folder.path(), &arguments));
    assert!(text.contains("both of run second"), "{text}");
    let written = folder
        .path()
        .join("compare/http1-persistent--websocket-persistent");
    assert_eq!(std::fs::read_dir(written).unwrap().count(), 1, "no picture");
    let arguments = [&arguments[..], &["--run", "first", "--markdown"]].concat();
    let page = stdout(&compare(folder.path(), &arguments));
    assert!(
        page.starts_with(
            "Made by: `sockrates compare http1-persistent websocket-persistent --run first"
        ),
        "{page}"
    );
}

#[test]
fn what_cannot_be_compared_is_a_usage_error() {
    let folder = results();
    let results = folder.path();
    let message = refused(results, &["http1-persistent", "first"], 2);
    assert!(
        message.contains("`http1-persistent` is a lane and `first` is none"),
        "{message}"
    );
    let message = refused(results, &["http1-persistent", "quic-persistent"], 2);
    assert!(
        message.contains("`quic-persistent`") && message.contains("websocket-persistent"),
        "{message}"
    );
    let message = refused(results, &["http1-persistent", "http1-persistent"], 2);
    assert!(message.contains("two different ones"), "{message}");
    let message = refused(results, &["first", "second", "--run", "third"], 2);
    assert!(message.contains("no lanes"), "{message}");
    refused(results, &["first", "second", "--json", "--markdown"], 2);
    fabricate(results, "other", &["http1-per-request"], 1, "here");
    let message = refused(results, &["first", "other"], 2);
    assert!(
        message.contains("share no cell") && message.contains("1 only in B"),
        "{message}"
    );
}

#[test]
fn runs_that_cannot_be_read_say_why() {
    let folder = results();
    let results = folder.path();
    let message = refused(results, &["first", "gone"], 6);
    assert!(message.contains("gone is no run"), "{message}");
    let lanes = ["http1-persistent", "tcp-persistent", "--run", "gone"];
    assert!(refused(results, &lanes, 6).contains("gone is no run"));
    let manifest = results.join("third/run.json");
    let json = std::fs::read_to_string(&manifest).unwrap();
    let newer = json.replacen(&manifest_version(), "\"schema_version\": 99", 1);
    sockrates_core::files::write_whole(&manifest, newer.as_bytes()).unwrap();
    let message = refused(results, &["first", "third"], 6);
    assert!(message.contains("newer sockrates"), "{message}");
    sockrates_core::files::write_whole(&manifest, &json.as_bytes()[..99]).unwrap();
    let message = refused(results, &["third", "first"], 6);
    assert!(message.contains("damaged"), "{message}");
}
