//! What the workloads count beside the times of their operations, and what a load costs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the clients of an `updates` trial saw.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct UpdateCounts {
    /// Updates received, over all clients.
    pub received: u64,
    /// Polls that brought nothing new.
    pub empty_polls: u64,
    /// Updates skipped: their sequence number never came.
    pub missed: u64,
    /// Updates that came again.
    pub repeated: u64,
    /// Updates that came after a later one.
    #[serde(default)]
    pub out_of_order: u64,
    /// Updates of the window that had not come when the drain ended, as the server's history told then.
    #[serde(default)]
    pub lost: u64,
    /// Requests sent: polls, and requests that opened a stream or WebSocket. Over the whole trial.
    #[serde(default)]
    pub requests: u64,
    /// Connections opened to resume, whether the client or an accident ended the one before. Over the whole trial.
    #[serde(default)]
    pub reconnections: u64,
}

/// What the members of a `fanout` trial saw.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct FanoutCounts {
    /// Messages that were due in the window and sent.
    pub sent: u64,
    /// Copies of them received, over all members.
    pub received: u64,
    /// Copies that had not come when the drain ended.
    pub missing: u64,
    /// Copies that came again.
    pub repeated: u64,
    /// Copies that came after a later message of the same sender.
    pub out_of_order: u64,
    /// Messages received that were none of the room's; what they should have been is missing.
    pub wrong: u64,
}

/// What the players of a `duplex` trial saw.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct DuplexCounts {
    /// Inputs that were due in the window and sent.
    pub inputs: u64,
    /// Snapshots of the window received, over all players.
    pub snapshots: u64,
    /// Ticks of which a player got no snapshot.
    pub skipped: u64,
    /// Snapshots that arrived when the next tick was due already.
    pub late: u64,
    /// Snapshots that were asked for when there was none.
    pub empty_polls: u64,
}

/// How servers answered the clients of a `custom` trial.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AnswerCounts {
    /// The window's replies by their HTTP status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statuses: BTreeMap<u16, u64>,
    /// WebSockets that the server closed, by the code it gave; 1005 where it gave none. Over the whole trial.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub close_codes: BTreeMap<u16, u64>,
    /// Messages that answered nothing: they came unasked, or another was waited for. Over the whole trial.
    pub unasked: u64,
    /// Those of them that repeated an earlier answer of their connection.
    pub repeated: u64,
    /// Messages of the window that only receiving clients received.
    pub received: u64,
    /// Their payload, in bytes.
    pub received_bytes: u64,
}

impl AnswerCounts {
    /// Adds another worker's counts.
    pub fn merge(&mut self, other: &Self) {
        let add = |mine: &mut BTreeMap<u16, u64>, theirs: &BTreeMap<u16, u64>| {
            for (code, count) in theirs {
                *mine.entry(*code).or_default() += count;
            }
        };
        add(&mut self.statuses, &other.statuses);
        add(&mut self.close_codes, &other.close_codes);
        self.unasked += other.unasked;
        self.repeated += other.repeated;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
    }
}

impl FanoutCounts {
    /// Adds another worker's counts.
    pub const fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.missing += other.missing;
        self.wrong += other.wrong;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
    }
}

impl DuplexCounts {
    /// Adds another worker's counts.
    pub const fn merge(&mut self, other: &Self) {
        self.inputs += other.inputs;
        self.snapshots += other.snapshots;
        self.skipped += other.skipped;
        self.late += other.late;
        self.empty_polls += other.empty_polls;
    }
}

/// What both ends used between two instants: from the start of the load to its end, or from the window's to its end.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LoadCost {
    /// How long that was.
    pub wall_ns: u64,
    /// The client's CPU time; null in records that know it of the whole process only.
    #[serde(default)]
    pub client_cpu_ns: Option<u64>,
    /// The server's CPU time; null for a server that was already running.
    pub server_cpu_ns: Option<u64>,
    /// What the network carried, both ways; null without a network namespace of the trial's own.
    pub network: Option<NetworkCost>,
}

/// What the network carried.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct NetworkCost {
    /// Bytes of IP packets, heads and acknowledgements included.
    pub ip_bytes: u64,
    /// IP packets.
    pub ip_packets: u64,
}

impl UpdateCounts {
    /// Adds another worker's counts.
    pub const fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.empty_polls += other.empty_polls;
        self.missed += other.missed;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.lost += other.lost;
        self.requests += other.requests;
        self.reconnections += other.reconnections;
    }
}
