//! A trial in a process of its own: the spec goes in, the record comes out, and time is bounded.

use std::process::Stdio;
use std::time::Duration;

use sockrates_core::document;
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{FailedTrial, TrialRecord};
use sockrates_core::schedule::Load;
use sockrates_probe::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::capacity;

/// How much longer than planned a trial may take before it is ended: start, drain, time-outs.
const GRACE: Duration = Duration::from_secs(20);

/// Performs one trial: in a fresh process, or, for a search, in many.
pub(crate) async fn trial(spec: &TrialSpec) -> TrialRecord {
    match spec.cell.load {
        Load::Capacity { p99_ms } => Box::pin(capacity::search(spec, p99_ms)).await,
        _ => perform(spec).await,
    }
}

/// Performs one load in a fresh process. Dropping the future ends the process.
pub(crate) async fn perform(spec: &TrialSpec) -> TrialRecord {
    let started_unix_ms = clock::unix_ms();
    attempt(spec).await.unwrap_or_else(|message| {
        TrialRecord::failed(spec.clone(), started_unix_ms, FailedTrial::Harness, message)
    })
}

async fn attempt(spec: &TrialSpec) -> Result<TrialRecord, String> {
    let mut child = spawn().map_err(|error| format!("cannot start the trial: {error}"))?;
    let output = bounded(spec, talk(&mut child, &document::to_json(spec))).await?;
    let (output, complaint) =
        output.map_err(|error| format!("cannot talk to the trial: {error}"))?;
    let status = child
        .wait()
        .await
        .map_err(|error| format!("lost the trial: {error}"))?;
    document::parse(&output).map_err(|error| {
        format!("the trial ended with {status} and left no record ({error}): {complaint}")
    })
}

/// In a process group of its own: an interrupt from the terminal reaches this process alone, which
/// then decides what to keep.
fn spawn() -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("trial")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Returns what the trial printed: its record, and what it complained of. A failed trial says why in
/// both; the complaint matters only where there is no record.
async fn talk(child: &mut Child, spec: &[u8]) -> std::io::Result<(Vec<u8>, String)> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(spec).await?;
    drop(stdin);
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    tokio::try_join!(
        stdout.read_to_end(&mut output),
        stderr.read_to_end(&mut complaint)
    )?;
    Ok((
        output,
        String::from_utf8_lossy(&complaint).trim().to_owned(),
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bound of seconds, not a measurement"
)]
async fn bounded<T>(spec: &TrialSpec, work: impl Future<Output = T>) -> Result<T, String> {
    let timing = spec.cell.timing;
    let own = timing.warm_up_ms + timing.window_ms + timing.drain_ms + timing.timeout_ms;
    let bound = Duration::from_millis(own.into()) + GRACE;
    let bounded = tokio::time::timeout(bound, work).await;
    bounded.map_err(|_| format!("the trial did not end within {} s", bound.as_secs()))
}
