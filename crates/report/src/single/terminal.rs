//! A result in plain text, at most 100 columns wide, its tables narrower where the terminal is: both clocks, set-up, answers, bytes, health, and how far to trust it.

use std::fmt::Write;
use std::ops::Range;

use sockrates_core::lane::Lifecycle;
use sockrates_core::manifest::RunStatus;
use sockrates_core::record::Metric;
use sockrates_core::run_result::{
    BaselineComparison, Percentile, RunResult, TimeSummary, TrustLevel,
};
use sockrates_core::summary::{Qualifier, Unit, Verdict};
use sockrates_core::units;
use sockrates_core::verdict::Flag;

use crate::metrics;
use crate::text::{self, paragraph};

/// How wide names at the left are.
const NAMES: usize = 17;
/// How wide a number is.
const NUMBERS: usize = 11;

/// Tells a result.
pub(super) fn tell(result: &RunResult, columns: usize) -> String {
    let mut all = heading(result);
    all.push('\n');
    times(&mut all, result, columns);
    set_up(&mut all, result, columns);
    all.push('\n');
    for (name, words) in facts(result) {
        fact(&mut all, name, &words);
    }
    for threshold in &result.thresholds {
        let value = threshold.value.map_or_else(
            || "too few operations say what it is".to_owned(),
            |value| threshold_value(&threshold.threshold, value),
        );
        let verdict = if threshold.fails { "FAILED" } else { "passed" };
        let threshold = text::line(&threshold.threshold);
        fact(
            &mut all,
            "fail if",
            &format!("{threshold}: {verdict}, measured {value}"),
        );
    }
    if let Some(baseline) = &result.baseline {
        all.push('\n');
        writeln!(all, "  against {}:", text::line(&baseline.file)).expect(STRING);
        for comparison in &baseline.comparisons {
            all += &compared(comparison);
        }
    }
    all
}

const STRING: &str = "writing to a string cannot fail";

fn heading(result: &RunResult) -> String {
    let mut all = String::new();
    let connections = match (result.lifecycle, result.connections) {
        (_, 1) => "1 connection".to_owned(),
        (Lifecycle::Persistent, n) => format!("{n} connections"),
        (Lifecycle::PerRequest, n) => format!("{n} connections at a time"),
    };
    let threads = match result.threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    };
    let rates = |rate: f64| {
        let each = units::rate(rate / f64::from(result.connections.max(1)));
        format!("{} ({each} a connection)", units::rate(rate))
    };
    let load = match (result.load.model.as_str(), result.load.offered_per_second) {
        ("closed", _) => "closed loop".to_owned(),
        ("open-poisson", Some(rate)) => format!("{} at random instants", rates(rate)),
        (_, Some(rate)) => format!("{} at equal distances", rates(rate)),
        (_, None) => "receiving only".to_owned(),
    };
    paragraph(&mut all, &text::line(&result.url), "  ");
    let lane = &result.lane;
    paragraph(
        &mut all,
        &format!("{lane}, {connections}, {load}, {threads}"),
        "  ",
    );
    let what = if result.load.model == "events" {
        "messages"
    } else {
        "verified"
    };
    let books = &result.operations;
    let mut counts = format!("{} {what}, {} failed", books.verified, books.failed);
    if books.unfinished > 0 {
        let oldest = books.oldest_unfinished_ns.unwrap_or(0) as f64;
        counts += &format!(
            ", {} unfinished (the oldest for {})",
            books.unfinished,
            units::time(oldest)
        );
    }
    let trials = match result.trials {
        1 => String::new(),
        n => format!(" over {n} trials"),
    };
    let window = units::time(result.window_ns as f64);
    let partial = match result.status {
        RunStatus::Complete => "",
        RunStatus::Partial => ", interrupted",
    };
    let rate = result.throughput_per_second.map_or_else(
        || text::NONE.to_owned(),
        |rate| {
            format!(
                "{}{}",
                bound(result.throughput_qualifier),
                units::rate(rate)
            )
        },
    );
    paragraph(
        &mut all,
        &format!("{rate}: {counts} in {window}{trials}{partial}"),
        "  ",
    );
    all
}

fn bound(qualifier: Qualifier) -> &'static str {
    match qualifier {
        Qualifier::Equal => "",
        Qualifier::AtLeast => "≥ ",
    }
}

/// The clocks that a user's wait is read from.
const CLOCKS: [(Metric, &str, &str); 6] = [
    (
        Metric::ResponseTime,
        "response time",
        "from the instant it was due",
    ),
    (
        Metric::ServiceTime,
        "service time",
        "from its start, with connecting",
    ),
    (Metric::Exchange, "  exchange", "without connecting"),
    (Metric::ConnectionWait, "  waiting", "for a free connection"),
    (Metric::Close, "closing", "after the reply"),
    (Metric::InterArrival, "between messages", "on a connection"),
];

fn times(all: &mut String, result: &RunResult, columns: usize) {
    let clocks = CLOCKS
        .into_iter()
        .filter_map(|(metric, name, meaning)| Some((name, result.times.get(&metric)?, meaning)));
    table(all, &clocks.collect::<Vec<_>>(), true, columns);
}

/// A name, its times and what they are.
type Row<'a> = (&'static str, &'a TimeSummary, &'static str);

/// Writes rows below their percentiles, and again for those that a line has no room for. A table that goes on another one of one
/// part needs no heading.
fn table(all: &mut String, rows: &[Row<'_>], has_heading: bool, columns: usize) {
    let Some((_, any, _)) = rows.first() else {
        return;
    };
    let names = any
        .percentiles
        .iter()
        .map(|one| format!("p{}", one.percentile));
    let names: Vec<_> = names.chain(["max".to_owned()]).collect();
    let fitting = (columns.saturating_sub(2 + NAMES) / NUMBERS).max(1);
    for (part, names) in names.chunks(fitting).enumerate() {
        if has_heading || any.percentiles.len() >= fitting {
            let names = names.iter().map(|name| format!("{name:>NUMBERS$}"));
            writeln!(all, "  {:NAMES$}{}", "", names.collect::<String>()).expect(STRING);
        }
        for row in rows {
            let numbers = part * fitting..part * fitting + names.len();
            write_row(all, *row, numbers, columns);
        }
    }
}

/// What opening a connection took; what takes no time over this transport is left out.
fn set_up(all: &mut String, result: &RunResult, columns: usize) {
    let is_websocket = result.transport == "websocket";
    let opened = result.network.connections_opened;
    let parts = [
        (Metric::Connect, "  connect", "TCP"),
        (Metric::Handshake, "  upgrade", "to WebSocket"),
        (Metric::FirstByte, "  first byte", "of the first reply"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(metric, _, _)| is_websocket || *metric != Metric::Handshake)
        .filter_map(|(metric, name, meaning)| Some((name, result.times.get(&metric)?, meaning)))
        .collect();
    if parts.is_empty() {
        return;
    }
    let connections = if opened == 1 {
        "connection"
    } else {
        "connections"
    };
    let resolve = result.network.resolve_ns.map_or_else(String::new, |ns| {
        format!("; looking the name up took {}", units::time(ns as f64))
    });
    writeln!(all, "  {opened} {connections} opened{resolve}").expect(STRING);
    table(all, &parts, false, columns);
}

fn write_row(
    all: &mut String,
    (name, time, meaning): Row<'_>,
    numbers: Range<usize>,
    columns: usize,
) {
    let mut line = format!("  {name:NAMES$}");
    let all_numbers = time.percentiles.iter().map(percentile);
    let all_numbers = all_numbers.chain([units::time(time.max_ns as f64)]);
    for number in all_numbers.skip(numbers.start).take(numbers.len()) {
        line += &format!("{number:>NUMBERS$}");
    }
    if line.chars().count() + 2 + meaning.chars().count() <= columns {
        line += &format!("  {meaning}");
    }
    writeln!(all, "{line}").expect(STRING);
}

fn percentile(one: &Percentile) -> String {
    one.ns.map_or_else(
        || text::NONE.to_owned(),
        |ns| format!("{}{}", bound(one.qualifier), units::time(ns as f64)),
    )
}

fn fact(all: &mut String, name: &str, words: &str) {
    let indent = " ".repeat(2 + NAMES);
    paragraph_at(all, &format!("  {name:NAMES$}"), words, &indent);
}

/// As [`paragraph`], behind a name of fixed width.
fn paragraph_at(all: &mut String, name: &str, words: &str, indent: &str) {
    let mut lines = String::new();
    paragraph(
        &mut lines,
        &format!("{} {words}", "x".repeat(name.len() - 1)),
        indent,
    );
    *all += &lines.replacen(&format!("{} ", "x".repeat(name.len() - 1)), name, 1);
}

fn facts(result: &RunResult) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let answers = &result.answers;
    if !answers.statuses.is_empty() {
        facts.push(("status", counts(answers.statuses.iter())));
    }
    if !answers.close_codes.is_empty() {
        facts.push(("closed with code", counts(answers.close_codes.iter())));
    }
    if answers.unasked > 0 {
        let repeated = if answers.repeated > 0 {
            format!(", {} of them an answer once more", answers.repeated)
        } else {
            String::new()
        };
        facts.push(("unasked", format!("{} messages{repeated}", answers.unasked)));
    }
    if let Some(each) = answers.received_bytes.checked_div(answers.received) {
        let rate =
            units::count(answers.received_bytes as f64 * 1e9 / result.window_ns.max(1) as f64);
        facts.push(("payload", format!("{rate}B/s, {each} B a message")));
    }
    let failures = result
        .failures
        .iter()
        .map(|(kind, count)| format!("{count} × {kind}"));
    let failures: Vec<_> = failures.collect();
    if !failures.is_empty() {
        facts.push(("failures", failures.join(", ")));
    }
    facts.push(("bytes", bytes(result)));
    facts.push(("health", health(result)));
    let word = match result.trust.level {
        TrustLevel::Good => "good",
        TrustLevel::Bounded => "with bounds",
        TrustLevel::Doubtful => "doubtful",
        TrustLevel::None => "none",
    };
    let reasons: Vec<_> = std::iter::once(word.to_owned())
        .chain(result.trust.reasons.iter().map(|reason| text::line(reason)))
        .collect();
    facts.push(("trust", reasons.join("; ")));
    facts
}

fn counts<'a>(counts: impl Iterator<Item = (&'a u16, &'a u64)>) -> String {
    let parts: Vec<_> = counts
        .map(|(code, count)| format!("{code}: {count}"))
        .collect();
    parts.join(", ")
}

fn bytes(result: &RunResult) -> String {
    let network = &result.network;
    let operations = network.operations.max(1) as f64;
    let again = if network.segments_retransmitted > 0 {
        format!(", {} segments sent again", network.segments_retransmitted)
    } else {
        String::new()
    };
    let what = if result.load.model == "events" {
        "a message"
    } else {
        "an operation"
    };
    format!(
        "sent {:.1} B {what}, received {:.1} B; in all {}B and {}B, heads and handshakes included{again}",
        network.bytes_sent as f64 / operations,
        network.bytes_received as f64 / operations,
        spaced(network.bytes_sent),
        spaced(network.bytes_received),
    )
}

/// A count with room for a unit behind it.
fn spaced(count: u64) -> String {
    let count = units::count(count as f64);
    if count.ends_with(|c: char| c.is_ascii_digit()) {
        count + " "
    } else {
        count
    }
}

fn health(result: &RunResult) -> String {
    let health = &result.health;
    let mut parts = Vec::new();
    if let Some(lag_ns) = health.schedule_lag_p99_ns {
        parts.push(format!("schedule lag p99 {}", units::time(lag_ns as f64)));
    }
    match health.client_busy_share {
        Some(share) => parts.push(format!("client CPU {:.0} %", share * 100.0)),
        None => parts.push("client spins".to_owned()),
    }
    let limited = if health.is_client_limited {
        "the client was the limit"
    } else {
        "the client was not the limit"
    };
    parts.push(limited.to_owned());
    if health.flags.contains(&Flag::RunningServer) {
        parts.push("server CPU unknown".to_owned());
    }
    parts.join(", ")
}

/// Writes a measured value as its threshold does.
fn threshold_value(threshold: &str, value: f64) -> String {
    let subject = threshold.trim_start();
    if subject.starts_with("throughput") {
        units::rate(value)
    } else if threshold.trim_end().ends_with('%') {
        format!("{value:.3} %")
    } else if ["failed", "unfinished", "verified", "unasked"]
        .iter()
        .any(|name| subject.starts_with(name))
    {
        value.to_string()
    } else {
        units::time(value)
    }
}

fn compared(comparison: &BaselineComparison) -> String {
    let unit: Unit = metrics::unit(&comparison.metric);
    let number = |value| text::number(value, unit);
    let verdict = match (comparison.verdict, comparison.is_regression) {
        (_, true) => "WORSE",
        (Verdict::Different, false) => "better",
        (Verdict::SlightlyDifferent, _) => "within the margin",
        (Verdict::Equivalent, _) => "equivalent",
        (Verdict::Inconclusive, _) => "inconclusive",
    };
    let ratio = crate::findings::cell(comparison.ratio.as_ref(), comparison.verdict);
    let name = text::line(&comparison.metric).replace('_', " ");
    format!(
        "  {name:<20}{:>12} →{:>12}   {ratio:<22} {verdict}\n",
        number(comparison.baseline),
        number(comparison.value)
    )
}
