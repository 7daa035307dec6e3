//! The way from one HTTP/1.1 connection per request to a kept WebSocket in two steps, and in both orders: what each step
//! gains, as bars on a scale of ratios.

use sockrates_core::summary::{Attribution, Estimate, Verdict};

use super::axis::{Axis, ratio_label};
use super::layout::{self, fit};
use super::scene::{Anchor, Dash, Frame, Scene, text_width};
use super::style::{self, Ink};
use super::{Picture, metric_text, origin, scope};
use crate::view::{LoadPoint, View};
use crate::{attribution, findings};

/// One number's two bars, each below the line of its labels.
const GROUP: f64 = 118.0;
const MAIN_LABELS: f64 = 22.0;
const MAIN_BAR: f64 = 42.0;
const OTHER_LABELS: f64 = 74.0;
const OTHER_BAR: f64 = 88.0;
const MAIN_HEIGHT: f64 = 22.0;
const OTHER_HEIGHT: f64 = 14.0;
const AXIS: f64 = 46.0;
const NAMES: f64 = 148.0;
/// The room for the whole gain right of the bars.
const TOTALS: f64 = 158.0;
const SWATCH: f64 = 9.0;

/// One step of the way: where it starts and ends on the scale, and what it is called.
struct Step<'a> {
    name: &'static str,
    factor: &'a Estimate,
    verdict: Verdict,
    ink: Ink,
    from: f64,
    to: f64,
}

/// Draws one picture per closed load point whose four lanes were measured.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let judgement = crate::judgement::of(view);
    let comparisons = crate::comparison::all(view, &judgement);
    let all = attribution::all(view, &comparisons, judgement.is_conclusive);
    view.load_points()
        .iter()
        .filter(|point| point.is_closed() && point.is_plain_echo())
        .filter_map(|point| {
            let cell = point.cell();
            let is_here = |found: &&Attribution| {
                found.scenario == cell.scenario && found.connections == cell.connections
            };
            picture(
                view,
                point,
                &all.iter().filter(is_here).collect::<Vec<_>>(),
                question,
            )
        })
        .collect()
}

fn picture(
    view: &View<'_>,
    point: &LoadPoint<'_>,
    found: &[&Attribution],
    question: &str,
) -> Option<Picture> {
    found.first()?;
    let height = GROUP * found.len() as f64 + AXIS;
    let mut scene = layout::begin(question, &scope(view, point), height);
    let body = layout::body(&scene);
    let frame = Frame {
        left: body.left + NAMES,
        top: body.top,
        right: body.right - TOTALS,
        bottom: body.bottom - AXIS,
    };
    let axis = Axis::ratio(
        found.iter().flat_map(|found| numbers(found)),
        (frame.left, frame.right),
    );
    layout::x_grid(&mut scene, frame, &axis, 60.0);
    layout::x_axis(&mut scene, frame, &axis, ratio_label, 60.0);
    layout::x_title(
        &mut scene,
        frame,
        "times better than one HTTP/1.1 connection per request",
    );
    let one = axis.place(1.0);
    let line = vec![(one, frame.top), (one, frame.bottom)];
    scene.line(line, style::GREY, 1.2, Dash::Solid);
    for (index, found) in found.iter().enumerate() {
        group(&mut scene, found, &axis, frame.top + GROUP * index as f64);
    }
    let note = "black: 95 % interval of a bar's end · hollow: not told · hatched: a step back · thin: the other order";
    layout::end(&mut scene, note, &origin(view));
    Some(Picture {
        suffix: format!("-{}", point.slug()),
        caption: format!("{}: {}", point.cell().scenario, point.load_text()),
        scene,
    })
}

/// Returns every number that the axis must reach.
fn numbers(found: &Attribution) -> [f64; 7] {
    let first = [&found.total, &found.reuse, &found.protocol_per_request];
    let [total, reuse, protocol] = first.map(|step| (step.low, step.high));
    [
        1.0, total.0, total.1, reuse.0, reuse.1, protocol.0, protocol.1,
    ]
}

fn group(scene: &mut Scene, found: &Attribution, axis: &Axis, top: f64) {
    let body = layout::body(scene);
    let name = fit(&metric_text(&found.metric), style::PANEL, NAMES - 14.0);
    let at = (body.left, top + MAIN_BAR + style::PANEL * 0.36);
    scene.bold(name, at, style::PANEL, style::BLACK, Anchor::Start);
    let at = (body.left, top + OTHER_BAR + style::TICK * 0.36);
    scene.text(
        "the other way round",
        at,
        style::TICK,
        style::GREY,
        Anchor::Start,
    );
    let (reuse, protocol) = (style::REUSE, style::ink("websocket"));
    let names = ["keeping the connection", "the protocol"];
    let factors = [("reuse", &found.reuse), ("protocol", &found.protocol)];
    let steps = way(found, names, factors, [reuse, protocol]);
    labels(scene, &steps, axis, top + MAIN_LABELS, style::LABEL);
    bar(scene, &steps, axis, top + MAIN_BAR, MAIN_HEIGHT);
    ends(scene, &steps, found, axis, top + MAIN_BAR);
    let names = ["the protocol first", "then keeping the connection"];
    let factors = [
        ("protocol_per_request", &found.protocol_per_request),
        ("reuse_of_websocket", &found.reuse_of_websocket),
    ];
    let inks = [protocol.lighten(0.35), reuse.lighten(0.4)];
    let steps = way(found, names, factors, inks);
    labels(scene, &steps, axis, top + OTHER_LABELS, style::TICK);
    bar(scene, &steps, axis, top + OTHER_BAR, OTHER_HEIGHT);
}

/// Two steps one after the other: their factors multiply to the whole.
fn way<'a>(
    found: &Attribution,
    names: [&'static str; 2],
    factors: [(&str, &'a Estimate); 2],
    inks: [Ink; 2],
) -> [Step<'a>; 2] {
    let step = |index: usize, from, to| Step {
        name: names[index],
        factor: factors[index].1,
        verdict: attribution::verdict(found, factors[index].0),
        ink: inks[index],
        from,
        to,
    };
    let middle = factors[0].1.value;
    [step(0, 1.0, middle), step(1, middle, found.total.value)]
}

impl Step<'_> {
    fn is_back(&self) -> bool {
        self.to < self.from
    }

    fn places(&self, axis: &Axis) -> (f64, f64) {
        let (from, to) = (axis.place(self.from), axis.place(self.to));
        (from.min(to), from.max(to))
    }
}

/// Writes both steps' names and factors above a bar, each as near to its part as the other allows.
fn labels(scene: &mut Scene, steps: &[Step<'_>; 2], axis: &Axis, baseline: f64, size: f64) {
    let texts = steps.each_ref().map(|step| {
        format!(
            "{} {}",
            step.name,
            findings::cell(Some(step.factor), step.verdict)
        )
    });
    let widths = texts
        .each_ref()
        .map(|text| SWATCH + 6.0 + text_width(text, size, false));
    let gap = 20.0;
    let first = steps[0].places(axis).0 + 4.0;
    let second = (steps[1].places(axis).0 + 4.0).max(first + widths[0] + gap);
    let second = second.min(layout::body(scene).right - widths[1]);
    let first = first.min(second - gap - widths[0]);
    for ((step, text), left) in steps.iter().zip(texts).zip([first, second]) {
        let right = left + text_width(&text, size, false) + SWATCH + 6.0;
        clear(scene, left, right, baseline, size);
        let swatch = Frame {
            left,
            top: baseline - SWATCH,
            right: left + SWATCH,
            bottom: baseline,
        };
        part(scene, swatch, step);
        let at = (left + SWATCH + 6.0, baseline);
        scene.text(text, at, size, style::BLACK, Anchor::Start);
    }
}

/// Draws both steps on one line, or, where one leads back, each on its half of it.
fn bar(scene: &mut Scene, steps: &[Step<'_>; 2], axis: &Axis, y: f64, height: f64) {
    let is_split = steps.iter().any(Step::is_back);
    for (index, step) in steps.iter().enumerate() {
        let (left, right) = step.places(axis);
        let top = y - height / 2.0;
        let frame = Frame {
            left,
            top,
            right,
            bottom: top + height,
        };
        let frame = match (is_split, index) {
            (true, 0) => Frame {
                bottom: y - 0.75,
                ..frame
            },
            (true, _) => Frame {
                top: y + 0.75,
                ..frame
            },
            (false, 0) => frame,
            (false, _) => Frame {
                left: (left + 1.5).min(right),
                ..frame
            },
        };
        part(scene, frame, step);
    }
}

fn part(scene: &mut Scene, frame: Frame, step: &Step<'_>) {
    if step.verdict == Verdict::Inconclusive {
        scene.rect(frame, style::WHITE);
        scene.outline(frame, step.ink, 1.4, Dash::Dashed);
    } else if step.is_back() {
        scene.rect(frame, style::WHITE);
        layout::hatch(scene, frame, 5.0, step.ink);
        scene.outline(frame, step.ink, 1.4, Dash::Solid);
    } else {
        scene.rect(frame, step.ink);
    }
}

/// Marks the intervals of both ends, and writes the whole gain behind the bar.
fn ends(scene: &mut Scene, steps: &[Step<'_>; 2], found: &Attribution, axis: &Axis, y: f64) {
    let is_split = steps.iter().any(Step::is_back);
    let shift = if is_split { MAIN_HEIGHT / 4.0 } else { 0.0 };
    let cap = if is_split { 3.0 } else { 5.0 };
    let mut right = axis.place(1.0);
    for (estimate, y) in [(&found.reuse, y - shift), (&found.total, y + shift)] {
        let (low, high) = (axis.place(estimate.low), axis.place(estimate.high));
        layout::whisker(scene, (low, high), y, cap, style::BLACK);
        right = right.max(high);
    }
    let at = (right + 10.0, y + style::PANEL * 0.36);
    let verdict = attribution::verdict(found, "total");
    let total = format!("= {}", findings::cell(Some(&found.total), verdict));
    let width = text_width(&total, style::PANEL, true);
    clear(scene, at.0, at.0 + width, at.1, style::PANEL);
    scene.bold(total, at, style::PANEL, style::BLACK, Anchor::Start);
}

/// Keeps the grid from crossing a text.
fn clear(scene: &mut Scene, left: f64, right: f64, baseline: f64, size: f64) {
    let space = Frame {
        left: left - 1.0,
        top: baseline - size,
        right: right + 3.0,
        bottom: baseline + size * 0.3,
    };
    scene.rect(space, style::WHITE);
}
