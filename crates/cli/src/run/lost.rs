//! Whether the server is still there, after failures.

use sockrates_core::failure::FailureKind;
use sockrates_core::plan::{Target, TrialSpec};
use sockrates_core::record::{Measurement, TrialRecord};
use sockrates_loadgen::preflight::{self, Rejection};

use super::order::Order;

/// After failures, looks whether the server is still there.
pub(super) fn lost(order: &Order, target: &Target, records: &[TrialRecord]) -> Option<String> {
    let Some(measured) = &records.last()?.measurement else {
        return Some(format!(
            "trial {} of {} could not begin: the server was lost; what it answered until then is told",
            records.len(),
            order.plan.trial_count()
        ));
    };
    let of_connection = [
        FailureKind::ConnectRefused,
        FailureKind::ConnectReset,
        FailureKind::ConnectTimedOut,
        FailureKind::PeerClosed,
        FailureKind::ConnectionReset,
        FailureKind::TimedOut,
    ];
    let failed = |kind| measured.operations.failed.contains_key(kind);
    if !of_connection.iter().any(failed) && !ends_badly(measured) {
        return None;
    }
    let mut spec = first_trial(order, target);
    // It had its chance: one look, not another whole time-out.
    spec.cell.timing.timeout_ms = spec.cell.timing.timeout_ms.min(LOOK_MS);
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
        // A few wrong answers among right ones are failures; nothing else from some instant on is a server that broke.
        Err(rejection) if ends_badly(measured) => Some(format!(
            "the server answers well no longer: {rejection}; what it answered until then is told"
        )),
        _ => None,
    }
}

/// Returns whether there were failures, and nothing was verified in the last quarter of the load.
fn ends_badly(measured: &Measurement) -> bool {
    let slices = &measured.slices.histograms;
    let last = &slices[slices.len() - slices.len().div_ceil(4)..];
    measured.operations.failed_total() > 0 && last.iter().all(|slice| slice.count() == 0)
}

/// How long a server may take to show that it is there.
const LOOK_MS: u32 = 1000;

fn first_trial(order: &Order, target: &Target) -> TrialSpec {
    let mut trials = order.trials(target);
    trials.swap_remove(0)
}
