//! Every lane against the kept HTTP/1.1 connection as a forest plot: ratios with their intervals, beside the band of what
//! does not matter, and what may be said of each.

use sockrates_core::lane::Lane;
use sockrates_core::summary::{Comparison, Estimate, Verdict};

use super::axis::{Axis, ratio_label};
use super::layout::{self, fit};
use super::scene::{Anchor, Dash, Frame, Scene};
use super::style::{self, LaneStyle};
use super::{Picture, metric_text, network, origin};
use crate::findings;
use crate::metrics;
use crate::view::{CellView, LoadPoint, View};

const REFERENCE: &str = "http1-persistent";
const ROW: f64 = 23.0;
const PANEL_HEAD: f64 = 30.0;
const PANEL_FOOT: f64 = 58.0;
/// The room for names left of the axis, and for numbers and verdicts right of it.
const NAMES: f64 = 310.0;
const NUMBERS: f64 = 140.0;
const VERDICTS: f64 = 110.0;
/// Half the height of an interval's end: more than a marker's, so that it shows behind one.
const CAP: f64 = 5.5;

/// One panel: rows at one load point, by one number.
struct Panel<'a> {
    title: String,
    point: &'a LoadPoint<'a>,
    axis_title: String,
    margin: f64,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    look: LaneStyle,
    ratio: Estimate,
    verdict: Verdict,
}

/// Draws one panel for what the run is for, then one per load point, all on one scale.
pub(crate) fn draw(view: &View<'_>, question: &str) -> Vec<Picture> {
    let judgement = crate::judgement::of(view);
    let comparisons = crate::comparison::all(view, &judgement);
    let points = view.load_points();
    let panels: Vec<_> = primary(view, &points, &comparisons)
        .into_iter()
        .chain(
            points
                .iter()
                .filter(|point| point.is_main() || point.is_search())
                .filter_map(|point| panel(point, &comparisons)),
        )
        .collect();
    if panels.is_empty() {
        return Vec::new();
    }
    let height = panels.iter().map(Panel::height).sum();
    let caution = if judgement.is_conclusive {
        ""
    } else if judgement.is_comparable {
        " · the run was disturbed: not all is judged"
    } else {
        " · the run concludes nothing"
    };
    let subtitle = format!(
        "ratios of two lanes' medians, paired within blocks · {}{caution}",
        network(view)
    );
    let mut scene = layout::begin(question, &subtitle, height);
    let mut top = layout::body(&scene).top;
    for panel in &panels {
        show(&mut scene, panel, top, &panels);
        top += panel.height();
    }
    let note = "point: estimate · bar: 95 % interval, alone where nothing was told · grey: too small to matter";
    layout::end(&mut scene, note, &origin(view));
    vec![Picture {
        suffix: String::new(),
        caption: "all load points".to_owned(),
        scene,
    }]
}

impl Panel<'_> {
    fn height(&self) -> f64 {
        PANEL_HEAD + ROW * self.rows.len() as f64 + PANEL_FOOT
    }

    /// Returns every number that the axis must reach.
    fn numbers(&self) -> impl Iterator<Item = f64> {
        let band = [1.0, 1.0 + self.margin, 1.0 / (1.0 + self.margin)];
        let ends = self
            .rows
            .iter()
            .flat_map(|row| [row.ratio.low, row.ratio.high]);
        ends.chain(band)
    }
}

/// The comparisons that the run is for; each has two lanes in its name.
fn primary<'a>(
    view: &View<'_>,
    points: &'a [LoadPoint<'a>],
    comparisons: &[Comparison],
) -> Option<Panel<'a>> {
    let first = comparisons.iter().find(|found| found.is_primary)?;
    let holds = |point: &&LoadPoint<'_>| find(&point.cells, &first.cell).is_some();
    let point = points.iter().find(holds)?;
    let rows: Vec<_> = comparisons
        .iter()
        .filter(|found| found.is_primary && found.metric == first.metric)
        .filter_map(|found| {
            let of = |id: &str| view.cells.iter().find(|cell| cell.cell.id == id);
            let lanes = (
                &of(&found.cell)?.cell.lane,
                &of(&found.reference)?.cell.lane,
            );
            row(found, lanes.0, format!("{} : {}", lanes.0, lanes.1))
        })
        .collect();
    let metric = metric_text(&first.metric);
    (!rows.is_empty()).then(|| Panel {
        title: format!("What this run is for: {}", point.load_text()),
        point,
        axis_title: format!("{metric}: the first lane's to the second's"),
        margin: first.margin,
        rows,
    })
}

/// The lanes of one load point against the reference, by the number that the load point is about.
fn panel<'a>(point: &'a LoadPoint<'a>, comparisons: &[Comparison]) -> Option<Panel<'a>> {
    let reference = point.lane(REFERENCE)?;
    let metric = if point.is_search() {
        metrics::CAPACITY.to_owned()
    } else {
        metrics::name(point.main_metric(), "p50")
    };
    let of = |cell: &CellView<'_>| {
        comparisons.iter().find(|found| {
            found.cell == cell.cell.id
                && found.reference == reference.cell.id
                && found.metric == metric
        })
    };
    let found: Vec<_> = point.cells.iter().filter_map(|cell| of(cell)).collect();
    let margin = found.first()?.margin;
    let rows: Vec<_> = found
        .into_iter()
        .filter_map(|found| {
            let lane = &find(&point.cells, &found.cell)?.cell.lane;
            let name = if found.is_null {
                format!("{REFERENCE} again (null)")
            } else {
                lane.to_string()
            };
            row(found, lane, name)
        })
        .collect();
    (!rows.is_empty()).then(|| Panel {
        title: format!("{}: {}", point.cell().scenario, point.load_text()),
        point,
        axis_title: format!("{}: the lane's to {REFERENCE}'s", metric_text(&metric)),
        margin,
        rows,
    })
}

fn find<'a>(cells: &[&'a CellView<'a>], id: &str) -> Option<&'a CellView<'a>> {
    cells.iter().find(|cell| cell.cell.id == id).copied()
}

/// With too few blocks there is no interval, and nothing to show.
fn row(found: &Comparison, lane: &Lane, name: String) -> Option<Row> {
    Some(Row {
        name,
        look: style::of(lane),
        ratio: found.ratio?,
        verdict: found.verdict,
    })
}

fn show(scene: &mut Scene, panel: &Panel<'_>, top: f64, all: &[Panel<'_>]) {
    let body = layout::body(scene);
    let frame = Frame {
        left: body.left + NAMES,
        top: top + PANEL_HEAD,
        right: body.right - NUMBERS - VERDICTS,
        bottom: top + PANEL_HEAD + ROW * panel.rows.len() as f64,
    };
    let numbers = all.iter().flat_map(Panel::numbers);
    let axis = Axis::ratio(numbers, (frame.left, frame.right));
    layout::panel_head(scene, top, &panel.title, panel.point);
    let band = Frame {
        left: axis.place(1.0 / (1.0 + panel.margin)),
        right: axis.place(1.0 + panel.margin),
        ..frame
    };
    scene.rect(band, style::GRID);
    layout::x_grid(scene, frame, &axis, 48.0);
    layout::x_axis(scene, frame, &axis, ratio_label, 48.0);
    let one = axis.place(1.0);
    let line = vec![(one, frame.top), (one, frame.bottom)];
    scene.line(line, style::GREY, 1.2, Dash::Solid);
    let title = format!(
        "{} · grey band: ±{:.0} %",
        panel.axis_title,
        panel.margin * 100.0
    );
    layout::x_title(scene, frame, &title);
    for (index, row) in panel.rows.iter().enumerate() {
        let y = frame.top + ROW * (index as f64 + 0.5);
        show_row(scene, row, &axis, frame, y);
    }
}

fn show_row(scene: &mut Scene, row: &Row, axis: &Axis, frame: Frame, y: f64) {
    let baseline = y + style::LABEL * 0.36;
    let name = fit(&row.name, style::LABEL, NAMES - 12.0);
    let at = (frame.left - 10.0, baseline);
    scene.text(name, at, style::LABEL, style::BLACK, Anchor::End);
    let (low, high) = (axis.place(row.ratio.low), axis.place(row.ratio.high));
    layout::whisker(scene, (low, high), y, CAP, row.look.ink);
    if row.verdict != Verdict::Inconclusive {
        layout::marker(scene, (axis.place(row.ratio.value), y), 3.2, &row.look);
    }
    let at = (frame.right + 14.0, baseline);
    let number = findings::cell(Some(&row.ratio), row.verdict);
    scene.text(number, at, style::LABEL, style::BLACK, Anchor::Start);
    let at = (frame.right + NUMBERS, baseline);
    match row.verdict {
        Verdict::Different => {
            scene.bold("different", at, style::LABEL, style::BLACK, Anchor::Start);
        }
        other => {
            scene.text(word(other), at, style::LABEL, style::GREY, Anchor::Start);
        }
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Different => "different",
        Verdict::SlightlyDifferent => "slightly different",
        Verdict::Equivalent => "equivalent",
        Verdict::Inconclusive => "not told",
    }
}
