//! The measuring itself: trial after trial in this process, with a line about how it goes, and an end on a signal.

use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::{Isolation, TrialRecord};
use sockrates_core::units;
use sockrates_loadgen::live::{Live, Progress};
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;
use tokio::sync::oneshot;

use crate::exit::{Exit, Failure, OrExit};
use crate::orchestrate;
use crate::signals::Stop;

/// How often the line is written anew.
const REFRESH_NS: u64 = 250_000_000;

/// What was measured, and the signal that ended it, if one did.
pub(super) struct Performed {
    pub(super) records: Vec<TrialRecord>,
    pub(super) interrupted: Option<Exit>,
}

/// Measures all trials, or up to a signal, which ends the load and keeps what was measured.
pub(super) async fn perform(
    trials: Vec<TrialSpec>,
    is_quiet: bool,
    stop: &mut Stop,
) -> Result<Performed, Failure> {
    let mut timer = TimerFd::new()?;
    let mut shown = Line::new(&trials, is_quiet);
    let mut performed = Performed {
        records: Vec::with_capacity(trials.len()),
        interrupted: None,
    };
    'trials: for spec in trials {
        shown.begin(&spec);
        let live = Arc::<Live>::default();
        let mut done = start(spec, &live)?;
        let mut record = loop {
            let next_ns = clock::monotonic_ns() + REFRESH_NS;
            tokio::select! {
                biased;
                record = &mut done => break record.map_err(|_| lost())?,
                exit = stop.asked(), if performed.interrupted.is_none() => {
                    performed.interrupted = Some(exit);
                    live.stop();
                    if live.progress().start_ns == 0 {
                        // The load has not begun: there is nothing to wait for.
                        break 'trials;
                    }
                }
                result = timer.until(next_ns) => result?,
            }
            shown.show(live.progress());
        };
        if performed.interrupted.is_some() {
            orchestrate::cut_short(&mut record);
        }
        performed.records.push(record);
        let is_lost = |record: &TrialRecord| record.measurement.is_none();
        if performed.interrupted.is_some() || performed.records.last().is_some_and(is_lost) {
            break;
        }
    }
    shown.finish();
    Ok(performed)
}

/// Runs a trial on a thread of its own, which it may bind to its CPU.
fn start(spec: TrialSpec, live: &Arc<Live>) -> Result<oneshot::Receiver<TrialRecord>, Failure> {
    let (send, receive) = oneshot::channel();
    let live = Arc::clone(live);
    let work = move || {
        // Nobody waits any more when the process is ending.
        let _ = send.send(orchestrate::trial(spec, Isolation::None, &live));
    };
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(work)
        .or_exit(Exit::Environment, "make the load's thread")?;
    Ok(receive)
}

fn lost() -> Failure {
    Failure::new(Exit::Unexpected, "the load's thread ended without a record")
}

/// The line about how it goes, on a terminal.
struct Line {
    bar: Option<ProgressBar>,
    trials: usize,
    trial: usize,
    warm_up_ns: u64,
    length_ns: u64,
    last: Progress,
    last_ns: u64,
}

impl Line {
    fn new(trials: &[TrialSpec], is_quiet: bool) -> Self {
        let bar = (!is_quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:30} {wide_msg}");
            ProgressBar::new(1000).with_style(style.expect("the template is constant"))
        });
        Self {
            bar,
            trials: trials.len(),
            trial: 0,
            warm_up_ns: 0,
            length_ns: 1,
            last: Progress::default(),
            last_ns: 0,
        }
    }

    fn begin(&mut self, spec: &TrialSpec) {
        let timing = spec.cell.timing;
        self.trial += 1;
        self.warm_up_ns = u64::from(timing.warm_up_ms) * 1_000_000;
        self.length_ns = self.warm_up_ns + u64::from(timing.window_ms) * 1_000_000;
        self.last = Progress::default();
        self.last_ns = clock::monotonic_ns();
    }

    fn show(&mut self, progress: Progress) {
        let now_ns = clock::monotonic_ns();
        let passed_ns = now_ns.saturating_sub(self.last_ns).max(1);
        let verified = progress.verified.saturating_sub(self.last.verified);
        let rate = verified as f64 * 1e9 / passed_ns as f64;
        (self.last, self.last_ns) = (progress, now_ns);
        let Some(bar) = &self.bar else { return };
        let load_ns = if progress.start_ns == 0 {
            0
        } else {
            now_ns.saturating_sub(progress.start_ns)
        };
        let seconds = |ns: u64| units::seconds(ns as f64 / 1e9);
        let trial = match self.trials {
            1 => String::new(),
            all => format!("trial {} of {all}, ", self.trial),
        };
        let stage = if load_ns < self.warm_up_ns {
            "warming up, "
        } else {
            ""
        };
        bar.set_position(load_ns.saturating_mul(1000) / self.length_ns);
        bar.set_message(format!(
            "{trial}{stage}{} of {}  {}  {} failed",
            seconds(load_ns.min(self.length_ns)),
            seconds(self.length_ns),
            units::rate(rate),
            progress.failed
        ));
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
