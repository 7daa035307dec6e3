//! What players see of a game: how soon their own input, and how evenly the snapshots come.

use sockrates_core::record::Metric;
use sockrates_core::scenario::Workload;
use sockrates_core::units;

use super::axis::{Axis, time_label};
use super::layout;
use super::scene::{Anchor, Dash, Frame, Scene};
use super::style;
use super::{Picture, network, origin};
use crate::view::{CellView, LoadPoint, View};

const ROW: f64 = 30.0;
const NAMES: f64 = 270.0;
/// The space of a group's name above its rows.
const GROUP: f64 = 26.0;
/// The space above and below a panel's rows.
const HEAD: f64 = 26.0;
const FOOT: f64 = 62.0;
/// Shorter times are nothing beside a tick.
const SHORTEST_NS: f64 = 1e4;

/// The times, and what they are.
const TIMES: [(Metric, &str); 3] = [
    (Metric::InputToSnapshot, "from an input to its snapshot"),
    (Metric::Staleness, "age of a snapshot on arrival"),
    (Metric::TickJitter, "how far off the beat snapshots are"),
];

/// Draws a panel per game.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let points = view.load_points();
    let is_game = |point: &&LoadPoint<'_>| {
        matches!(point.cell().workload, Workload::Duplex { .. }) && point.has_data()
    };
    let games: Vec<_> = points.iter().filter(is_game).collect();
    if games.is_empty() {
        return Vec::new();
    }
    let height = games.iter().map(|point| height(point)).sum();
    let subtitle = format!("over all snapshots of all players · {}", network(view));
    let mut scene = layout::begin(question, &subtitle, height);
    let mut top = layout::body(&scene).top;
    for point in games {
        panel(&mut scene, point, top);
        top += height_of(point.cells.len());
    }
    let note = "marker: p50 · bar: p1 to p99 of all trials · hollow: per request · dotted: one tick · 10 µs: or less";
    layout::end(&mut scene, note, &origin(view));
    vec![Picture {
        suffix: String::new(),
        caption: "games".to_owned(),
        scene,
    }]
}

fn height(point: &LoadPoint<'_>) -> f64 {
    height_of(point.cells.len())
}

fn height_of(lanes: usize) -> f64 {
    HEAD + TIMES.len() as f64 * (GROUP + lanes as f64 * ROW) + FOOT
}

fn panel(scene: &mut Scene, point: &LoadPoint<'_>, top: f64) {
    let body = layout::body(scene);
    let frame = Frame {
        left: body.left + NAMES,
        top: top + HEAD,
        right: body.right - 70.0,
        bottom: top + height(point) - FOOT,
    };
    let cell = point.cell();
    let title = format!("{}: {} players", cell.scenario, cell.connections);
    layout::panel_head(scene, top, &title, point);
    let ends = point
        .cells
        .iter()
        .flat_map(|cell| TIMES.map(|(metric, _)| ends(cell, metric)))
        .flatten();
    let tick_ns = tick_ns(&cell.workload);
    let all = ends.flat_map(|(low, p50, high)| [low, p50, high]);
    let x = Axis::log(all.chain(tick_ns), (frame.left, frame.right));
    layout::x_grid(scene, frame, &x, 90.0);
    layout::x_axis(scene, frame, &x, time_label, 90.0);
    if let Some(tick_ns) = tick_ns {
        let at = x.place(tick_ns);
        let line = vec![(at, frame.top), (at, frame.bottom)];
        scene.line(line, style::BLACK, 1.2, Dash::Dotted);
    }
    let mut y = frame.top;
    for (metric, name) in TIMES {
        y += GROUP;
        let at = (body.left, y - 6.0);
        scene.bold(name, at, style::LABEL, style::BLACK, Anchor::Start);
        for cell in &point.cells {
            row(scene, cell, metric, &x, (body.left, y + ROW / 2.0));
            y += ROW;
        }
    }
}

fn row(scene: &mut Scene, cell: &CellView<'_>, metric: Metric, x: &Axis, (left, y): (f64, f64)) {
    let look = style::of(&cell.cell.lane);
    let at = (left + 12.0, y + style::LABEL * 0.36);
    scene.text(cell.name(), at, style::LABEL, look.ink, Anchor::Start);
    let Some((low, p50, high)) = ends(cell, metric) else {
        return;
    };
    let bar = (x.place(low), x.place(high));
    layout::whisker(scene, bar, y, 5.0, look.ink);
    layout::marker(scene, (x.place(p50), y), 4.6, &look);
    let exact = cell.merged_quantile(metric, 0.5).unwrap_or(p50);
    let at = (bar.1 + 8.0, y + style::TICK * 0.36);
    scene.text(units::time(exact), at, style::TICK, look.ink, Anchor::Start);
}

/// Returns the first percentile, the median and the 99th.
fn ends(cell: &CellView<'_>, metric: Metric) -> Option<(f64, f64, f64)> {
    let times = cell.merged.get(&metric).filter(|times| times.count() > 0)?;
    let at = |quantile| (times.quantile_unchecked_ns(quantile) as f64).max(SHORTEST_NS);
    Some((at(0.01), at(0.5), at(0.99)))
}

fn tick_ns(workload: &Workload) -> Option<f64> {
    match workload {
        Workload::Duplex {
            ticks_per_second, ..
        } => Some(1e9 / ticks_per_second),
        _ => None,
    }
}
