//! What the records of a run demand of each other.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use super::invites_another;
use crate::manifest::RunManifest;
use crate::record::TrialRecord;

/// Names the records that cannot all be of one run, by their places in `records`, each with the reason. They are named
/// once.
pub fn contradictions(manifest: &RunManifest, records: &[&TrialRecord]) -> Vec<(usize, String)> {
    let mut named: BTreeMap<usize, String> = BTreeMap::new();
    for (place, reason) in copies(records)
        .into_iter()
        .chain(shuffled(manifest, records))
    {
        named.entry(place).or_insert(reason);
    }
    for (place, reason) in attempts(manifest, records, &named) {
        named.entry(place).or_insert(reason);
    }
    named.into_iter().collect()
}

/// Two trials never measure the same: not to the nanosecond.
fn copies(records: &[&TrialRecord]) -> Vec<(usize, String)> {
    let mut by_content: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, record) in records.iter().enumerate() {
        if let Some(content) = content(record) {
            by_content.entry(content).or_default().push(place);
        }
    }
    let copied = by_content.into_values().filter(|places| places.len() > 1);
    let name = |places: Vec<usize>| {
        let other = |place: usize| {
            let twin = places.iter().find(|twin| **twin != place).copied();
            records[twin.unwrap_or(place)].spec.file_name()
        };
        let reason = |place: &usize| format!("{} holds the same measurement", other(*place));
        let named: Vec<_> = places.iter().map(|place| (*place, reason(place))).collect();
        named
    };
    copied.flat_map(name).collect()
}

/// Writes down what was measured, short of the single times.
fn content(record: &TrialRecord) -> Option<String> {
    let measured = record.measurement.as_ref()?;
    let mut content = format!(
        "{:?} {:?} {:?} {} {:?} {:?} {:?}",
        measured.spans,
        measured.operations,
        measured.warm_up,
        measured.connections_opened,
        measured.client,
        measured.server,
        measured.cost,
    );
    for (metric, times) in &measured.histograms {
        let (count, max, mean) = (times.count(), times.max_ns(), times.mean_ns());
        write!(content, " {metric:?} {count} {max:?} {mean:?}").expect("texts take any text");
    }
    Some(content)
}

/// Trials are measured one after the other, in the order of the plan, so that the clock of their measurements gives the
/// same order. Only while the machine is not started anew, and a search's measurement is that of one of its probes.
fn shuffled(manifest: &RunManifest, records: &[&TrialRecord]) -> Vec<(usize, String)> {
    if !manifest.resumed_unix_ms.is_empty() {
        return Vec::new();
    }
    let mut timed: Vec<_> = records
        .iter()
        .enumerate()
        .filter(|(_, record)| record.search.is_none())
        .filter_map(|(place, record)| {
            let start_ns = record.measurement.as_ref()?.spans.start_ns;
            Some(((record.spec.index, record.spec.attempt), start_ns, place))
        })
        .collect();
    timed.sort_unstable();
    let starts: Vec<u64> = timed.iter().map(|(_, start_ns, _)| *start_ns).collect();
    let in_order = longest_ascent(&starts);
    let is_named = |at: usize| {
        let is_inverted = |one: usize, other: usize| {
            starts[one] > starts[other] && !(in_order[one] && in_order[other])
        };
        !in_order[at]
            || at > 0 && is_inverted(at - 1, at)
            || at + 1 < starts.len() && is_inverted(at, at + 1)
    };
    let reason = "by its clock it was not measured at its place between the other trials";
    (0..timed.len())
        .filter(|at| is_named(*at))
        .map(|at| (timed[at].2, reason.to_owned()))
        .collect()
}

/// Says of each number whether it is one of the longest ascending sequence.
fn longest_ascent(numbers: &[u64]) -> Vec<bool> {
    let (mut ends, mut before): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::new());
    for (at, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers[*end] <= *number);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut is_in = vec![false; numbers.len()];
    let mut at = ends.last().copied();
    while let Some(place) = at {
        is_in[place] = true;
        at = before[place];
    }
    is_in
}

/// A trial is only tried again after an attempt that was disturbed or cut short, or when its block began anew.
fn attempts(
    manifest: &RunManifest,
    records: &[&TrialRecord],
    named: &BTreeMap<usize, String>,
) -> Vec<(usize, String)> {
    let mut by_trial: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        by_trial.insert((record.spec.index, record.spec.attempt), place);
    }
    let mut refused: Vec<(usize, String)> = Vec::new();
    let mut is_out = vec![false; records.len()];
    for place in named.keys() {
        is_out[*place] = true;
    }
    for ((index, attempt), place) in &by_trial {
        let Some(earlier) = attempt.checked_sub(1) else {
            continue;
        };
        let before = by_trial
            .get(&(*index, earlier))
            .filter(|before| !is_out[**before]);
        let reason = match before {
            None => format!("there is no attempt {earlier} that can be used, which it repeats"),
            Some(before) if may_follow(manifest, records[*before], records[*place]) => continue,
            Some(_) => format!("attempt {earlier} of the same trial was not disturbed, and counts"),
        };
        is_out[*place] = true;
        refused.push((*place, reason));
    }
    refused
}

fn may_follow(manifest: &RunManifest, before: &TrialRecord, after: &TrialRecord) -> bool {
    let sitting = before.started_unix_ms..=after.started_unix_ms;
    let mut resumed = manifest.resumed_unix_ms.iter();
    invites_another(before) || resumed.any(|resumed_ms| sitting.contains(resumed_ms))
}
