//! The target contract's constants and documents: what a server under test offers (`docs/TARGET.md` is the full text).

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::{self, Document};

/// `POST`: answers with the request's body.
pub const ECHO: &str = "/echo";
/// `GET ?bytes=N`: answers with N bytes.
pub const PAYLOAD: &str = "/payload";
/// WebSocket: answers each message with the same message.
pub const WS_ECHO: &str = "/ws/echo";
/// `GET ?topic=T&since=SEQ`: the updates after SEQ, or 204 when there is none.
pub const UPDATES_POLL: &str = "/updates/poll";
/// `GET ?topic=T&since=SEQ&timeout_ms=N`: the updates after SEQ, as soon as there is one; 204 when the time is over.
pub const UPDATES_LONG_POLL: &str = "/updates/long-poll";
/// `GET ?topic=T&since=SEQ`: the updates after SEQ as server-sent events, and every further one.
pub const UPDATES_STREAM: &str = "/updates/stream";
/// `PUT /updates/topics/T?…`: makes the topic T, or replaces it; the query is a [`crate::publishing::TopicSpec`].
pub const UPDATES_TOPICS: &str = "/updates/topics/";
/// WebSocket, `?topic=T&since=SEQ`, both once or in pairs: the updates of all these topics, each in one message.
pub const WS_UPDATES: &str = "/ws/updates";
/// WebSocket `/ws/room/NAME`: whatever a member sends goes to all members.
pub const WS_ROOM: &str = "/ws/room/";
/// `PUT /chat/rooms/NAME`: makes a room that stays when its last member leaves.
pub const CHAT_ROOMS: &str = "/chat/rooms/";
/// `POST ?room=R&member=M`: says something to all members.
pub const CHAT_SAY: &str = "/chat/say";
/// `GET ?room=R&member=M&since=SEQ`: the messages after SEQ, or 204 when there is none; whoever asks is a member.
pub const CHAT_POLL: &str = "/chat/poll";
/// `GET ?room=R&member=M&since=SEQ&timeout_ms=N`: the same, as soon as there is one.
pub const CHAT_LONG_POLL: &str = "/chat/long-poll";
/// `GET ?room=R&member=M&since=SEQ`: the messages after SEQ as server-sent events, and every further one.
pub const CHAT_STREAM: &str = "/chat/stream";
/// WebSocket, `?game=G&player=P`: takes inputs and sends a snapshot at every tick.
pub const WS_DUPLEX: &str = "/ws/duplex";
/// `PUT /duplex/games/G?…`: makes the game G, or replaces it; the query is a [`crate::publishing::GameSpec`].
pub const DUPLEX_GAMES: &str = "/duplex/games/";
/// `POST ?game=G&player=P`: takes one input.
pub const DUPLEX_INPUT: &str = "/duplex/input";
/// `GET ?game=G&player=P&since=TICK`: the latest snapshot, or 204 when it is not later than TICK.
pub const DUPLEX_SNAPSHOT: &str = "/duplex/snapshot";
/// `GET ?game=G&player=P&since=TICK&timeout_ms=N`: the latest snapshot, as soon as it is later than TICK.
pub const DUPLEX_LONG_POLL: &str = "/duplex/long-poll";
/// `GET ?game=G&player=P`: a snapshot at every tick, as server-sent events.
pub const DUPLEX_STREAM: &str = "/duplex/stream";
/// A reply's header: the sequence of the latest update or message.
pub const HEAD_HEADER: &str = "x-sockrates-head";
/// The header of a 410: the oldest sequence that can still be had.
pub const OLDEST_HEADER: &str = "x-sockrates-oldest";
/// The longest a long poll may ask to wait.
pub const LONG_POLL_MAX_MS: u32 = 30_000;
/// `GET`: 200 when the server is ready.
pub const HEALTHZ: &str = "/healthz";
/// The topic that exists without being made.
pub const DEFAULT_TOPIC: &str = "default";

/// In the `tcp` floor, a message is a 4-byte big-endian head and its payload. The head's lower 31 bits are the payload's
/// length; its top bit, set by a client, asks the server to close the connection after its reply.
pub const TCP_LAST: u32 = 1 << 31;

/// The line a server prints on stdout once it accepts connections.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ReadyLine {
    /// Always true; lets a reader tell this line from others.
    pub ready: bool,
    /// Where HTTP and WebSocket are served.
    pub http: SocketAddr,
    /// Where the length-prefixed floor is served, if it is.
    pub tcp: Option<SocketAddr>,
    /// The server's process id.
    pub pid: u32,
}

/// What the server says about itself when it stops: one JSON line on stdout.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ServerUsage {
    /// Always [`ServerUsage::VERSION`].
    pub schema_version: u32,
    /// The process's use of the machine.
    pub process: ProcessUsage,
    /// Connections accepted since the start.
    pub connections_accepted: u64,
    /// Connections turned away because of the limit.
    pub connections_refused: u64,
    /// Completed operations (replies written) since the start.
    pub operations: u64,
    /// Connections cut by a time-out or a limit of the server.
    pub connections_cut: u64,
    /// Updates published since the start, over all topics.
    pub updates_published: u64,
    /// How late the latest update or tick came into being, against its schedule.
    #[serde(default)]
    pub publisher_lag_max_ns: u64,
    /// How late the last update of all was, against its schedule: a publisher that keeps up ends on time, whatever
    /// delayed it meanwhile.
    #[serde(default)]
    pub publisher_lag_last_ns: u64,
    /// Subscriptions opened: streams, WebSockets of updates, rooms and games.
    #[serde(default)]
    pub subscriptions: u64,
    /// Copies handed to subscribers: of updates, of messages in rooms, and snapshots.
    #[serde(default)]
    pub deliveries: u64,
    /// Subscribers that were disconnected because they read too slowly.
    #[serde(default)]
    pub subscribers_dropped: u64,
    /// Snapshots that a slow player never got, because a later one was there already.
    #[serde(default)]
    pub snapshots_coalesced: u64,
}

impl Document for ServerUsage {
    const KIND: &'static str = "server-usage";
    const VERSION: u32 = 2;

    /// Version 2 adds what publishing took.
    fn upgrade(from: u32, json: Value) -> Option<Value> {
        document::with_additions(from, 2, json)
    }
}

/// What the kernel accounts to one process.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ProcessUsage {
    /// CPU time in user space.
    pub cpu_user_ns: u64,
    /// CPU time in the kernel. Loopback charges a receiver's TCP work to the sender: compare sums over both ends.
    pub cpu_system_ns: u64,
    /// The largest resident memory.
    pub peak_memory_bytes: u64,
    /// How often the process gave up the CPU by waiting.
    pub voluntary_switches: u64,
    /// How often the CPU was taken from it.
    pub involuntary_switches: u64,
}

impl ProcessUsage {
    /// Returns CPU time in user space and kernel together.
    pub const fn cpu_ns(&self) -> u64 {
        self.cpu_user_ns + self.cpu_system_ns
    }
}
