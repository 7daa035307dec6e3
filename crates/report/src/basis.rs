//! What all comparisons of one load point by one number rest on: the fit that gives their estimates, and how far two
//! copies of one lane came out apart.

use sockrates_core::summary::Estimate;

use crate::comparison::{CONFIDENCE, Pairs, by_block};
use crate::joint::{self, Fit};
use crate::metrics;
use crate::statistics;
use crate::view::{CellView, LoadPoint};

/// What the null lane of a load point says of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Noise {
    /// No null lane was planned.
    Unplanned,
    /// One was planned, and too few of its blocks count.
    Unknown,
    /// The natural-log ratio of the two copies, with its interval.
    Known(Estimate),
}

impl Noise {
    /// Returns how far the two copies may have come out apart, as a ratio less 1; 0 where nothing is known.
    pub(crate) fn reach(&self) -> f64 {
        match self {
            Self::Known(null) => null.low.abs().max(null.high.abs()).exp_m1(),
            Self::Unplanned | Self::Unknown => 0.0,
        }
    }
}

/// The basis of the comparisons of some cells by one number.
pub(crate) struct Basis<'a> {
    ids: Vec<&'a str>,
    fit: Option<Fit>,
    /// What the null lane says.
    pub(crate) noise: Noise,
}

impl<'a> Basis<'a> {
    /// Fits all cells of a load point that have the number; one that is only bounded would pull at the others.
    pub(crate) fn of(point: &LoadPoint<'a>, metric: &str) -> Self {
        let is_fitted = |cell: &&&CellView<'_>| cell.has_data() && !metrics::is_bound(cell, metric);
        let cells: Vec<_> = point.cells.iter().filter(is_fitted).copied().collect();
        Self {
            noise: noise(point, metric),
            ..Self::of_cells(&cells, metric)
        }
    }

    /// Fits these cells, whatever null lane there is.
    pub(crate) fn of_cells(cells: &[&'a CellView<'a>], metric: &str) -> Self {
        let logs: Vec<_> = cells
            .iter()
            .map(|cell| {
                let positive = by_block(cell, metric).into_iter();
                let positive = positive.filter(|(_, value)| *value > 0.0);
                positive.map(|(block, value)| (block, value.ln())).collect()
            })
            .collect();
        Self {
            ids: cells.iter().map(|cell| cell.cell.id.as_str()).collect(),
            fit: joint::fit(&logs),
            noise: Noise::Unplanned,
        }
    }

    fn index(&self, cell: &CellView<'_>) -> Option<usize> {
        self.ids.iter().position(|id| *id == cell.cell.id)
    }

    /// Returns the natural logarithm of the ratio of two cells.
    pub(crate) fn contrast(&self, cell: &CellView<'_>, reference: &CellView<'_>) -> Option<f64> {
        let (cell, reference) = (self.index(cell)?, self.index(reference)?);
        self.fit.as_ref()?.contrast(cell, reference)
    }

    /// Returns a cell's typical value, in the metric's unit.
    pub(crate) fn value(&self, cell: &CellView<'_>) -> Option<f64> {
        Some(self.fit.as_ref()?.value(self.index(cell)?)?.exp())
    }
}

/// Of several null lanes the one that reaches farthest counts.
fn noise(point: &LoadPoint<'_>, metric: &str) -> Noise {
    let mut noise = Noise::Unplanned;
    for null in point.cells.iter().filter(|cell| cell.cell.is_null()) {
        let is_twin = |cell: &&&CellView<'_>| {
            let (one, other) = (cell.cell, null.cell);
            !one.is_null()
                && one.lane.null() == other.lane
                && one.load == other.load
                && one.workload == other.workload
        };
        let Some(twin) = point.cells.iter().find(is_twin) else {
            continue;
        };
        let logs = Pairs::of(null, twin, metric).log_ratios();
        let Some(found) = statistics::signed_rank_interval(&logs, CONFIDENCE) else {
            return Noise::Unknown;
        };
        let found = Noise::Known(Estimate {
            value: found.value,
            low: found.low,
            high: found.high,
        });
        if noise == Noise::Unplanned || found.reach() > noise.reach() {
            noise = found;
        }
    }
    noise
}
