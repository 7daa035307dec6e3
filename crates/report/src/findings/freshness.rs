//! The cheapest measured way to see news in time: what a client pays for freshness.

use sockrates_core::finding::{Effect, Estimator, Finding, Part};
use sockrates_core::record::Metric;
use sockrates_core::scenario::Workload;
use sockrates_core::summary::Estimate;
use sockrates_core::verdict;

use super::scope;
use crate::comparison::{self, Pairs};
use crate::metrics::{self, CLIENT_SECOND_BYTES, CLIENT_SECOND_CPU, CLIENT_SECOND_REQUESTS};
use crate::ratio::median;
use crate::statistics::{self, Decision};
use crate::view::{CellView, LoadPoint, View};

/// The ages that people ask for, in milliseconds.
const WITHIN_MS: [u32; 3] = [100, 1000, 5000];

/// Makes findings of each load point with several ways of learning of the same events.
pub(super) fn of(view: &View<'_>, points: &[LoadPoint<'_>]) -> Vec<Finding> {
    let ways = points.iter().filter(|point| point.has_several_ways());
    let each = |point| {
        let within = WITHIN_MS.into_iter();
        within.filter_map(move |within_ms| cheapest(view, point, within_ms))
    };
    ways.flat_map(each).collect()
}

/// One way with the percentile of all its trials together, and their median CPU time.
struct Way<'a> {
    cell: &'a CellView<'a>,
    p99_ns: f64,
    cpu_ns: f64,
}

fn cheapest(view: &View<'_>, point: &LoadPoint<'_>, within_ms: u32) -> Option<Finding> {
    let Workload::Updates {
        events_per_second, ..
    } = point.cell().workload
    else {
        return None;
    };
    let mut ways: Vec<Way<'_>> = point
        .cells
        .iter()
        .copied()
        .filter_map(way)
        .filter(|way| way.p99_ns <= f64::from(within_ms) * 1e6)
        .collect();
    ways.sort_by(|a, b| a.cpu_ns.total_cmp(&b.cpu_ns));
    let (best, others) = ways.split_first()?;
    let rivals: Vec<&Way<'_>> = others
        .iter()
        .filter(|other| !costs_more(other.cell, best.cell))
        .collect();
    let per_second = |name: &str| median(&values(best.cell, name));
    let cells = std::iter::once(best).chain(rivals.iter().copied());
    Some(Finding {
        part: Part::Here,
        effect: Effect::Freshness {
            within_ms,
            way: best.cell.name(),
            events_per_second,
            staleness_p99_ns: best.p99_ns,
            bytes_per_second: per_second(CLIENT_SECOND_BYTES),
            requests_per_second: per_second(CLIENT_SECOND_REQUESTS),
            rivals: rivals.iter().map(|way| way.cell.name()).collect(),
        },
        scope: scope(view, point),
        is_leading: true,
        estimate: over_trials(&values(best.cell, CLIENT_SECOND_CPU)),
        unit: Some(metrics::unit(CLIENT_SECOND_CPU)),
        values: None,
        verdict: None,
        estimator: Estimator::MedianOfTrials,
        bound: None,
        blocks_needed: None,
        reason: None,
        two_modes: Vec::new(),
        cells: cells.map(|way| way.cell.cell.id.clone()).collect(),
    })
}

fn way<'a>(cell: &'a CellView<'a>) -> Option<Way<'a>> {
    Some(Way {
        cell,
        // A trial may hold a hundred events, of which the largest is no percentile: all trials together tell.
        p99_ns: cell.merged_quantile(Metric::Staleness, 0.99)?,
        cpu_ns: median(&values(cell, CLIENT_SECOND_CPU))?,
    })
}

fn values(cell: &CellView<'_>, name: &str) -> Vec<f64> {
    let trials = comparison::by_block(cell, name);
    trials.into_iter().map(|(_, value)| value).collect()
}

/// Says whether a difference is told, and the whole interval of the ratio lies above 1.
fn costs_more(cell: &CellView<'_>, best: &CellView<'_>) -> bool {
    let logs = Pairs::of(cell, best, CLIENT_SECOND_CPU).log_ratios();
    statistics::decide(&logs, verdict::margin(CLIENT_SECOND_CPU)) != Decision::Inconclusive
        && comparison::ratio(&logs).is_some_and(|ratio| ratio.low > 1.0)
}

/// Returns the median with the smallest and the largest.
pub(super) fn over_trials(values: &[f64]) -> Option<Estimate> {
    Some(Estimate {
        value: median(values)?,
        low: values.iter().copied().reduce(f64::min)?,
        high: values.iter().copied().reduce(f64::max)?,
    })
}
