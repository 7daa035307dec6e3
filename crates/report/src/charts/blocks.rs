//! Each trial by its block: whether the machine changed during a run, and whether it did so for all lanes.

use super::axis::{Axis, time_label};
use super::layout::{self, EndLabel};
use super::scene::{Anchor, Dash, Frame, Point, Scene, text_width};
use super::style;
use super::{Picture, metric_text, origin, scope};
use crate::comparison::by_block;
use crate::metrics;
use crate::ratio::median;
use crate::view::{CellView, LoadPoint, View};

const HEIGHT: f64 = 440.0;
const NAMES: f64 = 196.0;
const TICKS: f64 = 62.0;

/// Draws one picture per load point of an echo, with at least two blocks.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    view.load_points()
        .iter()
        .filter(|point| point.is_plain_echo() && !point.is_search())
        .filter_map(|point| picture(view, point, question))
        .collect()
}

/// A lane's value in each block.
struct Course<'a> {
    cell: &'a CellView<'a>,
    values: Vec<(u32, f64)>,
}

fn picture(view: &View<'_>, point: &LoadPoint<'_>, question: &str) -> Option<Picture> {
    let metric = metrics::name(point.main_metric(), "p50");
    let courses: Vec<_> = point
        .cells
        .iter()
        .map(|cell| course(cell, &metric))
        .filter(|course| !course.values.is_empty())
        .collect();
    let values = || courses.iter().flat_map(|course| &course.values);
    let last = values().map(|(block, _)| *block).max()?;
    if last == 0 {
        return None;
    }
    let mut scene = layout::begin(question, &scope(view, point), HEIGHT);
    let body = layout::body(&scene);
    let frame = Frame {
        left: body.left + TICKS,
        top: body.top + 24.0,
        right: body.right - NAMES,
        bottom: body.bottom - 44.0,
    };
    let y = Axis::log(values().map(|(_, value)| *value), (frame.bottom, frame.top));
    let inner = (frame.left + 16.0, frame.right - 8.0);
    let x = |block: u32| inner.0 + f64::from(block) / f64::from(last) * (inner.1 - inner.0);
    layout::y_axis(&mut scene, frame, &y, time_label, 42.0);
    layout::y_title(&mut scene, frame, body.left, &metric_text(&metric));
    block_axis(&mut scene, frame, last, x);
    layout::x_title(&mut scene, frame, "block, in the order of measuring");
    let labels = courses.iter().map(|course| lane(&mut scene, course, &y, x));
    let labels: Vec<_> = labels.collect();
    layout::end_labels(&mut scene, labels, frame.right + 22.0, frame);
    let note = "point: one trial · thin line: the lane's median · solid: kept open, dashed: per request, dotted: control";
    layout::end(&mut scene, note, &origin(view));
    Some(Picture {
        suffix: format!("-{}", point.slug()),
        caption: format!("{}: {}", point.cell().scenario, point.load_text()),
        scene,
    })
}

fn course<'a>(cell: &'a CellView<'a>, metric: &str) -> Course<'a> {
    let mut values = by_block(cell, metric);
    values.sort_by_key(|(block, _)| *block);
    Course { cell, values }
}

/// Counts blocks from 1, and leaves out the numbers that would touch.
fn block_axis(scene: &mut Scene, frame: Frame, last: u32, x: impl Fn(u32) -> f64) {
    let base = frame.bottom;
    let line = vec![(frame.left, base), (frame.right, base)];
    scene.line(line, style::AXIS, 1.0, Dash::Solid);
    let mut free_from = f64::NEG_INFINITY;
    for block in 0..=last {
        let name = (block + 1).to_string();
        let half = text_width(&name, style::TICK, false) / 2.0;
        let x = x(block);
        if x - half <= free_from {
            continue;
        }
        scene.line(
            vec![(x, base), (x, base + 4.0)],
            style::AXIS,
            1.0,
            Dash::Solid,
        );
        scene.text(
            name,
            (x, base + 17.0),
            style::TICK,
            style::GREY,
            Anchor::Middle,
        );
        free_from = x + half + 6.0;
    }
}

fn lane(scene: &mut Scene, course: &Course<'_>, y: &Axis, x: impl Fn(u32) -> f64) -> EndLabel {
    let lane = &course.cell.cell.lane;
    let look = style::of(lane);
    let points: Vec<Point> = course
        .values
        .iter()
        .map(|(block, value)| (x(*block), y.place(*value)))
        .collect();
    let (first, end) = (points[0], points[points.len() - 1]);
    let values: Vec<_> = course.values.iter().map(|(_, value)| *value).collect();
    if let Some(median) = median(&values) {
        let middle = y.place(median);
        let level = vec![(first.0, middle), (end.0, middle)];
        scene.line(level, look.ink.lighten(0.55), 0.8, Dash::Solid);
    }
    scene.line(points.clone(), look.ink, look.width - 0.6, look.dash);
    for at in points {
        layout::marker(scene, at, 3.4, &look);
    }
    EndLabel {
        text: lane.to_string(),
        ink: look.ink,
        end,
    }
}
