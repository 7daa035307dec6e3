//! The short calibration that every run begins and ends with.

use sockrates_core::calibration::Calibration;
use sockrates_core::plan::{Cell, Placement, TrialSpec};
use sockrates_core::record::Metric;
use sockrates_core::scenario::Timing;
use sockrates_loadgen::calibrate;
use sockrates_probe::{canary, cpu, wake_up};
use tokio::runtime::Runtime;

use crate::orchestrate::child;

/// As many sleeps as fit into a fifth of a second.
const SLEEPS: u32 = 800;
const SLEEP_NS: u64 = 200_000;

/// Takes a calibration. What cannot be measured is left empty: it is context, and no reason not to measure.
pub(super) fn take(runtime: &Runtime, placement: &Placement, seed: u64) -> Calibration {
    let cpus = cpu::usable().unwrap_or_default();
    let (spin_alone_ns, spin_together_ns) = canary::alone_and_together(&cpus).unwrap_or_default();
    let sleeps = calibrate::timer_lateness(SLEEPS, SLEEP_NS).unwrap_or_default();
    Calibration {
        clock_read_ns: calibrate::clock_read_ns(),
        sleep_late_p50_ns: sleeps.quantile_unchecked_ns(0.5),
        sleep_late_p99_ns: sleeps.quantile_unchecked_ns(0.99),
        floor_p50_ns: runtime.block_on(floor(placement, seed)),
        spin_alone_ns,
        spin_together_ns,
        wake_up: wake_up::measure(&cpus).ok().flatten(),
    }
}

/// Returns the floor's median service time with one connection.
async fn floor(placement: &Placement, seed: u64) -> Option<u64> {
    let timing = Timing {
        warm_up_ms: 100,
        window_ms: 300,
        ..Timing::default()
    };
    let cell = Cell::echo("tcp-persistent".parse().ok()?, 64, timing);
    let spec = TrialSpec {
        seed,
        ..TrialSpec::alone(cell, placement.clone())
    };
    let record = child::perform(&spec, None).await;
    let times = record
        .measurement?
        .histograms
        .remove(&Metric::ServiceTime)?;
    times.quantile_ns(0.5)
}
