//! `sockrates keep-awake`: keeps CPUs from halting until stdin closes. A process of its own, so that its CPU time is on
//! no account but its own.

use std::io::Read;

use clap::Args;
use sockrates_probe::process;
use sockrates_probe::spinners::Spinners;

use crate::exit::{Exit, Failure, OrExit};
use crate::output;

/// What is printed once all CPUs are kept awake; anything else is the reason why they are not.
pub(crate) const READY: &str = "awake";

/// Keep CPUs awake until stdin closes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The CPUs
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    cpus: Vec<u32>,
    /// End when this process ends, or has ended already
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    process::die_with_parent(arguments.parent)
        .or_exit(Exit::Environment, "stay with whoever started this")?;
    let spinners = match Spinners::start(&arguments.cpus) {
        Ok(spinners) => spinners,
        Err(error) => {
            output::result(&format!(
                "idle priority (SCHED_IDLE) was refused: {error}\n"
            ));
            return Ok(());
        }
    };
    output::result(&format!("{READY}\n"));
    // Nobody writes: the end, or an error, is all that can come.
    let _ = std::io::stdin().read(&mut [0]);
    drop(spinners);
    Ok(())
}
