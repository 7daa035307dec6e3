//! `run` from end to end: what it measures, says and writes, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{json, only_run, sockrates, stderr};

/// A target server of one's own, as a stranger's would be.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sockrates"))
            .args(["serve", "--stop-with-stdin"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = ready["http"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn ws(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    fn signal(&self, signal: Signal) {
        kill(pid(self.child.id()), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// After this long a load has begun, on a machine that others use, too.
const SETTLED: Duration = Duration::from_secs(2);

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.try_into().unwrap())
}

fn run(arguments: &[&str]) -> Output {
    sockrates().arg("run").args(arguments).output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let text = String::from_utf8_lossy(&output.stdout);
        panic!("{error}: {text} {}", stderr(output))
    })
}

fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/schema/run-result.v1.json");
    jsonschema::validator_for(&json(&path)).unwrap()
}

/// Every operation is somewhere, and the parts are what the whole says.
fn balances(result: &Value) {
    let books = &result["operations"];
    let count = |name: &str| books[name].as_u64().unwrap();
    assert_eq!(
        count("issued"),
        count("verified") + count("failed") + count("unfinished"),
        "{books}"
    );
    let failures = result["failures"].as_object().unwrap().values();
    let failures: u64 = failures.map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(failures, count("failed"));
    if let Some(times) = result["times"].get("service_time") {
        assert_eq!(times["count"].as_u64().unwrap(), count("verified"));
    }
}

#[test]
fn a_counted_run_is_exact_and_its_document_follows_the_schema() {
    let server = Server::start(&[]);
    let url = server.http("/echo");
    let arguments = [
        "-b",
        "hello",
        "--expect-echo",
        "-c",
        "5",
        "-n",
        "500",
        "--json",
    ];
    let output = run(&[&[&*url], &arguments[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let result = document(&output);
    schema().validate(&result).unwrap();
    balances(&result);
    assert_eq!(result["operations"]["verified"], 500);
    assert_eq!(result["answers"]["statuses"]["200"], 500);
    assert_eq!(result["network"]["connections_opened"], 5);
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\n\r\nhello",
        server.address
    );
    let bytes = 500 * request.len() as u64;
    assert_eq!(result["network"]["bytes_sent"], bytes);
    // Nobody knows what the server used, and that is said.
    let flags = result["health"]["flags"].as_array().unwrap();
    assert!(flags.contains(&"running_server".into()), "{flags:?}");
}

#[test]
fn both_clocks_and_the_trust_stand_in_the_text() {
    let server = Server::start(&[]);
    for (url, lifecycle) in [
        (server.http("/healthz"), "persistent"),
        (server.http("/healthz"), "per-request"),
        (server.ws("/ws/echo"), "persistent"),
        (server.ws("/ws/echo"), "per-request"),
    ] {
        let output = run(&[
            &url,
            "--lifecycle",
            lifecycle,
            "-c",
            "4",
            "-d",
            "300ms",
            "-w",
            "100ms",
            "-r",
            "500",
            "--latency",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let upgrade = if url.starts_with("ws") {
            "upgrade"
        } else {
            "first byte"
        };
        let rows = [
            "response time",
            "service time",
            "  exchange",
            "connect",
            upgrade,
            "bytes",
            "health",
            "schedule lag p99",
            "trust",
            "percentile",
            "(125/s a connection)",
        ];
        for row in rows {
            assert!(text.contains(row), "{row}: {text}");
        }
        assert_eq!(
            text.contains("closing"),
            lifecycle == "per-request",
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }
}

#[test]
fn rows_for_spreadsheets_and_logs_for_histogram_tools_are_written() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (csv, hlog) = (folder.path().join("a.csv"), folder.path().join("a.hlog"));
    let output = sockrates()
        .args([
            "run",
            &server.http("/healthz"),
            "-n",
            "100",
            "-c",
            "2",
            "--format",
            "csv",
            "-o",
        ])
        .arg(&csv)
        .arg("--hlog")
        .arg(&hlog)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    let csv = std::fs::read_to_string(csv).unwrap();
    assert!(
        csv.starts_with("name,statistic,qualifier,value,unit\n"),
        "{csv}"
    );
    assert!(csv.contains("\nverified,count,=,100,1\n"), "{csv}");
    assert!(csv.contains("\nservice_time,p50,=,"), "{csv}");
    let hlog = std::fs::read_to_string(hlog).unwrap();
    assert!(hlog.contains("Tag=service_time."), "{hlog}");
}

#[test]
fn conditions_decide_on_the_exit_code_and_are_told_with_what_was_measured() {
    let server = Server::start(&[]);
    let url = server.http("/healthz");
    let common = [&*url, "-n", "200", "-c", "2", "--json"];
    let passes = run(&[
        &common[..],
        &["--fail-if", "failed > 0.1%", "--fail-if", "throughput < 1"],
    ]
    .concat());
    assert_eq!(passes.status.code(), Some(0), "{}", stderr(&passes));
    let fails = run(&[
        &common[..],
        &[
            "--fail-if",
            "failed > 0",
            "--fail-if",
            "service_time_p50 > 1ns",
        ],
    ]
    .concat());
    assert_eq!(fails.status.code(), Some(5), "{}", stderr(&fails));
    assert!(stderr(&fails).contains("service_time_p50 > 1ns"));
    let result = document(&fails);
    let thresholds = result["thresholds"].as_array().unwrap();
    let failed: Vec<_> = thresholds
        .iter()
        .map(|one| one["fails"].as_bool().unwrap())
        .collect();
    assert_eq!(failed, [false, true]);
    assert!(thresholds[1]["value"].as_f64().unwrap() > 1.0);
    // What too few operations say is no reason to pass.
    let unknown = run(&[&common[..], &["--fail-if", "service_time_p99_99 > 10s"]].concat());
    assert_eq!(unknown.status.code(), Some(5));
}

#[test]
fn what_cannot_be_measured_is_refused_with_its_code_and_a_remedy() {
    let server = Server::start(&[]);
    let (http, ws) = (server.http("/healthz"), server.ws("/ws/echo"));
    let (missing, no_socket) = (server.http("/nothing"), server.ws("/healthz"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["127.0.0.1:80"], 2, "http://HOST:PORT"),
        (&["gopher://localhost/"], 2, "known: http, ws"),
        (&["https://localhost/"], 2, "TLS"),
        (&["http://name.invalid/"], 3, "name.invalid"),
        (&["http://192.0.2.1/"], 7, "--allow-target 192.0.2.1"),
        (
            &["http://192.0.2.1/", "--allow-target", "192.0.2.1:81"],
            7,
            "names port 81 of it",
        ),
        (
            &[&http, "--allow-target", "a b"],
            2,
            "write a host as in a URL",
        ),
        (&[&closed], 3, "connection refused"),
        (&[&missing], 3, "--expect-status 404"),
        (&[&no_socket], 3, "instead of 101"),
        (&[&http, "-n", "5", "-d", "0"], 2, "--duration"),
        (&[&http, "-d", "0"], 2, "nothing can be measured"),
        (&[&http, "-r", "0"], 2, "--rate"),
        (&[&http, "-c", "0"], 2, "--connections"),
        (&[&http, "-c", "1m"], 2, "connections"),
        (&[&http, "-c", "60k"], 7, "ulimit -n"),
        (&[&http, "-r", "10m", "-d", "1h"], 2, "lower rate"),
        (&[&http, "-d", "25h"], 2, "use 0 to 24h"),
        (&[&http, "-d", "30s1m"], 2, "1m30s"),
        (
            &[&http, "-n", "10k", "-r", "1", "-d", "1m30s"],
            2,
            "take 166 min 40 s, and --duration is 1m30s: leave --duration out",
        ),
        (
            &[&http, "-n", "10k", "-r", "0.1"],
            2,
            "the longest --duration is 24h",
        ),
        (&[&http, "-t", "4000"], 2, "--threads"),
        (&[&http, "--timeout", "0"], 2, "--timeout"),
        (&[&http, "-H", "no colon"], 2, "Name: value"),
        (
            &[&http, "-H", "Content-Length: 5"],
            2,
            "follows from the body",
        ),
        (&[&http, "-H", "a: b\rc"], 2, "control character"),
        (&[&http, "--expect-status", "99"], 2, "`99`"),
        (&[&http, "--percentiles", "100"], 2, "between 0 and 100"),
        (&[&http, "--message", "a"], 2, "ws:// URL"),
        (&[&ws, "-b", "a"], 2, "http:// URL"),
        (&[&ws, "--match", "receive-only", "-r", "5"], 2, "--rate"),
        (&[&http, "--lane", "tcp-persistent"], 2, "--lane"),
        (
            &[&http, "--lane", "http1-persistant"],
            2,
            "did you mean `http1-persistent`?",
        ),
        (&[&http, "--fail-if", "p99 < 1ms"], 2, "did you mean"),
        (
            &[&http, "--lane", "http1-persistent@hyper"],
            2,
            "cannot carry `custom`",
        ),
        (&[&http, "--fail-if", "p99 > 1"], 2, "service_time"),
        (
            &[&http, "--fail-if", "response_time_p99 > 1ms"],
            2,
            "--rate",
        ),
        (&[&http, "--baseline", "/nowhere.json"], 6, "/nowhere.json"),
        (&[&http, "--fail-on-regression"], 2, "--baseline"),
        (&[&http, "-o", "/nowhere/a.json"], 6, "/nowhere/a.json"),
        (&[&http, "--body-file", "/nowhere"], 2, "/nowhere"),
        (&[&http, "--expect-body", "no"], 3, "--expect-body"),
        (
            &[&http, "--compare-lifecycles", "--counterpart", &http],
            2,
            "--counterpart",
        ),
    ];
    for (arguments, code, needle) in cases {
        let output = run(arguments);
        let message = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(*code),
            "{arguments:?}: {message}"
        );
        assert!(message.contains(needle), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_server_is_measured_at_any_address_of_this_machine() {
    let server = Server::start(&[]);
    let port = server.address.rsplit_once(':').unwrap().1;
    for host in ["0.0.0.0", "[::ffff:127.0.0.1]", "127.0.0.1", "localhost"] {
        for scheme in ["http", "ws"] {
            let path = if scheme == "ws" {
                "/ws/echo"
            } else {
                "/healthz"
            };
            let url = format!("{scheme}://{host}:{port}{path}");
            let output = run(&[&url, "-c", "1", "-n", "5", "--json"]);
            assert_eq!(output.status.code(), Some(0), "{url}: {}", stderr(&output));
            assert_eq!(document(&output)["operations"]["verified"], 5, "{url}");
        }
    }
}

/// `-` is standard input or output, for every flag that takes a file.
#[test]
fn a_dash_is_a_standard_stream() {
    let server = Server::start(&[]);
    let url = server.http("/echo");
    let few = [&*url, "-c", "1", "-n", "5", "--expect-echo"];
    let folder = tempfile::tempdir().unwrap();
    let with_input = |arguments: &[&str], input: &[u8]| {
        sockrates()
            .current_dir(folder.path())
            .arg("run")
            .args([&few[..], arguments].concat())
            .write_stdin(input)
            .output()
            .unwrap()
    };
    let sent = with_input(&["--body-file", "-", "--json", "-o", "-"], b"from stdin");
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    let result = document(&sent);
    assert_eq!(result["operations"]["verified"], 5);
    let length = result["network"]["bytes_sent"].as_u64().unwrap();
    assert!(
        with_input(&["-b", "from stdin", "-o", "a.json", "--json"], b"")
            .status
            .success()
    );
    let other = json(&folder.path().join("a.json"));
    assert_eq!(other["network"]["bytes_sent"], length);
    let log = with_input(&["-b", "x", "-o", "a.json", "--hlog", "-"], b"");
    let log_text = String::from_utf8_lossy(&log.stdout);
    assert!(log_text.contains("Tag=service_time."), "{}", stderr(&log));
    let scenario = with_input(&["-b", "x", "--dry-run", "--save-scenario", "-"], b"");
    assert!(scenario.status.success() && stderr(&scenario).contains("the first"));
    let planned = sockrates()
        .args(["bench", "-", "--dry-run"])
        .write_stdin(scenario.stdout)
        .output()
        .unwrap();
    assert_eq!(planned.status.code(), Some(0), "{}", stderr(&planned));
    let large = with_input(&["--body-file", "-"], &vec![b'x'; (1 << 20) + 1]);
    assert_eq!(large.status.code(), Some(2), "{}", stderr(&large));
    let baseline = with_input(&["-b", "x", "--repeat", "4", "--baseline", "-"], b"{}");
    assert_eq!(baseline.status.code(), Some(6), "{}", stderr(&baseline));
    for both in [
        &["--hlog", "-"][..],
        &["--save-scenario", "-"],
        &["-o", "a.json", "--hlog", "-", "--save-scenario", "-"],
        &["-o", "a.json", "--hlog", "a.json"],
        &["-o", "a.toml", "--save-scenario", "a.toml"],
        &["--body-file", "-", "--baseline", "-"],
    ] {
        let refused = with_input(both, b"");
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{both:?}: {}",
            stderr(&refused)
        );
    }
    assert!(!folder.path().join("-").exists());
}

/// A path need not be UTF-8.
#[test]
fn any_name_will_do_for_a_file() {
    use std::os::unix::ffi::OsStrExt;
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let named = |end: &[u8]| {
        let name = [b"\xff\xfe".as_slice(), end].concat();
        folder.path().join(std::ffi::OsStr::from_bytes(&name))
    };
    let body = named(b"body");
    sockrates_core::files::write_whole(&body, b"x").unwrap();
    let files = [
        ("--body-file", body),
        ("--output", named(b"result.json")),
        ("--hlog", named(b"log")),
        ("--save-scenario", named(b"s.toml")),
    ];
    let mut command = sockrates();
    command.args(["run", &server.http("/echo"), "-c", "1", "-n", "5", "--json"]);
    for (flag, path) in &files {
        command.arg(flag).arg(path);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let result = json(&files[1].1);
    assert!(result["command"].as_str().unwrap().contains("body"));
    let missing = sockrates()
        .args([
            "run",
            &server.http("/echo"),
            "--repeat",
            "4",
            "-n",
            "5",
            "--baseline",
        ])
        .arg(named(b"none"))
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(6), "{}", stderr(&missing));
    let results = named(b"results");
    let compared = sockrates()
        .args([
            "run",
            &server.http("/echo"),
            "-b",
            "x",
            "-c",
            "1",
            "-d",
            "50ms",
            "-w",
            "0",
        ])
        .args([
            "--repeat",
            "2",
            "--compare-lifecycles",
            "--quiet",
            "--results",
        ])
        .arg(&results)
        .output()
        .unwrap();
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    let run = only_run(&results);
    for verb in ["report", "check"] {
        let output = sockrates()
            .args([verb, "--results"])
            .arg(&results)
            .args(if verb == "check" {
                &["--baseline", "latest"][..]
            } else {
                &[]
            })
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{verb}: {}", stderr(&output));
    }
    // Those that may be a name, too, are refused.
    for verb in [
        &["report"][..],
        &["compare", "latest"],
        &["check"],
        &["bench"],
        &["bench", "--resume"],
    ] {
        let output = sockrates().args(verb).arg(&run).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{verb:?}: {}",
            stderr(&output)
        );
    }
}

/// Every flag that takes a time takes it in parts, and the plan says it.
#[test]
fn times_may_have_several_units() {
    let url = "http://127.0.0.1:9/";
    let planned = |arguments: &[&str]| {
        let output = run(&[&[url, "--dry-run", "--save-scenario", "-"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let long = planned(&["-d", "1h30m", "-w", "1m30s", "--timeout", "1m5s"]);
    for field in [
        "window_ms = 5400000",
        "warm_up_ms = 90000",
        "timeout_ms = 65000",
    ] {
        assert!(long.contains(field), "{long}");
    }
    let risen = planned(&["-d", "2h", "--ramp", "1m1s", "-w", "0"]);
    assert!(risen.contains("ramp_ms = 61000"), "{risen}");
    // So many are due in less than three hours.
    let counted = planned(&["-n", "10k", "-r", "1"]);
    assert!(counted.contains("window_ms = 106"), "{counted}");
    let server = Server::start(&["--idle-timeout", "1m30s", "--header-timeout", "1s500ms"]);
    assert!(run(&[&server.http("/healthz"), "-n", "5"]).status.success());
}

#[test]
fn a_signal_ends_the_load_and_keeps_what_was_measured() {
    let server = Server::start(&[]);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for load in [&["-c", "2"][..], &["-c", "2", "-r", "300"]] {
            let started = Command::new(env!("CARGO_BIN_EXE_sockrates"))
                .args([
                    "run",
                    &server.http("/healthz"),
                    "-d",
                    "50s",
                    "-w",
                    "0",
                    "--json",
                ])
                .args(load)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let id = started.id();
            std::thread::sleep(SETTLED);
            kill(pid(id), signal).unwrap();
            let output = started.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
            let result = document(&output);
            schema().validate(&result).unwrap();
            balances(&result);
            assert_eq!(result["status"], "partial");
            assert!(result["operations"]["verified"].as_u64().unwrap() > 0);
            assert!(result["window_ns"].as_u64().unwrap() < 50_000_000_000);
        }
    }
}

#[test]
fn a_server_that_stands_still_or_dies_is_told() {
    let server = Server::start(&[]);
    let start = |duration: &str| {
        Command::new(env!("CARGO_BIN_EXE_sockrates"))
            .args([
                "run",
                &server.http("/healthz"),
                "-c",
                "3",
                "-r",
                "300",
                "-w",
                "0",
                "--json",
            ])
            .args(["-d", duration])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let frozen = start("5s");
    std::thread::sleep(SETTLED);
    server.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(600));
    server.signal(Signal::SIGCONT);
    let output = frozen.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let result = document(&output);
    balances(&result);
    let silence = result["health"]["silence"]["ns"].as_u64().unwrap();
    assert!(silence > 400_000_000, "{silence}");
    // Whoever came while it stood still waited: the tail knows, since it counts from when they were due.
    let longest = result["times"]["response_time"]["max_ns"].as_u64().unwrap();
    assert!(longest > 400_000_000, "{longest}");
    let reasons = result["trust"]["reasons"].to_string();
    assert!(reasons.contains("nothing was answered for"), "{reasons}");

    let killed = start("5s");
    std::thread::sleep(SETTLED);
    server.signal(Signal::SIGKILL);
    let output = killed.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("was lost"), "{}", stderr(&output));
    let result = document(&output);
    balances(&result);
    let books = &result["operations"];
    assert!(books["verified"].as_u64().unwrap() > 0 && books["failed"].as_u64().unwrap() > 0);
}

#[test]
fn a_server_that_dies_between_repetitions_leaves_what_it_answered() {
    let server = Server::start(&[]);
    let started = sockrates_started(&[
        &server.http("/healthz"),
        "-c",
        "2",
        "-d",
        "500ms",
        "-w",
        "0",
        "--repeat",
        "20",
        "--json",
    ]);
    std::thread::sleep(SETTLED);
    server.signal(Signal::SIGKILL);
    let output = started.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let result = document(&output);
    balances(&result);
    assert_eq!(result["status"], "partial");
    assert!(result["trials"].as_u64().unwrap() >= 1);
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let server = Server::start(&[]);
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_sockrates"))
        .args([
            "run",
            &server.http("/healthz"),
            "-n",
            "10",
            "-c",
            "2",
            "--json",
        ])
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(6));
}

#[test]
fn credentials_are_not_kept() {
    let server = Server::start(&[]);
    let output = run(&[
        &server.http("/healthz"),
        "-n",
        "10",
        "-c",
        "2",
        "--json",
        "-H",
        "Authorization: Bearer secret",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        !text.contains("secret") && text.contains("Authorization: (not kept)"),
        "{text}"
    );
}

/// Returns the bytes that a dry run shows, as the server would see them.
fn shown(arguments: &[&str]) -> String {
    let output = run(&[arguments, &["--dry-run"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, bytes) = text.split_once(" bytes:\n").unwrap();
    let lines = bytes.lines().map(|line| line.strip_prefix("  ").unwrap());
    lines
        .collect::<String>()
        .replace("\\r", "\r")
        .replace("\\n", "\n")
}

#[test]
fn a_dry_run_shows_the_very_bytes_that_are_sent_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (http, ws) = (
        format!("http://{address}/a?b=c"),
        format!("ws://{address}/d"),
    );
    for arguments in [
        &[
            &*http,
            "-b",
            "hello",
            "-H",
            "X-A: b",
            "--lifecycle",
            "per-request",
        ][..],
        &[&*ws, "--subprotocol", "chat", "--seed", "7"],
    ] {
        let expected = shown(arguments);
        let started = sockrates_started(arguments);
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = vec![0; expected.len()];
        stream.read_exact(&mut sent).unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
        stream.write_all(b"no\r\n\r\n").unwrap();
        drop(stream);
        assert_eq!(started.wait_with_output().unwrap().status.code(), Some(3));
    }
}

fn sockrates_started(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sockrates"))
        .arg("run")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_saved_scenario_measures_the_same_thing() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let output = sockrates()
        .args([
            "run",
            &server.ws("/ws/echo"),
            "-c",
            "2",
            "-d",
            "60ms",
            "-w",
            "20ms",
        ])
        .args([
            "--message",
            "n {sequence}",
            "-r",
            "500",
            "--seed",
            "3",
            "--dry-run",
            "--save-scenario",
        ])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let results = folder.path().join("results");
    let output = sockrates()
        .arg("bench")
        .arg(&file)
        .args(["--blocks", "2", "--seed", "3", "--results"])
        .arg(&results)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = only_run(&results);
    let manifest = json(&run.join("run.json"));
    assert_eq!(manifest["running"]["host"], server.address);
    let summary = json(&run.join("summary.json"));
    let cell = &summary["cells"][0];
    assert_eq!(cell["lane"], "websocket-persistent");
    assert_eq!(cell["workload"], "custom");
    // 500/s for 60 ms, at random instants that the seed draws, in two blocks.
    let verified = cell["operations"]["verified"].as_u64().unwrap();
    assert!((20..=120).contains(&verified), "{verified}");
    assert_eq!(cell["operations"]["failed"], 0);
}

#[test]
fn whole_scenarios_run_against_a_server_of_ones_own() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/smoke.toml");
    let results = folder.path().join("results");
    let output = sockrates()
        .arg("bench")
        .arg(&smoke)
        .args(["--blocks", "1", "--target", &server.http("/"), "--results"])
        .arg(&results)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = json(&only_run(&results).join("summary.json"));
    for cell in summary["cells"].as_array().unwrap() {
        assert!(
            cell["operations"]["verified"].as_u64().unwrap() > 0,
            "{cell}"
        );
        assert_ne!(cell["transport"], "tcp", "a stranger has no floor");
        assert_eq!(cell["flags"]["running_server"], 1, "{cell}");
        // Unknown is not nothing.
        assert!(
            cell["metrics"].get("server_cpu_per_operation").is_none(),
            "{cell}"
        );
    }
    let report = std::fs::read_to_string(only_run(&results).join("report.md")).unwrap();
    assert!(report.contains("its CPU time is unknown, not zero"));
    let refused = |target: &str| {
        let output = sockrates()
            .args(["bench", "quick", "--target", target])
            .output()
            .unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, message) = refused("http://192.0.2.1/");
    assert_eq!(
        (code, message.contains("--allow-target")),
        (Some(7), true),
        "{message}"
    );
    let (code, message) = refused(&server.http("/echo"));
    assert_eq!(
        (code, message.contains("more than a server")),
        (Some(2), true),
        "{message}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let (code, message) = refused(&closed);
    assert_eq!(
        (code, message.contains("cannot reach")),
        (Some(3), true),
        "{message}"
    );
}

#[test]
fn lifecycles_are_compared_in_turn_and_the_difference_is_taken_apart() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let output = sockrates()
        .args([
            "run",
            &server.http("/echo"),
            "-b",
            "hello",
            "--expect-echo",
            "-c",
            "1",
        ])
        .args([
            "--compare-lifecycles",
            "--counterpart",
            &server.ws("/ws/echo"),
        ])
        .args(["--repeat", "6", "-d", "60ms", "-w", "20ms", "--results"])
        .arg(&results)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    // On a machine that others use the run concludes nothing, and says so; the numbers stand there all the same.
    assert!(
        text.contains("http1-per-request against http1-persistent"),
        "{text}"
    );
    let summary = json(&only_run(&results).join("summary.json"));
    let cells = summary["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 5, "four lanes, one of them twice");
    for cell in cells {
        assert!(
            cell["operations"]["verified"].as_u64().unwrap() > 0,
            "{cell}"
        );
        assert_eq!(cell["operations"]["failed"], 0, "{cell}");
        assert_eq!(cell["trials"]["total"], 6);
    }
}

#[test]
fn a_baseline_tells_what_became_worse() {
    let fast = Server::start(&[]);
    let slow = Server::start(&["--delay", "http1=20000000"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("base.json");
    let common = [
        "-b", "x", "-c", "8", "-d", "150ms", "-w", "20ms", "--repeat", "6",
    ];
    let output = sockrates()
        .args(["run", &fast.http("/echo")])
        .args(common)
        .args(["--json", "--quiet", "-o"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let base = file.to_str().unwrap();
    let against = |url: &str, more: &[&str]| {
        let output = sockrates()
            .args(["run", url])
            .args(common)
            .args(more)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr(&output),
        )
    };
    let (code, text, message) = against(
        &slow.http("/echo"),
        &["--baseline", base, "--fail-on-regression"],
    );
    assert_eq!(code, Some(5), "{text}{message}");
    assert!(
        text.contains("WORSE") && message.contains("throughput"),
        "{text}{message}"
    );
    // Without the switch the same is told, and is no failure.
    let (code, text, _) = against(&slow.http("/echo"), &["--baseline", base]);
    assert_eq!((code, text.contains("WORSE")), (Some(0), true), "{text}");
    let (code, _, message) = against(&fast.http("/echo"), &["--baseline", base, "--rate", "50"]);
    assert_eq!(
        (code, message.contains("the load")),
        (Some(2), true),
        "{message}"
    );
    let few = sockrates()
        .args([
            "run",
            "-b",
            "x",
            &fast.http("/echo"),
            "-c",
            "8",
            "-d",
            "80ms",
            "--baseline",
            base,
        ])
        .output()
        .unwrap();
    assert_eq!(few.status.code(), Some(2));
    assert!(stderr(&few).contains("--repeat 4"), "{}", stderr(&few));
}

#[test]
fn credentials_are_in_no_file_of_a_comparison() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let output = run(&[
        &server.http("/echo"),
        "-H",
        "X-Api-Token: topsecret",
        "-b",
        "hello",
        "--expect-echo",
        "-c",
        "1",
        "-w",
        "50ms",
        "-d",
        "100ms",
        "--repeat",
        "2",
        "--compare-lifecycles",
        "--results",
        results.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = only_run(&results);
    let mut files = 0;
    for part in ["", "trials"] {
        for entry in std::fs::read_dir(run.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files += 1;
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(!text.contains("topsecret"), "{}", path.display());
            }
        }
    }
    assert!(files > 8, "{files}");
    let manifest = std::fs::read_to_string(run.join("run.json")).unwrap();
    assert!(manifest.contains("X-Api-Token: (not kept)"), "{manifest}");
}

/// A server that answers the first requests well, and all others with an error: from some instant on nothing is right any
/// more, though it is there and answers.
#[test]
fn a_server_that_answers_well_no_longer_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let answered = Arc::new(AtomicU32::new(0));
        for stream in listener.incoming().map_while(Result::ok) {
            let answered = Arc::clone(&answered);
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut request = [0; 1024];
                while matches!(stream.read(&mut request), Ok(1..)) {
                    let status = match answered.fetch_add(1, Ordering::Relaxed) {
                        ..200 => "200 OK",
                        _ => "500 Broken",
                    };
                    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let output = run(&[
        &url, "-c", "2", "-r", "500", "-d", "2s", "-w", "0", "--json",
    ]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("answers well no longer"),
        "{}",
        stderr(&output)
    );
    let result = document(&output);
    balances(&result);
    assert!(result["operations"]["verified"].as_u64() > Some(100));
}
