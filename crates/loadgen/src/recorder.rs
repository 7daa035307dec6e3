//! The recorder of a worker: what happened to each operation, in counters and preallocated
//! histograms. Recording never allocates; workers are merged when the load is over.

use std::collections::BTreeMap;

use sockrates_core::failure::FailureKind;
use sockrates_core::histogram::Histogram;
use sockrates_core::record::{
    AnswerCounts, DuplexCounts, FanoutCounts, Metric, Operations, Slices, UpdateCounts, Wire,
};

use crate::agenda::{Due, Issued, Span};

/// The instants of a verified operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) due: Due,
    /// When the connection was made and when it was usable; `None` on a persistent connection.
    pub(crate) opened_ns: Option<(u64, u64)>,
    pub(crate) completed_ns: u64,
}

/// What is recorded, fixed before the load starts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) span: Span,
    pub(crate) slice_width_ns: u64,
    /// Open loads have response times, lags and waits.
    pub(crate) is_open_load: bool,
    /// What applies to the workload: the others are not kept.
    pub(crate) records: Metrics,
    /// What the course over time shows.
    pub(crate) course: Course,
    /// How many connections the trial has, over all workers.
    pub(crate) connections: u32,
}

/// A set of metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metrics([bool; Metric::ALL.len()]);

impl Metrics {
    pub(crate) const fn and(mut self, more: &[Metric]) -> Self {
        let mut index = 0;
        while index < more.len() {
            self.0[more[index] as usize] = true;
            index += 1;
        }
        self
    }

    const fn has(self, metric: Metric) -> bool {
        self.0[metric as usize]
    }
}

/// The time that the course over time shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Course {
    /// That of operations: the response time under an open load, else the service time.
    #[default]
    Operations,
    /// That of what the server sends.
    News(Metric),
}

/// Records one worker's operations.
#[derive(Debug, Default)]
pub struct Recorder {
    scope: Scope,
    times: [Option<Histogram>; Metric::ALL.len()],
    slices: Vec<Histogram>,
    warm_up: Tally,
    window: Tally,
    pub(crate) updates: UpdateCounts,
    pub(crate) fanout: FanoutCounts,
    pub(crate) duplex: DuplexCounts,
    pub(crate) answers: AnswerCounts,
    /// The window's replies by status; empty where nobody counts them.
    statuses: Vec<u64>,
    /// The latest update each connection of the trial has seen.
    pub(crate) followed: Vec<u64>,
    pub(crate) connections_opened: u64,
    pub(crate) wire: Wire,
}

/// What became of the operations of one span.
#[derive(Debug, Default)]
struct Tally {
    verified: u64,
    failed: [u64; FailureKind::ALL.len()],
    unfinished: u64,
    oldest_unfinished_ns: Option<u64>,
}

impl Recorder {
    pub(crate) fn new(scope: Scope) -> Self {
        let length_ns = scope.span.end_ns - scope.span.start_ns;
        let slices = length_ns.div_ceil(scope.slice_width_ns);
        Self {
            scope,
            times: Metric::ALL.map(|metric| scope.records.has(metric).then(Histogram::new)),
            slices: (0..slices).map(|_| Histogram::new()).collect(),
            warm_up: Tally::default(),
            window: Tally::default(),
            updates: UpdateCounts::default(),
            fanout: FanoutCounts::default(),
            duplex: DuplexCounts::default(),
            answers: AnswerCounts::default(),
            statuses: if scope.records.has(Metric::FirstByte) {
                vec![0; STATUSES]
            } else {
                Vec::new()
            },
            followed: vec![0; scope.connections as usize],
            connections_opened: 0,
            wire: Wire::default(),
        }
    }

    /// Records an operation that ended with exactly the reply that was asked for.
    pub(crate) fn verified(&mut self, sample: &Sample) {
        let Sample {
            due,
            opened_ns,
            completed_ns,
        } = *sample;
        let service_ns = completed_ns - due.started_ns;
        let response_ns = completed_ns - due.intended_ns;
        self.tally(due.intended_ns).verified += 1;
        if self.scope.course == Course::Operations {
            let course_ns = if self.scope.is_open_load {
                response_ns
            } else {
                service_ns
            };
            self.slice(due.intended_ns).record(course_ns);
        }
        if !self.is_in_window(due.intended_ns) {
            return;
        }
        self.time(Metric::ServiceTime, service_ns);
        if self.scope.is_open_load {
            self.time(Metric::ResponseTime, response_ns);
            self.time(Metric::ScheduleLag, due.noticed_ns - due.intended_ns);
            self.time(Metric::ConnectionWait, due.started_ns - due.noticed_ns);
        }
        if let Some((connected_ns, usable_ns)) = opened_ns {
            self.time(Metric::Connect, connected_ns - due.started_ns);
            self.time(Metric::Handshake, usable_ns - connected_ns);
            self.time(Metric::Exchange, completed_ns - usable_ns);
        } else if self.scope.records.has(Metric::FirstByte) {
            // Both clocks, with and without setting up, for all operations of a user's own.
            self.time(Metric::Exchange, service_ns);
        }
    }

    /// Records how long a connection that was opened ahead of the load took to open.
    pub(crate) fn set_up(&mut self, dialed_ns: u64, connected_ns: u64, usable_ns: u64) {
        self.time(Metric::Connect, connected_ns - dialed_ns);
        self.time(Metric::Handshake, usable_ns - connected_ns);
    }

    /// Records when the first reply of a connection began; connections that were opened ahead count at any time.
    pub(crate) fn first_byte(&mut self, since_ns: u64, ns: u64, is_ahead: bool) {
        if is_ahead || self.is_in_window(since_ns) {
            self.time(Metric::FirstByte, ns);
        }
    }

    /// Records how long after the one before it a message came.
    pub(crate) fn came_after(&mut self, at_ns: u64, ns: u64) {
        if self.is_on(at_ns) {
            self.slice(at_ns).record(ns);
        }
        self.lasted(Metric::InterArrival, at_ns, ns);
    }

    /// Counts a message that only receiving clients got.
    pub(crate) fn received(&mut self, at_ns: u64, bytes: usize) {
        if self.is_in_open_window(at_ns) {
            self.answers.received += 1;
            self.answers.received_bytes += bytes as u64;
        }
    }

    /// Counts the status of a reply, if there was one.
    pub(crate) fn answered(&mut self, intended_ns: u64, status: Option<u16>) {
        let counts = self.is_in_window(intended_ns);
        let status = status.filter(|_| counts).map(usize::from);
        if let Some(count) = status.and_then(|status| self.statuses.get_mut(status)) {
            *count += 1;
        }
    }

    /// Returns how many operations have ended so far, well and otherwise.
    pub(crate) fn ended(&self) -> (u64, u64) {
        let failed = |tally: &Tally| tally.failed.iter().sum::<u64>();
        (
            self.warm_up.verified + self.window.verified,
            failed(&self.warm_up) + failed(&self.window),
        )
    }

    /// Returns how many replies have come so far, right and wrong ones.
    pub(crate) fn replies(&self) -> u64 {
        let wrong = |tally: &Tally| {
            let counts = FailureKind::ANSWERS.map(|kind| tally.failed[kind as usize]);
            counts.iter().sum::<u64>()
        };
        let (warm_up, window) = (&self.warm_up, &self.window);
        warm_up.verified + window.verified + wrong(warm_up) + wrong(window)
    }

    /// Records that an operation of an open load was noticed, where nobody waits for its reply.
    pub(crate) fn noticed(&mut self, due: Due) {
        if self.is_in_window(due.intended_ns) {
            self.time(Metric::ScheduleLag, due.noticed_ns - due.intended_ns);
        }
    }

    /// Records something that began at `since_ns` and arrived: it counts by when it began, as long as the load was on.
    pub(crate) fn arrived(&mut self, metric: Metric, since_ns: u64, arrived_ns: u64) {
        let ns = arrived_ns.saturating_sub(since_ns);
        if self.is_on(since_ns) && self.scope.course == Course::News(metric) {
            self.slice(since_ns).record(ns);
        }
        if self.is_in_open_window(since_ns) {
            self.time(metric, ns);
        }
    }

    /// Counts as an operation what began at this instant and ended well, as long as the load was on.
    pub(crate) fn verified_since(&mut self, since_ns: u64) {
        if self.is_on(since_ns) {
            self.tally(since_ns).verified += 1;
        }
    }

    /// Records operations that nobody has taken up, by the instants at which they were due.
    pub(crate) fn unfinished_all(&mut self, intended_ns: &[u64], now_ns: u64) {
        for intended_ns in intended_ns {
            self.unfinished(*intended_ns, now_ns);
        }
    }

    /// Counts operations that began at this instant and have not ended at `now_ns`.
    pub(crate) fn unfinished_many(&mut self, count: u64, since_ns: u64, now_ns: u64) {
        if count > 0 && self.is_on(since_ns) {
            self.unfinished(since_ns, now_ns);
            self.tally(since_ns).unfinished += count - 1;
        }
    }

    /// Counts operations that began at this instant and failed.
    pub(crate) fn failed_many(&mut self, count: u64, since_ns: u64, kind: FailureKind) {
        if self.is_on(since_ns) {
            self.tally(since_ns).failed[kind as usize] += count;
        }
    }

    /// Counts a failure that belongs to no operation of its own, such as that of a poll: one of those that it may have
    /// brought was not right. Where none was, they have all failed or are missing anyway.
    pub(crate) fn spoiled_one(&mut self, at_ns: u64, kind: FailureKind) {
        if self.tally(at_ns).verified > 0 {
            self.spoiled(at_ns, kind);
        }
    }

    /// Records a duration that belongs to this instant.
    pub(crate) fn lasted(&mut self, metric: Metric, since_ns: u64, ns: u64) {
        if self.is_in_open_window(since_ns) {
            self.time(metric, ns);
        }
    }

    /// Says whether the load was on at this instant.
    pub(crate) const fn is_on(&self, at_ns: u64) -> bool {
        at_ns >= self.scope.span.start_ns && at_ns < self.scope.span.end_ns
    }

    /// Says whether what begins at this instant counts, where the server may begin something at any time.
    pub(crate) const fn is_in_open_window(&self, at_ns: u64) -> bool {
        self.is_in_window(at_ns) && at_ns < self.scope.span.end_ns
    }

    /// Returns the beginning of the load.
    pub(crate) const fn start_ns(&self) -> u64 {
        self.scope.span.start_ns
    }

    /// Returns the end of the load.
    pub(crate) const fn end_ns(&self) -> u64 {
        self.scope.span.end_ns
    }

    /// Records how long closing took after a verified operation.
    pub(crate) fn closed(&mut self, intended_ns: u64, close_ns: u64) {
        if self.is_in_window(intended_ns) {
            self.time(Metric::Close, close_ns);
        }
    }

    /// Records an operation that ended otherwise.
    pub(crate) fn failed(&mut self, intended_ns: u64, kind: FailureKind) {
        self.tally(intended_ns).failed[kind as usize] += 1;
    }

    /// Takes back that an operation was right: a look behind its reply showed otherwise.
    pub(crate) fn spoiled(&mut self, intended_ns: u64, kind: FailureKind) {
        let tally = self.tally(intended_ns);
        tally.verified -= 1;
        tally.failed[kind as usize] += 1;
    }

    /// Records an operation that had not ended at `now_ns`, when the drain was over.
    pub(crate) fn unfinished(&mut self, intended_ns: u64, now_ns: u64) {
        let tally = self.tally(intended_ns);
        tally.unfinished += 1;
        let age_ns = now_ns.saturating_sub(intended_ns);
        tally.oldest_unfinished_ns = tally.oldest_unfinished_ns.max(Some(age_ns));
    }

    /// Records the age of news that count by this instant.
    pub(crate) fn staleness(&mut self, since_ns: u64, staleness_ns: u64) {
        if self.is_in_open_window(since_ns) {
            self.time(Metric::Staleness, staleness_ns);
        }
    }

    /// Says whether an operation due at this instant counts.
    pub(crate) const fn is_in_window(&self, intended_ns: u64) -> bool {
        intended_ns >= self.scope.span.window_start_ns
    }

    /// Adds what another worker recorded over the same span.
    pub(crate) fn merge(&mut self, other: &Self) {
        let times = self.times.iter_mut().zip(&other.times);
        for (mine, theirs) in times.filter_map(|(mine, theirs)| mine.as_mut().zip(theirs.as_ref()))
        {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.merge(theirs);
        }
        self.warm_up.merge(&other.warm_up);
        self.window.merge(&other.window);
        self.updates.merge(&other.updates);
        self.fanout.merge(&other.fanout);
        self.duplex.merge(&other.duplex);
        self.answers.merge(&other.answers);
        for (mine, theirs) in self.statuses.iter_mut().zip(&other.statuses) {
            *mine += theirs;
        }
        for (mine, theirs) in self.followed.iter_mut().zip(&other.followed) {
            *mine = (*mine).max(*theirs);
        }
        self.connections_opened += other.connections_opened;
        self.wire.merge(&other.wire);
    }

    /// Returns the books of warm-up and window, with what the agendas say was issued.
    pub(crate) fn operations(&self, issued: Issued) -> (Operations, Operations) {
        (
            self.warm_up.operations(issued.warm_up),
            self.window.operations(issued.window),
        )
    }

    /// Adds operations that began at this instant to what was issued.
    pub(crate) const fn issue(&self, count: u64, since_ns: u64, issued: &mut Issued) {
        if self.is_in_window(since_ns) {
            issued.window += count;
        } else {
            issued.warm_up += count;
        }
    }

    /// Takes what is known of the answers to a workload of a user's own.
    pub(crate) fn take_answers(&mut self) -> AnswerCounts {
        let mut answers = std::mem::take(&mut self.answers);
        let statuses = (0u16..).zip(&self.statuses);
        answers.statuses = statuses
            .filter(|(_, count)| **count > 0)
            .map(|(status, count)| (status, *count))
            .collect();
        answers
    }

    /// Returns what was issued when everything issued is in the books.
    pub(crate) fn accounted(&self) -> Issued {
        Issued {
            warm_up: self.warm_up.total(),
            window: self.window.total(),
        }
    }

    /// Gives the histograms away: one per metric that applies, and the slices.
    pub(crate) fn into_histograms(self) -> (BTreeMap<Metric, Histogram>, Slices) {
        let metric = match self.scope.course {
            Course::News(metric) => metric,
            Course::Operations if self.scope.is_open_load => Metric::ResponseTime,
            Course::Operations => Metric::ServiceTime,
        };
        let slices = Slices {
            width_ns: self.scope.slice_width_ns,
            metric,
            histograms: self.slices,
            condensed: Vec::new(),
        };
        let times = Metric::ALL.into_iter().zip(self.times);
        (
            times
                .filter_map(|(metric, times)| Some((metric, times?)))
                .collect(),
            slices,
        )
    }

    fn time(&mut self, metric: Metric, ns: u64) {
        if let Some(histogram) = &mut self.times[metric as usize] {
            histogram.record(ns);
        }
    }

    fn tally(&mut self, intended_ns: u64) -> &mut Tally {
        if self.is_in_window(intended_ns) {
            &mut self.window
        } else {
            &mut self.warm_up
        }
    }

    fn slice(&mut self, intended_ns: u64) -> &mut Histogram {
        let index = (intended_ns - self.scope.span.start_ns) / self.scope.slice_width_ns;
        let last = self.slices.len() - 1;
        &mut self.slices[usize::try_from(index).map_or(last, |index| index.min(last))]
    }
}

/// A status has three digits; the parser lets no others through.
const STATUSES: usize = 1000;

/// What every exchange has; `opens` says that connections are opened under load.
pub(crate) const fn exchange_metrics(is_open_load: bool, opens: bool) -> Metrics {
    let mut metrics = Metrics([false; Metric::ALL.len()]).and(&[Metric::ServiceTime]);
    if is_open_load {
        metrics = metrics.and(&[
            Metric::ResponseTime,
            Metric::ScheduleLag,
            Metric::ConnectionWait,
        ]);
    }
    if opens {
        metrics = metrics.and(&[
            Metric::Connect,
            Metric::Handshake,
            Metric::Exchange,
            Metric::Close,
        ]);
    }
    metrics
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.verified += other.verified;
        self.unfinished += other.unfinished;
        self.oldest_unfinished_ns = self.oldest_unfinished_ns.max(other.oldest_unfinished_ns);
        for (mine, theirs) in self.failed.iter_mut().zip(&other.failed) {
            *mine += theirs;
        }
    }

    fn total(&self) -> u64 {
        self.verified + self.failed.iter().sum::<u64>() + self.unfinished
    }

    fn operations(&self, issued: u64) -> Operations {
        let failed = FailureKind::ALL.into_iter().zip(self.failed);
        Operations {
            issued,
            verified: self.verified,
            failed: failed.filter(|(_, count)| *count > 0).collect(),
            unfinished: self.unfinished,
            oldest_unfinished_ns: self.oldest_unfinished_ns,
        }
    }
}
