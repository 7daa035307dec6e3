//! `serve`, `list`, `calibrate` and the help.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
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
        (&Value::from(2), &Value::from(0))
    );
    assert!(server.wait().unwrap().success());
}

/// Echoes 200 times over HTTP and returns the CPU time the server used.
fn cpu_ns_of_echoes(flags: &[&str]) -> u64 {
    let mut server = Command::new(env!("CARGO_BIN_EXE_sockrates"))
        .args(["serve", "--stop-with-stdin"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "the server is tested without the load generator"
    )]
    let mut client = TcpStream::connect(ready["http"].as_str().unwrap()).unwrap();
    for _ in 0..200 {
        client
            .write_all(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\n\r\n\r\n")
            .unwrap();
        // The body is the only thing that ends so: two empty lines after the head's own.
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            reply.push(byte[0]);
        }
    }
    drop(server.stdin.take());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(server.wait().unwrap().success());
    let usage: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(usage["operations"], 200);
    let ns = |name: &str| usage["process"][name].as_u64().unwrap();
    ns("cpu_user_ns") + ns("cpu_system_ns")
}

#[test]
fn a_server_burns_cpu_time_for_the_transport_it_is_told_to() {
    let burnt_ns = cpu_ns_of_echoes(&["--burn", "http1=2000000"]);
    assert!(burnt_ns >= 200_000_000, "{burnt_ns}");
    let other_ns = cpu_ns_of_echoes(&["--burn", "websocket=2000000,tcp=2000000"]);
    assert!(other_ns < burnt_ns / 2, "{other_ns}");
    let delayed_ns = cpu_ns_of_echoes(&["--delay", "http1=2000000"]);
    assert!(delayed_ns < burnt_ns / 2, "{delayed_ns}");
}

#[test]
fn a_fault_that_is_not_understood_is_told_the_right_form() {
    for (flag, value, form) in [
        ("--burn", "http1", "http1=NS,websocket=NS,tcp=NS"),
        ("--delay", "quic=5", "http1=NS,websocket=NS,tcp=NS"),
        ("--pad", "websocket=10", "only replies of http1"),
        ("--stall", "500", "AFTER_MS:FOR_MS"),
    ] {
        let output = sockrates().args(["serve", flag, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let message = stderr(&output);
        assert!(
            message.contains(flag) && message.contains(value) && message.contains(form),
            "{message}"
        );
    }
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
        "duplex",
        "long-poll",
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    let output = sockrates()
        .args(["list", "lanes", "--json"])
        .assert()
        .success();
    let lanes: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(lanes.as_array().unwrap().len(), 8);
}

#[test]
fn every_workload_that_is_measured_is_listed() {
    let output = sockrates().args(["list", "workloads"]).assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for scenario in sockrates_core::profile::scenarios() {
        let name = scenario.workload.name();
        let is_listed = text.lines().any(|line| line.trim_start().starts_with(name));
        assert!(is_listed, "{name}:\n{text}");
    }
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
