//! What the order of a run was good for, as two numbers: how alike the trials of one block are, and how many cells were
//! planned directly after how many others.

use std::collections::{BTreeMap, BTreeSet};

use sockrates_core::plan::Plan;

use crate::comparison::by_block;
use crate::metrics;
use crate::view::View;

/// Returns the share of the variance of the logarithms of medians, each cell's own level apart, that blocks explain: the
/// intraclass correlation of a two-way layout (Shrout & Fleiss, "Intraclass correlations: uses in assessing rater
/// reliability", 1979, form 3,1). Of the cells that were measured in every block; `None` for fewer than two such, or two
/// blocks.
pub(crate) fn within_block_correlation(view: &View<'_>) -> Option<f64> {
    let blocks = view.dataset.manifest.plan.blocks.len();
    let rows: Vec<Vec<f64>> = view
        .cells
        .iter()
        .filter_map(|cell| {
            let metric = metrics::name(cell.main_metric(), "p50");
            let values: BTreeMap<u32, f64> = by_block(cell, &metric).into_iter().collect();
            let logs: Vec<f64> = values.values().map(|value| value.ln()).collect();
            let is_whole = logs.len() == blocks && logs.iter().all(|log| log.is_finite());
            is_whole.then_some(logs)
        })
        .collect();
    correlation(&rows)
}

fn correlation(rows: &[Vec<f64>]) -> Option<f64> {
    let (cells, blocks) = (rows.len(), rows.first()?.len());
    if cells < 2 || blocks < 2 {
        return None;
    }
    let mean =
        |values: &mut dyn Iterator<Item = f64>, count: usize| values.sum::<f64>() / count as f64;
    let cell_means: Vec<f64> = rows
        .iter()
        .map(|row| mean(&mut row.iter().copied(), blocks))
        .collect();
    let grand = mean(&mut cell_means.iter().copied(), cells);
    let block_effects: Vec<f64> = (0..blocks)
        .map(|block| mean(&mut rows.iter().map(|row| row[block]), cells) - grand)
        .collect();
    let between: f64 = block_effects.iter().map(|effect| effect * effect).sum();
    let between = between * cells as f64 / (blocks - 1) as f64;
    let mut rest = 0.0;
    for (row, cell_mean) in rows.iter().zip(&cell_means) {
        for (value, effect) in row.iter().zip(&block_effects) {
            rest += (value - cell_mean - effect).powi(2);
        }
    }
    let rest = rest / ((cells - 1) * (blocks - 1)) as f64;
    let whole = between + (cells - 1) as f64 * rest;
    (whole > 0.0).then(|| (between - rest) / whole)
}

/// Returns the share of all ordered pairs of cells of which one was planned directly after the other, within a block;
/// `None` for fewer than two cells.
pub(crate) fn ordered_pairs_covered(plan: &Plan) -> Option<f64> {
    let cells = plan.cells.len();
    if cells < 2 {
        return None;
    }
    let next = plan.blocks.iter().flat_map(|block| block.windows(2));
    let covered: BTreeSet<(u32, u32)> = next.map(|pair| (pair[0], pair[1])).collect();
    Some(covered.len() as f64 / (cells * (cells - 1)) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_all_cells_share_explain_everything_and_independent_ones_nothing() {
        let blocks = [0.1, -0.2, 0.3, 0.0, -0.1];
        let shared: Vec<Vec<f64>> = [1.0, 5.0, 2.0]
            .iter()
            .map(|level| blocks.iter().map(|block| level + block).collect())
            .collect();
        assert!((correlation(&shared).unwrap() - 1.0).abs() < 1e-9);
        // Each cell has its high block elsewhere: block means are all the same.
        let apart: Vec<Vec<f64>> = (0..3)
            .map(|cell| {
                (0..3)
                    .map(|block| f64::from(u8::from(cell == block)))
                    .collect()
            })
            .collect();
        assert!((correlation(&apart).unwrap() + 0.5).abs() < 1e-9);
        assert_eq!(correlation(&shared[..1]), None);
        assert_eq!(correlation(&[]), None);
    }
}
