//! The `sockrates` command: flags in, verbs out. Each verb is one file; what a library crate can do
//! is done there.

mod bench;
mod calibrate;
mod check;
mod compare;
mod exit;
mod keep_awake;
mod list;
mod numbers;
mod orchestrate;
mod output;
mod progress;
mod report;
mod results;
mod run;
mod serve;
mod signals;
mod streams;
mod target;
mod trial;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use sockrates_probe::limits;

use crate::exit::{Exit, Failure, OrExit};

/// Measures what an application pays for opening a connection per request, and what it gains from
/// one that stays open: HTTP against WebSocket, and everything in between.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bench(bench::Arguments),
    Run(Box<run::Arguments>),
    Serve(serve::Arguments),
    Report(report::Arguments),
    Compare(compare::Arguments),
    Check(check::Arguments),
    Calibrate(calibrate::Arguments),
    List(list::Arguments),
    #[command(hide = true)]
    Trial(trial::Arguments),
    #[command(hide = true)]
    KeepAwake(keep_awake::Arguments),
}

fn main() -> ExitCode {
    // clap ends the process itself: 0 for help, 2 for a wrong command line.
    let arguments = Arguments::parse();
    let result = prepare().and_then(|()| perform(arguments));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, error }) => {
            output::note(&format!("sockrates: {error:#}"));
            ExitCode::from(exit as u8)
        }
    }
}

/// Sees to it that what this process lacks is an error with a name, and neither a panic nor a signal.
fn prepare() -> Result<(), Failure> {
    // A file that may not become longer is then an error of the write.
    let mut held = SigSet::empty();
    held.add(Signal::SIGXFSZ);
    held.thread_block()?;
    let limit =
        limits::raise_descriptors().or_exit(Exit::Environment, "raise the limit of open files")?;
    if limit < FEWEST_DESCRIPTORS {
        let message = format!(
            "{limit} open files are too few for anything: raise the limit (`ulimit -n`), to {FEWEST_DESCRIPTORS} at least"
        );
        return Err(Failure::new(Exit::Environment, message));
    }
    Ok(())
}

/// What a runtime, a server with one worker and the standard streams hold, and a few that were inherited.
const FEWEST_DESCRIPTORS: u64 = 24;

fn perform(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Report(arguments) => report::run(&arguments),
        Verb::Compare(arguments) => compare::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Calibrate(arguments) => calibrate::run(&arguments),
        Verb::List(arguments) => list::run(&arguments),
        Verb::Trial(arguments) => trial::run(&arguments),
        Verb::KeepAwake(arguments) => keep_awake::run(&arguments),
    }
}
