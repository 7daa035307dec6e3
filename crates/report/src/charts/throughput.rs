//! Throughput in closed loops: a bar to the median, a dot for every trial.

use super::axis::{Axis, rate_label};
use super::layout::{self, fit};
use super::scene::{Anchor, Dash, Frame, Scene};
use super::style::{self, Marker};
use super::{Picture, network, origin};
use crate::metrics;
use crate::text;
use crate::view::{CellView, LoadPoint, View};

const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
/// A panel's title above, and its axis below.
const PANEL_HEAD: f64 = 30.0;
const PANEL_FOOT: f64 = 44.0;
/// The room for lane names and for values beside the bars.
const NAMES: f64 = 190.0;
const VALUES: f64 = 96.0;

/// Draws one panel per closed load point, all on one scale.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let points = view.load_points();
    let points: Vec<_> = points
        .iter()
        .filter(|point| point.is_closed() && point.is_main() && point.has_data())
        .collect();
    let most = points
        .iter()
        .flat_map(|point| &point.cells)
        .flat_map(|cell| rates(cell))
        .fold(0.0, f64::max);
    if points.is_empty() {
        return Vec::new();
    }
    let height = points.iter().map(|point| panel_height(point)).sum();
    let subtitle = format!(
        "closed loops: each connection sends when its last reply came · {}",
        network(view)
    );
    let mut scene = layout::begin(question, &subtitle, height);
    let mut top = layout::body(&scene).top;
    for point in points {
        panel(&mut scene, point, top, most);
        top += panel_height(point);
    }
    let note = "dot: one trial · bar and number: median · ≥: the client was the limit";
    layout::end(&mut scene, note, &origin(view));
    vec![Picture {
        suffix: String::new(),
        caption: "all closed loops".to_owned(),
        scene,
    }]
}

fn panel_height(point: &LoadPoint<'_>) -> f64 {
    PANEL_HEAD + ROW * point.cells.len() as f64 + PANEL_FOOT
}

fn rates(cell: &CellView<'_>) -> Vec<f64> {
    cell.valid
        .iter()
        .filter_map(|trial| metrics::of_trial(trial, metrics::THROUGHPUT))
        .collect()
}

fn panel(scene: &mut Scene, point: &LoadPoint<'_>, top: f64, most: f64) {
    let body = layout::body(scene);
    let frame = Frame {
        left: body.left + NAMES,
        top: top + PANEL_HEAD,
        right: body.right - VALUES,
        bottom: top + PANEL_HEAD + ROW * point.cells.len() as f64,
    };
    let title = format!("{}: {}", point.cell().scenario, point.load_text());
    layout::panel_head(scene, top, &title, point);
    let axis = Axis::linear(most, (frame.left, frame.right));
    for tick in axis.ticks(90.0) {
        let x = axis.place(tick);
        scene.line(
            vec![(x, frame.top), (x, frame.bottom)],
            style::GRID,
            1.0,
            Dash::Solid,
        );
    }
    layout::x_axis(scene, frame, &axis, rate_label, 90.0);
    for (index, cell) in point.cells.iter().enumerate() {
        row(
            scene,
            cell,
            &axis,
            frame,
            frame.top + ROW * (index as f64 + 0.5),
        );
    }
}

fn row(scene: &mut Scene, cell: &CellView<'_>, axis: &Axis, frame: Frame, y: f64) {
    let lane = &cell.cell.lane;
    let look = style::of(lane);
    let baseline = y + style::LABEL * 0.36;
    let name = fit(&lane.to_string(), style::LABEL, NAMES - 14.0);
    scene.text(
        name,
        (frame.left - 10.0, baseline),
        style::LABEL,
        style::BLACK,
        Anchor::End,
    );
    let metrics = metrics::of_cell(cell);
    let throughput = metrics.get(metrics::THROUGHPUT);
    let Some(median) = throughput.and_then(|metric| metric.value) else {
        let at = (frame.left + 8.0, baseline);
        scene.text(
            "no valid trial",
            at,
            style::LABEL,
            style::GREY,
            Anchor::Start,
        );
        return;
    };
    let bar = Frame {
        left: frame.left,
        top: y - BAR / 2.0,
        right: axis.place(median),
        bottom: y + BAR / 2.0,
    };
    match look.marker {
        Marker::Filled => scene.rect(bar, look.ink.lighten(0.5)),
        Marker::Hollow => scene.outline(bar, look.ink, 1.5, Dash::Solid),
        Marker::Diamond => {
            scene.rect(bar, look.ink.lighten(0.82));
            scene.outline(bar, look.ink, 1.5, Dash::Dotted);
        }
    }
    let rates = rates(cell);
    for rate in &rates {
        scene.circle((axis.place(*rate), y), 3.6, style::WHITE);
        scene.circle((axis.place(*rate), y), 2.8, look.ink);
    }
    let farthest = rates.iter().copied().fold(median, f64::max);
    let at = (axis.place(farthest) + 11.0, baseline);
    scene.bold(
        text::value(throughput),
        at,
        style::LABEL,
        look.ink,
        Anchor::Start,
    );
}
