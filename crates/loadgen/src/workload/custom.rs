//! A request, or message, of one's own: sent as it is, its answer judged by what the user expects.
//!
//! Over WebSocket each connection sends a ring of messages in turn. What answers is told by content, and so by the place in
//! the ring: a late or doubled answer is one of another place, and is counted apart.

use std::rc::Rc;

use rand::Rng;
use sockrates_core::custom::{Custom as Spec, Matching};
use sockrates_core::failure::FailureKind;
use sockrates_core::payload::{PayloadKind, RING, Verifier};
use sockrates_core::seed;

use super::echo::LARGE_BYTES;
use super::prepared::Prepared;
use super::{Exchanges, Workload};
use crate::recorder::Recorder;
use crate::transport::{Peer, Reply, Request, Transport};

/// Asks one thing again and again.
#[derive(Debug)]
pub(crate) struct Custom<P> {
    spec: Rc<Spec>,
    /// The bytes that every reply's body, or message, must be.
    expected: Option<Rc<[u8]>>,
    ring: Vec<Message<P>>,
    next: usize,
    noted: Noted,
}

#[derive(Debug)]
struct Message<P> {
    content: Vec<u8>,
    request: Prepared<P>,
}

/// What was seen since the last operation ended.
#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    status: Option<u16>,
    close_code: Option<u16>,
    unasked: u64,
    repeated: u64,
}

impl<P: Default> Custom<P> {
    /// Makes the requests of a slot; `None` says that the transport cannot carry them.
    pub(crate) fn new<S, T: Transport<S, Prepared = P>>(
        spec: &Rc<Spec>,
        slot: u32,
        seed: u64,
        exchanges: Exchanges,
        peer: &Peer,
    ) -> Option<Self> {
        // A connection's ring is small when its messages are large: memory, not variety, counts then.
        let entries = match &spec.websocket {
            Some(websocket) if T::NAME == "websocket" && websocket.has_sequence() => {
                if spec.payload_bytes() > LARGE_BYTES {
                    2
                } else {
                    RING as u64
                }
            }
            _ => 1,
        };
        let first = u64::from(slot) * RING as u64;
        let ring = (first..first + entries).map(|index| {
            let message = |index| spec.websocket.as_ref()?.message(seed, index);
            let content = message(index).unwrap_or_default();
            let mask = seed::stream(seed, "mask", index).random();
            let request = Request::Custom {
                custom: spec,
                message: &content,
                mask,
            };
            let request = Prepared::new::<S, T>(&request, exchanges, peer)?;
            Some(Message { content, request })
        });
        Some(Self {
            spec: Rc::clone(spec),
            expected: expected(spec, T::NAME),
            ring: ring.collect::<Option<_>>()?,
            next: 0,
            noted: Noted::default(),
        })
    }
}

fn expected(spec: &Spec, transport: &str) -> Option<Rc<[u8]>> {
    let bytes = if transport == "websocket" {
        let expected = spec.websocket.as_ref()?.expect_message.as_ref()?;
        expected.bytes()
    } else {
        spec.http.as_ref()?.expected_body()?
    };
    Some(bytes.into())
}

impl<P> Custom<P> {
    /// Returns the first request, for whoever sends no other.
    pub(crate) fn into_first(mut self) -> P {
        self.ring.swap_remove(0).request.among
    }

    fn hand_in(&mut self, recorder: &mut Recorder) {
        let Noted {
            close_code,
            unasked,
            repeated,
            ..
        } = std::mem::take(&mut self.noted);
        recorder.answers.unasked += unasked;
        recorder.answers.repeated += repeated;
        if let Some(code) = close_code {
            *recorder.answers.close_codes.entry(code).or_default() += 1;
        }
    }
}

/// Takes and judges one reply.
#[derive(Debug)]
pub(crate) struct Answer<'a, P> {
    spec: &'a Spec,
    ring: &'a [Message<P>],
    asked: usize,
    verifier: Option<Verifier<'a>>,
    noted: &'a mut Noted,
}

impl<P> Workload<P> for Custom<P> {
    type Reply<'a>
        = Answer<'a, P>
    where
        Self: 'a;

    fn next(&mut self, is_last: bool) -> (&P, Answer<'_, P>) {
        let asked = self.next;
        self.next = (asked + 1) % self.ring.len();
        let message = &self.ring[asked];
        let answer = Answer {
            spec: &self.spec,
            ring: &self.ring,
            asked,
            verifier: self.expected.as_deref().map(Verifier::new),
            noted: &mut self.noted,
        };
        (message.request.at(is_last), answer)
    }

    fn verified(&mut self, intended_ns: u64, _completed_ns: u64, recorder: &mut Recorder) {
        recorder.answered(intended_ns, self.noted.status.take());
        if self.noted.unasked > 0 {
            self.hand_in(recorder);
        }
    }

    fn failed(&mut self, intended_ns: u64, recorder: &mut Recorder) {
        recorder.answered(intended_ns, self.noted.status.take());
        self.hand_in(recorder);
    }
}

impl<P> Answer<'_, P> {
    /// Says whether a message is what was sent at another place of the ring: the answer to something else, again or late.
    fn is_another(&self, message: &[u8]) -> bool {
        let others = self.ring.iter().enumerate();
        let mut others = others.filter(|(place, _)| *place != self.asked);
        others.any(|(_, other)| other.content == message)
    }
}

impl<P> Reply for Answer<'_, P> {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.noted.status = Some(status);
        let http = self.spec.http.as_ref();
        if http.is_some_and(|http| http.expect_status.holds(status)) {
            Ok(())
        } else {
            Err(FailureKind::BadStatus)
        }
    }

    fn message(&mut self, kind: PayloadKind, message: &[u8]) -> Result<bool, FailureKind> {
        let Some(websocket) = &self.spec.websocket else {
            return Err(FailureKind::Protocol);
        };
        if websocket.matching == Matching::AnyReply {
            self.feed(message);
            return self.finish().map(|()| true);
        }
        let asked = &self.ring[self.asked].content;
        if kind == websocket.kind && message == asked {
            return Ok(true);
        }
        // As long as the answer and of its kind, but no answer to anything: the answer, and a wrong one.
        if kind == websocket.kind && message.len() == asked.len() && !self.is_another(message) {
            return Err(FailureKind::WrongPayload);
        }
        self.unasked(kind, message);
        Ok(false)
    }

    fn unasked(&mut self, kind: PayloadKind, message: &[u8]) {
        self.noted.unasked += 1;
        let websocket = self.spec.websocket.as_ref();
        let echoes = websocket.is_some_and(|websocket| {
            websocket.matching == Matching::Echo && kind == websocket.kind
        });
        if echoes && self.ring.iter().any(|other| other.content == message) {
            self.noted.repeated += 1;
        }
    }

    fn closed(&mut self, code: u16) {
        self.noted.close_code = Some(code);
    }

    fn feed(&mut self, chunk: &[u8]) {
        if let Some(verifier) = &mut self.verifier {
            verifier.feed(chunk);
        }
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        self.verifier.as_ref().map_or(Ok(()), Verifier::finish)
    }
}
