//! Trials of the real binary, one after the other.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail};
use sockrates_core::cpu_idle::CpuIdle;
use sockrates_core::document;
use sockrates_core::plan::{Cell, Placement, Target, TrialSpec};
use sockrates_core::record::{Measurement, Metric, Outcome, TrialRecord};
use sockrates_core::scenario::Timing;
use sockrates_core::verdict::{self, Flag};
use sockrates_probe::cpu;

use crate::page::Row;

/// The program under test.
pub(crate) const SOCKRATES: &str = env!("CARGO_BIN_EXE_sockrates");

/// Returns one CPU for each end: formulas for queues know a single server.
pub(crate) fn placement() -> anyhow::Result<Placement> {
    let mut placement = Placement::split(&cpu::usable()?);
    placement.server_cpus.truncate(1);
    placement.client_cpus.truncate(1);
    Ok(placement)
}

/// Returns the times of a trial that warms up briefly and gives slow operations all the time they need.
pub(crate) const fn timing(window_ms: u32) -> Timing {
    Timing {
        warm_up_ms: 200,
        ramp_ms: 0,
        window_ms,
        drain_ms: 5000,
        timeout_ms: 10_000,
    }
}

/// Makes a cell that echoes 64 bytes over one connection, with CPUs kept awake: formulas know nothing of waking them.
pub(crate) fn echo(lane: &str, window_ms: u32) -> anyhow::Result<Cell> {
    Ok(Cell {
        cpu_idle: CpuIdle::Awake,
        ..Cell::echo(lane.parse()?, 64, timing(window_ms))
    })
}

/// Makes a trial against a fresh server with these further arguments.
pub(crate) fn spec(cell: Cell, arguments: &[&str]) -> anyhow::Result<TrialSpec> {
    let arguments = arguments.iter().map(|&argument| argument.into()).collect();
    Ok(TrialSpec {
        target: Target::Fresh { arguments },
        ..TrialSpec::alone(cell, placement()?)
    })
}

/// Measures; a trial that something outside disturbed is repeated, as in a run, and the last one counts.
pub(crate) fn measure(spec: &TrialSpec) -> anyhow::Result<Measurement> {
    let (measured, ()) = measure_with(spec, |spec| Ok((once(spec)?, ())))?;
    Ok(measured)
}

/// Measures as [`measure`] does, with something around each trial.
pub(crate) fn measure_with<T>(
    spec: &TrialSpec,
    mut once: impl FnMut(&TrialSpec) -> anyhow::Result<(TrialRecord, T)>,
) -> anyhow::Result<(Measurement, T)> {
    let mut spec = spec.clone();
    loop {
        let (record, around) = once(&spec)?;
        let disturbances = verdict::disturbances(&record);
        if disturbances.is_empty() || spec.attempt == verdict::MAX_REPEATS {
            if !disturbances.is_empty() {
                println!("  disturbed to the last attempt: {disturbances:?}");
                DISTURBED.lock().expect("no panic").push(disturbances);
            }
            return Ok((measurement(record)?, around));
        }
        spec.attempt += 1;
    }
}

/// The trials that stayed disturbed since they were last asked for.
static DISTURBED: Mutex<Vec<Vec<Flag>>> = Mutex::new(Vec::new());

/// Says how many trials stayed disturbed since it was last asked, and by what; `None` when none did.
pub(crate) fn disturbed() -> Option<Row> {
    let disturbed = std::mem::take(&mut *DISTURBED.lock().expect("no panic"));
    let flags: BTreeSet<_> = disturbed.iter().flatten().collect();
    let row = Row::judged(
        "trials that stayed disturbed",
        "none",
        format!("{}: {}", disturbed.len(), serde_json::json!(flags)),
        true,
    );
    (!disturbed.is_empty()).then(|| row.only_shown())
}

/// Performs one trial, whatever disturbs it.
pub(crate) fn once(spec: &TrialSpec) -> anyhow::Result<TrialRecord> {
    let mut child = Command::new(SOCKRATES)
        .arg("trial")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    stdin.write_all(&document::to_json(spec))?;
    drop(stdin);
    let output = child.wait_with_output()?;
    Ok(document::parse(&output.stdout)?)
}

fn measurement(record: TrialRecord) -> anyhow::Result<Measurement> {
    if let Outcome::Failed { message, .. } = record.outcome {
        bail!("the trial failed: {message}");
    }
    let measured = record.measurement.context("a trial has a measurement")?;
    let operations = &measured.operations;
    if operations.verified == 0 || operations.verified != operations.issued {
        bail!("not every operation was verified: {operations:?}");
    }
    Ok(measured)
}

/// Returns a quantile in nanoseconds.
pub(crate) fn quantile(measured: &Measurement, metric: Metric, quantile: f64) -> f64 {
    measured.histograms[&metric].quantile_unchecked_ns(quantile) as f64
}

/// Returns the mean in nanoseconds.
pub(crate) fn mean(measured: &Measurement, metric: Metric) -> f64 {
    measured.histograms[&metric].mean_ns().unwrap_or_default()
}

/// Returns the server's CPU time per operation in nanoseconds.
pub(crate) fn server_cpu(measured: &Measurement) -> anyhow::Result<f64> {
    let around = measured.surroundings.as_ref();
    let server = around.and_then(|around| around.server.as_ref());
    let server = server.context("the kernel does not say how long the server ran")?;
    Ok(server.cpu_ns as f64 / operations(measured))
}

/// Returns the CPU time of both ends and of the kernel's network thread per operation, in nanoseconds: the number that
/// reports compare.
pub(crate) fn cpu(measured: &Measurement) -> anyhow::Result<f64> {
    let kernel_ns = measured
        .surroundings
        .as_ref()
        .map_or(0, |around| around.ksoftirqd_ns);
    let rest = (measured.client.cpu_ns() + kernel_ns) as f64 / operations(measured);
    Ok(server_cpu(measured)? + rest)
}

fn operations(measured: &Measurement) -> f64 {
    (measured.operations.verified + measured.warm_up.verified) as f64
}
