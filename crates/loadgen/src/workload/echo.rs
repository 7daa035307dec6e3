//! `echo`: send a payload, expect the same bytes back.

use rand::Rng;
use sockrates_core::payload::{self, PayloadKind, Verifier};
use sockrates_core::seed;

use super::prepared::Prepared;
use super::{Exchanges, Workload};
use crate::recorder::Recorder;
use crate::transport::{Peer, Request, Transport};

/// One slot's ring of messages.
#[derive(Debug)]
pub struct Echo<P> {
    ring: Vec<Message<P>>,
    next: usize,
}

/// Which messages a slot sends.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    /// Random bytes or text.
    pub kind: PayloadKind,
    /// The payload's length.
    pub bytes: u32,
    /// The run's seed.
    pub seed: u64,
    /// The slot's number within the trial.
    pub slot: u32,
}

#[derive(Debug)]
struct Message<P> {
    payload: Vec<u8>,
    request: Prepared<P>,
}

impl<P: Default> Echo<P> {
    /// Makes the messages of a slot whose connections live for so many exchanges: different from each other and from
    /// every other slot's, the same for every lane. `None` says that the transport cannot echo.
    pub fn new<S, T: Transport<S, Prepared = P>>(
        messages: Messages,
        exchanges: Exchanges,
        peer: &Peer,
    ) -> Option<Self> {
        let Messages {
            kind,
            bytes,
            seed,
            slot,
        } = messages;
        // A connection's ring is small when its messages are large: memory, not variety, counts then.
        let entries = if bytes > LARGE_BYTES {
            2
        } else {
            payload::RING as u64
        };
        let first = u64::from(slot) * payload::RING as u64;
        let ring = (first..first + entries).map(|index| {
            let payload = payload::generate(kind, bytes as usize, seed, index);
            let mask = seed::stream(seed, "mask", index).random();
            let request = Request::Echo {
                payload: &payload,
                kind,
                mask,
            };
            let request = Prepared::new::<S, T>(&request, exchanges, peer)?;
            Some(Message { payload, request })
        });
        Some(Self {
            ring: ring.collect::<Option<_>>()?,
            next: 0,
        })
    }
}

pub(super) const LARGE_BYTES: u32 = 64 * 1024;

impl<P> Workload<P> for Echo<P> {
    type Reply<'a>
        = Verifier<'a>
    where
        Self: 'a;

    fn next(&mut self, is_last: bool) -> (&P, Verifier<'_>) {
        let message = &self.ring[self.next];
        self.next = (self.next + 1) % self.ring.len();
        (message.request.at(is_last), Verifier::new(&message.payload))
    }

    fn verified(&mut self, _intended_ns: u64, _completed_ns: u64, _recorder: &mut Recorder) {}
}
