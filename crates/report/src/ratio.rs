//! Comparison of two cells: ratios within blocks, so that what drifts between blocks cancels.

use sockrates_core::record::Metric;

use crate::comparison;
use crate::view::CellView;

/// The ratio of two cells' per-trial values, paired by block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Paired {
    /// The estimated ratio; with fewer than six blocks the median of the blocks' ratios.
    pub(crate) value: f64,
    /// The lower end of its 95 % interval; with fewer than six blocks the smallest block's ratio.
    pub(crate) low: f64,
    /// The upper end of its 95 % interval; with fewer than six blocks the largest block's ratio.
    pub(crate) high: f64,
    /// How many blocks hold a value of both cells.
    pub(crate) blocks: usize,
}

impl Paired {
    /// Says whether it is clear which of the two is larger.
    pub(crate) fn is_one_sided(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

/// Divides a quantile of `cell` by that of `reference`, block by block; `None` when no block holds both.
pub(crate) fn paired(
    cell: &CellView<'_>,
    reference: &CellView<'_>,
    metric: Metric,
    quantile: f64,
) -> Option<Paired> {
    let below = reference.quantiles(metric, quantile);
    let logs: Vec<f64> = cell
        .quantiles(metric, quantile)
        .into_iter()
        .filter_map(|(block, above)| {
            let (_, below) = below.iter().find(|(other, _)| *other == block)?;
            (*below > 0.0).then(|| (above / below).ln())
        })
        .collect();
    let estimate = comparison::ratio_or_range(&logs)?;
    Some(Paired {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
        blocks: logs.len(),
    })
}

/// Returns the median, the mean of the two middle values for an even number; `None` for none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_none_is_none() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
