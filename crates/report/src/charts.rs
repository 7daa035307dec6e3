//! Charts: each answers one question, which is its title. All are listed in [`CHARTS`]; each is drawn by one file.
//!
//! A chart turns the view into scenes (pictures as data); [`render`] turns scenes into SVG and PNG.

mod attribution;
pub(crate) mod axis;
mod blocks;
mod break_even;
mod connections;
mod fanout;
mod honesty;
mod layout;
mod news_cost;
pub(crate) mod overlay;
mod percentiles;
mod phases;
mod ratios;
pub(crate) mod render;
pub(crate) mod scene;
mod staleness;
pub(crate) mod style;
mod throughput;
mod ticks;
mod time_series;

use crate::findings::network;
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

const CHARTS: [Chart; 14] = [
    Chart {
        stem: "attribution",
        question: "How much is keeping the connection, and how much is the protocol?",
        reading: "Each bar leads from one HTTP/1.1 connection per request to one kept WebSocket: the first part is what \
                  keeping the connection gains, the second what the protocol adds; lengths multiply. Below, thinner, the \
                  same way with the protocol changed first. A hollow part was not told.",
        draw: attribution::draw,
    },
    Chart {
        stem: "ratios",
        question: "Which lanes differ, and by more than the run's noise?",
        reading: "Each point is a ratio of two lanes, its bar the 95 % interval; at 1× they are equal. A bar wholly \
                  outside the grey band is a difference that matters, one wholly inside is none; one \
                  without a point could not be told. The null row is one lane measured twice.",
        draw: ratios::draw,
    },
    Chart {
        stem: "break-even",
        question: "From how many messages on is a kept connection cheaper?",
        reading: "Flat lines open a connection per message, dashed curves share one connection among the messages on the \
                  axis: where a curve falls below a flat line, keeping the connection pays. What is written at the foot \
                  compares with http1-per-request.",
        draw: break_even::draw,
    },
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
        stem: "news-cost",
        question: "How stale is what a client sees, and what does that cost?",
        reading: "Each point is one way of learning of the same events: to the left its news are fresher, further down it \
                  costs less. Polling moves along its line with the interval; nothing that polls is fresh and cheap.",
        draw: news_cost::draw,
    },
    Chart {
        stem: "staleness",
        question: "How old is the news on arrival?",
        reading: "Read upwards from an age: that share of the events was no older when it arrived. The thin dashed line \
                  is what polling alone would give, and was not measured.",
        draw: staleness::draw,
    },
    Chart {
        stem: "fanout",
        question: "How does the delivery of a message grow with its room?",
        reading: "Each point is the median over all copies in rooms of that size. On a straight line every further member \
                  costs the same, its slope; what the line leaves unexplained is 1 − R².",
        draw: fanout::draw,
    },
    Chart {
        stem: "ticks",
        question: "How soon and how evenly does a player see the game?",
        reading: "An input waits for the next tick however it is sent: half a tick at the median is the game's own. What \
                  lies above it is the transport's, and a poll's wait for its turn.",
        draw: ticks::draw,
    },
    Chart {
        stem: "blocks",
        question: "Did the machine drift, and did all lanes drift together?",
        reading: "Each point is one trial's median. Lines that rise and fall together are the machine, and cancel in the \
                  ratios; a line that moves alone is the lane, or an accident.",
        draw: blocks::draw,
    },
    Chart {
        stem: "honesty",
        question: "Is a slow response the server's fault or the generator's?",
        reading: "The response time counts from the instant an operation was due. Where the service time lies close below \
                  it, the server's side is the cause; where the schedule lag does, the load generator was late.",
        draw: honesty::draw,
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
                    stem: text::slug(&format!("{}{}", chart.stem, picture.suffix)),
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

/// Names a number as people do: `service time, p50`.
fn metric_text(name: &str) -> String {
    if name == crate::metrics::CPU {
        return "CPU per operation".to_owned();
    }
    match name.rsplit_once("_p") {
        Some((time, percentile)) => format!("{}, p{percentile}", time.replace('_', " ")),
        None => name.replace('_', " "),
    }
}

#[cfg(test)]
#[path = "../tests/it/synthetic.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
pub(crate) mod synthetic;

#[cfg(test)]
mod tests {
    use sockrates_core::plan::{Plan, TrialSpec};
    use sockrates_core::profile;
    use sockrates_core::record::TrialRecord;
    use sockrates_core::scenario::Scenario;
    use sockrates_core::schedule::Load;

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
        // All but `reproduce`, which has cells for a check only, and scenarios that are run by themselves.
        let alone = profile::scenarios();
        let alone = alone
            .iter()
            .filter(|scenario| ["updates", "ticker", "monitoring"].contains(&&*scenario.name));
        let alone = alone.map(profile::Profile::of_scenario);
        let all = profile::profiles().into_iter().chain(alone);
        for profile in all.filter(|profile| profile.name != "reproduce") {
            let mut scenarios = profile.resolve(&profile::scenarios()).unwrap();
            scenarios.extend([4, 100].map(short_lived));
            // Charts of echoes have nothing to show of a chat or a game.
            let is_general = ["quick", "standard", "full"].contains(&profile.name.as_str());
            let blocks = if is_general { 8 } else { 2 };
            let plan = Plan::new(&profile.name, &scenarios, blocks, 42);
            let dataset = synthetic::dataset(plan, whole);
            let drawn = draw(&View::new(&dataset));
            let general = CHARTS
                .iter()
                .filter(|chart| !["fanout", "ticks"].contains(&chart.stem));
            for chart in general {
                let is_drawn = drawn.iter().any(|drawn| drawn.stem.starts_with(chart.stem));
                assert!(is_drawn || !is_general, "{}: {}", profile.name, chart.stem);
            }
            for (of, stem) in [(&["chat"][..], "fanout"), (&["game", "standard"], "ticks")] {
                let is_drawn = drawn.iter().any(|drawn| drawn.stem == stem);
                let is_due = of.contains(&profile.name.as_str());
                assert_eq!(is_drawn, is_due, "{}: {stem}", profile.name);
            }
            for chart in drawn {
                check(&chart);
            }
        }
    }

    #[test]
    fn what_one_block_cannot_tell_is_not_drawn() {
        let plan = synthetic::echo_plan(&["http1-per-request", "http1-persistent"], &[1], 1);
        let dataset = synthetic::dataset(plan, whole);
        let drawn = draw(&View::new(&dataset));
        for stem in ["ratios", "attribution", "break-even", "blocks", "honesty"] {
            assert!(
                drawn.iter().all(|chart| !chart.stem.starts_with(stem)),
                "{stem}"
            );
        }
    }

    /// Makes a scenario whose connections live for a number of exchanges.
    fn short_lived(exchanges: u32) -> Scenario {
        let toml = format!(
            r#"
            name = "echo-lives-{exchanges}"
            question = "What does a message cost?"
            analysis = "None."
            lanes = ["http1-persistent", "websocket-persistent"]
            connections = [1]
            workload = {{ kind = "echo", payload = "binary", payload_bytes = 64, exchanges_per_connection = {exchanges} }}
            load = {{ model = "closed" }}
            timing = {{ warm_up_ms = 100, window_ms = 500 }}
            "#
        );
        Scenario::parse(&toml).unwrap()
    }

    /// Makes a realistic record, and counts the operations that the simulation left out: throughput is real, and
    /// connections that live for a few exchanges cost what they do.
    fn whole(spec: TrialSpec) -> TrialRecord {
        let is_websocket = spec.cell.lane.transport == "websocket";
        let set_up_messages = if is_websocket { 5.4 } else { 3.0 };
        let slower = match spec.cell.exchanges_per_connection() {
            Some(exchanges) if exchanges > 1 => 1.0 + set_up_messages / f64::from(exchanges),
            _ => 1.0,
        };
        // One simulated operation stands for so many: a few dozen are left of a trial, however long.
        let per_ms = if spec.cell.load == (Load::Closed {}) {
            5
        } else {
            30
        };
        let thinning = u64::from(spec.cell.timing.window_ms / per_ms);
        let mut record = synthetic::realistic(spec, thinning);
        let measurement = record.measurement.as_mut().unwrap();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "fabricated counts are positive and small"
        )]
        let all = |count: u64| ((count * thinning) as f64 / slower) as u64;
        let operations = &mut measurement.operations;
        operations.issued = all(operations.issued);
        operations.verified = all(operations.verified);
        record
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
