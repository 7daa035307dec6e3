//! What a response time under an open load is made of: the server's part, and the generator's own lateness.

use sockrates_core::histogram::Histogram;
use sockrates_core::record::Metric;

use super::axis::{Axis, percent_label, time_label};
use super::layout::{self, EndLabel, fit};
use super::percentiles::{self, Curve};
use super::scene::{Anchor, Dash, Frame, Point, Scene};
use super::style::{self, Ink};
use super::{Picture, origin, scope};
use crate::text;
use crate::view::{CellView, LoadPoint, View};

const COLUMNS: usize = 2;
const PANEL: f64 = 236.0;
const TICKS: f64 = 56.0;
const NAMES: f64 = 122.0;
const GUTTER: f64 = 24.0;
/// Shorter times are nothing beside a response, and would only stretch the scale.
const SHORTEST_NS: f64 = 100.0;

/// The times in the order of drawing: the response lies on top.
const TIMES: [Metric; 4] = [
    Metric::ConnectionWait,
    Metric::ScheduleLag,
    Metric::ServiceTime,
    Metric::ResponseTime,
];

/// Those whose single trials are shown, too.
const SPREAD: [Metric; 2] = [Metric::ScheduleLag, Metric::ResponseTime];

/// A lane's times by their quantiles.
struct Lane<'a> {
    cell: &'a CellView<'a>,
    /// Of all trials, and of each.
    curves: Vec<(Metric, Curve)>,
    single: Vec<(Metric, Curve)>,
}

/// Draws one picture per load point whose operations come at their own times.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    view.load_points()
        .iter()
        .filter(|point| !point.is_closed() && !point.is_search() && !point.has_several_ways())
        .filter_map(|point| picture(view, point, question))
        .collect()
}

fn picture(view: &View<'_>, point: &LoadPoint<'_>, question: &str) -> Option<Picture> {
    let lanes: Vec<_> = point.cells.iter().filter_map(|cell| lane(cell)).collect();
    let places = || {
        let curves = lanes
            .iter()
            .flat_map(|lane| lane.curves.iter().chain(&lane.single));
        curves.flat_map(|(_, curve)| curve)
    };
    let last = places().map(|(quantile, _)| *quantile).reduce(f64::max)?;
    let rows = lanes.len().div_ceil(COLUMNS);
    let mut scene = layout::begin(question, &scope(view, point), PANEL * rows as f64 + 10.0);
    let body = layout::body(&scene);
    let width = (body.width() - GUTTER) / COLUMNS as f64;
    for (index, lane) in lanes.iter().enumerate() {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        let left = body.left + column as f64 * (width + GUTTER);
        let frame = Frame {
            left: left + TICKS,
            top: body.top + row as f64 * PANEL + 26.0,
            right: left + width - NAMES,
            bottom: body.top + (row + 1) as f64 * PANEL - 44.0,
        };
        let x = Axis::nines(last, (frame.left, frame.right));
        let times = places().map(|(_, ns)| *ns);
        let y = Axis::log(times, (frame.bottom, frame.top));
        panel(&mut scene, lane, &x, &y, frame);
    }
    let note = "bold: all trials, thin: one each · up from a percentile: that share took no longer · 100 ns: or less";
    layout::end(&mut scene, note, &origin(view));
    Some(Picture {
        suffix: format!("-{}", point.slug()),
        caption: format!("{}: {}", point.cell().scenario, point.load_text()),
        scene,
    })
}

/// Without the whole there is nothing to take apart.
fn lane<'a>(cell: &'a CellView<'a>) -> Option<Lane<'a>> {
    let curves: Vec<_> = TIMES
        .into_iter()
        .filter_map(|metric| Some((metric, curve(cell.merged.get(&metric)?)?)))
        .collect();
    let (top, _) = curves.last()?;
    let is_whole = *top == Metric::ResponseTime;
    let trials = |metric| {
        let curves = cell.histograms(metric);
        curves.filter_map(move |(_, histogram)| Some((metric, curve(histogram)?)))
    };
    let single = SPREAD.into_iter().flat_map(trials).collect();
    is_whole.then_some(Lane {
        cell,
        curves,
        single,
    })
}

fn panel(scene: &mut Scene, lane: &Lane<'_>, x: &Axis, y: &Axis, frame: Frame) {
    let name = &lane.cell.cell.lane;
    let look = style::of(name);
    let name = fit(&name.to_string(), style::LABEL, 260.0);
    let at = (frame.left - TICKS, frame.top - 12.0);
    scene.bold(name, at, style::LABEL, look.ink, Anchor::Start);
    layout::y_axis(scene, frame, y, time_label, 26.0);
    layout::x_axis(scene, frame, x, percent_label, 60.0);
    let places = |curve: &Curve| -> Vec<Point> {
        let place = |(quantile, ns): &(f64, f64)| (x.place(*quantile), y.place(*ns));
        curve.iter().map(place).collect()
    };
    for (metric, curve) in &lane.single {
        let (ink, ..) = line(*metric, look.ink);
        scene.line(places(curve), ink.fade(0.3), 0.8, Dash::Solid);
    }
    let mut labels = Vec::new();
    for (metric, curve) in &lane.curves {
        let (ink, width, dash) = line(*metric, look.ink);
        let points = places(curve);
        labels.extend(points.last().map(|end| EndLabel {
            text: text::metric(*metric),
            ink,
            end: *end,
        }));
        scene.line(points, ink, width, dash);
    }
    layout::end_labels(scene, labels, frame.right + 16.0, frame);
}

/// The server's part has the lane's colour, the generator's is grey or black.
fn line(metric: Metric, ink: Ink) -> (Ink, f64, Dash) {
    match metric {
        Metric::ResponseTime => (ink, 2.6, Dash::Solid),
        Metric::ServiceTime => (ink, 1.8, Dash::Dashed),
        Metric::ScheduleLag => (style::BLACK, 1.8, Dash::Dotted),
        _ => (style::GREY, 1.2, Dash::Solid),
    }
}

/// Returns the curve of a merged histogram, nothing below what a logarithmic axis can show.
fn curve(histogram: &Histogram) -> Option<Curve> {
    let curve = percentiles::curve(histogram)?;
    let shown = |(quantile, ns): (f64, f64)| (quantile, ns.max(SHORTEST_NS));
    Some(curve.into_iter().map(shown).collect())
}
