//! Intervals, tests and verdicts against enumeration, known tables, symmetries and simulated noise.

use proptest::prelude::*;
use sockrates_report::statistics::{
    Decision, decide, hodges_lehmann, holm, is_beyond, lower_bound, rank_sum_interval,
    shift_lower_bound, shift_upper_bound, sign_interval, signed_rank_interval, signed_rank_p,
    signed_rank_p_greater, spread, upper_bound,
};

/// `SplitMix64`: the same numbers on every machine.
struct Noise(u64);

impl Noise {
    /// A number above 0 and at most 1.
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

    /// One trial: normal, and in one of ten a stall on top.
    fn trial(&mut self) -> f64 {
        let normal = self.normal();
        if self.uniform() <= 0.1 {
            normal - 6.0 * self.uniform().ln()
        } else {
            normal
        }
    }

    /// Blocks of two lanes that do not differ.
    fn null(&mut self, blocks: usize) -> Vec<f64> {
        (0..blocks).map(|_| self.trial() - self.trial()).collect()
    }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * (1.0 + one.abs().max(other.abs()))
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    f64::midpoint(values[last / 2], values[last.div_ceil(2)])
}

/// The two-sided and the one-sided p-value, by trying all signs.
fn enumerated_p(differences: &[f64]) -> (f64, f64) {
    let sizes: Vec<f64> = differences
        .iter()
        .map(|difference| difference.abs())
        .filter(|size| *size > 0.0)
        .collect();
    let rank = |size: f64| {
        let below = sizes.iter().filter(|other| **other < size).count();
        let same = sizes
            .iter()
            .filter(|other| (**other).to_bits() == size.to_bits())
            .count();
        f64::midpoint(2.0 * below as f64, same as f64 + 1.0)
    };
    let observed: f64 = differences
        .iter()
        .filter(|difference| **difference > 0.0)
        .map(|difference| rank(*difference))
        .sum();
    let all = 1_u32 << sizes.len();
    let (mut at_most, mut at_least) = (0_u32, 0_u32);
    for signs in 0..all {
        let sum: f64 = sizes
            .iter()
            .enumerate()
            .filter(|(index, _)| signs >> index & 1 == 1)
            .map(|(_, size)| rank(*size))
            .sum();
        at_most += u32::from(sum <= observed);
        at_least += u32::from(sum >= observed);
    }
    let share = |count: u32| f64::from(count) / f64::from(all);
    (
        (2.0 * share(at_most.min(at_least))).min(1.0),
        share(at_least),
    )
}

#[test]
fn p_values_agree_with_every_flip_of_signs() {
    let mut noise = Noise(1);
    for blocks in 0..=10 {
        for grid in [0.0, 0.5, 2.0] {
            // A coarse grid makes ties and zeros.
            let differences: Vec<f64> = (0..blocks)
                .map(|_| 1.0 + 3.0 * noise.normal())
                .map(|value| {
                    if grid > 0.0 {
                        (value / grid).round() * grid
                    } else {
                        value
                    }
                })
                .collect();
            let (two_sided, greater) = enumerated_p(&differences);
            assert!(
                close(signed_rank_p(&differences), two_sided),
                "{differences:?}"
            );
            assert!(
                close(signed_rank_p_greater(&differences), greater),
                "{differences:?}"
            );
        }
    }
}

#[test]
fn p_values_of_hand_counted_cases() {
    assert!(close(signed_rank_p_greater(&[1.0, 2.0, 3.0]), 1.0 / 8.0));
    assert!(close(signed_rank_p(&[1.0, 2.0, 3.0]), 1.0 / 4.0));
    assert!(close(signed_rank_p_greater(&[-1.0, -2.0, -3.0]), 1.0));
    assert!(close(signed_rank_p(&[0.0, 0.0]), 1.0));
    assert!(close(signed_rank_p(&[]), 1.0));
    assert!(close(signed_rank_p(&[1.0, f64::NAN]), 1.0));
}

#[test]
fn the_estimate_is_the_median_of_all_pairs() {
    assert_eq!(hodges_lehmann(&[]), None);
    assert_eq!(hodges_lehmann(&[1.0, f64::INFINITY]), None);
    assert_eq!(hodges_lehmann(&[4.0]), Some(4.0));
    // Walsh averages 0, 1, 2, 5, 6, 10.
    assert_eq!(hodges_lehmann(&[0.0, 10.0, 2.0]), Some(3.5));
    let mut noise = Noise(2);
    for blocks in 1..=12 {
        let differences = noise.null(blocks);
        let mut pairs = Vec::new();
        for one in 0..blocks {
            for other in 0..=one {
                pairs.push(f64::midpoint(differences[one], differences[other]));
            }
        }
        assert!(close(hodges_lehmann(&differences).unwrap(), middle(pairs)));
    }
}

#[test]
fn a_shift_is_the_median_of_all_differences() {
    let (a, b) = ([11.0, 12.0, 14.0, 18.0], [1.0, 3.0, 4.0, 10.0]);
    let shift = rank_sum_interval(&a, &b, 0.95).unwrap();
    // Sorted: 1 2 4 7 8 8 8 9 10 10 11 11 13 14 15 17; 4 and 4 values allow only the outermost.
    assert_eq!((shift.value, shift.low, shift.high), (9.5, 1.0, 17.0));
    assert_eq!(shift_lower_bound(&a, &b, 0.05), Some(2.0));
    assert_eq!(shift_upper_bound(&a, &b, 0.05), Some(15.0));
    assert_eq!(rank_sum_interval(&a[..3], &b, 0.95), None);
    assert_eq!(rank_sum_interval(&[], &b, 0.95), None);
}

#[test]
fn the_interval_holds_what_the_test_does_not_reject() {
    let mut noise = Noise(3);
    for blocks in [6, 8, 11, 15] {
        let differences = noise.null(blocks);
        let interval = signed_rank_interval(&differences, 0.95).unwrap();
        let p_at = |centre: f64| {
            let moved: Vec<f64> = differences.iter().map(|value| value - centre).collect();
            signed_rank_p(&moved)
        };
        assert!(p_at(interval.low - 1e-6) <= 0.05 && p_at(interval.low + 1e-6) > 0.05);
        assert!(p_at(interval.high + 1e-6) <= 0.05 && p_at(interval.high - 1e-6) > 0.05);
    }
}

#[test]
fn sign_intervals_stand_at_the_published_ranks() {
    for (blocks, rank) in [(6, 1), (8, 1), (10, 2), (12, 3), (15, 4), (20, 6), (30, 10)] {
        let differences: Vec<f64> = (1..=blocks).rev().map(f64::from).collect();
        let expected = Some((f64::from(rank), f64::from(blocks + 1 - rank)));
        assert_eq!(sign_interval(&differences, 0.95), expected, "{blocks}");
    }
    assert_eq!(sign_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), None);
}

#[test]
fn too_few_blocks_have_no_interval() {
    let differences = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    assert_eq!(signed_rank_interval(&differences[..5], 0.95), None);
    assert!(signed_rank_interval(&differences[..6], 0.95).is_some());
    assert_eq!(signed_rank_interval(&differences, 0.99), None);
    assert_eq!(lower_bound(&differences, 0.01), Some(1.0));
    assert_eq!(upper_bound(&differences, 0.01), Some(7.0));
    assert_eq!(lower_bound(&differences[..6], 0.01), None);
}

#[test]
fn holm_adjusts_in_the_order_given() {
    let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (adjusted, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        assert!(close(*adjusted, expected), "{adjusted} {expected}");
    }
    assert_eq!(holm(&[0.7, 0.9]), [1.0, 1.0]);
    assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
    assert!(holm(&[]).is_empty());
}

#[test]
fn spread_withstands_a_wild_block() {
    assert_eq!(spread(&[1.0]), None);
    assert_eq!(spread(&[1.0, f64::NAN]), None);
    assert_eq!(spread(&[2.0, 2.0]), Some(0.0));
    assert!(close(spread(&[1.0, 2.0, 3.0, 4.0, 500.0]).unwrap(), 1.4826));
    // Most are the same: the ordinary standard deviation, not 0.
    assert!(close(spread(&[0.0, 0.0, 0.0, 2.0]).unwrap(), 1.0));
    let mut noise = Noise(4);
    let normal: Vec<f64> = (0..10_000).map(|_| 3.0 * noise.normal()).collect();
    assert!((spread(&normal).unwrap() - 3.0).abs() < 0.15);
}

#[test]
fn verdicts_of_plain_cases() {
    // Eight blocks around a ratio, with a spread of about 1 %.
    let around = |ratio: f64| -> Vec<f64> {
        let noise = [-0.012, 0.004, 0.009, -0.003, 0.011, -0.008, 0.001, -0.002];
        noise.iter().map(|noise| noise + ratio.ln()).collect()
    };
    let inverse = |values: Vec<f64>| -> Vec<f64> { values.into_iter().map(|v| -v).collect() };
    let cases = [
        (around(1.2), 0.05, Decision::Different),
        (inverse(around(1.2)), 0.05, Decision::Different),
        (around(1.0), 0.05, Decision::Equivalent),
        // A difference that is certain and does not matter.
        (around(1.02), 0.05, Decision::Equivalent),
        (around(1.05), 0.05, Decision::SlightlyDifferent),
        (inverse(around(1.05)), 0.05, Decision::SlightlyDifferent),
        (around(1.0), 0.001, Decision::Inconclusive),
        (around(1.2)[..5].to_vec(), 0.05, Decision::Inconclusive),
        (around(1.2), -0.05, Decision::Inconclusive),
        (around(1.2), f64::NAN, Decision::Inconclusive),
        (vec![], 0.05, Decision::Inconclusive),
        // Exact counts.
        (vec![0.0; 8], 0.0, Decision::Equivalent),
        (vec![0.1; 8], 0.0, Decision::Different),
        // Seven blocks have no 99 % interval: they can only show that nothing differs.
        (around(1.2)[..7].to_vec(), 0.05, Decision::Inconclusive),
        (around(1.0)[..7].to_vec(), 0.05, Decision::Equivalent),
    ];
    for (differences, margin, expected) in cases {
        assert_eq!(
            decide(&differences, margin),
            expected,
            "{differences:?} {margin}"
        );
    }
}

/// With eight blocks the one-sided 99 % bound is the second smallest of all pairwise means.
#[test]
fn beyond_a_margin_is_what_the_bound_is_beyond() {
    let differences = [0.06, 0.10, 0.12, 0.15, 0.2, 0.2, 0.3, 0.3];
    assert_eq!(lower_bound(&differences, 0.01), Some(0.08));
    assert!(is_beyond(&differences, 0.079_f64.exp_m1()));
    assert!(!is_beyond(&differences, 0.081_f64.exp_m1()));
    let mixed = [-0.001, 0.10, 0.12, 0.15, 0.2, 0.2, 0.3, 0.3];
    assert!(!is_beyond(&mixed, 0.0), "one of eight on the other side");
}

#[test]
fn a_difference_that_hangs_on_symmetry_is_not_claimed() {
    // 8 of 10 blocks above 0, far; two just below.
    let lopsided = [
        -0.001, -0.002, 0.3, 0.31, 0.32, 0.33, 0.34, 0.35, 0.36, 0.37,
    ];
    let interval = signed_rank_interval(&lopsided, 0.95).unwrap();
    assert!(interval.low > 0.05_f64.ln_1p());
    assert!(sign_interval(&lopsided, 0.95).unwrap().0 < 0.0);
    assert_eq!(decide(&lopsided, 0.05), Decision::Inconclusive);
    assert_eq!(decide(&lopsided, 0.3), Decision::Inconclusive);
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_claim() {
    let mut noise = Noise(5);
    let covered = (0..2000)
        .filter(|_| {
            let interval = signed_rank_interval(&noise.null(15), 0.95).unwrap();
            interval.low <= 0.0 && 0.0 <= interval.high
        })
        .count();
    assert!((1860..=1950).contains(&covered), "{covered} of 2000");
}

#[test]
fn shifts_cover_the_truth_as_often_as_they_claim() {
    let mut noise = Noise(6);
    let covered = (0..2000)
        .filter(|_| {
            let a: Vec<f64> = (0..7).map(|_| noise.trial()).collect();
            let b: Vec<f64> = (0..6).map(|_| noise.trial()).collect();
            let interval = rank_sum_interval(&a, &b, 0.95).unwrap();
            interval.low <= 0.0 && 0.0 <= interval.high
        })
        .count();
    assert!((1880..=1960).contains(&covered), "{covered} of 2000");
}

#[test]
fn lanes_that_do_not_differ_raise_few_alarms() {
    let mut noise = Noise(7);
    let alarms = (0..1000)
        .filter(|_| {
            let differences = noise.null(15);
            let interval = signed_rank_interval(&differences, 0.99).unwrap();
            let is_alarm = interval.low > 0.0 || interval.high < 0.0;
            assert_eq!(is_alarm, signed_rank_p(&differences) <= 0.01);
            is_alarm
        })
        .count();
    // None at all would be as wrong as too many.
    assert!((1..=20).contains(&alarms), "{alarms} of 1000");
}

fn differences() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1.0..1.0_f64, 6..25)
}

proptest! {
    #[test]
    fn intervals_move_with_the_differences(values in differences(), by in -2.0..2.0_f64) {
        let moved: Vec<f64> = values.iter().map(|value| value + by).collect();
        let here = signed_rank_interval(&values, 0.95).unwrap();
        let there = signed_rank_interval(&moved, 0.95).unwrap();
        prop_assert!(close(here.value + by, there.value));
        prop_assert!(close(here.low + by, there.low));
        prop_assert!(close(here.high + by, there.high));
        let here = rank_sum_interval(&values, &values, 0.95).unwrap();
        let there = rank_sum_interval(&moved, &values, 0.95).unwrap();
        prop_assert!(close(here.low + by, there.low) && close(here.high + by, there.high));
    }

    #[test]
    fn swapping_lanes_swaps_signs(values in differences(), margin in 0.0..0.5_f64) {
        let swapped: Vec<f64> = values.iter().map(|value| -value).collect();
        let here = signed_rank_interval(&values, 0.95).unwrap();
        let there = signed_rank_interval(&swapped, 0.95).unwrap();
        prop_assert!(close(here.value, -there.value));
        prop_assert!(close(here.low, -there.high) && close(here.high, -there.low));
        prop_assert!(close(signed_rank_p(&values), signed_rank_p(&swapped)));
        prop_assert!(close(
            lower_bound(&values, 0.05).unwrap(),
            -upper_bound(&swapped, 0.05).unwrap()
        ));
        prop_assert_eq!(decide(&values, margin), decide(&swapped, margin));
    }

    #[test]
    fn intervals_hold_their_estimate_and_nest(values in differences(), other in differences()) {
        let wide = signed_rank_interval(&values, 0.95).unwrap();
        let narrow = signed_rank_interval(&values, 0.9).unwrap();
        prop_assert!(wide.low <= narrow.low && narrow.low <= wide.value);
        prop_assert!(wide.value <= narrow.high && narrow.high <= wide.high);
        prop_assert!(close(narrow.low, lower_bound(&values, 0.05).unwrap()));
        let shift = rank_sum_interval(&values, &other, 0.95).unwrap();
        prop_assert!(shift.low <= shift.value && shift.value <= shift.high);
        prop_assert!(shift.low <= shift_lower_bound(&values, &other, 0.05).unwrap());
        prop_assert!(shift.high >= shift_upper_bound(&values, &other, 0.05).unwrap());
    }

    #[test]
    fn holm_keeps_the_order_and_never_flatters(raw in prop::collection::vec(0.0..=1.0_f64, 0..12)) {
        let adjusted = holm(&raw);
        prop_assert_eq!(adjusted.len(), raw.len());
        for (one, raw_one) in adjusted.iter().zip(&raw) {
            prop_assert!(one >= raw_one && *one <= 1.0);
            for (other, raw_other) in adjusted.iter().zip(&raw) {
                prop_assert!(raw_one > raw_other || one <= other);
            }
        }
    }
}
