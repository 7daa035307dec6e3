//! `duplex`: players send inputs and see snapshots, over a WebSocket, by posting and polling in turn, or
//! by posting while a stream or long polls bring snapshots.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::rc::Rc;

use rand::Rng;
use sockrates_core::failure::FailureKind;
use sockrates_core::payload::{self, PayloadKind};
use sockrates_core::record::Metric;
use sockrates_core::seed;
use sockrates_core::snapshot::Snapshot;
use sockrates_core::target;

use super::Workload;
use super::updates::Expected;
use crate::agenda::{Due, Issued};
use crate::converse::Voice;
use crate::post::Places;
use crate::recorder::Recorder;
use crate::transport::{Peer, Reply, Request, Transport};

/// The game all players of a trial play.
pub(crate) const GAME: &str = "g0";

/// Returns the seed of the game's snapshots.
pub(crate) fn game_seed(run_seed: u64) -> u64 {
    seed::stream(run_seed, "game", 0).random()
}

/// What one player has sent and seen.
#[derive(Debug)]
pub(crate) struct Player {
    name: String,
    seed: u64,
    period_ns: u64,
    input: Vec<u8>,
    sent: u64,
    /// Inputs that no snapshot knows yet: their numbers and when they were due.
    pending: VecDeque<(u64, u64)>,
    /// The last tick seen, and when.
    last: Option<(u64, u64)>,
    expected: Rc<RefCell<Expected>>,
    /// The inputs sent that are operations.
    issued: Issued,
    /// When and how listening over HTTP failed.
    troubles: Vec<(u64, FailureKind)>,
}

/// Whether an input is an operation that ends when a snapshot knows it, or its request is one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum InputsAre {
    Operations,
    Requests,
}

impl Player {
    /// Makes the player of one connection; those of a worker share what they expect.
    pub(crate) fn new(
        slot: u32,
        ticks_per_second: f64,
        input_bytes: u32,
        run_seed: u64,
        expected: Rc<RefCell<Expected>>,
    ) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least one tick a second, at most a thousand"
        )]
        let period_ns = (1e9 / ticks_per_second) as u64;
        let input = payload::generate(
            PayloadKind::Text,
            input_bytes as usize,
            run_seed,
            u64::from(slot),
        );
        Self {
            name: format!("p{slot}"),
            seed: game_seed(run_seed),
            period_ns,
            input,
            sent: 0,
            pending: VecDeque::with_capacity(64),
            last: None,
            expected,
            issued: Issued::default(),
            troubles: Vec::new(),
        }
    }

    /// Writes the next input.
    fn write_input(&mut self, out: &mut Vec<u8>) {
        self.sent += 1;
        write!(out, "{} ", self.sent).expect("writing to memory cannot fail");
        out.extend_from_slice(&self.input);
    }

    /// Notes that the last input written, due at this instant, was sent.
    fn sent(&mut self, intended_ns: u64, recorder: &mut Recorder) {
        self.pending.push_back((self.sent, intended_ns));
        if recorder.is_in_open_window(intended_ns) {
            recorder.duplex.inputs += 1;
        }
    }

    /// Takes a snapshot's line.
    fn see(
        &mut self,
        line: &[u8],
        received_ns: u64,
        recorder: &mut Recorder,
        inputs_are: InputsAre,
    ) -> Result<(), FailureKind> {
        let snapshot = Snapshot::parse(line).ok_or(FailureKind::WrongPayload)?;
        let Snapshot {
            tick,
            due_ns,
            created_ns,
            ack,
            payload,
        } = snapshot;
        let is_right = self.expected.borrow_mut().holds(self.seed, tick, payload);
        let is_new = self.last.is_none_or(|(last, _)| tick > last);
        if !is_right || !is_new || ack > self.sent {
            return Err(FailureKind::WrongPayload);
        }
        if recorder.is_in_open_window(created_ns) {
            recorder.duplex.snapshots += 1;
            recorder.duplex.late += u64::from(received_ns > due_ns + self.period_ns);
            let skipped = self.last.map_or(0, |(last, _)| tick - last - 1);
            recorder.duplex.skipped += skipped;
            if let Some((_, before_ns)) = self.last.filter(|_| skipped == 0) {
                let distance_ns = received_ns.saturating_sub(before_ns);
                let off_ns = distance_ns.abs_diff(self.period_ns);
                recorder.lasted(Metric::TickJitter, created_ns, off_ns);
            }
            recorder.lasted(
                Metric::TickLag,
                created_ns,
                created_ns.saturating_sub(due_ns),
            );
        }
        recorder.arrived(Metric::Staleness, created_ns, received_ns);
        self.last = Some((tick, received_ns));
        while let Some((_, intended_ns)) = self
            .pending
            .front()
            .copied()
            .filter(|(number, _)| *number <= ack)
        {
            self.pending.pop_front();
            let is_known_in_time = match inputs_are {
                InputsAre::Operations => {
                    recorder.verified_since(intended_ns);
                    true
                }
                // Polls end with the window: of later inputs only those would count that were soon known. An input waits
                // for a tick, and then for a poll, which comes as often.
                InputsAre::Requests => intended_ns + 2 * self.period_ns <= recorder.end_ns(),
            };
            if is_known_in_time {
                recorder.arrived(Metric::InputToSnapshot, intended_ns, received_ns);
            }
        }
        Ok(())
    }
}

impl Voice for Player {
    const TIMES: &'static [Metric] = &[
        Metric::Staleness,
        Metric::TickLag,
        Metric::TickJitter,
        Metric::InputToSnapshot,
    ];
    const COURSE: Metric = Metric::InputToSnapshot;

    fn target(&self) -> String {
        let (path, name) = (target::WS_DUPLEX, &self.name);
        format!("{path}?game={GAME}&player={name}")
    }

    fn hear(
        &mut self,
        message: &[u8],
        received_ns: u64,
        recorder: &mut Recorder,
    ) -> ControlFlow<()> {
        match self.see(message, received_ns, recorder, InputsAre::Operations) {
            Ok(()) => ControlFlow::Continue(()),
            // What follows cannot be trusted; the inputs will be unfinished.
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn say(&mut self, due: Due, recorder: &mut Recorder, message: &mut Vec<u8>) -> u64 {
        self.write_input(message);
        self.sent(due.intended_ns, recorder);
        recorder.issue(1, due.intended_ns, &mut self.issued);
        self.sent
    }

    fn places(&self) -> Places {
        let who = format!("?game={GAME}&player={}", self.name);
        Places {
            post: format!("{}{who}", target::DUPLEX_INPUT),
            stream: format!("{}{who}", target::DUPLEX_STREAM),
            poll: format!("{}{who}", target::DUPLEX_SNAPSHOT),
            long_poll: format!("{}{who}", target::DUPLEX_LONG_POLL),
            joins: false,
        }
    }

    /// A snapshot begins with its tick.
    fn cut(line: &[u8]) -> Option<(u64, &[u8])> {
        Some((Snapshot::parse(line)?.tick, line))
    }

    /// An input that a snapshot knows in spite of a wrong reply is wrong, too.
    fn refused(
        &mut self,
        number: u64,
        intended_ns: u64,
        kind: FailureKind,
        recorder: &mut Recorder,
    ) {
        let before = self.pending.len();
        self.pending.retain(|(pending, _)| *pending != number);
        if self.pending.len() < before {
            recorder.failed(intended_ns, kind);
        } else {
            recorder.spoiled(intended_ns, kind);
        }
    }

    fn troubled(&mut self, at_ns: u64, kind: FailureKind) {
        self.troubles.push((at_ns, kind));
    }

    fn operations_per_message(&self) -> u64 {
        1
    }

    /// Inputs that no snapshot knew are unfinished, or failed as listening did.
    fn settle(&mut self, recorder: &mut Recorder, end_ns: u64, issued: &mut Issued) {
        issued.add(self.issued);
        let trouble = self.troubles.first().map(|(_, kind)| *kind);
        for (_, intended_ns) in self.pending.drain(..) {
            match trouble {
                Some(kind) => recorder.failed(intended_ns, kind),
                None => recorder.unfinished(intended_ns, end_ns),
            }
        }
        for (at_ns, kind) in self.troubles.drain(..) {
            recorder.spoiled_one(at_ns, kind);
        }
    }
}

/// A player over HTTP: posts an input and asks for a snapshot, in turn.
#[derive(Debug)]
pub(crate) struct HttpPlayer<S, T: Transport<S>> {
    peer: Peer,
    player: Player,
    is_posting: bool,
    input: Vec<u8>,
    post: T::Prepared,
    get: T::Prepared,
    body: Vec<u8>,
    stream: PhantomData<S>,
}

/// Takes the reply to an input or to a question for a snapshot.
#[derive(Debug)]
pub(crate) struct PlayReply<'a> {
    body: &'a mut Vec<u8>,
    is_posting: bool,
    is_empty: bool,
}

impl<S, T: Transport<S>> HttpPlayer<S, T> {
    /// Makes a player. `None` says that the transport cannot play.
    pub(crate) fn new(player: Player, peer: &Peer) -> Option<Self> {
        let mut made = Self {
            peer: peer.clone(),
            player,
            is_posting: true,
            input: Vec::new(),
            post: T::Prepared::default(),
            get: T::Prepared::default(),
            body: Vec::new(),
            stream: PhantomData,
        };
        made.prepare_post()?;
        made.prepare_get()?;
        Some(made)
    }

    fn prepare_post(&mut self) -> Option<()> {
        self.input.clear();
        self.player.write_input(&mut self.input);
        let request = Request::Input {
            game: GAME,
            player: &self.player.name,
            input: &self.input,
        };
        T::prepare(&request, &self.peer, &mut self.post)
    }

    fn prepare_get(&mut self) -> Option<()> {
        let request = Request::Snapshot {
            game: GAME,
            player: &self.player.name,
            since: self.player.last.map_or(0, |(tick, _)| tick),
        };
        T::prepare(&request, &self.peer, &mut self.get)
    }
}

impl<S, T: Transport<S>> Workload<T::Prepared> for HttpPlayer<S, T> {
    type Reply<'a>
        = PlayReply<'a>
    where
        Self: 'a;

    fn next(&mut self, _is_last: bool) -> (&T::Prepared, PlayReply<'_>) {
        self.body.clear();
        let reply = PlayReply {
            body: &mut self.body,
            is_posting: self.is_posting,
            is_empty: false,
        };
        let prepared = if self.is_posting {
            &self.post
        } else {
            &self.get
        };
        (prepared, reply)
    }

    fn verified(&mut self, intended_ns: u64, completed_ns: u64, recorder: &mut Recorder) {
        if self.is_posting {
            self.player.sent(intended_ns, recorder);
            self.prepare_post()
        } else {
            match self.body.strip_suffix(b"\n") {
                None if recorder.is_in_open_window(intended_ns) => {
                    recorder.duplex.empty_polls += 1;
                }
                None => {}
                Some(line) => {
                    if let Err(kind) =
                        self.player
                            .see(line, completed_ns, recorder, InputsAre::Requests)
                    {
                        recorder.spoiled(intended_ns, kind);
                    }
                }
            }
            self.prepare_get()
        }
        .expect("what could be prepared once can be again");
        self.is_posting = !self.is_posting;
    }
}

impl Reply for PlayReply<'_> {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.is_empty = status == 204;
        match (status, self.is_posting) {
            (204, _) | (200, false) => Ok(()),
            _ => Err(FailureKind::BadStatus),
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.body.extend_from_slice(chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        if self.is_empty == self.body.is_empty() {
            Ok(())
        } else {
            Err(FailureKind::WrongPayload)
        }
    }
}
