//! A difference of 5 % must be found.

use rand::Rng;
use sockrates_core::plan::TrialSpec;
use sockrates_core::seed;
use sockrates_core::units;
use sockrates_report::statistics::{Estimate, signed_rank_interval};

use crate::options::Options;
use crate::page::Row;
use crate::trials;

pub(crate) const TEXT: &str = "\
An instrument that never raises an alarm would pass the checks above. Here the server of one of two equal lanes burns 5 %\n\
more CPU time per operation, a few microseconds at most. Each repetition measures both in 30 blocks, in random order within\n\
each, and has found the difference when the 95 % interval of the ratio of CPU time per operation lies above 1.";

const LANE: &str = "http1-persistent";
const BLOCKS: u32 = 30;
const MORE: f64 = 0.05;
const FOUND_SHARE: f64 = 0.9;
const PILOTS: u32 = 5;

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    let cost = usual_cost(options)?;
    let burn = format!("http1={:.0}", cost * MORE);
    println!("  {} per operation, {burn}", units::time(cost));
    let mut found = Vec::new();
    for repetition in 0..options.repetitions {
        let ratio = repeat(repetition, &burn, options)?;
        println!(
            "  repetition {}: {}",
            repetition + 1,
            describe(ratio.as_ref())
        );
        found.push(ratio);
    }
    let is_found = |ratio: &&Option<Estimate>| ratio.is_some_and(|ratio| ratio.low > 1.0);
    let told_apart = found.iter().filter(is_found).count();
    let mut rows: Vec<_> = (1..)
        .zip(&found)
        .map(|(number, ratio)| {
            let what = format!("repetition {number}: CPU time with the burn / without");
            let found = describe(ratio.as_ref());
            Row::judged(what, format!("{:.2}", 1.0 + MORE), found, true).only_shown()
        })
        .collect();
    rows.push(Row::judged(
        format!(
            "{} more on {} per operation: told apart",
            units::time(cost * MORE),
            units::time(cost)
        ),
        "at least 9 times in 10",
        format!("{told_apart} of {}", found.len()),
        told_apart as f64 >= FOUND_SHARE * found.len() as f64,
    ));
    Ok(rows)
}

/// Returns the median CPU time of both ends per operation.
fn usual_cost(options: &Options) -> anyhow::Result<f64> {
    let mut costs = (0..PILOTS)
        .map(|_| cost(0, 0, &[], options))
        .collect::<anyhow::Result<Vec<_>>>()?;
    costs.sort_by(f64::total_cmp);
    Ok(costs[costs.len() / 2])
}

fn cost(repetition: u32, block: u32, arguments: &[&str], options: &Options) -> anyhow::Result<f64> {
    let spec = TrialSpec {
        seed: repetition.into(),
        block,
        ..trials::spec(trials::echo(LANE, options.window_ms)?, arguments)?
    };
    trials::cpu(&trials::measure(&spec)?)
}

/// Measures all blocks once, and returns the ratio with its interval.
fn repeat(repetition: u32, burn: &str, options: &Options) -> anyhow::Result<Option<Estimate>> {
    let mut random = seed::stream(repetition.into(), "order", 0);
    let variants: [&[&str]; 2] = [&[], &["--burn", burn]];
    let mut logs = Vec::new();
    for block in 0..BLOCKS {
        let mut costs = [0.0; 2];
        let first = usize::from(random.random::<bool>());
        for variant in [first, 1 - first] {
            costs[variant] = cost(repetition, block, variants[variant], options)?;
        }
        logs.push((costs[1] / costs[0]).ln());
    }
    Ok(signed_rank_interval(&logs, 0.95).map(|found| Estimate {
        value: found.value.exp(),
        low: found.low.exp(),
        high: found.high.exp(),
    }))
}

fn describe(ratio: Option<&Estimate>) -> String {
    ratio.map_or_else(
        || "no interval".to_owned(),
        |ratio| format!("{:.3} ({:.3} to {:.3})", ratio.value, ratio.low, ratio.high),
    )
}
