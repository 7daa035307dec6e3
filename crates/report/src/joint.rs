//! One estimate of all cells of a load point together, so that effects agree with each other: the ratio of A to C is
//! that of A to B times that of B to C, to rounding.
//!
//! A Hodges-Lehmann estimate of every pair by itself does not do that. Its means over all partners do: cell i's effect
//! is the mean, over all cells j, of the estimate of i against j, and a contrast is a difference of effects. Lehmann,
//! "Asymptotically nonparametric inference in some linear models with one observation per cell", 1964; Spjotvoll, "A
//! note on robust estimation in analysis of variance", 1968. Of two cells it is the Hodges-Lehmann estimate itself.

use std::collections::BTreeMap;

use crate::statistics::hodges_lehmann;

/// A cell with fewer blocks has no interval either, and would blur the others' effects.
const FEWEST_BLOCKS: usize = 6;

/// The additive fit of cells and blocks, on the scale of the values: natural logarithms, to get ratios.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Each cell's effect, in the order given; they sum to 0. `None` for a cell that shares too few blocks.
    pub effects: Vec<Option<f64>>,
    /// The typical value of a block: a cell's typical value is this and its effect.
    pub level: f64,
}

impl Fit {
    /// Returns a cell's typical value.
    pub fn value(&self, cell: usize) -> Option<f64> {
        Some(self.level + self.effects.get(cell).copied().flatten()?)
    }

    /// Returns by how much one cell lies above another.
    pub fn contrast(&self, cell: usize, reference: usize) -> Option<f64> {
        let effect = |index: usize| self.effects.get(index).copied().flatten();
        Some(effect(cell)? - effect(reference)?)
    }
}

/// Fits cells, each with one value for some of the blocks. `None` when fewer than two cells share six blocks.
pub fn fit(cells: &[BTreeMap<u32, f64>]) -> Option<Fit> {
    let fitted = connected(cells);
    if fitted.len() < 2 {
        return None;
    }
    let mut effects = vec![None; cells.len()];
    for &one in &fitted {
        let against = |other: &usize| match *other {
            other if other == one => Some(0.0),
            // One estimate per pair, so that rounding cannot tell the two directions apart.
            other if other < one => Some(-hodges_lehmann(&shared(&cells[other], &cells[one]))?),
            other => hodges_lehmann(&shared(&cells[one], &cells[other])),
        };
        let estimates: Option<Vec<f64>> = fitted.iter().map(against).collect();
        effects[one] = Some(estimates?.iter().sum::<f64>() / fitted.len() as f64);
    }
    let level = level(cells, &effects)?;
    Some(Fit { effects, level })
}

/// Returns the cells of which each shares enough blocks with each other: those that share the fewest are left out one
/// after the other.
fn connected(cells: &[BTreeMap<u32, f64>]) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..cells.len()).collect();
    loop {
        let fewest = |one: &usize| {
            let partners = kept.iter().filter(|other| *other != one);
            let common = partners.map(|other| shared(&cells[*one], &cells[*other]).len());
            common.min().unwrap_or(0)
        };
        if kept.len() < 2 || kept.iter().all(|one| fewest(one) >= FEWEST_BLOCKS) {
            return kept;
        }
        let total = |one: &usize| (fewest(one), cells[*one].len());
        let Some(worst) = kept.iter().copied().min_by_key(total) else {
            return kept;
        };
        kept.retain(|one| *one != worst);
    }
}

fn shared(one: &BTreeMap<u32, f64>, other: &BTreeMap<u32, f64>) -> Vec<f64> {
    let difference = |(block, value): (&u32, &f64)| Some(value - other.get(block)?);
    one.iter().filter_map(difference).collect()
}

/// Estimates the typical block from what each block's cells are without their effects.
fn level(cells: &[BTreeMap<u32, f64>], effects: &[Option<f64>]) -> Option<f64> {
    let mut blocks: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for (cell, effect) in cells.iter().zip(effects) {
        let Some(effect) = effect else { continue };
        for (block, value) in cell {
            let sum = blocks.entry(*block).or_default();
            *sum = (sum.0 + value - effect, sum.1 + 1.0);
        }
    }
    let levels: Vec<f64> = blocks.values().map(|(sum, count)| sum / count).collect();
    hodges_lehmann(&levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(values: &[f64]) -> BTreeMap<u32, f64> {
        (0..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn two_cells_have_the_hodges_lehmann_estimate() {
        let one = [1.0, 2.5, 1.5, 9.0, 2.0, 3.0, 1.0];
        let other = [0.5, 1.0, 1.0, 1.0, 0.0, 2.0, 0.7];
        let fit = fit(&[cell(&one), cell(&other)]).unwrap();
        let differences: Vec<f64> = one.iter().zip(other).map(|(a, b)| a - b).collect();
        let expected = hodges_lehmann(&differences).unwrap();
        assert!((fit.contrast(0, 1).unwrap() - expected).abs() < 1e-12);
        let values = fit.value(0).unwrap() - fit.value(1).unwrap();
        assert!((values - expected).abs() < 1e-12);
    }

    #[test]
    fn a_cell_with_too_few_blocks_is_left_out() {
        let full = [1.0, 2.0, 3.0, 4.0, 5.0, 6.5];
        let cells = [cell(&full), cell(&full[..3]), cell(&full)];
        let fitted = fit(&cells).unwrap();
        assert_eq!(fitted.effects, [Some(0.0), None, Some(0.0)]);
        assert_eq!(fitted.contrast(0, 1), None);
        assert_eq!(fit(&cells[..2]), None);
        assert_eq!(fit(&[]), None);
    }
}
