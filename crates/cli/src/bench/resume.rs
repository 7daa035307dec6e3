//! Taking up again a run that was interrupted or killed.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sockrates_core::fingerprint::Fingerprint;
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::plan::{Cell, Target, TrialSpec};
use sockrates_core::record::{FailedTrial, Outcome, TrialRecord};
use sockrates_core::scenario::Workload;
use sockrates_probe::{clock, cpu};
use sockrates_report::Dataset;

use super::{Run, check_descriptors, failure_of, find_running, fingerprint_here};
use crate::exit::{Exit, Failure, OrExit};
use crate::report;
use crate::results::RunFolder;
use crate::target::{Allowed, Place, guard_running};

/// Opens a run, and returns it with the trials that it lacks.
pub(super) fn open(
    path: &Path,
    allowed_targets: &[Allowed],
) -> Result<(Run, Vec<TrialSpec>), Failure> {
    let Dataset {
        mut manifest,
        records,
        ..
    } = Dataset::load(path).map_err(report::load_failure)?;
    if manifest.status == RunStatus::Complete {
        let message = format!(
            "{} is complete: there is nothing to resume; `sockrates report` rebuilds its report",
            path.display()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    check_surroundings(&manifest)?;
    check_descriptors(&manifest.plan)?;
    if manifest.plan.cells.iter().any(lacks_a_secret) {
        let message = format!(
            "{} was measured with credentials, which are not kept: measure the whole anew",
            path.display()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    if let Some(running) = &manifest.running {
        let place = Place::of_running(running, allowed_targets)?;
        find_running(&place, &manifest.plan)?;
    }
    let trials = missing(&manifest, &records);
    let again: HashSet<_> = trials.iter().map(|spec| spec.block).collect();
    let kept = records
        .iter()
        .filter(|record| !again.contains(&record.spec.block));
    let failed = kept.filter_map(failure_of).collect();
    // `latest` may lead elsewhere before this run has ended.
    let path = path
        .canonicalize()
        .or_exit(Exit::Results, format!("open {}", path.display()))?;
    let folder = RunFolder::open(path, manifest.run_id.clone())?;
    folder.sweep()?;
    manifest.resumed_unix_ms.push(clock::unix_ms());
    let run = Run {
        folder,
        manifest,
        failed,
    };
    Ok((run, trials))
}

fn lacks_a_secret(cell: &Cell) -> bool {
    matches!(&cell.workload, Workload::Custom(custom) if custom.is_redacted())
}

/// Half a run from elsewhere, or by another build, would be two half experiments.
fn check_surroundings(manifest: &RunManifest) -> Result<(), Failure> {
    let here = fingerprint_here();
    let was = &manifest.fingerprint;
    let refuse = |what: String| {
        let message = format!("cannot resume: {what}; measure the whole anew instead");
        Err(Failure::new(Exit::Environment, message))
    };
    if let Some((fact, was, is)) = differences(was, &here) {
        return refuse(format!("{fact} was `{was}` and is `{is}`"));
    }
    let revision = env!("SOCKRATES_REVISION");
    if !manifest.run_id.contains(revision) {
        return refuse(format!(
            "the run {} was begun by another build, this is {revision}",
            manifest.run_id
        ));
    }
    let usable = cpu::usable().or_exit(Exit::Environment, "ask which CPUs may be used")?;
    let placement = &manifest.placement;
    let mut cpus = placement.client_cpus.iter().chain(&placement.server_cpus);
    match cpus.find(|cpu| !usable.contains(cpu)) {
        Some(cpu) => refuse(format!("CPU {cpu} may not be used here")),
        None => Ok(()),
    }
}

fn differences(was: &Fingerprint, is: &Fingerprint) -> Option<(&'static str, String, String)> {
    let version = ("version", was.version.clone(), is.version.clone());
    was.environment_differences(is)
        .into_iter()
        .next()
        .or((version.1 != version.2).then_some(version))
}

/// Returns what is still to be measured, in the order of the plan. Comparisons are made within blocks: a block that lacks a
/// trial begins anew, with attempts that count instead of those that there are.
fn missing(manifest: &RunManifest, records: &[TrialRecord]) -> Vec<TrialSpec> {
    let mut last: HashMap<(String, u32), &TrialRecord> = HashMap::new();
    for record in records {
        let spec = &record.spec;
        let kept = last.entry(place_of(spec)).or_insert(record);
        if kept.spec.attempt < spec.attempt {
            *kept = record;
        }
    }
    let find = |spec: &TrialSpec| last.get(&place_of(spec)).copied();
    let target = manifest.target();
    let trials = manifest.plan.trials(&manifest.placement, &target);
    let trials: Vec<_> = trials.collect();
    let is_missing = |spec: &&TrialSpec| !find(spec).is_some_and(is_measured);
    let blocks: HashSet<_> = trials
        .iter()
        .filter(is_missing)
        .map(|spec| spec.block)
        .collect();
    trials
        .into_iter()
        .filter(|spec| blocks.contains(&spec.block))
        .map(|spec| TrialSpec {
            attempt: find(&spec).map_or(0, |record| record.spec.attempt + 1),
            ..spec
        })
        .collect()
}

fn place_of(spec: &TrialSpec) -> (String, u32) {
    (spec.cell.id.clone(), spec.block)
}

/// A trial that failed by itself is a fact like others; one that was ended on purpose is none.
fn is_measured(record: &TrialRecord) -> bool {
    !matches!(
        record.outcome,
        Outcome::Failed {
            reason: FailedTrial::Interrupted,
            ..
        }
    )
}

impl Place {
    /// Returns the place of a server that a run has measured.
    fn of_running(target: &Target, allowed: &[Allowed]) -> Result<Self, Failure> {
        let Target::Running { http, host, .. } = target else {
            unreachable!("a fresh server is nowhere yet");
        };
        let name = host.clone().unwrap_or_else(|| http.to_string());
        guard_running(&name, *http, allowed)?;
        Ok(Self {
            transport: "http1",
            host: name,
            path: "/".to_owned(),
            addresses: vec![*http],
            resolve_ns: None,
        })
    }
}
