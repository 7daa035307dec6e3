//! A server that stops once: who notices?

use sockrates_core::plan::Cell;
use sockrates_core::record::{Measurement, Metric};
use sockrates_core::schedule::Load;
use sockrates_core::units;

use crate::options::Options;
use crate::page::Row;
use crate::trials::{self, quantile};

pub(crate) const TEXT: &str = "\
The server stops once, for S, in a run of length T. Users who come at their own pace (an *open* load) all wait: with\n\
ρ the load's share of the capacity, a share S / ((1 − ρ) T) of them is late, and for every p above the rest the p-quantile\n\
of the response time is S − (1 − p) T (1 − ρ) above the usual time. A *closed* loop, which sends the next request only when\n\
the reply has come, stops asking while the server stops, and so records one slow operation among thousands. That is\n\
*coordinated omission*: its p99 does not know of the stall, and only its maximum tells.";

const RATE: f64 = 2000.0;
const CONNECTIONS: u32 = 16;
const STALL_AFTER_MS: u32 = 3000;
const QUANTILES: [f64; 4] = [0.95, 0.98, 0.99, 0.999];
const TOLERANCE: f64 = 0.05;

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    let (window_ms, stall_ms) = options.choose((20_000, 2000), (10_000, 1000));
    let capacity = capacity(options)?;
    let fault = format!("{STALL_AFTER_MS}:{stall_ms}");
    let measure = |cell: Cell| trials::measure(&trials::spec(cell, &["--stall", &fault])?);
    let open = measure(Cell {
        load: Load::OpenPoisson {
            rate_per_second: RATE,
        },
        connections: CONNECTIONS,
        ..trials::echo("http1-persistent", window_ms)?
    })?;
    let closed = measure(trials::echo("http1-persistent", window_ms)?)?;
    let (window, stall) = (f64::from(window_ms) * 1e6, f64::from(stall_ms) * 1e6);
    let mut rows = open_rows(&open, window, stall, RATE / capacity);
    rows.extend(closed_rows(&closed, stall));
    Ok(rows)
}

/// Measures how fast the backlog can be worked off: over as many connections, without a pause.
fn capacity(options: &Options) -> anyhow::Result<f64> {
    let cell = Cell {
        connections: CONNECTIONS,
        ..trials::echo("http1-persistent", options.choose(3000, 1000))?
    };
    let measured = trials::measure(&trials::spec(cell, &[])?)?;
    Ok(measured.operations.verified as f64 * 1e9 / measured.spans.window_ns() as f64)
}

fn open_rows(open: &Measurement, window_ns: f64, stall_ns: f64, load: f64) -> Vec<Row> {
    let usual = quantile(open, Metric::ResponseTime, 0.5);
    let affected = stall_ns / ((1.0 - load) * window_ns);
    let mut rows = vec![
        Row::judged(
            format!(
                "stall of {} in {}, {} (ρ = {load:.3}): usual response time",
                units::time(stall_ns),
                units::time(window_ns),
                units::rate(RATE)
            ),
            "below 1 ms",
            units::time(usual),
            usual < 1e6,
        ),
        Row::judged(
            "open load: late operations",
            format!("{:.1} % ± 5 % of it", affected * 100.0),
            format!("{:.1} %", late_share(open, usual) * 100.0),
            (late_share(open, usual) / affected - 1.0).abs() <= TOLERANCE,
        ),
    ];
    for p in QUANTILES.iter().filter(|p| **p > 1.0 - affected) {
        let expected = usual + stall_ns - (1.0 - p) * window_ns * (1.0 - load);
        let found = quantile(open, Metric::ResponseTime, *p);
        let what = format!("open load: p{} of the response time", p * 100.0);
        // Near the edge of the affected share the arrivals' own luck is larger than what is tested.
        let row = Row::near(what, expected, found, TOLERANCE);
        let is_clear = expected > stall_ns / 4.0;
        rows.push(if is_clear { row } else { row.only_shown() });
    }
    rows
}

/// Returns the share of operations that took ten times as long as usual.
fn late_share(open: &Measurement, usual: f64) -> f64 {
    let times = &open.histograms[&Metric::ResponseTime];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive time"
    )]
    let late = times.count_between((usual * 10.0) as u64, u64::MAX >> 1);
    late as f64 / times.count() as f64
}

fn closed_rows(closed: &Measurement, stall_ns: f64) -> [Row; 2] {
    let p99 = quantile(closed, Metric::ServiceTime, 0.99);
    let max = quantile(closed, Metric::ServiceTime, 1.0);
    [
        Row::judged(
            "closed loop, one connection: p99 of the service time",
            format!("below {}: it omits the stall", units::time(stall_ns / 10.0)),
            units::time(p99),
            p99 < stall_ns / 10.0,
        ),
        Row::near(
            "closed loop, one connection: largest service time",
            stall_ns,
            max,
            TOLERANCE,
        ),
    ]
}
