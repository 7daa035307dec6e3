//! How stale news are, or how late a message or a tick, against what they cost a client per second: for every way of
//! learning of them.

use sockrates_core::record::Metric;

use super::axis::{Axis, count_label, time_label};
use super::layout::{self, EndLabel};
use super::scene::{Anchor, Dash, Frame, Point, Scene};
use super::style;
use super::{Picture, network, origin};
use crate::metrics::{CLIENT_SECOND_BYTES, CLIENT_SECOND_CPU, CLIENT_SECOND_REQUESTS, of_trial};
use crate::ratio::median;
use crate::text;
use crate::view::{CellView, LoadPoint, View};

const PANEL: f64 = 340.0;
const NAMES: f64 = 262.0;
/// Those of chats and games say how clients speak, too.
const LONG_NAMES: f64 = 306.0;
const TICKS: f64 = 66.0;

/// What is paid, and how it is written.
struct Price {
    metric: &'static str,
    name: &'static str,
    label: fn(f64) -> String,
}

const PRICES: [Price; 3] = [
    Price {
        metric: CLIENT_SECOND_CPU,
        name: "CPU of both ends",
        label: time_label,
    },
    Price {
        metric: CLIENT_SECOND_BYTES,
        name: "bytes, both ways",
        label: count_label,
    },
    Price {
        metric: CLIENT_SECOND_REQUESTS,
        name: "requests",
        label: count_label,
    },
];

/// One way, as a point: how late, at what price, and how far the trials lie apart.
struct Way<'a> {
    cell: &'a CellView<'a>,
    late: (f64, f64, f64),
    price: (f64, f64, f64),
}

/// Draws one picture per load point with several ways, a panel for each price.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let points = view.load_points();
    let points = points.iter().filter(|point| point.has_several_ways());
    points
        .filter_map(|point| picture(view, point, question))
        .collect()
}

fn picture(view: &View<'_>, point: &LoadPoint<'_>, question: &str) -> Option<Picture> {
    let panels: Vec<_> = PRICES
        .iter()
        .map(|price| (price, ways(point, price)))
        .filter(|(_, ways)| ways.len() > 1 && ways.iter().any(|way| !way.is_free()))
        .collect();
    if panels.is_empty() {
        return None;
    }
    let subtitle = format!(
        "per client and second · {} · {} · {}",
        point.load_text(),
        point.payload_text(),
        network(view)
    );
    let mut scene = layout::begin(question, &subtitle, PANEL * panels.len() as f64);
    let mut top = layout::body(&scene).top;
    for (price, ways) in &panels {
        panel(&mut scene, price, ways, top);
        top += PANEL;
    }
    let note = "down and left is better · bars: smallest to largest trial · hollow: per request";
    layout::end(&mut scene, note, &origin(view));
    let cell = point.cell();
    Some(Picture {
        suffix: format!("-{}", point.slug()),
        caption: format!("{}, {} clients", cell.scenario, cell.connections),
        scene,
    })
}

fn ways<'a>(point: &LoadPoint<'a>, price: &Price) -> Vec<Way<'a>> {
    let way = |cell: &&'a CellView<'a>| {
        let trials = cell.valid.iter();
        let prices: Vec<_> = trials
            .filter_map(|trial| of_trial(trial, price.metric))
            .collect();
        Some(Way {
            cell,
            late: cell.median_and_range(cell.main_metric())?,
            price: around(median(&prices)?, &prices),
        })
    };
    point.cells.iter().filter_map(way).collect()
}

impl Way<'_> {
    /// A stream that asked once, ahead of the load, costs no requests: a logarithmic scale has no place for that.
    fn is_free(&self) -> bool {
        self.price.1 <= 0.0
    }
}

fn around(value: f64, trials: &[f64]) -> (f64, f64, f64) {
    let low = trials.iter().copied().fold(value, f64::min);
    (low, value, trials.iter().copied().fold(value, f64::max))
}

fn panel(scene: &mut Scene, price: &Price, ways: &[Way<'_>], top: f64) {
    let body = layout::body(scene);
    let metric = ways[0].cell.main_metric();
    let names = match metric {
        Metric::Staleness => NAMES,
        _ => LONG_NAMES,
    };
    let frame = Frame {
        left: body.left + TICKS,
        top: top + 34.0,
        right: body.right - names,
        bottom: top + PANEL - 52.0,
    };
    scene.bold(
        format!("{} per client and second", price.name),
        (body.left, top + 14.0),
        style::LABEL,
        style::BLACK,
        Anchor::Start,
    );
    let all = |(low, value, high): (f64, f64, f64)| [low, value, high];
    let stale = ways.iter().flat_map(|way| all(way.late));
    let paid = ways.iter().flat_map(|way| all(way.price));
    let x = Axis::log(stale, (frame.left + 12.0, frame.right - 12.0));
    let y = Axis::log(paid, (frame.bottom - 8.0, frame.top + 8.0));
    layout::y_axis(scene, frame, &y, price.label, 40.0);
    layout::x_axis(scene, frame, &x, time_label, 80.0);
    let title = format!("{}, p50", text::metric(metric));
    layout::x_title(scene, frame, &title);
    let place = |way: &Way<'_>| {
        let price = if way.is_free() {
            frame.bottom
        } else {
            y.place(way.price.1)
        };
        (x.place(way.late.1), price)
    };
    join(scene, ways, place);
    let mut labels = Vec::new();
    for way in ways {
        let look = style::of(&way.cell.cell.lane);
        let at = place(way);
        let across = vec![(x.place(way.late.0), at.1), (x.place(way.late.2), at.1)];
        scene.line(across, look.ink, 1.2, Dash::Solid);
        if way.price.0 > 0.0 {
            let along = vec![(at.0, y.place(way.price.0)), (at.0, y.place(way.price.2))];
            scene.line(along, look.ink, 1.2, Dash::Solid);
        }
        layout::marker(scene, at, 4.2, &look);
        let none = if way.is_free() { ": none" } else { "" };
        labels.push(EndLabel {
            text: format!("{}{none}", way.cell.name()),
            ink: look.ink,
            end: at,
        });
    }
    layout::end_labels(scene, labels, frame.right + 22.0, frame);
}

/// Joins the points of one lane that differ by their polling interval.
fn join(scene: &mut Scene, ways: &[Way<'_>], place: impl Fn(&Way<'_>) -> Point) {
    let polls: Vec<_> = ways
        .iter()
        .filter(|way| way.cell.interval_ms().is_some())
        .collect();
    let mut lanes: Vec<_> = polls.iter().map(|way| &way.cell.cell.lane).collect();
    lanes.dedup();
    let mut drawn = Vec::new();
    for lane in lanes {
        if drawn.contains(&lane) {
            continue;
        }
        drawn.push(lane);
        let mut line: Vec<Point> = polls
            .iter()
            .filter(|way| way.cell.cell.lane == *lane)
            .map(|way| place(way))
            .collect();
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
        let look = style::of(lane);
        scene.line(line, look.ink.fade(0.55), 1.6, look.dash);
    }
}
