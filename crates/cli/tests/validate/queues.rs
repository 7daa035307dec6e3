//! Queues whose waiting times are known by formula.

use anyhow::Context;
use rand::Rng;
use sockrates_core::plan::Cell;
use sockrates_core::record::{Measurement, Metric};
use sockrates_core::scenario::Wait;
use sockrates_core::schedule::Load;
use sockrates_core::{seed, units};

use crate::options::Options;
use crate::page::Row;
use crate::trials::{self, mean, quantile};

pub(crate) const TEXT: &str = "\
Requests that come at random to one server queue, and how long is known since A. K. Erlang (1909) and C. D. Crommelin\n\
(1932). The server burns 1 ms per request: drawn from an exponential distribution (the queue called *M/M/1*) or always the\n\
same (*M/D/1*). Requests come at such a rate that the server is busy about half of the time; how long it is busy with a\n\
request was measured before, with one client that asks again as soon as it has its answer. Both formulas speak of a server\n\
that nothing ever interrupts. A virtual CPU is taken away now and then, here mostly for several milliseconds: the requests\n\
of that client that took more than half a millisecond longer than usual tell how often, and how long. The *recursion*\n\
follows the very same arrivals and burnt times one by one through a queue that is interrupted as often and as long, at\n\
random instants. Judged is the recursion; the formulas are shown beside it: where nothing interrupts, they say the same.\n\
The p99 of M/D/1 is only shown: without interruptions no request in a hundred waits for long, so that it depends on the\n\
luck of some fifty of them. All add what a request costs outside of the queue.";

const BURN_NS: f64 = 1e6;
const UTILISATION: f64 = 0.5;
const CONNECTIONS: u32 = 64;
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const TOLERANCE: f64 = 0.05;
/// A request that took so much longer than usual was interrupted.
const INTERRUPTION_NS: f64 = 5e5;
/// So many times interruptions are drawn anew: their luck in the measured minute is not known.
const DRAWS: u64 = 20;
/// A short run's own luck is larger.
const QUICK_TOLERANCE: f64 = 0.15;

/// How long the server is busy with a request.
#[derive(Clone, Copy)]
enum Law {
    Exponential,
    Constant,
}

/// The times of a queue.
struct Times {
    mean: f64,
    quantiles: [f64; 3],
}

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    let window_ms = options.choose(60_000, 10_000);
    let idle = idle(options)?;
    let idle_ns = trials::server_cpu(&idle)?;
    // What a request takes beyond the server, without a queue.
    let outside_ns = (quantile(&idle, Metric::ResponseTime, 0.5) - idle_ns).max(0.0);
    let server = alone(outside_ns, options)?;
    println!(
        "  server {} per request, {} outside, taken away {:.2}/s for {}",
        units::time(server.service_ns),
        units::time(outside_ns),
        server.interruptions_per_ns * 1e9,
        units::time(
            server.interruptions_ns.iter().sum::<f64>() / server.interruptions_ns.len() as f64
        ),
    );
    let rate = UTILISATION * 1e9 / server.service_ns;
    let mut rows = Vec::new();
    for law in [Law::Exponential, Law::Constant] {
        let cell = cell(rate, window_ms)?;
        rows.extend(check_law(law, &cell, &server, options)?);
    }
    Ok(rows)
}

/// A server that is interrupted now and then.
struct Server {
    /// How long it is busy with a request.
    service_ns: f64,
    /// What a request takes beyond that.
    outside_ns: f64,
    interruptions_per_ns: f64,
    interruptions_ns: Vec<f64>,
}

/// Measures requests that find the server free. The kernel's CPU time of the server would be less than it is busy:
/// interrupts hold its CPU, too, and so does a hypervisor.
fn alone(outside_ns: f64, options: &Options) -> anyhow::Result<Server> {
    let cell = Cell {
        wait: Wait::Spin,
        ..trials::echo("http1-persistent", options.choose(20_000, 3000))?
    };
    let measured = trials::measure(&trials::spec(cell, &["--burn", CONSTANT])?)?;
    let times = &measured.histograms[&Metric::ServiceTime];
    let count = times.count();
    let usual_ns = times.quantile_unchecked_ns(0.5) as f64;
    let at = |index: u64| times.quantile_unchecked_ns((index as f64 + 0.5) / count as f64) as f64;
    let (usual, longer): (Vec<f64>, Vec<f64>) = (0..count)
        .map(at)
        .partition(|ns| *ns < usual_ns + INTERRUPTION_NS);
    let total_ns: f64 = usual.iter().chain(&longer).sum();
    let service_ns = usual.iter().sum::<f64>() / usual.len() as f64;
    Ok(Server {
        service_ns: service_ns - outside_ns,
        outside_ns,
        interruptions_per_ns: longer.len() as f64 / total_ns,
        interruptions_ns: longer.into_iter().map(|ns| ns - service_ns).collect(),
    })
}

/// Measures what an operation takes when nothing queues, while the server sleeps between two of them for as long as it will
/// later: one that has slept needs twice the time of one that is warm.
fn idle(options: &Options) -> anyhow::Result<Measurement> {
    let window_ms = options.choose(10_000, 3000);
    let cell = cell(UTILISATION * 1e9 / BURN_NS, window_ms)?;
    trials::measure(&trials::spec(cell, &[])?)
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
    cell: &Cell,
    server: &Server,
    options: &Options,
) -> anyhow::Result<Vec<Row>> {
    let (name, burn) = match law {
        Law::Exponential => ("M/M/1", EXPONENTIAL),
        Law::Constant => ("M/D/1", CONSTANT),
    };
    let measured = trials::measure(&trials::spec(cell.clone(), &["--burn", burn])?)?;
    let offered = cell.load.offered_per_second(CONNECTIONS);
    let utilisation = offered.context("an open load")? * server.service_ns / 1e9;
    let by_formula = formula(law, server.service_ns, utilisation).plus(server.outside_ns);
    let by_recursion = recursion(law, cell, server).plus(server.outside_ns);
    let tolerance = options.choose(TOLERANCE, QUICK_TOLERANCE);
    let formula = compare(
        &format!("{name}, formula"),
        &by_formula,
        &measured,
        tolerance,
    );
    let formula = formula.into_iter().map(Row::only_shown);
    let recursion = format!("{name}, recursion");
    let recursion = compare(&recursion, &by_recursion, &measured, tolerance);
    let last = recursion.len() - 1;
    let is_judged = |index| index < last || matches!(law, Law::Exponential);
    let recursion = recursion.into_iter().enumerate().map(|(index, row)| {
        if is_judged(index) {
            row
        } else {
            row.only_shown()
        }
    });
    Ok(formula.chain(recursion).collect())
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

/// Returns the long run's response times at this mean service time and utilisation.
fn formula(law: Law, service_ns: f64, utilisation: f64) -> Times {
    match law {
        Law::Exponential => {
            let mean = service_ns / (1.0 - utilisation);
            Times {
                mean,
                quantiles: QUANTILES.map(|p| -mean * (1.0 - p).ln()),
            }
        }
        Law::Constant => Times {
            mean: service_ns * (1.0 + utilisation / (2.0 * (1.0 - utilisation))),
            quantiles: QUANTILES.map(|p| service_ns * (1.0 + crommelin_quantile(p, utilisation))),
        },
    }
}

/// Returns the p-quantile of the wait in an M/D/1 queue, in service times.
fn crommelin_quantile(p: f64, utilisation: f64) -> f64 {
    let (mut low, mut high) = (0.0, 20.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if crommelin(middle, utilisation) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Returns the probability that a wait in an M/D/1 queue is at most `time` service times. Its terms have both signs:
/// beyond some thirty service times they would cancel too many digits.
fn crommelin(time: f64, utilisation: f64) -> f64 {
    let mut sum = 0.0;
    let mut begun = 0_u32;
    while f64::from(begun) <= time {
        let x = utilisation * (time - f64::from(begun));
        let term: f64 = (1..=begun).map(|k| -x / f64::from(k)).product();
        sum += term * x.exp();
        begun += 1;
    }
    (1.0 - utilisation) * sum
}

/// Follows the trial's own arrivals and the server's own draws through a queue, one by one (D. V. Lindley, 1952), whose
/// server is interrupted at random instants and then goes on.
fn recursion(law: Law, cell: &Cell, server: &Server) -> Times {
    let warm_up_ns = u64::from(cell.timing.warm_up_ms) * 1_000_000;
    let length_ns = warm_up_ns + u64::from(cell.timing.window_ms) * 1_000_000;
    let arrivals = cell.arrivals(length_ns, 1, 0);
    // The stream that a server's first worker draws from, with the default seed.
    let mut random = seed::stream(0, "burn http1", 0);
    let mut draw = || match law {
        Law::Exponential => -(1.0 - random.random::<f64>()).ln() * BURN_NS,
        Law::Constant => BURN_NS,
    };
    let burns: Vec<f64> = arrivals.iter().map(|_| draw()).collect();
    let extra_ns = server.service_ns - BURN_NS;
    let mut times = Vec::new();
    for index in 0..DRAWS {
        let mut interruptions = Interruptions::new(server, seed::stream(0, "interruptions", index));
        let mut free_ns = 0.0_f64;
        for (arrival, burn_ns) in arrivals.iter().zip(&burns) {
            let at_ns = arrival.at_ns as f64;
            free_ns = interruptions.end_of(free_ns.max(at_ns), burn_ns + extra_ns);
            if arrival.at_ns >= warm_up_ns {
                times.push(free_ns - at_ns);
            }
        }
    }
    summary(times)
}

/// Spans in which the server has no CPU, at random instants.
struct Interruptions<'a, R> {
    server: &'a Server,
    random: R,
    start_ns: f64,
    length_ns: f64,
}

impl<'a, R: Rng> Interruptions<'a, R> {
    fn new(server: &'a Server, random: R) -> Self {
        let mut all = Self {
            server,
            random,
            start_ns: 0.0,
            length_ns: 0.0,
        };
        all.next();
        all
    }

    fn next(&mut self) {
        let pause = -(1.0 - self.random.random::<f64>()).ln() / self.server.interruptions_per_ns;
        self.start_ns += self.length_ns + pause;
        let all = &self.server.interruptions_ns;
        self.length_ns = match all.len() {
            0 => 0.0,
            many => all[self.random.random_range(0..many)],
        };
    }

    /// Returns when work that begins at `from_ns` or later is done; later calls begin later.
    fn end_of(&mut self, from_ns: f64, work_ns: f64) -> f64 {
        let mut end_ns = from_ns + work_ns;
        while self.start_ns < end_ns {
            let over_ns = self.start_ns + self.length_ns;
            end_ns += (over_ns - from_ns.max(self.start_ns)).max(0.0);
            self.next();
        }
        end_ns
    }
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
