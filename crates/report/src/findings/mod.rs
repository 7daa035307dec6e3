//! The findings of a run: what it says, as data, and the one place where that is put into words.
//!
//! `differences`, `counted` and `freshness` make findings from the summary; `words` renders them for the terminal, for
//! Markdown, for the page and for comparisons of runs alike. Whatever the run did not measure is left out.

mod counted;
pub(crate) mod differences;
mod freshness;
pub(crate) mod modes;
mod others;
pub(crate) mod words;

use sockrates_core::finding::{Finding, Part, Scope, TwoModes};
use sockrates_core::plan::Target;
use sockrates_core::summary::{Judgement, Summary};

use crate::completeness;
use crate::text;
use crate::view::{CellView, LoadPoint, View};
pub(crate) use words::{Told, cell, told};

/// What the brackets in all outputs are.
pub(crate) const RANGES: &str = "Brackets behind ratios are exact 95 % intervals over the blocks, and values beside a \
     ratio come from the same estimate. Ranges behind times and rates run from the smallest to the largest trial.";

/// The floor: no protocol, so it is a reference and not a contender.
pub(crate) const FLOOR: &str = "tcp";

/// Makes all findings of a run from its records and from what was computed of them, in the order of their parts.
pub(crate) fn of(view: &View<'_>, summary: &Summary) -> Vec<Finding> {
    let points = view.load_points();
    let mut findings: Vec<Finding> = counted::of(view, &points, summary)
        .into_iter()
        .chain(differences::of(view, &points, summary))
        .chain(freshness::of(view, &points))
        .chain(others::of(view, &points, summary))
        .collect();
    for finding in &mut findings {
        // Counts are the same in both groups.
        if finding.part != Part::Everywhere {
            finding.two_modes = modes_of(&finding.cells, &summary.cells);
        }
    }
    let has_leading = findings.iter().any(|found| found.is_leading);
    if !has_leading {
        for finding in &mut findings {
            finding.is_leading = true;
        }
    }
    findings.sort_by_key(|finding| finding.part);
    findings
}

fn modes_of(cells: &[String], all: &[sockrates_core::summary::CellSummary]) -> Vec<TwoModes> {
    let found = all.iter().filter(|cell| cells.contains(&cell.id));
    found.filter_map(|cell| cell.two_modes.clone()).collect()
}

/// Says where a load point's numbers hold.
fn scope(view: &View<'_>, point: &LoadPoint<'_>) -> Scope {
    Scope {
        scenario: point.cell().scenario.clone(),
        load: point.load_text(),
        network: network(view),
        payload_bytes: point.cell().workload.payload_bytes(),
    }
}

/// Finds the load point of a cell.
fn point_of<'a>(points: &'a [LoadPoint<'a>], id: &str) -> Option<&'a LoadPoint<'a>> {
    let holds = |point: &&LoadPoint<'_>| point.cells.iter().any(|cell| cell.cell.id == id);
    points.iter().find(holds)
}

/// Finds a cell by its id.
fn find<'a>(view: &'a View<'_>, id: &str) -> Option<&'a CellView<'a>> {
    view.cells.iter().find(|cell| cell.cell.id == id)
}

/// Says why the run may conclude nothing, or what else is to be known of it.
pub(crate) fn judgement(summary: &Summary) -> Vec<String> {
    let judged = &summary.judgement;
    let has_data = summary.cells.iter().any(|cell| cell.trials.valid > 0);
    let lacks = completeness::clauses(&summary.completeness);
    let head = (has_data && !judged.is_conclusive).then(|| caution(judged, &lacks));
    let none = (!has_data)
        .then(|| "No trial of this run counts, so it says nothing about any lane.".to_owned());
    let is_new = |reason: &&String| !lacks.contains(reason);
    let reasons = judged.reasons.iter().filter(is_new);
    let reasons = reasons.map(|reason| text::sentence(reason));
    none.into_iter().chain(head).chain(reasons).collect()
}

/// Says of a run that is not conclusive why not, and what it is good for all the same.
fn caution(judged: &Judgement, lacks: &[String]) -> String {
    if !judged.is_comparable {
        let since = if lacks.is_empty() {
            String::new()
        } else {
            format!(", since the run is not whole ({})", lacks.join("; "))
        };
        return format!(
            "Inconclusive{since}: nothing is to be concluded from the times of this run; what was \
             counted stands."
        );
    }
    let names = |holds: bool| -> Vec<_> {
        let all = judged.families.iter();
        all.filter(|found| found.holds == holds)
            .map(|found| found.family.name().to_owned())
            .collect()
    };
    let why = judged.reasons.first().map_or("", String::as_str);
    format!(
        "Inconclusive for {}, since {why}. What holds: {}.",
        text::sentence_list(&names(false)),
        text::sentence_list(&names(true))
    )
}

/// Names the network between both ends.
pub(crate) fn network(view: &View<'_>) -> String {
    elsewhere(view).map_or_else(
        || "loopback".to_owned(),
        |address| format!("Between this machine and {address}"),
    )
}

fn elsewhere(view: &View<'_>) -> Option<std::net::IpAddr> {
    let mut records = view.dataset.records.iter();
    records.find_map(|record| match record.spec.target {
        Target::Running { http, .. } if !http.ip().is_loopback() => Some(http.ip()),
        _ => None,
    })
}
