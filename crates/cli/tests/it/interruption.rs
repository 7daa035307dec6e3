//! Runs that do not end as planned: a signal, a server that dies.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{SHORT, json, only_run, scenario};

/// Starts a bench of many short trials and waits until its second block begins.
fn started(file: &Path, results: &Path) -> Child {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_sockrates"))
        .arg("bench")
        .arg(file)
        .args(["--blocks", "500", "--results"])
        .arg(results)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(bench.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    lines
        .find(|line| line.starts_with("block 2 of"))
        .expect("a line per block");
    // The rest is read, so that the bench never waits for its reader.
    std::thread::spawn(move || lines.for_each(drop));
    bench
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.try_into().unwrap())
}

#[test]
fn a_signal_keeps_and_marks_what_was_measured() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results");
        let mut bench = started(
            &scenario(folder.path(), &["http1-persistent"], SHORT),
            &results,
        );
        kill(pid(bench.id()), signal).unwrap();
        assert_eq!(bench.wait().unwrap().code(), Some(code));
        let run = only_run(&results);
        assert_eq!(json(&run.join("run.json"))["status"], "partial");
        assert_eq!(json(&run.join("summary.json"))["status"], "partial");
        let trials = std::fs::read_dir(run.join("trials")).unwrap().count();
        assert!((1..500).contains(&trials), "{trials}");
        assert!(run.join("report.html").exists());
    }
}

#[test]
fn a_server_that_dies_is_a_failed_record_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let long = "timing = { warm_up_ms = 0, window_ms = 3000, drain_ms = 200, timeout_ms = 2000 }";
    let file = scenario(folder.path(), &["http1-persistent"], long);
    let mut bench = Command::new(env!("CARGO_BIN_EXE_sockrates"))
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "2", "--quiet", "--results"])
        .arg(&results)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    kill(first_server(bench.id()), Signal::SIGKILL).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(4));
    let run = only_run(&results);
    let mut records: Vec<Value> = std::fs::read_dir(run.join("trials"))
        .unwrap()
        .map(|entry| json(&entry.unwrap().path()))
        .collect();
    records.sort_by_key(|record| record["spec"]["index"].as_u64());
    assert_eq!(
        records[0]["outcome"]["reason"], "server_lost",
        "{:#}",
        records[0]["outcome"]
    );
    let others = &records[1..];
    assert!(
        others.len() >= 3,
        "the lane and its second copy, in two blocks"
    );
    let is_completed = |record: &Value| record["outcome"]["status"] == "completed";
    assert!(others.iter().all(is_completed));
    let summary = json(&run.join("summary.json"));
    let cells = summary["cells"].as_array().unwrap();
    let cell = cells
        .iter()
        .find(|cell| cell["id"] == records[0]["spec"]["cell"]["id"]);
    let trials = &cell.unwrap()["trials"];
    assert_eq!((&trials["valid"], &trials["total"]), (&1.into(), &2.into()));
}

/// Waits until the server of the bench's first trial is at work: the second there is, since a calibration comes first.
fn first_server(bench: u32) -> Pid {
    let mut calibrations = None;
    for _ in 0..10_000_000 {
        let server = children(bench).into_iter().flat_map(children).next();
        calibrations = calibrations.or(server);
        let server = server.filter(|server| Some(*server) != calibrations);
        if let Some(server) = server.filter(|server| cpu_ticks(*server) >= AT_WORK_TICKS) {
            return pid(server);
        }
        std::thread::yield_now();
    }
    panic!("the bench started no server");
}

/// More CPU time than a start takes: 100 ms.
const AT_WORK_TICKS: u64 = 10;

/// Fields 14 and 15 of `/proc/PID/stat` (proc(5)), counted behind the name, which may hold spaces.
fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11);
    fields
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect()
}
