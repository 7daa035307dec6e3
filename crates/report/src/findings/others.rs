//! Findings that compare no lanes: break-evens, the growth of rooms, and what a run of a single lane measured.

use sockrates_core::finding::{Effect, Estimator, Finding, Part, Reason, Scope};
use sockrates_core::record::Metric;
use sockrates_core::summary::{Crossing, Estimate, Summary, Unit, Verdict};

use super::differences::{leading_point, part};
use super::freshness::over_trials;
use super::{find, point_of, scope};
use crate::metrics;
use crate::view::{LoadPoint, View};

/// Makes them all.
pub(super) fn of(view: &View<'_>, points: &[LoadPoint<'_>], summary: &Summary) -> Vec<Finding> {
    let mut findings = break_evens(view, points, summary);
    findings.extend(pollings(view, points, summary));
    findings.extend(growths(view, points, summary));
    findings.extend(levels(view, points, summary));
    findings.extend(wake_up(view));
    findings
}

/// What the calibrations tell of waking a CPU: how much of a time may be the machine's and nobody's work.
fn wake_up(view: &View<'_>) -> Option<Finding> {
    let calibrations = view.dataset.manifest.calibrations.iter();
    let found: Vec<_> = calibrations.filter_map(|one| one.wake_up).collect();
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let as_is: Vec<_> = found.iter().map(|one| one.as_is.p50_ns as f64).collect();
    let awake: Option<Vec<_>> = found
        .iter()
        .map(|one| Some(one.awake?.p50_ns as f64))
        .collect();
    let scope = Scope {
        scenario: "calibration".to_owned(),
        load: "a thread on another CPU that was idle for 1 ms".to_owned(),
        network: "none".to_owned(),
        payload_bytes: 0,
    };
    let low = as_is.iter().copied().reduce(f64::min)?;
    let high = as_is.iter().copied().reduce(f64::max)?;
    let effect = Effect::WakeUp {
        awake_ns: awake.map(|times| mean(&times)),
    };
    Some(Finding {
        estimate: Some(Estimate {
            value: mean(&as_is),
            low,
            high,
        }),
        unit: Some(Unit::Ns),
        estimator: Estimator::Calibrations,
        ..plain(effect, scope, Vec::new())
    })
}

/// A finding without anything but its effect and where it was made.
fn plain(effect: Effect, scope: Scope, cells: Vec<String>) -> Finding {
    Finding {
        part: Part::Here,
        effect,
        scope,
        is_leading: true,
        estimate: None,
        unit: None,
        values: None,
        verdict: None,
        estimator: Estimator::WithinBlocks,
        bound: None,
        blocks_needed: None,
        reason: None,
        two_modes: Vec::new(),
        cells,
    }
}

fn break_evens(view: &View<'_>, points: &[LoadPoint<'_>], summary: &Summary) -> Vec<Finding> {
    let conclusive = summary.judgement.is_conclusive;
    let all = summary.break_evens.iter().filter_map(|found| {
        let is_it = |point: &&LoadPoint<'_>| {
            let cell = point.cell();
            cell.scenario == found.scenario && cell.connections == 1
        };
        let point = points.iter().find(is_it)?;
        let verdict = match found.crossing {
            Crossing::Unclear => Verdict::Inconclusive,
            _ if !conclusive => Verdict::Inconclusive,
            _ => Verdict::Different,
        };
        let (kept, other) = (found.kept.to_string(), found.fresh.to_string());
        let ids = [&kept, &other].map(|lane| point.lane(lane).map(|cell| cell.cell.id.clone()));
        let effect = Effect::BreakEven {
            kept,
            other,
            crossing: found.crossing,
        };
        Some(Finding {
            part: part(verdict),
            verdict: Some(verdict),
            estimate: found.messages.filter(|_| conclusive),
            ..plain(
                effect,
                scope(view, point),
                ids.into_iter().flatten().collect(),
            )
        })
    });
    all.collect()
}

fn pollings(view: &View<'_>, points: &[LoadPoint<'_>], summary: &Summary) -> Vec<Finding> {
    let conclusive = summary.judgement.concludes(metrics::CLIENT_SECOND_CPU);
    let all = summary.polling_break_evens.iter().filter_map(|found| {
        let point = point_of(points, &found.poll)?;
        let is_told = conclusive && !found.is_extrapolated;
        let verdict = if is_told {
            Verdict::Different
        } else {
            Verdict::Inconclusive
        };
        let effect = Effect::PollingBreakEven {
            poll: find(view, &found.poll)?.cell.lane.to_string(),
            push: find(view, &found.push)?.name(),
            events_per_second: found.events_per_second,
            is_extrapolated: found.is_extrapolated,
        };
        let [value, low, high] = [
            found.interval_ms.value,
            found.interval_ms.low,
            found.interval_ms.high,
        ]
        .map(|ms| ms * 1e6);
        Some(Finding {
            part: part(verdict),
            verdict: Some(verdict),
            estimate: Some(Estimate { value, low, high }),
            unit: Some(Unit::Ns),
            ..plain(
                effect,
                scope(view, point),
                vec![found.poll.clone(), found.push.clone()],
            )
        })
    });
    all.collect()
}

fn growths(view: &View<'_>, points: &[LoadPoint<'_>], summary: &Summary) -> Vec<Finding> {
    let all = summary.room_fits.iter().filter_map(|found| {
        let is_it = |point: &&LoadPoint<'_>| point.cell().scenario == found.scenario;
        let slope = found.per_member_ns;
        let verdict = if summary.judgement.concludes(&found.metric)
            && (slope.low > 0.0 || slope.high < 0.0)
        {
            Verdict::Different
        } else {
            Verdict::Inconclusive
        };
        let members = (*found.members.first()?, *found.members.last()?);
        let lane = found.lane.to_string();
        let of_lane = points
            .iter()
            .filter(is_it)
            .filter_map(|point| Some(point.lane(&lane)?.cell.id.clone()));
        let cells: Vec<String> = of_lane.collect();
        let effect = Effect::Growth {
            lane: lane.clone(),
            metric: found.metric.clone(),
            members,
        };
        Some(Finding {
            part: part(verdict),
            verdict: Some(verdict),
            estimate: Some(slope),
            unit: Some(Unit::Ns),
            estimator: Estimator::LeastSquares,
            ..plain(effect, scope(view, points.iter().find(is_it)?), cells)
        })
    });
    all.collect()
}

/// Tells the numbers themselves where the leading load point compares nothing.
fn levels(view: &View<'_>, points: &[LoadPoint<'_>], summary: &Summary) -> Vec<Finding> {
    let Some(point) = leading_point(view, points) else {
        return Vec::new();
    };
    let compared = |id: &str| {
        let mut all = summary.comparisons.iter();
        all.any(|found| found.cell == id || found.reference == id)
    };
    let mut names = vec![metrics::name(point.main_metric(), "p50")];
    if point.main_metric() == Metric::Delivery {
        names.push(metrics::name(Metric::DeliverySpread, "p50"));
    }
    names.push(metrics::name(point.main_metric(), "p99"));
    if point.is_search() {
        names = vec![metrics::CAPACITY.to_owned()];
    }
    let mut findings = Vec::new();
    let cells = point.cells.iter().filter(|cell| cell.has_data());
    for cell in cells.filter(|cell| !compared(&cell.cell.id)) {
        for metric in &names {
            let values = crate::comparison::by_block(cell, metric);
            let values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
            let effect = Effect::Level {
                lane: cell.name(),
                metric: metric.clone(),
            };
            let estimate = over_trials(&values);
            findings.push(Finding {
                part: if estimate.is_some() {
                    Part::Here
                } else {
                    Part::NotTold
                },
                verdict: estimate.is_none().then_some(Verdict::Inconclusive),
                reason: estimate.is_none().then_some(Reason::FewOperations),
                estimate,
                unit: Some(metrics::unit(metric)),
                estimator: Estimator::MedianOfTrials,
                ..plain(effect, scope(view, point), vec![cell.cell.id.clone()])
            });
        }
    }
    findings
}
