//! `run` against a server that something outside freezes: what a user of any server would see.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sockrates_core::units;
use sockrates_probe::cpu;

use crate::options::Options;
use crate::page::Row;
use crate::trials::SOCKRATES;

pub(crate) const TEXT: &str = "\
`sockrates run` measures a server that knows nothing of it, while the server's process is stopped for S by a signal and\n\
then goes on (SIGSTOP, SIGCONT). Over T seconds at an even rate the p99 of the response time must be S − 0.01 T (1 − ρ)\n\
above the usual time, by the formula of a stall; and the result must say for how long nothing was answered.";

const RATE: f64 = 1000.0;
const CONNECTIONS: &str = "16";
const TOLERANCE: f64 = 0.05;

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    let (seconds, freeze_ms) = options.choose((30, 1000), (10, 500));
    let cpus = cpu::usable()?;
    let server_cpu = cpus.last().copied().unwrap_or_default();
    let mut server = Command::new(SOCKRATES)
        .args([
            "serve",
            "--stop-with-stdin",
            "--cpus",
            &server_cpu.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let rows = against(&mut server, seconds, freeze_ms);
    let _ = server.kill();
    server.wait()?;
    rows
}

fn against(server: &mut Child, seconds: u32, freeze_ms: u32) -> anyhow::Result<Vec<Row>> {
    let mut line = String::new();
    let stdout = server.stdout.as_mut().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line)?;
    let ready: Value = serde_json::from_str(&line)?;
    let url = format!(
        "http://{}/healthz",
        ready["http"].as_str().unwrap_or_default()
    );
    let closed = finish(run(&url, &["-d", "3s"])?)?;
    let capacity = number(&closed, "/throughput_per_second");
    let duration = format!("{seconds}s");
    let rate = RATE.to_string();
    let load = run(
        &url,
        &[
            "-d",
            &duration,
            "-r",
            &rate,
            "--arrivals",
            "constant",
            "--wait",
            "spin",
        ],
    )?;
    let pid = Pid::from_raw(server.id().try_into()?);
    // The warm-up, and a good part of the window.
    std::thread::sleep(std::time::Duration::from_secs(4));
    kill(pid, Signal::SIGSTOP)?;
    std::thread::sleep(std::time::Duration::from_millis(freeze_ms.into()));
    kill(pid, Signal::SIGCONT)?;
    let result = finish(load)?;
    Ok(rows(
        &result,
        f64::from(seconds) * 1e9,
        f64::from(freeze_ms) * 1e6,
        RATE / capacity,
    ))
}

fn run(url: &str, arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::new(SOCKRATES);
    command.args([
        "run",
        url,
        "-c",
        CONNECTIONS,
        "--percentiles",
        "50,99,99.9",
        "--json",
    ]);
    command.args(arguments).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn finish(child: Child) -> anyhow::Result<Value> {
    let output = child.wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "sockrates run ended with {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(result: &Value, pointer: &str) -> f64 {
    let value = result.pointer(pointer);
    value.and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn rows(result: &Value, window_ns: f64, freeze_ns: f64, load: f64) -> Vec<Row> {
    let quantile = |index: u32| {
        number(
            result,
            &format!("/times/response_time/percentiles/{index}/ns"),
        )
    };
    let usual = quantile(0);
    let above = |p: f64| usual + freeze_ns - (1.0 - p) * window_ns * (1.0 - load);
    let what = format!(
        "frozen for {} in {}, {} (ρ = {load:.3}): p99 of the response time",
        units::time(freeze_ns),
        units::time(window_ns),
        units::rate(RATE)
    );
    let reasons = result["trust"]["reasons"].to_string();
    vec![
        Row::near(what, above(0.99), quantile(1), TOLERANCE),
        Row::near(
            "p99.9 of the response time",
            above(0.999),
            quantile(2),
            TOLERANCE,
        ),
        Row::near(
            "the longest time without an answer",
            freeze_ns,
            number(result, "/health/silence/ns"),
            TOLERANCE,
        ),
        Row::judged(
            "the result says what happened",
            "nothing was answered for …",
            if reasons.contains("nothing was answered for") {
                "it does"
            } else {
                "it does not"
            },
            reasons.contains("nothing was answered for"),
        ),
    ]
}
