//! `sockrates trial`: exactly one trial, its spec on stdin, its record on stdout.

use std::io::Read;

use clap::Args;
use sockrates_core::document::{self, Document};
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::Outcome;
use sockrates_probe::{limits, process};

use crate::exit::{Exit, Failure, OrExit};
use crate::{orchestrate, output};

/// Run one trial: a `TrialSpec` as JSON on stdin, its `TrialRecord` on stdout.
#[derive(Args, Debug)]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments) -> Result<(), Failure> {
    process::die_with_parent()?;
    limits::raise_descriptors().or_exit(Exit::Environment, "raise the limit of open files")?;
    let mut json = Vec::new();
    std::io::stdin().read_to_end(&mut json)?;
    let spec: TrialSpec = document::parse(&json).or_exit(
        Exit::Usage,
        format!("read a {} from stdin", TrialSpec::KIND),
    )?;
    let record = orchestrate::trial(spec);
    output::result(std::str::from_utf8(&document::to_json(&record)).expect("JSON is UTF-8"));
    match record.outcome {
        Outcome::Completed => Ok(()),
        Outcome::Failed { reason, message } => Err(Failure::new(Exit::of_trial(reason), message)),
    }
}
