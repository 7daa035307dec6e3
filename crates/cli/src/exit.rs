//! Exit codes: one table, used everywhere (`docs/EXIT-CODES.md` is the reader's copy).

use std::fmt::Display;

use nix::sys::signal::Signal;
use sockrates_core::record::FailedTrial;

/// What the exit code says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Something this program did not foresee.
    Unexpected = 1,
    /// The command line or an input file is wrong.
    Usage = 2,
    /// The target is down, refuses, or is not what it should be.
    Target = 3,
    /// The harness failed, the server was lost, or a cell has no valid trial.
    Harness = 4,
    /// A check found a difference.
    Gate = 5,
    /// Results cannot be written or read.
    Results = 6,
    /// This environment cannot do it: descriptors, permission.
    Environment = 7,
    /// The terminal is gone (SIGHUP); what was measured is saved and marked.
    HungUp = 129,
    /// Interrupted by SIGINT; what was measured is saved and marked.
    Interrupted = 130,
    /// Ended by SIGTERM; what was measured is saved and marked.
    Terminated = 143,
}

impl Exit {
    /// What a signal that ended a measurement means for the command.
    pub(crate) const fn of_signal(signal: Signal) -> Self {
        match signal {
            Signal::SIGHUP => Self::HungUp,
            Signal::SIGINT => Self::Interrupted,
            _ => Self::Terminated,
        }
    }

    /// What a failed trial means for the command that ran it.
    pub(crate) const fn of_trial(reason: FailedTrial) -> Self {
        match reason {
            FailedTrial::TargetUnreachable => Self::Target,
            FailedTrial::Environment => Self::Environment,
            FailedTrial::ServerLost | FailedTrial::Harness | FailedTrial::Interrupted => {
                Self::Harness
            }
        }
    }
}

/// An error with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// An error that is a sentence.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            error: anyhow::anyhow!("{message}"),
        }
    }
}

/// What no one gave a code is unexpected.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit: Exit::Unexpected,
            error: error.into(),
        }
    }
}

/// Gives errors their exit code where their meaning is known.
pub(crate) trait OrExit<T> {
    /// Says what was being done, and which exit code its failure has.
    fn or_exit(self, exit: Exit, doing: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit, doing: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            exit,
            error: error.into().context(doing.to_string()),
        })
    }
}
