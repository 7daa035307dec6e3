//! The age of news on arrival, as a cumulative distribution, beside what polling at an interval alone would give.

use sockrates_core::histogram::Histogram;
use sockrates_core::record::Metric;
use sockrates_core::units;

use super::axis::{Axis, percent_label, time_label};
use super::layout::{self, EndLabel, fit};
use super::scene::{Anchor, Dash, Frame, Point, Scene};
use super::style;
use super::{Picture, network, origin};
use crate::view::{CellView, LoadPoint, View, interval};

const PANEL: f64 = 400.0;
const NAMES: f64 = 324.0;
const TICKS: f64 = 58.0;
/// Points per curve.
const STEPS: u32 = 120;

/// Draws one panel per load point with staleness.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let points = view.load_points();
    let has_news = |point: &&LoadPoint<'_>| {
        let mut cells = point.cells.iter();
        cells.any(|cell| {
            cell.merged
                .get(&Metric::Staleness)
                .is_some_and(|all| all.count() > 0)
        })
    };
    let points: Vec<_> = points.iter().filter(has_news).flat_map(panels).collect();
    if points.is_empty() {
        return Vec::new();
    }
    let subtitle = format!(
        "staleness: from an event's creation to its arrival at a client · {}",
        network(view)
    );
    let mut scene = layout::begin(question, &subtitle, PANEL * points.len() as f64);
    let mut top = layout::body(&scene).top;
    for point in &points {
        panel(&mut scene, point, top);
        top += PANEL;
    }
    let note = "thin: single trials · bold: all trials · solid: kept open, dashed: per request";
    layout::end(&mut scene, note, &origin(view));
    vec![Picture {
        suffix: String::new(),
        caption: "all updates".to_owned(),
        scene,
    }]
}

/// Gives each polling interval a panel of its own, beside the ways that do not poll.
fn panels<'a>(point: &LoadPoint<'a>) -> Vec<LoadPoint<'a>> {
    let mut intervals: Vec<u64> = Vec::new();
    for interval_ms in point.cells.iter().filter_map(|cell| cell.interval_ms()) {
        if !intervals.contains(&interval_ms) {
            intervals.push(interval_ms);
        }
    }
    if intervals.is_empty() {
        let cells = point.cells.clone();
        return vec![LoadPoint { cells }];
    }
    let panel = |interval_ms: u64| {
        let polls = |cell: &&&CellView<'_>| cell.interval_ms() == Some(interval_ms);
        let others = |cell: &&&CellView<'_>| cell.interval_ms().is_none();
        let cells = point.cells.iter().filter(polls);
        LoadPoint {
            cells: cells
                .chain(point.cells.iter().filter(others))
                .copied()
                .collect(),
        }
    };
    intervals.into_iter().map(panel).collect()
}

fn panel(scene: &mut Scene, point: &LoadPoint<'_>, top: f64) {
    let body = layout::body(scene);
    let frame = Frame {
        left: body.left + TICKS,
        top: top + 50.0,
        right: body.right - NAMES,
        bottom: top + PANEL - 50.0,
    };
    let period_ms = point.cells[0].interval_ms();
    let load = period_ms.map_or_else(
        || point.load_text(),
        |ms| {
            let clients = point.cell().connections;
            format!("a poll every {}, {clients} clients", interval(ms))
        },
    );
    let title = format!("{}: {load}", point.cell().scenario);
    layout::panel_head(scene, top, &title, point);
    let interval_ns = period_ms.map(|ms| ms as f64 * 1e6);
    // The last thousandth may lie far out; it would squeeze the rest into a corner.
    let most = point
        .cells
        .iter()
        .filter_map(|cell| cell.merged.get(&Metric::Staleness))
        .map(|all| all.quantile_unchecked_ns(0.999) as f64)
        .chain(interval_ns.map(|ns| ns * 1.15))
        .fold(0.0, f64::max);
    let x = Axis::linear(most, (frame.left, frame.right));
    let y = Axis::linear(1.0, (frame.bottom, frame.top));
    layout::y_axis(scene, frame, &y, percent_label, 50.0);
    layout::x_axis(scene, frame, &x, time_label, 80.0);
    layout::y_title(
        scene,
        frame,
        body.left,
        "share of events that were no older",
    );
    layout::x_title(scene, frame, "age on arrival");
    let mut labels = curves(scene, point, &x, &y, most);
    if let Some(interval_ns) = interval_ns {
        expectation(scene, (least_ns(point), interval_ns), &x, &y, frame);
    }
    for label in &mut labels {
        label.end.0 = label.end.0.min(frame.right);
    }
    layout::end_labels(scene, labels, frame.right + 22.0, frame);
}

/// Returns how old news is that comes at once: what push measured, or else half of what a poll takes.
fn least_ns(point: &LoadPoint<'_>) -> f64 {
    let push = point.cells.iter().find(|cell| cell.interval_ms().is_none());
    let push = push.and_then(|cell| cell.merged_quantile(Metric::Staleness, 0.5));
    let poll = || Some(point.cells[0].merged_quantile(Metric::ServiceTime, 0.5)? / 2.0);
    push.or_else(poll).unwrap_or(0.0)
}

/// Draws what polling alone would give, even from `least` to `least + interval`, and says that nobody measured it.
fn expectation(
    scene: &mut Scene,
    (least_ns, interval_ns): (f64, f64),
    x: &Axis,
    y: &Axis,
    frame: Frame,
) {
    let line = vec![
        (x.place(least_ns), y.place(0.0)),
        (x.place(least_ns + interval_ns), y.place(1.0)),
    ];
    scene.line(line, style::BLACK, 1.2, Dash::Dashed);
    // Half-way up the line there is room below it.
    let at = (x.place(interval_ns * 0.5) + 14.0, y.place(0.5) + 16.0);
    let (from, until) = (units::time(least_ns), units::time(least_ns + interval_ns));
    let name = format!("expected, not measured: {from} to {until}");
    let name = fit(&name, style::TICK, frame.right - at.0);
    scene.text(name, at, style::TICK, style::BLACK, Anchor::Start);
}

fn curves(
    scene: &mut Scene,
    point: &LoadPoint<'_>,
    x: &Axis,
    y: &Axis,
    most: f64,
) -> Vec<EndLabel> {
    let place = |histogram: &Histogram| -> Vec<Point> {
        curve(histogram, most)
            .into_iter()
            .map(|(ns, share)| (x.place(ns), y.place(share)))
            .collect()
    };
    for cell in &point.cells {
        let look = style::of(&cell.cell.lane);
        for (_, histogram) in cell.histograms(Metric::Staleness) {
            scene.line(place(histogram), look.ink.fade(0.3), 0.8, Dash::Solid);
        }
    }
    let mut labels = Vec::new();
    for cell in &point.cells {
        let look = style::of(&cell.cell.lane);
        let Some(merged) = cell
            .merged
            .get(&Metric::Staleness)
            .filter(|all| all.count() > 0)
        else {
            continue;
        };
        let points = place(merged);
        let median = cell
            .merged_quantile(Metric::Staleness, 0.5)
            .map_or_else(String::new, |ns| format!(", p50 {}", units::time(ns)));
        labels.extend(points.last().map(|end| EndLabel {
            text: format!("{}{median}", cell.name()),
            ink: look.ink,
            end: *end,
        }));
        scene.line(points, look.ink, look.width, look.dash);
    }
    labels
}

/// Returns ages with the share of events that were no older.
fn curve(histogram: &Histogram, most: f64) -> Vec<(f64, f64)> {
    let quantiles: Vec<f64> = (0..=STEPS)
        .map(|step| f64::from(step) / f64::from(STEPS))
        .collect();
    let ages: Vec<u64> = histogram
        .counts()
        .value_at_quantiles(quantiles.iter().copied())
        .collect();
    ages.into_iter()
        .map(|ns| ns as f64)
        .zip(quantiles)
        .filter(|(ns, _)| *ns <= most * 1.001)
        .collect()
}
