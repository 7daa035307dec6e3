//! What the workloads count beside the times of their operations, and what a load costs.

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

/// What both ends used from the start of the load to its end.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LoadCost {
    /// How long that was.
    pub wall_ns: u64,
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
