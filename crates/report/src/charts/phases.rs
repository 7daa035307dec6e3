//! The phases of a request on a fresh connection, stacked, with the kept-open connection of the same transport below.

use sockrates_core::lane::Lifecycle;
use sockrates_core::record::Metric;
use sockrates_core::units;

use super::axis::{Axis, time_label};
use super::layout::{self, fit};
use super::scene::{Anchor, Dash, Frame, Scene, text_width};
use super::style::{self, Ink, Marker};
use super::{Picture, network, origin};
use crate::text;
use crate::view::{CellView, LoadPoint, View};

const ROW: f64 = 28.0;
const PANEL_HEAD: f64 = 52.0;
const PANEL_FOOT: f64 = 46.0;
const BAR: f64 = 18.0;
const NAMES: f64 = 190.0;
const VALUES: f64 = 84.0;
/// The phases, each with how much lighter than the lane's colour it is drawn.
const PHASES: [(Metric, f64); 3] = [
    (Metric::Connect, 0.0),
    (Metric::Handshake, 0.4),
    (Metric::Exchange, 0.74),
];

/// Draws one panel per echo scenario, at its fewest connections: with more, all phases hold queueing too.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let points = view.load_points();
    let mut chosen: Vec<&LoadPoint<'_>> = Vec::new();
    for point in points
        .iter()
        .filter(|point| point.is_plain_echo() && has_phases(point))
    {
        let same = |other: &&mut &LoadPoint<'_>| other.cell().scenario == point.cell().scenario;
        match chosen.iter_mut().find(same) {
            Some(other) if other.cell().connections > point.cell().connections => *other = point,
            Some(_) => {}
            None => chosen.push(point),
        }
    }
    if chosen.is_empty() {
        return Vec::new();
    }
    let height = chosen.iter().map(|point| panel_height(point)).sum();
    let subtitle = format!(
        "p50 of each phase, all trials · per-request lanes, each above its kept-open twin · {}",
        network(view)
    );
    let mut scene = layout::begin(question, &subtitle, height);
    let mut top = layout::body(&scene).top;
    for point in chosen {
        panel(&mut scene, point, top);
        top += panel_height(point);
    }
    let note = "black mark and number: p50 of the whole service time, with the range over trials";
    layout::end(&mut scene, note, &origin(view));
    vec![Picture {
        suffix: String::new(),
        caption: "fewest connections of each scenario".to_owned(),
        scene,
    }]
}

fn has_phases(point: &LoadPoint<'_>) -> bool {
    point
        .cells
        .iter()
        .any(|cell| cell.merged_quantile(Metric::Exchange, 0.5).is_some())
}

/// Each per-request lane, followed by the persistent lane of its transport; the control lanes stay out.
fn rows<'a>(point: &LoadPoint<'a>) -> Vec<&'a CellView<'a>> {
    let of = |lifecycle| {
        point
            .cells
            .iter()
            .copied()
            .filter(move |cell: &&CellView<'_>| {
                cell.has_data()
                    && cell.cell.lane.client.is_none()
                    && cell.cell.lane.lifecycle == lifecycle
            })
    };
    of(Lifecycle::PerRequest)
        .flat_map(|fresh| {
            let transport = &fresh.cell.lane.transport;
            let twin =
                of(Lifecycle::Persistent).find(|cell| cell.cell.lane.transport == *transport);
            [Some(fresh), twin].into_iter().flatten()
        })
        .collect()
}

fn panel_height(point: &LoadPoint<'_>) -> f64 {
    PANEL_HEAD + ROW * rows(point).len() as f64 + PANEL_FOOT
}

fn panel(scene: &mut Scene, point: &LoadPoint<'_>, top: f64) {
    let rows = rows(point);
    let body = layout::body(scene);
    let frame = Frame {
        left: body.left + NAMES,
        top: top + PANEL_HEAD,
        right: body.right - VALUES,
        bottom: top + PANEL_HEAD + ROW * rows.len() as f64,
    };
    let title = format!("{}: {}", point.cell().scenario, point.load_text());
    layout::panel_head(scene, top, &title, point);
    key(scene, frame);
    let most = rows.iter().map(|cell| longest(cell)).fold(0.0, f64::max);
    let axis = Axis::linear(most * 1.02, (frame.left, frame.right));
    for tick in axis.ticks(90.0) {
        let x = axis.place(tick);
        scene.line(
            vec![(x, frame.top), (x, frame.bottom)],
            style::GRID,
            1.0,
            Dash::Solid,
        );
    }
    layout::x_axis(scene, frame, &axis, time_label, 90.0);
    for (index, cell) in rows.iter().enumerate() {
        row(
            scene,
            cell,
            &axis,
            frame,
            frame.top + ROW * (index as f64 + 0.5),
        );
    }
}

/// Names the shades, in grey: the shade is the phase, the colour the transport.
fn key(scene: &mut Scene, frame: Frame) {
    let mut x = frame.left;
    let y = frame.top - 14.0;
    let kept = (
        style::BLACK.lighten(0.2),
        "kept open: whole exchange".to_owned(),
    );
    let phases = PHASES.map(|(metric, share)| {
        (
            style::BLACK.lighten(0.2 + share * 0.8),
            text::metric(metric),
        )
    });
    for (ink, name) in phases.into_iter().chain([kept]) {
        let is_kept = name.starts_with("kept");
        let half = if is_kept { 3.0 } else { 6.0 };
        let swatch = Frame {
            left: x,
            top: y - 4.0 - half,
            right: x + 18.0,
            bottom: y - 4.0 + half,
        };
        scene.rect(swatch, ink);
        scene.text(
            name.as_str(),
            (x + 24.0, y),
            style::TICK,
            style::GREY,
            Anchor::Start,
        );
        x += 24.0 + text_width(&name, style::TICK, false) + 22.0;
    }
}

/// Returns the longest time that a row must show.
fn longest(cell: &CellView<'_>) -> f64 {
    let stacked: f64 = phases(cell).iter().map(|(_, ns, _)| ns).sum();
    let trials = cell.quantiles(Metric::ServiceTime, 0.5);
    let whole = cell
        .merged_quantile(Metric::ServiceTime, 0.5)
        .unwrap_or(0.0);
    trials
        .iter()
        .map(|(_, ns)| *ns)
        .fold(stacked.max(whole), f64::max)
}

fn phases(cell: &CellView<'_>) -> Vec<(Metric, f64, f64)> {
    PHASES
        .into_iter()
        .filter_map(|(metric, share)| Some((metric, cell.merged_quantile(metric, 0.5)?, share)))
        .collect()
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
    let whole = cell.merged_quantile(Metric::ServiceTime, 0.5);
    if look.marker == Marker::Filled {
        let right = axis.place(whole.unwrap_or(0.0));
        scene.rect(strip(frame.left, right, y, BAR / 3.0), look.ink);
    } else {
        stack(scene, cell, axis, look.ink, frame, y);
    }
    let Some(whole) = whole else { return };
    let trials = cell.quantiles(Metric::ServiceTime, 0.5);
    let low = trials.iter().map(|(_, ns)| *ns).fold(whole, f64::min);
    let high = trials.iter().map(|(_, ns)| *ns).fold(whole, f64::max);
    let (from, to) = (axis.place(low), axis.place(high));
    scene.line(vec![(from, y), (to, y)], style::BLACK, 1.4, Dash::Solid);
    let x = axis.place(whole);
    scene.rect(strip(x - 2.5, x + 2.5, y, BAR + 6.0), style::WHITE);
    scene.rect(strip(x - 1.25, x + 1.25, y, BAR + 4.0), style::BLACK);
    let end = axis.place(longest(cell)) + 9.0;
    scene.bold(
        units::time(whole),
        (end, baseline),
        style::LABEL,
        style::BLACK,
        Anchor::Start,
    );
}

fn stack(scene: &mut Scene, cell: &CellView<'_>, axis: &Axis, ink: Ink, frame: Frame, y: f64) {
    let mut so_far = 0.0;
    for (_, ns, lightness) in phases(cell) {
        let (left, right) = (axis.place(so_far), axis.place(so_far + ns));
        let ink = ink.lighten(lightness);
        scene.rect(strip(left, right, y, BAR), ink);
        if left > frame.left {
            scene.line(
                vec![(left, y - BAR / 2.0), (left, y + BAR / 2.0)],
                style::WHITE,
                1.0,
                Dash::Solid,
            );
        }
        let label = units::time(ns);
        if text_width(&label, style::FOOTER, false) + 10.0 < right - left {
            let ink = if lightness < 0.3 {
                style::WHITE
            } else {
                style::BLACK
            };
            let at = (left + 5.0, y + style::FOOTER * 0.36);
            scene.text(label, at, style::FOOTER, ink, Anchor::Start);
        }
        so_far += ns;
    }
}

fn strip(left: f64, right: f64, y: f64, height: f64) -> Frame {
    Frame {
        left,
        top: y - height / 2.0,
        right,
        bottom: y + height / 2.0,
    }
}
