//! Rooms: whatever a member sends goes to all members, in one order for all.
//!
//! A room is a log of frames that each member reads on its own: a message is encoded once, a copy of it is a reference,
//! and a slow member costs the others nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::OpCode;
use sockrates_core::publishing::is_name;

use crate::activity::Listener;
use crate::audience::{Audience, Seat};
use crate::log::Log;
use crate::messages::{End, TOO_SLOW};
use crate::push::{self, Outlet};
use crate::reply::{BAD_NAME, Refusal};
use crate::stream::Watched;
use crate::worker::{Shared, Worker, count};

/// The rooms that have members.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<HashMap<String, Occupied>>);

#[derive(Debug, Default)]
struct Occupied {
    room: Arc<Room>,
    members: usize,
}

/// One room.
#[derive(Debug, Default)]
struct Room {
    /// Messages so far, apart from the log so that the sweeper takes no lock.
    head: AtomicU64,
    log: Mutex<Log<Bytes>>,
    audience: Arc<Audience>,
}

/// What comes next for a member.
#[derive(Debug, Eq, PartialEq)]
enum Next {
    Frame(Bytes),
    Nothing,
    /// The log does not reach back so far.
    Lost,
}

/// A member's place in a room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    rooms: Arc<Rooms>,
    name: String,
    reading: Arc<Reading>,
    seat: Seat,
}

/// How far a member has read.
#[derive(Debug)]
struct Reading {
    room: Arc<Room>,
    seen: AtomicU64,
}

impl Rooms {
    /// Joins a room at its end, made if need be; `None` when there are too many. What is sent from now on reaches this
    /// member.
    pub(crate) fn join(self: &Arc<Self>, name: &str) -> Option<Member> {
        let mut rooms = self.lock();
        if rooms.len() >= MAX_ROOMS && !rooms.contains_key(name) {
            return None;
        }
        let occupied = rooms.entry(name.into()).or_default();
        occupied.members += 1;
        let room = Arc::clone(&occupied.room);
        drop(rooms);
        let seen = AtomicU64::new(room.head.load(Relaxed));
        Some(Member {
            rooms: Arc::clone(self),
            name: name.into(),
            seat: room.audience.join(),
            reading: Arc::new(Reading { room, seen }),
        })
    }

    fn leave(&self, name: &str) {
        let mut rooms = self.lock();
        let occupied = rooms.get_mut(name).expect("a room stays with its members");
        occupied.members -= 1;
        if occupied.members == 0 {
            rooms.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Occupied>> {
        self.0.lock().expect("nothing panics while it holds rooms")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.rooms.leave(&self.name);
    }
}

impl Room {
    fn say(&self, frame: Bytes) {
        let mut log = self.lock();
        let bytes = frame.len();
        log.push(frame, bytes);
        self.head.store(log.head(), Relaxed);
        drop(log);
        self.audience.wake_all();
    }

    fn after(&self, seen: u64) -> Next {
        match self.lock().after(seen) {
            Err(_) => Next::Lost,
            Ok(mut frames) => frames
                .next()
                .map_or(Next::Nothing, |frame| Next::Frame(frame.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log<Bytes>> {
        self.log
            .lock()
            .expect("nothing panics while it holds the log")
    }
}

impl Reading {
    fn behind(&self) -> u64 {
        let head = self.room.head.load(Relaxed);
        head.saturating_sub(self.seen.load(Relaxed))
    }
}

impl Listener for Reading {
    fn is_slow(&self, backlog: u64) -> bool {
        self.behind() > backlog
    }
}

/// Joins a room.
pub(crate) fn join(name: &str, shared: &Shared) -> Result<Member, Refusal> {
    if !is_name(name) {
        return Err(BAD_NAME);
    }
    let member = shared.rooms.join(name);
    member.ok_or(Refusal::Full("too many rooms\n"))
}

/// Serves one member to its end.
pub(crate) async fn serve(worker: &Worker, stream: Watched, member: Member) {
    count(&worker.counts.subscriptions);
    let reading = Arc::downgrade(&member.reading);
    stream.activity().listen(reading);
    push::serve(worker, stream, Visit { worker, member }).await;
}

struct Visit<'a> {
    worker: &'a Worker,
    member: Member,
}

impl Outlet for Visit<'_> {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        self.member.seat.register(context.waker());
        let Reading { room, seen } = &*self.member.reading;
        let known = seen.load(Relaxed);
        match room.after(known) {
            Next::Frame(frame) => {
                seen.store(known + 1, Relaxed);
                count(&self.worker.counts.deliveries);
                Poll::Ready(Ok(frame))
            }
            Next::Nothing => Poll::Pending,
            Next::Lost => {
                count(&self.worker.counts.dropped);
                Poll::Ready(Err(End::Farewell(TOO_SLOW, "too slow".into())))
            }
        }
    }

    fn message(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), End> {
        count(&self.worker.counts.operations);
        self.member
            .reading
            .room
            .say(push::frame(opcode, &[payload]));
        Ok(())
    }
}

/// As many as there may be connections by default.
const MAX_ROOMS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Bytes {
        vec![b'x'; length].into()
    }

    #[test]
    fn a_room_is_gone_with_its_last_member() {
        let rooms = Arc::new(Rooms::default());
        let [first, second] = ["a", "a"].map(|name| rooms.join(name).unwrap());
        first.reading.room.say(frame(1));
        assert_eq!(second.reading.behind(), 1);
        assert_eq!(rooms.join("a").unwrap().reading.behind(), 0);
        drop((first, second));
        assert!(rooms.lock().is_empty());
    }

    #[test]
    fn rooms_are_bounded_in_number_and_those_there_are_stay_open() {
        let rooms = Arc::new(Rooms::default());
        let members: Vec<_> = (0..MAX_ROOMS)
            .map(|k| rooms.join(&k.to_string()).unwrap())
            .collect();
        assert!(rooms.join("one more").is_none());
        assert!(rooms.join("0").is_some());
        drop(members);
        assert!(rooms.join("one more").is_some());
    }
}
