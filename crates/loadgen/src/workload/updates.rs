//! `updates`: learn of events, check that none is missing, and note how old each is on arrival. Asking is here, at
//! intervals or by long polls; listening is in `listen`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::rc::Rc;

use rand::Rng;
use sockrates_core::failure::FailureKind;
use sockrates_core::payload::{self, PayloadKind};
use sockrates_core::seed;
use sockrates_core::target::LONG_POLL_MAX_MS;
use sockrates_core::update::Update;

use super::Workload;
use crate::recorder::Recorder;
use crate::transport::{Peer, Reply, Request, Transport};

/// Returns the name of the topic that a connection follows.
pub(crate) fn topic_name(slot: u32, topics: u32) -> String {
    format!("t{}", slot % topics)
}

/// Returns the seed of a topic's publisher.
pub(crate) fn topic_seed(run_seed: u64, topic: u32) -> u64 {
    seed::stream(run_seed, "topic", u64::from(topic)).random()
}

/// What one client knows of its topic.
#[derive(Debug)]
pub(crate) struct Follower {
    slot: u32,
    pub(crate) topic: String,
    seed: u64,
    sequence: Sequence,
    expected: Rc<RefCell<Expected>>,
}

impl Follower {
    /// Makes the client of one connection; those of a worker share what they expect.
    pub(crate) fn new(
        slot: u32,
        topics: u32,
        run_seed: u64,
        expected: Rc<RefCell<Expected>>,
    ) -> Self {
        Self {
            slot,
            topic: topic_name(slot, topics),
            seed: topic_seed(run_seed, slot % topics),
            sequence: Sequence::default(),
            expected,
        }
    }

    /// Returns the latest sequence known; `None` before anything is.
    pub(crate) const fn since(&self) -> Option<u64> {
        self.sequence.last
    }

    /// Learns after which sequence the first update comes; later it knows better.
    pub(crate) fn begin_after(&mut self, sequence: u64) {
        self.sequence.last.get_or_insert(sequence);
    }

    /// Reads an update's line: its sequence and when it was created.
    pub(crate) fn read(&self, line: &[u8]) -> Result<(u64, u64), FailureKind> {
        let update = Update::parse(line).ok_or(FailureKind::WrongPayload)?;
        let mut expected = self.expected.borrow_mut();
        if expected.holds(self.seed, update.sequence, update.payload) {
            Ok((update.sequence, update.created_ns))
        } else {
            Err(FailureKind::WrongPayload)
        }
    }

    /// Notes an update's place in the sequence; `counts` says whether it belongs to the window.
    pub(crate) fn note(&mut self, sequence: u64, counts: bool, recorder: &mut Recorder) {
        let place = self.sequence.place(sequence);
        recorder.followed[self.slot as usize] = self.sequence.last.unwrap_or(0);
        if !counts {
            return;
        }
        let updates = &mut recorder.updates;
        updates.received += 1;
        match place {
            Place::Next { missing } => updates.missed += missing,
            Place::Late => {
                updates.out_of_order += 1;
                updates.missed = updates.missed.saturating_sub(1);
            }
            Place::Again => updates.repeated += 1,
        }
    }
}

/// The sequence numbers a client has seen.
#[derive(Debug, Default)]
struct Sequence {
    last: Option<u64>,
    /// Those below the last that have not come; bounded, the oldest are forgotten first.
    gaps: BTreeSet<u64>,
}

/// Where an update belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Behind all others, with so many missing in between.
    Next { missing: u64 },
    /// In a gap: a later one came first.
    Late,
    /// It was there already.
    Again,
}

impl Sequence {
    fn place(&mut self, sequence: u64) -> Place {
        let last = *self.last.get_or_insert(sequence.saturating_sub(1));
        if sequence > last {
            let missing = sequence - last - 1;
            let oldest = last.max(sequence.saturating_sub(MAX_GAPS)) + 1;
            self.gaps.extend(oldest..sequence);
            while self.gaps.len() as u64 > MAX_GAPS {
                self.gaps.pop_first();
            }
            self.last = Some(sequence);
            Place::Next { missing }
        } else if self.gaps.remove(&sequence) {
            Place::Late
        } else {
            Place::Again
        }
    }
}

const MAX_GAPS: u64 = 1024;

/// The payloads that updates should have. Clients of one topic all get the same: it is made once for all of them.
#[derive(Debug)]
pub(crate) struct Expected(Vec<(u64, u64, Vec<u8>)>);

impl Default for Expected {
    fn default() -> Self {
        Self(vec![(0, 0, Vec::new()); EXPECTED_ENTRIES])
    }
}

impl Expected {
    /// Says whether this is the payload that follows from seed and sequence.
    pub(crate) fn holds(&mut self, seed: u64, sequence: u64, payload: &[u8]) -> bool {
        let index = seed.wrapping_add(sequence) % EXPECTED_ENTRIES as u64;
        let (known_seed, known, bytes) =
            &mut self.0[usize::try_from(index).expect("an index of a table in memory")];
        if (*known_seed, *known) != (seed, sequence) || bytes.len() != payload.len() {
            (*known_seed, *known) = (seed, sequence);
            bytes.resize(payload.len(), 0);
            payload::fill(PayloadKind::Text, bytes, seed, sequence);
        }
        bytes == payload
    }
}

const EXPECTED_ENTRIES: usize = 64;

/// One polling client.
#[derive(Debug)]
pub struct Poller<S, T: Transport<S>> {
    peer: Peer,
    follower: Follower,
    patience: Patience,
    prepared: T::Prepared,
    inbox: Inbox,
    stream: PhantomData<S>,
}

/// How long a server may wait with its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Up to this, and never past the end of the load.
    Up { to_ms: u32, load_ms: u32 },
}

impl Patience {
    /// Makes that of a long poll.
    pub(crate) fn long(timeout_ms: u32, load_ms: u32) -> Self {
        // Well before the client gives up.
        let to_ms = (timeout_ms / 5 * 4).clamp(1, LONG_POLL_MAX_MS);
        Self::Up { to_ms, load_ms }
    }

    fn timeout_ms(self, left_ms: Option<u64>) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Up { to_ms, load_ms } => {
                let left_ms = left_ms.unwrap_or(u64::from(load_ms)).max(1);
                Some(u32::try_from(left_ms).map_or(to_ms, |left_ms| left_ms.min(to_ms)))
            }
        }
    }
}

/// What one reply brought; kept for its buffers.
#[derive(Debug, Default)]
struct Inbox {
    body: Vec<u8>,
    updates: Vec<(u64, u64)>,
    head: Option<u64>,
}

/// Takes the reply to one poll.
#[derive(Debug)]
pub struct PollReply<'a> {
    inbox: &'a mut Inbox,
    follower: &'a Follower,
    is_empty: bool,
}

impl<S, T: Transport<S>> Poller<S, T> {
    /// Makes a client. `None` says that the transport cannot poll.
    pub(crate) fn new(follower: Follower, patience: Patience, peer: &Peer) -> Option<Self> {
        let mut poller = Self {
            peer: peer.clone(),
            follower,
            patience,
            prepared: T::Prepared::default(),
            inbox: Inbox::default(),
            stream: PhantomData,
        };
        poller.prepare_next(None)?;
        Some(poller)
    }

    fn prepare_next(&mut self, left_ms: Option<u64>) -> Option<()> {
        let request = Request::Poll {
            topic: &self.follower.topic,
            since: self.follower.since(),
            timeout_ms: self.patience.timeout_ms(left_ms),
        };
        T::prepare(&request, &self.peer, &mut self.prepared)
    }
}

impl<S, T: Transport<S>> Workload<T::Prepared> for Poller<S, T> {
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
            follower: &self.follower,
            is_empty: false,
        };
        (&self.prepared, reply)
    }

    fn verified(&mut self, intended_ns: u64, completed_ns: u64, recorder: &mut Recorder) {
        let counts = recorder.is_in_window(intended_ns);
        recorder.updates.requests += 1;
        if let Some(head) = self.inbox.head.take()
            && self.inbox.updates.is_empty()
        {
            self.follower.begin_after(head);
        }
        // What a long poll brings to nobody at the end of the load is no empty answer.
        if counts && self.inbox.updates.is_empty() && completed_ns < recorder.end_ns() {
            recorder.updates.empty_polls += 1;
        }
        for &(sequence, created_ns) in &self.inbox.updates {
            // An update counts with the poll that brings it; but a long poll may have begun long before the window, and
            // then the update's own instant says whether it belongs there.
            let since_ns = match self.patience {
                Patience::None => intended_ns,
                Patience::Up { .. } => created_ns,
            };
            let counts = recorder.is_in_open_window(since_ns);
            self.follower.note(sequence, counts, recorder);
            recorder.staleness(since_ns, completed_ns.saturating_sub(created_ns));
        }
        let left_ns = recorder.end_ns().saturating_sub(completed_ns);
        // Rounded up: a poll that ends before the load does would be an empty one.
        self.prepare_next(Some(left_ns.div_ceil(1_000_000)))
            .expect("what could be prepared once can be again");
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

    fn head(&mut self, sequence: u64) {
        self.inbox.head = Some(sequence);
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.inbox.body.extend_from_slice(chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        let Inbox { body, updates, .. } = &mut *self.inbox;
        if self.is_empty {
            return if body.is_empty() {
                Ok(())
            } else {
                Err(FailureKind::WrongPayload)
            };
        }
        let lines = body.strip_suffix(b"\n").ok_or(FailureKind::WrongPayload)?;
        for line in lines.split(|byte| *byte == b'\n') {
            updates.push(self.follower.read(line)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sequence_tells_missing_late_and_repeated_apart() {
        let mut sequence = Sequence::default();
        let places: Vec<_> = [5, 6, 9, 7, 7, 9, 10]
            .map(|number| sequence.place(number))
            .into();
        let next = |missing| Place::Next { missing };
        assert_eq!(
            places,
            [
                next(0),
                next(0),
                next(2),
                Place::Late,
                Place::Again,
                Place::Again,
                next(0)
            ]
        );
    }

    #[test]
    fn a_payload_of_another_update_is_wrong() {
        let mut expected = Expected::default();
        let good = payload::generate(PayloadKind::Text, 20, 3, 9);
        assert!(expected.holds(3, 9, &good) && expected.holds(3, 9, &good));
        assert!(!expected.holds(3, 10, &good));
        assert!(!expected.holds(4, 9, &good));
        assert!(!expected.holds(3, 9, &good[1..]));
    }

    #[test]
    fn long_polls_end_with_the_load_and_before_the_client_gives_up() {
        let patience = Patience::long(5000, 3000);
        assert_eq!(patience.timeout_ms(None), Some(3000));
        assert_eq!(patience.timeout_ms(Some(1200)), Some(1200));
        assert_eq!(patience.timeout_ms(Some(0)), Some(1));
        assert_eq!(Patience::long(5000, 60_000).timeout_ms(None), Some(4000));
        assert_eq!(Patience::None.timeout_ms(None), None);
    }

    proptest! {
        /// Whatever comes in whatever order: each number is new once, and what is missing at the end never came.
        #[test]
        fn books_of_a_sequence_balance(numbers in prop::collection::vec(1u64..60, 1..200)) {
            let mut sequence = Sequence::default();
            let (mut missing, mut late, mut again) = (0, 0, 0);
            for number in &numbers {
                match sequence.place(*number) {
                    Place::Next { missing: gap } => missing += gap,
                    Place::Late => late += 1,
                    Place::Again => again += 1,
                }
            }
            let seen: BTreeSet<_> = numbers.iter().filter(|number| **number >= numbers[0]).collect();
            let all = seen.last().unwrap().saturating_sub(numbers[0]) + 1;
            prop_assert_eq!(all - (missing - late), seen.len() as u64);
            prop_assert_eq!(numbers.len() as u64 - again, seen.len() as u64);
        }
    }
}
