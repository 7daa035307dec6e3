//! The delivery of a message against the size of its room, with the line that fits.

use sockrates_core::record::Metric;
use sockrates_core::summary::RoomFit;
use sockrates_core::units;

use super::axis::{Axis, count_label, time_label};
use super::layout::{self, EndLabel};
use super::scene::{Dash, Frame, Point, Scene};
use super::style::{self, LaneStyle, Marker};
use super::{Picture, network, origin};
use crate::rooms::{self, METRICS, Rooms};
use crate::view::View;

const PANEL: f64 = 400.0;
const NAMES: f64 = 250.0;
const TICKS: f64 = 62.0;

/// Draws one panel per scenario whose rooms have several sizes.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let points = view.load_points();
    let groups = rooms::groups(&points);
    if groups.is_empty() {
        return Vec::new();
    }
    let subtitle = format!(
        "p50 of the time from the instant a message was due · {}",
        network(view)
    );
    let mut scene = layout::begin(question, &subtitle, PANEL * groups.len() as f64);
    let mut top = layout::body(&scene).top;
    for group in &groups {
        let smallest = group.sizes[0].1.cell;
        let point = points.iter().find(|point| {
            let cell = point.cell();
            (&cell.scenario, cell.connections) == (&smallest.scenario, smallest.connections)
        });
        if let Some(point) = point {
            let title = format!("{}: {}", smallest.scenario, smallest.lane);
            layout::panel_head(&mut scene, top, &title, point);
        }
        panel(&mut scene, group, top);
        top += PANEL;
    }
    let note = "point: all trials · bar: smallest to largest trial · dashed: line of least squares, with its R²";
    layout::end(&mut scene, note, &origin(view));
    vec![Picture {
        suffix: String::new(),
        caption: "rooms of several sizes".to_owned(),
        scene,
    }]
}

fn panel(scene: &mut Scene, rooms: &Rooms<'_>, top: f64) {
    let body = layout::body(scene);
    let frame = Frame {
        left: body.left + TICKS,
        top: top + 52.0,
        right: body.right - NAMES,
        bottom: top + PANEL - 50.0,
    };
    let most_members = rooms.sizes.iter().map(|(members, _)| *members).max();
    let most_members = f64::from(most_members.unwrap_or(1));
    let most_ns = rooms
        .sizes
        .iter()
        .flat_map(|(_, cell)| METRICS.map(|metric| cell.median_and_range(metric)))
        .flatten()
        .fold(0.0, |most, (_, _, high)| f64::max(most, high));
    let x = Axis::linear(most_members * 1.04, (frame.left, frame.right));
    let y = Axis::linear(most_ns * 1.06, (frame.bottom, frame.top));
    layout::y_axis(scene, frame, &y, time_label, 42.0);
    layout::x_axis(scene, frame, &x, count_label, 60.0);
    layout::y_title(scene, frame, body.left, "time until a member has a copy");
    layout::x_title(scene, frame, "members of the room");
    let mut labels = Vec::new();
    for metric in METRICS {
        labels.extend(series(scene, rooms, metric, (&x, &y)));
    }
    layout::end_labels(scene, labels, frame.right + 18.0, frame);
}

/// Draws one time of all rooms, and returns what to write beside it.
fn series(
    scene: &mut Scene,
    rooms: &Rooms<'_>,
    metric: Metric,
    (x, y): (&Axis, &Axis),
) -> Vec<EndLabel> {
    let look = look(rooms, metric);
    let mut end: Option<Point> = None;
    for (members, cell) in &rooms.sizes {
        let Some((low, p50, high)) = cell.median_and_range(metric) else {
            continue;
        };
        let at = (x.place(f64::from(*members)), y.place(p50));
        let bar = vec![(at.0, y.place(low)), (at.0, y.place(high))];
        scene.line(bar, look.ink, 2.0, Dash::Solid);
        layout::marker(scene, at, 4.0, &look);
        end = Some(at);
    }
    let (Some(end), Some(fit)) = (end, rooms::fit(rooms, metric)) else {
        return Vec::new();
    };
    let (first, last) = (fit.members[0], fit.members[fit.members.len() - 1]);
    let line = [first, last].map(f64::from).map(|members| {
        let ns = fit.base_ns + fit.per_member_ns.value * members;
        (x.place(members), y.place(ns.max(0.0)))
    });
    scene.line(line.to_vec(), look.ink, 1.4, Dash::Dashed);
    let label = |text: String, below: f64| EndLabel {
        text,
        ink: look.ink,
        end: (end.0, end.1 + below),
    };
    vec![label(name(metric).to_owned(), 0.0), label(words(&fit), 0.5)]
}

/// The copies' delivery is drawn as its lane, what lies between the first and the last one hollow.
fn look(rooms: &Rooms<'_>, metric: Metric) -> LaneStyle {
    let look = style::of(&rooms.sizes[0].1.cell.lane);
    match metric {
        Metric::Delivery => look,
        _ => LaneStyle {
            ink: style::GREY,
            marker: Marker::Hollow,
            ..look
        },
    }
}

const fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Delivery => "any member has it",
        _ => "from the first copy to the last",
    }
}

fn words(fit: &RoomFit) -> String {
    format!(
        "+{} per member, R² {:.3}",
        units::time(fit.per_member_ns.value),
        fit.r_squared
    )
}
