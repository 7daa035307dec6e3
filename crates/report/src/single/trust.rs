//! How far to trust a result: one line that says so, and why.

use sockrates_core::manifest::RunStatus;
use sockrates_core::record::Metric;
use sockrates_core::run_result::{Health, Trust, TrustLevel};
use sockrates_core::units;
use sockrates_core::verdict::{Class, Flag};

use super::{Measured, is_partial};

/// A generator that is later than this, and by more than this share of the median, makes response times doubtful.
const LAG_NS: u64 = 200_000;
/// See [`LAG_NS`].
const LAG_SHARE: f64 = 0.1;

/// More failures than this make the times those of a part of the operations only.
const FAILED_SHARE: f64 = 0.01;

/// Judges a result.
pub(super) fn of(measured: &Measured<'_>, status: RunStatus, health: &Health) -> Trust {
    let mut level = TrustLevel::Good;
    let mut reasons = Vec::new();
    for flag in &health.flags {
        if let Some((of_flag, reason)) = weigh(*flag, measured, health) {
            level = level.max(of_flag);
            reasons.push(reason);
        }
    }
    if measured.has_one_message() && measured.answers().repeated > 0 {
        level = level.max(TrustLevel::Doubtful);
        reasons.push(
            "answers came twice, and since all messages are the same a late one may have been taken for the next: put {sequence} into --message, or use --message-size 8 or more"
                .to_owned(),
        );
    }
    for message in measured.lost_trials() {
        level = level.max(TrustLevel::Doubtful);
        reasons.push(crate::text::line(message));
    }
    if is_partial(status) {
        level = level.max(TrustLevel::Bounded);
        reasons.push("it was interrupted: the numbers are of the time until then".to_owned());
    }
    if level < TrustLevel::None && measured.trials.len() == 1 {
        reasons.push(
            "one trial does not show how far the next one would differ: --repeat 5 does".to_owned(),
        );
    }
    Trust { level, reasons }
}

/// Says what a flag means for the trust in a single result; `None` where it means nothing that is not said elsewhere.
fn weigh(flag: Flag, measured: &Measured<'_>, health: &Health) -> Option<(TrustLevel, String)> {
    let meaning = |level| Some((level, flag.meaning().to_owned()));
    match flag {
        Flag::RunningServer => None,
        Flag::NothingVerified => Some((
            TrustLevel::None,
            "no operation was verified: there is nothing to trust".to_owned(),
        )),
        _ if flag.class() == Class::Harness => meaning(TrustLevel::None),
        _ if flag.class() == Class::Disturbance => Some((TrustLevel::Doubtful, disturbance(flag).to_owned())),
        Flag::ClientLimited => Some((
            TrustLevel::Bounded,
            "the client was the limit, so the server can do at least this: give it more threads (-t)"
                .to_owned(),
        )),
        Flag::LateSchedule => late(measured, health),
        Flag::Failures => Some(failures(measured)),
        Flag::Silent => silent(health),
        Flag::Overloaded => Some((
            TrustLevel::Bounded,
            "the server did not keep up with the rate: times grow with the length of the run".to_owned(),
        )),
        _ => meaning(TrustLevel::Bounded),
    }
}

/// Failures are in no time, and often they are what took longest.
fn failures(measured: &Measured<'_>) -> (TrustLevel, String) {
    let operations = &measured.operations;
    let share = operations.failed_total() as f64 / operations.issued.max(1) as f64;
    let level = if share > FAILED_SHARE {
        TrustLevel::Bounded
    } else {
        TrustLevel::Good
    };
    let reason = format!(
        "{:.2} % of the operations failed, and are in no time",
        share * 100.0
    );
    (level, reason)
}

/// A single run repeats nothing and leaves nothing out.
fn disturbance(flag: Flag) -> &'static str {
    match flag {
        Flag::Stolen => "the hypervisor took CPU time away",
        Flag::Hiccup => "the machine stood still for more than 20 ms, for the client at least",
        Flag::Queued => "the client had to wait for its CPU: is the server on the same one?",
        Flag::ClockFault => "the kernel's clocks disagreed",
        Flag::Throttled => "the client was throttled, or read pages from disk",
        _ => "other processes used the CPUs",
    }
}

/// Lateness is in the response time; it only matters where it is large beside it.
fn late(measured: &Measured<'_>, health: &Health) -> Option<(TrustLevel, String)> {
    let lag_ns = health.schedule_lag_p99_ns?;
    let usual = measured.histogram(Metric::ResponseTime)?;
    let share = lag_ns as f64 / usual.quantile_unchecked_ns(0.5).max(1) as f64;
    let lag = units::time(lag_ns as f64);
    Some(if lag_ns > LAG_NS && share > LAG_SHARE {
        (
            TrustLevel::Doubtful,
            format!(
                "the generator was up to {lag} late (p99), which is {:.0} % of the median response time: --wait spin is more punctual",
                share * 100.0
            ),
        )
    } else {
        (
            TrustLevel::Good,
            format!("the generator was up to {lag} late (p99), which the response times hold"),
        )
    })
}

fn silent(health: &Health) -> Option<(TrustLevel, String)> {
    let silence = health.silence?;
    Some((
        TrustLevel::Good,
        format!(
            "nothing was answered for {} from {} on: the server, or the way to it, stood still",
            units::time(silence.ns as f64),
            units::time(silence.from_ns as f64)
        ),
    ))
}
