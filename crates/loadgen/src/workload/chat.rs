//! `fanout`: the members of rooms send at their own pace, and every member gets a copy of every message of its room.
//!
//! A message is `SENDER NUMBER INTENDED_NS PAYLOAD`: who sent it, counted by each sender from 1 on, and the instant at
//! which it was due. Its payload is one of a few, so that checking a copy costs a comparison. A ledger holds what became
//! of each message; a room is on one worker, so that the ledger sees all copies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::rc::Rc;

use sockrates_core::failure::FailureKind;
use sockrates_core::payload::{self, PayloadKind};
use sockrates_core::record::Metric;
use sockrates_core::target;

use crate::agenda::{Due, Issued};
use crate::converse::Voice;
use crate::post::Places;
use crate::recorder::Recorder;

/// What the members of a worker have in common.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Members per room.
    members: u32,
    payloads: Vec<Vec<u8>>,
    ledger: RefCell<Vec<Vec<Copies>>>,
    /// How listening over HTTP first failed in each room: what is missing there is a failure of that kind.
    troubled: RefCell<BTreeMap<u32, FailureKind>>,
}

/// What became of one message.
#[derive(Clone, Copy, Debug)]
struct Copies {
    intended_ns: u64,
    first_ns: u64,
    last_ns: u64,
    received: u32,
    /// How the request that carried it failed, over HTTP.
    failure: Option<FailureKind>,
}

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    rooms: Rc<Rooms>,
    /// The number within the trial.
    global: u32,
    /// The last message's number of each member of the room, by its place in it.
    heard: Vec<u64>,
    /// When and how listening over HTTP failed.
    troubles: Vec<(u64, FailureKind)>,
}

/// Returns the name of a room.
pub(crate) fn room_name(room: u32) -> String {
    format!("r{room}")
}

impl Rooms {
    /// Makes the rooms of a trial with so many connections.
    pub(crate) fn new(members: u32, payload_bytes: u32, run_seed: u64, connections: u32) -> Self {
        let payload =
            |index| payload::generate(PayloadKind::Text, payload_bytes as usize, run_seed, index);
        Self {
            members,
            payloads: (0..payload::RING as u64).map(payload).collect(),
            ledger: RefCell::new(vec![Vec::new(); connections as usize]),
            troubled: RefCell::default(),
        }
    }

    /// Returns the name of a member's room.
    fn name(&self, member: u32) -> String {
        room_name(member / self.members)
    }

    /// Notes that a message goes out; returns its number.
    fn send(&self, sender: u32, intended_ns: u64) -> u64 {
        let messages = &mut self.ledger.borrow_mut()[sender as usize];
        messages.push(Copies {
            intended_ns,
            first_ns: 0,
            last_ns: 0,
            received: 0,
            failure: None,
        });
        messages.len() as u64
    }

    fn payload(&self, sender: u32, number: u64) -> &[u8] {
        let index = u64::from(sender).wrapping_add(number) % self.payloads.len() as u64;
        &self.payloads[usize::try_from(index).expect("an index of a table in memory")]
    }
}

impl Member {
    /// Makes a member.
    pub(crate) fn new(rooms: Rc<Rooms>, global: u32) -> Self {
        let heard = vec![0; rooms.members as usize];
        Self {
            rooms,
            global,
            heard,
            troubles: Vec::new(),
        }
    }

    /// Notes one copy of a message; `None` when it is none of this room's.
    fn take(&mut self, message: &[u8], received_ns: u64, recorder: &mut Recorder) -> Option<()> {
        let mut parts = message.splitn(4, |byte| *byte == b' ');
        let mut number =
            || -> Option<u64> { std::str::from_utf8(parts.next()?).ok()?.parse().ok() };
        let sender = u32::try_from(number()?).ok()?;
        let (number, intended_ns) = (number()?, number()?);
        let rooms = &*self.rooms;
        let is_member = sender / rooms.members == self.global / rooms.members;
        if !is_member || parts.next()? != rooms.payload(sender, number) {
            return None;
        }
        let mut ledger = rooms.ledger.borrow_mut();
        let entry = usize::try_from(number.checked_sub(1)?).ok()?;
        let entry = ledger.get_mut(sender as usize)?.get_mut(entry)?;
        if entry.intended_ns != intended_ns {
            return None;
        }
        let heard = &mut self.heard[(sender % rooms.members) as usize];
        if number == *heard || entry.received == rooms.members {
            recorder.fanout.repeated += 1;
            return Some(());
        }
        recorder.fanout.out_of_order += u64::from(number < *heard);
        *heard = number.max(*heard);
        if entry.received == 0 {
            entry.first_ns = received_ns;
        }
        entry.last_ns = received_ns;
        entry.received += 1;
        recorder.arrived(Metric::Delivery, intended_ns, received_ns);
        recorder.verified_since(intended_ns);
        if recorder.is_in_open_window(intended_ns) {
            recorder.fanout.received += 1;
        }
        Some(())
    }
}

impl Voice for Member {
    const TIMES: &'static [Metric] = &[Metric::Delivery, Metric::DeliverySpread];
    const COURSE: Metric = Metric::Delivery;

    fn target(&self) -> String {
        format!("{}{}", target::WS_ROOM, self.rooms.name(self.global))
    }

    fn hear(
        &mut self,
        message: &[u8],
        received_ns: u64,
        recorder: &mut Recorder,
    ) -> ControlFlow<()> {
        if self.take(message, received_ns, recorder).is_none() {
            recorder.fanout.wrong += 1;
        }
        ControlFlow::Continue(())
    }

    fn say(&mut self, due: Due, _recorder: &mut Recorder, message: &mut Vec<u8>) -> u64 {
        let sender = self.global;
        let number = self.rooms.send(sender, due.intended_ns);
        write!(message, "{sender} {number} {} ", due.intended_ns)
            .expect("writing to memory cannot fail");
        message.extend_from_slice(self.rooms.payload(sender, number));
        number
    }

    fn places(&self) -> Places {
        let who = format!(
            "?room={}&member=m{}",
            self.rooms.name(self.global),
            self.global
        );
        Places {
            post: format!("{}{who}", target::CHAT_SAY),
            stream: format!("{}{who}", target::CHAT_STREAM),
            poll: format!("{}{who}", target::CHAT_POLL),
            long_poll: format!("{}{who}", target::CHAT_LONG_POLL),
            joins: true,
        }
    }

    /// The room numbers its messages.
    fn cut(line: &[u8]) -> Option<(u64, &[u8])> {
        let space = line.iter().position(|byte| *byte == b' ')?;
        let number = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
        Some((number, &line[space + 1..]))
    }

    fn refused(&mut self, number: u64, _: u64, kind: FailureKind, _: &mut Recorder) {
        let mut ledger = self.rooms.ledger.borrow_mut();
        let messages = &mut ledger[self.global as usize];
        // It is the latest: the next one waits for its reply.
        debug_assert_eq!(messages.len() as u64, number);
        if let Some(message) = messages.last_mut() {
            message.failure = Some(kind);
        }
    }

    fn troubled(&mut self, at_ns: u64, kind: FailureKind) {
        self.troubles.push((at_ns, kind));
        let room = self.global / self.rooms.members;
        let mut troubled = self.rooms.troubled.borrow_mut();
        troubled.entry(room).or_insert(kind);
    }

    /// One copy for each member.
    fn operations_per_message(&self) -> u64 {
        u64::from(self.rooms.members)
    }

    /// Every message that was sent has as many copies as its room has members, or some are missing.
    fn settle(&mut self, recorder: &mut Recorder, end_ns: u64, issued: &mut Issued) {
        let members = self.operations_per_message();
        let room = self.global / self.rooms.members;
        let troubled = self.rooms.troubled.borrow().get(&room).copied();
        for message in &self.rooms.ledger.borrow()[self.global as usize] {
            let missing = members - u64::from(message.received);
            match (message.failure, message.failure.or(troubled)) {
                // What was said in spite of a wrong reply is wrong, too.
                (Some(kind), _) if missing == 0 => recorder.spoiled_one(message.intended_ns, kind),
                (_, Some(kind)) => recorder.failed_many(missing, message.intended_ns, kind),
                (_, None) => recorder.unfinished_many(missing, message.intended_ns, end_ns),
            }
            recorder.issue(members, message.intended_ns, issued);
            if !recorder.is_in_window(message.intended_ns) {
                continue;
            }
            recorder.fanout.sent += 1;
            recorder.fanout.missing += missing;
            if missing == 0 {
                let spread_ns = message.last_ns - message.first_ns;
                recorder.lasted(Metric::DeliverySpread, message.intended_ns, spread_ns);
            }
        }
        for (at_ns, kind) in self.troubles.drain(..) {
            recorder.spoiled_one(at_ns, kind);
        }
    }
}
