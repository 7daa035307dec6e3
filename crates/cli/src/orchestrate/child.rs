//! A trial in a process of its own: the spec goes in, the record comes out, and time is bounded.

use std::future::pending;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockrates_core::document;
use sockrates_core::files::{MAX_DOCUMENT_BYTES, too_large};
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{FailedTrial, TrialRecord};
use sockrates_core::schedule::Load;
use sockrates_probe::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::capacity;
use crate::signals::Stop;

/// How much longer than planned a trial may take before it is ended: start, drain, time-outs.
const GRACE: Duration = Duration::from_secs(20);

/// A complaint is a sentence or two.
const MAX_COMPLAINT_BYTES: u64 = 64 << 10;

/// Performs one trial: in a fresh process, or, for a search, in many. A signal ends it early; its record then says so.
pub(crate) async fn trial(spec: &TrialSpec, stop: &Stop) -> TrialRecord {
    match spec.cell.load {
        Load::Capacity { p99_ms } => Box::pin(capacity::search(spec, p99_ms, stop)).await,
        _ => perform(spec, Some(stop)).await,
    }
}

/// Performs one load in a fresh process. Dropping the future ends the process.
pub(crate) async fn perform(spec: &TrialSpec, stop: Option<&Stop>) -> TrialRecord {
    let started_unix_ms = clock::unix_ms();
    attempt(spec, stop).await.unwrap_or_else(|message| {
        let is_stopped = stop.is_some_and(|stop| stop.now().is_some());
        let reason = if is_stopped {
            FailedTrial::Interrupted
        } else {
            FailedTrial::Harness
        };
        TrialRecord::failed(spec.clone(), started_unix_ms, reason, message)
    })
}

async fn attempt(spec: &TrialSpec, stop: Option<&Stop>) -> Result<TrialRecord, String> {
    let child = spawn().map_err(|error| format!("cannot start the trial: {error}"))?;
    let pid = child.id().expect("the trial has not been waited for");
    let json = document::to_json(spec);
    let mut talking = pin!(bounded(spec, talk(child, &json)));
    let output = tokio::select! {
        output = &mut talking => output,
        () = end_early(stop, pid) => talking.await,
    }?;
    let (output, complaint, status) =
        output.map_err(|error| format!("cannot talk to the trial: {error}"))?;
    document::parse(&output).map_err(|error| {
        format!("the trial ended with {status} and left no record ({error}): {complaint}")
    })
}

/// Tells the trial to come to its end when a signal asks for that.
async fn end_early(stop: Option<&Stop>, pid: u32) {
    let Some(mut stop) = stop.cloned() else {
        return pending().await;
    };
    stop.asked().await;
    // It may have ended by itself.
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
}

/// In a process group of its own: an interrupt from the terminal reaches this process alone, which
/// then decides what to keep.
fn spawn() -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["trial", "--parent", &std::process::id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Returns what the trial printed: its record, and what it complained of; and how it ended. A failed trial says why in
/// both; the complaint matters only where there is no record.
async fn talk(mut child: Child, spec: &[u8]) -> std::io::Result<(Vec<u8>, String, ExitStatus)> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(spec).await?;
    drop(stdin);
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let record = async {
        // A record that is too large ends the talk, and the trial with it.
        let mut limited = (&mut stdout).take(MAX_DOCUMENT_BYTES + 1);
        match limited.read_to_end(&mut output).await? as u64 {
            ..=MAX_DOCUMENT_BYTES => Ok(()),
            _ => Err(too_large(MAX_DOCUMENT_BYTES)),
        }
    };
    // The pipe closes behind what is read of it: nobody waits for a reader of more.
    let complaining = async {
        let mut limited = stderr.take(MAX_COMPLAINT_BYTES);
        limited.read_to_end(&mut complaint).await
    };
    tokio::try_join!(record, complaining)?;
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    Ok((output, complaint, child.wait().await?))
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
