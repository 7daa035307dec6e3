//! A server that is late by a known time.

use sockrates_core::plan::Cell;
use sockrates_core::record::{Measurement, Metric};
use sockrates_core::scenario::Wait;
use sockrates_core::units;

use crate::options::Options;
use crate::page::Row;
use crate::trials::{self, mean, quantile};

pub(crate) const TEXT: &str = "\
The server works (*burns* CPU time) or waits (*delays*) for a known time before each reply. What is measured must be\n\
that time and the *floor*, which is what an operation takes without it. Long pauses let CPUs fall asleep, and a wait ends\n\
with a timer of its own: either may add some microseconds, and neither may take any away. The phases of an operation that\n\
opens a connection must add up to the whole, and only the exchange may be late. The client spins: it has no wake-up of its\n\
own to pay.";

const DELAYS_MS: [u32; 3] = [1, 5, 20];
/// What waking up may add: to a burn, and to a wait, which ends with a timer.
const BURN_EXTRA_NS: f64 = 150_000.0;
const DELAY_EXTRA_NS: f64 = 300_000.0;
/// A burn counts what its thread ran: interrupts and the hypervisor come on top, for longer the longer it burns.
const EXTRA_SHARE: f64 = 0.02;
/// Half a bucket at 20 ms, and the floor's own noise.
const LESS_NS: f64 = 20_000.0;
/// Connecting takes no longer than this, whatever the exchange takes.
const CONNECT_NS: f64 = 500_000.0;

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    let window_ms = options.choose(2000, 500);
    let mut rows = Vec::new();
    for lane in ["tcp-persistent", "tcp-per-request"] {
        let floor = p50(&measure(lane, None, window_ms)?);
        for (fault, extra_ns) in [("burn", BURN_EXTRA_NS), ("delay", DELAY_EXTRA_NS)] {
            for delay_ms in DELAYS_MS {
                let measured = measure(lane, Some((fault, delay_ms)), window_ms)?;
                rows.push(judge(lane, fault, delay_ms, floor, &measured, extra_ns));
                if lane == "tcp-per-request" && fault == "burn" {
                    rows.extend(phases(delay_ms, &measured));
                }
            }
        }
    }
    Ok(rows)
}

fn measure(lane: &str, fault: Option<(&str, u32)>, window_ms: u32) -> anyhow::Result<Measurement> {
    let cell = Cell {
        wait: Wait::Spin,
        ..trials::echo(lane, window_ms)?
    };
    let fault = fault.map(|(name, ms)| (format!("--{name}"), format!("tcp={ms}000000")));
    let arguments: Vec<&str> = fault.iter().flat_map(|(one, two)| [&**one, two]).collect();
    trials::measure(&trials::spec(cell, &arguments)?)
}

fn p50(measured: &Measurement) -> f64 {
    quantile(measured, Metric::ServiceTime, 0.5)
}

fn judge(
    lane: &str,
    fault: &str,
    delay_ms: u32,
    floor: f64,
    measured: &Measurement,
    extra_ns: f64,
) -> Row {
    let expected = f64::from(delay_ms) * 1e6 + floor;
    let extra_ns = extra_ns + f64::from(delay_ms) * 1e6 * EXTRA_SHARE;
    let found = p50(measured);
    let error = found - expected;
    Row::judged(
        format!("{lane}, {fault} of {delay_ms} ms: p50 of the service time"),
        format!(
            "{:.3} ms, up to {} more",
            expected / 1e6,
            units::time(extra_ns)
        ),
        format!("{:.3} ms ({:+.0} µs)", found / 1e6, error / 1e3),
        (-LESS_NS..=extra_ns).contains(&error),
    )
}

fn phases(delay_ms: u32, measured: &Measurement) -> [Row; 2] {
    let parts = mean(measured, Metric::Connect)
        + mean(measured, Metric::Handshake)
        + mean(measured, Metric::Exchange);
    let whole = mean(measured, Metric::ServiceTime);
    let connect = quantile(measured, Metric::Connect, 0.5);
    [
        // Buckets are up to 0.1 % wide.
        Row::judged(
            format!(
                "the same: sum of the phases' means, against a mean of {}",
                units::time(whole)
            ),
            "ratio 1.000 ± 0.001",
            format!("{:.4}", parts / whole),
            (parts / whole - 1.0).abs() < 0.001,
        ),
        Row::judged(
            format!("the same: p50 of the connect, which is not {delay_ms} ms late"),
            format!("below {}", units::time(CONNECT_NS)),
            units::time(connect),
            connect < CONNECT_NS,
        ),
    ]
}
