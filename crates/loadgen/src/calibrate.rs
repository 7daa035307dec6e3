//! What the instrument itself costs: the clock, the timer and the recorder, each alone.

use std::hint::black_box;

use sockrates_core::histogram::Histogram;
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;

use crate::agenda::{Due, Span};
use crate::recorder::{Course, Recorder, Sample, Scope, exchange_metrics};

/// Returns the mean cost of one clock read, in nanoseconds.
pub fn clock_read_ns() -> f64 {
    per_round_ns(1_000_000, |_| {
        black_box(clock::monotonic_ns());
    })
}

/// Returns the mean cost of recording one operation of an open load, in nanoseconds.
pub fn recorder_ns() -> f64 {
    let mut recording = Recording::new();
    per_round_ns(1_000_000, |round| recording.record(round))
}

/// Waits `rounds` times for an instant `interval_ns` ahead, and returns how late each wake-up was.
pub fn timer_lateness(rounds: u32, interval_ns: u64) -> std::io::Result<Histogram> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut timer = TimerFd::new()?;
        let mut lateness = Histogram::new();
        for _ in 0..rounds {
            let at_ns = clock::monotonic_ns() + interval_ns;
            timer.until(at_ns).await?;
            lateness.record(clock::monotonic_ns() - at_ns);
        }
        Ok(lateness)
    })
}

/// A recorder under an open load that never ends, for measuring what recording costs.
#[derive(Debug)]
pub struct Recording(Recorder);

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl Recording {
    /// Makes the recorder of a one-second window.
    pub fn new() -> Self {
        Self(Recorder::new(Scope {
            span: Span {
                start_ns: 0,
                window_start_ns: 0,
                end_ns: LENGTH_NS,
            },
            slice_width_ns: LENGTH_NS / 20,
            is_open_load: true,
            records: exchange_metrics(true, false),
            course: Course::Operations,
            connections: 0,
        }))
    }

    /// Records one operation whose times vary with `round`.
    pub fn record(&mut self, round: u64) {
        let intended_ns = round.wrapping_mul(7919) % LENGTH_NS;
        let noticed_ns = intended_ns + round % 1000;
        let due = Due {
            intended_ns,
            noticed_ns,
            started_ns: noticed_ns,
        };
        let completed_ns = noticed_ns + 10_000 + round % 40_000;
        self.0.verified(&Sample {
            due,
            opened_ns: None,
            completed_ns,
        });
    }
}

const LENGTH_NS: u64 = 1_000_000_000;

fn per_round_ns(rounds: u64, mut work: impl FnMut(u64)) -> f64 {
    // The first rounds touch memory for the first time.
    (0..rounds / 10).for_each(&mut work);
    let start_ns = clock::monotonic_ns();
    (0..rounds).for_each(work);
    (clock::monotonic_ns() - start_ns) as f64 / rounds as f64
}
