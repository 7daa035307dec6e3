//! Polling has a theory: how old news is on arrival, and how many polls find nothing.

use anyhow::Context;
use sockrates_core::plan::Cell;
use sockrates_core::publishing::Arrivals;
use sockrates_core::record::{Measurement, Metric, UpdateCounts};
use sockrates_core::scenario::{Delivery, Wait, Workload};
use sockrates_core::schedule::Load;
use sockrates_core::units;

use crate::options::Options;
use crate::page::Row;
use crate::trials::{self, mean, quantile};

pub(crate) const TEXT: &str = "\
200 clients follow a topic each, in which events come at random (a Poisson process of rate *v*). Whoever polls every *T*\n\
gets an event at an age that lies evenly between *h* and *h + T*, where *h* is the way back; a poll finds nothing with\n\
probability exp(-vT), and one that finds something finds vT / (1 - exp(-vT)) events: a poll that only brings the latest\n\
state would miss all others of them. Between a long poll's answer and the next question lies a gap *g*, and\n\
vg / (vg + exp(-vg)) of the events come into it, where they wait for the question; here the server delays its answers by\n\
100 ms, so that *g* is known. Each measured interval must hold what is expected and be no wider than 3 % to either side;\n\
all of them together hold the truth 95 times in 100 (Bonferroni).";

const CLIENTS: u32 = 200;
const POLLED_PER_SECOND: f64 = 2.0;
const INTERVAL_MS: u64 = 200;
const ASKED_PER_SECOND: f64 = 5.0;
const DELAY_NS: f64 = 1e8;
const DELAY: [&str; 2] = ["--delay", "http1=100000000"];
/// The normal quantile for ten intervals that hold together 95 times in 100.
const Z: f64 = 2.81;
const WIDEST: f64 = 0.03;
/// A short run cannot tell so much.
const QUICK_WIDEST: f64 = 0.1;

pub(crate) fn check(options: &Options) -> anyhow::Result<Vec<Row>> {
    let window_ms = options.choose(30_000, 4000);
    let widest = options.choose(WIDEST, QUICK_WIDEST);
    let polls = Load::Interval {
        interval_ms: INTERVAL_MS,
    };
    let polled = cell(Delivery::ShortPoll, POLLED_PER_SECOND, polls, window_ms)?;
    let polled = trials::measure(&trials::spec(polled, &[])?)?;
    let asked = |window_ms| {
        cell(
            Delivery::LongPoll,
            ASKED_PER_SECOND,
            Load::Events {},
            window_ms,
        )
    };
    let delayed = trials::measure(&trials::spec(asked(window_ms)?, &DELAY)?)?;
    let mut rows = ages(&polled, widest)?;
    rows.extend(finds(&polled, widest)?);
    rows.extend(gaps(&polled, &delayed, widest)?);
    Ok(rows)
}

fn cell(
    delivery: Delivery,
    events_per_second: f64,
    load: Load,
    window_ms: u32,
) -> anyhow::Result<Cell> {
    Ok(Cell {
        workload: Workload::Updates {
            delivery,
            events_per_second,
            arrivals: Arrivals::Poisson,
            payload_bytes: 64,
            topics: CLIENTS,
            updates_per_connection: None,
        },
        load,
        connections: CLIENTS,
        wait: Wait::Spin,
        ..trials::echo("http1-persistent", window_ms)?
    })
}

fn updates(measured: &Measurement) -> anyhow::Result<UpdateCounts> {
    measured.updates.context("updates are counted")
}

/// Returns how long a reply is on its way, about: half of what a poll takes. A late poll is as good as a longer way.
fn way_back(polled: &Measurement) -> f64 {
    mean(polled, Metric::ServiceTime) / 2.0 + mean(polled, Metric::ScheduleLag)
}

/// How old news is: mean and quantiles of an even distribution.
fn ages(polled: &Measurement, widest: f64) -> anyhow::Result<Vec<Row>> {
    let count = updates(polled)?.received as f64;
    let back_ns = way_back(polled);
    let span_ns = INTERVAL_MS as f64 * 1e6;
    let mut rows = vec![time(
        "polls: mean age",
        span_ns / 2.0 + back_ns,
        mean(polled, Metric::Staleness),
        Z * span_ns / (12.0 * count).sqrt(),
        widest,
    )];
    for share in [0.5, 0.9, 0.99] {
        rows.push(time(
            &format!("polls: p{:.0} of the age", share * 100.0),
            share * span_ns + back_ns,
            quantile(polled, Metric::Staleness, share),
            Z * span_ns * (share * (1.0 - share) / count).sqrt(),
            widest,
        ));
    }
    Ok(rows)
}

/// What polls find.
fn finds(polled: &Measurement, widest: f64) -> anyhow::Result<Vec<Row>> {
    let counts = updates(polled)?;
    let polls = polled.operations.verified as f64;
    let (empty, received) = (counts.empty_polls as f64, counts.received as f64);
    let filled = polls - empty;
    let events = POLLED_PER_SECOND * INTERVAL_MS as f64 / 1e3;
    let none = (-events).exp();
    let each = events / (1.0 - none);
    // The variance of a Poisson number that is not zero.
    let each_width = Z * (each * (1.0 + events - each) / filled).sqrt();
    let missed_width = each_width / each.powi(2);
    Ok(vec![
        share(
            "polls that find nothing",
            none,
            empty / polls,
            Z * (none * (1.0 - none) / polls).sqrt(),
            widest,
        ),
        number(
            "events of a poll that finds some",
            each,
            received / filled,
            each_width,
            widest,
        ),
        // A small share of a small share: as wide as it is, its own size would be no measure.
        share(
            "events that are not the latest of their poll",
            1.0 - 1.0 / each,
            1.0 - filled / received,
            missed_width,
            f64::INFINITY,
        ),
    ])
}

/// What comes while a long poll's answer is on its way.
fn gaps(polled: &Measurement, asked: &Measurement, widest: f64) -> anyhow::Result<Vec<Row>> {
    const SOON_NS: f64 = 1e7;
    let counts = updates(asked)?;
    let (polls, received) = (asked.operations.verified as f64, counts.received as f64);
    // The answer's delay, its way to the client and the next question's way back.
    let gap_ns = DELAY_NS + 2.0 * way_back(polled);
    let events = ASKED_PER_SECOND * gap_ns / 1e9;
    let none = (-events).exp();
    let each = events + none;
    let in_gap = events / each;
    let late = &asked.histograms[&Metric::Staleness];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "110 ms"
    )]
    let late = late.count_between((DELAY_NS + SOON_NS) as u64, u64::MAX >> 1) as f64;
    // Those that came shortly before the question are not told from those that came after it.
    let told = in_gap * (1.0 - SOON_NS / gap_ns);
    let spread = none * in_gap.powi(2) + (1.0 - in_gap).powi(2) * (events + events.powi(2));
    Ok(vec![
        number(
            "events of a long poll",
            each,
            received / polls,
            Z * ((none + events + events.powi(2) - each.powi(2)) / polls).sqrt(),
            widest,
        ),
        share(
            "events in the gap, but for its last 10 ms",
            told,
            late / received,
            Z * (spread / polls).sqrt() / each,
            widest,
        ),
        time(
            "long polls: mean age",
            DELAY_NS + way_back(polled) + in_gap * gap_ns / 2.0,
            mean(asked, Metric::Staleness),
            Z * gap_ns / received.sqrt(),
            widest,
        ),
    ])
}

fn time(what: &str, expected: f64, found: f64, width: f64, widest: f64) -> Row {
    judged(what, (expected, found, width), widest, units::time)
}

fn share(what: &str, expected: f64, found: f64, width: f64, widest: f64) -> Row {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    judged(what, (expected, found, width), widest, percent)
}

fn number(what: &str, expected: f64, found: f64, width: f64, widest: f64) -> Row {
    let write = |number: f64| format!("{number:.3}");
    judged(what, (expected, found, width), widest, write)
}

/// Passes when the measured interval holds what is expected, and is narrow enough to say something.
fn judged(
    what: &str,
    (expected, found, width): (f64, f64, f64),
    widest: f64,
    write: impl Fn(f64) -> String,
) -> Row {
    let is_inside = (found - expected).abs() <= width;
    Row::judged(
        what,
        write(expected),
        format!("{} ± {:.1} %", write(found), width / expected * 100.0),
        is_inside && width <= expected * widest,
    )
}
