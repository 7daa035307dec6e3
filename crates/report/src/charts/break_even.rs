//! The time per message against the number of messages that one connection carries: what kept connections cost, beside
//! one connection per message.

use sockrates_core::lane::{Lane, Lifecycle};
use sockrates_core::summary::{BreakEven, Crossing, Estimate};

use super::axis::{Axis, count_label, time_label};
use super::layout::{self, EndLabel};
use super::scene::{Anchor, Dash, Frame, Point, Scene, text_width};
use super::style;
use super::{Picture, origin, scope};
use crate::text;
use crate::view::{LoadPoint, View};

const HEIGHT: f64 = 480.0;
const NAMES: f64 = 196.0;
const TICKS: f64 = 62.0;
/// The longest life of a connection to be shown, unless a longer one was measured.
const MOST: u32 = 1000;
/// Points per curve.
const STEPS: u32 = 90;
/// The distance of the lines of text below the curves.
const LINE: f64 = 18.0;

struct Axes {
    x: Axis,
    y: Axis,
    most: f64,
}

/// Draws one picture per scenario.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let all = crate::break_even::all(view);
    let points = view.load_points();
    let is_simple = |point: &&LoadPoint<'_>| {
        point.is_closed() && point.is_plain_echo() && point.cell().connections == 1
    };
    points
        .iter()
        .filter(is_simple)
        .filter_map(|point| {
            let is_here = |found: &&BreakEven| found.scenario == point.cell().scenario;
            let found: Vec<_> = all.iter().filter(is_here).collect();
            picture(view, point, &found, question)
        })
        .collect()
}

fn picture(
    view: &View<'_>,
    point: &LoadPoint<'_>,
    found: &[&BreakEven],
    question: &str,
) -> Option<Picture> {
    found.first()?;
    let mut scene = layout::begin(question, &scope(view, point), HEIGHT);
    let body = layout::body(&scene);
    let frame = Frame {
        left: body.left + TICKS,
        top: body.top + 24.0,
        right: body.right - NAMES,
        bottom: body.bottom - 44.0,
    };
    let named: Vec<_> = found.iter().collect();
    // The lines of text stand between the lowest curve and the axis.
    let lowest = frame.bottom - LINE * (named.len() as f64 + 0.6);
    let axes = axes(found, frame, lowest);
    let floor = Frame {
        bottom: lowest,
        ..frame
    };
    layout::y_axis(&mut scene, floor, &axes.y, time_label, 42.0);
    layout::x_axis(&mut scene, frame, &axes.x, count_label, 70.0);
    layout::y_title(
        &mut scene,
        frame,
        body.left,
        "time per message, opening and closing included",
    );
    layout::x_title(&mut scene, frame, "messages per connection");
    let labels = lanes(&mut scene, found, &axes);
    crossings(&mut scene, &named, &axes, frame);
    layout::end_labels(&mut scene, labels, frame.right + 22.0, floor);
    let note = "dashed: computed from set-up and message cost · marker: measured, 95 % interval · black: break-even";
    layout::end(&mut scene, note, &origin(view));
    Some(Picture {
        suffix: format!("-{}", text::slug(&point.cell().scenario)),
        caption: point.cell().scenario.clone(),
        scene,
    })
}

fn axes(found: &[&BreakEven], frame: Frame, lowest: f64) -> Axes {
    let measured = || found.iter().flat_map(|found| &found.measured);
    let most = measured().map(|point| point.exchanges).fold(MOST, u32::max);
    let most = f64::from(most);
    let times = found.iter().flat_map(|found| {
        let fresh = found.fresh_ns;
        [time(found, 1.0), time(found, most), fresh.low, fresh.high]
    });
    let intervals = measured().flat_map(|point| [point.measured_ns.low, point.measured_ns.high]);
    Axes {
        x: Axis::log([1.0, most].into_iter(), (frame.left, frame.right)),
        y: Axis::log(times.chain(intervals), (lowest, frame.top)),
        most,
    }
}

/// Returns what a message costs when a connection carries so many.
fn time(found: &BreakEven, messages: f64) -> f64 {
    found.set_up_ns.value / messages + found.message_ns.value
}

/// Draws every lane once, however many break-evens it takes part in.
fn lanes(scene: &mut Scene, found: &[&BreakEven], axes: &Axes) -> Vec<EndLabel> {
    let mut done: Vec<&Lane> = Vec::new();
    let mut labels = Vec::new();
    for found in found {
        for lane in [&found.fresh, &found.kept] {
            if done.contains(&lane) {
                continue;
            }
            done.push(lane);
            let end = match lane.lifecycle {
                Lifecycle::PerRequest => fresh(scene, found, axes),
                Lifecycle::Persistent => kept(scene, found, axes),
            };
            labels.push(EndLabel {
                text: lane.to_string(),
                ink: style::of(lane).ink,
                end,
            });
        }
    }
    labels
}

fn fresh(scene: &mut Scene, found: &BreakEven, axes: &Axes) -> Point {
    let look = style::of(&found.fresh);
    let y = axes.y.place(found.fresh_ns.value);
    let end = (axes.x.place(axes.most), y);
    scene.line(
        vec![(axes.x.place(1.0), y), end],
        look.ink,
        look.width - 0.6,
        Dash::Solid,
    );
    measured(scene, &found.fresh, 1.0, &found.fresh_ns, axes);
    end
}

fn kept(scene: &mut Scene, found: &BreakEven, axes: &Axes) -> Point {
    let look = style::of(&found.kept);
    let curve: Vec<Point> = (0..=STEPS)
        .map(|step| {
            let messages = axes.most.powf(f64::from(step) / f64::from(STEPS));
            (axes.x.place(messages), axes.y.place(time(found, messages)))
        })
        .collect();
    let end = curve[curve.len() - 1];
    scene.line(curve, look.ink, 1.5, Dash::Dashed);
    for point in &found.measured {
        let exchanges = f64::from(point.exchanges);
        measured(scene, &found.kept, exchanges, &point.measured_ns, axes);
    }
    end
}

fn measured(scene: &mut Scene, lane: &Lane, messages: f64, time: &Estimate, axes: &Axes) {
    let look = style::of(lane);
    let x = axes.x.place(messages);
    let (low, high) = (axes.y.place(time.low), axes.y.place(time.high));
    scene.line(vec![(x, low), (x, high)], look.ink, 2.0, Dash::Solid);
    for end in [low, high] {
        scene.line(
            vec![(x - 6.0, end), (x + 6.0, end)],
            look.ink,
            1.4,
            Dash::Solid,
        );
    }
    layout::marker(scene, (x, axes.y.place(time.value)), 3.2, &look);
}

/// Marks where kept lanes begin to pay: from the crossing down to a line of text, the farthest right on the upper line,
/// so that no mark meets another's text.
fn crossings(scene: &mut Scene, named: &[&&BreakEven], axes: &Axes, frame: Frame) {
    let at = |found: &BreakEven| found.messages.map_or(axes.most, |messages| messages.value);
    let mut named = named.to_vec();
    named.sort_by(|a, b| at(b).total_cmp(&at(a)));
    let lines = named.len() as f64;
    for (index, found) in named.iter().enumerate() {
        let ink = style::of(&found.kept).ink;
        let baseline = frame.bottom - LINE * (lines - index as f64 - 1.0) - 8.0;
        let mut left = frame.left + 8.0;
        if let Some(messages) = found.messages {
            let x = axes.x.place(messages.value.min(axes.most));
            let top = axes.y.place(time(found, messages.value));
            let drop = vec![(x, top), (x, baseline)];
            scene.line(drop, ink, 1.0, Dash::Dotted);
            scene.circle((x, top), 3.0, style::BLACK);
            left = x + 7.0;
        }
        let words = pays(found);
        let width = text_width(&words, style::LABEL, true);
        if left + width > style::WIDTH - style::MARGIN {
            left -= width + 14.0;
        }
        scene.bold(words, (left, baseline), style::LABEL, ink, Anchor::Start);
    }
}

/// Says from how many messages on a kept lane pays, in whole messages, and against what.
fn pays(found: &BreakEven) -> String {
    let name = |lane: &Lane| match lane.transport.as_str() {
        "http1" => "HTTP/1.1".to_owned(),
        other => text::transport(other),
    };
    let kept = format!("kept {}", name(&found.kept));
    let other = match found.fresh.lifecycle {
        Lifecycle::PerRequest => format!("{} per message", name(&found.fresh)),
        Lifecycle::Persistent => format!("kept {}", name(&found.fresh)),
    };
    let Some(messages) = found.messages else {
        return match found.crossing {
            Crossing::Always => format!("{kept} is cheaper than {other} at any number of messages"),
            Crossing::Never => format!("{kept} is never cheaper than {other}"),
            Crossing::Found | Crossing::Unclear => {
                format!("{kept} against {other}: this run cannot tell")
            }
        };
    };
    let [value, low, high] = [messages.value, messages.low, messages.high].map(whole);
    let word = if value > 1.0 { "messages" } else { "message" };
    let range = if low < high {
        format!(" ({low:.0} to {high:.0})")
    } else {
        String::new()
    };
    format!("{kept} beats {other} from {value:.0} {word}{range} on")
}

/// Rounds up; a hair above a whole number is noise.
fn whole(messages: f64) -> f64 {
    (messages - 0.005).ceil().max(1.0)
}
