//! The target server: what the load generator measures, built as users would build it, from hyper and fastwebsockets.
//!
//! Each worker is a thread with a listener, a runtime and connections of its own; workers share nothing but the
//! connection limit, the topics of updates, rooms and games. Every endpoint does the same application work, whatever
//! carries it, so that a difference between two transports is theirs. `docs/TARGET.md` is the contract this crate
//! fulfils.
//!
//! The crate knows neither lanes nor load, prints nothing, and leaves signals to its caller.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

mod activity;
mod audience;
mod chat;
mod clockwork;
mod connections;
mod duplex;
mod endpoints;
mod error;
mod events;
pub mod faults;
mod floor;
mod framing;
mod game;
mod handshake;
mod http;
mod injection;
mod listen;
mod log;
mod messages;
mod pause;
mod push;
mod reply;
mod room;
mod server;
mod session;
mod stream;
mod subscribe;
mod subscription;
mod topic;
mod topics;
mod updates;
mod wait;
mod worker;

pub use error::StartError;
use faults::Faults;
pub use server::Server;

/// How to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to serve HTTP and WebSocket; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to serve the length-prefixed floor; port 0 takes a free one.
    pub tcp_listen: SocketAddr,
    /// Number of worker threads; at least 1.
    pub workers: usize,
    /// Worker `i` runs on `cpus[i % cpus.len()]`; empty lets the kernel choose.
    pub cpus: Vec<u32>,
    /// Whether addresses that other machines can reach are allowed.
    pub allow_remote: bool,
    /// What one client may take.
    pub limits: Limits,
    /// Who publishes to the default topic.
    pub publisher: Publisher,
    /// What is wrong with this server, on purpose.
    pub faults: Faults,
}

impl Default for Config {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any_port,
            tcp_listen: any_port,
            workers: 1,
            cpus: Vec::new(),
            allow_remote: false,
            limits: Limits::default(),
            publisher: Publisher::default(),
            faults: Faults::default(),
        }
    }
}

/// What clients may take of the server. Time limits are looked at in coarse steps: a connection is cut up to half the
/// shortest of them, or two seconds, later.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The largest request head; beyond it the answer is 431. From 128 bytes to 256 KiB; 16 KiB by default.
    pub header_bytes: usize,
    /// The largest request body, reply of `/payload`, WebSocket message and floor message. Below 2 GiB; 1 MiB by
    /// default, since any client can make the server hold that much for each of its connections.
    pub message_bytes: usize,
    /// The largest number of open connections of all workers together; further ones are closed at once. 16,384 by
    /// default, which leaves some of the usual 20,000 descriptors for other things.
    pub connections: usize,
    /// The time from the first byte of a request head to its last: 10 s by default.
    pub header_read_timeout: Duration,
    /// The time from a complete request head, or the first byte of a message, to the end of the reply: 60 s by default,
    /// which lets 1 MiB pass both ways at 35 KB/s.
    pub exchange_timeout: Duration,
    /// The time without a byte in either direction: 120 s by default, longer than clients of a measurement are silent.
    pub idle_timeout: Duration,
    /// The time without a byte after which a subscriber is told that the connection lives: 15 s by default, and half
    /// the idle timeout at most.
    pub keep_alive: Duration,
    /// How many updates of a topic may wait for a subscriber; beyond, it is disconnected. 1024 by default: a quarter of
    /// the history.
    pub subscriber_backlog: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 16 << 10,
            message_bytes: 1 << 20,
            connections: 16_384,
            header_read_timeout: Duration::from_secs(10),
            exchange_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(2),
            keep_alive: Duration::from_secs(15),
            subscriber_backlog: 1024,
        }
    }
}

/// The publisher of the topic `default`: a Poisson process, since real events come in bunches.
#[derive(Clone, Debug, PartialEq)]
pub struct Publisher {
    /// The mean rate, up to a million; 0 publishes nothing.
    pub events_per_second: f64,
    /// The length of an update's payload; at most the message limit.
    pub payload_bytes: u32,
    /// Determines the distances between updates and their payloads.
    pub seed: u64,
}

impl Default for Publisher {
    fn default() -> Self {
        Self {
            events_per_second: 0.0,
            payload_bytes: 64,
            seed: 1,
        }
    }
}
