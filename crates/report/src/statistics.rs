//! The statistics of paired comparisons: estimates, exact intervals, tests and the verdict that follows from them.
//!
//! A difference is ln A - ln B of one block unless said otherwise, so that estimates and bounds are natural-log ratios:
//! `exp` of one is a ratio. Everything here is exact for the number of blocks at hand: no normal approximation, which
//! would be wrong in the tails that matter for a handful of blocks. Functions are pure, and none changes its input.

use crate::ratio::median;

/// Makes the median absolute deviation of normal noise its standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// The level of the verdicts that state a difference.
pub(crate) const ALPHA: f64 = 0.01;
/// The level of each of the two one-sided tests of equivalence.
pub(crate) const INNER_ALPHA: f64 = 0.05;
/// The level of the sign test that has to agree.
pub(crate) const SIGN_ALPHA: f64 = 0.05;
/// A probability this much (relatively) above the allowed one still counts as equal: sums of f64 are not exact.
const ROUNDING: f64 = 1e-9;

/// An estimate and the interval around it, in the unit of what was estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The difference is larger than the margin.
    Different,
    /// There is a difference; whether it is larger than the margin is not known.
    SlightlyDifferent,
    /// If there is a difference, it is no larger than the margin.
    Equivalent,
    /// The blocks do not say.
    Inconclusive,
}

/// Estimates the centre of the differences: the median of their Walsh averages, that is of the means of all pairs, each
/// value paired with itself too. In the differences' unit. `None` for no differences, or when one is not finite.
///
/// Hodges & Lehmann, "Estimates of location based on rank tests", 1963.
pub fn hodges_lehmann(differences: &[f64]) -> Option<f64> {
    are_usable(differences)
        .then(|| walsh_averages(differences))
        .and_then(|averages| median(&averages))
}

/// Estimates the centre of the differences with the two-sided interval of the exact signed-rank test, in the
/// differences' unit. It assumes that they are spread symmetrically around their centre, and nothing else. `None` when
/// there are too few for this confidence (fewer than 6 at 0.95, than 8 at 0.99), when one is not finite, or when the
/// confidence is not between 0 and 1.
///
/// Tukey's interval: Hollander, Wolfe & Chicken, "Nonparametric Statistical Methods", 3rd ed., 2014, section 3.3.
pub fn signed_rank_interval(differences: &[f64], confidence: f64) -> Option<Estimate> {
    let averages = usable_averages(differences)?;
    let depth = signed_rank_depth(differences.len(), tail_of(confidence))?;
    estimate(&averages, depth)
}

/// Returns what the centre of the differences is above with confidence 1 - `alpha`, in the differences' unit: the lower
/// end of the one-sided interval. `None` as for [`signed_rank_interval`]; `alpha` has to be between 0 and 0.5.
///
/// Hollander, Wolfe & Chicken, 2014, section 3.3.
pub fn lower_bound(differences: &[f64], alpha: f64) -> Option<f64> {
    let averages = usable_averages(differences)?;
    let depth = signed_rank_depth(differences.len(), alpha)?;
    Some(averages[depth - 1])
}

/// Returns what the centre of the differences is below with confidence 1 - `alpha`: [`lower_bound`]'s mirror image, with
/// the same unit and the same reasons for `None`.
///
/// Hollander, Wolfe & Chicken, 2014, section 3.3.
pub fn upper_bound(differences: &[f64], alpha: f64) -> Option<f64> {
    let averages = usable_averages(differences)?;
    let depth = signed_rank_depth(differences.len(), alpha)?;
    Some(averages[averages.len() - depth])
}

/// Returns the exact two-sided p-value of the signed-rank test of "the differences are symmetric around 0". Differences
/// of 0 are dropped, ties share their mean rank. 1.0 when nothing remains, or when a difference is not finite.
///
/// Wilcoxon, "Individual comparisons by ranking methods", 1945; exact with ties by counting over doubled ranks, as in
/// Hollander, Wolfe & Chicken, 2014, section 3.1.
pub fn signed_rank_p(differences: &[f64]) -> f64 {
    let (below, above) = signed_rank_tails(differences);
    (2.0 * below.min(above)).min(1.0)
}

/// Returns the exact one-sided p-value against "the differences tend to be above 0"; otherwise as [`signed_rank_p`].
///
/// Wilcoxon, 1945.
pub fn signed_rank_p_greater(differences: &[f64]) -> f64 {
    signed_rank_tails(differences).1
}

/// Returns the interval of the differences' median between two of the differences themselves, in their unit: the
/// narrowest with at least this confidence. It assumes nothing about their distribution. `None` when there are too few
/// (fewer than 6 at 0.95), when one is not finite, or when the confidence is not between 0 and 1.
///
/// Thompson's interval: Hollander, Wolfe & Chicken, 2014, section 3.6.
pub fn sign_interval(differences: &[f64], confidence: f64) -> Option<(f64, f64)> {
    if !are_usable(differences) {
        return None;
    }
    let depth = sign_depth(differences.len(), tail_of(confidence))?;
    let sorted = sorted(differences.iter().copied());
    Some((sorted[depth - 1], sorted[sorted.len() - depth]))
}

/// Estimates by how much `a` lies above `b`, two samples that are not paired: the median of all differences between a
/// value of `a` and one of `b`, with the two-sided interval of the exact rank-sum test. In the values' unit: give
/// logarithms to get a natural-log ratio. `None` when there are too few values for this confidence (fewer than 4 and 4,
/// or 3 and 5, at 0.95), when one is not finite, or when the confidence is not between 0 and 1.
///
/// The cost grows with the square of `a.len() * b.len()`: meant for tens of values.
///
/// Hodges & Lehmann, 1963; Moses' interval: Hollander, Wolfe & Chicken, 2014, section 4.3.
pub fn rank_sum_interval(a: &[f64], b: &[f64], confidence: f64) -> Option<Estimate> {
    let shifts = usable_shifts(a, b)?;
    estimate(&shifts, rank_sum_depth(a, b, tail_of(confidence))?)
}

/// Returns what the shift of `a` against `b` is above with confidence 1 - `alpha`: the lower end of the one-sided
/// interval. Unit and `None` as for [`rank_sum_interval`]; `alpha` has to be between 0 and 0.5.
///
/// Hollander, Wolfe & Chicken, 2014, section 4.3.
pub fn shift_lower_bound(a: &[f64], b: &[f64], alpha: f64) -> Option<f64> {
    let shifts = usable_shifts(a, b)?;
    Some(shifts[rank_sum_depth(a, b, alpha)? - 1])
}

/// Returns what the shift of `a` against `b` is below with confidence 1 - `alpha`: [`shift_lower_bound`]'s mirror image,
/// with the same unit and the same reasons for `None`.
///
/// Hollander, Wolfe & Chicken, 2014, section 4.3.
pub fn shift_upper_bound(a: &[f64], b: &[f64], alpha: f64) -> Option<f64> {
    let shifts = usable_shifts(a, b)?;
    Some(shifts[shifts.len() - rank_sum_depth(a, b, alpha)?])
}

/// Adjusts the p-values of several tests so that each can be compared with the error allowed for all of them together,
/// in the order given. An adjusted value is at least the raw one and at most 1; one that is not a number counts as 1.
///
/// Holm, "A simple sequentially rejective multiple test procedure", 1979.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let raw = |index: usize| match p_values[index] {
        p if p.is_nan() => 1.0,
        p => p,
    };
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&one, &other| raw(one).total_cmp(&raw(other)));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        largest = largest.max((remaining * raw(index)).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// Judges the differences of a comparison, natural-log ratios, against a margin that is a ratio less 1 (0.05 is 5 %).
/// The first that holds:
///
/// 1. [`Decision::Different`]: there is a difference, and [`is_beyond`] the margin.
/// 2. [`Decision::Equivalent`]: both one-sided 95 % bounds lie within the margin, its ends included: exact counts that
///    agree are equivalent within a margin of 0.
/// 3. [`Decision::SlightlyDifferent`]: there is a difference: the 99 % signed-rank interval does not hold 0, nor does the
///    95 % sign interval, which does not hang on the assumption of symmetry.
/// 4. [`Decision::Inconclusive`], also when there are too few differences for an interval, when one of them or the
///    margin is not finite, or when the margin is negative.
///
/// A difference is so stated by chance in one comparison of a hundred at most, whatever the spread, and one beyond the
/// margin in one of a hundred whose true ratio lies at its edge. With 8 blocks that takes all of them on one side; with
/// fewer no difference is ever stated.
///
/// Equivalence: Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987.
pub fn decide(differences: &[f64], margin: f64) -> Decision {
    if is_beyond(differences, margin) {
        return Decision::Different;
    }
    if is_within(differences, margin).unwrap_or(false) {
        return Decision::Equivalent;
    }
    if is_margin(margin) && side(differences).is_some() {
        return Decision::SlightlyDifferent;
    }
    Decision::Inconclusive
}

/// Says whether there is a difference, and the one-sided 99 % bound on its side lies beyond the margin, a ratio less 1.
pub fn is_beyond(differences: &[f64], margin: f64) -> bool {
    let limit = margin.ln_1p();
    let bound = match side(differences) {
        Some(Side::Above) => lower_bound(differences, ALPHA),
        Some(Side::Below) => upper_bound(differences, ALPHA).map(|bound| -bound),
        None => None,
    };
    is_margin(margin) && bound.is_some_and(|bound| bound > limit)
}

fn is_within(differences: &[f64], margin: f64) -> Option<bool> {
    let limit = margin.ln_1p();
    let (low, high) = (
        lower_bound(differences, INNER_ALPHA)?,
        upper_bound(differences, INNER_ALPHA)?,
    );
    let enough = signed_rank_depth(differences.len(), INNER_ALPHA / 2.0).is_some();
    Some(is_margin(margin) && enough && low >= -limit && high <= limit)
}

fn is_margin(margin: f64) -> bool {
    margin.is_finite() && margin >= 0.0
}

/// On which side of 0 the centre of the differences lies.
enum Side {
    Above,
    Below,
}

/// Returns the side that both the signed-rank and the sign interval lie on.
fn side(differences: &[f64]) -> Option<Side> {
    let interval = signed_rank_interval(differences, 1.0 - ALPHA)?;
    let (low, high) = sign_interval(differences, 1.0 - SIGN_ALPHA)?;
    if interval.low > 0.0 && low > 0.0 {
        return Some(Side::Above);
    }
    (interval.high < 0.0 && high < 0.0).then_some(Side::Below)
}

/// Estimates the standard deviation of the differences, in their unit, from the median distance to their median, which a
/// few wild blocks do not move; when more than half of them are the same, the ordinary standard deviation. `None` for
/// fewer than two differences, or when one is not finite.
///
/// Hampel, "The influence curve and its role in robust estimation", 1974.
pub fn spread(differences: &[f64]) -> Option<f64> {
    if differences.len() < 2 || !are_usable(differences) {
        return None;
    }
    let centre = median(differences)?;
    let distances: Vec<f64> = differences
        .iter()
        .map(|difference| (difference - centre).abs())
        .collect();
    match median(&distances)? {
        0.0 => Some(standard_deviation(differences)),
        deviation => Some(MAD_TO_SIGMA * deviation),
    }
}

fn standard_deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}

fn are_usable(values: &[f64]) -> bool {
    !values.is_empty() && values.iter().all(|value| value.is_finite())
}

pub(crate) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Returns the means of all pairs, each value with itself too, smallest first.
pub(crate) fn walsh_averages(differences: &[f64]) -> Vec<f64> {
    sorted(differences.iter().enumerate().flat_map(|(index, one)| {
        differences[index..]
            .iter()
            .map(|other| f64::midpoint(*one, *other))
    }))
}

fn usable_averages(differences: &[f64]) -> Option<Vec<f64>> {
    are_usable(differences).then(|| walsh_averages(differences))
}

/// Returns all differences between a value of `a` and one of `b`, smallest first.
fn usable_shifts(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    (are_usable(a) && are_usable(b))
        .then(|| sorted(a.iter().flat_map(|a| b.iter().map(move |b| a - b))))
}

/// Returns the median of sorted values, with the values `depth` from either end.
fn estimate(sorted: &[f64], depth: usize) -> Option<Estimate> {
    Some(Estimate {
        value: median(sorted)?,
        low: sorted[depth - 1],
        high: sorted[sorted.len() - depth],
    })
}

fn tail_of(confidence: f64) -> f64 {
    (1.0 - confidence) / 2.0
}

fn is_tail(alpha: f64) -> bool {
    alpha > 0.0 && alpha < 0.5
}

/// Returns how far from either end of the sorted values a bound stands, from 1, so that it fails with probability
/// `alpha` at most; `None` when even the outermost value would fail more often.
fn depth(probabilities: &[f64], alpha: f64) -> Option<usize> {
    if !is_tail(alpha) {
        return None;
    }
    let depth = probabilities
        .iter()
        .scan(0.0, |sum, probability| {
            *sum += probability;
            Some(*sum)
        })
        .take_while(|sum| *sum <= alpha * (1.0 + ROUNDING))
        .count();
    (depth > 0).then_some(depth)
}

/// As [`depth`], of the sorted differences.
pub(crate) fn sign_depth(blocks: usize, alpha: f64) -> Option<usize> {
    depth(&sign_flips(&vec![1; blocks]), alpha)
}

/// As [`depth`], of the sorted Walsh averages.
pub(crate) fn signed_rank_depth(blocks: usize, alpha: f64) -> Option<usize> {
    let ranks: Vec<usize> = (1..=blocks).collect();
    depth(&sign_flips(&ranks), alpha)
}

fn rank_sum_depth(a: &[f64], b: &[f64], alpha: f64) -> Option<usize> {
    depth(&rank_sums(a.len(), b.len()), alpha)
}

/// Returns the probability of each sum of the ranks that get a plus when every rank's sign is a fair coin's.
///
/// Halving at every step keeps it within f64: the smallest probability is 2^-B, and all terms are positive, so that the
/// relative error stays near B rounding errors.
fn sign_flips(ranks: &[usize]) -> Vec<f64> {
    let mut probabilities = vec![0.0; ranks.iter().sum::<usize>() + 1];
    probabilities[0] = 1.0;
    let mut largest = 0;
    for &rank in ranks {
        largest += rank;
        for sum in (rank..=largest).rev() {
            probabilities[sum] = 0.5 * (probabilities[sum] + probabilities[sum - rank]);
        }
        for probability in &mut probabilities[..rank] {
            *probability *= 0.5;
        }
    }
    probabilities
}

/// Returns the probability of each number of pairs in which the value of `a` is the larger one, when all orders of the
/// `m` values of `a` and the `n` of `b` are equally likely. The largest value is one of `a`'s with probability m/(m+n),
/// and then is above all of `b`.
fn rank_sums(m: usize, n: usize) -> Vec<f64> {
    // rows[j]: the probabilities for i values of `a` and j of `b`; none of `a` have no pairs.
    let mut rows = vec![vec![1.0]; n + 1];
    for i in 1..=m {
        rows[0] = vec![1.0];
        for j in 1..=n {
            let share = i as f64 / (i + j) as f64;
            let mut row = vec![0.0; i * j + 1];
            for (pairs, probability) in rows[j].iter().enumerate() {
                row[pairs + j] += share * probability;
            }
            for (pairs, probability) in rows[j - 1].iter().enumerate() {
                row[pairs] += (1.0 - share) * probability;
            }
            rows[j] = row;
        }
    }
    rows.swap_remove(n)
}

/// Returns the probabilities of a rank sum at most, and at least, as large as that of the differences above 0.
fn signed_rank_tails(differences: &[f64]) -> (f64, f64) {
    if !are_usable(differences) {
        return (1.0, 1.0);
    }
    let mut moved: Vec<f64> = differences
        .iter()
        .copied()
        .filter(|difference| *difference != 0.0)
        .collect();
    moved.sort_unstable_by(|one, other| one.abs().total_cmp(&other.abs()));
    let ranks = doubled_ranks(&moved);
    let observed: usize = ranks
        .iter()
        .zip(&moved)
        .filter(|(_, difference)| **difference > 0.0)
        .map(|(rank, _)| rank)
        .sum();
    let probabilities = sign_flips(&ranks);
    (
        probabilities[..=observed].iter().sum::<f64>().min(1.0),
        probabilities[observed..].iter().sum::<f64>().min(1.0),
    )
}

/// Ranks values that are sorted by size whatever their sign; ties share the mean. Doubled, so that a mean is a whole
/// number.
fn doubled_ranks(sorted: &[f64]) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    for tied in sorted.chunk_by(|one, other| one.abs().total_cmp(&other.abs()).is_eq()) {
        let first = ranks.len() + 1;
        let last = ranks.len() + tied.len();
        ranks.resize(last, first + last);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: [usize; 10] = [6, 7, 8, 9, 10, 12, 15, 20, 25, 30];

    #[test]
    fn depths_are_those_of_the_published_tables() {
        let depths = |alpha| BLOCKS.map(|blocks| signed_rank_depth(blocks, alpha).unwrap_or(0));
        assert_eq!(depths(tail_of(0.95)), [1, 3, 4, 6, 9, 14, 26, 53, 90, 138]);
        assert_eq!(depths(tail_of(0.99)), [0, 0, 1, 2, 4, 8, 16, 38, 69, 110]);
        assert_eq!(depths(0.01), [0, 1, 2, 4, 6, 10, 20, 44, 77, 121]);
    }

    #[test]
    fn a_rank_sum_that_just_meets_its_level_counts() {
        // 3 and 3 values have 20 orders: exactly 1 in 20.
        assert_eq!(depth(&rank_sums(3, 3), 0.05), Some(1));
        assert_eq!(depth(&rank_sums(3, 3), tail_of(0.9)), Some(1));
        assert_eq!(depth(&rank_sums(3, 3), 0.049), None);
        // Critical values 2 and 0 of the two-sided 5 % test at 5 and 5, and at 4 and 4.
        assert_eq!(depth(&rank_sums(5, 5), 0.025), Some(3));
        assert_eq!(depth(&rank_sums(4, 4), 0.025), Some(1));
        assert_eq!(depth(&rank_sums(10, 10), 0.025), Some(24));
    }

    #[test]
    fn levels_outside_a_tail_give_no_bound() {
        for alpha in [-0.1, 0.0, 0.5, 1.0, f64::NAN] {
            assert_eq!(signed_rank_depth(10, alpha), None, "{alpha}");
        }
    }

    #[test]
    fn rank_sums_agree_with_every_split() {
        for (m, n) in [(1, 1), (1, 5), (2, 3), (3, 2), (4, 4), (5, 6), (6, 3)] {
            let mut counts = vec![0_u32; m * n + 1];
            for split in (0_u32..1 << (m + n)).filter(|split| split.count_ones() as usize == m) {
                let is_a = |rank: &usize| split >> rank & 1 == 1;
                let pairs: usize = (0..m + n)
                    .filter(is_a)
                    .map(|rank| (0..rank).filter(|below| !is_a(below)).count())
                    .sum();
                counts[pairs] += 1;
            }
            let splits: u32 = counts.iter().sum();
            for (count, probability) in counts.iter().zip(rank_sums(m, n)) {
                let expected = f64::from(*count) / f64::from(splits);
                assert!((probability - expected).abs() < 1e-14, "{m} {n}");
            }
        }
    }

    #[test]
    fn a_thousand_blocks_neither_overflow_nor_lose_precision() {
        let blocks = 1000_usize;
        let ranks: Vec<usize> = (1..=blocks).collect();
        let probabilities = sign_flips(&ranks);
        let centre = (blocks * (blocks + 1)) as f64 / 4.0;
        let variance = (blocks * (blocks + 1) * (2 * blocks + 1)) as f64 / 24.0;
        let moment = |power| -> f64 {
            let terms = probabilities.iter().enumerate();
            terms
                .map(|(sum, p)| p * (sum as f64 - centre).powi(power))
                .sum()
        };
        assert!((moment(0) - 1.0).abs() < 1e-11, "{}", moment(0));
        assert!(moment(1).abs() < 1e-6, "{}", moment(1));
        assert!((moment(2) / variance - 1.0).abs() < 1e-10, "{}", moment(2));
        // One way to get no rank: exactly 2^-1000.
        assert!((probabilities[0].log2() + 1000.0).abs() < 1e-9);
        // So many blocks are near normal.
        let depth = depth(&probabilities, 0.025).unwrap() as f64;
        let normal = centre - 1.959_964 * variance.sqrt();
        assert!((depth - normal).abs() < 50.0, "{depth} {normal}");
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(
            doubled_ranks(&[1.0, -1.0, 2.0, 3.0, -3.0, 3.0]),
            [3, 3, 6, 10, 10, 10]
        );
    }
}
