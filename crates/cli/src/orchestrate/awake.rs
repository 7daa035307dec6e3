//! Keeps the CPUs of a trial awake, if the trial asks for that, in a process beside client and server.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use sockrates_core::cpu_idle::{CpuIdle, CpuIdleFacts};
use sockrates_core::plan::TrialSpec;
use sockrates_core::surroundings::Surroundings;

use crate::keep_awake::READY;

/// A reason is a sentence.
const MAX_LINE_BYTES: u64 = 4 << 10;

/// The process that keeps CPUs awake, or the reason why there is none.
pub(super) struct Awake {
    asked: CpuIdle,
    child: Option<Child>,
    refusal: Option<String>,
}

impl Awake {
    /// Starts it where the trial asks for it, and waits until all its CPUs are awake.
    pub(super) fn start(spec: &TrialSpec) -> Self {
        let started = match spec.cell.cpu_idle {
            CpuIdle::AsIs => None,
            CpuIdle::Awake => Some(spawn(&cpus(spec))),
        };
        let (child, refusal) = match started {
            None => (None, None),
            Some(Ok(child)) => (Some(child), None),
            Some(Err(reason)) => (None, Some(reason)),
        };
        Self {
            asked: spec.cell.cpu_idle,
            child,
            refusal,
        }
    }

    /// Returns the process whose CPU time is nobody's.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it, and says what the trial got; `None` for a trial that asked for nothing.
    pub(super) fn stop(mut self, around: Option<&Surroundings>) -> Option<CpuIdleFacts> {
        if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
            self.refusal = Some(format!("what kept the CPUs awake ended early ({status})"));
        }
        let achieved = match (self.asked, &self.refusal) {
            (CpuIdle::Awake, None) => CpuIdle::Awake,
            _ => CpuIdle::AsIs,
        };
        (self.asked == CpuIdle::Awake).then(|| CpuIdleFacts {
            asked: self.asked,
            achieved,
            spinner_cpu_ns: around.map_or(0, |around| around.spinner_cpu_ns),
            refusal: self.refusal.take(),
        })
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns the CPUs of both ends.
fn cpus(spec: &TrialSpec) -> Vec<u32> {
    let placement = &spec.placement;
    let mut cpus = [&placement.client_cpus[..], &placement.server_cpus[..]].concat();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

fn spawn(cpus: &[u32]) -> Result<Child, String> {
    let list: Vec<_> = cpus.iter().map(u32::to_string).collect();
    let start = || {
        Command::new(std::env::current_exe()?)
            .args(["keep-awake", "--cpus", &list.join(",")])
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut child = start().map_err(|error| format!("cannot start what keeps awake: {error}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut line = String::new();
    // One that cannot start ends, which ends the line, too.
    let read = BufReader::new(stdout.take(MAX_LINE_BYTES)).read_line(&mut line);
    match (read, line.trim()) {
        (Ok(_), READY) => return Ok(child),
        (Ok(_), "") => line.push_str("what keeps awake did not start"),
        (Ok(_), _) => {}
        (Err(error), _) => line = error.to_string(),
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use sockrates_core::plan::{Cell, Placement};
    use sockrates_core::scenario::Timing;

    use super::*;

    fn spec(cpu_idle: CpuIdle) -> TrialSpec {
        let lane = "http1-persistent".parse().unwrap();
        let cell = Cell {
            cpu_idle,
            ..Cell::echo(lane, 64, Timing::default())
        };
        TrialSpec::alone(cell, Placement::split(&[2, 3, 0]))
    }

    #[test]
    fn a_trial_that_asks_for_nothing_gets_nothing() {
        let spec = spec(CpuIdle::AsIs);
        let awake = Awake::start(&spec);
        assert_eq!((awake.pid(), awake.stop(None)), (None, None));
        assert_eq!(cpus(&spec), [0, 2, 3]);
    }

    #[test]
    fn a_refusal_is_a_fact_of_the_record() {
        // The program of the tests knows no such verb.
        let facts = Awake::start(&spec(CpuIdle::Awake)).stop(None).unwrap();
        assert_eq!(
            (facts.asked, facts.achieved),
            (CpuIdle::Awake, CpuIdle::AsIs)
        );
        assert!(facts.refusal.is_some());
    }
}
