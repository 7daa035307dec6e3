//! The statistics with simulated runs, in which the truth is known.

use rand::Rng;
use sockrates_core::seed;
use sockrates_report::statistics::{hodges_lehmann, signed_rank_interval, signed_rank_p};

use crate::page::Row;

pub(crate) const ALARMS_TEXT: &str = "\
An *A/A test* compares a thing with itself: every difference that is found is a false alarm. Here two equal lanes are\n\
simulated, with normal noise and a long spike in one of ten trials, and compared at the 1 % level. One alarm in a hundred\n\
runs is then expected, three in all, and nine or more have a chance of 0.4 %.";

pub(crate) const COVERAGE_TEXT: &str = "\
A 95 % interval is one that holds the truth 95 times in 100. With the same spiky noise around a known difference, the\n\
intervals around the Hodges-Lehmann estimate are counted that do.";

const BLOCKS: usize = 15;
const RUNS: u64 = 300;
const MOST_ALARMS: usize = 8;
const LEVEL: f64 = 0.01;
const SETS: u64 = 2000;
const TRUTH: f64 = 0.7;
const COVERED: std::ops::RangeInclusive<f64> = 0.93..=0.97;

pub(crate) fn alarms() -> Vec<Row> {
    let alarms = (0..RUNS)
        .filter(|run| signed_rank_p(&differences("alarms", *run)) <= LEVEL)
        .count();
    vec![Row::judged(
        format!("alarms in {RUNS} simulated runs of {BLOCKS} blocks"),
        format!("at most {MOST_ALARMS}"),
        alarms.to_string(),
        alarms <= MOST_ALARMS,
    )]
}

pub(crate) fn coverage() -> Vec<Row> {
    let (mut covered, mut total) = (0_u32, 0.0);
    for set in 0..SETS {
        let mut values = differences("coverage", set);
        for value in &mut values {
            *value += TRUTH;
        }
        let interval = signed_rank_interval(&values, 0.95).expect("enough blocks");
        covered += u32::from((interval.low..=interval.high).contains(&TRUTH));
        total += hodges_lehmann(&values).expect("there are values");
    }
    let share = f64::from(covered) / SETS as f64;
    vec![
        Row::judged(
            format!("95 % intervals that hold the truth, {SETS} sets of {BLOCKS} blocks"),
            "93 to 97 %",
            format!("{:.1} %", share * 100.0),
            COVERED.contains(&share),
        ),
        Row::judged(
            "mean of the estimates",
            format!("{TRUTH:.2} ± 0.05"),
            format!("{:.3}", total / SETS as f64),
            (total / SETS as f64 - TRUTH).abs() <= 0.05,
        ),
    ]
}

/// Draws the differences of two equal lanes, block by block.
fn differences(purpose: &str, run: u64) -> Vec<f64> {
    let mut random = seed::stream(1, purpose, run);
    (0..BLOCKS)
        .map(|_| trial(&mut random) - trial(&mut random))
        .collect()
}

/// One trial: normal noise, and in one of ten a spike on top.
fn trial(random: &mut impl Rng) -> f64 {
    // In (0, 1], so that logarithms are finite.
    let mut uniform = || 1.0 - random.random::<f64>();
    let radius = (-2.0 * uniform().ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * uniform()).cos();
    let (is_spiky, spike) = (uniform() <= 0.1, -6.0 * uniform().ln());
    if is_spiky { normal + spike } else { normal }
}
