//! The finding: what a run says, in a sentence with its scope. Whatever the run did not measure is left out.

mod news;

use sockrates_core::lane::Lifecycle;
use sockrates_core::plan::Target;
use sockrates_core::record::Metric;
use sockrates_core::summary::Estimate;
use sockrates_core::units;

use crate::ratio::{self, Paired};
use crate::text;
use crate::view::{CellView, LoadPoint, View};
use crate::{attribution, comparison, completeness, judgement, metrics};

/// What the brackets in all outputs are.
pub(crate) const RANGES: &str = "Brackets behind ratios are exact 95 % intervals over the blocks (below six blocks: \
     smallest to largest block). Ranges behind times and rates run from the smallest to the largest trial.";

/// The floor: no protocol, so it is a reference and not a contender.
pub(crate) const FLOOR: &str = "tcp";

/// Says what the run found; of a run that may conclude nothing, that first.
pub(crate) fn sentence(view: &View<'_>) -> String {
    let found = found(view);
    let lacks = completeness::clauses(&completeness::of(view));
    let has_data = view.cells.iter().any(CellView::has_data);
    let judgement = judgement::of(view);
    if !has_data || judgement.is_conclusive {
        found
    } else if !lacks.is_empty() {
        format!(
            "Inconclusive, since the run is not whole ({}): nothing is to be concluded from it. What was measured: {found}",
            lacks.join("; ")
        )
    } else {
        format!(
            "{} What was measured: {found}",
            judgement::scope(&judgement)
        )
    }
}

fn found(view: &View<'_>) -> String {
    let points = view.load_points();
    let Some(point) = leading_point(&points) else {
        return "No trial of this run counts, so it says nothing about any lane.".to_owned();
    };
    let scope = format!(
        "{} (scenario {}, {})",
        scope(view),
        text::line(&point.cell().scenario),
        point.load_text()
    );
    if let Some(found) = news::sentence(&points).filter(|_| !point.is_echo()) {
        return format!("{scope}: {found}.");
    }
    if let Some(attributed) = attributed(view, point) {
        let news = points.iter().find_map(news::polling);
        let news = news.map_or_else(String::new, |news| format!(" {}", text::sentence(&news)));
        return format!("{scope}: {attributed}.{news}");
    }
    let clauses: Vec<_> = [reuse(point), protocols(point)]
        .into_iter()
        .flatten()
        .collect();
    if clauses.is_empty() || point.has_several_ways() {
        format!("{scope}: {}.", single(point))
    } else {
        format!("{scope}: {}.", clauses.join("; "))
    }
}

/// Says how much of the difference is keeping the connection, and how much is the protocol.
fn attributed(view: &View<'_>, point: &LoadPoint<'_>) -> Option<String> {
    let metric = metrics::name(point.main_metric(), "p50");
    let is_conclusive = judgement::of(view).is_conclusive;
    let comparisons = comparison::all(view, is_conclusive);
    let all = attribution::all(view, &comparisons, is_conclusive);
    let found = all.into_iter().find(|found| {
        found.scenario == point.cell().scenario
            && found.connections == point.cell().connections
            && found.metric == metric
    })?;
    let p50 = |lane: &str| {
        let ns = point
            .lane(lane)?
            .merged_quantile(point.main_metric(), 0.5)?;
        Some(units::time(ns))
    };
    let exchange = point.exchange_text();
    Some(format!(
        "{exchange} took {} as long over HTTP/1.1 with a connection per request as over a WebSocket kept \
         open (p50 {} {} against {}); of that, {} is keeping the connection and {} is the protocol",
        with_interval(&found.total),
        text::metric(point.main_metric()),
        p50("http1-per-request")?,
        p50("websocket-persistent")?,
        with_interval(&found.reuse),
        with_interval(&found.protocol),
    ))
}

/// Says why the run may conclude nothing or what else is to be known of it, and what it could have told apart.
pub(crate) fn judgement(view: &View<'_>) -> Vec<String> {
    let judged = judgement::of(view);
    let reasons = judged.reasons.iter().map(|reason| text::sentence(reason));
    reasons.chain(noise(view)).collect()
}

/// Says how far the two copies of one lane came out apart, and what that lets the run tell.
fn noise(view: &View<'_>) -> Option<String> {
    let comparisons = comparison::all(view, true);
    let null = comparisons.iter().find(|found| found.is_null)?;
    let ratio = null.ratio?;
    let told = null.detectable.map_or_else(String::new, |share| {
        format!(
            "; this run could tell differences from {:.1} % on",
            share * 100.0
        )
    });
    Some(format!(
        "Two copies of {} came out {} apart{told}.",
        text::line(null.reference.split('.').nth(1).unwrap_or_default()),
        with_interval(&ratio)
    ))
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

/// Says where the numbers hold.
pub(crate) fn scope(view: &View<'_>) -> String {
    let elsewhere = view
        .dataset
        .records
        .iter()
        .find_map(|record| match record.spec.target {
            Target::Running { http, .. } if !http.ip().is_loopback() => Some(http.ip()),
            _ => None,
        });
    match elsewhere {
        Some(address) => format!("Between this machine and {address}"),
        None => "On this machine, over loopback".to_owned(),
    }
}

/// The echo in a closed loop with the fewest connections, where nothing queues; else the first that was measured.
fn leading_point<'a>(points: &'a [LoadPoint<'a>]) -> Option<&'a LoadPoint<'a>> {
    let measured = || points.iter().filter(|point| point.has_data());
    measured()
        .filter(|point| point.is_echo() && point.is_closed())
        .min_by_key(|point| point.cell().connections)
        .or_else(|| measured().find(|point| point.is_echo()))
        .or_else(|| measured().next())
}

/// Says what a connection per request costs, transport by transport.
fn reuse(point: &LoadPoint<'_>) -> Option<String> {
    let mut is_first = true;
    let parts: Vec<_> = contenders(point)
        .filter_map(|transport| {
            let fresh = lane(point, transport, Lifecycle::PerRequest)?;
            let kept = lane(point, transport, Lifecycle::Persistent)?;
            let metric = point.main_metric();
            let ratio = ratio::paired(fresh, kept, metric, 0.5)?;
            let transport = text::transport(transport);
            let medians = medians(fresh, kept, metric, std::mem::take(&mut is_first));
            let (ratio, doubt) = (with_range(&ratio), doubt(&ratio));
            Some(format!("{ratio} as long over {transport}{medians}{doubt}"))
        })
        .collect();
    let what = match point.main_metric() {
        Metric::Staleness => "made news take".to_owned(),
        _ => format!("made {} take", point.exchange_text()),
    };
    (!parts.is_empty()).then(|| {
        format!(
            "opening a connection per request {what} {}",
            text::sentence_list(&parts)
        )
    })
}

/// Says what the protocols differ by once the connection stays open: each against HTTP/1.1, or the first there is.
fn protocols(point: &LoadPoint<'_>) -> Option<String> {
    let metric = point.main_metric();
    let lanes: Vec<_> = contenders(point)
        .filter_map(|transport| Some((transport, lane(point, transport, Lifecycle::Persistent)?)))
        .collect();
    let ((first, reference), others) = lanes.split_first()?;
    let parts: Vec<_> = others
        .iter()
        .filter_map(|(name, other)| {
            let forward = ratio::paired(reference, other, metric, 0.5)?;
            let (slow, fast, ratio) = if forward.value >= 1.0 {
                (*first, *name, forward)
            } else {
                (*name, *first, ratio::paired(other, reference, metric, 0.5)?)
            };
            let (slow, fast) = (text::transport(slow), text::transport(fast));
            Some(if ratio.is_one_sided() {
                format!("{slow} took {} as long as {fast}", with_range(&ratio))
            } else {
                format!(
                    "{slow} and {fast} did not clearly differ, {}",
                    with_range(&ratio)
                )
            })
        })
        .collect();
    (!parts.is_empty()).then(|| {
        format!(
            "with the connection kept open, {}",
            text::sentence_list(&parts)
        )
    })
}

/// Says what there is when there is nothing to compare.
fn single(point: &LoadPoint<'_>) -> String {
    let metric = point.main_metric();
    let parts: Vec<_> = point
        .cells
        .iter()
        .filter_map(|cell| {
            let p50 = cell.merged_quantile(metric, 0.5)?;
            Some(format!(
                "{} over {}",
                units::time(p50),
                text::line(&cell.name())
            ))
        })
        .collect();
    if parts.is_empty() {
        return "too few operations were done to give a median".to_owned();
    }
    format!(
        "the p50 {} was {}",
        text::metric(metric),
        text::sentence_list(&parts)
    )
}

/// Returns the transports to compare, without the floor unless there is nothing else; HTTP/1.1 first.
fn contenders<'a>(point: &'a LoadPoint<'_>) -> impl Iterator<Item = &'a str> {
    let mut names: Vec<&str> = Vec::new();
    for cell in &point.cells {
        let name = cell.cell.lane.transport.as_str();
        if cell.has_data() && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > 1 {
        names.retain(|name| *name != FLOOR);
    }
    names.sort_by_key(|name| *name != "http1");
    names.into_iter()
}

fn lane<'a>(
    point: &LoadPoint<'a>,
    transport: &str,
    lifecycle: Lifecycle,
) -> Option<&'a CellView<'a>> {
    let is_it = |cell: &&&CellView<'_>| {
        let lane = &cell.cell.lane;
        lane.transport == transport && lane.lifecycle == lifecycle && lane.client.is_none()
    };
    point.cells.iter().find(is_it).copied()
}

/// Writes both medians; what they are of is said once.
fn medians(fresh: &CellView<'_>, kept: &CellView<'_>, metric: Metric, is_named: bool) -> String {
    let p50 = |cell: &CellView<'_>| cell.merged_quantile(metric, 0.5).map(units::time);
    match (p50(fresh), p50(kept)) {
        (Some(fresh), Some(kept)) => {
            let name = if is_named {
                format!("p50 {} ", text::metric(metric))
            } else {
                String::new()
            };
            format!(" ({name}{fresh} against {kept})")
        }
        _ => String::new(),
    }
}

/// Writes a ratio with its range: `4.1× [3.9–4.3]`.
pub(crate) fn with_range(ratio: &Paired) -> String {
    if ratio.blocks == 1 {
        return format!("{} [one block]", text::times(ratio.value));
    }
    format!(
        "{} [{}–{}]",
        text::times(ratio.value),
        text::plain_ratio(ratio.low),
        text::plain_ratio(ratio.high)
    )
}

fn doubt(ratio: &Paired) -> &'static str {
    if ratio.is_one_sided() {
        ""
    } else {
        ", no clear difference"
    }
}
