//! What a user can get wrong: each a message that names the thing and the remedy, an exit code, and
//! nothing lost.

use std::path::Path;

use crate::support::{SHORT, only_run, scenario, sockrates, stderr};

/// Runs `bench` with these arguments and returns exit code and message; results must stay empty.
fn refused(arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let output = sockrates()
        .arg("bench")
        .args(arguments)
        .arg("--results")
        .arg(&results)
        .output()
        .unwrap();
    assert!(!results.exists(), "{}", stderr(&output));
    (output.status.code().unwrap(), stderr(&output))
}

fn refused_scenario(from: &str, to: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = scenario(folder.path(), &["http1-persistent"], SHORT);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    let text = text.replace(from, to);
    sockrates_core::files::write_whole(&path, text.as_bytes()).unwrap();
    let (code, message) = refused(&[path.to_str().unwrap()]);
    assert!(message.contains("tiny.toml"), "names the file: {message}");
    (code, message)
}

#[test]
fn an_unknown_profile_is_told_what_there_is() {
    let (code, message) = refused(&["quik"]);
    assert_eq!(code, 2);
    assert!(
        message.contains("`quik`") && message.contains("quick") && message.contains("echo-open")
    );
    assert!(message.contains("did you mean `quick`?"), "{message}");
}

#[test]
fn an_unknown_lane_is_told_what_there_is() {
    let (code, message) = refused(&["quick", "--lanes", "quic-persistent"]);
    assert_eq!(code, 2);
    assert!(
        message.contains("`quic-persistent`") && message.contains("http1-per-request"),
        "{message}"
    );
    for near in ["http1-persistant", "websocket_persistent"] {
        let (code, message) = refused(&["quick", "--lanes", near]);
        assert_eq!(code, 2);
        assert!(message.contains("did you mean `"), "{message}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = scenario(folder.path(), &["quic-persistent"], SHORT);
    let (code, message) = refused(&[path.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(
        message.contains("`quic-persistent`") && message.contains("tiny"),
        "{message}"
    );
}

#[test]
fn a_bad_scenario_file_is_told_which_field() {
    let (code, message) = refused_scenario("connections", "conections");
    assert_eq!(code, 2);
    assert!(message.contains("conections"), "{message}");
    let (code, message) = refused_scenario("[2]", "[0]");
    assert_eq!(code, 2);
    assert!(
        message.contains("connections") && message.contains('0'),
        "{message}"
    );
    let (code, message) = refused(&["nowhere.toml"]);
    assert_eq!(code, 2);
    assert!(
        message.contains("nowhere.toml") && message.contains("No such file"),
        "{message}"
    );
}

#[test]
fn too_many_connections_for_the_descriptor_limit_say_how_many_are_needed() {
    let (code, message) = refused_needing(60_000);
    assert_eq!(code, 7);
    assert!(
        message.contains("60064") && message.contains("ulimit -n 60064"),
        "{message}"
    );
}

/// Under a limit set for this process alone: machines differ in what they allow.
fn refused_needing(connections: u32) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = scenario(folder.path(), &["http1-persistent"], SHORT);
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("[2]", &format!("[{connections}]"));
    sockrates_core::files::write_whole(&path, text.as_bytes()).unwrap();
    let script = r#"ulimit -n 1000 && exec "$0" bench "$1" --results "$2""#;
    let results = folder.path().join("results");
    let output = std::process::Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_sockrates")])
        .args([path.as_path(), &results])
        .output()
        .unwrap();
    assert!(!results.exists());
    (output.status.code().unwrap(), stderr(&output))
}

#[test]
fn a_results_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = scenario(folder.path(), &["http1-persistent"], SHORT);
    // A file where the folder should be stops root, too.
    let output = sockrates()
        .arg("bench")
        .arg(&file)
        .arg("--results")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("tiny.toml"), "{}", stderr(&output));
}

/// A file-system of 300 KiB fills up after a few trials: those are kept, and the run says why it ended.
#[test]
fn a_full_disk_keeps_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = scenario(
        folder.path(),
        &["http1-persistent", "tcp-persistent"],
        SHORT,
    );
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // In a mount namespace of its own, so that the file-system goes with the process.
    let script = r#"mount -t tmpfs -o size=300k tmpfs "$3" && "$0" bench "$1" --blocks 100 --results "$3/r"
        code=$?; cp -r "$3/r" "$2"; exit $code"#;
    let kept = folder.path().join("kept");
    let output = std::process::Command::new("unshare")
        .args([
            "--mount",
            "--map-root-user",
            "bash",
            "-c",
            script,
            env!("CARGO_BIN_EXE_sockrates"),
        ])
        .args([file.as_path(), &kept, &disk])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("No space left on device"),
        "{}",
        stderr(&output)
    );
    let run = only_run(&kept);
    let trials: Vec<_> = std::fs::read_dir(run.join("trials")).unwrap().collect();
    assert!(!trials.is_empty());
    for trial in trials {
        let json = std::fs::read(trial.unwrap().path()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&json).expect("what is there is whole");
    }
    let manifest = std::fs::read_to_string(run.join("run.json")).unwrap();
    assert!(manifest.contains("\"partial\""));
}

#[test]
fn a_target_that_is_down_is_a_failed_record() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec_against(folder.path(), "127.0.0.1:9");
    let output = sockrates().arg("trial").write_stdin(spec).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("127.0.0.1:9"),
        "{}",
        stderr(&output)
    );
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record["outcome"]["reason"], "target_unreachable");
    assert!(
        record["outcome"]["message"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:9")
    );
}

/// The spec of a real trial, with another target.
fn spec_against(folder: &Path, address: &str) -> String {
    let results = folder.join("results");
    let file = scenario(folder, &["http1-persistent"], SHORT);
    sockrates()
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "1", "--results"])
        .arg(&results)
        .assert()
        .success();
    let trials = std::fs::read_dir(only_run(&results).join("trials")).unwrap();
    let mut record = crate::support::json(&trials.into_iter().next().unwrap().unwrap().path());
    record["spec"]["target"] =
        serde_json::json!({ "kind": "running", "http": address, "tcp": null });
    record["spec"].to_string()
}

#[test]
fn a_spec_that_is_none_is_refused() {
    let output = sockrates().arg("trial").write_stdin("{}").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("schema_version"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_report_of_nothing_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let output = sockrates()
        .args(["report", "gone", "--results"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("run.json"), "{}", stderr(&output));
}

/// Files that are too large, that have no end, or that hold what is no text: each is told with its limit.
#[test]
fn inputs_have_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.toml");
    sockrates_core::files::write_whole(&path, &vec![b' '; (1 << 20) + 1]).unwrap();
    for endless in [path.to_str().unwrap(), "/dev/zero"] {
        let (code, message) = refused(&[endless]);
        assert_eq!(code, 2, "{message}");
        assert!(
            message.contains(endless) && message.contains("larger than 1 MiB"),
            "{message}"
        );
    }
    let run = |baseline: &str| {
        let output = sockrates()
            .args([
                "run",
                "http://127.0.0.1:1/",
                "--repeat",
                "4",
                "--baseline",
                baseline,
            ])
            .output()
            .unwrap();
        (output.status.code().unwrap(), stderr(&output))
    };
    let (code, message) = run("/dev/zero");
    assert_eq!(code, 6, "{message}");
    assert!(
        message.contains("/dev/zero") && message.contains("larger than 64 MiB"),
        "{message}"
    );
    let spec = sockrates()
        .arg("trial")
        .write_stdin(vec![b' '; (64 << 20) + 1])
        .output()
        .unwrap();
    assert_eq!(spec.status.code(), Some(2));
    assert!(
        stderr(&spec).contains("larger than 64 MiB"),
        "{}",
        stderr(&spec)
    );
}

/// Whoever wrote a file does not get to write to the terminal.
#[test]
fn nothing_that_acts_on_a_terminal_is_printed() {
    let acts = |c: char| c != '\n' && sockrates_core::harmless::acts(c);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("\u{1b}[31m\u{202e}run");
    let manifest = run.join("run.json");
    let hostile = "{\"schema_version\": 4, \"run_id\": \"\u{9b}2J\u{202e}\"";
    sockrates_core::files::write_whole(&manifest, hostile.as_bytes()).unwrap();
    let output = sockrates().arg("report").arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let message = stderr(&output);
    assert!(
        message.contains("[31m") && !message.contains(acts),
        "{message:?}"
    );
    let path = folder.path().join("x.toml");
    sockrates_core::files::write_whole(
        &path,
        "name = \"\u{202e}\u{9b}31m\"\n\u{1b}]0;x\u{7}".as_bytes(),
    )
    .unwrap();
    let (code, message) = refused(&[path.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(!message.contains(acts), "{message:?}");
}
