//! The target server from outside: raw sockets, bytes as they are on the wire, no client library that could be lenient.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod faults;
mod floor;
mod handshake;
mod http;
mod lifecycle;
mod limits;
mod support;
mod updates;
mod violations;
mod websocket;
