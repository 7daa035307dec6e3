//! `sockrates check`: a run against a committed reference.

use std::path::{Path, PathBuf};

use clap::Args;
use sockrates_core::files::write_whole;
use sockrates_core::plan::{Cell, Plan, Target};
use sockrates_report::Dataset;
use sockrates_report::gate::{self, Check, CheckError, Outcome};

use crate::bench::{self, Order};
use crate::exit::{Exit, Failure, OrExit};
use crate::output;
use crate::report;
use crate::streams;
use crate::target;

/// Check a run against a reference.
///
/// Bytes, segments, connections and handshakes of counted cells must match exactly, on any machine;
/// instructions and system calls per operation, where both runs hold a work.json of the same compiler, to within 1 % and
/// 2 %. On the machine of
/// the reference, ratios between lanes must agree: what lies apart by more than its margin is measured again, and only
/// what lies apart again is a failure (exit code 5). What cannot be told never is, but for a run that lacks a part of its
/// plan.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub(crate) struct Arguments {
    /// A run's id, its folder, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// The reference: a run's folder, or its id
    #[arg(long, value_name = "RUN", default_value = "bench-results/reference")]
    baseline: String,
    /// Where runs are looked up, and a retest is kept
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    results: PathBuf,
    /// Compare only what must match exactly
    #[arg(long)]
    counts_only: bool,
    /// Demand that instructions and system calls are compared: both runs must hold a work.json
    #[arg(long)]
    work: bool,
    /// Leave what is suspicious undecided instead of measuring it again
    #[arg(long)]
    no_retest: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write the result as Markdown; `-` is standard output, instead of the text
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// A retest has half as many blocks again as `reproduce`.
const RETEST_BLOCKS: u32 = 15;

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.json
        && arguments
            .markdown
            .as_deref()
            .is_some_and(streams::is_standard)
    {
        let message = "--json and --markdown - both go to standard output: give --markdown a file";
        return Err(Failure::new(Exit::Usage, message));
    }
    let load = |name: &str| {
        let folder = report::locate(name, &arguments.results);
        Dataset::load(&folder).map_err(report::load_failure)
    };
    let (run, baseline) = (load(&arguments.run)?, load(&arguments.baseline)?);
    if arguments.work {
        gate::demand_work(&run, &baseline).map_err(impossible)?;
    }
    let mut check = gate::check(&run, &baseline, arguments.counts_only).map_err(impossible)?;
    if check.outcome == Outcome::Suspicious && !arguments.no_retest {
        retest(&mut check, &run, &baseline, &arguments.results)?;
    }
    print(arguments, &check)?;
    match check.outcome {
        Outcome::Differs => Err(Failure::new(
            Exit::Gate,
            format!("{} differs from {}", check.run, check.baseline),
        )),
        _ if !check.is_whole => Err(Failure::new(
            Exit::Gate,
            format!(
                "{} is not whole, so that nobody can tell whether it is as {}: {}",
                check.run,
                check.baseline,
                check.notes.join("; ")
            ),
        )),
        _ => Ok(()),
    }
}

fn print(arguments: &Arguments, check: &Check) -> Result<(), Failure> {
    match &arguments.markdown {
        Some(path) if streams::is_standard(path) => {
            output::result(&check.markdown());
            return Ok(());
        }
        Some(path) => write(path, &check.markdown())?,
        None => {}
    }
    if arguments.json {
        return output::json(check);
    }
    output::result(&check.text());
    Ok(())
}

fn impossible(error: CheckError) -> Failure {
    let exit = match error {
        CheckError::NothingShared { .. } | CheckError::NoWork(_) => Exit::Usage,
        CheckError::DamagedWork { .. } => Exit::Results,
        CheckError::NoValidTrial(_) => Exit::Harness,
    };
    Failure {
        exit,
        error: error.into(),
    }
}

fn write(path: &Path, page: &str) -> Result<(), Failure> {
    write_whole(path, page.as_bytes()).or_exit(Exit::Results, format!("write {}", path.display()))
}

/// Measures the suspicious cells again, where the run was measured.
fn retest(
    check: &mut Check,
    run: &Dataset,
    baseline: &Dataset,
    results: &Path,
) -> Result<(), Failure> {
    let manifest = &run.manifest;
    let here = bench::fingerprint_here();
    if let Some((field, ..)) = here.environment_differences(&manifest.fingerprint).first() {
        check.notes.push(format!(
            "not measured again: this is not where the run was measured (other {field})"
        ));
        return Ok(());
    }
    if let Target::Running { http, .. } = manifest.target()
        && !target::is_here(http.ip())
    {
        // A file does not choose whom this machine loads.
        check.notes.push(format!(
            "not measured again: the run's server, {http}, is not on this machine"
        ));
        return Ok(());
    }
    let ids = check.suspicious_cells();
    let is_suspicious = |cell: &&Cell| ids.contains(&cell.id);
    let cells: Vec<_> = manifest
        .plan
        .cells
        .iter()
        .filter(is_suspicious)
        .cloned()
        .collect();
    output::note(&format!(
        "suspicious: measuring {} cells again, {RETEST_BLOCKS} blocks",
        cells.len()
    ));
    let name = format!("{} retest", manifest.plan.name);
    let again = bench::measure(&Order {
        plan: Plan::of_cells(
            &name,
            cells,
            RETEST_BLOCKS,
            manifest.plan.seed.wrapping_add(1),
        ),
        target: manifest.target(),
        placement: manifest.placement.clone(),
        results: results.to_owned(),
        is_quiet: false,
    })?;
    again.verdict(false)?;
    check.retest(&again.derived.0, baseline);
    Ok(())
}
