//! Scenarios: what is asked of which lanes, as TOML with the reasons why (`analysis`). Parsed once, then trusted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cpu_idle::{self, CpuIdle};
use crate::custom::Custom;
use crate::lane::{Lane, Lifecycle};
use crate::payload::PayloadKind;
use crate::publishing::Arrivals;
use crate::schedule::Load;

mod check;
mod ways;

pub(crate) use check::is_slug;
pub use check::{MAX_PAYLOAD_BYTES, ScenarioError};

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
    /// The server, as `HOST:PORT`, where it is one's own; absent, each trial starts a fresh `sockrates serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// When they do it; left out where `deliveries` say so.
    #[serde(default = "events")]
    pub load: Load,
    /// How the client waits for the network.
    #[serde(default)]
    pub wait: Wait,
    /// What CPUs do while there is nothing to do: a name, or a list, of which each entry makes a cell.
    #[serde(
        default = "cpu_idle::default_list",
        deserialize_with = "cpu_idle::deserialize",
        serialize_with = "cpu_idle::serialize",
        skip_serializing_if = "cpu_idle::is_default"
    )]
    pub cpu_idle: Vec<CpuIdle>,
    /// Cells of more connections than this are measured as is: their CPUs have no time to halt. Absent, none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_idle_connections: Option<u32>,
    /// The lanes to compare; empty where `deliveries` name them.
    #[serde(default)]
    pub lanes: Vec<Lane>,
    /// How many connections (slots, in per-request lanes) are used; one cell each.
    pub connections: Vec<u32>,
    /// How long each trial lasts.
    #[serde(default)]
    pub timing: Timing,
    /// Exactly so many operations, from the first on, then the trial ends: for what can be counted exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<u32>,
    /// Measured in the first so many blocks of a run only, as what is counted needs no more; absent, in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u32>,
    /// The ways of learning of the same events, messages or ticks, side by side: each replaces delivery and lanes, and the
    /// load of `updates`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Way>,
    /// What the clients do.
    pub workload: Workload,
}

/// One way of learning of events, in a scenario that compares several.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// How a client learns of them.
    pub delivery: Delivery,
    /// The intervals at which it asks, for short polling: one cell each. Players ask once a tick.
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
        /// How a member learns of what others say; over HTTP, what it says goes up by a request of its own. Absent,
        /// both go over one WebSocket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivery: Option<Delivery>,
        /// How often a member asks, for short polling.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        poll_interval_ms: Option<u64>,
    },
    /// A game: each player sends inputs, and gets a snapshot at each tick of the server.
    Duplex {
        /// How often a second the server ticks, and each player sends an input.
        ticks_per_second: f64,
        /// The length of a snapshot's payload.
        snapshot_bytes: u32,
        /// The length of an input's payload.
        input_bytes: u32,
        /// How a player is shown ticks; over HTTP, inputs go up by requests of their own. Absent, by push over a
        /// WebSocket, and over HTTP by short polls, in turn with inputs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivery: Option<Delivery>,
    },
    /// A request or message of one's own, to a server of one's own.
    Custom(Box<Custom>),
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
            Self::Custom(_) => "custom",
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
    pub fn payload_bytes(&self) -> u32 {
        match self {
            Self::Echo { payload_bytes, .. }
            | Self::Updates { payload_bytes, .. }
            | Self::Fanout { payload_bytes, .. } => *payload_bytes,
            Self::Duplex { snapshot_bytes, .. } => *snapshot_bytes,
            Self::Custom(custom) => custom.payload_bytes(),
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
    pub fn listens(&self) -> bool {
        match self {
            Self::Updates { delivery, .. } => matches!(delivery, Delivery::Sse | Delivery::Push),
            Self::Fanout { .. } => true,
            Self::Custom(custom) => custom.listens(),
            Self::Echo { .. } | Self::Duplex { .. } => false,
        }
    }

    /// Returns how clients over a lane learn of what they did not do themselves; `None` where there is no such thing.
    pub fn delivery(&self, lane: &Lane) -> Option<Delivery> {
        let is_socket = lane.transport == "websocket";
        match self {
            Self::Updates { delivery, .. } => Some(*delivery),
            Self::Fanout { delivery, .. } => Some(delivery.unwrap_or(Delivery::Push)),
            Self::Duplex { delivery, .. } if is_socket => Some(delivery.unwrap_or(Delivery::Push)),
            Self::Duplex { delivery, .. } => Some(delivery.unwrap_or(Delivery::ShortPoll)),
            Self::Echo { .. } | Self::Custom(_) => None,
        }
    }

    /// Says whether clients over a lane have two connections: one on which they learn of what others do, and one for what
    /// they do themselves.
    pub fn speaks_apart(&self, lane: &Lane) -> bool {
        match (self, self.delivery(lane)) {
            (Self::Fanout { .. }, Some(delivery)) => delivery != Delivery::Push,
            (Self::Duplex { .. }, Some(delivery)) => {
                matches!(delivery, Delivery::Sse | Delivery::LongPoll)
            }
            _ => false,
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
    /// All of them, in the order in which people come to them.
    pub const ALL: [Self; 4] = [Self::ShortPoll, Self::LongPoll, Self::Sse, Self::Push];

    /// Describes it in a phrase.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::ShortPoll => "ask at intervals, and get what is new",
            Self::LongPoll => "ask, be answered when there is news, ask again",
            Self::Sse => "ask once, and read a reply that does not end (server-sent events)",
            Self::Push => "be sent messages over a WebSocket",
        }
    }

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
    /// The first part of the warm-up, in which the load rises from nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub ramp_ms: u32,
    /// The time in which operations are due that count.
    pub window_ms: u32,
    /// How long operations still open at the window's end may take before they count as unfinished.
    pub drain_ms: u32,
    /// How long one operation may take before it counts as failed.
    pub timeout_ms: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(ms: &u32) -> bool {
    *ms == 0
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            warm_up_ms: 500,
            ramp_ms: 0,
            window_ms: 1500,
            drain_ms: 1000,
            timeout_ms: 5000,
        }
    }
}

impl Scenario {
    /// Parses and checks a scenario file's text.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        scenario.check_count()?;
        Ok(scenario)
    }

    /// Writes the scenario as a file's text, from which it can be parsed again.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("scenarios hold nothing that TOML cannot say")
    }

    /// Returns what CPUs do in its cells of so many connections, the cells without a word about it in their id first.
    pub(crate) fn cpu_idle_of(&self, connections: u32) -> &[CpuIdle] {
        match self.cpu_idle_connections {
            Some(most) if connections > most => &[CpuIdle::AsIs],
            _ => &self.cpu_idle,
        }
    }
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
    fn unknown_fields_are_named() {
        assert!(error("question =", "qestion =").contains("qestion"));
        assert!(error("payload_bytes = 64", "payload_bytes = 64, size = 1").contains("size"));
        assert!(error(r#"model = "closed""#, r#"model = "closed", rate = 1"#).contains("rate"));
        assert!(error(r#""closed""#, r#""open""#).contains("open-poisson"));
    }
}
