//! What a disturbance did to a number. Validity belongs to a number, not to a trial: a hypervisor that takes a tenth of
//! the time leaves counts as they are, CPU time too, and moves the median of a closed loop by next to nothing, while
//! throughput falls by a tenth.
//!
//! A number is harmed when disturbances may have moved it by more than its margin, below which a difference does not
//! matter. How far they may have moved it follows from two facts about each of them: the share `s` of the time that it
//! took, and how often, `b` times a second.
//!
//! - **Counts** are exact whatever happens.
//! - **CPU time** runs only while a task does. What is left is refilling caches after each interruption (`b` times
//!   `REFILL_NS`), a neighbour on the same core, who may slow the other down by `SHARED_CORE_SHARE` of its own time,
//!   and kernels that charge stolen time to the task that was interrupted: then tasks ran longer than CPUs were busy.
//! - **Rates** of closed loops fall by `s` at most per CPU. The rate of an open load is what was offered.
//! - **Percentiles.** Let `q` be the share of operations that were interrupted. They became slower, the others did not, so
//!   that the undisturbed quantile `p` lies between the measured quantiles `p (1 - q)` and `p`: with `F` for the others and
//!   `G <= F` for the interrupted, at the value with `F = p` the measured share is `(1 - q) p + q G`, which is between
//!   `(1 - q) p` and `p`. The trial's own histogram says how far these two lie apart. An open load has
//!   `q = s + b t` for operations that take `t`; a closed loop starts nothing while it is interrupted, so that each
//!   interruption touches what was open, one operation per connection: `q = b c / rate`.
//! - **Ages of news** are made of waiting for the next poll or event; what matters is whether the instant at which one end
//!   acts is hit, at either end: `q = 2 s`.
//!
//! A late schedule and CPUs that could halt are outcomes, and harm nothing: the first is in the response time, where it
//! belongs, the second makes times those of another state of the machine, which the flag says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::{Measurement, Metric, TrialRecord};
use crate::schedule::Load;
use crate::surroundings::Surroundings;
use crate::verdict::{self, Flag};

/// Hypervisors and schedulers let nothing run for less: virtual CPUs get a millisecond and more at a time.
const STOLEN_BURST_NS: f64 = 1e6;
/// Other processes may run for as short as this before they sleep again.
const FOREIGN_BURST_NS: f64 = 1e5;
/// A quota of a control group stops a process for up to a whole period.
const THROTTLED_NS: f64 = 1e8;
/// Reading a page from a disk.
const MAJOR_FAULT_NS: f64 = 1e7;
/// What it takes to fill the caches that an interruption emptied, generously.
const REFILL_NS: f64 = 5e4;
/// How much of another program's time a neighbour on the same core loses.
const SHARED_CORE_SHARE: f64 = 0.5;

/// Numbers that disturbances harm in the same way.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Operations, bytes, segments, connections, requests.
    Counts,
    /// CPU time per operation or second.
    CpuTime,
    /// Medians of times.
    Medians,
    /// Throughput and capacity.
    Rates,
    /// Upper percentiles of times.
    Tails,
}

impl Family {
    /// All of them, from what holds longest to what falls first.
    pub const ALL: [Self; 5] = [
        Self::Counts,
        Self::CpuTime,
        Self::Medians,
        Self::Rates,
        Self::Tails,
    ];

    /// Returns the family of a number, by its name in summaries.
    pub fn of(metric: &str) -> Self {
        match metric {
            "throughput" | "capacity" => Self::Rates,
            cpu if cpu.contains("cpu") => Self::CpuTime,
            median if median.ends_with("_p50") => Self::Medians,
            tail if percentile(tail).is_some() => Self::Tails,
            _ => Self::Counts,
        }
    }

    /// Names it in a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::CpuTime => "CPU time",
            Self::Medians => "medians",
            Self::Rates => "throughput",
            Self::Tails => "upper percentiles",
        }
    }
}

/// Splits a percentile's name into the time and the quantile; the maximum is the quantile 1.
fn percentile(name: &str) -> Option<(Metric, f64)> {
    let (metric, ending) = Metric::ALL
        .into_iter()
        .find_map(|metric| Some((metric, name.strip_prefix(metric.name())?.strip_prefix('_')?)))?;
    let quantile = match ending {
        "p50" => 0.5,
        "p90" => 0.9,
        "p99" => 0.99,
        "p99_9" => 0.999,
        "max" => 1.0,
        _ => return None,
    };
    Some((metric, quantile))
}

/// Returns what may have moved this number of a trial by more than its margin; empty when nothing did.
pub fn harms(record: &TrialRecord, metric: &str) -> Vec<Flag> {
    let Some(measurement) = &record.measurement else {
        return Vec::new();
    };
    let Some(around) = &measurement.surroundings else {
        return Vec::new();
    };
    let mut flags = verdict::disturbances(record);
    if flags.is_empty()
        || may_have_moved(record, measurement, around, metric, &flags) <= verdict::margin(metric)
    {
        flags.clear();
    }
    flags
}

/// Says whether one of the numbers that a cell is about was harmed, so that its trial is worth repeating.
pub fn is_worth_repeating(record: &TrialRecord) -> bool {
    let metric = record.spec.cell.main_metric().name();
    let names = [format!("{metric}_p50"), "cpu_per_operation".to_owned()];
    names.iter().any(|name| !harms(record, name).is_empty())
}

/// Returns by which share these disturbances may have moved a number.
fn may_have_moved(
    record: &TrialRecord,
    measurement: &Measurement,
    around: &Surroundings,
    metric: &str,
    flags: &[Flag],
) -> f64 {
    let loss = Loss::of(around, flags);
    match Family::of(metric) {
        Family::CpuTime => loss.of_cpu_time(around),
        Family::Rates if record.spec.cell.load == Load::Closed {} => loss.share,
        Family::Rates if matches!(record.spec.cell.load, Load::Capacity { .. }) => loss.share,
        Family::Counts | Family::Rates => 0.0,
        Family::Medians | Family::Tails => {
            let Some((time, quantile)) = percentile(metric) else {
                return 0.0;
            };
            let Some(times) = measurement
                .histograms
                .get(&time)
                .filter(|all| all.count() > 0)
            else {
                return 0.0;
            };
            if around.clock_steps_back > 0 {
                return 1.0;
            }
            let touched = loss.touched(record, measurement, time);
            let at = |quantile| times.quantile_unchecked_ns(quantile).max(1) as f64;
            at(quantile) / at(quantile * (1.0 - touched)) - 1.0
        }
    }
}

/// What disturbances took of the time, all CPUs together, and how often.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    share: f64,
    per_second: f64,
    stolen: f64,
    foreign: f64,
}

impl Loss {
    fn of(around: &Surroundings, flags: &[Flag]) -> Self {
        let mut loss = Self::default();
        let has = |flag| flags.contains(&flag);
        let share = |ns: f64| ns / around.wall_ns.max(1) as f64;
        if has(Flag::Stolen) {
            let stolen: u64 = around.cpus.iter().map(|cpu| cpu.steal_ns).sum();
            loss.stolen = share(stolen as f64);
            loss.add(loss.stolen, STOLEN_BURST_NS);
        }
        if has(Flag::ForeignCpu) || has(Flag::Queued) {
            // Others take from a trial only what its own threads waited for.
            let server = around.server.map_or(0, |server| server.queued_ns);
            let queued = around.client.queued_ns + server;
            loss.foreign = verdict::foreign_share(around).unwrap_or(0.0);
            loss.add(share(queued as f64), FOREIGN_BURST_NS);
        }
        if has(Flag::Hiccup) {
            let (ns, count) = stalls(around);
            loss.add(share(ns), ns / count);
        }
        if has(Flag::Throttled) {
            loss.add(share(around.throttled as f64 * THROTTLED_NS), THROTTLED_NS);
            loss.add(
                share(around.major_faults as f64 * MAJOR_FAULT_NS),
                MAJOR_FAULT_NS,
            );
        }
        loss
    }

    fn add(&mut self, share: f64, burst_ns: f64) {
        self.share += share;
        self.per_second += share * 1e9 / burst_ns.max(1.0);
    }

    /// Relative to what client and server used.
    fn of_cpu_time(&self, around: &Surroundings) -> f64 {
        let own_ns = around.client.cpu_ns + around.server.map_or(0, |server| server.cpu_ns);
        let seconds = around.wall_ns as f64 / 1e9;
        let refill = self.per_second * seconds * REFILL_NS / own_ns.max(1) as f64;
        let busy_ns: u64 = around.cpus.iter().map(|cpu| cpu.busy_ns).sum();
        let ran_ns = own_ns + around.spinner_cpu_ns;
        let charged = if ran_ns as f64 > busy_ns as f64 + verdict::busy_error_ns(around) {
            self.stolen
        } else {
            0.0
        };
        refill + charged + self.foreign * SHARED_CORE_SHARE
    }

    /// Returns the largest share of operations that may have been interrupted.
    fn touched(&self, record: &TrialRecord, measurement: &Measurement, time: Metric) -> f64 {
        let cell = &record.spec.cell;
        let seconds = measurement.spans.window_ns() as f64 / 1e9;
        let rate = measurement.operations.verified as f64 / seconds.max(1e-9);
        let usual = measurement.histograms.get(&time);
        let usual_ns = usual.map_or(0, |times| times.quantile_unchecked_ns(0.5)) as f64;
        let touched = match (time, &cell.load) {
            (_, Load::Closed {}) => self.per_second * f64::from(cell.connections) / rate,
            (Metric::Staleness | Metric::InterArrival, _) => self.share * 2.0,
            _ => self.share + self.per_second * usual_ns / 1e9,
        };
        // More than all of the time is not worth a second thought, either.
        if touched.is_finite() {
            touched.clamp(0.0, 1.0)
        } else {
            1.0
        }
    }
}

/// Returns how long a thread that only sleeps was held up, and how often. Older records know only the longest time, and
/// that all but a hundredth of the wake-ups were as punctual as the 99th percentile.
fn stalls(around: &Surroundings) -> (f64, f64) {
    if let Some(stalls) = around.stalls {
        return (stalls.ns as f64, f64::from(stalls.count.max(1)));
    }
    let longest_ns = around.hiccup_max_ns as f64;
    let is_rare = around.hiccup_p99_ns < verdict::STALL_NS;
    let share = if is_rare { 0.01 } else { 1.0 };
    let ns = longest_ns.max(around.wall_ns as f64 * share);
    (ns, (ns / longest_ns.max(1.0)).max(1.0))
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::histogram::Histogram;
    use crate::seed;

    /// Times of an undisturbed lane around 30 µs with a long tail.
    fn undisturbed(draw: &mut impl Rng) -> f64 {
        let near = (0..12).map(|_| draw.random::<f64>()).sum::<f64>() - 6.0;
        let tail = if draw.random_bool(0.02) { 3.0 } else { 1.0 };
        30_000.0 * (near * 0.3).exp() * tail
    }

    /// The bound that [`may_have_moved`] takes holds for mixtures: an undisturbed quantile is never farther below the
    /// measured one than the bound says, whatever the interruptions add.
    #[test]
    fn the_bound_on_a_quantile_holds_for_mixtures() {
        let mut draw = seed::stream(7, "mixtures", 0);
        for touched in [0.001, 0.005, 0.02, 0.1, 0.3] {
            for added_ns in [5_000.0, 200_000.0, 10_000_000.0] {
                let (mut clean, mut mixed) = (Histogram::new(), Histogram::new());
                for _ in 0..20_000 {
                    let ns = undisturbed(&mut draw);
                    let hit = if draw.random_bool(touched) {
                        added_ns
                    } else {
                        0.0
                    };
                    clean.record(whole(ns));
                    mixed.record(whole(ns + hit));
                }
                for quantile in [0.5, 0.9, 0.99] {
                    let at = |times: &Histogram, p| times.quantile_unchecked_ns(p) as f64;
                    // Chance alone moves the share by four standard errors, and buckets are a thousandth wide.
                    let share = touched + 4.0 * (touched / 20_000.0_f64).sqrt();
                    let moved = at(&mixed, quantile) / at(&clean, quantile) - 1.0;
                    let bound = at(&mixed, quantile) / at(&mixed, quantile * (1.0 - share)) - 1.0;
                    assert!(
                        (-0.002..=bound + 0.002).contains(&moved),
                        "{touched} {added_ns} {quantile}: {moved} {bound}"
                    );
                }
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    fn whole(ns: f64) -> u64 {
        ns as u64
    }

    /// A closed loop that is stopped for 10 ms a hundred times in ten seconds: a tenth of the time.
    #[test]
    fn bursts_touch_one_operation_each_and_take_their_share_of_the_rate() {
        let mut draw = seed::stream(3, "bursts", 0);
        let (mut now, mut stops) = (0.0_f64, 0u32);
        let mut touched = 0u32;
        let mut done = 0u32;
        while now < 10e9 {
            now += undisturbed(&mut draw);
            done += 1;
            if now >= f64::from(stops + 1) * 1e8 {
                now += 1e7;
                stops += 1;
                touched += 1;
            }
        }
        let share = f64::from(touched) / f64::from(done);
        let rate = f64::from(done) / 10.0;
        let bound = Loss {
            share: 0.1,
            per_second: 10.0,
            ..Loss::default()
        };
        assert!(share <= bound.per_second / rate * 1.05, "{share}");
        assert!(share < 0.001);
    }

    #[test]
    fn every_number_has_a_family() {
        for (name, family) in [
            ("throughput", Family::Rates),
            ("cpu_per_client_second", Family::CpuTime),
            ("bytes_per_client_second", Family::Counts),
            ("staleness_p50", Family::Medians),
            ("service_time_p99_9", Family::Tails),
            ("close_max", Family::Tails),
        ] {
            assert_eq!(Family::of(name), family, "{name}");
        }
    }
}
