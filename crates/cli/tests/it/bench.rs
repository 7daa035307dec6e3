//! `bench` from end to end, into a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use sockrates_core::document::Document;
use sockrates_core::manifest::RunManifest;
use sockrates_core::record::TrialRecord;
use sockrates_core::summary::Summary;

use crate::support::{SHORT, json, only_run, scenario, sockrates, stderr};

const LANES: [&str; 7] = [
    "tcp-per-request",
    "tcp-persistent",
    "http1-per-request",
    "http1-persistent",
    "websocket-per-request",
    "websocket-persistent",
    "http1-persistent@hyper",
];

fn schema<D: Document>() -> Value {
    let name = format!("../core/schema/{}.v{}.json", D::KIND, D::VERSION);
    json(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
}

#[test]
fn a_short_bench_yields_every_file_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let file = scenario(folder.path(), &LANES, SHORT);
    let output = sockrates()
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "2", "--seed", "5", "--json", "--results"])
        .arg(&results)
        .assert()
        .success();
    let summary: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();

    let run = only_run(&results);
    assert_eq!(json(&run.join("summary.json")), summary);
    for file in [
        "run.json",
        "summary.csv",
        "histograms.hlog",
        "report.md",
        "report.html",
    ] {
        assert!(run.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert!(
        run.join("charts/throughput.svg").exists() && run.join("charts/throughput.png").exists()
    );
    assert_eq!(
        std::fs::canonicalize(results.join("latest")).unwrap(),
        run.canonicalize().unwrap()
    );

    let manifest = json(&run.join("run.json"));
    assert_eq!(manifest["status"], "complete");
    assert!(jsonschema::is_valid(&schema::<RunManifest>(), &manifest));
    assert!(jsonschema::is_valid(&schema::<Summary>(), &summary));
    let record_schema = schema::<TrialRecord>();
    let records = std::fs::read_dir(run.join("trials")).unwrap();
    let records: Vec<_> = records.map(|entry| json(&entry.unwrap().path())).collect();
    // Each lane and the null lane twice; more when something disturbed the machine.
    assert!(records.len() >= 2 * (LANES.len() + 1));
    for record in &records {
        assert!(jsonschema::is_valid(&record_schema, record));
    }
    for (cell, lane) in summary["cells"].as_array().unwrap().iter().zip(LANES) {
        assert_eq!(cell["lane"], lane);
        assert_eq!(cell["trials"]["total"], 2, "{cell:#}");
        assert!(cell["trials"]["valid"].as_u64().unwrap() > 0, "{cell:#}");
        assert!(cell["operations"]["verified"].as_u64().unwrap() > 0);
        assert_eq!(cell["operations"]["failed"], 0, "{cell:#}");
    }
}

#[test]
fn a_results_folder_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join(std::ffi::OsStr::from_bytes(b"\xffr"));
    let file = scenario(folder.path(), &["http1-persistent"], SHORT);
    let output = sockrates()
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "1", "--results"])
        .arg(&results)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = only_run(&results);
    assert!(run.join("report.html").exists() && run.join("run.json").exists());
}

#[test]
fn a_record_repeats_its_trial() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let file = scenario(folder.path(), &["http1-per-request"], SHORT);
    sockrates()
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "1", "--results"])
        .arg(&results)
        .assert()
        .success();
    let trials = std::fs::read_dir(only_run(&results).join("trials")).unwrap();
    let record = json(&trials.into_iter().next().unwrap().unwrap().path());
    let again = sockrates()
        .arg("trial")
        .write_stdin(record["spec"].to_string())
        .assert()
        .success();
    let again: Value = serde_json::from_slice(&again.get_output().stdout).unwrap();
    assert_eq!(again["spec"], record["spec"]);
    assert_eq!(again["outcome"]["status"], "completed");
    let measured = &again["measurement"];
    let opened = measured["connections_opened"].as_u64().unwrap();
    let verified = |span: &str| measured[span]["verified"].as_u64().unwrap();
    assert_eq!(
        opened,
        verified("operations") + verified("warm_up"),
        "one connection a request"
    );
    // One connection of the trial's own looks whether the target is there.
    assert_eq!(measured["server"]["connections_accepted"], opened + 1);
    assert_eq!(measured["server"]["operations"], opened);
}

#[test]
fn a_report_can_be_rebuilt_from_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let file = scenario(
        folder.path(),
        &["tcp-persistent", "http1-persistent"],
        SHORT,
    );
    sockrates()
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "1", "--results"])
        .arg(&results)
        .assert()
        .success();
    let run = only_run(&results);
    let before = std::fs::read(run.join("summary.json")).unwrap();
    std::fs::remove_file(run.join("summary.json")).unwrap();
    std::fs::remove_dir_all(run.join("charts")).unwrap();
    sockrates()
        .args(["report", "--results"])
        .arg(&results)
        .assert()
        .success();
    assert_eq!(std::fs::read(run.join("summary.json")).unwrap(), before);
    assert!(run.join("charts/throughput.svg").exists());
}

#[test]
fn a_dry_run_prints_the_plan_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let output = sockrates()
        .args(["bench", "quick", "--dry-run", "--results"])
        .arg(&results)
        .assert()
        .success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(
        text.contains("8 blocks") && text.contains("echo-closed.http1-persistent.c32"),
        "{text}"
    );
    assert!(!results.exists());
}

/// Plans and measures nothing; returns the exit code, the plan, and what was said beside it.
fn planned(arguments: &[&str]) -> (i32, String, String) {
    let output = sockrates()
        .arg("bench")
        .args(arguments)
        .arg("--dry-run")
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let plan = String::from_utf8_lossy(&output.stdout).into_owned();
    (code, plan, stderr(&output))
}

#[test]
fn lanes_are_picked_among_ways_and_a_profile_asks_of_a_server_what_it_must_have() {
    let planned = |arguments: &[&str]| {
        let (code, plan, said) = planned(arguments);
        assert_eq!(code, 0, "{said}");
        plan
    };
    let kept = planned(&["game", "--lanes", "http1-persistent"]);
    assert!(kept.contains("game-20.http1-persistent.sse") && !kept.contains("websocket"));
    let server = ["--target", "http://127.0.0.1:9"];
    let standard = planned(&[&["standard"][..], &server].concat());
    assert!(standard.contains("chat-post.websocket-persistent.push"));
    assert!(!standard.contains("chat-post.http1") && !standard.contains("tcp-"));
    let game = planned(&[&["game"][..], &server].concat());
    assert!(game.contains("http1-persistent.short-poll") && !game.contains(".sse"));
    let named = planned(&[&["chat-post"][..], &server].concat());
    assert!(named.contains("chat-post.http1-persistent.sse"));
}

/// Lanes count wherever a scenario names them, and what falls away is said.
#[test]
fn lanes_are_found_in_every_kind_of_scenario_and_nothing_is_left_out_in_silence() {
    let scenarios = sockrates_core::profile::scenarios();
    for scenario in &scenarios {
        let of_ways = scenario.deliveries.iter().flat_map(|way| &way.lanes);
        for lane in scenario.lanes.iter().chain(of_ways) {
            let lane = lane.to_string();
            let (code, plan, said) = planned(&[&scenario.name, "--lanes", &lane]);
            assert_eq!((code, &*said), (0, ""), "{} {lane}", scenario.name);
            let mut cells = plan.lines().skip(1).peekable();
            assert!(cells.peek().is_some(), "{plan}");
            // A second copy of the lane may be among them.
            assert!(cells.all(|cell| cell.contains(&*lane)), "{lane}: {plan}");
        }
    }
    let (code, plan, said) = planned(&["standard", "--lanes", "websocket-persistent"]);
    assert_eq!((code, &*said), (0, ""));
    for scenario in ["echo-closed", "updates", "chat-post", "game-post"] {
        assert!(
            plan.contains(&format!("{scenario}.websocket-persistent")),
            "{plan}"
        );
    }
    let (code, plan, said) = planned(&["standard", "--lanes", "tcp-persistent"]);
    assert!(
        code == 0 && plan.contains("echo-closed.tcp-persistent"),
        "{said}"
    );
    assert!(
        said.contains("none of these lanes") && said.contains("updates"),
        "{said}"
    );
    let (code, _, said) = planned(&["news", "--lanes", "tcp-persistent,websocket-persistent"]);
    assert!(
        code == 0 && said.contains("measures tcp-persistent"),
        "{said}"
    );
    let (code, _, said) = planned(&["updates", "--lanes", "tcp-persistent"]);
    assert!(
        code == 2 && said.contains("it has: http1-per-request"),
        "{said}"
    );
    // A server of one's own lacks the rest of what was asked for.
    let server = ["--target", "http://127.0.0.1:9"];
    let (code, _, said) = planned(&[&["quick"][..], &server].concat());
    assert!(
        code == 0 && said.contains("no port for it: tcp-per-request"),
        "{said}"
    );
    let (_, _, said) = planned(&[&["standard"][..], &server].concat());
    assert!(said.contains("chat-post by sse"), "{said}");
    let floor = ["echo-closed", "--lanes", "tcp-persistent"];
    let (code, _, said) = planned(&[&floor[..], &server].concat());
    assert!(
        code == 2 && said.contains("nothing is left to measure"),
        "{said}"
    );
}

/// Measures a scenario in one block; returns its folder, what the program ended with and the summary.
fn measured(folder: &Path, scenario: &str) -> (PathBuf, Output, Value) {
    let file = folder.join("scenario.toml");
    sockrates_core::files::write_whole(&file, scenario.as_bytes()).unwrap();
    let results = folder.join("results");
    let output = sockrates()
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "1", "--results"])
        .arg(&results)
        .output()
        .unwrap();
    let run = results.join("latest");
    let summary = json(&run.join("summary.json"));
    (run, output, summary)
}

/// What every scenario file begins with.
fn tiny(rest: &str) -> String {
    format!("name = \"tiny\"\nquestion = \"Does it run?\"\nanalysis = \"None.\"\n{rest}")
}

#[test]
fn chats_games_and_news_are_measured_without_a_fault() {
    for rest in [
        r#"
            lanes = ["websocket-persistent"]
            connections = [12]
            workload = { kind = "fanout", room_members = 4, payload_bytes = 20 }
            load = { model = "per-client", rate_per_second = 20.0 }
            timing = { warm_up_ms = 100, window_ms = 300, drain_ms = 500 }
        "#,
        r#"
            lanes = ["http1-per-request", "http1-persistent", "websocket-persistent"]
            connections = [3]
            workload = { kind = "duplex", ticks_per_second = 50.0, snapshot_bytes = 40, input_bytes = 10 }
            load = { model = "per-client", rate_per_second = 50.0 }
            timing = { warm_up_ms = 100, window_ms = 300, drain_ms = 500 }
        "#,
        r#"
            connections = [4]
            workload = { kind = "updates", events_per_second = 50.0, payload_bytes = 20, topics = 2 }
            timing = { warm_up_ms = 100, window_ms = 300, drain_ms = 500 }
            [[deliveries]]
            delivery = "short-poll"
            intervals_ms = [20, 50]
            lanes = ["http1-per-request", "http1-persistent"]
            [[deliveries]]
            delivery = "long-poll"
            lanes = ["http1-per-request", "http1-persistent"]
            [[deliveries]]
            delivery = "sse"
            lanes = ["http1-persistent"]
            [[deliveries]]
            delivery = "push"
            lanes = ["websocket-persistent"]
        "#,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (_, output, summary) = measured(folder.path(), &tiny(rest));
        assert_eq!(output.status.code(), Some(0), "{rest}: {}", stderr(&output));
        for cell in summary["cells"].as_array().unwrap() {
            let operations = &cell["operations"];
            assert!(operations["verified"].as_u64().unwrap() > 0, "{cell}");
            let bad = (&operations["failed"], &operations["unfinished"]);
            assert_eq!(bad, (&Value::from(0), &Value::from(0)), "{cell}");
        }
    }
}

#[test]
fn chats_and_games_are_measured_by_every_way_over_http_without_a_fault() {
    const EVERY_WAY: &str = r#"
        [[deliveries]]
        delivery = "push"
        lanes = ["websocket-persistent"]
        [[deliveries]]
        delivery = "sse"
        lanes = ["http1-per-request", "http1-persistent"]
        [[deliveries]]
        delivery = "long-poll"
        lanes = ["http1-per-request", "http1-persistent"]
        [[deliveries]]
        delivery = "short-poll"
        lanes = ["http1-per-request", "http1-persistent"]
    "#;
    let chat = r#"
        connections = [12]
        workload = { kind = "fanout", room_members = 4, payload_bytes = 20 }
        load = { model = "per-client", rate_per_second = 20.0 }
        timing = { warm_up_ms = 100, window_ms = 300, drain_ms = 500 }
    "#;
    let game = r#"
        connections = [3]
        workload = { kind = "duplex", ticks_per_second = 50.0, snapshot_bytes = 40, input_bytes = 10 }
        load = { model = "per-client", rate_per_second = 50.0 }
        timing = { warm_up_ms = 100, window_ms = 300, drain_ms = 500 }
    "#;
    let polls = "delivery = \"short-poll\"";
    let asking = EVERY_WAY.replace(polls, &format!("{polls}\nintervals_ms = [50]"));
    for (rest, main) in [
        (format!("{chat}{asking}"), "delivery"),
        (format!("{game}{EVERY_WAY}"), "input_to_snapshot"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (run, output, summary) = measured(folder.path(), &tiny(&rest));
        assert_eq!(output.status.code(), Some(0), "{rest}: {}", stderr(&output));
        let cells = summary["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 7);
        for cell in cells {
            let operations = &cell["operations"];
            assert!(operations["verified"].as_u64().unwrap() > 0, "{cell}");
            let bad = (&operations["failed"], &operations["unfinished"]);
            assert_eq!(bad, (&Value::from(0), &Value::from(0)), "{cell}");
        }
        // A summary may withhold times that something outside disturbed; the records hold them.
        for entry in std::fs::read_dir(run.join("trials")).unwrap() {
            let record = json(&entry.unwrap().path());
            let (id, measured) = (&record["spec"]["cell"]["id"], &record["measurement"]);
            assert!(!measured["histograms"][main].is_null(), "{id}");
            let cpu_ns = measured["window_cost"]["client_cpu_ns"].as_u64();
            assert!(cpu_ns.unwrap() > 0, "{id}");
        }
        let report = std::fs::read_to_string(run.join("report.md")).unwrap();
        assert!(report.contains("http1-persistent, post + sse"), "{report}");
    }
}

/// A million events a second of a thousand bytes each are more than an unoptimised server can make: their ages are shown,
/// with what they are.
#[test]
fn a_publisher_that_cannot_keep_up_is_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = tiny(
        r#"
        lanes = ["websocket-persistent"]
        connections = [1]
        workload = { kind = "updates", delivery = "push", events_per_second = 1000000.0, payload_bytes = 1000 }
        load = { model = "events" }
        timing = { warm_up_ms = 100, window_ms = 500, drain_ms = 100 }
        "#,
    );
    let (run, output, summary) = measured(folder.path(), &scenario);
    let flags = &summary["cells"][0]["flags"];
    assert_eq!(flags["publisher_overloaded"], 1, "{}", stderr(&output));
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("the server published later and later"));
}
