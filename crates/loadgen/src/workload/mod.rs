//! What the clients do. A workload belongs to one connection: it says what to send next and judges
//! what comes back.

pub(crate) mod chat;
pub(crate) mod custom;
pub mod echo;
pub(crate) mod game;
mod prepared;
pub mod updates;

use crate::recorder::Recorder;
use crate::transport::Reply;

/// After how many exchanges a connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exchanges(pub u32);

impl Exchanges {
    /// Never: connections are opened before the load and stay.
    pub const UNLIMITED: Self = Self(u32::MAX);
}

/// What one connection does. `P` is a transport's prepared request.
pub trait Workload<P> {
    /// Takes and judges a reply.
    type Reply<'a>: Reply
    where
        Self: 'a;

    /// Returns the next request, the last one on its connection or not, and what takes its reply.
    fn next(&mut self, is_last: bool) -> (&P, Self::Reply<'_>);

    /// Learns that the last operation, due at `intended_ns`, was verified at `completed_ns`.
    fn verified(&mut self, intended_ns: u64, completed_ns: u64, recorder: &mut Recorder);

    /// Learns that the last operation, due at `intended_ns`, failed.
    fn failed(&mut self, _intended_ns: u64, _recorder: &mut Recorder) {}
}
