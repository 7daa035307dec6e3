//! Percentiles on a log-nines axis: the tail at the same size as the body, and no further than the samples carry.

use sockrates_core::histogram::{Histogram, TAIL_SAMPLES};
use sockrates_core::record::Metric;

use super::axis::{Axis, percent_label, time_label};
use super::layout::{self, EndLabel};
use super::scene::{Dash, Frame, Point, Scene};
use super::style;
use super::{Picture, origin, scope};
use crate::text;
use crate::view::{CellView, LoadPoint, View};

const HEIGHT: f64 = 470.0;
/// The room for lane names at the right.
const NAMES: f64 = 196.0;
const TICKS: f64 = 62.0;
/// Points per line: a step of a fortieth of a nine is below what an eye sees.
const STEPS_PER_NINE: f64 = 40.0;

/// Draws one picture per load point of an echo.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    view.load_points()
        .iter()
        .filter(|point| point.is_plain_echo())
        .filter_map(|point| picture(view, point, question))
        .collect()
}

/// A lane's quantiles: of all trials, and of each.
struct Lines<'a> {
    cell: &'a CellView<'a>,
    merged: Curve,
    single: Vec<Curve>,
}

/// Quantiles with their times.
pub(super) type Curve = Vec<(f64, f64)>;

fn lines<'a>(cell: &'a CellView<'a>, metric: Metric) -> Option<Lines<'a>> {
    let single = cell.histograms(metric);
    Some(Lines {
        cell,
        merged: curve(cell.merged.get(&metric)?)?,
        single: single
            .filter_map(|(_, histogram)| curve(histogram))
            .collect(),
    })
}

fn picture(view: &View<'_>, point: &LoadPoint<'_>, question: &str) -> Option<Picture> {
    let metric = point.main_metric();
    let cells = point.cells.iter();
    let lanes: Vec<_> = cells.filter_map(|cell| lines(cell, metric)).collect();
    let ends = lanes.iter().filter_map(|lane| lane.merged.last());
    let last = ends.map(|(quantile, _)| *quantile).reduce(f64::max)?;
    let mut scene = layout::begin(question, &scope(view, point), HEIGHT);
    let body = layout::body(&scene);
    let frame = Frame {
        left: body.left + TICKS,
        top: body.top + 24.0,
        right: body.right - NAMES,
        bottom: body.bottom - 44.0,
    };
    let times = lanes
        .iter()
        .flat_map(|lane| lane.single.iter().chain([&lane.merged]));
    let times = times.flatten().map(|(_, ns)| *ns);
    let y = Axis::log(times, (frame.bottom, frame.top));
    let x = Axis::nines(last, (frame.left, frame.right));
    let time = text::metric(metric);
    layout::y_axis(&mut scene, frame, &y, time_label, 42.0);
    layout::x_axis(&mut scene, frame, &x, percent_label, 60.0);
    layout::y_title(&mut scene, frame, body.left, &time);
    layout::x_title(
        &mut scene,
        frame,
        &format!("share of messages whose {time} was no longer"),
    );
    let labels = curves(&mut scene, &lanes, &x, &y);
    layout::end_labels(&mut scene, labels, frame.right + 22.0, frame);
    let note = "thin: single trials · bold: all trials · solid: kept open, dashed: per request, dotted: control";
    layout::end(&mut scene, note, &origin(view));
    Some(Picture {
        suffix: format!("-{}", point.slug()),
        caption: caption(point, metric),
        scene,
    })
}

/// Draws all single trials below all merged lines.
fn curves(scene: &mut Scene, lanes: &[Lines<'_>], x: &Axis, y: &Axis) -> Vec<EndLabel> {
    let place = |curve: &Curve| -> Vec<Point> {
        let places = curve
            .iter()
            .map(|(quantile, ns)| (x.place(*quantile), y.place(*ns)));
        places.collect()
    };
    for lane in lanes {
        let ink = style::of(&lane.cell.cell.lane).ink.fade(0.28);
        for single in &lane.single {
            scene.line(place(single), ink, 0.8, Dash::Solid);
        }
    }
    let mut labels = Vec::new();
    for lane in lanes {
        let name = &lane.cell.cell.lane;
        let look = style::of(name);
        let points = place(&lane.merged);
        labels.extend(points.last().map(|end| EndLabel {
            text: name.to_string(),
            ink: look.ink,
            end: *end,
        }));
        scene.line(points, look.ink, look.width, look.dash);
    }
    labels
}

fn caption(point: &LoadPoint<'_>, metric: Metric) -> String {
    format!(
        "{}: {}, {}",
        point.cell().scenario,
        point.load_text(),
        text::metric(metric)
    )
}

/// Returns quantiles with their times, from the fifth percentile up to the last one that enough samples support;
/// `None` when not even the median has them.
pub(super) fn curve(histogram: &Histogram) -> Option<Curve> {
    let count = histogram.count() as f64;
    if count < 2.0 * TAIL_SAMPLES {
        return None;
    }
    let last = (count / TAIL_SAMPLES).log10();
    let inner = (1u32..)
        .map(|step| f64::from(step) / STEPS_PER_NINE)
        .take_while(|nines| *nines < last);
    let quantiles: Vec<f64> = inner
        .chain(std::iter::once(last))
        .map(|nines| 1.0 - 10f64.powf(-nines))
        .collect();
    let times: Vec<u64> = histogram
        .counts()
        .value_at_quantiles(quantiles.iter().copied())
        .collect();
    let most = histogram.max_ns()?;
    Some(
        quantiles
            .into_iter()
            .zip(times)
            .map(|(quantile, ns)| (quantile, ns.min(most) as f64))
            .collect(),
    )
}
