//! `histograms.hlog`: every trial's histograms in the interval log that all `HdrHistogram` tools read.
//!
//! One line per trial and metric, times in nanoseconds, the printed maximum in milliseconds. The tag is
//! `METRIC.CELL.bBLOCK`, so that one lane can be picked by it; `.aN` follows where a trial was tried again, and
//! `.left-out` where it is in no number.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use sockrates_core::manifest::RunManifest;
use sockrates_core::record::{Measurement, Metric, TrialRecord};

use crate::text;
use crate::view::View;

/// The customary unit of the maximum in a log of nanoseconds.
const NS_PER_MS: f64 = 1e6;

/// Writes the log of all of a run's trials that measured anything.
pub(crate) fn hlog(view: &View<'_>) -> anyhow::Result<Vec<u8>> {
    let place = |record: &TrialRecord| (record.spec.index, record.spec.attempt);
    let valid = view.cells.iter().flat_map(|cell| &cell.valid);
    let valid: BTreeSet<_> = valid.map(|trial| place(trial.record)).collect();
    let records = view.dataset.records.iter();
    let trials = records.filter_map(|record| {
        let is_left_out = !valid.contains(&place(record));
        Some((record, record.measurement.as_ref()?, is_left_out))
    });
    of_trials(&view.dataset.manifest, trials.collect())
}

/// Writes the log of these trials, each with whether it is in no number.
pub(crate) fn of_trials(
    manifest: &RunManifest,
    mut trials: Vec<(&TrialRecord, &Measurement, bool)>,
) -> anyhow::Result<Vec<u8>> {
    let base = Duration::from_millis(manifest.started_unix_ms);
    // Readers expect lines in the order of their time.
    trials.sort_by_key(|(record, ..)| {
        (
            record.started_unix_ms,
            record.spec.index,
            record.spec.attempt,
        )
    });
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment(&format!("rebuild: {}", text::rebuild_command(manifest)))
        .add_comment(&format!("run: {}", text::slug(&manifest.run_id)))
        .add_comment("times in nanoseconds, maximum in milliseconds")
        .add_comment("tag: METRIC.CELL.bBLOCK, .aN when tried again, .left-out when in no number")
        .with_start_time(UNIX_EPOCH + base)
        .with_base_time(UNIX_EPOCH + base)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut log, &mut serializer)
        .context("begin the interval log")?;
    for (record, measurement, is_left_out) in trials {
        let spans = &measurement.spans;
        let warm_up = Duration::from_nanos(spans.window_start_ns.saturating_sub(spans.start_ns));
        let start = Duration::from_millis(record.started_unix_ms) + warm_up;
        let duration = Duration::from_nanos(spans.window_ns());
        for (metric, histogram) in &measurement.histograms {
            let tag = tag(*metric, record, is_left_out);
            let tag = Tag::new(&tag).context("a tag holds no comma, space or line break")?;
            writer
                .write_histogram(
                    histogram.counts(),
                    start.saturating_sub(base),
                    duration,
                    Some(tag),
                )
                .map_err(|error| {
                    anyhow::anyhow!("write {} to the interval log: {error:?}", &*tag)
                })?;
        }
    }
    Ok(log)
}

fn tag(metric: Metric, record: &TrialRecord, is_left_out: bool) -> String {
    let spec = &record.spec;
    let attempt = match spec.attempt {
        0 => String::new(),
        again => format!(".a{again}"),
    };
    let left_out = if is_left_out { ".left-out" } else { "" };
    format!(
        "{}.{}.b{}{attempt}{left_out}",
        metric.name(),
        text::slug(&spec.cell.id),
        spec.block
    )
}
