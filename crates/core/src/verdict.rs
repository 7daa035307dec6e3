//! Judgement of one trial: every threshold stands here, and every rule is a function of a record.
//!
//! A fault of the harness ends a run. A disturbance from outside (nothing a lane could cause) lets a trial be repeated in
//! its place. Everything else is an outcome: it stays, with its flag, since dropping it would favour the lane that has
//! more of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cpu_idle::CpuIdle;
use crate::failure::FailureKind;
use crate::histogram::Histogram;
use crate::plan::Target;
use crate::record::{Isolation, Measurement, Metric, Outcome, Pacing, Silence, TrialRecord};
use crate::scenario::{Wait, Workload};
use crate::schedule::Load;
use crate::surroundings::Surroundings;

/// The p99 schedule lag that a trial should stay below: twice the wake-up cost of a good machine.
pub const LAG_TARGET_BLOCKING_NS: u64 = 60_000;
/// The same for a spinning client, which has no wake-up to pay.
pub const LAG_TARGET_SPIN_NS: u64 = 25_000;
/// A blocking client busier than this is the limit of what it measures.
pub const CLIENT_LIMITED_SHARE: f64 = 0.85;
/// A client that needs more than this share of the p99 of an event's age to read all copies of the event makes that age.
pub const CROWDED_SHARE: f64 = 0.5;
/// Less than this share of the offered operations verified in an open load: the rate was not sustained.
pub const SUSTAINED_SHARE: f64 = 0.99;
/// In a closed loop, connections = throughput x cycle time (J. D. C. Little, 1961). The time between two cycles, which
/// this leaves out, is less than a hundredth of them; more than this share, and than operations can overhang the window's
/// ends, is a fault of the books. The longest of the window may overhang its end; one that began before the window, of
/// which no histogram knows, may overhang its start by as much as a hiccup that is not called a disturbance.
pub const LITTLE_SHARE: f64 = 0.02;
/// A cycle's error is only told from the window's edges when the window holds so many.
const LITTLE_OPERATIONS: u64 = 500;

/// Time stolen by the hypervisor from one CPU, over the load.
pub const STEAL_SHARE: f64 = 0.02;
/// The same within any 200 ms.
pub const STEAL_BURST_SHARE: f64 = 0.25;
/// CPU time of other processes, as a share of all CPUs, beyond what the kernel's ticks may be wrong by.
pub const FOREIGN_SHARE: f64 = 0.05;
/// So many standard errors of what CPUs were busy: once in 700 trials by chance.
const FOREIGN_ERRORS: f64 = 3.0;
/// The tick by which most kernels sample who runs (250 Hz).
const TICK_NS: f64 = 4e6;
/// The unit in which they tell it, rounded down for each of five kinds of work.
const TOLD_NS: f64 = 1e7;
/// Waking up later than this is being held up.
pub const STALL_NS: u64 = 1_000_000;
/// A thread that only sleeps woke up this late.
pub const HICCUP_NS: u64 = 20_000_000;
/// The share of the load for which the client was ready to run and did not.
pub const QUEUED_SHARE: f64 = 0.05;
/// How much faster or slower one clock of the kernel may run than another.
pub const CLOCK_DRIFT_PPM: f64 = 500.0;

/// The share of segments sent again, which loopback never needs.
pub const RETRANSMIT_SHARE: f64 = 1e-4;
/// Delayed acknowledgements per operation that make a stall of 40 or 200 ms believable.
pub const DELAYED_ACKS_PER_OPERATION: f64 = 0.05;
/// The share of operations that took as long as such a stall.
pub const STALLED_SHARE: f64 = 1e-3;
/// The kernel's shortest and usual delay of an acknowledgement, with some room (`TCP_DELACK_MIN`, 200 ms).
const DELAYED_ACK_NS: [(u64, u64); 2] = [(38_000_000, 46_000_000), (198_000_000, 206_000_000)];

/// A time without any answer that is worth a word: so long, and so many times what an operation usually takes.
pub const SILENCE_NS: u64 = 100_000_000;
/// See [`SILENCE_NS`].
pub const SILENCE_SERVICE_TIMES: u64 = 20;

/// A publisher that was still so late at the end did not keep up with its schedule.
pub const PUBLISHER_LAG_NS: u64 = 100_000_000;

/// How much the time per operation may rise or fall over a window.
pub const DRIFT_SHARE: f64 = 0.1;
/// How unlikely such a trend must be by chance (Mann-Kendall, two-sided).
pub const DRIFT_P: f64 = 0.001;

/// Of numbers that were harmed in a larger share of trials nothing is concluded.
pub const DISTURBED_SHARE: f64 = 0.2;
/// If lanes differ this clearly in how often they were disturbed (Fisher's exact test), the disturbance was no accident.
pub const UNEVEN_P: f64 = 0.01;
/// How far the floor of one block may lie from the run's.
pub const FLOOR_SHIFT_SHARE: f64 = 0.2;
/// How much the CPU's speed may change between the start and the end of a run.
pub const CANARY_SHARE: f64 = 0.1;
/// How often a disturbed trial is repeated.
pub const MAX_REPEATS: u32 = 2;
/// All repetitions together may lengthen a run by this share.
pub const REPEATS_SHARE: f64 = 0.2;

/// What is to be known about a trial before its numbers are trusted.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The books do not balance: a fault of the harness; the trial does not count.
    NotConserved,
    /// Other operations were issued than the schedule holds: a fault of the harness; the trial does not count.
    WrongSchedule,
    /// Connections, throughput and cycle time contradict each other: a fault of the harness; the trial does not count.
    LittlesLaw,
    /// No operation was verified; the trial does not count.
    NothingVerified,
    /// The hypervisor took CPU time away.
    Stolen,
    /// Other processes used the CPUs.
    ForeignCpu,
    /// A sleeping thread woke up far too late.
    Hiccup,
    /// The client was ready to run and had to wait for its CPU.
    Queued,
    /// The kernel's clocks disagreed.
    ClockFault,
    /// The process was throttled, or had to read its own pages from disk.
    Throttled,
    /// Some operations failed.
    Failures,
    /// Some operations did not end in time: percentiles are too low.
    Unfinished,
    /// An open load was not sustained.
    NotSustained,
    /// Most operations waited for a free connection longer than they took: the queue grew with the window.
    Overloaded,
    /// The generator was late by more than the target at the 99th percentile.
    LateSchedule,
    /// The client, not the server, was the limit: throughput is a lower bound.
    ClientLimited,
    /// Client and server shared a CPU.
    SharedCpu,
    /// Its CPUs were to be kept awake, and could halt.
    NotAwake,
    /// Some times were longer than the histogram's largest bucket.
    Clamped,
    /// The kernel turned connections away or had to ask for them again.
    ConnectionsDropped,
    /// Local ports ran out, or the table of closed connections did.
    PortsExhausted,
    /// Segments were sent again.
    Retransmitted,
    /// Operations waited for delayed acknowledgements.
    NagleStall,
    /// Events were missed, lost, repeated, out of order or wrong.
    NewsLost,
    /// The server did not publish as fast as it was asked to.
    PublisherOverloaded,
    /// For a while nothing was answered at all.
    Silent,
    /// The server was running already: it is not fresh, and what it used is not known.
    RunningServer,
    /// The time per operation rose or fell during the window.
    Drift,
    /// The time per operation had not settled when the window began.
    WarmUpLate,
}

/// What follows from a flag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The harness is at fault: the run ends.
    Harness,
    /// Something outside is: the trial may be repeated.
    Disturbance,
    /// A result like others: it stays.
    Outcome,
}

impl Flag {
    /// Returns what follows from the flag.
    pub const fn class(self) -> Class {
        match self {
            Self::NotConserved | Self::WrongSchedule | Self::LittlesLaw => Class::Harness,
            Self::Stolen
            | Self::ForeignCpu
            | Self::Hiccup
            | Self::Queued
            | Self::ClockFault
            | Self::Throttled => Class::Disturbance,
            _ => Class::Outcome,
        }
    }

    /// Explains the flag in one sentence, for reports.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NotConserved => "operations do not add up: a fault of the harness, not counted",
            Self::WrongSchedule => {
                "not what the schedule asked for was issued: a fault of the harness, not counted"
            }
            Self::LittlesLaw => {
                "connections, throughput and cycle time contradict each other: a fault of the harness, not counted"
            }
            Self::NothingVerified => "no operation was verified: not counted",
            Self::Stolen => "the hypervisor took CPU time away: what it may have moved is withheld",
            Self::ForeignCpu => {
                "other processes used the CPUs: what they may have moved is withheld"
            }
            Self::Hiccup => {
                "a sleeping thread woke up more than 20 ms late: what that may have moved is withheld"
            }
            Self::Queued => {
                "the client had to wait for its CPU: what that may have moved is withheld"
            }
            Self::ClockFault => "the kernel's clocks disagreed: times may be withheld",
            Self::Throttled => {
                "the process was throttled or read pages from disk: what that may have moved is withheld"
            }
            Self::Failures => "some operations failed; they are counted, and are not in the times",
            Self::Unfinished => {
                "some operations did not end in time: the upper percentiles are too low"
            }
            Self::NotSustained => "less than 99 % of the offered operations were done",
            Self::Overloaded => {
                "most operations waited for a connection longer than they took: percentiles depend on the window's length"
            }
            Self::LateSchedule => {
                "the generator was late by more than its target at the 99th percentile"
            }
            Self::ClientLimited => {
                "the client was the limit: throughput is a lower bound, and ages of news are upper bounds"
            }
            Self::SharedCpu => "client and server shared a CPU",
            Self::NotAwake => {
                "its CPUs were to be kept awake and could halt: times hold wake-ups, as the record says why"
            }
            Self::Clamped => "some times were longer than 60 s and counted as 60 s",
            Self::ConnectionsDropped => {
                "the kernel dropped connection attempts: each costs a second or more"
            }
            Self::PortsExhausted => "local ports ran out",
            Self::Retransmitted => "segments were sent again, which loopback does not need",
            Self::NagleStall => "operations waited 40 or 200 ms for delayed acknowledgements",
            Self::NewsLost => {
                "events were missed, lost, repeated, out of order or wrong, which no way of learning of them allows"
            }
            Self::PublisherOverloaded => {
                "the server published later and later: the rate of events is beyond what it can make"
            }
            Self::Silent => {
                "for a while operations were open and none ended: the server, or the way to it, stood still"
            }
            Self::RunningServer => {
                "the server was running already: it was not restarted between trials, and its CPU time is unknown, not zero"
            }
            Self::Drift => "the time per operation rose or fell by over 10 % during the window",
            Self::WarmUpLate => "the time per operation had not settled when the window began",
        }
    }
}

/// Returns the ratio, less 1, below which a difference of this number does not matter.
pub fn margin(metric: &str) -> f64 {
    match metric {
        cpu if cpu.contains("cpu") => 0.03,
        tail if tail.ends_with("p99") || tail.ends_with("p99_9") || tail.ends_with("max") => 0.15,
        age if age.starts_with("staleness") => 0.03,
        _ => 0.05,
    }
}

/// Returns the p99 schedule lag that a client waiting this way should stay below.
pub const fn lag_target_ns(wait: Wait) -> u64 {
    match wait {
        Wait::Blocking => LAG_TARGET_BLOCKING_NS,
        Wait::Spin => LAG_TARGET_SPIN_NS,
    }
}

/// Compares a window's schedule lag with its target; `None` when nothing was due by a schedule.
pub fn pacing(wait: Wait, lag: Option<&Histogram>) -> Option<Pacing> {
    let lag = lag.filter(|lag| lag.count() > 0)?;
    let (lag_p99_ns, target_ns) = (lag.quantile_unchecked_ns(0.99), lag_target_ns(wait));
    Some(Pacing {
        lag_p99_ns,
        target_ns,
        is_met: lag_p99_ns <= target_ns,
    })
}

/// Says whether the trial may be used at all: it ran to its end, its books balance, and it verified something.
pub fn is_valid(record: &TrialRecord) -> bool {
    let usable = |m: &Measurement| {
        m.operations.verified > 0 && harness_faults(record, m).iter().all(|(_, holds)| !holds)
    };
    record.outcome == Outcome::Completed && record.measurement.as_ref().is_some_and(usable)
}

/// Returns the harness's faults that a trial shows.
pub fn faults(record: &TrialRecord) -> Vec<Flag> {
    of_class(record, Class::Harness)
}

/// Returns what disturbed the trial from outside. What that did to which number is decided in [`crate::validity`].
pub fn disturbances(record: &TrialRecord) -> Vec<Flag> {
    of_class(record, Class::Disturbance)
}

fn of_class(record: &TrialRecord, class: Class) -> Vec<Flag> {
    let all = flags(record).into_iter();
    all.filter(|flag| flag.class() == class).collect()
}

/// Returns everything that is to be known about a trial, but for its course: that is [`course_flags`]' business.
pub fn flags(record: &TrialRecord) -> Vec<Flag> {
    let Some(measurement) = &record.measurement else {
        return Vec::new();
    };
    let mut rules = harness_faults(record, measurement).to_vec();
    if let Some(surroundings) = &measurement.surroundings {
        rules.extend(outside(surroundings));
        rules.extend(network(surroundings, measurement));
    }
    let operations = &measurement.operations;
    let clamped = |histogram: &Histogram| histogram.clamped() > 0;
    rules.extend([
        (Flag::NothingVerified, operations.verified == 0),
        (Flag::Failures, operations.failed_total() > 0),
        (Flag::Unfinished, operations.unfinished > 0),
        (Flag::NotSustained, is_not_sustained(record, measurement)),
        (Flag::Overloaded, is_overloaded(measurement)),
        (Flag::LateSchedule, is_late(record, measurement)),
        (Flag::ClientLimited, is_client_limited(record, measurement)),
        (Flag::Silent, silence(measurement).is_some()),
        (
            Flag::RunningServer,
            matches!(record.spec.target, Target::Running { .. }),
        ),
        (Flag::NewsLost, bad_news(measurement) > 0),
        (
            Flag::PublisherOverloaded,
            is_publisher_overloaded(measurement),
        ),
        (Flag::NotAwake, is_not_awake(measurement)),
        (Flag::SharedCpu, record.spec.placement.is_shared()),
        (Flag::Clamped, measurement.histograms.values().any(clamped)),
    ]);
    let mut flags: Vec<_> = rules
        .into_iter()
        .filter_map(|(flag, holds)| holds.then_some(flag))
        .collect();
    flags.sort_unstable();
    flags
}

type Rule = (Flag, bool);

fn harness_faults(record: &TrialRecord, measurement: &Measurement) -> [Rule; 3] {
    [
        (
            Flag::NotConserved,
            !measurement.operations.is_conserved() || !measurement.warm_up.is_conserved(),
        ),
        (Flag::WrongSchedule, is_off_schedule(record, measurement)),
        (Flag::LittlesLaw, breaks_littles_law(record, measurement)),
    ]
}

/// An open load issues exactly what the schedule holds, however late.
fn is_off_schedule(record: &TrialRecord, measurement: &Measurement) -> bool {
    let spec = &record.spec;
    let cell = &spec.cell;
    let is_whole = record.outcome == Outcome::Completed && spec.stop_after_operations.is_none();
    if cell.load.offered_per_second(cell.connections).is_none() || !is_whole {
        return false;
    }
    let spans = &measurement.spans;
    let length_ns = spans.window_end_ns - spans.start_ns;
    let warm_up_ns = spans.window_start_ns - spans.start_ns;
    let each = cell.operations_per_arrival();
    let issued = (measurement.warm_up.issued, measurement.operations.issued);
    // A file may ask for a schedule that takes hours to draw.
    let expected = cell.arrivals_expected(length_ns);
    let likely = 10.0 * expected.sqrt() + f64::from(cell.connections) + 10.0;
    let arrived = (issued.0 + issued.1) as f64 / each as f64;
    if (arrived - expected).abs() > likely {
        return true;
    }
    if expected > DRAWN_ARRIVALS {
        return false;
    }
    let (all, early) = cell.count_arrivals(length_ns, warm_up_ns, spec.seed, spec.block);
    issued != (early * each, (all - early) * each)
}

/// Longer schedules are not drawn again: it is enough that their length is within ten standard deviations.
const DRAWN_ARRIVALS: f64 = 30e6;

fn breaks_littles_law(record: &TrialRecord, measurement: &Measurement) -> bool {
    let is_disturbed = |around: &Surroundings| outside(around).iter().any(|(_, holds)| *holds);
    if measurement.surroundings.as_ref().is_some_and(is_disturbed) {
        return false;
    }
    let longest_ns = measurement
        .histograms
        .get(&Metric::ServiceTime)
        .and_then(Histogram::max_ns)
        .unwrap_or(0);
    let silence_ns = measurement.silence.map_or(0, |silence| silence.ns);
    let overhang_ns = (longest_ns.max(silence_ns) + HICCUP_NS) as f64;
    let overhang = overhang_ns / measurement.spans.window_ns().max(1) as f64;
    little_error(record, measurement).is_some_and(|error| error.abs() > LITTLE_SHARE + overhang)
}

/// Returns by which share connections exceed throughput x cycle time; `None` where the law says nothing: under an open
/// load, after failures, in short trials, and where connections live for several exchanges.
pub fn little_error(record: &TrialRecord, measurement: &Measurement) -> Option<f64> {
    let cell = &record.spec.cell;
    let operations = &measurement.operations;
    let applies = cell.load == Load::Closed {}
        && cell
            .exchanges_per_connection()
            .is_none_or(|count| count == 1)
        && record.spec.stop_after_operations.is_none()
        && operations.verified == operations.issued
        && operations.verified >= LITTLE_OPERATIONS;
    if !applies {
        return None;
    }
    let mean = |metric| measurement.histograms.get(&metric)?.mean_ns();
    let cycle_ns = mean(Metric::ServiceTime)? + mean(Metric::Close).unwrap_or(0.0);
    let per_ns = operations.verified as f64 / measurement.spans.window_ns() as f64;
    Some(f64::from(cell.connections) / (per_ns * cycle_ns) - 1.0)
}

fn outside(around: &Surroundings) -> [Rule; 6] {
    let wall_ns = around.wall_ns.max(1) as f64;
    let stolen = |share: f64| {
        around
            .cpus
            .iter()
            .any(|cpu| cpu.steal_ns as f64 > wall_ns * share)
    };
    [
        (
            Flag::Stolen,
            stolen(STEAL_SHARE) || around.steal_worst_share > STEAL_BURST_SHARE,
        ),
        (
            Flag::ForeignCpu,
            foreign_share(around)
                .is_some_and(|share| share > FOREIGN_SHARE + FOREIGN_ERRORS * busy_error(around)),
        ),
        (Flag::Hiccup, around.hiccup_max_ns > HICCUP_NS),
        (
            Flag::Queued,
            around.client.queued_ns as f64 > wall_ns * QUEUED_SHARE,
        ),
        (
            Flag::ClockFault,
            around.clock_steps_back > 0 || around.clock_drift_ppm.abs() > CLOCK_DRIFT_PPM,
        ),
        (
            Flag::Throttled,
            around.throttled > 0 || around.major_faults > 0,
        ),
    ]
}

/// Returns the share of all CPUs that neither client nor server nor the kernel's network thread used, nor what kept them
/// awake, and something did.
/// `None` where the server's part is not known.
pub fn foreign_share(around: &Surroundings) -> Option<f64> {
    let busy_ns: u64 = around.cpus.iter().map(|cpu| cpu.busy_ns).sum();
    let server_ns = around.server.as_ref()?.cpu_ns;
    let own_ns = around.client.cpu_ns + server_ns + around.ksoftirqd_ns + around.spinner_cpu_ns;
    let all_ns = around.wall_ns.max(1) as f64 * around.cpus.len().max(1) as f64;
    Some(busy_ns.saturating_sub(own_ns) as f64 / all_ns)
}

/// Returns the standard error of what all CPUs were busy, in nanoseconds. A tick charges all of its time to whoever runs
/// at that instant: of `n` ticks a CPU busy for the share `p` gets `n p`, give or take the root of `n p (1 - p)`; a CPU that
/// never halts gets it right. What is told is rounded, which the difference of two readings has twice.
pub fn busy_error_ns(around: &Surroundings) -> f64 {
    let wall_ns = around.wall_ns.max(1) as f64;
    let of_cpu = |busy_ns: u64| {
        let share = (busy_ns as f64 / wall_ns).min(1.0);
        TICK_NS * wall_ns * share * (1.0 - share) + 5.0 * TOLD_NS * TOLD_NS / 6.0
    };
    let squares = around.cpus.iter().map(|cpu| of_cpu(cpu.busy_ns));
    squares.sum::<f64>().sqrt()
}

/// The same as a share of all CPUs.
fn busy_error(around: &Surroundings) -> f64 {
    let all_ns = around.wall_ns.max(1) as f64 * around.cpus.len().max(1) as f64;
    busy_error_ns(around) / all_ns
}

fn network(around: &Surroundings, measurement: &Measurement) -> [Rule; 4] {
    let counters = &around.network;
    let dropped = counters.listen_overflows
        + counters.listen_drops
        + counters.request_queue_full_drops
        + counters.backlog_drops
        + counters.syn_retransmits;
    let operations = &measurement.operations;
    let no_port = |kind| operations.failed.get(&kind).copied().unwrap_or(0) > 0;
    // Of a network that is shared the counters tell what everyone did, and connections can tell their own part.
    let is_own = measurement.isolation == Isolation::NetworkNamespace;
    let carried = measurement.wire.as_ref().filter(|_| !is_own);
    let again = carried.map_or(counters.segments_retransmitted, |wire| {
        wire.segments_retransmitted
    }) as f64;
    [
        (Flag::ConnectionsDropped, dropped > 0),
        (
            Flag::PortsExhausted,
            is_own && counters.time_wait_overflows > 0
                || no_port(FailureKind::ConnectAddressNotAvailable),
        ),
        (
            Flag::Retransmitted,
            again > (counters.segments_sent as f64 * RETRANSMIT_SHARE).max(1.0),
        ),
        (
            Flag::NagleStall,
            is_stalled(measurement, counters.delayed_acks),
        ),
    ]
}

fn is_stalled(measurement: &Measurement, delayed_acks: u64) -> bool {
    let done = measurement.operations.verified + measurement.warm_up.verified;
    let Some(times) = measurement.histograms.get(&Metric::ServiceTime) else {
        return false;
    };
    let as_long: u64 = DELAYED_ACK_NS
        .iter()
        .map(|(low, high)| times.count_between(*low, *high))
        .sum();
    delayed_acks as f64 > done as f64 * DELAYED_ACKS_PER_OPERATION
        && as_long as f64 > times.count() as f64 * STALLED_SHARE
}

/// Returns the share of its CPUs that a blocking client used; `None` for a spinning one, which always uses all.
pub fn client_busy_share(record: &TrialRecord) -> Option<f64> {
    let measurement = record.measurement.as_ref()?;
    let cell = &record.spec.cell;
    let cpus = record.spec.placement.client_cpus.len().max(1) as f64;
    let spans = &measurement.spans;
    let wall_ns = spans.end_ns.saturating_sub(spans.start_ns).max(1) as f64;
    (cell.wait == Wait::Blocking).then(|| measurement.client.cpu_ns() as f64 / wall_ns / cpus)
}

fn is_client_limited(record: &TrialRecord, measurement: &Measurement) -> bool {
    // An open load's throughput is the offered one; its client is judged by its lag.
    let is_closed = record.spec.cell.load == Load::Closed {};
    is_closed && client_busy_share(record).is_some_and(|share| share > CLIENT_LIMITED_SHARE)
        || is_crowded(record, measurement)
}

/// Says whether copies that come all at once wait for the client rather than for the server: reading them takes it a
/// large part of the time that the last of them is late. What a spinning client needs to read is not known.
fn is_crowded(record: &TrialRecord, measurement: &Measurement) -> bool {
    let cell = &record.spec.cell;
    let (copies, age) = match &cell.workload {
        workload @ Workload::Updates { topics, .. } if workload.listens() => {
            (cell.connections / topics.max(&1), Metric::Staleness)
        }
        Workload::Fanout { .. } => {
            let members = cell.workload.room_members(cell.connections);
            (members.unwrap_or(1), Metric::Delivery)
        }
        _ => return false,
    };
    let read = measurement.operations.verified + measurement.warm_up.verified;
    let each_ns = measurement.client.cpu_ns() as f64 / read.max(1) as f64;
    let cpus = record.spec.placement.client_cpus.len().max(1) as f64;
    let ages = measurement.histograms.get(&age);
    let late_ns = ages.map_or(0, |ages| ages.quantile_unchecked_ns(0.99)) as f64;
    let is_known = cell.wait == Wait::Blocking && copies > 1;
    is_known && each_ns * f64::from(copies) / cpus > late_ns * CROWDED_SHARE
}

fn is_not_sustained(record: &TrialRecord, measurement: &Measurement) -> bool {
    let cell = &record.spec.cell;
    let is_open = cell.load.offered_per_second(cell.connections).is_some();
    is_open
        && (measurement.operations.verified as f64)
            < measurement.operations.issued as f64 * SUSTAINED_SHARE
}

/// Returns the longest time without an answer, if it is worth a word.
pub fn silence(measurement: &Measurement) -> Option<Silence> {
    let usual = measurement.histograms.get(&Metric::ServiceTime);
    let usual_ns = usual.map_or(0, |times| times.quantile_unchecked_ns(0.5));
    let least_ns = SILENCE_NS.max(usual_ns * SILENCE_SERVICE_TIMES);
    measurement.silence.filter(|silence| silence.ns >= least_ns)
}

/// Counts what no way of learning of events allows: each comes once, whole, and in order.
pub fn bad_news(measurement: &Measurement) -> u64 {
    let updates = measurement.updates.as_ref().map_or(0, |updates| {
        updates.missed + updates.lost + updates.repeated + updates.out_of_order
    });
    let copies = measurement.fanout.as_ref().map_or(0, |fanout| {
        fanout.missing + fanout.repeated + fanout.out_of_order + fanout.wrong
    });
    updates + copies
}

fn is_not_awake(measurement: &Measurement) -> bool {
    let facts = measurement.cpu_idle.as_ref();
    facts.is_some_and(|facts| facts.asked == CpuIdle::Awake && facts.achieved != CpuIdle::Awake)
}

fn is_publisher_overloaded(measurement: &Measurement) -> bool {
    let server = measurement.server.as_ref();
    server.is_some_and(|server| server.publisher_lag_last_ns > PUBLISHER_LAG_NS)
}

fn is_overloaded(measurement: &Measurement) -> bool {
    let p50 = |metric| {
        let times = measurement.histograms.get(&metric)?;
        Some(times.quantile_unchecked_ns(0.5))
    };
    p50(Metric::ConnectionWait) > p50(Metric::ServiceTime)
}

fn is_late(record: &TrialRecord, measurement: &Measurement) -> bool {
    let lag = measurement.histograms.get(&Metric::ScheduleLag);
    pacing(record.spec.cell.wait, lag).is_some_and(|pacing| !pacing.is_met)
}

/// Judges the course of a trial by the medians of its slices, the first `warm_up` of which lie before the window.
pub fn course_flags(medians: &[f64], warm_up: usize) -> Vec<Flag> {
    let window = medians.get(warm_up..).unwrap_or_default();
    let mut flags = Vec::new();
    if drifts(window) {
        flags.push(Flag::Drift);
    }
    if settled_after(medians).is_some_and(|slices| slices > warm_up)
        && !flags.contains(&Flag::Drift)
    {
        flags.push(Flag::WarmUpLate);
    }
    flags
}

/// How many slices a course needs before a trend is told from chance.
const MIN_SLICES: usize = 7;

/// A trend by the median of all slopes (Theil 1950, Sen 1968), large and unlikely by chance (Mann 1945, Kendall 1975).
fn drifts(values: &[f64]) -> bool {
    let n = values.len();
    if n < MIN_SLICES {
        return false;
    }
    let mut slopes = Vec::new();
    let mut score = 0i32;
    for (index, early) in values.iter().enumerate() {
        for (later, late) in values.iter().enumerate().skip(index + 1) {
            slopes.push((late - early) / (later - index) as f64);
            score += i32::from(late > early) - i32::from(late < early);
        }
    }
    let change = middle(&mut slopes) * (n - 1) as f64;
    let typical = middle(&mut values.to_vec());
    let n = n as f64;
    let sigma = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let z = (f64::from(score.abs()) - 1.0).max(0.0) / sigma;
    change.abs() > typical * DRIFT_SHARE && z > Z_OF_DRIFT_P
}

/// The normal quantile of 1 - [`DRIFT_P`] / 2.
const Z_OF_DRIFT_P: f64 = 3.290_5;

/// Returns how many slices to cut from the start so that the mean of the rest is known best (MSER: White 1997), of the
/// first half; `None` for a course too short to say.
fn settled_after(values: &[f64]) -> Option<usize> {
    let n = values.len();
    if n < MIN_SLICES {
        return None;
    }
    let error = |cut: usize| {
        let rest = &values[cut..];
        let count = rest.len() as f64;
        let mean = rest.iter().sum::<f64>() / count;
        rest.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count * count)
    };
    let best = (0..=n / 2).min_by(|a, b| error(*a).total_cmp(&error(*b)))?;
    // Cutting noise off noise also lowers the error a little: what is cut must have been clearly slower.
    let typical = middle(&mut values[n / 2..].to_vec());
    let cut = middle(&mut values[..best.max(1)].to_vec());
    (cut > typical * (1.0 + DRIFT_SHARE)).then_some(best)
}

/// Returns the median; 0 for none.
fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_told_from_noise() {
        let noise = [1.0, 1.3, 0.9, 1.2, 1.0, 1.1, 0.95, 1.25, 1.05];
        assert!(course_flags(&noise, 0).is_empty());
        let rise: Vec<f64> = (0..9).map(|slice| 1.0 + 0.05 * f64::from(slice)).collect();
        assert_eq!(course_flags(&rise, 0), [Flag::Drift]);
        let slight: Vec<f64> = (0..9).map(|slice| 1.0 + 0.005 * f64::from(slice)).collect();
        assert!(course_flags(&slight, 0).is_empty(), "certain, but small");
        assert!(course_flags(&rise[..6], 0).is_empty(), "too short to say");
    }

    #[test]
    fn a_late_warm_up_is_seen_and_an_early_one_is_not() {
        let mut course = vec![1.0; 14];
        course[..3].copy_from_slice(&[3.0, 2.5, 2.0]);
        assert!(course_flags(&course, 3).is_empty());
        assert_eq!(course_flags(&course, 1), [Flag::WarmUpLate]);
    }

    #[test]
    fn every_flag_has_its_class() {
        assert_eq!(Flag::NotConserved.class(), Class::Harness);
        assert_eq!(Flag::Stolen.class(), Class::Disturbance);
        assert_eq!(Flag::Failures.class(), Class::Outcome);
    }
}
