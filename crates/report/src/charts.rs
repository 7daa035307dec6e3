//! Charts: each answers one question, which is its title. All are listed in [`CHARTS`]; each is drawn by one file.
//!
//! A chart turns the view into scenes (pictures as data); [`render`] turns scenes into SVG and PNG.

pub(crate) mod axis;
mod connections;
mod layout;
mod percentiles;
mod phases;
pub(crate) mod render;
pub(crate) mod scene;
mod staleness;
pub(crate) mod style;
mod throughput;
mod time_series;

use crate::text;
use crate::view::{LoadPoint, View};
use scene::Scene;

/// One kind of chart.
struct Chart {
    /// Its file's name, or the beginning of its files' names where each load point has one.
    stem: &'static str,
    /// The question it answers.
    question: &'static str,
    /// How to read it, in a sentence or two.
    reading: &'static str,
    /// Draws it: no picture when the run holds nothing to show.
    draw: fn(&View<'_>, question: &str) -> Vec<Picture>,
}

/// One drawing of a chart.
pub(crate) struct Picture {
    /// What is added to the chart's stem to name the file.
    pub(crate) suffix: String,
    /// What tells it from the chart's other pictures.
    pub(crate) caption: String,
    pub(crate) scene: Scene,
}

/// A picture with all that a page needs to know about it.
pub(crate) struct Drawn {
    pub(crate) stem: String,
    pub(crate) question: &'static str,
    pub(crate) reading: &'static str,
    pub(crate) caption: String,
    pub(crate) scene: Scene,
}

const CHARTS: [Chart; 6] = [
    Chart {
        stem: "throughput",
        question: "How many messages per second does each lane carry?",
        reading: "Each dot is one trial, the bar ends at their median. Filled bars keep the connection open, outlined \
                  bars open one per request; grey is bare TCP, the floor.",
        draw: throughput::draw,
    },
    Chart {
        stem: "percentiles",
        question: "How long do the slowest messages take?",
        reading: "Read upwards from a percentile: that share of the messages took no longer. Bold lines hold all trials, \
                  thin lines one each; a line ends where fewer than ten messages would lie beyond it.",
        draw: percentiles::draw,
    },
    Chart {
        stem: "connections",
        question: "What happens to the service time when more connections are used?",
        reading: "Points are medians over all trials' messages, vertical bars run from the smallest to the largest \
                  trial's median. Both axes are logarithmic: a straight rise means that messages queue.",
        draw: connections::draw,
    },
    Chart {
        stem: "phases",
        question: "Where does the time of a request on a fresh connection go?",
        reading: "Stacked bars are the medians of the phases; medians need not add up to the median of the whole, which \
                  the black mark shows. Below each, the same transport with its connection kept open.",
        draw: phases::draw,
    },
    Chart {
        stem: "time-series",
        question: "Does the time per message stay the same during a trial?",
        reading: "One thin line per trial: what repeats in all of them belongs to the lane, what shows in one belongs to \
                  the machine. The shaded warm-up is in no other number of this report.",
        draw: time_series::draw,
    },
    Chart {
        stem: "staleness",
        question: "How old is the news that a polling client sees?",
        reading: "Read upwards from an age: that share of the events was no older when it arrived. The thin dashed line \
                  is what polling alone would give, and was not measured.",
        draw: staleness::draw,
    },
];

/// Lists all charts: the file's stem and the question it answers.
pub fn charts() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHARTS.iter().map(|chart| (chart.stem, chart.question))
}

/// Draws whatever the run holds.
pub(crate) fn draw(view: &View<'_>) -> Vec<Drawn> {
    CHARTS
        .iter()
        .flat_map(|chart| {
            (chart.draw)(view, chart.question)
                .into_iter()
                .map(|picture| Drawn {
                    stem: format!("{}{}", chart.stem, picture.suffix),
                    question: chart.question,
                    reading: chart.reading,
                    caption: picture.caption,
                    scene: picture.scene,
                })
        })
        .collect()
}

/// Says where a picture comes from.
fn origin(view: &View<'_>) -> String {
    let manifest = &view.dataset.manifest;
    let version = &manifest.fingerprint.version;
    format!(
        "run {} · sockrates {}",
        text::line(&manifest.run_id),
        text::line(version)
    )
}

/// Says what a picture of one load point holds.
fn scope(view: &View<'_>, point: &LoadPoint<'_>) -> String {
    [
        text::line(&point.cell().scenario),
        point.load_text(),
        point.payload_text(),
        point.trials_text(),
        network(view),
    ]
    .join(" · ")
}

/// Names the network in a word.
fn network(view: &View<'_>) -> String {
    let scope = crate::finding::scope(view);
    match scope.strip_prefix("On this machine, over ") {
        Some(network) => network.to_owned(),
        None => scope,
    }
}

#[cfg(test)]
#[path = "../tests/it/synthetic.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
mod synthetic;

#[cfg(test)]
mod tests {
    use sockrates_core::plan::Plan;
    use sockrates_core::profile;

    use super::*;
    use scene::{Frame, Mark};

    #[test]
    fn charts_have_names_and_ask_questions() {
        let stems: std::collections::BTreeSet<_> = charts().map(|(stem, _)| stem).collect();
        assert_eq!(stems.len(), CHARTS.len());
        let is_asked =
            |chart: &Chart| chart.question.ends_with('?') && chart.reading.ends_with('.');
        assert!(CHARTS.iter().all(is_asked));
    }

    #[test]
    fn no_text_leaves_its_picture_or_covers_another() {
        for profile in profile::profiles() {
            let scenarios = profile.resolve(&profile::scenarios()).unwrap();
            let plan = Plan::new(&profile.name, &scenarios, 2, 42);
            let dataset = synthetic::dataset(plan, |spec| synthetic::realistic(spec, 200));
            let drawn = draw(&View::new(&dataset));
            assert!(drawn.len() > 6, "{}", profile.name);
            for chart in drawn {
                check(&chart);
            }
        }
    }

    fn check(chart: &Drawn) {
        let scene = &chart.scene;
        let mut texts: Vec<(&str, Frame)> = Vec::new();
        for mark in &scene.marks {
            let Mark::Text(text) = mark else { continue };
            let frame = text.frame();
            let is_inside = frame.left >= 0.0
                && frame.top >= 0.0
                && frame.right <= scene.width
                && frame.bottom <= scene.height;
            assert!(
                is_inside,
                "{}: {:?} leaves: {frame:?}",
                chart.stem, text.text
            );
            for (other, space) in &texts {
                let is_apart = frame.left >= space.right
                    || frame.right <= space.left
                    || frame.top >= space.bottom - 1.0
                    || frame.bottom <= space.top + 1.0;
                assert!(is_apart, "{}: {:?} covers {other:?}", chart.stem, text.text);
            }
            texts.push((&text.text, frame));
        }
    }
}
