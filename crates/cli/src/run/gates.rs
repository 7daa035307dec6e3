//! Conditions and baselines, checked before anything is measured.

use sockrates_core::document;
use sockrates_core::files::MAX_DOCUMENT_BYTES;
use sockrates_core::run_result::RunResult;
use sockrates_core::summary::LoadSummary;
use sockrates_report::single::{self, Likeness};

use super::arguments::Arguments;
use super::order::Order;
use crate::bench::fingerprint_here;
use crate::exit::{Exit, Failure, OrExit};
use crate::streams;

/// Says whether the conditions look at something that this load has.
pub(super) fn check(arguments: &Arguments, order: &Order) -> Result<(), Failure> {
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
pub(super) fn read_baseline(
    arguments: &Arguments,
    order: &Order,
) -> Result<Option<RunResult>, Failure> {
    let Some(path) = &arguments.gates.baseline else {
        return Ok(None);
    };
    let reading = || format!("read the baseline {}", path.display());
    let json = streams::read(path, MAX_DOCUMENT_BYTES).or_exit(Exit::Results, reading())?;
    let earlier: RunResult = document::parse(&json).or_exit(Exit::Results, reading())?;
    let cell = order.cell();
    let likeness = Likeness {
        lane: cell.lane.to_string(),
        connections: cell.connections,
        load: single::load_of(&LoadSummary {
            model: cell.load.model().to_owned(),
            offered_per_second: cell.load.offered_per_second(cell.connections),
        }),
        exchange: single::exchange(cell),
        threads: u32::try_from(order.placement.client_cpus.len()).expect("CPUs are few"),
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
