//! What the rules promise, simulated: how often they are wrong, and how often they find what is there. Seeded, with the
//! spreads and the numbers of blocks that runs have, and with noise that is normal or full of spikes.

use std::collections::BTreeMap;

use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{Metric, TrialRecord};
use sockrates_core::summary::{Summary, Verdict};
use sockrates_report::detection::{Situation, blocks_needed, detectable};
use sockrates_report::joint::fit;
use sockrates_report::statistics::{
    Decision, decide, rank_sum_interval, sign_interval, signed_rank_interval, signed_rank_p,
};
use sockrates_report::summarize;

use crate::synthetic::{constant, dataset, planned_echo, record};

/// The spread of a block's difference: a quiet machine's, a usual one's and a noisy one's.
const SIGMAS: [f64; 3] = [0.05, 0.115, 0.30];
const BLOCKS: [usize; 3] = [8, 12, 30];

/// `SplitMix64`: the same numbers on every machine.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// One trial's noise, with a variance of one half: of one in ten, a spike on top.
    fn trial(&mut self, is_spiky: bool) -> f64 {
        let normal = self.normal() * 0.5_f64.sqrt();
        if is_spiky && self.uniform() <= 0.1 {
            normal - 3.0 * self.uniform().ln()
        } else {
            normal
        }
    }

    /// The logarithms of one lane's trials.
    fn lane(&mut self, blocks: usize, sigma: f64, is_spiky: bool) -> Vec<f64> {
        (0..blocks).map(|_| sigma * self.trial(is_spiky)).collect()
    }
}

fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[test]
fn a_difference_is_stated_by_chance_once_in_a_hundred_at_most() {
    const RUNS: usize = 800;
    let mut noise = Noise(101);
    for blocks in BLOCKS {
        for is_spiky in [false, true] {
            let mut stated = 0;
            for sigma in SIGMAS {
                let mut different = 0;
                for _ in 0..RUNS {
                    let (a, b) = (
                        noise.lane(blocks, sigma, is_spiky),
                        noise.lane(blocks, sigma, is_spiky),
                    );
                    let decision = decide(&differences(&a, &b), 0.05);
                    different += usize::from(decision == Decision::Different);
                    stated += usize::from(matches!(
                        decision,
                        Decision::Different | Decision::SlightlyDifferent
                    ));
                }
                let what = format!("{blocks} blocks, {sigma}, {is_spiky}: {different}");
                assert!(different * 100 <= RUNS, "{what}");
            }
            // 24 are expected of 2,400 at the most; 3 standard deviations of that are 15.
            assert!(stated <= 39, "{blocks} blocks, {is_spiky}: {stated}");
        }
    }
}

#[test]
fn intervals_of_ratios_and_of_shifts_cover_the_truth() {
    const RUNS: usize = 700;
    let mut noise = Noise(102);
    for blocks in BLOCKS {
        for is_spiky in [false, true] {
            let mut covered = [0_usize; 3];
            for sigma in SIGMAS {
                for _ in 0..RUNS {
                    let (a, b) = (
                        noise.lane(blocks, sigma, is_spiky),
                        noise.lane(blocks, sigma, is_spiky),
                    );
                    let logs = differences(&a, &b);
                    let rank = signed_rank_interval(&logs, 0.95).unwrap();
                    let (low, high) = sign_interval(&logs, 0.95).unwrap();
                    covered[0] += usize::from(rank.low <= 0.0 && 0.0 <= rank.high);
                    covered[1] += usize::from(low <= 0.0 && 0.0 <= high);
                    let shift = rank_sum_interval(&a[..7], &b[..8], 0.95).unwrap();
                    covered[2] += usize::from(shift.low <= 0.0 && 0.0 <= shift.high);
                }
            }
            for count in covered {
                let share = count as f64 / (3 * RUNS) as f64;
                assert!(share >= 0.94, "{blocks} blocks, {is_spiky}: {covered:?}");
            }
        }
    }
}

/// Differences in microseconds are skewed: their interval is that of their median.
#[test]
fn intervals_of_differences_cover_their_median() {
    const RUNS: usize = 700;
    let mut noise = Noise(103);
    for sigma in SIGMAS {
        for is_spiky in [false, true] {
            let mut draw = |blocks: usize| -> Vec<f64> {
                let (a, b) = (
                    noise.lane(blocks, sigma, is_spiky),
                    noise.lane(blocks, sigma, is_spiky),
                );
                let both = a.iter().zip(&b);
                both.map(|(a, b)| 80.0 * a.exp() - 30.0 * b.exp()).collect()
            };
            let mut many = draw(40_001);
            many.sort_by(f64::total_cmp);
            let truth = many[20_000];
            for blocks in BLOCKS {
                let covers = |_: &usize| {
                    let (low, high) = sign_interval(&draw(blocks), 0.95).unwrap();
                    low <= truth && truth <= high
                };
                let share = (0..RUNS).filter(covers).count() as f64 / RUNS as f64;
                assert!(
                    share >= 0.94,
                    "{blocks} blocks, {sigma}, {is_spiky}: {share}"
                );
            }
        }
    }
}

/// The joint estimates multiply, and the interval that is widened to hold them covers the truth.
#[test]
fn joint_estimates_multiply_and_their_intervals_cover_the_truth() {
    const RUNS: usize = 500;
    let mut noise = Noise(104);
    let effects = [1.2, 0.3, 0.7, 0.0, -0.4];
    let (mut covered, mut outside) = (0, 0);
    for run in 0..RUNS {
        let is_spiky = run % 2 == 0;
        let cells: Vec<BTreeMap<u32, f64>> = effects
            .iter()
            .map(|effect| {
                let logs = noise.lane(12, 0.115, is_spiky);
                (0..).zip(logs.iter().map(|log| log + effect)).collect()
            })
            .collect();
        let fit = fit(&cells).unwrap();
        let total = fit.contrast(0, 3).unwrap();
        let way = fit.contrast(0, 1).unwrap() + fit.contrast(1, 3).unwrap();
        let values = fit.value(0).unwrap() - fit.value(3).unwrap();
        assert!((total - way).abs() < 1e-12 && (total - values).abs() < 1e-12);
        let logs: Vec<f64> = (0..12)
            .map(|block| cells[0][&block] - cells[3][&block])
            .collect();
        let direct = signed_rank_interval(&logs, 0.95).unwrap();
        outside += usize::from(total < direct.low || total > direct.high);
        covered += usize::from(direct.low.min(total) <= 1.2 && 1.2 <= direct.high.max(total));
    }
    assert!(covered * 100 >= RUNS * 94, "{covered} of {RUNS}");
    assert!(
        outside * 20 <= RUNS,
        "{outside} of {RUNS} had to be widened"
    );
}

#[test]
fn what_is_detectable_is_detected_nine_times_in_ten() {
    const RUNS: usize = 1500;
    let mut noise = Noise(105);
    for blocks in BLOCKS {
        for sigma in SIGMAS {
            let claimed = detectable(sigma, blocks, 0.05).unwrap();
            let mut found = 0;
            for _ in 0..RUNS {
                let logs = (0..blocks).map(|_| claimed.ln_1p() + sigma * noise.normal());
                let decision = decide(&logs.collect::<Vec<_>>(), 0.05);
                found += usize::from(decision == Decision::Different);
            }
            let share = found as f64 / RUNS as f64;
            assert!(
                (share - 0.9).abs() <= 0.03,
                "{blocks} blocks, {sigma}: {share}"
            );
        }
    }
}

#[test]
fn what_cannot_be_detected_is_not_promised() {
    assert_eq!(
        detectable(0.1, 7, 0.05),
        None,
        "no level of 1 % with seven blocks"
    );
    assert_eq!(detectable(-0.1, 8, 0.05), None);
    assert_eq!(detectable(f64::NAN, 8, 0.05), None);
    assert_eq!(detectable(0.1, 8, -0.05), None);
    let exact = detectable(0.0, 8, 0.05).unwrap();
    assert!((exact - 0.05).abs() < 1e-9);
    let shrinks = [8, 12, 30, 120].map(|blocks| detectable(0.1, blocks, 0.05).unwrap());
    assert!(shrinks.is_sorted_by(|a, b| a > b), "{shrinks:?}");
}

/// So many blocks as are asked for are enough: nine of ten runs come to a verdict.
#[test]
fn the_blocks_that_are_needed_are_enough() {
    const RUNS: usize = 300;
    let mut noise = Noise(106);
    let situation = Situation {
        effect: 0.1,
        sigma: 0.115,
        margin: 0.05,
        blocks: 8,
        null: None,
    };
    let needed = blocks_needed(situation).unwrap() as usize;
    assert!(needed > 8 && needed < 100, "{needed}");
    let told = (0..RUNS).filter(|_| {
        let logs = (0..needed).map(|_| 0.1 + 0.115 * noise.normal());
        decide(&logs.collect::<Vec<_>>(), 0.05) != Decision::Inconclusive
    });
    assert!(told.count() as f64 >= 0.85 * RUNS as f64);
    let imprecise = Situation {
        null: Some((0.0, 0.2)),
        ..situation
    };
    assert!(blocks_needed(imprecise).unwrap() as usize >= needed);
    let biased = Situation {
        null: Some((0.2, 0.1)),
        ..situation
    };
    assert_eq!(blocks_needed(biased), None, "a bias is not averaged away");
}

/// Three hundred comparisons of a lane with itself, at the 1 % level: 3 are expected, and more than 8 come in one of
/// three hundred such tests.
#[test]
fn copies_of_one_lane_raise_no_more_alarms_than_chance_allows() {
    let mut noise = Noise(107);
    let alarms = (0..300).filter(|index| {
        let (blocks, sigma) = (BLOCKS[index % 3], SIGMAS[index / 3 % 3]);
        let (a, b) = (
            noise.lane(blocks, sigma, true),
            noise.lane(blocks, sigma, true),
        );
        signed_rank_p(&differences(&a, &b)) <= 0.01
    });
    let alarms = alarms.count();
    assert!(alarms <= 8, "{alarms} of 300");
}

/// A run whose second copy of a lane is slower by 10 %.
fn biased(seed: u64) -> Summary {
    let plan = planned_echo(&["http1-persistent", "websocket-persistent"], &[1], 8);
    let noise = |spec: &TrialSpec| {
        Noise(seed * 1000 + u64::from(spec.index)).normal() * 0.05 * 0.5_f64.sqrt()
    };
    summarize(&dataset(plan, |spec| -> TrialRecord {
        let base: f64 = match spec.cell.lane.to_string().as_str() {
            "http1-persistent@null" => 44_000.0,
            "http1-persistent" => 40_000.0,
            _ => 37_000.0,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small and positive"
        )]
        let ns = (base * noise(&spec).exp()) as u64;
        let times = constant(ns, 500_000_000 / ns);
        record(spec, BTreeMap::from([(Metric::ServiceTime, times)]))
    }))
}

#[test]
fn a_biased_null_lane_is_caught_or_widens_what_is_claimed() {
    let mut is_met = 0;
    for seed in 1..=10 {
        let summary = biased(seed);
        let mut claims = summary.comparisons.iter().filter(|found| {
            !found.is_null && !found.cell.contains("@null") && found.metric == "service_time_p50"
        });
        is_met += usize::from(
            !summary.judgement.is_conclusive || claims.clone().all(|found| found.margin >= 0.1),
        );
        // 8 % lie within what two copies of one lane can show.
        assert!(
            claims.all(|found| found.verdict == Verdict::Inconclusive),
            "{seed}"
        );
    }
    assert!(is_met >= 9, "{is_met} of 10");
}
