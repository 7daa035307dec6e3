//! What a number of blocks can tell: the rule of [`crate::statistics::decide`] itself, applied to simulated blocks.
//!
//! A formula of a t-test would promise too much: ranks, the sign test and the margin each take their part, and with
//! eight blocks the smallest level of a two-sided sign test is 0.8 %. Blocks are drawn from a normal distribution of
//! the observed spread with a fixed seed, so that the same run gives the same numbers everywhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::statistics::{ALPHA, INNER_ALPHA, SIGN_ALPHA};
use crate::statistics::{sign_depth, signed_rank_depth, sorted, walsh_averages};

/// How often the rule has to come to the verdict.
const POWER: f64 = 0.9;
/// Simulated runs per number of blocks: the share of verdicts is then known to about 0.7 points.
const RUNS: usize = 2000;
/// More blocks are not drawn: what they tell shrinks with the square root of their number.
const MOST_DRAWN: usize = 30;
/// Numbers of blocks that a run could have, up to the most that is practical.
const PRACTICAL: [u32; 30] = [
    8, 9, 10, 11, 12, 14, 16, 18, 20, 25, 30, 35, 40, 50, 60, 70, 80, 100, 120, 150, 180, 220, 260,
    300, 400, 500, 600, 700, 850, 1000,
];

/// The ends of the intervals of one simulated run, in standard deviations of a block, without an effect.
#[derive(Clone, Copy)]
struct Run {
    /// Both intervals that must exclude 0, on either side: the farther end.
    exists: (f64, f64),
    /// The one-sided bounds that must lie beyond the margin.
    beyond: (f64, f64),
    /// The one-sided bounds that must lie within the margin.
    inner: (f64, f64),
}

/// What a comparison of one run is like, on the scale of natural-log ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// The effect, its sign left out.
    pub effect: f64,
    /// The spread of a block's difference.
    pub sigma: f64,
    /// The metric's margin, a ratio less 1.
    pub margin: f64,
    /// The blocks it was seen with.
    pub blocks: usize,
    /// By how much two copies of one lane came out apart, and how far the interval around it reaches to either side.
    pub null: Option<(f64, f64)>,
}

/// Returns the smallest true ratio, less 1, that the rule calls different from 1 by more than the margin, a ratio less 1,
/// in nine of ten runs of so many blocks. `sigma` is the spread of a block's difference, a natural-log ratio. `None` for
/// fewer than eight blocks, with which the rule never does, and for a spread or margin that is negative or not finite.
pub fn detectable(sigma: f64, blocks: usize, margin: f64) -> Option<f64> {
    if ![sigma, margin]
        .iter()
        .all(|value| value.is_finite() && *value >= 0.0)
    {
        return None;
    }
    let (runs, scale) = simulated(blocks)?;
    let (limit, sigma) = (margin.ln_1p(), sigma * scale);
    let needed = runs
        .iter()
        .map(|run| (limit - sigma * run.beyond.0).max(-sigma * run.exists.0));
    let needed = sorted(needed);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small count"
    )]
    let most = (needed.len() as f64 * POWER).ceil() as usize - 1;
    Some(needed[most].exp_m1())
}

/// Returns with how many blocks, more than there are, runs in this situation come to a verdict in nine of ten: different,
/// slightly different or equivalent. The null lane's interval is taken to shrink as that of the comparison does. `None`
/// when not even a thousand blocks are enough.
pub fn blocks_needed(situation: Situation) -> Option<u32> {
    let larger = PRACTICAL.partition_point(|blocks| *blocks as usize <= situation.blocks);
    let candidates = &PRACTICAL[larger..];
    let found = candidates.partition_point(|blocks| share_told(situation, *blocks) < POWER);
    candidates.get(found).copied()
}

/// Returns the share of simulated runs of so many blocks that come to a verdict.
fn share_told(situation: Situation, blocks: u32) -> f64 {
    let Some((runs, scale)) = simulated(blocks as usize) else {
        return 0.0;
    };
    let (effect, sigma) = (situation.effect.abs(), situation.sigma * scale);
    let nominal = situation.margin.ln_1p();
    let shrunk = (situation.blocks as f64 / f64::from(blocks)).sqrt();
    let null = situation
        .null
        .map_or(0.0, |(value, reach)| value.abs() + reach * shrunk);
    let is_told = |run: &&Run| {
        let ends = |(low, high): (f64, f64)| (effect + sigma * low, effect + sigma * high);
        let (exists, beyond, inner) = (ends(run.exists), ends(run.beyond), ends(run.inner));
        let is_there = exists.0 > 0.0 || exists.1 < 0.0;
        if null > nominal {
            return is_there && (beyond.0 > null || beyond.1 < -null);
        }
        is_there || (inner.0 >= -nominal && inner.1 <= nominal)
    };
    runs.iter().filter(is_told).count() as f64 / runs.len() as f64
}

/// Returns simulated runs of so many blocks, and by what their numbers are to be multiplied; `None` where there are too
/// few blocks for the rule.
fn simulated(blocks: usize) -> Option<(Arc<Vec<Run>>, f64)> {
    static DRAWN: Mutex<BTreeMap<usize, Arc<Vec<Run>>>> = Mutex::new(BTreeMap::new());
    let drawn = blocks.min(MOST_DRAWN);
    let mut cache = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = match cache.get(&drawn) {
        Some(runs) => Arc::clone(runs),
        None => Arc::clone(cache.entry(drawn).or_insert(Arc::new(draw(drawn)?))),
    };
    Some((runs, (drawn as f64 / blocks as f64).sqrt()))
}

fn draw(blocks: usize) -> Option<Vec<Run>> {
    let exists = signed_rank_depth(blocks, ALPHA / 2.0)?;
    let beyond = signed_rank_depth(blocks, ALPHA)?;
    let inner = signed_rank_depth(blocks, INNER_ALPHA)?;
    let sign = sign_depth(blocks, SIGN_ALPHA / 2.0)?;
    let mut random = Random(blocks as u64);
    let run = |_| {
        let values = sorted((0..blocks).map(|_| random.normal()));
        let averages = walsh_averages(&values);
        let ends = |sorted: &[f64], depth: usize| (sorted[depth - 1], sorted[sorted.len() - depth]);
        let (low, high) = ends(&averages, exists);
        let (sign_low, sign_high) = ends(&values, sign);
        Run {
            exists: (low.min(sign_low), high.max(sign_high)),
            beyond: ends(&averages, beyond),
            inner: ends(&averages, inner),
        }
    };
    Some((0..RUNS).map(run).collect())
}

/// `SplitMix64` (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014): the same everywhere.
struct Random(u64);

impl Random {
    /// A number above 0 and at most 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Box & Muller, "A note on the generation of random normal deviates", 1958.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
