//! Queues whose waiting times are known by formula.

use rand::Rng;
use sockrates_core::plan::Cell;
use sockrates_core::record::{Measurement, Metric};
use sockrates_core::scenario::Wait;
use sockrates_core::schedule::{self, Load};
use sockrates_core::{seed, units};

use crate::options::Options;
use crate::page::Row;
use crate::trials::{self, mean, quantile};

pub(crate) const TEXT: &str = "\
Requests that come at random to one server queue, and how long is known since A. K. Erlang (1909) and C. D. Crommelin\n\
(1932). The server burns 1 ms per request: drawn from an exponential distribution (the queue called *M/M/1*) or always the\n\
same (*M/D/1*). Requests come at such a rate that the server is busy half of the time. The formula speaks of the long run;\n\
the *recursion* follows the very same arrivals and burnt times one by one through an ideal queue, and so knows the luck of\n\
this one run. The mean, p50 and p90 are judged by the formula. The p99 is judged by the recursion, because in a run of a\n\
minute the formula's own sampling error at p99 is as large as what is tested. Both add what a request costs outside of the\n\
queue.";

const BURN_NS: f64 = 1e6;
const UTILISATION: f64 = 0.5;
const CONNECTIONS: u32 = 64;
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const TOLERANCE: f64 = 0.05;
/// A short run's own luck is larger.
const QUICK_TOLERANCE: f64 = 0.15;

/// How long the server is busy with a request.
#[derive(Clone, Copy)]
enum Law {
    Exponential,
    Constant,
}

/// The costs that no burn brings.
struct Extra {
    /// What the server spends on a request besides the burn.
    server_ns: f64,
    /// What a request takes beyond the server, without a queue.
    outside_ns: f64,
}

/// The times of a queue.
struct Times {
    mean: f64,
    quantiles: [f64; 3],
}

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    let window_ms = options.choose(60_000, 10_000);
    let extra = extra(options)?;
    println!(
        "  server {} besides the burn, {} outside",
        units::time(extra.server_ns),
        units::time(extra.outside_ns)
    );
    let mut rows = Vec::new();
    for law in [Law::Exponential, Law::Constant] {
        rows.extend(check_law(law, &extra, window_ms, options)?);
    }
    Ok(rows)
}

/// Measures the costs beside the burn: the server's from the rate it can work at without a pause, the others from what an
/// operation takes when nothing queues, while the server sleeps between two of them for as long as it will later.
fn extra(options: &Options) -> anyhow::Result<Extra> {
    let window_ms = options.choose(10_000, 3000);
    let busy = Cell {
        load: Load::Closed {},
        ..cell(0.0, window_ms)?
    };
    let busy = trials::measure(&trials::spec(busy, &["--burn", CONSTANT])?)?;
    let idle = cell(UTILISATION * 1e9 / BURN_NS, window_ms)?;
    let idle = trials::measure(&trials::spec(idle, &[])?)?;
    let each_ns = busy.spans.window_ns() as f64 / busy.operations.verified as f64;
    let server_ns = (each_ns - BURN_NS).max(0.0);
    let floor_ns = quantile(&idle, Metric::ResponseTime, 0.5);
    Ok(Extra {
        server_ns,
        outside_ns: (floor_ns - server_ns).max(0.0),
    })
}

const CONSTANT: &str = "http1=1000000";
const EXPONENTIAL: &str = "http1=exp:1000000";

fn cell(rate_per_second: f64, window_ms: u32) -> anyhow::Result<Cell> {
    Ok(Cell {
        load: Load::OpenPoisson { rate_per_second },
        connections: CONNECTIONS,
        wait: Wait::Spin,
        ..trials::echo("http1-persistent", window_ms)?
    })
}

fn check_law(
    law: Law,
    extra: &Extra,
    window_ms: u32,
    options: &Options,
) -> anyhow::Result<Vec<Row>> {
    let service_ns = BURN_NS + extra.server_ns;
    let rate = UTILISATION * 1e9 / service_ns;
    let (name, burn) = match law {
        Law::Exponential => ("M/M/1", EXPONENTIAL),
        Law::Constant => ("M/D/1", CONSTANT),
    };
    let cell = cell(rate, window_ms)?;
    let measured = trials::measure(&trials::spec(cell.clone(), &["--burn", burn])?)?;
    let by_formula = formula(law, service_ns).plus(extra.outside_ns);
    let by_recursion = recursion(law, &cell, extra.server_ns).plus(extra.outside_ns);
    let tolerance = options.choose(TOLERANCE, QUICK_TOLERANCE);
    let mut rows = compare(
        &format!("{name}, formula"),
        &by_formula,
        &measured,
        tolerance,
    );
    let recursion = format!("{name}, recursion");
    let mut others = compare(&recursion, &by_recursion, &measured, TOLERANCE);
    let p99 = others.pop();
    rows = shown_from(rows, QUANTILES.len());
    rows.extend(shown_from(others, 0));
    rows.extend(p99);
    Ok(rows)
}

/// Leaves the first rows to be judged; the others are shown.
fn shown_from(rows: Vec<Row>, judged: usize) -> Vec<Row> {
    let show = |(index, row): (usize, Row)| {
        if index < judged {
            row
        } else {
            row.only_shown()
        }
    };
    rows.into_iter().enumerate().map(show).collect()
}

/// Compares the mean and then the quantiles.
fn compare(name: &str, expected: &Times, measured: &Measurement, tolerance: f64) -> Vec<Row> {
    let found_mean = mean(measured, Metric::ResponseTime);
    let first = Row::near(
        format!("{name}: mean response time"),
        expected.mean,
        found_mean,
        tolerance,
    );
    let others = QUANTILES.iter().zip(expected.quantiles).map(|(p, time)| {
        let what = format!("{name}: p{:.0}", p * 100.0);
        let found = quantile(measured, Metric::ResponseTime, *p);
        Row::near(what, time, found, tolerance)
    });
    std::iter::once(first).chain(others).collect()
}

impl Times {
    fn plus(self, ns: f64) -> Self {
        Self {
            mean: self.mean + ns,
            quantiles: self.quantiles.map(|time| time + ns),
        }
    }
}

/// Returns the long run's response times at this mean service time.
fn formula(law: Law, service_ns: f64) -> Times {
    match law {
        Law::Exponential => {
            let mean = service_ns / (1.0 - UTILISATION);
            Times {
                mean,
                quantiles: QUANTILES.map(|p| -mean * (1.0 - p).ln()),
            }
        }
        Law::Constant => Times {
            mean: service_ns * (1.0 + UTILISATION / (2.0 * (1.0 - UTILISATION))),
            quantiles: QUANTILES.map(|p| service_ns * (1.0 + crommelin_quantile(p))),
        },
    }
}

/// Returns the p-quantile of the wait in an M/D/1 queue, in service times.
fn crommelin_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 20.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if crommelin(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Returns the probability that a wait in an M/D/1 queue is at most `time` service times. Its terms have both signs:
/// beyond some thirty service times they would cancel too many digits.
fn crommelin(time: f64) -> f64 {
    let mut sum = 0.0;
    let mut begun = 0_u32;
    while f64::from(begun) <= time {
        let x = UTILISATION * (time - f64::from(begun));
        let term: f64 = (1..=begun).map(|k| -x / f64::from(k)).product();
        sum += term * x.exp();
        begun += 1;
    }
    (1.0 - UTILISATION) * sum
}

/// Follows the trial's own arrivals and the server's own draws through an ideal queue, one by one (D. V. Lindley, 1952).
fn recursion(law: Law, cell: &Cell, extra_ns: f64) -> Times {
    let warm_up_ns = u64::from(cell.timing.warm_up_ms) * 1_000_000;
    let length_ns = warm_up_ns + u64::from(cell.timing.window_ms) * 1_000_000;
    let arrivals = schedule::arrivals(&cell.load, cell.connections, length_ns, 1, 0);
    // The stream that a server's first worker draws from, with the default seed.
    let mut random = seed::stream(0, "burn http1", 0);
    let mut free_ns = 0.0_f64;
    let mut times = Vec::new();
    for arrival in arrivals {
        let at_ns = arrival.at_ns as f64;
        let burn_ns = match law {
            Law::Exponential => -(1.0 - random.random::<f64>()).ln() * BURN_NS,
            Law::Constant => BURN_NS,
        };
        free_ns = free_ns.max(at_ns) + burn_ns + extra_ns;
        if arrival.at_ns >= warm_up_ns {
            times.push(free_ns - at_ns);
        }
    }
    summary(times)
}

fn summary(mut times: Vec<f64>) -> Times {
    times.sort_by(f64::total_cmp);
    let count = times.len() as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = |p: f64| times[(p * count) as usize];
    Times {
        mean: times.iter().sum::<f64>() / count,
        quantiles: QUANTILES.map(at),
    }
}
