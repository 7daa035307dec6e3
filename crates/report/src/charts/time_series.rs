//! The course of trials over time, one panel per lane: the median and an upper percentile of each slice.

use sockrates_core::record::{Metric, Slice};

use super::axis::{Axis, rate_label, time_label};
use super::layout::{self, fit};
use super::scene::{Anchor, Dash, Frame, Point, Scene, text_width};
use super::style::{self, Ink};
use super::{Picture, origin, scope};
use crate::text;
use crate::view::{CellView, LoadPoint, Trial, View};

const COLUMNS: usize = 2;
const PANEL: f64 = 244.0;
const TICKS: f64 = 58.0;
const GUTTER: f64 = 24.0;
/// The strip below each panel that shows operations per second.
const RATES: f64 = 36.0;
const GAP: f64 = 14.0;
/// With room for this many steps there are always at least two ticks: 0 and one more.
const RATE_TICKS: f64 = 2.5;

/// One slice of one trial.
struct Moment {
    from_ns: f64,
    to_ns: f64,
    p50: Option<f64>,
    /// The 99th percentile, or the longest time where the cell's slices are too small for one.
    upper: Option<f64>,
    rate: f64,
}

/// Draws one picture per load point.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    view.load_points()
        .iter()
        .filter(|point| point.is_main())
        .filter_map(|point| picture(view, point, question))
        .collect()
}

fn picture(view: &View<'_>, point: &LoadPoint<'_>, question: &str) -> Option<Picture> {
    let courses: Vec<_> = point.cells.iter().map(|cell| Course::new(cell)).collect();
    let moments = || courses.iter().flat_map(|course| &course.trials).flatten();
    let times = moments()
        .flat_map(|moment| [moment.p50, moment.upper])
        .flatten();
    let last = moments().map(|moment| moment.to_ns).reduce(f64::max)?;
    times.clone().next()?;
    let rows = courses.len().div_ceil(COLUMNS);
    let mut scene = layout::begin(question, &scope(view, point), PANEL * rows as f64 + 14.0);
    let body = layout::body(&scene);
    let width = (body.width() - GUTTER) / COLUMNS as f64;
    for (index, course) in courses.iter().enumerate() {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        let left = body.left + column as f64 * (width + GUTTER);
        let frame = Frame {
            left: left + TICKS,
            top: body.top + row as f64 * PANEL + 24.0,
            right: left + width,
            bottom: body.top + (row + 1) as f64 * PANEL - 38.0 - RATES - GAP,
        };
        let strip = strip(frame);
        let axes = Axes {
            x: Axis::linear(last, (frame.left, frame.right)),
            y: Axis::log(times.clone(), (frame.bottom, frame.top)),
            // Each lane has a scale of its own: what counts is whether its rate stays the same.
            rate: Axis::linear(course.highest_rate() * 1.1, (strip.bottom, strip.top)),
        };
        panel(&mut scene, course, &axes, frame);
    }
    let note = format!(
        "{} · one line per trial · bold: p50, thin above: upper percentile, below: verified operations per second",
        text::metric(courses[0].metric)
    );
    layout::end(&mut scene, &note, &origin(view));
    Some(Picture {
        suffix: format!("-{}", point.slug()),
        caption: format!("{}: {}", point.cell().scenario, point.load_text()),
        scene,
    })
}

/// A cell's trials over time.
struct Course<'a> {
    cell: &'a CellView<'a>,
    metric: Metric,
    upper: &'static str,
    trials: Vec<Vec<Moment>>,
}

struct Axes {
    x: Axis,
    y: Axis,
    rate: Axis,
}

impl<'a> Course<'a> {
    fn new(cell: &'a CellView<'a>) -> Self {
        let slices = || cell.valid.iter().flat_map(|trial| &trial.course.slices);
        let filled = slices().filter(|slice| slice.count > 0).count();
        let has_p99 = slices().filter(|slice| slice.p99_ns.is_some()).count() * 10 > filled * 9;
        Self {
            cell,
            metric: cell
                .valid
                .first()
                .and_then(|trial| trial.course.metric)
                .unwrap_or(cell.main_metric()),
            upper: if has_p99 { "p99" } else { "max" },
            trials: cell
                .valid
                .iter()
                .map(|trial| moments(trial, has_p99))
                .collect(),
        }
    }

    fn highest_rate(&self) -> f64 {
        let moments = self.trials.iter().flatten();
        moments.map(|moment| moment.rate).fold(0.0, f64::max)
    }
}

fn moments(trial: &Trial<'_>, has_p99: bool) -> Vec<Moment> {
    let spans = &trial.measurement.spans;
    let width_ns = trial.course.width_ns as f64;
    let planned_ns = spans.window_end_ns.saturating_sub(spans.start_ns) as f64;
    let moment = |(index, slice): (usize, &Slice)| {
        let from_ns = index as f64 * width_ns;
        // The last slice is cut by the end of the window.
        let to_ns = (from_ns + width_ns).min(planned_ns);
        let upper = if has_p99 { slice.p99_ns } else { slice.max_ns };
        (to_ns > from_ns).then(|| Moment {
            from_ns,
            to_ns,
            p50: slice.p50_ns.map(|ns| ns as f64),
            upper: upper.map(|ns| ns as f64),
            rate: slice.count as f64 / ((to_ns - from_ns) / 1e9),
        })
    };
    let slices = trial.course.slices.iter().enumerate();
    slices.filter_map(moment).collect()
}

fn panel(scene: &mut Scene, course: &Course<'_>, axes: &Axes, frame: Frame) {
    let look = style::of(&course.cell.cell.lane);
    let strip = strip(frame);
    if let Some(trial) = course.cell.valid.first() {
        shade_warm_up(scene, trial, axes, frame, strip);
    }
    let baseline = frame.top - 9.0;
    let name = fit(&course.cell.name(), style::LABEL, 190.0);
    scene.bold(
        name,
        (frame.left - TICKS, baseline),
        style::LABEL,
        look.ink,
        Anchor::Start,
    );
    layout::y_axis(scene, frame, &axes.y, time_label, 24.0);
    layout::x_axis(scene, strip, &axes.x, time_label, 90.0);
    layout::y_axis(scene, strip, &axes.rate, rate_label, RATES / RATE_TICKS);
    if course.cell.valid.is_empty() {
        let at = (frame.left + 10.0, f64::midpoint(frame.top, frame.bottom));
        scene.text(
            "no valid trial",
            at,
            style::LABEL,
            style::GREY,
            Anchor::Start,
        );
        return;
    }
    let has_p50 = course
        .trials
        .iter()
        .flatten()
        .any(|moment| moment.p50.is_some());
    let times = if has_p50 { "p50 and " } else { "" };
    let upper = format!("{times}{}, operations below", course.upper);
    scene.text(
        upper,
        (frame.right, baseline),
        style::TICK,
        style::GREY,
        Anchor::End,
    );
    for trial in &course.trials {
        lines(scene, trial, axes, look.ink);
    }
}

fn lines(scene: &mut Scene, trial: &[Moment], axes: &Axes, ink: Ink) {
    let middle = |moment: &Moment| axes.x.place(f64::midpoint(moment.from_ns, moment.to_ns));
    let times = |value: fn(&Moment) -> Option<f64>| -> Vec<Point> {
        let place = |moment| Some((middle(moment), axes.y.place(value(moment)?)));
        trial.iter().filter_map(place).collect()
    };
    let rate = |moment: &Moment| (middle(moment), axes.rate.place(moment.rate));
    let rates: Vec<Point> = trial.iter().map(rate).collect();
    scene.line(
        times(|moment| moment.upper),
        ink.fade(0.4),
        0.8,
        Dash::Solid,
    );
    scene.line(times(|moment| moment.p50), ink.fade(0.6), 1.6, Dash::Solid);
    scene.line(rates, ink.fade(0.5), 0.8, Dash::Solid);
}

/// Returns the space of the rates below a panel.
fn strip(frame: Frame) -> Frame {
    let top = frame.bottom + GAP;
    Frame {
        top,
        bottom: top + RATES,
        ..frame
    }
}

/// All trials of a cell share their timing, so that one stands for all.
fn shade_warm_up(scene: &mut Scene, trial: &Trial<'_>, axes: &Axes, frame: Frame, strip: Frame) {
    let spans = &trial.measurement.spans;
    let warm_up = spans.window_start_ns.saturating_sub(spans.start_ns) as f64;
    let right = axes.x.place(warm_up).min(frame.right);
    let bottom = strip.bottom;
    scene.rect(
        Frame {
            right,
            bottom,
            ..frame
        },
        style::SHADE,
    );
    let name = "warm-up";
    if text_width(name, style::FOOTER, false) + 10.0 < right - frame.left {
        let at = (frame.left + 5.0, frame.bottom + GAP - 3.0);
        scene.text(name, at, style::FOOTER, style::GREY, Anchor::Start);
    }
}
