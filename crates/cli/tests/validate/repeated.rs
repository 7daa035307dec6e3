//! Runs of one plan in a row: what one of them says, the others do not contradict.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use sockrates_core::summary::{Comparison, CountedLane, Estimate, Summary, Verdict};
use sockrates_report::Dataset;

use crate::options::Options;
use crate::page::Row;

pub(crate) const TEXT: &str = "\
The same plan is measured again and again on one machine. No effect that a run states may point the other way in another;\n\
95 % intervals of one effect are of the same truth, so that nearly all pairs of them overlap; and what was counted is the\n\
same. A lane's numbers may drift with the machine from run to run, which intervals over the blocks of one run cannot know:\n\
so not all pairs do.";

const OVERLAPPING: f64 = 0.9;
/// Below this the two intervals of a pair are of few effects.
const RUNS: usize = 2;

/// An effect, by both cells and the number.
type Key = (String, String, String);

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    if options.runs.len() < RUNS {
        let why = "set SOCKRATES_RUNS to the folders of runs that were made in a row";
        return Ok(vec![Row::skipped(why)]);
    }
    let summaries: Vec<_> = options
        .runs
        .iter()
        .map(|run| summary(run))
        .collect::<anyhow::Result<_>>()?;
    let effects = effects(&summaries);
    let mut rows: Vec<_> = effects
        .iter()
        .filter(|(_, found)| found.iter().any(|one| one.is_primary))
        .map(|(key, found)| row(key, found, summaries.len()))
        .collect();
    rows.push(signs(&effects));
    rows.push(overlaps(&effects));
    rows.push(counts(&summaries));
    Ok(rows)
}

fn summary(run: &Path) -> anyhow::Result<Summary> {
    let dataset = Dataset::load(run).with_context(|| run.display().to_string())?;
    Ok(sockrates_report::summarize(&dataset))
}

fn effects(summaries: &[Summary]) -> BTreeMap<Key, Vec<&Comparison>> {
    let mut effects: BTreeMap<Key, Vec<&Comparison>> = BTreeMap::new();
    for found in summaries.iter().flat_map(|summary| &summary.comparisons) {
        if found.ratio.is_some() {
            let key = (
                found.cell.clone(),
                found.reference.clone(),
                found.metric.clone(),
            );
            effects.entry(key).or_default().push(found);
        }
    }
    effects
}

fn is_stated(found: &Comparison) -> bool {
    matches!(
        found.verdict,
        Verdict::Different | Verdict::SlightlyDifferent
    )
}

fn row((cell, reference, metric): &Key, found: &[&Comparison], runs: usize) -> Row {
    let ratios = found.iter().filter_map(|one| one.ratio);
    let mut values: Vec<f64> = ratios.map(|ratio| ratio.value).collect();
    values.sort_by(f64::total_cmp);
    let stated = found.iter().filter(|one| is_stated(one)).count();
    let text = match (values.first(), values.last()) {
        (Some(low), Some(high)) => format!("{low:.2} to {high:.2}; stated by {stated} of {runs}"),
        _ => "none".to_owned(),
    };
    let what = format!("{metric} of {cell} / {reference}");
    Row::judged(what, "the same ratio", text, true).only_shown()
}

/// No two runs state opposite effects.
fn signs(effects: &BTreeMap<Key, Vec<&Comparison>>) -> Row {
    let stated = |found: &[&Comparison], is_above: bool| {
        let mut stated = found.iter().filter(|one| is_stated(one));
        stated.any(|one| {
            one.ratio
                .is_some_and(|ratio| (ratio.value > 1.0) == is_above)
        })
    };
    let all = effects.values();
    let said = all
        .clone()
        .filter(|found| found.iter().any(|one| is_stated(one)));
    let opposite = all.filter(|found| stated(found, true) && stated(found, false));
    let opposite = opposite.count();
    Row::judged(
        format!(
            "of {} effects that a run states: with the opposite in another",
            said.count()
        ),
        "none",
        opposite.to_string(),
        opposite == 0,
    )
}

/// Intervals of the same effect overlap.
fn overlaps(effects: &BTreeMap<Key, Vec<&Comparison>>) -> Row {
    let (mut pairs, mut overlapping) = (0_u32, 0_u32);
    for found in effects.values() {
        let ratios: Vec<Estimate> = found.iter().filter_map(|one| one.ratio).collect();
        for (index, one) in ratios.iter().enumerate() {
            for other in &ratios[index + 1..] {
                pairs += 1;
                overlapping += u32::from(one.low <= other.high && other.low <= one.high);
            }
        }
    }
    let share = f64::from(overlapping) / f64::from(pairs.max(1));
    Row::judged(
        format!("pairs of intervals of the same effect, {pairs} of them, that overlap"),
        format!("at least {:.0} %", OVERLAPPING * 100.0),
        format!("{:.1} %", share * 100.0),
        share >= OVERLAPPING,
    )
}

/// What was counted is the same in all runs, but for what a run itself says to vary.
fn counts(summaries: &[Summary]) -> Row {
    let mut of_cells: BTreeMap<&str, Vec<&CountedLane>> = BTreeMap::new();
    for lane in summaries.iter().flat_map(|summary| &summary.counted) {
        of_cells.entry(&lane.cell).or_default().push(lane);
    }
    let is_same = |(_, lanes): &(&&str, &Vec<&CountedLane>)| {
        let varies = |name: &str| {
            lanes
                .iter()
                .any(|lane| lane.varying.iter().any(|one| one == name))
        };
        let exact = |lane: &CountedLane| {
            (
                lane.connections,
                lane.turn_arounds,
                (lane.sent, lane.received),
                lane.segments_sent.filter(|_| !varies("data_segments_sent")),
                lane.segments_received
                    .filter(|_| !varies("data_segments_received")),
            )
        };
        lanes.iter().all(|lane| exact(lane) == exact(lanes[0]))
    };
    let different: Vec<_> = of_cells.iter().filter(|cell| !is_same(cell)).collect();
    let names: Vec<_> = different.iter().map(|(cell, _)| **cell).collect();
    Row::judged(
        format!(
            "lanes of {} whose counts are the same in all runs",
            of_cells.len()
        ),
        "all",
        if names.is_empty() {
            "all".to_owned()
        } else {
            format!("not {}", names.join(", "))
        },
        names.is_empty(),
    )
}
