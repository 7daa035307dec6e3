//! The binary, scenario files and folders to run it with.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use sockrates_core::document::Document;
use sockrates_core::manifest::RunManifest;

pub(crate) fn sockrates() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockrates"));
    // The whole suite runs beside other tests on few cores: a bound, not an expectation.
    command.timeout(std::time::Duration::from_mins(2));
    command
}

/// A scenario of short trials over these lanes.
pub(crate) fn scenario(folder: &Path, lanes: &[&str], extra: &str) -> PathBuf {
    let path = folder.join("tiny.toml");
    let text = format!(
        r#"
        name = "tiny"
        question = "Does it work?"
        analysis = "It says nothing about speed."
        lanes = {lanes:?}
        connections = [2]
        workload = {{ kind = "echo", payload = "binary", payload_bytes = 64 }}
        load = {{ model = "closed" }}
        {extra}
        "#
    );
    sockrates_core::files::write_whole(&path, text.as_bytes()).unwrap();
    path
}

pub(crate) const SHORT: &str =
    "timing = { warm_up_ms = 20, window_ms = 60, drain_ms = 2000, timeout_ms = 5000 }";

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(
        &std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    )
    .unwrap()
}

/// Returns the folder of the only run in a results folder.
pub(crate) fn only_run(results: &Path) -> PathBuf {
    let runs: Vec<_> = std::fs::read_dir(results)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.path())
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.into_iter().next().unwrap()
}

pub(crate) fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The version as it stands in `run.json`.
pub(crate) fn manifest_version() -> String {
    format!("\"schema_version\": {}", RunManifest::VERSION)
}
