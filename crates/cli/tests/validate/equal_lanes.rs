//! Equal lanes in real runs: no difference may be found.

use rand::Rng;
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::Metric;
use sockrates_core::seed;
use sockrates_report::statistics::{signed_rank_interval, signed_rank_p};

use crate::options::Options;
use crate::page::Row;
use crate::trials;

pub(crate) const TEXT: &str = "\
The same A/A test with real trials: every run measures one lane twice, the second time as its *null lane*, and compares\n\
the medians at the 1 % level. An alarm here would mean that the order of trials, a warm-up or a leftover of the previous\n\
trial favours one of two equals. (At this level one alarm in a hundred comparisons is chance, and three in twenty have one\n\
of 0.1 %.)";

const LEVEL: f64 = 0.01;
const RUNS: u64 = 20;
/// More have a chance of 0.1 %.
const ALLOWED: usize = 2;
const BLOCKS: u32 = 8;
const WINDOW_MS: u32 = 250;
const LANES: [&str; 2] = ["http1-persistent", "http1-persistent@null"];

/// One comparison of equals.
#[derive(Clone)]
struct Comparison {
    name: String,
    ratio: Option<f64>,
    p_value: f64,
}

pub(crate) fn check(_: &Options) -> anyhow::Result<Vec<Row>> {
    let comparisons: Vec<_> = (0..RUNS).map(measured).collect::<anyhow::Result<_>>()?;
    let mut rows: Vec<_> = comparisons.iter().map(row).collect();
    let alarms = comparisons.iter().filter(|found| found.p_value <= LEVEL);
    let alarms = alarms.count();
    rows.push(Row::judged(
        format!("alarms in {} comparisons", comparisons.len()),
        format!("at most {ALLOWED}"),
        alarms.to_string(),
        alarms <= ALLOWED,
    ));
    Ok(rows)
}

fn row(comparison: &Comparison) -> Row {
    let ratio = comparison.ratio.unwrap_or(f64::NAN);
    let found = format!("{ratio:.4} (p = {:.3})", comparison.p_value);
    Row::judged(&comparison.name, "a ratio of 1", found, true).only_shown()
}

/// Measures a short run of a lane and its copy, in random order within each block.
fn measured(run: u64) -> anyhow::Result<Comparison> {
    let mut random = seed::stream(run, "order", 0);
    let mut logs = Vec::new();
    for block in 0..BLOCKS {
        let mut p50 = [0.0; 2];
        let first = usize::from(random.random::<bool>());
        for lane in [first, 1 - first] {
            let spec = TrialSpec {
                seed: run,
                block,
                ..trials::spec(trials::echo(LANES[lane], WINDOW_MS)?, &[])?
            };
            let measured = trials::measure(&spec)?;
            p50[lane] = trials::quantile(&measured, Metric::ServiceTime, 0.5);
        }
        logs.push((p50[1] / p50[0]).ln());
    }
    Ok(Comparison {
        name: format!("short run {}: null lane / lane", run + 1),
        ratio: signed_rank_interval(&logs, 0.95).map(|found| found.value.exp()),
        p_value: signed_rank_p(&logs),
    })
}
