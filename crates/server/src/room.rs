//! Rooms: whatever a member sends goes to all members, in one order for all.
//!
//! A room is a log of frames that each member reads on its own: a message is encoded once, a copy of it is a reference,
//! and a slow member costs the others nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::OpCode;
use sockrates_core::publishing::is_name;

use crate::activity::Listener;
use crate::audience::{Audience, Seat};
use crate::log::{Gone, Log};
use crate::messages::{End, TOO_SLOW};
use crate::push::{self, Outlet};
use crate::reply::{BAD_NAME, Refusal};
use crate::stream::Watched;
use crate::topic::{Found, Misplaced, News, join as put_together};
use crate::worker::{Shared, Worker, count};

/// The rooms that have members.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<HashMap<String, Occupied>>);

#[derive(Debug, Default)]
struct Occupied {
    room: Arc<Room>,
    /// Those that are connected.
    members: usize,
    /// It was made to stay without any.
    is_kept: bool,
}

/// One room.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Messages so far, apart from the log so that the sweeper takes no lock.
    head: AtomicU64,
    log: Mutex<Log<Said>>,
    audience: Arc<Audience>,
    /// The members, by name.
    names: Mutex<HashSet<String>>,
}

/// One message. What not every room needs is made at its first use, and then shared by all.
#[derive(Debug)]
struct Said {
    frame: Bytes,
    /// Where the message begins in its frame.
    at: usize,
    line: Option<Bytes>,
    event: Option<Bytes>,
}

/// How messages are sent over HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// `NUMBER MESSAGE` and a line feed.
    Line,
    /// A server-sent event with the number as its id.
    Event,
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
    pub(crate) reading: Arc<Reading>,
    pub(crate) seat: Seat,
}

/// How far a member has read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) room: Arc<Room>,
    pub(crate) seen: AtomicU64,
    /// It is told now and then that its connection lives, as streams of events are.
    pub(crate) wants_signs: AtomicBool,
    /// A sign of life is due.
    pub(crate) is_silent: AtomicBool,
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
            reading: Arc::new(Reading {
                room,
                seen,
                wants_signs: AtomicBool::new(false),
                is_silent: AtomicBool::new(false),
            }),
        })
    }

    /// Makes a room that stays when nobody is connected, or has one stay that there is; returns whether there was none,
    /// and `None` when there are too many.
    pub(crate) fn make(&self, name: &str) -> Option<bool> {
        let mut rooms = self.lock();
        let is_new = !rooms.contains_key(name);
        if is_new && rooms.len() >= MAX_ROOMS {
            return None;
        }
        rooms.entry(name.into()).or_default().is_kept = true;
        Some(is_new)
    }

    /// Returns the room of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Room>> {
        let rooms = self.lock();
        rooms.get(name).map(|occupied| Arc::clone(&occupied.room))
    }

    fn leave(&self, name: &str) {
        let mut rooms = self.lock();
        let occupied = rooms.get_mut(name).expect("a room stays with its members");
        occupied.members -= 1;
        if occupied.members == 0 && !occupied.is_kept {
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
    /// Says something to all members.
    pub(crate) fn say(&self, opcode: OpCode, message: &[u8]) {
        let frame = push::frame(opcode, &[message]);
        let mut log = self.lock();
        let bytes = frame.len();
        let said = Said {
            at: bytes - message.len(),
            frame,
            line: None,
            event: None,
        };
        log.push(said, bytes);
        self.head.store(log.head(), Relaxed);
        drop(log);
        self.audience.wake_all();
    }

    fn after(&self, seen: u64) -> Next {
        match self.lock().after(seen) {
            Err(_) => Next::Lost,
            Ok(mut all) => all
                .next()
                .map_or(Next::Nothing, |said| Next::Frame(said.frame.clone())),
        }
    }

    /// Returns the messages after a number for members over HTTP: as many as fit into so many bytes, but at least one.
    /// What is no line of text is passed over, so that there may be no bytes.
    pub(crate) fn after_in_form(&self, seen: u64, form: Form, max_bytes: usize) -> Found {
        if self.head() <= seen {
            return Found::Nothing;
        }
        let mut log = self.lock();
        let all = match log.after(seen) {
            Ok(all) => all,
            Err(Gone { oldest }) => return Found::Missed { oldest },
        };
        let (mut parts, mut bytes, mut last) = (Vec::new(), 0, seen);
        for (number, said) in (seen + 1..).zip(all) {
            let part = said.in_form(number, form);
            bytes += part.as_ref().map_or(0, Bytes::len);
            if bytes > max_bytes && !parts.is_empty() {
                break;
            }
            parts.extend(part);
            last = number;
        }
        drop(log);
        let count = parts.len() as u64;
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        Found::News(News {
            bytes: put_together(first, parts.as_slice()),
            count,
            last,
        })
    }

    /// Returns the number of the latest message; 0 before the first.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Relaxed)
    }

    /// Returns the number after which a member begins that knows all up to `since`, or wants what is to come.
    pub(crate) fn begin(&self, since: Option<u64>) -> Result<u64, Misplaced> {
        let log = self.lock();
        match since {
            None => Ok(log.head()),
            Some(since) if since > log.head() => Err(Misplaced::Beyond),
            Some(since) if since + 1 < log.oldest() => Err(Misplaced::Missed {
                oldest: log.oldest(),
            }),
            Some(since) => Ok(since),
        }
    }

    /// Takes a seat from which news are noticed.
    pub(crate) fn sit(&self) -> Seat {
        self.audience.join()
    }

    /// Makes someone a member by name; `false` when there are too many.
    pub(crate) fn admit(&self, name: &str) -> bool {
        let mut names = self.names();
        if names.contains(name) {
            return true;
        }
        names.len() < MAX_NAMES && names.insert(name.into())
    }

    /// Says whether someone is a member by name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.names().contains(name)
    }

    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.names
            .lock()
            .expect("nothing panics while it holds names")
    }

    fn lock(&self) -> MutexGuard<'_, Log<Said>> {
        self.log
            .lock()
            .expect("nothing panics while it holds the log")
    }
}

impl Said {
    /// Returns the message for members over HTTP; `None` when it is no line of text.
    fn in_form(&mut self, number: u64, form: Form) -> Option<Bytes> {
        let made = match form {
            Form::Line => &mut self.line,
            Form::Event => &mut self.event,
        };
        if made.is_none() {
            let message = &self.frame[self.at..];
            let is_text = self.frame[0] & 0x0f == OpCode::Text as u8;
            if !is_text || !is_line(message) {
                return None;
            }
            let number = number.to_string();
            let parts: &[&[u8]] = match form {
                Form::Line => &[number.as_bytes(), b" ", message, b"\n"],
                Form::Event => &[b"id: ", number.as_bytes(), b"\ndata: ", message, b"\n\n"],
            };
            *made = Some(parts.concat().into());
        }
        made.clone()
    }
}

/// Says whether a message fits into one line.
pub(crate) fn is_line(message: &[u8]) -> bool {
    let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n');
    !message.iter().any(breaks) && std::str::from_utf8(message).is_ok()
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

    /// Wakes the whole room: that is rarer than anyone's message.
    fn break_silence(&self) {
        if self.wants_signs.load(Relaxed) {
            self.is_silent.store(true, Relaxed);
            self.room.audience.wake_all();
        }
    }
}

/// Joins a room.
pub(crate) fn join(name: &str, shared: &Shared) -> Result<Member, Refusal> {
    if !is_name(name) {
        return Err(BAD_NAME);
    }
    let member = shared.rooms.join(name);
    member.ok_or(TOO_MANY)
}

/// For one room more than there may be.
pub(crate) const TOO_MANY: Refusal = Refusal::Full("too many rooms\n");

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
        let Reading { room, seen, .. } = &*self.member.reading;
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
        self.member.reading.room.say(opcode, payload);
        Ok(())
    }
}

/// As many as there may be connections by default.
const MAX_ROOMS: usize = 16_384;
/// Likewise.
const MAX_NAMES: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_gone_with_its_last_member() {
        let rooms = Arc::new(Rooms::default());
        let [first, second] = ["a", "a"].map(|name| rooms.join(name).unwrap());
        first.reading.room.say(OpCode::Text, b"x");
        assert_eq!(second.reading.behind(), 1);
        assert_eq!(rooms.join("a").unwrap().reading.behind(), 0);
        drop((first, second));
        assert!(rooms.lock().is_empty());
    }

    #[test]
    fn a_room_that_was_made_outlives_its_members() {
        let rooms = Arc::new(Rooms::default());
        assert_eq!(
            (rooms.make("a"), rooms.make("a")),
            (Some(true), Some(false))
        );
        drop(rooms.join("a"));
        assert!(rooms.find("a").is_some());
        let joined = rooms.join("b");
        assert_eq!(rooms.make("b"), Some(false));
        drop(joined);
        assert!(rooms.find("b").is_some());
    }

    #[test]
    fn what_is_no_line_of_text_is_passed_over_but_counts() {
        let room = Room::default();
        room.say(OpCode::Text, b"one");
        room.say(OpCode::Binary, b"two");
        room.say(OpCode::Text, b"th\nree");
        room.say(OpCode::Text, "f\u{f6}ur".as_bytes());
        let news = |seen, form, most| match room.after_in_form(seen, form, most) {
            Found::News(news) => (news.bytes, news.count, news.last),
            other => panic!("{other:?}"),
        };
        let lines = "1 one\n4 f\u{f6}ur\n".as_bytes();
        assert_eq!(news(0, Form::Line, usize::MAX), (lines.into(), 2, 4));
        assert_eq!(news(0, Form::Line, 6), (b"1 one\n"[..].into(), 1, 3));
        assert_eq!(news(1, Form::Line, 0).2, 4);
        let event = "id: 4\ndata: f\u{f6}ur\n\n".as_bytes();
        assert_eq!(news(2, Form::Event, 0), (event.into(), 1, 4));
        assert_eq!(room.after_in_form(4, Form::Line, 0), Found::Nothing);
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
