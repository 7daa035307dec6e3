//! The course of a trial over time, condensed: a histogram takes 216 KiB, a long run has tens of thousands of slices, and
//! all that is ever shown of a slice is four numbers.

use sockrates_core::histogram::Histogram;
use sockrates_core::record::{Metric, Slice, Spans, TrialRecord};
use sockrates_core::verdict::{self, Flag};

/// The course of one trial.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// What the slices hold; `None` when nothing was measured.
    pub(crate) metric: Option<Metric>,
    pub(crate) width_ns: u64,
    pub(crate) slices: Vec<Slice>,
}

impl Course {
    /// Takes the slices out of a record, and keeps what is shown of them.
    pub(crate) fn take(record: &mut TrialRecord) -> Self {
        let Some(measurement) = &mut record.measurement else {
            return Self::default();
        };
        let histograms = std::mem::take(&mut measurement.slices.histograms);
        let condensed = std::mem::take(&mut measurement.slices.condensed);
        Self {
            metric: Some(measurement.slices.metric),
            width_ns: measurement.slices.width_ns,
            slices: if histograms.is_empty() {
                condensed
            } else {
                histograms.iter().map(of_times).collect()
            },
        }
    }
}

impl Course {
    /// Judges the course by the medians of its slices.
    pub(crate) fn flags(&self, spans: &Spans) -> Vec<Flag> {
        if self.width_ns == 0 {
            return Vec::new();
        }
        let medians: Vec<f64> = self
            .slices
            .iter()
            .map_while(|slice| slice.p50_ns)
            .map(|ns| ns as f64)
            .collect();
        let warm_up_ns = spans.window_start_ns.saturating_sub(spans.start_ns);
        let warm_up = usize::try_from(warm_up_ns.div_ceil(self.width_ns)).unwrap_or(usize::MAX);
        verdict::course_flags(&medians, warm_up)
    }
}

fn of_times(times: &Histogram) -> Slice {
    Slice {
        count: times.count(),
        p50_ns: times.quantile_ns(0.5),
        p99_ns: times.quantile_ns(0.99),
        max_ns: times.max_ns(),
    }
}
