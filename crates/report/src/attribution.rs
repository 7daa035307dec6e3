//! How much of a difference comes from keeping the connection, and how much from the protocol: the two-by-two
//! {http1, websocket} x {per-request, persistent}, on the logarithmic scale, from the one fit of the load point, in which
//! effects add up. Each effect has its verdict.

use std::collections::BTreeMap;

use sockrates_core::summary::{Attribution, Comparison, Estimate, Verdict};
use sockrates_core::verdict;

use crate::basis::Basis;
use crate::comparison::{Pairs, by_block, judge, middle_holding};
use crate::metrics;
use crate::view::{CellView, LoadPoint, View};

/// The four lanes, in the order of the arrays below.
const LANES: [&str; 4] = [
    "http1-per-request",
    "http1-persistent",
    "websocket-per-request",
    "websocket-persistent",
];
const FLOOR: &str = "tcp-persistent";

/// Effects between two lanes: the worse, and the better one.
const STEPS: [(&str, usize, usize); 5] = [
    ("total", 0, 3),
    ("reuse", 0, 1),
    ("protocol", 1, 3),
    ("protocol_per_request", 0, 2),
    ("reuse_of_websocket", 2, 3),
];
/// Effects of all four: by how much each lane's logarithm counts.
const CONTRASTS: [(&str, [f64; 4]); 3] = [
    ("reuse_main", [0.5, -0.5, 0.5, -0.5]),
    ("protocol_main", [0.5, 0.5, -0.5, -0.5]),
    ("interaction", [-1.0, 1.0, 1.0, -1.0]),
];

/// Takes every load point apart that holds all four lanes, by each number that none of them only bounds. What the
/// comparisons say of an effect is said here, too.
pub(crate) fn all(
    view: &View<'_>,
    comparisons: &[Comparison],
    is_conclusive: bool,
) -> Vec<Attribution> {
    let points = view.load_points();
    let plain = points.iter().filter(|point| point.is_plain_echo());
    plain
        .flat_map(|point| {
            let main = metrics::name(point.main_metric(), "p50");
            let mut names = vec![(main, false)];
            if point.is_closed() {
                names.push((metrics::THROUGHPUT.to_owned(), true));
                names.push((metrics::CPU.to_owned(), false));
            }
            names.into_iter().filter_map(|(name, is_gain)| {
                let table = Table::of(point, &name, is_gain)?;
                table.attribution(point, comparisons, is_conclusive)
            })
        })
        .collect()
}

/// Returns what may be said of an effect, by its field's name. An effect without a verdict carries none.
pub(crate) fn verdict(found: &Attribution, effect: &str) -> Verdict {
    found
        .verdicts
        .get(effect)
        .copied()
        .unwrap_or(Verdict::Inconclusive)
}

/// The four cells, and the basis of what is said of them.
struct Table<'a> {
    cells: [&'a CellView<'a>; 4],
    basis: Basis<'a>,
    metric: String,
    is_gain: bool,
}

impl<'a> Table<'a> {
    fn of(point: &LoadPoint<'a>, metric: &str, is_gain: bool) -> Option<Self> {
        let cells: Vec<_> = LANES
            .iter()
            .map(|name| point.lane(name))
            .collect::<Option<_>>()?;
        let cells: [&CellView<'_>; 4] = cells.try_into().ok()?;
        let is_bounded = cells.iter().any(|cell| metrics::is_bound(cell, metric));
        (!is_bounded).then(|| Self {
            cells,
            basis: Basis::of(point, metric),
            metric: metric.to_owned(),
            is_gain,
        })
    }

    fn attribution(
        &self,
        point: &LoadPoint<'_>,
        comparisons: &[Comparison],
        is_conclusive: bool,
    ) -> Option<Attribution> {
        let mut effects = BTreeMap::new();
        let mut verdicts = BTreeMap::new();
        let blocks = self.common_blocks();
        for (name, above, below) in STEPS {
            let (estimate, verdict) = self.step(above, below, comparisons)?;
            effects.insert(name, estimate);
            verdicts.insert(name.to_owned(), verdict);
        }
        for (name, weights) in CONTRASTS {
            let (estimate, verdict) = self.contrast(&blocks, weights)?;
            effects.insert(name, estimate);
            verdicts.insert(name.to_owned(), verdict);
        }
        if !is_conclusive {
            for verdict in verdicts.values_mut() {
                *verdict = Verdict::Inconclusive;
            }
        }
        Some(Attribution {
            scenario: point.cell().scenario.clone(),
            connections: point.cell().connections,
            metric: self.metric.clone(),
            is_gain: self.is_gain,
            blocks: u32::try_from(blocks.len()).expect("blocks are few"),
            total: effects["total"],
            reuse: effects["reuse"],
            protocol: effects["protocol"],
            protocol_per_request: effects["protocol_per_request"],
            reuse_of_websocket: effects["reuse_of_websocket"],
            reuse_main: effects["reuse_main"],
            protocol_main: effects["protocol_main"],
            interaction: effects["interaction"],
            verdicts,
            above_floor: self.above_floor(point),
        })
    }

    /// A gain is turned round, so that each effect is again the factor by which the second lane is better.
    fn sign(&self) -> f64 {
        if self.is_gain { -1.0 } else { 1.0 }
    }

    /// Judges the effect of going from one lane to another: in all blocks that hold both, as their comparison is.
    fn step(
        &self,
        above: usize,
        below: usize,
        comparisons: &[Comparison],
    ) -> Option<(Estimate, Verdict)> {
        let (above, below) = (self.cells[above], self.cells[below]);
        let pairs = Pairs::of(above, below, &self.metric);
        let logs = pairs.log_ratios();
        let logs: Vec<f64> = logs.iter().map(|log| self.sign() * log).collect();
        let fitted = self.sign() * self.basis.contrast(above, below)?;
        let judged = judge(
            &logs,
            Some(fitted),
            verdict::margin(&self.metric),
            self.basis.noise,
        );
        let (one, other) = (above.cell.id.as_str(), below.cell.id.as_str());
        let is_it = |found: &&Comparison| {
            let ids = (found.cell.as_str(), found.reference.as_str());
            found.metric == self.metric && (ids == (one, other) || ids == (other, one))
        };
        let compared = comparisons.iter().find(is_it);
        let verdict = compared.map_or(judged.verdict, |found| found.verdict);
        Some((judged.ratio?, verdict))
    }

    fn contrast(&self, blocks: &[[f64; 4]], weights: [f64; 4]) -> Option<(Estimate, Verdict)> {
        let weighted = |values: [f64; 4]| -> f64 {
            let terms = values.iter().zip(weights);
            self.sign() * terms.map(|(value, weight)| value * weight).sum::<f64>()
        };
        let logs: Vec<f64> = blocks.iter().map(|values| weighted(*values)).collect();
        let mut fitted = [0.0; 4];
        for (effect, cell) in fitted.iter_mut().zip(self.cells) {
            *effect = self.basis.contrast(cell, self.cells[0])?;
        }
        let judged = judge(
            &logs,
            Some(weighted(fitted)),
            verdict::margin(&self.metric),
            self.basis.noise,
        );
        Some((judged.ratio?, judged.verdict))
    }

    /// Returns the natural logarithms of the four lanes' values of each block that holds all of them.
    fn common_blocks(&self) -> Vec<[f64; 4]> {
        let of_lanes = self.cells.map(|cell| -> BTreeMap<u32, f64> {
            let values = by_block(cell, &self.metric).into_iter();
            values.filter(|(_, value)| *value > 0.0).collect()
        });
        let logs = |block: &u32| {
            let value = |lane: usize| Some(of_lanes[lane].get(block)?.ln());
            Some([value(0)?, value(1)?, value(2)?, value(3)?])
        };
        of_lanes[0].keys().filter_map(logs).collect()
    }

    /// Returns each lane's difference to the floor: loopback makes the floor so low that ratios exaggerate.
    fn above_floor(&self, point: &LoadPoint<'_>) -> BTreeMap<String, Estimate> {
        let Some(floor) = point.lane(FLOOR).filter(|_| !self.is_gain) else {
            return BTreeMap::new();
        };
        let above = |cell: &&CellView<'_>| {
            let value = self.basis.value(cell)? - self.basis.value(floor)?;
            let differences = Pairs::of(cell, floor, &self.metric).differences();
            let estimate = middle_holding(&differences, value)?;
            Some((cell.cell.lane.to_string(), estimate))
        };
        self.cells.iter().filter_map(above).collect()
    }
}
