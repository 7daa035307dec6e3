//! The target server from outside: raw sockets, bytes as they are on the wire, no client library that could be lenient.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod chat;
mod events;
mod faults;
mod floor;
mod games;
mod handshake;
mod http;
mod lifecycle;
mod limits;
mod long_poll;
mod rooms;
mod slow;
mod subscriptions;
mod support;
mod topics;
mod updates;
mod violations;
mod websocket;
