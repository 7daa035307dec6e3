//! Two runs, or two lanes, over each other: percentile curves of each load point, and all ratios with their intervals.

use sockrates_core::histogram::Histogram;
use sockrates_core::lane::{Lane, Lifecycle};

use super::Drawn;
use super::axis::{Axis, percent_label, time_label};
use super::layout::{self, EndLabel, fit};
use super::scene::{Anchor, Dash, Frame, Scene};
use super::style::{self, Ink};
use crate::side_by_side::{Compared, Point, SideBySide};
use crate::view::{CellView, View};

const HEIGHT: f64 = 470.0;
/// The room for lane names at the right of curves.
const NAMES: f64 = 196.0;
const TICKS: f64 = 62.0;
/// Points per line, as in the percentiles of one run.
const STEPS_PER_NINE: f64 = 40.0;

const ROW: f64 = 26.0;
const PANEL_HEAD: f64 = 30.0;
const PANEL_FOOT: f64 = 40.0;
/// The room for names at the left of ratios, and for values and verdicts at their right.
const ROW_NAMES: f64 = 236.0;
const ROW_VALUES: f64 = 262.0;
const VERDICTS: f64 = 124.0;
/// Ratios worth a tick, the most useful first.
const RATIOS: [f64; 23] = [
    1.0, 2.0, 0.5, 5.0, 0.2, 10.0, 0.1, 20.0, 0.05, 50.0, 0.02, 100.0, 0.01, 1.2, 0.8, 1.5, 0.7,
    3.0, 0.3, 1.1, 0.9, 1.3, 0.6,
];
const TICK_DISTANCE: f64 = 38.0;

/// Draws the curves of every load point whose times may be compared, and the ratios of all.
pub(crate) fn draw(side: &SideBySide, a: &View<'_>, b: &View<'_>) -> Vec<Drawn> {
    let points = side.load_points.iter();
    let curves = points.filter_map(|point| percentiles(side, point, a, b));
    curves.chain(ratios(side)).collect()
}

/// A cell's curve and how it is drawn.
struct Curve {
    name: String,
    ink: Ink,
    width: f64,
    dash: Dash,
    points: Vec<(f64, f64)>,
}

fn percentiles(side: &SideBySide, point: &Point, a: &View<'_>, b: &View<'_>) -> Option<Drawn> {
    let curves: Vec<_> = point
        .overlaid
        .iter()
        .flat_map(|(in_a, in_b)| {
            let one = curve(find(a, in_a), Dash::Solid, true);
            // The same lane's name stands once, beside A's line.
            let other = curve(find(b, in_b), Dash::Dashed, side.is_of_lanes());
            [one, other]
        })
        .flatten()
        .collect();
    let last = curves.iter().filter_map(|curve| curve.points.last());
    let last = last.map(|(quantile, _)| *quantile).reduce(f64::max)?;
    let question = "How do the times of A and B differ, up to the slowest?";
    let mut scene = layout::begin(question, &subtitle(side, Some(point)), HEIGHT);
    let body = layout::body(&scene);
    let frame = Frame {
        left: body.left + TICKS,
        top: body.top + 24.0,
        right: body.right - NAMES,
        bottom: body.bottom - 44.0,
    };
    let times = curves.iter().flat_map(|curve| &curve.points);
    let y = Axis::log(times.map(|(_, ns)| *ns), (frame.bottom, frame.top));
    let x = Axis::nines(last, (frame.left, frame.right));
    layout::y_axis(&mut scene, frame, &y, time_label, 42.0);
    layout::x_axis(&mut scene, frame, &x, percent_label, 60.0);
    layout::y_title(&mut scene, frame, body.left, &point.time);
    let share = format!("share of operations whose {} was no longer", point.time);
    layout::x_title(&mut scene, frame, &share);
    let mut labels = Vec::new();
    for curve in curves {
        let place = |(quantile, ns): &(f64, f64)| (x.place(*quantile), y.place(*ns));
        let line: Vec<_> = curve.points.iter().map(place).collect();
        if let Some(end) = line.last().filter(|_| !curve.name.is_empty()) {
            labels.push(EndLabel {
                text: curve.name,
                ink: curve.ink,
                end: *end,
            });
        }
        scene.line(line, curve.ink, curve.width, curve.dash);
    }
    layout::end_labels(&mut scene, labels, frame.right + 22.0, frame);
    let note = "all trials together · solid: A, dashed: B · thick: kept open, thin: per request or control";
    layout::end(&mut scene, note, &side.versions());
    Some(Drawn {
        stem: format!("percentiles-{}", point.slug),
        question,
        reading: "Solid lines are A, dashed lines are B, of the same colour for the same transport; a line ends where \
                  fewer than ten operations would lie beyond it.",
        caption: point.title(),
        scene,
    })
}

fn find<'a>(view: &'a View<'a>, id: &str) -> Option<&'a CellView<'a>> {
    view.cells.iter().find(|cell| cell.cell.id == id)
}

fn curve(cell: Option<&CellView<'_>>, dash: Dash, is_named: bool) -> Option<Curve> {
    let cell = cell?;
    let lane = &cell.cell.lane;
    let points = quantiles(cell.merged.get(&cell.main_metric())?);
    (points.len() > 1).then(|| Curve {
        name: if is_named {
            lane.to_string()
        } else {
            String::new()
        },
        ink: ink(lane),
        width: if is_kept(lane) { 2.6 } else { 1.3 },
        dash,
        points,
    })
}

fn is_kept(lane: &Lane) -> bool {
    lane.lifecycle == Lifecycle::Persistent && lane.client.is_none()
}

/// Lanes of one transport share its colour; those that are thin are paler, too.
fn ink(lane: &Lane) -> Ink {
    let ink = style::ink(&lane.transport);
    if is_kept(lane) { ink } else { ink.lighten(0.2) }
}

/// Returns quantiles with their times, up to the last one that enough samples support.
fn quantiles(times: &Histogram) -> Vec<(f64, f64)> {
    (1u32..)
        .map(|step| 1.0 - 10f64.powf(-f64::from(step) / STEPS_PER_NINE))
        .map_while(|quantile| Some((quantile, times.quantile_ns(quantile)? as f64)))
        .collect()
}

fn subtitle(side: &SideBySide, point: Option<&Point>) -> String {
    let sides = side.sides();
    match point {
        Some(point) => format!(
            "{} · {} · {} · {sides}",
            point.scenario, point.load, point.payload
        ),
        None => sides,
    }
}

/// Draws every load point's ratios: of all lanes for runs, of all numbers for lanes.
fn ratios(side: &SideBySide) -> Option<Drawn> {
    let rows_of = |point| rows(side, point);
    let panels = side.load_points.iter().map(|point| (point, rows_of(point)));
    let panels: Vec<_> = panels.filter(|(_, rows)| !rows.is_empty()).collect();
    let all = panels.iter().flat_map(|(_, rows)| rows);
    let ends: Vec<f64> = all.flat_map(|row| ends(row)).chain([0.9, 1.1]).collect();
    let question = "By what factor does B differ from A?";
    let height = panels.iter().map(|(_, rows)| panel_height(rows)).sum();
    let mut scene = layout::begin(question, &subtitle(side, None), height);
    let body = layout::body(&scene);
    let (left, right) = (body.left + ROW_NAMES, body.right - ROW_VALUES);
    let axis = Axis::log(ends.into_iter(), (left, right));
    let mut top = body.top;
    for (point, rows) in &panels {
        let frame = Frame {
            left,
            top: top + PANEL_HEAD,
            right,
            bottom: top + PANEL_HEAD + ROW * rows.len() as f64,
        };
        panel(&mut scene, side, point, rows, &axis, frame);
        top += panel_height(rows);
    }
    let note = "B / A · bar: 95 % interval · shaded: too small to matter · hollow: too few blocks for an interval";
    layout::end(&mut scene, note, &side.versions());
    (!panels.is_empty()).then(|| Drawn {
        stem: "ratios".to_owned(),
        question,
        reading: "Right of 1, B's number is the larger. Bars are 95 % intervals; the shaded range around 1 is too small \
                  to matter.",
        caption: "All load points.".to_owned(),
        scene,
    })
}

fn rows<'a>(side: &SideBySide, point: &'a Point) -> Vec<&'a Compared> {
    let is_shown = |row: &&Compared| side.is_of_lanes() || row.is_main();
    point.rows(None).filter(is_shown).collect()
}

fn panel_height(rows: &[&Compared]) -> f64 {
    PANEL_HEAD + ROW * rows.len() as f64 + PANEL_FOOT
}

fn ends(row: &Compared) -> Vec<f64> {
    let interval = row.ratio.map(|ratio| [ratio.low, ratio.high]);
    let ends = interval.into_iter().flatten();
    ends.filter(|end| end.is_finite()).collect()
}

fn panel(
    scene: &mut Scene,
    side: &SideBySide,
    point: &Point,
    rows: &[&Compared],
    axis: &Axis,
    frame: Frame,
) {
    let body = layout::body(scene);
    let title = match rows.first() {
        Some(row) if !side.is_of_lanes() => {
            format!("{} · {}", point.title(), number_text(point, row))
        }
        _ => point.title(),
    };
    let title = fit(&title, style::PANEL, body.right - body.left);
    let at = (body.left, frame.top - PANEL_HEAD + 14.0);
    scene.bold(title, at, style::PANEL, style::BLACK, Anchor::Start);
    for (index, row) in (0u32..).zip(rows) {
        let y = frame.top + ROW * (f64::from(index) + 0.5);
        margin(scene, row, axis, y);
    }
    grid(scene, axis, frame);
    for (index, row) in (0u32..).zip(rows) {
        let y = frame.top + ROW * (f64::from(index) + 0.5);
        let name = if side.is_of_lanes() {
            number_text(point, row)
        } else {
            row.name.clone()
        };
        draw_row(scene, &name, row, axis, frame, y);
    }
}

/// Names a number in full: `service time p50`.
fn number_text(point: &Point, row: &Compared) -> String {
    match row.number() {
        percentile @ ("p50" | "p99") => format!("{} {percentile}", point.time),
        "CPU/op" => "CPU per operation".to_owned(),
        number => number.to_owned(),
    }
}

fn grid(scene: &mut Scene, axis: &Axis, frame: Frame) {
    for ratio in ticks(axis, frame) {
        let x = axis.place(ratio);
        let ink = if (ratio - 1.0).abs() < 1e-9 {
            style::AXIS
        } else {
            style::GRID
        };
        let line = vec![(x, frame.top), (x, frame.bottom)];
        scene.line(line, ink, 1.0, Dash::Solid);
        let at = (x, frame.bottom + 15.0);
        let label = format!("{ratio}×");
        scene.text(label, at, style::TICK, style::GREY, Anchor::Middle);
    }
}

fn ticks(axis: &Axis, frame: Frame) -> Vec<f64> {
    let mut ticks: Vec<f64> = Vec::new();
    for ratio in RATIOS {
        let x = axis.place(ratio);
        let is_free = |other: &f64| (axis.place(*other) - x).abs() >= TICK_DISTANCE;
        if (frame.left..=frame.right).contains(&x) && ticks.iter().all(is_free) {
            ticks.push(ratio);
        }
    }
    ticks
}

fn margin(scene: &mut Scene, row: &Compared, axis: &Axis, y: f64) {
    let shade = Frame {
        left: axis.place(1.0 / (1.0 + row.margin)),
        top: y - ROW / 2.0,
        right: axis.place(1.0 + row.margin),
        bottom: y + ROW / 2.0,
    };
    scene.rect(shade, style::SHADE);
}

fn draw_row(scene: &mut Scene, name: &str, row: &Compared, axis: &Axis, frame: Frame, y: f64) {
    let ink = ink(&row.lane_b);
    let baseline = y + style::LABEL * 0.36;
    let at = (frame.left - 10.0, baseline);
    let name = fit(name, style::LABEL, ROW_NAMES - 14.0);
    scene.text(name, at, style::LABEL, style::BLACK, Anchor::End);
    if let Some(ratio) = row.ratio {
        let bar = vec![(axis.place(ratio.low), y), (axis.place(ratio.high), y)];
        scene.line(bar, ink, 2.4, Dash::Solid);
        if row.is_told() {
            scene.circle((axis.place(ratio.value), y), 4.6, ink);
        }
    }
    let right = scene.width - style::MARGIN;
    let at = (right - VERDICTS - 10.0, baseline);
    scene.text(row.ratio_text(), at, style::TICK, style::BLACK, Anchor::End);
    let at = (right - VERDICTS, baseline);
    scene.text(
        row.verdict_text(),
        at,
        style::TICK,
        style::GREY,
        Anchor::Start,
    );
}
