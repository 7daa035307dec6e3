//! The dry run: the plan in words, and the very bytes that would be sent first.

use sockrates_core::units;
use sockrates_loadgen::preflight;

use super::order::Order;

/// Tells the plan, and the first bytes that would be sent.
pub(super) fn plan(order: &Order) -> String {
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
