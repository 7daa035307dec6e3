//! Why an operation failed, by name. A failed operation is counted here and never becomes a sample.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of failure, in the order in which an operation can meet them.
#[derive(
    Clone,
    Copy,
    Debug,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
    thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// `EADDRNOTAVAIL`: no ephemeral port is free for this source and destination.
    #[error("no free source port (EADDRNOTAVAIL)")]
    ConnectAddressNotAvailable,
    /// `EMFILE` or `ENFILE`: no file descriptor is free.
    #[error("no free file descriptor (EMFILE)")]
    ConnectNoDescriptor,
    /// `ECONNREFUSED`: nobody listens.
    #[error("connection refused")]
    ConnectRefused,
    /// `ECONNRESET` while connecting.
    #[error("connection reset while connecting")]
    ConnectReset,
    /// The kernel gave up (`ETIMEDOUT`) or the operation's time-out struck while connecting.
    #[error("connecting timed out")]
    ConnectTimedOut,
    /// Any other error of `socket`, `bind` or `connect`.
    #[error("connecting failed")]
    ConnectOther,
    /// The peer did not agree to speak the protocol (e.g. no `101 Switching Protocols`).
    #[error("handshake refused")]
    HandshakeRefused,
    /// The operation's time-out struck after the connection was made.
    #[error("timed out")]
    TimedOut,
    /// The peer closed before the reply was complete.
    #[error("closed by the peer in mid-operation")]
    PeerClosed,
    /// `ECONNRESET` or `EPIPE` on an open connection.
    #[error("connection reset")]
    ConnectionReset,
    /// The reply broke the protocol's rules.
    #[error("protocol error")]
    Protocol,
    /// The reply's status says that the operation was not done.
    #[error("refused with an error status")]
    BadStatus,
    /// The reply is well-formed but not the one that was asked for.
    #[error("wrong payload")]
    WrongPayload,
    /// Any other error of `read` or `write`.
    #[error("input/output error")]
    Io,
}

/// Counts failures by kind; kinds that did not occur are absent.
pub type FailureCounts = BTreeMap<FailureKind, u64>;
