//! The answers as tables: what the run was for, what differences consist of, what a message costs.

mod news;

use serde::Serialize;
use sockrates_core::capacity::Bound;
use sockrates_core::record::CapacitySearch;
use sockrates_core::summary::{
    Attribution, BreakEven, Comparison, Crossing, Estimate, Summary, Unit, Verdict,
};
use sockrates_core::units;

use crate::attribution;
use crate::counted;
use crate::findings;
use crate::metrics::{self, CLIENT_CPU, CPU, SERVER_CPU};
use crate::text;
use crate::view::View;

/// One table, all text.
#[derive(Debug, Serialize)]
pub(crate) struct Sheet {
    pub(crate) title: &'static str,
    /// How to read it.
    pub(crate) detail: &'static str,
    pub(crate) heads: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Makes all tables that the run has rows for.
pub(crate) fn of(view: &View<'_>, summary: &Summary) -> Vec<Sheet> {
    let sheets = [
        primary(summary),
        attributions(summary),
        above_floor(summary),
        break_evens(summary),
        model_checks(summary),
        demand(summary),
        capacity(view),
        news::news(view, summary),
        news::polling(view, summary),
        news::rooms(view, summary),
        news::room_fits(summary),
        news::games(view, summary),
        counted::table(view, summary),
    ];
    sheets
        .into_iter()
        .filter(|sheet| !sheet.rows.is_empty())
        .collect()
}

fn primary(summary: &Summary) -> Sheet {
    let is_shown = |found: &&Comparison| found.is_primary || found.is_null;
    let row = |found: &Comparison| {
        vec![
            format!("{} : {}", lane(&found.cell), lane(&found.reference)),
            text::line(&found.metric),
            findings::cell(found.ratio.as_ref(), found.verdict),
            found
                .difference
                .filter(|_| found.verdict != Verdict::Inconclusive)
                .map_or_else(none, |difference| {
                    unit_interval(&difference, metrics::unit(&found.metric))
                }),
            p(found.p_adjusted.unwrap_or(found.p_value)),
            found
                .detectable
                .map_or_else(none, |share| format!("{:.1} %", share * 100.0)),
            verdict(found.verdict).to_owned(),
        ]
    };
    Sheet {
        title: "What this run was for",
        detail: "Named before anything was measured: ratios within blocks with exact 95 % intervals; p-values of the signed-rank \
                 test, corrected for asking several questions (Holm). The null rows compare two copies of the same lane: what \
                 they show is noise.",
        heads: vec![
            "comparison",
            "metric",
            "ratio",
            "difference",
            "p",
            "detectable from",
            "verdict",
        ],
        rows: summary
            .comparisons
            .iter()
            .filter(is_shown)
            .map(row)
            .collect(),
    }
}

fn attributions(summary: &Summary) -> Sheet {
    let row = |found: &Attribution| {
        vec![
            format!(
                "{}, {} conn.",
                text::line(&found.scenario),
                found.connections
            ),
            text::line(&found.metric),
            effect(found, "total", &found.total),
            effect(found, "reuse", &found.reuse),
            effect(found, "protocol", &found.protocol),
            effect(found, "interaction", &found.interaction),
            effect(found, "reuse_main", &found.reuse_main),
            effect(found, "protocol_main", &found.protocol_main),
        ]
    };
    Sheet {
        title: "Keeping the connection, or the protocol?",
        detail: "From HTTP/1.1 with a connection per request to a WebSocket kept open, in two steps whose product is the whole: \
                 keep the HTTP connection, then change the protocol. Interaction: by how much keeping matters more over \
                 WebSocket, whose handshake is dearer. Main effects: reuse and protocol, each averaged over the other.",
        heads: vec![
            "load",
            "metric",
            "total",
            "keeping the connection",
            "the protocol",
            "interaction",
            "main effect of keeping",
            "main effect of the protocol",
        ],
        rows: summary.attributions.iter().map(row).collect(),
    }
}

fn above_floor(summary: &Summary) -> Sheet {
    let rows = summary.attributions.iter().flat_map(|found| {
        found.above_floor.iter().map(|(lane, above)| {
            vec![
                format!(
                    "{}, {} conn.",
                    text::line(&found.scenario),
                    found.connections
                ),
                text::line(&found.metric),
                text::line(lane),
                if above.low > 0.0 || above.high < 0.0 {
                    unit_interval(above, metrics::unit(&found.metric))
                } else {
                    "not told".to_owned()
                },
            ]
        })
    });
    Sheet {
        title: "Above the floor",
        detail: "The same as differences to bare TCP with its connection kept. Loopback makes the floor so low that ratios \
                 exaggerate; these add to whatever a real network costs.",
        heads: vec!["load", "metric", "lane", "above tcp-persistent"],
        rows: rows.collect(),
    }
}

fn break_evens(summary: &Summary) -> Sheet {
    let row = |found: &BreakEven| {
        vec![
            text::line(&found.kept.to_string()),
            text::line(&found.fresh.to_string()),
            found.messages.as_ref().map_or_else(
                || crossing(found.crossing).to_owned(),
                |n| {
                    let whole = |n: f64| format!("{:.0}", n.ceil());
                    format!("{} [{}–{}]", whole(n.value), whole(n.low), whole(n.high))
                },
            ),
            unit_interval(&found.set_up_ns, Unit::Ns),
            unit_interval(&found.message_ns, Unit::Ns),
            unit_interval(&found.fresh_ns, Unit::Ns),
        ]
    };
    Sheet {
        title: "From how many messages on does a kept connection pay?",
        detail: "One connection at a time, in a closed loop. A kept lane pays once for its connection, the first exchange's \
                 extra cost included, and for each message; another lane pays for a connection with each message, or is kept.",
        heads: vec![
            "kept lane",
            "instead of",
            "pays from message",
            "connection",
            "per message",
            "per message of the other",
        ],
        rows: summary.break_evens.iter().map(row).collect(),
    }
}

/// Says why there is no number.
const fn crossing(crossing: Crossing) -> &'static str {
    match crossing {
        Crossing::Always => "cheaper at any number",
        Crossing::Never => "never",
        Crossing::Found | Crossing::Unclear => "could not be told",
    }
}

fn model_checks(summary: &Summary) -> Sheet {
    let mut seen = Vec::new();
    let mut rows = Vec::new();
    for found in &summary.break_evens {
        if seen.contains(&&found.kept) {
            continue;
        }
        seen.push(&found.kept);
        rows.extend(found.measured.iter().map(|point| {
            let error = point.measured_ns.value / point.expected_ns - 1.0;
            vec![
                text::line(&found.kept.to_string()),
                point.exchanges.to_string(),
                unit_interval(&point.measured_ns, Unit::Ns),
                units::time(point.expected_ns),
                format!("{:+.1} %", error * 100.0),
                if point.agrees { "yes" } else { "no" }.to_owned(),
            ]
        }));
    }
    Sheet {
        title: "Does the arithmetic hold?",
        detail: "Connections that lived for a known number of messages, measured, beside what set-up and message cost add up to.",
        heads: vec![
            "lane",
            "messages per connection",
            "measured per message",
            "computed",
            "measured over computed",
            "computed lies in the measured interval",
        ],
        rows,
    }
}

fn demand(summary: &Summary) -> Sheet {
    let rows = summary.cells.iter().filter_map(|cell| {
        let value = |name: &str| cell.metrics.get(name)?.value;
        let total = value(CPU).filter(|total| *total > 0.0)?;
        let part = |name: &str| value(name).map_or_else(none, units::time);
        (!cell.factors.contains_key("operations")).then(|| {
            vec![
                text::line(&cell.id),
                units::time(total),
                part(CLIENT_CPU),
                part(SERVER_CPU),
                units::rate(1e9 / total),
            ]
        })
    });
    Sheet {
        title: "Service demand",
        detail: "CPU time per message of client, server and the kernel's network thread, from counters exact to the nanosecond. \
                 Loopback charges part of a receiver's work to the sender: only the sum is to be compared. Its reciprocal is \
                 what one CPU could carry of both ends at most.",
        heads: vec![
            "cell",
            "CPU per message",
            "client",
            "server",
            "at most, per CPU",
        ],
        rows: rows.collect(),
    }
}

/// Says why searches found no number, and what is known all the same: the best bracket of all of them.
fn no_capacity(searches: &[&CapacitySearch]) -> String {
    let is = |bound: Bound| searches.iter().any(|search| search.found.bound == bound);
    let why = if is(Bound::Disturbed) {
        "disturbed"
    } else if is(Bound::NotConverged) {
        "not confirmed"
    } else {
        "no rate held"
    };
    let brackets = || searches.iter().map(|search| search.bracket());
    let held = brackets()
        .filter_map(|(held, _)| held)
        .max_by(f64::total_cmp);
    let missed = brackets()
        .filter_map(|(_, missed)| missed)
        .min_by(f64::total_cmp);
    let part = |what: &str, rate: Option<f64>| {
        rate.map_or_else(String::new, |rate| {
            format!(", {what} at {}", units::rate(rate))
        })
    };
    format!(
        "none ({why}{}{})",
        part("held", held),
        part("missed", missed)
    )
}

fn capacity(view: &View<'_>) -> Sheet {
    let rows = view.cells.iter().filter_map(|cell| {
        let searches: Vec<_> = cell
            .valid
            .iter()
            .filter_map(|trial| trial.record.search.as_ref())
            .collect();
        let count = |bound: Bound| {
            searches
                .iter()
                .filter(|search| search.found.bound == bound)
                .count()
        };
        let rates: Vec<f64> = searches
            .iter()
            .filter_map(|search| search.found.rate_per_second)
            .collect();
        let typical = crate::ratio::median(&rates).filter(|_| rates.len() * 2 > searches.len());
        let range = || {
            let low = rates.iter().copied().reduce(f64::min)?;
            let high = rates.iter().copied().reduce(f64::max)?;
            Some(format!("{}–{}", units::rate(low), units::rate(high)))
        };
        let sign = if count(Bound::AtLeast) * 2 > searches.len() {
            "≥ "
        } else {
            ""
        };
        (!searches.is_empty()).then(|| {
            vec![
                text::line(&cell.cell.id),
                typical.map_or_else(
                    || no_capacity(&searches),
                    |rate| format!("{sign}{}", units::rate(rate)),
                ),
                range().unwrap_or_else(none),
                searches
                    .iter()
                    .map(|search| search.probes.len())
                    .sum::<usize>()
                    .to_string(),
                format!("{} of {}", count(Bound::Reached), searches.len()),
            ]
        })
    });
    Sheet {
        title: "Capacity under an objective",
        detail: "The highest rate at which the 99th percentile of the response time stayed below the objective; median and range \
                 over independent searches. ≥: the generator was the limit. None: most searches ended without a number.",
        heads: vec!["cell", "capacity", "range", "probes", "converged"],
        rows: rows.collect(),
    }
}

fn none() -> String {
    text::NONE.to_owned()
}

fn effect(found: &Attribution, name: &str, estimate: &Estimate) -> String {
    findings::cell(Some(estimate), attribution::verdict(found, name))
}

fn unit_interval(estimate: &Estimate, unit: Unit) -> String {
    let write = |value| text::number(value, unit);
    format!(
        "{} [{} – {}]",
        write(estimate.value),
        write(estimate.low),
        write(estimate.high)
    )
}

fn lane(id: &str) -> String {
    text::line(id.split('.').nth(1).unwrap_or(id))
}

fn p(value: f64) -> String {
    if value < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{value:.3}")
    }
}

/// Names a verdict.
pub(crate) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Different => "different",
        Verdict::SlightlyDifferent => "slightly different",
        Verdict::Equivalent => "equivalent",
        Verdict::Inconclusive => "inconclusive",
    }
}
