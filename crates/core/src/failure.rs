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

impl FailureKind {
    /// All kinds, in their order.
    pub const ALL: [Self; 14] = [
        Self::ConnectAddressNotAvailable,
        Self::ConnectNoDescriptor,
        Self::ConnectRefused,
        Self::ConnectReset,
        Self::ConnectTimedOut,
        Self::ConnectOther,
        Self::HandshakeRefused,
        Self::TimedOut,
        Self::PeerClosed,
        Self::ConnectionReset,
        Self::Protocol,
        Self::BadStatus,
        Self::WrongPayload,
        Self::Io,
    ];

    /// Those in which the peer said something, if nothing right.
    pub const ANSWERS: [Self; 4] = [
        Self::HandshakeRefused,
        Self::Protocol,
        Self::BadStatus,
        Self::WrongPayload,
    ];

    /// Names an error of `read` or `write` on an open connection.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::WriteZero => Self::PeerClosed,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::ConnectionReset,
            ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io,
        }
    }
}

/// Counts failures by kind; kinds that did not occur are absent.
pub type FailureCounts = BTreeMap<FailureKind, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorders index an array of counters by kind.
    #[test]
    fn all_kinds_are_listed_in_order() {
        for (index, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
