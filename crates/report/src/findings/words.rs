//! Findings as plain English: the only place that puts an effect into words.
//!
//! An effect whose verdict does not carry it is never stated: what is said of it then is the bound that the run can give.

use serde::Serialize;
use sockrates_core::finding::{
    Count, Counted, Effect, Estimator, Finding, Part, Reason, Scope, TwoModes,
};
use sockrates_core::summary::{Crossing, Estimate, Verdict};
use sockrates_core::units;

use crate::metrics;
use crate::text;

/// One of the three parts of a result.
#[derive(Serialize)]
pub(crate) struct Told {
    /// The part's anchor on the page.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What the part holds, and how to read it.
    pub(crate) detail: &'static str,
    /// What the run was for, by load point.
    pub(crate) leading: Vec<Group>,
    /// All the rest.
    pub(crate) others: Vec<Group>,
    /// What is said when nothing belongs here.
    pub(crate) empty: &'static str,
}

/// What was found at one load point.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Group {
    pub(crate) scope: String,
    pub(crate) lines: Vec<String>,
}

/// Tells findings in three parts, always in this order.
pub(crate) fn told(findings: &[Finding], place: &str) -> [Told; 3] {
    let here = match place {
        "loopback" => "Holds on this machine, over loopback".to_owned(),
        place => format!("Holds here: {}", text::line(place)),
    };
    let part = |part, id, title: String, detail, empty| {
        let of = |is_leading: bool| {
            let is_it = |found: &&Finding| found.part == part && found.is_leading == is_leading;
            groups(&findings.iter().filter(is_it).collect::<Vec<_>>(), findings)
        };
        Told {
            id,
            title,
            detail,
            leading: of(true),
            others: of(false),
            empty,
        }
    };
    [
        part(
            Part::Everywhere,
            "everywhere",
            "Holds everywhere".to_owned(),
            "Counted and exact, per message: the same on any machine. Each turn-around is one wait for the other end, and \
             adds a round trip on a network.",
            "Nothing was counted: this run has no cell with a fixed number of messages.",
        ),
        part(
            Part::Here,
            "here",
            here,
            "Timed: ratios of the first to the second with 95 % intervals, and both values.",
            "No difference was told.",
        ),
        part(
            Part::NotTold,
            "not-told",
            "Could not be told".to_owned(),
            "What this run leaves open, with the bound that it can give.",
            "Nothing that was asked is left open.",
        ),
    ]
}

/// Writes what leads, as plain text; of the rest how much there is, and where.
pub(crate) fn write_text(text: &mut String, part: &Told, rest: &str) {
    text::paragraph(text, &part.title, "");
    if part.leading.is_empty() && part.others.is_empty() {
        text::paragraph(text, &format!("  {}", part.empty), "  ");
    }
    for group in &part.leading {
        text::paragraph(text, &format!("  {}", group.scope), "  ");
        for line in &group.lines {
            text::paragraph(text, &format!("  - {line}"), "    ");
        }
    }
    let others: usize = part.others.iter().map(|group| group.lines.len()).sum();
    if others > 0 {
        text::paragraph(text, &format!("  {others} more {rest}"), "  ");
    }
    text.push('\n');
}

/// Writes all of it as Markdown.
pub(crate) fn write_markdown(page: &mut String, part: &Told) {
    *page += &format!("\n\n### {}\n", text::escaped_markdown(&part.title));
    if part.leading.is_empty() && part.others.is_empty() {
        *page += &format!("\n{}\n", part.empty);
    }
    for group in part.leading.iter().chain(&part.others) {
        *page += &format!("\n{}:\n\n", text::escaped_markdown(&group.scope));
        for line in &group.lines {
            *page += &format!("- {}\n", text::escaped_markdown(line));
        }
    }
}

/// Writes findings line by line, those of one load point together, those of one pair of lanes in one line.
fn groups(findings: &[&Finding], all: &[Finding]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut done: Vec<(&Scope, String)> = Vec::new();
    for finding in findings {
        let subject = subject(finding);
        if done.contains(&(&finding.scope, subject.clone())) {
            continue;
        }
        let is_same =
            |other: &&&Finding| other.scope == finding.scope && self::subject(other) == subject;
        let same: Vec<&Finding> = findings.iter().filter(is_same).copied().collect();
        let line = line(&same, all);
        done.push((&finding.scope, subject));
        let scope = scope(&finding.scope);
        match groups.iter_mut().find(|group| group.scope == scope) {
            Some(group) => group.lines.push(line),
            None => groups.push(Group {
                scope,
                lines: vec![line],
            }),
        }
    }
    groups
}

fn scope(scope: &Scope) -> String {
    let payload = match scope.payload_bytes {
        0 => String::new(),
        bytes => text::bytes(bytes),
    };
    let parts = [
        text::line(&scope.scenario),
        text::line(&scope.load),
        payload,
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// Joins what is said of one subject, and names what of it could not be told.
fn line(findings: &[&Finding], all: &[Finding]) -> String {
    let Some(first) = findings.first() else {
        return String::new();
    };
    let subject = subject(first);
    let wishes: Vec<String> = findings.iter().filter_map(|one| wish(one)).collect();
    let mut line = clauses(findings).join("; ");
    if !wishes.is_empty() {
        line = format!("to see news within {}: {subject}", wishes.join(" or "));
    } else if !subject.is_empty() {
        line = format!("{subject}: {line}");
    }
    if first.part == Part::Here {
        let open: Vec<String> = all
            .iter()
            .filter(|other| {
                other.part == Part::NotTold
                    && other.scope == first.scope
                    && self::subject(other) == subject
            })
            .filter_map(|other| metric(&other.effect))
            .collect();
        if !open.is_empty() && !subject.is_empty() {
            line += &format!("; not told: {}", text::sentence_list(&open));
        }
    }
    let mut modes: Vec<&TwoModes> = Vec::new();
    for one in findings.iter().flat_map(|finding| &finding.two_modes) {
        if !modes.contains(&one) {
            modes.push(one);
        }
    }
    let parts: Vec<String> = modes.into_iter().map(two_modes).collect();
    if !parts.is_empty() {
        line += &format!(" ({})", parts.join("; "));
    }
    line + "."
}

/// Says what is stated of one subject; several numbers of which the same is to be said share a clause.
fn clauses(findings: &[&Finding]) -> Vec<String> {
    let mut clauses: Vec<(Vec<String>, String)> = Vec::new();
    for finding in findings {
        let is_open = finding.part == Part::NotTold;
        let (names, rest) = match metric(&finding.effect) {
            Some(name) => (vec![name], ratio(finding)),
            None => (Vec::new(), clause(finding)),
        };
        match clauses.iter_mut().find(|known| is_open && known.1 == rest) {
            Some(known) => known.0.extend(names),
            None => clauses.push((names, rest)),
        }
    }
    let written = clauses.into_iter().map(|(names, rest)| match names.len() {
        0 => rest,
        1 => format!("{} {rest}", text::sentence_list(&names)),
        _ => format!("{} {}", text::sentence_list(&names), plural(&rest)),
    });
    written.collect()
}

/// Says of several numbers what is said of one.
fn plural(clause: &str) -> String {
    let verbs = [
        ("has ", "have "),
        ("is ", "are "),
        ("differs ", "differ "),
        ("concludes ", "conclude "),
        ("varies ", "vary "),
    ];
    let mut forms = verbs.into_iter();
    forms
        .find_map(|(one, many)| Some(format!("{many}{}", clause.strip_prefix(one)?)))
        .unwrap_or_else(|| clause.to_owned())
}

/// Says what two groups of trials are.
pub(crate) fn two_modes(found: &TwoModes) -> String {
    format!(
        "trials of {} fall into two groups: {} near {} and {} near {}",
        lane(&found.cell),
        found.low_trials,
        units::time(found.low_ns),
        found.high_trials,
        units::time(found.high_ns)
    )
}

fn lane(id: &str) -> String {
    text::line(id.split('.').nth(1).unwrap_or(id))
}

/// Names what a finding is about; those of the same subject stand side by side.
fn subject(finding: &Finding) -> String {
    match &finding.effect {
        Effect::Difference { lane, is_null, .. } if *is_null => {
            format!(
                "two copies of {}",
                text::line(lane.trim_end_matches("@null"))
            )
        }
        Effect::Difference {
            lane, reference, ..
        } => format!("{} against {}", text::line(lane), text::line(reference)),
        Effect::Counted { lane, .. } | Effect::Level { lane, .. } => text::line(lane),
        Effect::Growth { lane, metric, .. } => {
            format!("{}, {}", text::line(lane), metric_text(metric))
        }
        Effect::Change { what, .. } => text::line(what),
        Effect::BreakEven { kept, other, .. } => {
            format!("{} instead of {}", text::line(kept), text::line(other))
        }
        Effect::PollingBreakEven { poll, push, .. } => {
            format!(
                "polling over {} instead of {}",
                text::line(poll),
                text::line(push)
            )
        }
        Effect::WakeUp { .. } => "waking it".to_owned(),
        // The answer: wishes that have the same one share a line.
        Effect::Freshness { .. } => freshness(finding),
    }
}

/// Names how soon news shall be seen.
fn wish(finding: &Finding) -> Option<String> {
    match finding.effect {
        Effect::Freshness { within_ms, .. } => Some(units::time(f64::from(within_ms) * 1e6)),
        _ => None,
    }
}

fn metric(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Difference { metric, .. } | Effect::Change { metric, .. } => {
            Some(metric_text(metric))
        }
        _ => None,
    }
}

/// Says what is stated of the subject.
fn clause(finding: &Finding) -> String {
    let number = |value: f64| match finding.unit {
        Some(unit) => text::number(value, unit),
        None => format!("{:.0}", value.ceil()),
    };
    match &finding.effect {
        Effect::Counted { per_message, .. } => counts(per_message),
        Effect::Difference { metric, .. } | Effect::Change { metric, .. } => {
            format!("{} {}", metric_text(metric), ratio(finding))
        }
        Effect::BreakEven { crossing, .. } => match (crossing, &finding.estimate) {
            (Crossing::Found, Some(found)) => format!(
                "takes less time in all from {} messages on a connection on [{}–{}]",
                number(found.value),
                number(found.low),
                number(found.high)
            ),
            (Crossing::Always, _) if finding.part == Part::Here => {
                "takes less time in all from the first message on".to_owned()
            }
            (Crossing::Never, _) if finding.part == Part::Here => {
                "takes less time in all at no number of messages".to_owned()
            }
            _ => "from how many messages on it takes less time in all".to_owned(),
        },
        Effect::PollingBreakEven {
            events_per_second,
            is_extrapolated,
            ..
        } => polling(finding, *events_per_second, *is_extrapolated),
        Effect::Freshness { .. } => freshness(finding),
        Effect::Growth { members, .. } => match (&finding.estimate, finding.part) {
            (Some(found), Part::Here) => format!(
                "each further member adds {} [{} – {}], in rooms of {} to {}",
                number(found.value),
                number(found.low),
                number(found.high),
                members.0,
                members.1
            ),
            _ => "what a further member adds".to_owned(),
        },
        Effect::WakeUp { awake_ns } => wake_up(finding, *awake_ns),
        Effect::Level { metric, .. } => {
            let value = finding.estimate.map_or_else(
                || "has too few operations".to_owned(),
                |found| {
                    let range = text::number_range(found.low, found.high, finding.unit);
                    format!("{} [{range}]", number(found.value))
                },
            );
            format!("{} {value}", metric_text(metric))
        }
    }
}

fn rate_of_events(per_second: f64) -> String {
    let word = match each_text(per_second).as_str() {
        "1" => " event/s",
        _ => " events/s",
    };
    units::rate(per_second).replace("/s", word)
}

fn wake_up(finding: &Finding, awake_ns: Option<f64>) -> String {
    let as_is = finding.estimate.map_or_else(
        || text::NONE.to_owned(),
        |found| {
            let range = text::number_range(found.low, found.high, finding.unit);
            format!("{} [{range}]", units::time(found.value))
        },
    );
    let awake = match awake_ns {
        Some(ns) => format!("{} when it was kept awake", units::time(ns)),
        None => "idle priority was refused, so that no CPU could be kept awake".to_owned(),
    };
    format!("took {as_is} as it is, {awake}; times of cells measured as is hold such wake-ups")
}

fn polling(finding: &Finding, events_per_second: f64, is_extrapolated: bool) -> String {
    let rate = rate_of_events(events_per_second);
    match finding.estimate.filter(|_| finding.part == Part::Here) {
        Some(found) => format!(
            "at {rate} costs less CPU time from an interval of {} on [{} – {}]",
            units::time(found.value),
            units::time(found.low),
            units::time(found.high)
        ),
        None if is_extrapolated => format!(
            "at {rate}, the interval from which on it costs less CPU time lies outside of those measured"
        ),
        None => format!("at {rate}, from which interval on it costs less CPU time"),
    }
}

fn freshness(finding: &Finding) -> String {
    let Effect::Freshness {
        way,
        events_per_second,
        staleness_p99_ns,
        bytes_per_second,
        requests_per_second,
        rivals,
        ..
    } = &finding.effect
    else {
        return String::new();
    };
    let cpu = finding
        .estimate
        .map_or_else(|| text::NONE.to_owned(), |found| units::time(found.value));
    let bytes = bytes_per_second.map(|bytes| format!(", {} B", units::count(bytes)));
    let requests = requests_per_second.map(|each| match each {
        each if each < 0.005 => ", no request".to_owned(),
        each => format!(", {each:.2} requests"),
    });
    let names: Vec<String> = rivals.iter().map(|rival| text::line(rival)).collect();
    let (least, rivals) = if names.is_empty() {
        (" costs least", String::new())
    } else {
        let rivals = text::sentence_list(&names);
        (
            "",
            format!("; {rivals} cannot be told to cost more or less"),
        )
    };
    format!(
        "{}{least}: {cpu} of CPU of both ends{}{} per client and second, staleness p99 {}, at {}{rivals}",
        text::line(way),
        bytes.unwrap_or_default(),
        requests.unwrap_or_default(),
        units::time(*staleness_p99_ns),
        rate_of_events(*events_per_second)
    )
}

/// Writes a ratio with its interval, both values and its verdict, or the bound of what was not told.
fn ratio(finding: &Finding) -> String {
    let verdict = finding.verdict.unwrap_or(Verdict::Inconclusive);
    if finding.estimator == Estimator::Count {
        return counted(finding, verdict);
    }
    if let Some(reason) = finding.reason {
        return match reason {
            Reason::FewOperations => "has too few operations in each trial",
            Reason::OnlyBounds => "has only bounds",
            Reason::FewBlocks => "has no interval: too few blocks",
            Reason::Unjudged => "is not judged",
        }
        .to_owned();
    }
    let Some(estimate) = finding.estimate else {
        return "has no interval".to_owned();
    };
    if verdict == Verdict::Inconclusive {
        let needed = match finding.blocks_needed {
            Some(blocks) => format!("; about {blocks} blocks would tell"),
            None => String::new(),
        };
        return match finding.bound {
            Some(bound) => format!("differs at most {}{needed}", at_most(bound)),
            None => "concludes nothing".to_owned(),
        };
    }
    let values = match (finding.values, finding.unit) {
        (Some((one, other)), Some(unit)) => {
            let against = match finding.effect {
                Effect::Change { .. } => "after",
                _ => "against",
            };
            format!(
                " ({} {against} {})",
                text::number(one, unit),
                text::number(other, unit)
            )
        }
        (Some((one, other)), None) => {
            format!(" ({} after {})", text::times(one), text::times(other))
        }
        _ => String::new(),
    };
    let word = match verdict {
        Verdict::Different => "",
        Verdict::SlightlyDifferent => ", slightly different",
        Verdict::Equivalent | Verdict::Inconclusive => ", equivalent",
    };
    format!("{}{values}{word}", with_interval(&estimate))
}

/// Writes a count that is compared: exact, or the same number in no two trials.
fn counted(finding: &Finding, verdict: Verdict) -> String {
    match (finding.values, verdict) {
        (Some((one, other)), Verdict::Equivalent) if each_text(one) == each_text(other) => {
            format!("{} as before", each_text(one))
        }
        (Some((one, other)), Verdict::Equivalent) => {
            format!(
                "{} after {}, within what varies",
                each_text(one),
                each_text(other)
            )
        }
        (Some((one, other)), Verdict::Different | Verdict::SlightlyDifferent) => {
            format!("{} after {}, different", each_text(one), each_text(other))
        }
        _ => "varies or was not counted".to_owned(),
    }
}

/// Writes a bound so that it is never below the truth.
fn at_most(bound: f64) -> String {
    let digits = if bound < 9.95 { 100.0 } else { 1.0 };
    format!("{}×", (bound * digits).ceil() / digits)
}

/// Writes an estimate: `4.1× [3.9–4.3]`.
pub(crate) fn with_interval(estimate: &Estimate) -> String {
    format!(
        "{} [{}–{}]",
        text::times(estimate.value),
        text::plain_ratio(estimate.low),
        text::plain_ratio(estimate.high)
    )
}

/// Writes a ratio for a table: only where the verdict carries it, else what its interval excludes.
pub(crate) fn cell(estimate: Option<&Estimate>, verdict: Verdict) -> String {
    match (estimate, verdict) {
        (None, _) => "not told".to_owned(),
        (Some(found), Verdict::Inconclusive) => format!(
            "not told [{}–{}]",
            text::plain_ratio(found.low),
            text::plain_ratio(found.high)
        ),
        (Some(found), _) => with_interval(found),
    }
}

fn counts(all: &[Count]) -> String {
    let of = |what: Counted| {
        all.iter()
            .find(|count| count.what == what)
            .map(|count| count.each)
    };
    let sum =
        |parts: [Counted; 3]| -> Option<f64> { parts.into_iter().map(of).sum::<Option<f64>>() };
    let mut clauses = Vec::new();
    let waits = [Counted::Connects, Counted::Handshakes, Counted::Exchanges];
    if let Some(total) = sum(waits) {
        let names = ["connect", "handshake", "exchange"].into_iter().zip(waits);
        let parts: Vec<String> = names
            .filter_map(|(name, what)| {
                let each = of(what).filter(|each| *each >= 0.0005)?;
                Some(format!("{} {name}", each_text(each)))
            })
            .collect();
        let total = each_text(total);
        let turn_arounds = match total.as_str() {
            "1" => "turn-around",
            _ => "turn-arounds",
        };
        clauses.push(format!("{total} {turn_arounds} ({})", parts.join(", ")));
    }
    let sent = [
        Counted::BytesSent,
        Counted::PayloadSent,
        Counted::FramingSent,
        Counted::HandshakeSent,
    ];
    let received = [
        Counted::BytesReceived,
        Counted::PayloadReceived,
        Counted::FramingReceived,
        Counted::HandshakeReceived,
    ];
    for (name, [total, payload, framing, handshake]) in [("sent", sent), ("received", received)] {
        let Some(total) = of(total) else { continue };
        let parts = [
            ("payload", of(payload)),
            ("headers and frames", of(framing)),
            ("handshake", of(handshake)),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter_map(|(name, each)| {
                let each = each.filter(|each| *each >= 0.0005)?;
                Some(format!("{} {name}", each_text(each)))
            })
            .collect();
        clauses.push(format!(
            "{} B {name} ({})",
            each_text(total),
            parts.join(", ")
        ));
    }
    let pair = |one: Counted, other: Counted| Some((each_text(of(one)?), each_text(of(other)?)));
    if let Some((sent, received)) = pair(Counted::SegmentsSent, Counted::SegmentsReceived) {
        clauses.push(format!("{sent} and {received} data segments"));
    }
    if let Some(each) = of(Counted::Connections) {
        // Each takes an ephemeral port of its own.
        let (connections, ports) = match each_text(each).as_str() {
            "1" => ("connection", "port"),
            _ => ("connections", "ports"),
        };
        let each = each_text(each);
        clauses.push(format!("{each} {connections} and {ports}"));
    }
    let calls = pair(Counted::ClientSystemCalls, Counted::ServerSystemCalls);
    if let Some((client, server)) = calls {
        clauses.push(format!(
            "{client} and {server} system calls of client and server"
        ));
    }
    let work = pair(Counted::ClientInstructions, Counted::ServerInstructions);
    if let Some((client, server)) = work {
        clauses.push(format!(
            "{client} and {server} user-space instructions of client and server"
        ));
    }
    clauses.join("; ")
}

/// Writes a count per message: whole where it is, else with up to three decimals.
fn each_text(each: f64) -> String {
    let text = format!("{each:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Names a number as people do: `service time p50`.
pub(crate) fn metric_text(name: &str) -> String {
    match name {
        metrics::CPU => "CPU time of both ends".to_owned(),
        metrics::SERVER_CPU => "CPU time of the server".to_owned(),
        metrics::CLIENT_SECOND_CPU => "CPU time of both ends per client and second".to_owned(),
        name => match name.rsplit_once("_p") {
            Some((time, percentile)) if percentile.starts_with(|c: char| c.is_ascii_digit()) => {
                format!(
                    "{} p{}",
                    time.replace('_', " "),
                    percentile.replace('_', ".")
                )
            }
            _ => text::line(name).replace('_', " "),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_up() {
        assert_eq!(at_most(1.381), "1.39×");
        assert_eq!(at_most(12.2), "13×");
    }

    #[test]
    fn several_numbers_have_a_plural() {
        let said = [
            ("has only bounds", "have only bounds"),
            ("is not judged", "are not judged"),
            ("differs at most 1.2×", "differ at most 1.2×"),
            ("2× [1.9–2.1]", "2× [1.9–2.1]"),
        ];
        for (one, many) in said {
            assert_eq!(plural(one), many);
        }
    }

    #[test]
    fn what_is_not_carried_is_not_written() {
        let found = Estimate {
            value: 1.17,
            low: 0.95,
            high: 1.39,
        };
        let open = cell(Some(&found), Verdict::Inconclusive);
        assert_eq!(open, "not told [0.95–1.39]");
        assert_eq!(cell(Some(&found), Verdict::Different), "1.17× [0.95–1.39]");
        assert_eq!(cell(None, Verdict::Different), "not told");
    }
}
