//! `sockrates bench`: plan, run, report.

mod calibration;
mod reach;
mod resume;
mod select;

use std::path::{Path, PathBuf};

use clap::Args;
use sockrates_core::custom::{REDACTED, is_secret};
use sockrates_core::document::Document;
use sockrates_core::fingerprint::Fingerprint;
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::plan::{Cell, Placement, Plan, Target, TrialSpec};
use sockrates_core::record::{FailedTrial, Outcome, TrialRecord};
use sockrates_core::scenario::Workload;
use sockrates_core::summary::Summary;
use sockrates_core::units;
use sockrates_core::validity;
use sockrates_core::verdict::{self, Flag};
use sockrates_probe::machine::{Build, fingerprint};
use sockrates_probe::{clock, cpu, limits};
use sockrates_report::Dataset;

use self::select::{Choice, Selected};
use crate::exit::{Exit, Failure, OrExit};
use crate::orchestrate::child;
use crate::output;
use crate::progress::Progress;
use crate::report;
use crate::results::RunFolder;
use crate::signals::{Signals, Stop};
use crate::target::{Allowed, Place};
use crate::{numbers, serve, target};

/// Measure a profile, a scenario or a scenario file, and write a report.
///
/// Without a name, the profile `quick`. `sockrates list` shows what there is.
#[derive(Args, Debug)]
#[command(allow_negative_numbers = true)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch on the command line"
)]
pub(crate) struct Arguments {
    /// A profile, a scenario, or the path of a scenario file; `-` is standard input
    #[arg(value_name = "PROFILE|SCENARIO|FILE", default_value = "quick")]
    name: String,
    /// Finish this run, which was interrupted or killed: its id, its folder, or `latest`, the one that began last. Plan, seed and target are its own;
    /// the block that was under way begins anew
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["name", "blocks", "lanes", "seed", "target", "serve_with", "dry_run"]
    )]
    resume: Option<String>,
    /// Where results go: a new folder is made in it
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    results: PathBuf,
    /// How often each cell is measured (default: the profile's; 8 for a scenario)
    #[arg(long, value_name = "N", value_parser = numbers::within::<u32>(1..=1000))]
    blocks: Option<u32>,
    /// Measure only these lanes, separated by commas
    #[arg(long, value_name = "LANES", value_delimiter = ',')]
    lanes: Vec<String>,
    /// Draws order, arrivals and payloads (default: from the time of day)
    #[arg(long, value_name = "SEED", value_parser = numbers::seed())]
    seed: Option<u64>,
    /// Measure this server, which is running already, instead of fresh ones: http://HOST:PORT of any server that does
    /// what docs/TARGET.md says
    #[arg(long, value_name = "URL", conflicts_with = "serve_with")]
    target: Option<String>,
    /// Allow this host, which is not this machine: HOST, HOST:PORT or a URL
    #[arg(long, value_name = "HOST")]
    allow_target: Vec<Allowed>,
    /// Give every target server these further arguments, as in --serve-with="--burn http1=5000"
    #[arg(
        long,
        value_name = "ARGUMENTS",
        default_value = "",
        allow_hyphen_values = true
    )]
    serve_with: String,
    /// Fail (exit code 4) when the machine was too disturbed to conclude anything
    #[arg(long)]
    require_conclusive: bool,
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
    let measured = match &arguments.resume {
        Some(run) => {
            let folder = report::locate(run, &arguments.results);
            let (run, sitting) = resume::open(&folder, &arguments.allow_target)?;
            output::note(&run.resumed(sitting.len()));
            Some(run.measure(sitting, arguments.quiet)?)
        }
        None => plan_and_measure(arguments)?,
    };
    let Some(measured) = measured else {
        return Ok(());
    };
    report::print(&measured.folder, &measured.derived, arguments.json)?;
    measured.verdict(arguments.require_conclusive)
}

/// Measures a new run; `None` when its plan was all that was asked for.
fn plan_and_measure(arguments: &Arguments) -> Result<Option<Measured>, Failure> {
    // Below 2^53 for some 285,000 years.
    let seed = arguments.seed.unwrap_or_else(clock::unix_ms);
    let chosen = Choice {
        name: &arguments.name,
        lanes: &arguments.lanes,
        blocks: arguments.blocks,
        seed,
        has_floor: arguments.target.is_none(),
    };
    let (plan, selected) = select::plan(&chosen)?;
    selected.left_out.iter().for_each(|line| output::note(line));
    let server_arguments = serve::check_arguments(&arguments.serve_with)?;
    let target = target(arguments, &selected, &plan, server_arguments)?;
    if arguments.dry_run {
        output::result(&describe(&plan));
        return Ok(None);
    }
    let cpus = cpu::usable().or_exit(Exit::Environment, "ask which CPUs may be used")?;
    let order = Order {
        plan,
        placement: placement(&cpus, &target),
        target,
        results: arguments.results.clone(),
        is_quiet: arguments.quiet,
    };
    measure(&order).map(Some)
}

/// Returns the server to measure: the one that was given, or that the scenario names, or fresh ones.
fn target(
    arguments: &Arguments,
    selected: &Selected,
    plan: &Plan,
    server_arguments: Vec<String>,
) -> Result<Target, Failure> {
    let of_scenario = selected.target()?.map(|host| format!("http://{host}/"));
    let Some(url) = arguments.target.clone().or(of_scenario) else {
        return Ok(Target::Fresh {
            arguments: server_arguments,
        });
    };
    let place = target::find(&url, &arguments.allow_target)?;
    if place.transport != "http1" || place.path != "/" {
        let message = format!(
            "--target: `{}` names more than a server: write http://HOST:PORT",
            url.escape_debug()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    if arguments.dry_run {
        return Ok(place.target(place.addresses[0]));
    }
    find_running(&place, plan)
}

/// Looks whether a running server is there, and can be measured by this plan.
fn find_running(place: &Place, plan: &Plan) -> Result<Target, Failure> {
    let is_custom = |cell: &Cell| matches!(cell.workload, Workload::Custom(_));
    if plan.cells.iter().any(is_custom) {
        // It need not fulfil the contract, but answer what it is asked.
        let trials = |target: &Target| plan.trials(&Placement::default(), target).collect();
        return target::reach(place, trials);
    }
    let mut failure = None;
    for address in &place.addresses {
        match reach::check(*address) {
            Ok(()) => return Ok(place.target(*address)),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let failure = failure.expect("a place has an address");
    Err(Failure::new(Exit::Target, format!("--target: {failure}")))
}

/// A server of one's own is somewhere; the client keeps to its half of the CPUs all the same.
fn placement(cpus: &[u32], target: &Target) -> Placement {
    let split = Placement::split(cpus);
    match target {
        Target::Fresh { .. } => split,
        Target::Running { .. } => Placement {
            server_cpus: Vec::new(),
            ..split
        },
    }
}

/// What is to be measured, and where the results go.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) plan: Plan,
    pub(crate) target: Target,
    pub(crate) placement: Placement,
    pub(crate) results: PathBuf,
    pub(crate) is_quiet: bool,
}

/// A run that was measured and reported.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) folder: PathBuf,
    pub(crate) derived: (Dataset, Summary),
    tally: Tally,
}

/// Measures a plan into a new folder, and writes its report.
pub(crate) fn measure(order: &Order) -> Result<Measured, Failure> {
    let started_unix_ms = clock::unix_ms();
    check_descriptors(&order.plan)?;
    let folder = RunFolder::create(&order.results, started_unix_ms)?;
    let manifest = manifest(&folder, order, started_unix_ms);
    let trials = manifest
        .plan
        .trials(&manifest.placement, &manifest.target())
        .collect();
    let run = Run {
        folder,
        manifest,
        failed: Vec::new(),
    };
    run.measure(trials, order.is_quiet)
}

/// A run that is being measured.
struct Run {
    folder: RunFolder,
    manifest: RunManifest,
    /// The trials that failed in earlier sittings.
    failed: Vec<FailedRecord>,
}

impl Run {
    /// Says which run goes on, and how much of it is missing.
    fn resumed(&self, missing: usize) -> String {
        let plan = &self.manifest.plan;
        format!(
            "resuming {}: {}, begun {}, {missing} of {} trials to be measured",
            self.folder.path.display(),
            plan.name,
            clock::compact_utc(self.manifest.started_unix_ms),
            plan.trial_count()
        )
    }

    /// Measures these trials of the plan, all that are missing, and writes the report.
    fn measure(mut self, trials: Vec<TrialSpec>, is_quiet: bool) -> Result<Measured, Failure> {
        self.folder.begin(&self.manifest)?;
        let stop = Signals::hold()?.watch()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (placement, seed) = (self.manifest.placement.clone(), self.manifest.plan.seed);
        let calibrate = || calibration::take(&runtime, &placement, seed);
        self.manifest.calibrations.push(calibrate());
        let tally = runtime.block_on(perform(trials, &self, is_quiet, &stop));
        if matches!(&tally, Ok(tally) if tally.interrupted.is_none()) {
            self.manifest.calibrations.push(calibrate());
            self.manifest.status = RunStatus::Complete;
        }
        self.manifest.finished_unix_ms = Some(clock::unix_ms());
        // What could be measured is saved before anything that went wrong is reported.
        let written = self.folder.write_manifest(&self.manifest);
        let tally = tally?;
        written?;
        let derived = report::write(&self.folder.path)?;
        Ok(Measured {
            folder: self.folder.path,
            derived,
            tally,
        })
    }
}

/// The name of a trial that failed, why, and what it said.
type FailedRecord = (String, FailedTrial, String);

fn failure_of(record: &TrialRecord) -> Option<FailedRecord> {
    match &record.outcome {
        Outcome::Completed => None,
        Outcome::Failed { reason, message } => Some((name(record), *reason, message.clone())),
    }
}

/// What happened to the trials.
#[derive(Debug)]
struct Tally {
    failed: Vec<FailedRecord>,
    interrupted: Option<Exit>,
}

/// Measures these trials, or up to a signal. A trial that fails is a record like others; one that something outside
/// disturbed is repeated in its place, and every attempt is kept.
async fn perform(
    trials: Vec<TrialSpec>,
    Run {
        folder,
        manifest,
        failed,
    }: &Run,
    is_quiet: bool,
    stop: &Stop,
) -> Result<Tally, Failure> {
    let plan = &manifest.plan;
    let mut progress = Progress::new(plan, &trials, is_quiet);
    let mut tally = Tally {
        failed: failed.clone(),
        interrupted: None,
    };
    let mut seconds_to_repeat = plan.planned_seconds() * verdict::REPEATS_SHARE;
    'trials: for mut spec in trials {
        progress.begin(&spec);
        let last_attempt = spec.attempt + verdict::MAX_REPEATS;
        loop {
            let record = child::trial(&spec, stop).await;
            tally.interrupted = stop.now();
            if tally.interrupted.is_some() {
                if record.measurement.is_some() {
                    folder.write_record(&record)?;
                }
                break 'trials;
            }
            folder.write_record(&record)?;
            if let Some(fault) = verdict::faults(&record).first() {
                progress.finish();
                return Err(harness_fault(&record, *fault));
            }
            if let Some(failed) = failure_of(&record) {
                progress.note(&format!("trial {} failed: {}", failed.0, failed.2));
                tally.failed.push(failed);
                break;
            }
            let seconds = spec.cell.planned_seconds();
            let may_repeat = spec.attempt < last_attempt && seconds <= seconds_to_repeat;
            if !validity::is_worth_repeating(&record) || !may_repeat {
                break;
            }
            seconds_to_repeat -= seconds;
            spec.attempt += 1;
        }
        progress.end(&spec);
    }
    progress.finish();
    Ok(tally)
}

fn harness_fault(record: &TrialRecord, fault: Flag) -> Failure {
    let message = format!(
        "trial {}: {} ({}); this is a fault of sockrates, its record is {}",
        name(record),
        fault.meaning(),
        serde_json::json!(fault),
        record.spec.file_name()
    );
    Failure::new(Exit::Harness, message)
}

fn name(record: &TrialRecord) -> String {
    format!("{} of block {}", record.spec.cell.id, record.spec.block + 1)
}

impl Measured {
    /// Turns what happened into the exit code.
    pub(crate) fn verdict(&self, requires_conclusion: bool) -> Result<(), Failure> {
        let (_, summary) = &self.derived;
        completeness(&self.folder, &self.tally, summary)?;
        if requires_conclusion && !summary.judgement.is_conclusive {
            let message = format!(
                "the run is inconclusive: {}; measure again on a quieter machine",
                summary.judgement.reasons.join("; ")
            );
            return Err(Failure::new(Exit::Harness, message));
        }
        Ok(())
    }
}

fn completeness(folder: &Path, tally: &Tally, summary: &Summary) -> Result<(), Failure> {
    if let Some(exit) = tally.interrupted {
        return Err(Failure::new(
            exit,
            format!(
                "interrupted: the trials so far are saved, marked as partial; finish them: sockrates bench --resume {}",
                folder.display()
            ),
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

/// Takes the fingerprint of this machine and build.
pub(crate) fn fingerprint_here() -> Fingerprint {
    fingerprint(&Build {
        rustc: env!("SOCKRATES_RUSTC"),
        profile: env!("SOCKRATES_PROFILE"),
        version: env!("CARGO_PKG_VERSION"),
    })
}

fn manifest(folder: &RunFolder, order: &Order, started_unix_ms: u64) -> RunManifest {
    let (server_arguments, running) = match &order.target {
        Target::Fresh { arguments } => (arguments.clone(), None),
        running @ Target::Running { .. } => (Vec::new(), Some(running.clone())),
    };
    RunManifest {
        schema_version: RunManifest::VERSION,
        run_id: folder.run_id.clone(),
        command: command_line(),
        started_unix_ms,
        finished_unix_ms: None,
        resumed_unix_ms: Vec::new(),
        status: RunStatus::Partial,
        fingerprint: fingerprint_here(),
        placement: order.placement.clone(),
        server_arguments,
        running,
        calibrations: Vec::new(),
        plan: order.plan.clone(),
    }
}

/// The command as typed, but for the program's path and for what headers keep secret.
pub(crate) fn command_line() -> String {
    // A path need not be UTF-8.
    let arguments = std::env::args_os().skip(1).map(|argument| {
        let argument = argument.to_string_lossy().into_owned();
        // `Name: value`, `-HName: value` or `--header=Name: value`.
        let Some((before, _)) = argument.split_once(':') else {
            return argument;
        };
        let name = before.rsplit('=').next().unwrap_or(before);
        if is_secret(name) && !argument.contains("://") {
            format!("{before}: {REDACTED}")
        } else {
            argument
        }
    });
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
