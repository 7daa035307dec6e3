//! `sockrates trial`: exactly one trial, its spec on stdin, its record on stdout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use sockrates_core::document::{self, Document};
use sockrates_core::files::{MAX_DOCUMENT_BYTES, read_to_limit};
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::Outcome;
use sockrates_loadgen::live::Live;
use sockrates_probe::{limits, process};

use crate::exit::{Exit, Failure, OrExit};
use crate::signals::Signals;
use crate::{orchestrate, output};

/// Run one trial: a `TrialSpec` as JSON on stdin, its `TrialRecord` on stdout.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// End when this process ends, or has ended already
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    process::die_with_parent(arguments.parent)
        .or_exit(Exit::Environment, "stay with whoever started this trial")?;
    let signals = Signals::hold()?;
    limits::raise_descriptors().or_exit(Exit::Environment, "raise the limit of open files")?;
    let reading = || format!("read a {} from stdin", TrialSpec::KIND);
    let json =
        read_to_limit(std::io::stdin(), MAX_DOCUMENT_BYTES).or_exit(Exit::Usage, reading())?;
    let spec: TrialSpec = document::parse(&json).or_exit(Exit::Usage, reading())?;
    // A process with a second thread cannot enter a namespace of its own as every user may.
    let isolation = orchestrate::isolate(&spec);
    let live = Arc::<Live>::default();
    let stopping = Arc::new(AtomicBool::new(false));
    signals.listen({
        let (live, stopping) = (Arc::clone(&live), Arc::clone(&stopping));
        move |exit| {
            stopping.store(true, Ordering::Relaxed);
            live.stop();
            if live.progress().start_ns == 0 {
                // The load has not begun: there is nothing to keep.
                std::process::exit(exit as i32);
            }
        }
    })?;
    let mut record = orchestrate::trial(spec, isolation, &live);
    if stopping.load(Ordering::Relaxed) {
        orchestrate::cut_short(&mut record);
    }
    output::result(std::str::from_utf8(&document::to_json(&record)).expect("JSON is UTF-8"));
    match record.outcome {
        Outcome::Completed => Ok(()),
        Outcome::Failed { reason, message } => Err(Failure::new(Exit::of_trial(reason), message)),
    }
}
