//! `sockrates run`: one measurement of any server, on the instrument that compares lanes.

mod arguments;
mod order;
mod perform;

use std::path::Path;

pub(crate) use self::arguments::Arguments;
use self::arguments::Format;
use self::order::Order;
use self::perform::Performed;
use crate::bench::{self, fingerprint_here};
use crate::exit::{Exit, Failure, OrExit};
use crate::{output, report};

use sockrates_core::document::{self, Document};
use sockrates_core::failure::FailureKind;
use sockrates_core::files::write_whole;
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::plan::{Target, TrialSpec};
use sockrates_core::record::{Outcome, TrialRecord};
use sockrates_core::run_result::{RunResult, TrustLevel};
use sockrates_core::summary::LoadSummary;
use sockrates_core::units;
use sockrates_loadgen::preflight::{self, Rejection};
use sockrates_probe::{clock, limits};
use sockrates_report::single::{self, Likeness, Single};

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Below 2^53 for some 285,000 years.
    let seed = arguments.seed.unwrap_or_else(clock::unix_ms);
    let order = Order::new(arguments, seed)?;
    check_gates(arguments, &order)?;
    check_descriptors(&order)?;
    save_scenario(arguments, &order)?;
    if arguments.dry_run {
        output::result(&describe(&order));
        return Ok(());
    }
    let files = [&arguments.output.output, &arguments.output.hlog];
    files
        .into_iter()
        .flatten()
        .try_for_each(|path| output::check_writable(path))?;
    let target = reach(&order)?;
    if arguments.gates.compare_lifecycles {
        return compare_lifecycles(arguments, order, target);
    }
    let baseline = read_baseline(arguments, &order)?;
    let started_unix_ms = clock::unix_ms();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let trials = order.trials(&target);
    let is_quiet = arguments.output.quiet;
    let performed = runtime.block_on(perform::perform(trials, is_quiet))?;
    conclude(
        arguments,
        &order,
        &target,
        baseline,
        started_unix_ms,
        performed,
    )
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
    let lost = lost(order, target, &records);
    if let Some(failure) = records.iter().find_map(unmeasured) {
        return Err(failure);
    }
    let manifest = manifest(order, target, started_unix_ms, interrupted.is_none());
    let percentiles = arguments.output.percentiles.clone();
    let mut single = Single::new(manifest, records, arguments.url.clone(), percentiles);
    single.resolve_ns = order.place.resolve_ns;
    single.thresholds.clone_from(&arguments.gates.fail_if);
    let mut result = single
        .result()
        .ok_or_else(|| Failure::new(Exit::Harness, "nothing was measured"))?;
    let compared = baseline.zip(arguments.gates.baseline.as_ref());
    if let Some((earlier, path)) = compared.filter(|_| interrupted.is_none()) {
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
    match &flags.output {
        None => output::result(&String::from_utf8_lossy(&contents)),
        Some(path) => {
            save(path, &contents)?;
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

/// After failures, looks whether the server is still there.
fn lost(order: &Order, target: &Target, records: &[TrialRecord]) -> Option<String> {
    let measured = records.last()?.measurement.as_ref()?;
    let of_connection = [
        FailureKind::ConnectRefused,
        FailureKind::ConnectReset,
        FailureKind::ConnectTimedOut,
        FailureKind::PeerClosed,
        FailureKind::ConnectionReset,
        FailureKind::TimedOut,
    ];
    let failed = |kind| measured.operations.failed.contains_key(kind);
    if !of_connection.iter().any(failed) {
        return None;
    }
    let spec = first_trial(order, target);
    let Target::Running { http, .. } = target else {
        return None;
    };
    match preflight::check(&spec, *http, &[]) {
        Err(Rejection::Connect { address, failure }) => Some(format!(
            "the server at {address} was lost while it was measured ({failure}); what it answered until then is told"
        )),
        Err(Rejection::Exchange {
            address, failure, ..
        }) => Some(format!(
            "the server at {address} answers no longer ({failure}); what it answered until then is told"
        )),
        _ => None,
    }
}

fn first_trial(order: &Order, target: &Target) -> TrialSpec {
    let mut trials = order.trials(target);
    trials.swap_remove(0)
}

/// Tries the server's addresses, and does one exchange ahead of the load. Returns the server at the address that works.
fn reach(order: &Order) -> Result<Target, Failure> {
    let mut rejection = None;
    for address in &order.place.addresses {
        let target = order.place.target(*address);
        // Every protocol that is to be measured, each once.
        let mut trials = order.trials(&target);
        trials.sort_by_key(|spec| spec.cell.lane.clone());
        trials.dedup_by_key(|spec| spec.cell.lane.clone());
        let checked = trials
            .iter()
            .try_for_each(|spec| preflight::check(spec, *address, &[]));
        match checked {
            Ok(()) => return Ok(target),
            Err(Rejection::Connect { .. }) if rejection.is_some() => {}
            Err(other) => {
                let is_there = !matches!(other, Rejection::Connect { .. });
                rejection = Some(other);
                if is_there {
                    break;
                }
            }
        }
    }
    let rejection = rejection.expect("a place has an address");
    let exit = match &rejection {
        Rejection::Connect {
            failure: FailureKind::ConnectNoDescriptor | FailureKind::ConnectAddressNotAvailable,
            ..
        } => Exit::Environment,
        _ => Exit::Target,
    };
    Err(Failure::new(exit, rejection))
}

fn check_gates(arguments: &Arguments, order: &Order) -> Result<(), Failure> {
    let cell = order.cell();
    for threshold in &arguments.gates.fail_if {
        let opens = cell.opens_while_measured();
        if !single::is_measured(threshold.subject, &cell.load, opens) {
            let hint = if cell.load.offered_per_second(1).is_none() {
                "this load does not have it; response times, lags and waits need a --rate"
            } else {
                "this load does not have it"
            };
            return Err(Failure::new(
                Exit::Usage,
                format!("--fail-if '{threshold}': {hint}"),
            ));
        }
    }
    Ok(())
}

/// Reads the earlier result, and checks that it can be compared with what will be measured.
fn read_baseline(arguments: &Arguments, order: &Order) -> Result<Option<RunResult>, Failure> {
    let Some(path) = &arguments.gates.baseline else {
        return Ok(None);
    };
    let reading = || format!("read the baseline {}", path.display());
    let json = std::fs::read(path).or_exit(Exit::Results, reading())?;
    let earlier: RunResult = document::parse(&json).or_exit(Exit::Results, reading())?;
    let cell = order.cell();
    let likeness = Likeness {
        lane: cell.lane.to_string(),
        connections: cell.connections,
        load: single::load_of(&LoadSummary {
            model: cell.load.model().to_owned(),
            offered_per_second: cell.load.offered_per_second(cell.connections),
        }),
        fingerprint: fingerprint_here().id,
    };
    likeness
        .check(&earlier)
        .or_exit(Exit::Usage, "--baseline")?;
    if order.plan.blocks.len() < single::MIN_TRIALS as usize {
        let message = format!(
            "--baseline: an interval needs {} trials on either side: measure with --repeat {} or more",
            single::MIN_TRIALS,
            single::MIN_TRIALS
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Some(earlier))
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

/// Tells the plan, and the first bytes that would be sent.
fn describe(order: &Order) -> String {
    let plan = &order.plan;
    let cell = order.cell();
    let address = order.place.addresses[0];
    let target = order.place.target(address);
    let timing = cell.timing;
    let ms = |ms: u32| units::time(f64::from(ms) * 1e6);
    let offered = cell.load.offered_per_second(cell.connections);
    let load = offered.map_or_else(
        || cell.load.model().to_owned(),
        |rate| {
            format!(
                "{}, {} in all, {} a connection",
                cell.load.model(),
                units::rate(rate),
                units::rate(rate / f64::from(cell.connections))
            )
        },
    );
    let ends = cell.operations.map_or_else(
        || format!("{} of load", ms(timing.window_ms)),
        |count| format!("{count} operations or {}", ms(timing.window_ms)),
    );
    let ramp = if timing.ramp_ms > 0 {
        format!(" (the first {} of it a ramp)", ms(timing.ramp_ms))
    } else {
        String::new()
    };
    let mut text = format!(
        "server       {} ({address})\nconnections  {}\nload         {load}\ntime         {} of warm-up{ramp}, {ends}, at most {} of drain\nthreads      {} ({} client)\ntrials       {}, seed {}\n",
        order.place.host,
        cell.connections,
        ms(timing.warm_up_ms),
        ms(timing.drain_ms),
        order.placement.client_cpus.len(),
        cell.wait.name(),
        plan.trial_count(),
        plan.seed,
    );
    let mut told = Vec::new();
    for spec in order.trials(&target) {
        let lane = spec.cell.lane.clone();
        if told.contains(&lane) {
            continue;
        }
        let bytes = preflight::first_bytes(&spec, address).unwrap_or_default();
        text += &format!("\n{lane}, the first {} bytes:\n", bytes.len());
        text += &shown(&bytes);
        told.push(lane);
    }
    text
}

/// How much of a request is shown.
const SHOWN_BYTES: usize = 4096;

/// Writes bytes line by line, with everything that is not plain text escaped.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes[..bytes.len().min(SHOWN_BYTES)].split_inclusive(|byte| *byte == b'\n') {
        text += &format!("  {}\n", line.escape_ascii());
    }
    if bytes.len() > SHOWN_BYTES {
        text += &format!("  … and {} bytes more\n", bytes.len() - SHOWN_BYTES);
    }
    text
}
