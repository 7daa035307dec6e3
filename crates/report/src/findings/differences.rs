//! Findings of lanes against each other: one for each comparison, told or not.

use sockrates_core::finding::{Effect, Estimator, Finding, Part, Reason, Scope};
use sockrates_core::plan::Contrast;
use sockrates_core::summary::{Comparison, Summary, Verdict};

use super::{FLOOR, find, point_of, scope};
use crate::view::{LoadPoint, View};
use crate::{comparison, metrics};

/// Makes a finding of each comparison, each pair of lanes with all its numbers side by side.
pub(super) fn of(view: &View<'_>, points: &[LoadPoint<'_>], summary: &Summary) -> Vec<Finding> {
    let all = &summary.comparisons;
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for found in all {
        let pair = (found.cell.as_str(), found.reference.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let leading = leading_point(view, points);
    let mut findings = Vec::new();
    for (cell, reference) in pairs {
        let Some(point) = point_of(points, cell) else {
            continue;
        };
        let is_leading_point = leading.is_some_and(|leading| std::ptr::eq(leading, point));
        let is_leading = is_leading_point && is_contrast(view, point, cell, reference);
        let mut names = comparison::compared(point);
        let own = all.iter().filter(|found| is_of(found, cell, reference));
        for found in own.clone() {
            if !names.contains(&found.metric) {
                names.push(found.metric.clone());
            }
        }
        for name in names {
            let found = own.clone().find(|found| found.metric == name);
            let made = finding(
                view,
                scope(view, point),
                (cell, reference),
                &name,
                found,
                summary.judgement.concludes(&name),
            );
            findings.extend(made.map(|made| Finding { is_leading, ..made }));
        }
    }
    findings
}

fn is_of(found: &Comparison, cell: &str, reference: &str) -> bool {
    found.cell == cell && found.reference == reference
}

/// Of a comparison that could not be made the finding is that it was not.
fn finding(
    view: &View<'_>,
    scope: Scope,
    (cell, reference): (&str, &str),
    metric: &str,
    found: Option<&Comparison>,
    conclusive: bool,
) -> Option<Finding> {
    let (one, other) = (find(view, cell)?, find(view, reference)?);
    let verdict = found.map_or(Verdict::Inconclusive, |found| {
        if found.ratio.is_none() || found.values.is_none() {
            Verdict::Inconclusive
        } else {
            found.verdict
        }
    });
    let part = part(verdict);
    let is_open = part == Part::NotTold;
    Some(Finding {
        part,
        effect: Effect::Difference {
            lane: one.name(),
            reference: other.name(),
            metric: metric.to_owned(),
            is_null: one.cell.is_null() && one.cell.lane == other.cell.lane.null(),
        },
        scope,
        is_leading: false,
        estimate: found.and_then(|found| found.ratio),
        unit: Some(metrics::unit(metric)),
        values: found.and_then(|found| found.values),
        verdict: Some(verdict),
        estimator: Estimator::WithinBlocks,
        bound: found.and_then(|found| found.bound).filter(|_| is_open),
        blocks_needed: found
            .and_then(|found| found.blocks_needed)
            .filter(|_| is_open),
        reason: reason(found, conclusive).filter(|_| is_open),
        two_modes: Vec::new(),
        cells: vec![cell.to_owned(), reference.to_owned()],
    })
}

/// Says why there is no bound.
fn reason(found: Option<&Comparison>, conclusive: bool) -> Option<Reason> {
    match found {
        None => Some(Reason::FewOperations),
        Some(found) if found.is_bounded => Some(Reason::OnlyBounds),
        Some(found) if found.ratio.is_none() => Some(Reason::FewBlocks),
        // Without a bound it is one of the numbers that something harmed.
        Some(found) => (!conclusive || found.bound.is_none()).then_some(Reason::Unjudged),
    }
}

/// What is inconclusive was not told.
pub(crate) fn part(verdict: Verdict) -> Part {
    match verdict {
        Verdict::Inconclusive => Part::NotTold,
        _ => Part::Here,
    }
}

/// The load point of the questions that were asked; else the closed echo with the fewest connections, where nothing
/// queues; else the first that was measured.
pub(super) fn leading_point<'a>(
    view: &View<'_>,
    points: &'a [LoadPoint<'a>],
) -> Option<&'a LoadPoint<'a>> {
    let planned = view.dataset.manifest.plan.primary.first();
    let measured = || {
        let points = points.iter().filter(|point| point.has_data());
        points.filter(|point| point.cell().operations.is_none())
    };
    planned
        .and_then(|contrast| point_of(points, &contrast.cell))
        .or_else(|| {
            measured()
                .filter(|point| point.is_echo() && point.is_closed())
                .min_by_key(|point| point.cell().connections)
        })
        .or_else(|| measured().next())
}

/// Says whether a pair is one that the run was for, or the reader comes for; where there is none of these, all of a load
/// point are.
fn is_contrast(view: &View<'_>, point: &LoadPoint<'_>, cell: &str, reference: &str) -> bool {
    let planned = &view.dataset.manifest.plan.primary;
    let is_planned = |contrast: &Contrast| contrast.cell == cell && contrast.reference == reference;
    let (Some(one), Some(other)) = (find(view, cell), find(view, reference)) else {
        return false;
    };
    let lanes = (one.cell.lane.to_string(), other.cell.lane.to_string());
    let is_known = |(a, b): &(&str, &str)| lanes == ((*a).to_owned(), (*b).to_owned());
    let holds = |(a, b): &(&str, &str)| point.lane(a).is_some() && point.lane(b).is_some();
    if planned.iter().any(is_planned) || comparison::CONTRASTS.iter().any(is_known) {
        return true;
    }
    let is_plain = |cell: &sockrates_core::plan::Cell| {
        !cell.is_null() && cell.lane.transport != FLOOR && cell.lane.client.is_none()
    };
    planned.is_empty()
        && !comparison::CONTRASTS.iter().any(holds)
        && is_plain(one.cell)
        && is_plain(other.cell)
}
