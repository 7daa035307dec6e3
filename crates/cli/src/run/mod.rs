//! `sockrates run`: one measurement of any server, on the instrument that compares lanes.

mod arguments;
mod describe;
mod gates;
mod lost;
mod order;
mod perform;

use std::path::{Path, PathBuf};

use sockrates_core::document::{self, Document};
use sockrates_core::files::write_whole;
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::plan::Target;
use sockrates_core::record::{Outcome, TrialRecord};
use sockrates_core::run_result::{RunResult, TrustLevel};
use sockrates_probe::{clock, limits, terminal};
use sockrates_report::single::{self, Single};

pub(crate) use self::arguments::Arguments;
use self::arguments::Format;
use self::order::Order;
use self::perform::Performed;
use crate::bench::{self, fingerprint_here};
use crate::exit::{Exit, Failure, OrExit};
use crate::signals::Signals;
use crate::{output, report, streams, target};

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_files(arguments)?;
    // Below 2^53 for some 285,000 years.
    let seed = arguments.seed.unwrap_or_else(clock::unix_ms);
    let order = Order::new(arguments, seed)?;
    gates::check(arguments, &order)?;
    let baseline = gates::read_baseline(arguments, &order)?;
    check_descriptors(&order)?;
    save_scenario(arguments, &order)?;
    if arguments.dry_run {
        let plan = describe::plan(&order);
        if is_standard(arguments.save_scenario.as_deref()) {
            output::note(plan.trim_end());
        } else {
            output::result(&plan);
        }
        return Ok(());
    }
    [&arguments.output.output, &arguments.output.hlog]
        .into_iter()
        .flatten()
        .filter(|path| !streams::is_standard(path))
        .try_for_each(|path| output::check_writable(path))?;
    let target = target::reach(&order.place, |target| order.trials(target))?;
    if arguments.gates.compare_lifecycles {
        return compare_lifecycles(arguments, order, target);
    }
    let started_unix_ms = clock::unix_ms();
    let mut stop = Signals::hold()?.watch()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let trials = order.trials(&target);
    let is_quiet = arguments.output.quiet;
    let performed = runtime.block_on(perform::perform(trials, is_quiet, &mut stop))?;
    conclude(
        arguments,
        &order,
        &target,
        baseline,
        started_unix_ms,
        performed,
    )
}

fn is_standard(path: Option<&Path>) -> bool {
    path.is_some_and(streams::is_standard)
}

/// Says which two things would go to one place, or come from it.
fn check_files(arguments: &Arguments) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::new(Exit::Usage, message));
    let is_input = |path: &Option<PathBuf>| is_standard(path.as_deref());
    if is_input(&arguments.http.body_file) && is_input(&arguments.gates.baseline) {
        return refuse(
            "--body-file and --baseline both read standard input: give one of them a file"
                .to_owned(),
        );
    }
    let flags = &arguments.output;
    let standard = Path::new("-");
    // A dry run has no result, and its plan makes way.
    let result = flags.output.as_deref().unwrap_or(standard);
    let files = [
        (
            "the result (--output)",
            (!arguments.dry_run).then_some(result),
        ),
        ("--hlog", flags.hlog.as_deref()),
        ("--save-scenario", arguments.save_scenario.as_deref()),
    ];
    for (index, (name, path)) in files.iter().enumerate() {
        let earlier = files[..index]
            .iter()
            .find(|(_, other)| path.is_some() && other == path);
        if let Some((other, _)) = earlier {
            let place = if is_standard(*path) {
                "standard output"
            } else {
                "the same file"
            };
            return refuse(format!(
                "{other} and {name} go to {place}: give each a file of its own"
            ));
        }
    }
    Ok(())
}

/// Derives, writes and judges the result.
fn conclude(
    arguments: &Arguments,
    order: &Order,
    target: &Target,
    baseline: Option<RunResult>,
    started_unix_ms: u64,
    performed: Performed,
) -> Result<(), Failure> {
    let Performed {
        records,
        interrupted,
    } = performed;
    let unmeasured = records.iter().find_map(unmeasured);
    let is_empty = records.iter().all(|record| record.measurement.is_none());
    if let Some(exit) = interrupted.filter(|_| is_empty) {
        let message = "interrupted before anything was measured";
        return Err(Failure::new(exit, message));
    }
    if let Some(failure) = unmeasured.filter(|_| is_empty) {
        return Err(failure);
    }
    let lost = match interrupted {
        None => lost::lost(order, target, &records),
        Some(_) => None,
    };
    let is_complete = interrupted.is_none() && records.len() == order.plan.trial_count();
    let manifest = manifest(order, target, started_unix_ms, is_complete);
    let percentiles = arguments.output.percentiles.clone();
    let mut single = Single::new(manifest, records, arguments.url.clone(), percentiles);
    single.resolve_ns = order.place.resolve_ns;
    single.thresholds.clone_from(&arguments.gates.fail_if);
    single.columns = terminal::columns().map_or(single.columns, |own| own.min(single.columns));
    let mut result = single
        .result()
        .ok_or_else(|| Failure::new(Exit::Harness, "nothing was measured"))?;
    let compared = baseline.zip(arguments.gates.baseline.as_ref());
    if let Some((earlier, path)) = compared.filter(|_| is_complete) {
        let file = path.display().to_string();
        let compared = single::compare(&result, &earlier, &file);
        result.baseline = Some(compared.or_exit(Exit::Usage, "--baseline")?);
    }
    write(arguments, &single, &result)?;
    judge(arguments, &result, interrupted, lost)
}

/// Writes what was asked for to where it was asked for.
fn write(arguments: &Arguments, single: &Single, result: &RunResult) -> Result<(), Failure> {
    let flags = &arguments.output;
    let format = if flags.json {
        Format::Json
    } else {
        flags.format
    };
    let text = single.text(result, flags.latency);
    let contents = match format {
        Format::Text => text.clone().into_bytes(),
        Format::Json => document::to_json(result),
        Format::Csv => Single::csv(result)?,
    };
    match flags
        .output
        .as_ref()
        .filter(|path| !streams::is_standard(path))
    {
        None => output::result(&String::from_utf8_lossy(&contents)),
        Some(path) => {
            if let Err(failure) = save(path, &contents) {
                // What was measured is not lost for want of a file.
                output::result_anyway(&String::from_utf8_lossy(&contents));
                return Err(failure);
            }
            if !flags.quiet {
                output::note(&text);
            }
        }
    }
    match &flags.hlog {
        Some(path) => save(path, &single.hlog()?),
        None => Ok(()),
    }
}

fn save(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    if streams::is_standard(path) {
        output::result(&String::from_utf8_lossy(contents));
        return Ok(());
    }
    write_whole(path, contents).or_exit(Exit::Results, format!("write {}", path.display()))
}

/// Turns a result into the exit code; what was measured is written by now.
fn judge(
    arguments: &Arguments,
    result: &RunResult,
    interrupted: Option<Exit>,
    lost: Option<String>,
) -> Result<(), Failure> {
    if let Some(exit) = interrupted {
        return Err(Failure::new(
            exit,
            "interrupted: what was measured until then is told, and marked as partial",
        ));
    }
    if let Some(message) = lost {
        return Err(Failure::new(Exit::Harness, message));
    }
    if result.trust.level == TrustLevel::None {
        let failures = result.failures.iter();
        let failures: Vec<_> = failures
            .map(|(kind, count)| format!("{count} × {kind}"))
            .collect();
        let reason = result.trust.reasons.first().map_or("", String::as_str);
        let message = format!("{reason} ({})", failures.join(", "));
        return Err(Failure::new(Exit::Harness, message.replace(" ()", "")));
    }
    let failed = result.thresholds.iter().filter(|threshold| threshold.fails);
    let failed: Vec<_> = failed
        .map(|threshold| threshold.threshold.clone())
        .collect();
    if !failed.is_empty() {
        let message = format!("failed, as asked for, since {}", failed.join(" and "));
        return Err(Failure::new(Exit::Gate, message));
    }
    let worse = result
        .baseline
        .iter()
        .flat_map(|baseline| &baseline.comparisons);
    let worse: Vec<_> = worse
        .filter(|comparison| comparison.is_regression)
        .map(|comparison| comparison.metric.clone())
        .collect();
    if arguments.gates.fail_on_regression && !worse.is_empty() {
        let message = format!("clearly worse than the baseline: {}", worse.join(", "));
        return Err(Failure::new(Exit::Gate, message));
    }
    Ok(())
}

/// Says that a trial measured nothing, and why.
fn unmeasured(record: &TrialRecord) -> Option<Failure> {
    match &record.outcome {
        Outcome::Failed { reason, message } if record.measurement.is_none() => {
            Some(Failure::new(Exit::of_trial(*reason), message))
        }
        _ => None,
    }
}

fn check_descriptors(order: &Order) -> Result<(), Failure> {
    let limit =
        limits::raise_descriptors().or_exit(Exit::Environment, "raise the limit of open files")?;
    // Bytes are counted through a second hold on each connection.
    let needed = order.plan.descriptors_needed() + u64::from(order.cell().connections);
    if needed > limit {
        let message = format!(
            "--connections: {} need {needed} open files, the limit is {limit}: raise it \
             (`ulimit -n {needed}` as root, or `LimitNOFILE` of the service), or use fewer",
            order.cell().connections
        );
        return Err(Failure::new(Exit::Environment, message));
    }
    Ok(())
}

fn save_scenario(arguments: &Arguments, order: &Order) -> Result<(), Failure> {
    let Some(path) = &arguments.save_scenario else {
        return Ok(());
    };
    let plan = &order.plan;
    let threads = order.placement.client_cpus.len();
    let text = format!(
        "# Repeats a `sockrates run`: sockrates bench {} --blocks {} --seed {}\n# It used {threads} client thread(s); a bench uses half of the CPUs.\n\n{}",
        path.display(),
        plan.blocks.len(),
        plan.seed,
        order.scenario.to_toml()
    );
    save(path, text.as_bytes())
}

/// Measures lanes in turn, as a bench of one scenario does, and tells what the difference is made of.
fn compare_lifecycles(arguments: &Arguments, order: Order, target: Target) -> Result<(), Failure> {
    let measured = bench::measure(&bench::Order {
        plan: order.plan,
        target,
        placement: order.placement,
        results: arguments.gates.results.clone(),
        is_quiet: arguments.output.quiet,
    })?;
    report::print(&measured.folder, &measured.derived, arguments.output.json)?;
    measured.verdict(false)
}

fn manifest(
    order: &Order,
    target: &Target,
    started_unix_ms: u64,
    is_complete: bool,
) -> RunManifest {
    RunManifest {
        schema_version: RunManifest::VERSION,
        run_id: format!("run-{}", clock::compact_utc(started_unix_ms)),
        command: bench::command_line(),
        started_unix_ms,
        finished_unix_ms: Some(clock::unix_ms()),
        resumed_unix_ms: Vec::new(),
        status: if is_complete {
            RunStatus::Complete
        } else {
            RunStatus::Partial
        },
        fingerprint: fingerprint_here(),
        placement: order.placement.clone(),
        server_arguments: Vec::new(),
        running: Some(target.clone()),
        calibrations: Vec::new(),
        plan: order.plan.clone(),
    }
}
