//! The instrument against what is known beforehand: delays, a stall, queues with a formula, equal lanes, a small
//! difference, the packets themselves. Run by `just validate`, never by CI: a noisy neighbour could make it fail. Takes
//! about 12 minutes on a quiet machine and publishes what came out as `docs/VALIDATION.md`. Exits with 1 when a check
//! fails.
//!
//! Options are environment variables:
//!
//! - `SOCKRATES_VALIDATE_QUICK=1`: everything shorter, for development.
//! - `SOCKRATES_VALIDATE_ONLY=stall,queues`: only these checks, by the first words of their modules' names.
//! - `SOCKRATES_VALIDATE_REPETITIONS=10`: how often the small difference is looked for.
//! - `SOCKRATES_VALIDATE_WINDOW_MS=400`: how long each of its trials lasts, two of which make a pair.
//! - `SOCKRATES_RUNS=FOLDER:FOLDER`: runs of one plan that were made in a row; without them they are not compared.
//!
//! With any of the first four, the page is `target/VALIDATION.md` instead.

#![allow(
    clippy::print_stdout,
    reason = "it is a program, and this its progress"
)]

mod delays;
mod equal_lanes;
mod freeze;
mod news;
mod options;
mod page;
mod queues;
mod repeated;
mod sensitivity;
mod simulation;
mod stall;
mod trials;
mod wire;

use std::process::ExitCode;

use sockrates_core::units;
use sockrates_probe::clock;

use self::options::Options;
use self::page::{Row, Section};

/// One check: what it is called, what it is about, and how it is done.
struct Check {
    name: &'static str,
    title: &'static str,
    text: &'static str,
    run: fn(&Options) -> anyhow::Result<Vec<Row>>,
}

const CHECKS: [Check; 11] = [
    Check {
        name: "delays",
        title: "Known delays",
        text: delays::TEXT,
        run: delays::check,
    },
    Check {
        name: "stall",
        title: "A stall, and who notices it",
        text: stall::TEXT,
        run: stall::check,
    },
    Check {
        name: "freeze",
        title: "A server that is frozen from outside",
        text: freeze::TEXT,
        run: freeze::check,
    },
    Check {
        name: "queues",
        title: "Queues with a formula",
        text: queues::TEXT,
        run: queues::check,
    },
    Check {
        name: "news",
        title: "Polls, by their theory",
        text: news::TEXT,
        run: news::check,
    },
    Check {
        name: "simulated-lanes",
        title: "False alarms in simulated runs",
        text: simulation::ALARMS_TEXT,
        run: |_| Ok(simulation::alarms()),
    },
    Check {
        name: "equal-lanes",
        title: "False alarms in real runs",
        text: equal_lanes::TEXT,
        run: equal_lanes::check,
    },
    Check {
        name: "repeated",
        title: "Runs in a row say the same",
        text: repeated::TEXT,
        run: repeated::check,
    },
    Check {
        name: "sensitivity",
        title: "A small difference is found",
        text: sensitivity::TEXT,
        run: sensitivity::check,
    },
    Check {
        name: "wire",
        title: "The packets say the same",
        text: wire::TEXT,
        run: wire::check,
    },
    Check {
        name: "coverage",
        title: "Intervals hold the truth",
        text: simulation::COVERAGE_TEXT,
        run: |_| Ok(simulation::coverage()),
    },
];

fn main() -> ExitCode {
    let options = Options::from_environment();
    let wanted = CHECKS.iter().filter(|check| options.wants(check.name));
    let sections: Vec<_> = wanted.map(|check| perform(check, &options)).collect();
    let path = options.page_path();
    let page = page::page(&sections);
    let written = sockrates_core::files::write_whole(&path, page.as_bytes());
    let failed = sections.iter().filter(|section| !section.is_met()).count();
    println!("{} checks, {failed} failed", sections.len());
    match written {
        Ok(()) => println!("wrote {}", path.display()),
        Err(error) => println!("cannot write {}: {error}", path.display()),
    }
    ExitCode::from(u8::from(failed > 0 || sections.is_empty()))
}

fn perform(check: &Check, options: &Options) -> Section {
    println!("{}", check.title);
    let began_ns = clock::monotonic_ns();
    let mut rows = (check.run)(options).unwrap_or_else(|error| vec![Row::broken(&error)]);
    rows.extend(trials::disturbed());
    for row in &rows {
        println!("  {row}");
    }
    let took_ns = clock::monotonic_ns() - began_ns;
    println!("  took {}", units::seconds(took_ns as f64 / 1e9));
    Section {
        title: check.title,
        text: check.text,
        rows,
    }
}
