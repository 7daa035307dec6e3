//! The median service time against the number of connections, for closed scenarios measured with several numbers.

use sockrates_core::record::Metric;

use super::axis::{Axis, time_label};
use super::layout::{self, EndLabel};
use super::scene::{Anchor, Dash, Frame, Point, Scene};
use super::style;
use super::{Picture, network, origin};
use crate::view::{LoadPoint, View};

const PANEL: f64 = 400.0;
const NAMES: f64 = 196.0;
const TICKS: f64 = 62.0;
/// Lanes measured at the same number of connections stand this far apart, so that their ranges do not cover each other.
const DODGE: f64 = 3.0;

/// Draws one panel per closed scenario that has at least two numbers of connections.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let points = view.load_points();
    let mut scenarios: Vec<Vec<&LoadPoint<'_>>> = Vec::new();
    for point in points
        .iter()
        .filter(|point| point.is_closed() && point.is_main() && point.has_data())
    {
        let same =
            |group: &&mut Vec<&LoadPoint<'_>>| group[0].cell().scenario == point.cell().scenario;
        match scenarios.iter_mut().find(same) {
            Some(group) => group.push(point),
            None => scenarios.push(vec![point]),
        }
    }
    scenarios.retain(|group| group.len() > 1);
    if scenarios.is_empty() {
        return Vec::new();
    }
    let height = PANEL * scenarios.len() as f64;
    let subtitle = format!(
        "closed loops: p50 of the service time over all trials · {}",
        network(view)
    );
    let mut scene = layout::begin(question, &subtitle, height);
    let mut top = layout::body(&scene).top;
    for group in &scenarios {
        panel(&mut scene, group, top);
        top += PANEL;
    }
    let note = "point: p50 of all trials · bar: smallest to largest trial, often hidden by the point · lanes side by side";
    layout::end(&mut scene, note, &origin(view));
    vec![Picture {
        suffix: String::new(),
        caption: "closed loops".to_owned(),
        scene,
    }]
}

fn panel(scene: &mut Scene, group: &[&LoadPoint<'_>], top: f64) {
    let body = layout::body(scene);
    let point = group[0];
    let frame = Frame {
        left: body.left + TICKS,
        top: top + 52.0,
        right: body.right - NAMES,
        bottom: top + PANEL - 50.0,
    };
    let title = point.cell().scenario.clone();
    layout::panel_head(scene, top, &title, point);
    let counts = group
        .iter()
        .map(|point| f64::from(point.cell().connections));
    let x = Axis::log(counts.clone(), (frame.left + 20.0, frame.right - 20.0));
    let times = group
        .iter()
        .flat_map(|point| &point.cells)
        .flat_map(|cell| {
            let (low, p50, high) = cell
                .median_and_range(Metric::ServiceTime)
                .unwrap_or((0.0, 0.0, 0.0));
            [low, p50, high]
        });
    let y = Axis::log(times, (frame.bottom, frame.top));
    layout::y_axis(scene, frame, &y, time_label, 42.0);
    layout::y_title(scene, frame, body.left, "service time, p50");
    scene.line(
        vec![(frame.left, frame.bottom), (frame.right, frame.bottom)],
        style::AXIS,
        1.0,
        Dash::Solid,
    );
    for count in counts {
        let at = (x.place(count), frame.bottom + 17.0);
        scene.text(
            format!("{count:.0}"),
            at,
            style::TICK,
            style::GREY,
            Anchor::Middle,
        );
    }
    layout::x_title(scene, frame, "connections");
    lanes(scene, group, &x, &y, frame);
}

fn lanes(scene: &mut Scene, group: &[&LoadPoint<'_>], x: &Axis, y: &Axis, frame: Frame) {
    let mut lanes: Vec<_> = Vec::new();
    for cell in group.iter().flat_map(|point| &point.cells) {
        if !lanes.contains(&&cell.cell.lane) {
            lanes.push(&cell.cell.lane);
        }
    }
    let mut labels = Vec::new();
    for (index, lane) in lanes.iter().enumerate() {
        let look = style::of(lane);
        let shift = (index as f64 - (lanes.len() - 1) as f64 / 2.0) * DODGE;
        let mut line: Vec<Point> = Vec::new();
        for cell in group.iter().flat_map(|point| &point.cells) {
            let Some((low, p50, high)) = (cell.cell.lane == **lane)
                .then(|| cell.median_and_range(Metric::ServiceTime))
                .flatten()
            else {
                continue;
            };
            let place = x.place(f64::from(cell.cell.connections)) + shift;
            let range = vec![(place, y.place(low)), (place, y.place(high))];
            scene.line(range, look.ink, 2.0, Dash::Solid);
            line.push((place, y.place(p50)));
        }
        scene.line(line.clone(), look.ink, look.width - 0.4, look.dash);
        for at in &line {
            layout::marker(scene, *at, 3.6, &look);
        }
        labels.extend(line.last().map(|end| EndLabel {
            text: lane.to_string(),
            ink: look.ink,
            end: *end,
        }));
    }
    layout::end_labels(scene, labels, frame.right + 22.0, frame);
}
