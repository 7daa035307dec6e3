//! `updates` by short polling: ask for what is new, check that nothing is missing, and note how old
//! the news is.

use std::marker::PhantomData;

use sockrates_core::failure::FailureKind;
use sockrates_core::payload::{self, PayloadKind};
use sockrates_core::update::Update;

use super::Workload;
use crate::recorder::Recorder;
use crate::transport::{Peer, Reply, Request, Transport};

/// One polling client.
#[derive(Debug)]
pub struct ShortPoll<S, T: Transport<S>> {
    peer: Peer,
    topic_seed: u64,
    prepared: T::Prepared,
    /// The last sequence number received; `None` before the first reply, which brings the history.
    last: Option<u64>,
    inbox: Inbox,
    stream: PhantomData<S>,
}

/// What one reply brought; kept for its buffers.
#[derive(Debug, Default)]
struct Inbox {
    body: Vec<u8>,
    updates: Vec<(u64, u64)>,
    expected: Vec<u8>,
}

/// Takes the reply to one poll.
#[derive(Debug)]
pub struct PollReply<'a> {
    inbox: &'a mut Inbox,
    topic_seed: u64,
    is_empty: bool,
}

impl<S, T: Transport<S>> ShortPoll<S, T> {
    /// Makes a client of the default topic, whose publisher has this seed. `None` says that the
    /// transport cannot poll.
    pub fn new(topic_seed: u64, peer: &Peer) -> Option<Self> {
        let mut prepared = T::Prepared::default();
        T::prepare(&Request::Poll { since: 0 }, peer, &mut prepared)?;
        Some(Self {
            peer: peer.clone(),
            topic_seed,
            prepared,
            last: None,
            inbox: Inbox::default(),
            stream: PhantomData,
        })
    }

    fn prepare_next(&mut self) {
        let since = self.last.unwrap_or(0);
        T::prepare(&Request::Poll { since }, &self.peer, &mut self.prepared)
            .expect("what could be prepared once can be again");
    }
}

impl<S, T: Transport<S>> Workload<T::Prepared> for ShortPoll<S, T> {
    type Reply<'a>
        = PollReply<'a>
    where
        Self: 'a;

    /// Whether it is the last one is the peer's lifecycle, always: a poll is prepared ahead.
    fn next(&mut self, _is_last: bool) -> (&T::Prepared, PollReply<'_>) {
        self.inbox.body.clear();
        self.inbox.updates.clear();
        let reply = PollReply {
            inbox: &mut self.inbox,
            topic_seed: self.topic_seed,
            is_empty: false,
        };
        (&self.prepared, reply)
    }

    fn verified(&mut self, intended_ns: u64, completed_ns: u64, recorder: &mut Recorder) {
        let counts = recorder.is_in_window(intended_ns);
        if counts && self.inbox.updates.is_empty() {
            recorder.updates.empty_polls += 1;
        }
        let is_first = self.last.is_none();
        for &(sequence, created_ns) in &self.inbox.updates {
            let expected = self.last.map_or(sequence, |last| last + 1);
            if counts && !is_first {
                recorder.updates.received += 1;
                recorder.updates.missed += sequence.saturating_sub(expected);
                recorder.updates.repeated += u64::from(sequence < expected);
                recorder.staleness(intended_ns, completed_ns.saturating_sub(created_ns));
            }
            self.last = self.last.max(Some(sequence));
        }
        // An empty first reply means that nothing has been published: nothing can be missed yet.
        self.last.get_or_insert(0);
        self.prepare_next();
    }
}

impl Reply for PollReply<'_> {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.is_empty = status == 204;
        if matches!(status, 200 | 204) {
            Ok(())
        } else {
            Err(FailureKind::BadStatus)
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.inbox.body.extend_from_slice(chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        let Inbox {
            body,
            updates,
            expected,
        } = &mut *self.inbox;
        if self.is_empty {
            return if body.is_empty() {
                Ok(())
            } else {
                Err(FailureKind::WrongPayload)
            };
        }
        let lines = body.strip_suffix(b"\n").ok_or(FailureKind::WrongPayload)?;
        for line in lines.split(|byte| *byte == b'\n') {
            let update = Update::parse(line).ok_or(FailureKind::WrongPayload)?;
            expected.resize(update.payload.len(), 0);
            payload::fill(
                PayloadKind::Text,
                expected,
                self.topic_seed,
                update.sequence,
            );
            if update.payload != expected.as_slice() {
                return Err(FailureKind::WrongPayload);
            }
            updates.push((update.sequence, update.created_ns));
        }
        Ok(())
    }
}
