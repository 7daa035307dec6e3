//! `echo`: send a payload, expect the same bytes back.

use rand::Rng;
use sockrates_core::payload::{self, PayloadKind, Verifier};
use sockrates_core::seed;

use super::Workload;
use crate::recorder::Recorder;
use crate::transport::{Peer, Request, Transport};

/// One connection's ring of messages.
#[derive(Debug)]
pub struct Echo<P> {
    ring: Vec<Message<P>>,
    next: usize,
}

#[derive(Debug)]
struct Message<P> {
    payload: Vec<u8>,
    prepared: P,
}

impl<P: Default> Echo<P> {
    /// Makes the messages of a connection: different from each other and from every other
    /// connection's, the same for every lane. `None` says that the transport cannot echo.
    pub fn new<S, T: Transport<S, Prepared = P>>(
        kind: PayloadKind,
        bytes: u32,
        seed: u64,
        slot: u32,
        peer: &Peer,
    ) -> Option<Self> {
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
            let mut prepared = P::default();
            T::prepare(
                &Request::Echo {
                    payload: &payload,
                    kind,
                    mask,
                },
                peer,
                &mut prepared,
            )?;
            Some(Message { payload, prepared })
        });
        Some(Self {
            ring: ring.collect::<Option<_>>()?,
            next: 0,
        })
    }
}

const LARGE_BYTES: u32 = 64 * 1024;

impl<P> Workload<P> for Echo<P> {
    type Reply<'a>
        = Verifier<'a>
    where
        Self: 'a;

    fn next(&mut self) -> (&P, Verifier<'_>) {
        let message = &self.ring[self.next];
        self.next = (self.next + 1) % self.ring.len();
        (&message.prepared, Verifier::new(&message.payload))
    }

    fn verified(&mut self, _intended_ns: u64, _completed_ns: u64, _recorder: &mut Recorder) {}
}
