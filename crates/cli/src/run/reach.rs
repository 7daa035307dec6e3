//! Whether the server is there: before the load, and after failures.

use sockrates_core::failure::FailureKind;
use sockrates_core::plan::{Target, TrialSpec};
use sockrates_core::record::TrialRecord;
use sockrates_loadgen::preflight::{self, Rejection};

use super::order::Order;
use crate::exit::{Exit, Failure};

/// After failures, looks whether the server is still there.
pub(super) fn lost(order: &Order, target: &Target, records: &[TrialRecord]) -> Option<String> {
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
pub(super) fn reach(order: &Order) -> Result<Target, Failure> {
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
