//! Profiles: which scenarios a run holds, how often, and within which time; and the catalogue of embedded files.

use serde::{Deserialize, Serialize};

use crate::cpu_idle::{self, CpuIdle};
use crate::scenario::{Scenario, ScenarioError, Timing, is_slug};

/// A set of scenarios that is run as one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name on the command line.
    pub name: String,
    /// One line about when to use it.
    pub summary: String,
    /// How often each cell is measured: once per block.
    pub blocks: u32,
    /// The scenarios, each with what the profile changes in it.
    pub scenarios: Vec<Entry>,
}

/// One scenario of a profile.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The embedded scenario's name.
    pub scenario: String,
    /// Replaces the scenario's numbers of connections.
    pub connections: Option<Vec<u32>>,
    /// Replaces the scenario's timing.
    pub timing: Option<Timing>,
    /// Replaces what the scenario's CPUs do when idle.
    #[serde(
        default,
        deserialize_with = "cpu_idle::deserialize_some",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_idle: Option<Vec<CpuIdle>>,
    /// Measures the scenario in the first so many blocks only; absent, as the scenario says.
    pub blocks: Option<u32>,
}

/// How often each cell of a scenario that is run by itself is measured.
pub const DEFAULT_BLOCKS: u32 = 8;

const PROFILES: &[(&str, &str)] = &[
    ("quick.toml", include_str!("../profiles/quick.toml")),
    ("standard.toml", include_str!("../profiles/standard.toml")),
    ("full.toml", include_str!("../profiles/full.toml")),
    ("reproduce.toml", include_str!("../profiles/reproduce.toml")),
    ("chat.toml", include_str!("../profiles/chat.toml")),
    ("game.toml", include_str!("../profiles/game.toml")),
];

const SCENARIOS: &[(&str, &str)] = &[
    (
        "echo-capacity.toml",
        include_str!("../scenarios/echo-capacity.toml"),
    ),
    (
        "echo-closed.toml",
        include_str!("../scenarios/echo-closed.toml"),
    ),
    (
        "echo-counted.toml",
        include_str!("../scenarios/echo-counted.toml"),
    ),
    (
        "echo-open.toml",
        include_str!("../scenarios/echo-open.toml"),
    ),
    (
        "echo-payload-16k.toml",
        include_str!("../scenarios/echo-payload-16k.toml"),
    ),
    (
        "echo-reuse-2.toml",
        include_str!("../scenarios/echo-reuse-2.toml"),
    ),
    (
        "echo-reuse-10.toml",
        include_str!("../scenarios/echo-reuse-10.toml"),
    ),
    (
        "echo-reuse-100.toml",
        include_str!("../scenarios/echo-reuse-100.toml"),
    ),
    (
        "updates-poll.toml",
        include_str!("../scenarios/updates-poll.toml"),
    ),
    ("updates.toml", include_str!("../scenarios/updates.toml")),
    ("news.toml", include_str!("../scenarios/news.toml")),
    ("ticker.toml", include_str!("../scenarios/ticker.toml")),
    (
        "monitoring.toml",
        include_str!("../scenarios/monitoring.toml"),
    ),
    (
        "chat-groups.toml",
        include_str!("../scenarios/chat-groups.toml"),
    ),
    (
        "chat-post.toml",
        include_str!("../scenarios/chat-post.toml"),
    ),
    (
        "chat-rooms.toml",
        include_str!("../scenarios/chat-rooms.toml"),
    ),
    (
        "game-post.toml",
        include_str!("../scenarios/game-post.toml"),
    ),
    ("game-20.toml", include_str!("../scenarios/game-20.toml")),
    ("game-60.toml", include_str!("../scenarios/game-60.toml")),
    ("game-128.toml", include_str!("../scenarios/game-128.toml")),
];

/// Parses all embedded profiles.
pub fn profiles() -> Vec<Profile> {
    PROFILES
        .iter()
        .map(|(file, text)| {
            toml::from_str(text).unwrap_or_else(|error| panic!("embedded profile {file}: {error}"))
        })
        .collect()
}

/// Parses all embedded scenarios.
pub fn scenarios() -> Vec<Scenario> {
    SCENARIOS
        .iter()
        .map(|(file, text)| {
            Scenario::parse(text)
                .unwrap_or_else(|error| panic!("embedded scenario {file}: {error}"))
        })
        .collect()
}

impl Profile {
    /// Makes the profile that runs one scenario by itself.
    pub fn of_scenario(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name.clone(),
            summary: scenario.question.clone(),
            blocks: DEFAULT_BLOCKS,
            scenarios: vec![Entry {
                scenario: scenario.name.clone(),
                connections: None,
                timing: None,
                cpu_idle: None,
                blocks: None,
            }],
        }
    }

    /// Returns the profile's scenarios from `known`, with the profile's changes applied and checked.
    pub fn resolve(&self, known: &[Scenario]) -> Result<Vec<Scenario>, ScenarioError> {
        self.scenarios
            .iter()
            .map(|entry| entry.apply(known))
            .collect()
    }
}

impl Entry {
    fn apply(&self, known: &[Scenario]) -> Result<Scenario, ScenarioError> {
        debug_assert!(is_slug(&self.scenario));
        let mut scenario = known
            .iter()
            .find(|s| s.name == self.scenario)
            .cloned()
            .ok_or(ScenarioError::Field {
                field: "scenario",
                problem: format!("names `{}`, which does not exist", self.scenario),
            })?;
        if let Some(connections) = &self.connections {
            scenario.connections.clone_from(connections);
        }
        if let Some(cpu_idle) = &self.cpu_idle {
            scenario.cpu_idle.clone_from(cpu_idle);
        }
        scenario.timing = self.timing.unwrap_or(scenario.timing);
        scenario.blocks = self.blocks.or(scenario.blocks);
        scenario.check()?;
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn planned_seconds(name: &str) -> f64 {
        let profile = profiles()
            .into_iter()
            .find(|profile| profile.name == name)
            .unwrap();
        Plan::new(
            &profile.name,
            &profile.resolve(&scenarios()).unwrap(),
            profile.blocks,
            1,
        )
        .planned_seconds()
    }

    #[test]
    fn every_embedded_file_parses_and_is_named_like_its_file() {
        for (scenario, (file, _)) in scenarios().iter().zip(SCENARIOS) {
            assert_eq!(format!("{}.toml", scenario.name), *file);
        }
        for (profile, (file, _)) in profiles().iter().zip(PROFILES) {
            assert_eq!(format!("{}.toml", profile.name), *file);
        }
    }

    #[test]
    fn profiles_keep_their_promised_times() {
        assert!(
            planned_seconds("quick") < 180.0,
            "{}",
            planned_seconds("quick")
        );
        // With a retest of one and a half times as long, and repetitions.
        assert!(
            planned_seconds("reproduce") < 120.0,
            "{}",
            planned_seconds("reproduce")
        );
        assert!(
            (600.0..1000.0).contains(&planned_seconds("standard")),
            "{}",
            planned_seconds("standard")
        );
        assert!(
            planned_seconds("full") < 3.0 * 3600.0,
            "{}",
            planned_seconds("full")
        );
    }

    #[test]
    fn chats_and_games_are_measured_by_every_way_per_request_and_kept() {
        let all = profiles();
        let ids = |name: &str, scenario: &str| {
            let profile = all.iter().find(|profile| profile.name == name).unwrap();
            let scenarios = profile.resolve(&scenarios()).unwrap();
            let plan = Plan::new(name, &scenarios, 1, 1);
            let cells = plan.cells.into_iter();
            let own = cells.filter_map(|cell| {
                let (of, rest) = cell.id.split_once('.')?;
                (of == scenario).then(|| rest.to_owned())
            });
            own.collect::<Vec<_>>()
        };
        let every = |polls: &str, connections: u32| {
            let http = ["sse", "long-poll", polls].into_iter().flat_map(|way| {
                ["http1-per-request", "http1-persistent"].map(|lane| format!("{lane}.{way}"))
            });
            let push = "websocket-persistent.push".to_owned();
            let ways = std::iter::once(push).chain(http);
            ways.map(|way| format!("{way}.c{connections}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids("chat", "chat-groups"), every("short-poll-1000ms", 1000));
        for (scenario, players) in [("game-20", 200), ("game-60", 22), ("game-128", 10)] {
            assert_eq!(ids("game", scenario), every("short-poll", players));
        }
        for scenario in ["chat-post", "game-post"] {
            let small = ids("standard", scenario);
            assert!(small[1].starts_with("http1-persistent.sse"), "{small:?}");
        }
    }

    #[test]
    fn quick_measures_the_two_by_two_with_floor_and_control() {
        let profile = profiles()
            .into_iter()
            .find(|profile| profile.name == "quick")
            .unwrap();
        let all = profile.resolve(&scenarios()).unwrap();
        let closed = all
            .iter()
            .find(|scenario| scenario.name == "echo-closed")
            .unwrap();
        assert_eq!(
            (closed.connections.as_slice(), closed.lanes.len()),
            (&[1, 32][..], 7)
        );
        assert!(
            all.iter()
                .any(|scenario| scenario.load.model() == "open-poisson")
        );
        assert_eq!(profile.blocks, 8);
        // A sign test of fewer than six blocks cannot reach the level of an interval.
        let timed = all.iter().filter(|scenario| scenario.operations.is_none());
        for scenario in timed {
            let blocks = scenario.blocks.unwrap_or(profile.blocks);
            assert!(blocks >= 6, "{}", scenario.name);
        }
    }

    #[test]
    fn quick_tells_what_news_cost_at_one_event_a_second() {
        let profiles = profiles();
        let quick = profiles.iter().find(|profile| profile.name == "quick");
        let all = quick.unwrap().resolve(&scenarios()).unwrap();
        let news: Vec<_> = all
            .iter()
            .filter(|scenario| scenario.workload.name() == "updates")
            .collect();
        let [news] = news.as_slice() else {
            panic!("quick has one scenario of updates");
        };
        let plan = Plan::new("news", &[(*news).clone()], 1, 1);
        let ids: Vec<_> = plan.cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "news.http1-per-request.short-poll-1000ms.c200",
                "news.http1-persistent.short-poll-1000ms.c200",
                "news.http1-persistent.short-poll-5000ms.c200",
                "news.http1-persistent.long-poll.c200",
                "news.http1-persistent.sse.c200",
                "news.websocket-persistent.push.c200",
            ]
        );
        for cell in &plan.cells {
            // A spinning client's CPU time says nothing; and polls are steady after a whole interval.
            assert_eq!(cell.wait, crate::scenario::Wait::Blocking, "{}", cell.id);
            if let crate::schedule::Load::Interval { interval_ms } = cell.load {
                assert!(
                    u64::from(cell.timing.warm_up_ms) >= interval_ms,
                    "{}",
                    cell.id
                );
            }
        }
    }
}
