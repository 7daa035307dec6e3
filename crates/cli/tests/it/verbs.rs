//! `serve`, `list`, `calibrate` and the help.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{sockrates, stderr};

#[test]
fn serve_says_where_it_is_and_what_it_used_and_stops_with_stdin() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_sockrates"))
        .args(["serve", "--stop-with-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&ready["ready"], &ready["pid"]),
        (&Value::from(true), &Value::from(server.id()))
    );
    drop(server.stdin.take());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let usage: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(
        (&usage["schema_version"], &usage["operations"]),
        (&Value::from(1), &Value::from(0))
    );
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = sockrates()
        .args(["serve", "--listen", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

#[test]
fn a_public_address_must_be_asked_for_by_name() {
    let output = sockrates()
        .args(["serve", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--allow-remote"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn list_shows_everything_and_speaks_json() {
    let output = sockrates().arg("list").assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for word in [
        "quick",
        "echo-open",
        "websocket-per-request",
        "updates",
        "throughput",
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    let output = sockrates()
        .args(["list", "lanes", "--json"])
        .assert()
        .success();
    let lanes: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(lanes.as_array().unwrap().len(), 7);
}

#[test]
fn help_lists_each_verb_and_hides_the_inner_one() {
    let output = sockrates().arg("--help").assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for verb in ["bench", "serve", "report", "calibrate", "list"] {
        assert!(text.contains(&format!("\n  {verb} ")), "{verb}:\n{text}");
    }
    assert!(!text.contains("\n  trial "));
    assert_eq!(
        sockrates().output().unwrap().status.code(),
        Some(2),
        "no verb, no work"
    );
}
