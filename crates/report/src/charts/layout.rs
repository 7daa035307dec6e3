//! What all charts share: title and footer, axes and grid, markers, and labels that keep out of each other's way.

use super::axis::Axis;
use super::scene::{Anchor, Dash, Frame, Point, Scene, text_width};
use super::style::{self, Ink, LaneStyle, Marker};
use crate::text;
use crate::view::LoadPoint;

/// The space between the title's block and the first panel.
const HEAD: f64 = 84.0;
/// The space below the last panel, for the footer.
const FOOT: f64 = 40.0;

/// Begins a picture: white, with its question and scope. Panels may use what [`body`] returns.
pub(crate) fn begin(title: &str, subtitle: &str, body_height: f64) -> Scene {
    let mut scene = Scene {
        width: style::WIDTH,
        height: HEAD + body_height + FOOT,
        marks: Vec::new(),
    };
    let left = style::MARGIN;
    let room = style::WIDTH - 2.0 * style::MARGIN;
    scene.bold(
        title,
        (left, 38.0),
        style::TITLE,
        style::BLACK,
        Anchor::Start,
    );
    let subtitle = fit(subtitle, style::SUBTITLE, room);
    scene.text(
        subtitle,
        (left, 60.0),
        style::SUBTITLE,
        style::GREY,
        Anchor::Start,
    );
    scene
}

/// Returns the space between head and foot.
pub(crate) fn body(scene: &Scene) -> Frame {
    Frame {
        left: style::MARGIN,
        top: HEAD,
        right: scene.width - style::MARGIN,
        bottom: scene.height - FOOT,
    }
}

/// Ends a picture: how to read it at the left, where it is from at the right.
pub(crate) fn end(scene: &mut Scene, note: &str, origin: &str) {
    let y = scene.height - 16.0;
    let right = scene.width - style::MARGIN;
    let origin = fit(origin, style::FOOTER, 330.0);
    let room = right - style::MARGIN - text_width(&origin, style::FOOTER, false) - 24.0;
    let note = fit(note, style::FOOTER, room);
    scene.text(
        note,
        (style::MARGIN, y),
        style::FOOTER,
        style::GREY,
        Anchor::Start,
    );
    scene.text(origin, (right, y), style::FOOTER, style::GREY, Anchor::End);
}

/// Writes what a panel shows, at its top: its title at the left, payload and trials at the right.
pub(crate) fn panel_head(scene: &mut Scene, top: f64, title: &str, point: &LoadPoint<'_>) {
    let Frame { left, right, .. } = body(scene);
    let baseline = top + 14.0;
    let detail = format!("{} · {}", point.payload_text(), point.trials_text());
    let room = right - left - text_width(&detail, style::TICK, false) - 40.0;
    let title = fit(title, style::PANEL, room);
    scene.bold(
        title,
        (left, baseline),
        style::PANEL,
        style::BLACK,
        Anchor::Start,
    );
    scene.text(
        detail,
        (right, baseline),
        style::TICK,
        style::GREY,
        Anchor::End,
    );
}

/// Cuts a text to the room it has.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    let text = text::line(text);
    if text_width(&text, size, false) <= room {
        return text;
    }
    let mut short: String = text;
    while short.pop().is_some() && text_width(&short, size, false) + size > room {}
    format!("{}…", short.trim_end())
}

/// Draws the horizontal grid with its labels left of the frame, and the unit's name above them.
pub(crate) fn y_axis(
    scene: &mut Scene,
    frame: Frame,
    axis: &Axis,
    label: fn(f64) -> String,
    gap: f64,
) {
    for tick in axis.ticks(gap) {
        let y = axis.place(tick);
        scene.line(
            vec![(frame.left, y), (frame.right, y)],
            style::GRID,
            1.0,
            Dash::Solid,
        );
        let at = (frame.left - 8.0, y + style::TICK * 0.36);
        scene.text(label(tick), at, style::TICK, style::GREY, Anchor::End);
    }
}

/// Draws the base line with ticks and labels below the frame. Labels that would touch are left out.
pub(crate) fn x_axis(
    scene: &mut Scene,
    frame: Frame,
    axis: &Axis,
    label: fn(f64) -> String,
    gap: f64,
) {
    let base = frame.bottom;
    scene.line(
        vec![(frame.left, base), (frame.right, base)],
        style::AXIS,
        1.0,
        Dash::Solid,
    );
    let mut free_from = f64::NEG_INFINITY;
    for tick in axis.ticks(gap) {
        let x = axis.place(tick);
        scene.line(
            vec![(x, base), (x, base + 4.0)],
            style::AXIS,
            1.0,
            Dash::Solid,
        );
        let name = label(tick);
        let half = text_width(&name, style::TICK, false) / 2.0;
        if x - half > free_from {
            let at = (x, base + 17.0);
            scene.text(name, at, style::TICK, style::GREY, Anchor::Middle);
            free_from = x + half + 6.0;
        }
    }
}

/// Draws the vertical grid, to be read with the labels below the frame.
pub(crate) fn x_grid(scene: &mut Scene, frame: Frame, axis: &Axis, gap: f64) {
    for tick in axis.ticks(gap) {
        let x = axis.place(tick);
        let line = vec![(x, frame.top), (x, frame.bottom)];
        scene.line(line, style::GRID, 1.0, Dash::Solid);
    }
}

/// Writes what the x axis counts, centred below its labels.
pub(crate) fn x_title(scene: &mut Scene, frame: Frame, title: &str) {
    let at = (f64::midpoint(frame.left, frame.right), frame.bottom + 35.0);
    scene.text(title, at, style::TICK, style::GREY, Anchor::Middle);
}

/// Writes what the y axis counts, above it, starting at the labels' left.
pub(crate) fn y_title(scene: &mut Scene, frame: Frame, left: f64, title: &str) {
    let at = (left, frame.top - 20.0);
    scene.text(title, at, style::TICK, style::GREY, Anchor::Start);
}

/// Draws one of a lane's points.
pub(crate) fn marker(scene: &mut Scene, at: Point, radius: f64, lane: &LaneStyle) {
    let ink = lane.ink;
    match lane.marker {
        Marker::Filled => {
            scene.circle(at, radius + 0.75, style::WHITE);
            scene.circle(at, radius, ink);
        }
        Marker::Hollow => {
            scene.circle(at, radius, ink);
            scene.circle(at, radius * 0.55, style::WHITE);
        }
        Marker::Diamond => {
            let (x, y) = at;
            let diamond = |r: f64| vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)];
            scene.area(diamond(radius * 1.25 + 1.0), style::WHITE);
            scene.area(diamond(radius * 1.25), ink);
        }
    }
}

/// Draws an interval along x: a bar with ends, edged in white where something lies below.
pub(crate) fn whisker(scene: &mut Scene, (low, high): (f64, f64), y: f64, cap: f64, ink: Ink) {
    let bar = vec![(low, y), (high, y)];
    let end = |x: f64| vec![(x, y - cap), (x, y + cap)];
    for (ink, more) in [(style::WHITE, 1.6), (ink, 0.0)] {
        scene.line(bar.clone(), ink, 2.0 + more, Dash::Solid);
        scene.line(end(low), ink, 1.4 + more, Dash::Solid);
        scene.line(end(high), ink, 1.4 + more, Dash::Solid);
    }
}

/// Fills a rectangle with slanted lines, `gap` apart.
pub(crate) fn hatch(scene: &mut Scene, frame: Frame, gap: f64, ink: Ink) {
    let height = frame.bottom - frame.top;
    let count = ((frame.width() + height) / gap).floor();
    let mut reach = gap;
    while reach <= count * gap {
        // From the left or lower edge up to the upper or right one.
        let lower = (reach - height).max(0.0);
        let upper = reach.min(frame.width());
        let line = vec![
            (frame.left + lower, frame.top + (reach - lower)),
            (frame.left + upper, frame.top + (reach - upper)),
        ];
        scene.line(line, ink, 1.0, Dash::Solid);
        reach += gap;
    }
}

/// A label beside the end of a line.
pub(crate) struct EndLabel {
    pub(crate) text: String,
    pub(crate) ink: Ink,
    /// Where its line ends.
    pub(crate) end: Point,
}

/// Writes the labels into a column at `x`, each as near to its line's end as the others allow, joined to it by a hair line.
pub(crate) fn end_labels(scene: &mut Scene, labels: Vec<EndLabel>, x: f64, frame: Frame) {
    let mut labels = labels;
    labels.sort_by(|a, b| a.end.1.total_cmp(&b.end.1));
    let wanted: Vec<_> = labels.iter().map(|label| label.end.1).collect();
    let places = apart(&wanted, style::LABEL * 1.4, frame.top, frame.bottom);
    let room = style::WIDTH - x - 6.0;
    for (label, y) in labels.into_iter().zip(places) {
        let (end_x, end_y) = label.end;
        let knee = (x - 14.0).max(end_x + 2.0);
        let leader = vec![(end_x + 4.0, end_y), (knee, end_y), (x - 5.0, y)];
        if end_x + 8.0 < x - 5.0 {
            scene.line(leader, label.ink.lighten(0.45), 0.8, Dash::Solid);
        }
        let text = fit(&label.text, style::LABEL, room);
        scene.bold(
            text,
            (x, y + style::LABEL * 0.36),
            style::LABEL,
            label.ink,
            Anchor::Start,
        );
    }
}

/// Moves sorted places apart until each has `gap`, as little as possible, within the bounds if they suffice.
pub(crate) fn apart(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    // Groups of labels that touch stand centred on what their members want.
    let mut groups: Vec<(f64, f64)> = Vec::new();
    for place in wanted {
        groups.push((*place, 1.0));
        while let [.., (before, m), (after, n)] = groups[..] {
            let needed = gap * (m + n) / 2.0;
            if after - before >= needed - 1e-9 {
                break;
            }
            groups.truncate(groups.len() - 2);
            groups.push(((before * m + after * n) / (m + n), m + n));
        }
    }
    let mut places: Vec<f64> = groups
        .iter()
        .flat_map(|(center, n)| {
            let top = center - (n - 1.0) / 2.0 * gap;
            let mut index = 0.0;
            std::iter::from_fn(move || {
                let place = (index < *n).then_some(top + index * gap);
                index += 1.0;
                place
            })
        })
        .collect();
    let mut bound = high;
    for place in places.iter_mut().rev() {
        *place = place.min(bound);
        bound = *place - gap;
    }
    let mut bound = low;
    for place in &mut places {
        *place = place.max(bound);
        bound = *place + gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_move_apart_and_stay_inside() {
        let places = apart(&[10.0, 11.0, 12.0, 80.0], 10.0, 0.0, 85.0);
        assert_eq!(places, [1.0, 11.0, 21.0, 80.0]);
        let crowded = apart(&[84.0, 84.0, 84.0], 10.0, 0.0, 85.0);
        assert_eq!(crowded, [65.0, 75.0, 85.0]);
        assert!(apart(&[], 10.0, 0.0, 1.0).is_empty());
    }

    #[test]
    fn long_texts_are_cut_to_their_room() {
        let cut = fit(&"wide ".repeat(60), 12.0, 200.0);
        assert!(cut.ends_with('…') && text_width(&cut, 12.0, false) <= 201.0);
    }
}
