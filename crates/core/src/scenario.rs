//! Scenarios: what is asked of which lanes, as TOML with the reasons why (`analysis`). Parsed once, then trusted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lane::{Lane, Lifecycle};
use crate::payload::PayloadKind;
use crate::publishing::Arrivals;
use crate::schedule::Load;

/// One scenario: a workload under a load, for several lanes and numbers of connections.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name on the command line, in cell ids and file names: lower-case words joined by `-`.
    pub name: String,
    /// The question it answers, as a chart's title would put it.
    pub question: String,
    /// Why this load, and what its result does and does not say.
    pub analysis: String,
    /// What the clients do.
    pub workload: Workload,
    /// When they do it; left out where `deliveries` say so.
    #[serde(default = "events")]
    pub load: Load,
    /// How the client waits for the network.
    #[serde(default)]
    pub wait: Wait,
    /// The lanes to compare; empty where `deliveries` name them.
    #[serde(default)]
    pub lanes: Vec<Lane>,
    /// How many connections (slots, in per-request lanes) are used; one cell each.
    pub connections: Vec<u32>,
    /// How long each trial lasts.
    #[serde(default)]
    pub timing: Timing,
    /// Exactly so many operations, from the first on, then the trial ends: for what can be counted exactly.
    #[serde(default)]
    pub operations: Option<u32>,
    /// The ways of learning of the same events, side by side: each replaces delivery, load and lanes.
    #[serde(default)]
    pub deliveries: Vec<Way>,
}

/// One way of learning of events, in a scenario that compares several.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// How a client learns of them.
    pub delivery: Delivery,
    /// The intervals at which it asks, for short polling: one cell each.
    #[serde(default)]
    pub intervals_ms: Vec<u64>,
    /// The lanes that do.
    pub lanes: Vec<Lane>,
}

/// What the clients do.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Workload {
    /// Send a payload, expect the same bytes back.
    Echo {
        /// Random bytes or text.
        payload: PayloadKind,
        /// The payload's length.
        payload_bytes: u32,
        /// A persistent lane's connection is closed after so many exchanges, and the next one opened as part of the
        /// next operation; absent, it stays open to the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exchanges_per_connection: Option<u32>,
    },
    /// Learn of events that the server publishes.
    Updates {
        /// How a client learns of them.
        #[serde(default)]
        delivery: Delivery,
        /// The mean rate of each topic's publisher.
        events_per_second: f64,
        /// How a topic's events are spread over time.
        #[serde(default)]
        arrivals: Arrivals,
        /// The length of an event's payload.
        payload_bytes: u32,
        /// How many topics there are; clients follow one each, in turn.
        #[serde(default = "one")]
        topics: u32,
        /// A client that listens drops its connection after so many updates, and resumes where it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        updates_per_connection: Option<u32>,
    },
    /// Chat: what a member of a room sends goes to all its members.
    Fanout {
        /// The members of a room; absent, one room holds all connections.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room_members: Option<u32>,
        /// The length of a message's payload.
        payload_bytes: u32,
    },
    /// A game: each player sends inputs, and gets a snapshot at each tick of the server.
    Duplex {
        /// How often a second the server ticks, and each player sends an input.
        ticks_per_second: f64,
        /// The length of a snapshot's payload.
        snapshot_bytes: u32,
        /// The length of an input's payload.
        input_bytes: u32,
    },
}

const fn one() -> u32 {
    1
}

const fn events() -> Load {
    Load::Events {}
}

impl Workload {
    /// Returns the workload's name, as in scenario files.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::Updates { .. } => "updates",
            Self::Fanout { .. } => "fanout",
            Self::Duplex { .. } => "duplex",
        }
    }

    /// Returns what decides on the load: the delivery of updates, or the workload's name.
    const fn way(&self) -> &'static str {
        match self {
            Self::Updates { delivery, .. } => delivery.name(),
            _ => self.name(),
        }
    }

    /// Returns the length of one message's payload.
    pub const fn payload_bytes(&self) -> u32 {
        match self {
            Self::Echo { payload_bytes, .. }
            | Self::Updates { payload_bytes, .. }
            | Self::Fanout { payload_bytes, .. } => *payload_bytes,
            Self::Duplex { snapshot_bytes, .. } => *snapshot_bytes,
        }
    }
}

impl Workload {
    /// Returns after how many exchanges a connection of this lane is closed; `None` for never.
    pub const fn exchanges_per_connection(&self, lifecycle: Lifecycle) -> Option<u32> {
        match (lifecycle, self) {
            (Lifecycle::PerRequest, _) => Some(1),
            (
                Lifecycle::Persistent,
                Self::Echo {
                    exchanges_per_connection,
                    ..
                },
            ) => *exchanges_per_connection,
            (Lifecycle::Persistent, _) => None,
        }
    }

    /// Says whether clients listen to what the server sends when it has news, rather than ask.
    pub const fn listens(&self) -> bool {
        match self {
            Self::Updates { delivery, .. } => matches!(delivery, Delivery::Sse | Delivery::Push),
            Self::Fanout { .. } => true,
            Self::Echo { .. } | Self::Duplex { .. } => false,
        }
    }

    /// Returns the members of a room, when so many connections chat.
    pub fn room_members(&self, connections: u32) -> Option<u32> {
        match self {
            Self::Fanout { room_members, .. } => Some(room_members.unwrap_or(connections)),
            _ => None,
        }
    }
}

/// How a client learns of an event.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// It asks at intervals, and gets what is new.
    #[default]
    ShortPoll,
    /// It asks, and the server answers when there is news; then it asks again.
    LongPoll,
    /// It asks once, and the server's reply never ends (server-sent events).
    Sse,
    /// The server sends over a WebSocket.
    Push,
}

impl Delivery {
    /// Returns the delivery's name, as in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortPoll => "short-poll",
            Self::LongPoll => "long-poll",
            Self::Sse => "sse",
            Self::Push => "push",
        }
    }
}

/// How the client waits for the network.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// Sleeps in epoll: costs no CPU while idle, pays a wake-up.
    #[default]
    Blocking,
    /// Polls without sleeping: no wake-up, and a core to itself.
    Spin,
}

impl Wait {
    /// Returns the name used in scenario files and factors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Spin => "spin",
        }
    }
}

/// How long the parts of a trial last.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// Load without recording, so that connections are open and caches warm.
    pub warm_up_ms: u32,
    /// The time in which operations are due that count.
    pub window_ms: u32,
    /// How long operations still open at the window's end may take before they count as unfinished.
    pub drain_ms: u32,
    /// How long one operation may take before it counts as failed.
    pub timeout_ms: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            warm_up_ms: 500,
            window_ms: 1500,
            drain_ms: 1000,
            timeout_ms: 5000,
        }
    }
}

/// The largest payload a scenario may ask for: the target server's default limit for one message.
pub const MAX_PAYLOAD_BYTES: u32 = 1 << 20;
/// More connections than the descriptors of any one process here allow.
const MAX_CONNECTIONS: u32 = 1 << 16;
const MAX_RATE_PER_SECOND: f64 = 10e6;
const MAX_MS: u32 = 3_600_000;
/// A count of operations is for what repeats exactly; more of it says no more.
const MAX_OPERATIONS: u32 = 1_000_000;
const MAX_EXCHANGES: u32 = 1_000_000;
/// What the target contract asks a server to hold.
const MAX_TOPICS: u32 = 16_384;

/// Says what is wrong with a scenario; the caller adds the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is not TOML, lacks a field or has one that does not exist; the parser's message names and shows it.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A field has an impossible value.
    #[error("`{field}` {problem}")]
    Field {
        /// The field's path, e.g. `load.rate_per_second`.
        field: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
}

impl Scenario {
    /// Parses and checks a scenario file's text.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Checks what the types cannot say. To be repeated after a profile has overridden fields.
    pub(crate) fn check(&self) -> Result<(), ScenarioError> {
        require(is_slug(&self.name), "name", || {
            format!("is `{}`: use lower-case words joined by `-`", self.name)
        })?;
        self.check_lanes()?;
        require(!self.connections.is_empty(), "connections", || {
            "is empty: give at least one number".into()
        })?;
        for (index, count) in self.connections.iter().enumerate() {
            require((1..=MAX_CONNECTIONS).contains(count), "connections", || {
                format!("has {count}: use 1 to {MAX_CONNECTIONS}")
            })?;
            require(
                !self.connections[..index].contains(count),
                "connections",
                || format!("has {count} twice"),
            )?;
        }
        require(
            self.workload.payload_bytes() <= MAX_PAYLOAD_BYTES,
            "workload.payload_bytes",
            || {
                format!(
                    "is {}: use at most {MAX_PAYLOAD_BYTES}",
                    self.workload.payload_bytes()
                )
            },
        )?;
        self.check_exchanges()?;
        self.check_workload()?;
        for variant in self.variants() {
            variant.check_load()?;
        }
        self.timing.check()
    }

    /// Returns the scenario once for each way and interval of `deliveries`, with its lanes, delivery and load; just
    /// itself where there are none.
    pub(crate) fn variants(&self) -> Vec<Self> {
        if self.deliveries.is_empty() {
            return vec![self.clone()];
        }
        let variant = |way: &Way, load: Load| {
            let mut variant = Self {
                lanes: way.lanes.clone(),
                load,
                deliveries: Vec::new(),
                ..self.clone()
            };
            if let Workload::Updates { delivery, .. } = &mut variant.workload {
                *delivery = way.delivery;
            }
            if let Load::Interval { interval_ms } = variant.load {
                // The first poll brings nothing: from then on each brings the news of a whole interval.
                let interval_ms = u32::try_from(interval_ms).unwrap_or(MAX_MS);
                variant.timing.warm_up_ms = variant.timing.warm_up_ms.max(interval_ms);
            }
            variant
        };
        let variants = self.deliveries.iter().flat_map(|way| match way.delivery {
            Delivery::ShortPoll => way
                .intervals_ms
                .iter()
                .map(|interval_ms| {
                    let interval_ms = *interval_ms;
                    variant(way, Load::Interval { interval_ms })
                })
                .collect(),
            _ => vec![variant(way, Load::Events {})],
        });
        variants.collect()
    }

    fn check_lanes(&self) -> Result<(), ScenarioError> {
        if self.deliveries.is_empty() {
            return check_list(&self.lanes, "lanes");
        }
        require(self.lanes.is_empty(), "lanes", || {
            "stands beside `deliveries`, which name their own".into()
        })?;
        let is_updates = matches!(self.workload, Workload::Updates { .. });
        require(is_updates, "deliveries", || {
            format!("is for `updates`, not for `{}`", self.workload.name())
        })?;
        for (index, way) in self.deliveries.iter().enumerate() {
            let earlier = &self.deliveries[..index];
            let is_first = earlier.iter().all(|other| other.delivery != way.delivery);
            require(is_first, "deliveries", || {
                format!("has `{}` twice", way.delivery.name())
            })?;
            check_list(&way.lanes, "deliveries.lanes")?;
            let field = "deliveries.intervals_ms";
            if way.delivery == Delivery::ShortPoll {
                check_list(&way.intervals_ms, field)?;
            } else {
                require(way.intervals_ms.is_empty(), field, || {
                    format!("is for `short-poll`, not for `{}`", way.delivery.name())
                })?;
            }
        }
        Ok(())
    }

    fn check_workload(&self) -> Result<(), ScenarioError> {
        match self.workload {
            Workload::Echo { .. } => Ok(()),
            Workload::Updates {
                events_per_second,
                topics,
                updates_per_connection,
                ..
            } => {
                check_rate("workload.events_per_second", events_per_second)?;
                require(
                    (1..=MAX_TOPICS).contains(&topics),
                    "workload.topics",
                    || format!("is {topics}: use 1 to {MAX_TOPICS}"),
                )?;
                require(
                    updates_per_connection != Some(0),
                    "workload.updates_per_connection",
                    || "is 0: use 1 or more, or leave it out".into(),
                )
            }
            Workload::Fanout { room_members, .. } => {
                let Some(members) = room_members else {
                    return Ok(());
                };
                let whole = |count: &u32| members > 0 && count.is_multiple_of(members);
                require(
                    self.connections.iter().all(whole),
                    "workload.room_members",
                    || format!("is {members}, which does not divide all `connections`"),
                )
            }
            Workload::Duplex {
                ticks_per_second,
                input_bytes,
                ..
            } => {
                let field = "workload.ticks_per_second";
                require((1.0..=1000.0).contains(&ticks_per_second), field, || {
                    format!("is {ticks_per_second}: use 1 to 1000")
                })?;
                require(
                    input_bytes <= MAX_PAYLOAD_BYTES,
                    "workload.input_bytes",
                    || format!("is {input_bytes}: use at most {MAX_PAYLOAD_BYTES}"),
                )
            }
        }
    }

    fn check_exchanges(&self) -> Result<(), ScenarioError> {
        if let Some(count) = self.operations {
            require((1..=MAX_OPERATIONS).contains(&count), "operations", || {
                format!("is {count}: use 1 to {MAX_OPERATIONS}")
            })?;
        }
        if let Workload::Echo {
            exchanges_per_connection: Some(count),
            ..
        } = self.workload
        {
            let field = "workload.exchanges_per_connection";
            require((1..=MAX_EXCHANGES).contains(&count), field, || {
                format!("is {count}: use 1 to {MAX_EXCHANGES}")
            })?;
            let is_kept = |lane: &Lane| lane.lifecycle == Lifecycle::Persistent;
            require(self.lanes.iter().all(is_kept), field, || {
                "is for persistent lanes; a per-request lane always has 1".into()
            })?;
        }
        Ok(())
    }

    fn check_load(&self) -> Result<(), ScenarioError> {
        match self.load {
            Load::Closed {} | Load::Events {} => {}
            Load::OpenConstant { rate_per_second }
            | Load::OpenPoisson { rate_per_second }
            | Load::PerClient { rate_per_second } => {
                check_rate("load.rate_per_second", rate_per_second)?;
            }
            Load::Interval { interval_ms } => {
                require(
                    (1..=u64::from(MAX_MS)).contains(&interval_ms),
                    "load.interval_ms",
                    || format!("is {interval_ms}: use 1 to {MAX_MS}"),
                )?;
            }
            Load::Capacity { p99_ms } => {
                require(
                    p99_ms > 0.0 && p99_ms <= f64::from(MAX_MS),
                    "load.p99_ms",
                    || format!("is {p99_ms}: use a number above 0, up to {MAX_MS}"),
                )?;
                let is_echo = matches!(self.workload, Workload::Echo { .. });
                require(is_echo, "load.model", || {
                    "is `capacity`, which needs the workload `echo`".into()
                })?;
            }
        }
        let needs = match self.workload {
            Workload::Echo { .. } => {
                let begins = matches!(self.load, Load::Events {});
                return require(!begins, "load", || "is left out: say when to echo".into());
            }
            Workload::Updates {
                delivery: Delivery::ShortPoll,
                ..
            } => "interval",
            Workload::Updates { .. } => "events",
            Workload::Fanout { .. } | Workload::Duplex { .. } => "per-client",
        };
        require(self.load.model() == needs, "load.model", || {
            format!(
                "is `{}`: `{}` needs `{needs}`",
                self.load.model(),
                self.workload.way()
            )
        })
    }
}

/// Checks a list of which each entry makes a cell.
fn check_list<T: PartialEq + std::fmt::Display>(
    list: &[T],
    field: &'static str,
) -> Result<(), ScenarioError> {
    require(!list.is_empty(), field, || {
        "is empty: name at least one".into()
    })?;
    for (index, entry) in list.iter().enumerate() {
        require(!list[..index].contains(entry), field, || {
            format!("names `{entry}` twice")
        })?;
    }
    Ok(())
}

impl Timing {
    fn check(&self) -> Result<(), ScenarioError> {
        let in_range = |range: std::ops::RangeInclusive<u32>, field, value| {
            require(range.contains(&value), field, || {
                format!("is {value}: use {} to {}", range.start(), range.end())
            })
        };
        in_range(0..=MAX_MS, "timing.warm_up_ms", self.warm_up_ms)?;
        in_range(1..=MAX_MS, "timing.window_ms", self.window_ms)?;
        in_range(0..=MAX_MS, "timing.drain_ms", self.drain_ms)?;
        in_range(1..=MAX_MS, "timing.timeout_ms", self.timeout_ms)
    }
}

fn check_rate(field: &'static str, rate: f64) -> Result<(), ScenarioError> {
    require(rate > 0.0 && rate <= MAX_RATE_PER_SECOND, field, || {
        format!("is {rate}: use a number above 0, up to {MAX_RATE_PER_SECOND}")
    })
}

fn require(
    holds: bool,
    field: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), ScenarioError> {
    if holds {
        Ok(())
    } else {
        Err(ScenarioError::Field {
            field,
            problem: problem(),
        })
    }
}

/// Scenario names become file names: no separators, no dots, no surprises.
pub(crate) fn is_slug(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    name.len() <= 64 && name.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "tiny"
        question = "Does it parse?"
        analysis = "It should."
        lanes = ["http1-per-request", "http1-persistent"]
        connections = [1]
        workload = { kind = "echo", payload = "binary", payload_bytes = 64 }
        load = { model = "closed" }
    "#;

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        Scenario::parse(&GOOD.replace(from, to))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_scenario_parses_with_defaults() {
        let scenario = Scenario::parse(GOOD).unwrap();
        assert_eq!(
            (scenario.wait, scenario.timing),
            (Wait::Blocking, Timing::default())
        );
    }

    #[test]
    fn each_way_and_interval_is_a_variant_with_a_warm_up_that_covers_it() {
        let text = r#"
            name = "news"
            question = "Does it split?"
            analysis = "It should."
            connections = [2]
            workload = { kind = "updates", events_per_second = 1.0, payload_bytes = 8 }
            timing = { warm_up_ms = 200 }
            [[deliveries]]
            delivery = "short-poll"
            intervals_ms = [100, 3000]
            lanes = ["http1-persistent"]
            [[deliveries]]
            delivery = "push"
            lanes = ["websocket-persistent"]
        "#;
        let scenario = Scenario::parse(text).unwrap();
        let variants = scenario.variants();
        let warm_ups: Vec<_> = variants
            .iter()
            .map(|one| (one.load.model(), one.timing.warm_up_ms))
            .collect();
        assert_eq!(
            warm_ups,
            [("interval", 200), ("interval", 3000), ("events", 200)]
        );
        let wrong = |from: &str, to: &str| {
            let error = Scenario::parse(&text.replacen(from, to, 1)).unwrap_err();
            error.to_string()
        };
        assert!(wrong("[100, 3000]", "[]").contains("`deliveries.intervals_ms`"));
        assert!(wrong("[100, 3000]", "[0]").contains("`load.interval_ms`"));
        assert!(wrong("\"push\"", "\"short-poll\"").contains("twice"));
        let fanout = wrong("\"updates\", events_per_second = 1.0", "\"fanout\"");
        assert!(fanout.contains("`deliveries`"));
        let lanes = wrong("connections", "lanes = [\"http1-persistent\"]\nconnections");
        assert!(lanes.contains("`lanes`"));
    }

    #[test]
    fn unknown_fields_are_named() {
        assert!(error("question =", "qestion =").contains("qestion"));
        assert!(error("payload_bytes = 64", "payload_bytes = 64, size = 1").contains("size"));
        assert!(error(r#"model = "closed""#, r#"model = "closed", rate = 1"#).contains("rate"));
        assert!(error(r#""closed""#, r#""open""#).contains("open-poisson"));
    }

    #[test]
    fn impossible_values_name_their_field() {
        assert!(error("http1-per-request", "http9").contains("`http9`"));
        assert!(error("[1]", "[]").contains("`connections`"));
        assert!(error("[1]", "[0]").contains("`connections`"));
        assert!(error("[1]", "[1, 1]").contains("twice"));
        assert!(error("\"tiny\"", "\"../tiny\"").contains("`name`"));
        assert!(error("http1-per-request", "http1-persistent").contains("twice"));
        assert!(error(r#"load = { model = "closed" }"#, "").contains("`load`"));
        assert!(error("64", "2000000").contains("`workload.payload_bytes`"));
        assert!(error("64 }", "64, exchanges_per_connection = 10 }").contains("persistent lanes"));
        assert!(
            error("connections = [1]", "connections = [1]\noperations = 0")
                .contains("`operations`")
        );
        let no_objective = r#"{ model = "capacity", p99_ms = 0.0 }"#;
        assert!(error(r#"{ model = "closed" }"#, no_objective).contains("`load.p99_ms`"));
        for rate in ["0.0", "-1.0", "nan", "inf"] {
            let load = format!("{{ model = \"open-poisson\", rate_per_second = {rate} }}");
            assert!(error(r#"{ model = "closed" }"#, &load).contains("`load.rate_per_second`"));
        }
        let short_poll = r#"{ kind = "updates", delivery = "short-poll", events_per_second = 10, payload_bytes = 8 }"#;
        assert!(
            error(
                r#"{ kind = "echo", payload = "binary", payload_bytes = 64 }"#,
                short_poll
            )
            .contains("`load.model`")
        );
        assert!(
            error(
                "connections = [1]",
                "connections = [1]\ntiming = { window_ms = 0 }"
            )
            .contains("window_ms")
        );
    }
}
