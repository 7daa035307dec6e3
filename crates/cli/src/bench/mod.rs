//! `sockrates bench`: plan, run, report.

mod select;

use std::path::PathBuf;

use clap::Args;
use sockrates_core::document::Document;
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::plan::{Placement, Plan};
use sockrates_core::record::{FailedTrial, Outcome, TrialRecord};
use sockrates_core::summary::Summary;
use sockrates_core::units;
use sockrates_probe::machine::{Build, fingerprint};
use sockrates_probe::{clock, cpu, limits};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure, OrExit};
use crate::orchestrate::child;
use crate::output;
use crate::progress::Progress;
use crate::report;
use crate::results::RunFolder;

/// Measure a profile, a scenario or a scenario file, and write a report.
///
/// Without a name, the profile `quick`. `sockrates list` shows what there is.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A profile, a scenario, or the path of a scenario file
    #[arg(value_name = "PROFILE|SCENARIO|FILE", default_value = "quick")]
    name: String,
    /// Where results go: a new folder is made in it
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    results: PathBuf,
    /// How often each cell is measured (default: the profile's; 8 for a scenario)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    blocks: Option<u32>,
    /// Measure only these lanes, separated by commas
    #[arg(long, value_name = "LANES", value_delimiter = ',')]
    lanes: Vec<String>,
    /// Draws order, arrivals and payloads (default: from the time of day)
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..1 << 53))]
    seed: Option<u64>,
    /// Print the plan and measure nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let started_unix_ms = clock::unix_ms();
    // Below 2^53 for some 285,000 years.
    let seed = arguments.seed.unwrap_or(started_unix_ms);
    let plan = select::plan(&arguments.name, &arguments.lanes, arguments.blocks, seed)?;
    if arguments.dry_run {
        output::result(&describe(&plan));
        return Ok(());
    }
    check_descriptors(&plan)?;
    let cpus = cpu::usable().or_exit(Exit::Environment, "ask which CPUs may be used")?;
    let folder = RunFolder::create(&arguments.results, started_unix_ms)?;
    let mut manifest = manifest(&folder, plan, &cpus, started_unix_ms);
    folder.write_manifest(&manifest)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tally = runtime.block_on(measure(&manifest, &folder, arguments.quiet));
    if matches!(
        tally,
        Ok(Tally {
            interrupted: None,
            ..
        })
    ) {
        manifest.status = RunStatus::Complete;
    }
    manifest.finished_unix_ms = Some(clock::unix_ms());
    // What could be measured is saved before anything that went wrong is reported.
    let written = folder.write_manifest(&manifest);
    let tally = tally?;
    written?;
    let summary = report::write(&folder.path)?;
    folder.point_latest()?;
    report::print(&folder.path, &summary, arguments.json)?;
    verdict(&tally, &summary.1)
}

/// What happened to the trials.
#[derive(Debug, Default)]
struct Tally {
    failed: Vec<(String, FailedTrial, String)>,
    interrupted: Option<Exit>,
}

/// Measures every trial of the plan, or up to a signal. A trial that fails is a record like others.
async fn measure(
    manifest: &RunManifest,
    folder: &RunFolder,
    is_quiet: bool,
) -> Result<Tally, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut progress = Progress::new(&manifest.plan, is_quiet);
    let mut tally = Tally::default();
    for spec in manifest.plan.trials(&manifest.placement) {
        progress.begin(&spec);
        let record = tokio::select! {
            record = child::perform(&spec) => record,
            exit = stopped(&mut interrupt, &mut terminate) => {
                tally.interrupted = Some(exit);
                break;
            }
        };
        progress.end(&spec);
        if let Outcome::Failed { reason, message } = &record.outcome {
            progress.note(&format!("trial {} failed: {message}", name(&record)));
            tally.failed.push((name(&record), *reason, message.clone()));
        }
        folder.write_record(&record)?;
    }
    progress.finish();
    Ok(tally)
}

async fn stopped(interrupt: &mut Signal, terminate: &mut Signal) -> Exit {
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}

fn name(record: &TrialRecord) -> String {
    format!("{} of block {}", record.spec.cell.id, record.spec.block + 1)
}

/// Turns what happened into the exit code.
fn verdict(tally: &Tally, summary: &Summary) -> Result<(), Failure> {
    if let Some(exit) = tally.interrupted {
        return Err(Failure::new(
            exit,
            "interrupted: the trials so far are saved, marked as partial",
        ));
    }
    if let Some((trial, _, message)) = tally.failed.first() {
        let count = tally.failed.len();
        let is_target = |reason| reason == FailedTrial::TargetUnreachable;
        let all_are = tally.failed.iter().all(|(_, reason, _)| is_target(*reason));
        let exit = if all_are { Exit::Target } else { Exit::Harness };
        let message = format!("{count} of the trials failed, the first was {trial}: {message}");
        return Err(Failure::new(exit, message));
    }
    match summary.cells.iter().find(|cell| cell.trials.valid == 0) {
        Some(cell) => Err(Failure::new(
            Exit::Harness,
            format!("cell {} has no valid trial", cell.id),
        )),
        None => Ok(()),
    }
}

fn check_descriptors(plan: &Plan) -> Result<(), Failure> {
    let limit =
        limits::raise_descriptors().or_exit(Exit::Environment, "raise the limit of open files")?;
    let needed = plan.descriptors_needed();
    if needed > limit {
        let message = format!(
            "the plan needs {needed} open files a process, the limit is {limit}: raise it \
             (`ulimit -n {needed}` as root, or `LimitNOFILE` of the service), or use fewer connections"
        );
        return Err(Failure::new(Exit::Environment, message));
    }
    Ok(())
}

fn manifest(folder: &RunFolder, plan: Plan, cpus: &[u32], started_unix_ms: u64) -> RunManifest {
    let build = Build {
        rustc: env!("SOCKRATES_RUSTC"),
        profile: env!("SOCKRATES_PROFILE"),
        version: env!("CARGO_PKG_VERSION"),
    };
    RunManifest {
        schema_version: RunManifest::VERSION,
        run_id: folder.run_id.clone(),
        command: command_line(),
        started_unix_ms,
        finished_unix_ms: None,
        status: RunStatus::Partial,
        fingerprint: fingerprint(&build),
        placement: Placement::split(cpus),
        plan,
    }
}

/// The command as typed, but for the program's path.
fn command_line() -> String {
    let arguments = std::env::args().skip(1);
    std::iter::once("sockrates".to_owned())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

fn describe(plan: &Plan) -> String {
    let mut text = format!(
        "{}: {} cells, {} blocks, {} trials, {} planned, seed {}\n",
        plan.name,
        plan.cells.len(),
        plan.blocks.len(),
        plan.trial_count(),
        units::seconds(plan.planned_seconds()),
        plan.seed,
    );
    for cell in &plan.cells {
        text += &format!("  {}\n", cell.id);
    }
    text
}
