//! The dataset as the analysis sees it: trials grouped by cell, cells grouped by load point, histograms merged once.

use std::collections::BTreeMap;

use sockrates_core::cpu_idle::CpuIdle;
use sockrates_core::histogram::Histogram;
use sockrates_core::lane::Lifecycle;
use sockrates_core::plan::Cell;
use sockrates_core::record::{
    DuplexCounts, FanoutCounts, Measurement, Metric, TrialRecord, UpdateCounts,
};
use sockrates_core::scenario::{Delivery, Workload};
use sockrates_core::schedule::Load;
use sockrates_core::{units, validity, verdict};

use crate::course::Course;
use crate::dataset::Dataset;
use crate::metrics;

/// A run, grouped.
pub(crate) struct View<'a> {
    pub(crate) dataset: &'a Dataset,
    /// In the plan's order, those without any trial included.
    pub(crate) cells: Vec<CellView<'a>>,
}

/// A cell and its trials.
pub(crate) struct CellView<'a> {
    pub(crate) cell: &'a Cell,
    /// The last attempt of every trial, in the order of measuring.
    pub(crate) trials: Vec<&'a TrialRecord>,
    /// Attempts that were disturbed and repeated.
    pub(crate) repeated: usize,
    /// Trials that were disturbed to the last attempt.
    pub(crate) disturbed: usize,
    /// Those that count: whole, with books that balance. Which of their numbers a disturbance harmed is each number's own
    /// question ([`Trial::is_harmed`]).
    pub(crate) valid: Vec<Trial<'a>>,
    /// The histograms of those valid trials whose median is unharmed, merged.
    pub(crate) merged: BTreeMap<Metric, Histogram>,
}

/// A valid trial.
#[derive(Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) record: &'a TrialRecord,
    pub(crate) measurement: &'a Measurement,
    pub(crate) course: &'a Course,
    /// Whether anything outside disturbed it.
    is_disturbed: bool,
}

/// The cells that differ by their lane only.
pub(crate) struct LoadPoint<'a> {
    pub(crate) cells: Vec<&'a CellView<'a>>,
}

impl<'a> View<'a> {
    /// Groups and merges.
    pub(crate) fn new(dataset: &'a Dataset) -> Self {
        let mut by_cell: BTreeMap<&str, Vec<(&TrialRecord, &Course)>> = BTreeMap::new();
        for (record, course) in dataset.records.iter().zip(&dataset.courses) {
            let trials = by_cell.entry(&record.spec.cell.id).or_default();
            trials.push((record, course));
        }
        let cells = &dataset.manifest.plan.cells;
        let cells = cells
            .iter()
            .map(|cell| CellView::new(cell, by_cell.remove(cell.id.as_str()).unwrap_or_default()))
            .collect();
        Self { dataset, cells }
    }

    /// Returns the load points in the plan's order, each with its cells in the order in which lanes are shown.
    pub(crate) fn load_points(&self) -> Vec<LoadPoint<'_>> {
        let mut points: Vec<LoadPoint<'_>> = Vec::new();
        for cell in &self.cells {
            match points.iter_mut().find(|point| point.holds(cell.cell)) {
                Some(point) => point.cells.push(cell),
                None => points.push(LoadPoint { cells: vec![cell] }),
            }
        }
        for point in &mut points {
            point.cells.sort_by_key(|cell| rank(cell.cell));
        }
        points
    }
}

/// Writes an interval as a scenario's author would: `50 ms`, `3 s`.
pub(crate) fn interval(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

/// Returns the interval at which clients ask, in milliseconds, where they do.
pub(crate) fn interval_of(cell: &Cell) -> Option<u64> {
    match (&cell.workload, &cell.load) {
        (
            Workload::Fanout {
                poll_interval_ms, ..
            },
            _,
        ) => *poll_interval_ms,
        (_, Load::Interval { interval_ms }) => Some(*interval_ms),
        _ => None,
    }
}

/// Says how a member of a room or a player speaks and listens: `post + sse`, `post + 1 s polls`, `push`.
fn spoken(cell: &Cell) -> String {
    match (cell.workload.delivery(&cell.lane), interval_of(cell)) {
        (Some(Delivery::Push) | None, _) => Delivery::Push.name().to_owned(),
        (Some(_), Some(interval_ms)) => format!("post + {} polls", interval(interval_ms)),
        (Some(delivery), None) => format!("post + {}", delivery.name().replace('-', " ")),
    }
}

/// Kept-open lanes first, controls last; the plan's order decides the rest, since the sort is stable.
fn rank(cell: &Cell) -> (bool, bool) {
    let lane = &cell.lane;
    (
        lane.client.is_some(),
        lane.lifecycle == Lifecycle::PerRequest,
    )
}

impl<'a> CellView<'a> {
    fn new(cell: &'a Cell, attempts: Vec<(&'a TrialRecord, &'a Course)>) -> Self {
        let attempted = attempts.len();
        let trials = last_attempts(attempts);
        let counts = |(record, course): &(&'a TrialRecord, &'a Course)| {
            let measurement = record.measurement.as_ref()?;
            verdict::is_valid(record).then(|| Trial {
                record,
                measurement,
                course,
                is_disturbed: !verdict::disturbances(record).is_empty(),
            })
        };
        let valid: Vec<_> = trials.iter().filter_map(counts).collect();
        let disturbed = valid.iter().filter(|trial| trial.is_disturbed).count();
        let mut merged: BTreeMap<Metric, Histogram> = BTreeMap::new();
        for trial in &valid {
            for (metric, histogram) in &trial.measurement.histograms {
                if trial.is_harmed(&metrics::name(*metric, "p50")) {
                    continue;
                }
                merged.entry(*metric).or_default().merge(histogram);
            }
        }
        Self {
            cell,
            repeated: attempted - trials.len(),
            disturbed,
            trials: trials.into_iter().map(|(record, _)| record).collect(),
            valid,
            merged,
        }
    }

    /// Returns the time this cell is about: what a user of such a client would wait for.
    pub(crate) fn main_metric(&self) -> Metric {
        self.cell.main_metric()
    }

    /// Returns the valid trials in which nothing harmed this number.
    pub(crate) fn unharmed(&self, name: &str) -> impl Iterator<Item = &Trial<'a>> {
        self.valid
            .iter()
            .filter(move |trial| !trial.is_harmed(name))
    }

    /// Counts the others.
    pub(crate) fn withheld(&self, name: &str) -> usize {
        self.valid
            .iter()
            .filter(|trial| trial.is_harmed(name))
            .count()
    }

    /// Returns the valid trials' histograms of one metric, with their blocks.
    pub(crate) fn histograms(&self, metric: Metric) -> impl Iterator<Item = (u32, &'a Histogram)> {
        self.valid.iter().filter_map(move |trial| {
            let histogram = trial.measurement.histograms.get(&metric)?;
            Some((trial.record.spec.block, histogram))
        })
    }

    /// Returns the supported quantile of each valid trial in which it is unharmed, with its block.
    pub(crate) fn quantiles(&self, metric: Metric, quantile: f64) -> Vec<(u32, f64)> {
        let name = metrics::name_of(metric, quantile);
        let of = |trial: &Trial<'_>| {
            let times = trial.measurement.histograms.get(&metric)?;
            let ns = times.quantile_ns(quantile)? as f64;
            Some((trial.record.spec.block, ns))
        };
        self.unharmed(&name).filter_map(of).collect()
    }

    /// Returns the supported quantile over all valid trials in which it is unharmed.
    pub(crate) fn merged_quantile(&self, metric: Metric, quantile: f64) -> Option<f64> {
        let name = metrics::name_of(metric, quantile);
        if self.withheld(&name) == self.withheld(&metrics::name(metric, "p50")) {
            return Some(self.merged.get(&metric)?.quantile_ns(quantile)? as f64);
        }
        let mut merged = Histogram::new();
        for trial in self.unharmed(&name) {
            if let Some(times) = trial.measurement.histograms.get(&metric) {
                merged.merge(times);
            }
        }
        Some(merged.quantile_ns(quantile)? as f64)
    }

    /// Returns the smallest trial's, the merged and the largest trial's median.
    pub(crate) fn median_and_range(&self, metric: Metric) -> Option<(f64, f64, f64)> {
        let merged = self.merged_quantile(metric, 0.5)?;
        let trials = self.quantiles(metric, 0.5);
        let trials = trials.iter().map(|(_, ns)| *ns);
        let low = trials.clone().fold(merged, f64::min);
        Some((low, merged, trials.fold(merged, f64::max)))
    }

    /// Returns what tells this cell from the others of its load point: its lane, and its way of learning of events where
    /// the scenario has several.
    pub(crate) fn name(&self) -> String {
        let cell = self.cell;
        let lane = &cell.lane;
        let idle = cell.cpu_idle;
        let is_alone = [String::new(), format!(".{idle}")].iter().any(|state| {
            cell.id == format!("{}.{lane}{state}.c{}", cell.scenario, cell.connections)
        });
        match (&cell.workload, &cell.load) {
            (Workload::Updates { .. }, Load::Interval { interval_ms }) if !is_alone => {
                format!("{lane}, every {}", interval(*interval_ms))
            }
            (Workload::Updates { delivery, .. }, _) if !is_alone => {
                format!("{lane}, {}", delivery.name().replace('-', " "))
            }
            (Workload::Fanout { .. } | Workload::Duplex { .. }, _) if !is_alone => {
                format!("{lane}, {}", spoken(cell))
            }
            _ => lane.to_string(),
        }
    }

    /// Adds up what the clients of all valid trials saw of events; `None` for other workloads.
    pub(crate) fn updates(&self) -> Option<UpdateCounts> {
        self.counts(|measured| measured.updates, UpdateCounts::merge)
    }

    /// The same of messages in rooms.
    pub(crate) fn fanout(&self) -> Option<FanoutCounts> {
        self.counts(|measured| measured.fanout, FanoutCounts::merge)
    }

    /// The same of a game's snapshots.
    pub(crate) fn duplex(&self) -> Option<DuplexCounts> {
        self.counts(|measured| measured.duplex, DuplexCounts::merge)
    }

    fn counts<T>(
        &self,
        of: fn(&Measurement) -> Option<T>,
        merge: impl Fn(&mut T, &T),
    ) -> Option<T> {
        let all = self.valid.iter().filter_map(|trial| of(trial.measurement));
        all.reduce(|mut sum, more| {
            merge(&mut sum, &more);
            sum
        })
    }

    /// Returns the interval at which its clients poll, if they do, in milliseconds.
    pub(crate) fn interval_ms(&self) -> Option<u64> {
        match self.cell.load {
            Load::Interval { interval_ms } => Some(interval_ms),
            _ => None,
        }
    }

    /// Says whether any operation of this cell can be shown.
    pub(crate) fn has_data(&self) -> bool {
        !self.valid.is_empty()
    }
}

/// Keeps the last attempt at each block's trial.
fn last_attempts<'a>(
    attempts: Vec<(&'a TrialRecord, &'a Course)>,
) -> Vec<(&'a TrialRecord, &'a Course)> {
    let mut last: BTreeMap<u32, (&TrialRecord, &Course)> = BTreeMap::new();
    for attempt in attempts {
        let spec = &attempt.0.spec;
        let kept = last.entry(spec.block).or_insert(attempt);
        if kept.0.spec.attempt < spec.attempt {
            *kept = attempt;
        }
    }
    let mut trials: Vec<_> = last.into_values().collect();
    trials.sort_by_key(|(record, _)| record.spec.index);
    trials
}

impl Trial<'_> {
    /// Says whether a disturbance may have moved this number by more than its margin.
    pub(crate) fn is_harmed(&self, name: &str) -> bool {
        self.is_disturbed && !validity::harms(self.record, name).is_empty()
    }

    /// Returns the verified operations of the window per second; of a trial that ends by count, up to its end.
    pub(crate) fn throughput(&self) -> Option<f64> {
        let spans = &self.measurement.spans;
        let window_ns = match self.record.spec.cell.operations {
            Some(_) => spans.end_ns.saturating_sub(spans.window_start_ns),
            None => spans.window_ns(),
        };
        (window_ns > 0)
            .then(|| self.measurement.operations.verified as f64 / (window_ns as f64 / 1e9))
    }
}

impl<'a> LoadPoint<'a> {
    fn holds(&self, cell: &Cell) -> bool {
        let own = self.cell();
        own.scenario == cell.scenario
            && own.connections == cell.connections
            && own.cpu_idle == cell.cpu_idle
    }

    /// Finds the cell of a lane by its name, if it has data.
    pub(crate) fn lane(&self, name: &str) -> Option<&'a CellView<'a>> {
        let is_it = |cell: &&&CellView<'_>| cell.cell.lane.to_string() == name && cell.has_data();
        self.cells.iter().find(is_it).copied()
    }

    /// Says whether its times are worth a picture of their own: those of counted operations, of connections with a limited
    /// life, of a search and of CPUs in their other state answer one question only, elsewhere.
    pub(crate) fn is_main(&self) -> bool {
        let limits = matches!(
            self.cell().workload,
            Workload::Echo {
                exchanges_per_connection: Some(_),
                ..
            }
        );
        self.cell().operations.is_none()
            && !limits
            && !self.is_search()
            && !self.has_several_ways()
            && !self.cell().is_idle_factor()
    }

    /// Says whether it holds several ways of learning of the same events, messages or ticks, which have charts and sentences
    /// of their own: some ask and some listen, so that their operations are not the same thing.
    pub(crate) fn has_several_ways(&self) -> bool {
        let way = |cell: &Cell| match &cell.workload {
            Workload::Updates { delivery, .. }
            | Workload::Fanout {
                delivery: Some(delivery),
                ..
            }
            | Workload::Duplex {
                delivery: Some(delivery),
                ..
            } => Some((*delivery, interval_of(cell))),
            _ => None,
        };
        let first = way(self.cell());
        self.cells.iter().any(|cell| way(cell.cell) != first)
    }

    /// Says whether it is a plain echo: connections live as their lane says, and time ends the load.
    pub(crate) fn is_plain_echo(&self) -> bool {
        self.is_echo() && self.is_main()
    }

    /// Returns a cell that stands for all: they share everything but the lane.
    pub(crate) fn cell(&self) -> &Cell {
        self.cells[0].cell
    }

    /// Returns the time that this load point is about.
    pub(crate) fn main_metric(&self) -> Metric {
        self.cells[0].main_metric()
    }

    /// Says whether the next operation starts when the last ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.cell().load == Load::Closed {} && self.cell().operations.is_none()
    }

    /// Says whether the highest rate under an objective was searched.
    pub(crate) fn is_search(&self) -> bool {
        matches!(self.cell().load, Load::Capacity { .. })
    }

    /// Says whether messages are echoed.
    pub(crate) fn is_echo(&self) -> bool {
        match &self.cell().workload {
            Workload::Echo { .. } => true,
            Workload::Custom(custom) => !custom.listens(),
            _ => false,
        }
    }

    /// Says whether any of its cells has data.
    pub(crate) fn has_data(&self) -> bool {
        self.cells.iter().any(|cell| cell.has_data())
    }

    /// Returns the part of file names that tells load points apart.
    pub(crate) fn slug(&self) -> String {
        let cell = self.cell();
        // Room is left for what stands before and behind it.
        let state = if cell.is_idle_factor() {
            format!("-{}", cell.cpu_idle)
        } else {
            String::new()
        };
        format!(
            "{:.64}{state}-c{}",
            crate::text::slug(&cell.scenario),
            cell.connections
        )
    }

    /// Describes the load: `closed loop, 32 connections`.
    pub(crate) fn load_text(&self) -> String {
        let cell = self.cell();
        let connections = match cell.connections {
            1 => "1 connection".to_owned(),
            n => format!("{n} connections"),
        };
        let connections = match cell.cpu_idle {
            CpuIdle::Awake => format!("{connections}, CPUs kept awake"),
            CpuIdle::AsIs => connections,
        };
        match cell.load {
            Load::Closed {} => format!("closed loop, {connections}"),
            Load::OpenConstant { rate_per_second } => {
                format!(
                    "{} evenly spaced, {connections}",
                    units::rate(rate_per_second)
                )
            }
            Load::OpenPoisson { rate_per_second } => {
                format!(
                    "{} at random instants, {connections}",
                    units::rate(rate_per_second)
                )
            }
            _ if self.has_several_ways() => format!("{} clients", cell.connections),
            Load::Interval { interval_ms } => {
                format!("a poll every {interval_ms} ms, {connections}")
            }
            Load::PerClient { rate_per_second } => {
                format!(
                    "{} from each of {connections}",
                    units::rate(rate_per_second)
                )
            }
            Load::Events {} => format!("as news come, {connections}"),
            Load::Capacity { p99_ms } => {
                format!("the highest rate with a p99 below {p99_ms} ms, {connections}")
            }
        }
    }

    /// Describes the payload: `64 B binary`.
    pub(crate) fn payload_text(&self) -> String {
        let bytes = crate::text::bytes(self.cell().workload.payload_bytes());
        match &self.cell().workload {
            Workload::Echo { payload, .. } => format!("{bytes} {}", crate::text::payload(*payload)),
            Workload::Updates {
                events_per_second, ..
            } => format!("{bytes} events, {}", units::rate(*events_per_second)),
            Workload::Fanout { .. } => format!("{bytes} messages"),
            Workload::Duplex {
                ticks_per_second, ..
            } => format!("{bytes} snapshots, {ticks_per_second} Hz"),
            Workload::Custom(_) => crate::text::exchange(self.cell()),
        }
    }

    /// Says how many trials stand behind each lane: `8 trials` or `6 to 8 trials`.
    pub(crate) fn trials_text(&self) -> String {
        let counts = || self.cells.iter().map(|cell| cell.valid.len());
        let (low, high) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        let word = if high == 1 { "trial" } else { "trials" };
        if low == high {
            format!("{high} {word} per lane")
        } else {
            format!("{low} to {high} {word} per lane")
        }
    }
}
