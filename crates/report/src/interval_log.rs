//! `histograms.hlog`: every trial's histograms in the interval log that all `HdrHistogram` tools read.
//!
//! One line per trial and metric, times in nanoseconds, the printed maximum in milliseconds. The tag is
//! `METRIC.CELL.bBLOCK`, so that one lane can be picked by it.

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

/// Writes the log of a run's valid trials.
pub(crate) fn hlog(view: &View<'_>) -> anyhow::Result<Vec<u8>> {
    let trials = view.cells.iter().flat_map(|cell| &cell.valid);
    let trials = trials.map(|trial| (trial.record, trial.measurement));
    of_trials(&view.dataset.manifest, trials.collect())
}

/// Writes the log of these trials.
pub(crate) fn of_trials(
    manifest: &RunManifest,
    mut trials: Vec<(&TrialRecord, &Measurement)>,
) -> anyhow::Result<Vec<u8>> {
    let base = Duration::from_millis(manifest.started_unix_ms);
    // Readers expect lines in the order of their time.
    trials.sort_by_key(|(record, _)| (record.started_unix_ms, record.spec.index));
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment(&format!("rebuild: {}", text::rebuild_command(manifest)))
        .add_comment(&format!("run: {}", text::slug(&manifest.run_id)))
        .add_comment("times in nanoseconds, maximum in milliseconds; tag: METRIC.CELL.bBLOCK")
        .with_start_time(UNIX_EPOCH + base)
        .with_base_time(UNIX_EPOCH + base)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut log, &mut serializer)
        .context("begin the interval log")?;
    for (record, measurement) in trials {
        let spans = &measurement.spans;
        let warm_up = Duration::from_nanos(spans.window_start_ns.saturating_sub(spans.start_ns));
        let start = Duration::from_millis(record.started_unix_ms) + warm_up;
        let duration = Duration::from_nanos(spans.window_ns());
        for (metric, histogram) in &measurement.histograms {
            let tag = tag(*metric, record);
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

fn tag(metric: Metric, record: &TrialRecord) -> String {
    let spec = &record.spec;
    format!(
        "{}.{}.b{}",
        metric.name(),
        text::slug(&spec.cell.id),
        spec.block
    )
}
