//! A fresh `sockrates serve` for one trial: started, asked where it listens, stopped, asked what it
//! used. It ends when its stdin closes, so that it never outlives the trial.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use sockrates_core::document;
use sockrates_core::files::{MAX_DOCUMENT_BYTES, read_to_limit};
use sockrates_core::plan::{Target, TrialSpec};
use sockrates_core::record::FailedTrial;
use sockrates_core::target::{ReadyLine, ServerUsage};
use sockrates_loadgen::trial::Addresses;

use super::Broken;

/// The line in which a server says where it listens is far shorter.
const MAX_LINE_BYTES: u64 = 64 << 10;

pub(super) struct FreshServer {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: ReadyLine,
}

impl FreshServer {
    /// Starts the server on its CPUs and waits until it is ready.
    pub(super) fn start(spec: &TrialSpec) -> Result<Self, Broken> {
        let harness = |message: String| Broken {
            reason: FailedTrial::Harness,
            message,
        };
        let mut child = command(spec)
            .and_then(|mut command| command.spawn())
            .map_err(|error| harness(format!("cannot start the server: {error}")))?;
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        // A server that cannot start ends, which ends the line, too.
        let read = (&mut stdout).take(MAX_LINE_BYTES).read_line(&mut line);
        if let Some(ready) = read.ok().and_then(|_| serde_json::from_str(&line).ok()) {
            return Ok(Self {
                child,
                stdout,
                ready,
            });
        }
        let status = child.kill().and_then(|()| child.wait()).ok();
        Err(harness(format!(
            "the server did not get ready ({})",
            describe(status)
        )))
    }

    pub(super) const fn pid(&self) -> u32 {
        self.ready.pid
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            http: self.ready.http,
            tcp: self.ready.tcp,
            server_pid: Some(self.pid()),
            network_is_own: false,
        }
    }

    /// Stops the server and returns its usage report; or says how it was lost before that.
    pub(super) fn stop(mut self) -> Result<ServerUsage, String> {
        let early = self.child.try_wait().ok().flatten();
        drop(self.child.stdin.take());
        let read = read_to_limit(&mut self.stdout, MAX_DOCUMENT_BYTES);
        let status = self.child.wait().ok();
        if early.is_some() {
            return Err(format!(
                "the server ended while it was measured ({})",
                describe(status)
            ));
        }
        let usage = read.ok().and_then(|rest| document::parse(&rest).ok());
        usage.ok_or_else(|| format!("the server left no usage report ({})", describe(status)))
    }
}

fn command(spec: &TrialSpec) -> std::io::Result<Command> {
    let cpus: Vec<_> = spec
        .placement
        .server_cpus
        .iter()
        .map(u32::to_string)
        .collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--stop-with-stdin"]);
    command.args(["--workers", &cpus.len().max(1).to_string()]);
    if !cpus.is_empty() {
        command.args(["--cpus", &cpus.join(",")]);
    }
    if let Target::Fresh { arguments } = &spec.target {
        command.args(arguments);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(
        || "its end is unknown".to_owned(),
        |status| status.to_string(),
    )
}
