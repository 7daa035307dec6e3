//! Rooms over HTTP: members say something by a request of its own, and follow the room by polls,
//! long polls or a stream of events. They and members over WebSocket are in the same rooms.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use fastwebsockets::OpCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use sockrates_core::publishing::{is_name, parameter, whole_number};

use crate::activity::Activity;
use crate::endpoints;
use crate::events::{Source, Tell};
use crate::reply::{self, BAD_NAME, Refusal, Reply, TEXT, with_head};
use crate::room::{self, Form, Member, Room};
use crate::topic::{Found, Misplaced};
use crate::updates::place;
use crate::wait;
use crate::worker::{Shared, Worker, add, count};

/// Makes a room, or has it stay.
pub(crate) fn make(name: &str, shared: &Shared) -> Result<Reply, Refusal> {
    if !is_name(name) {
        return Err(BAD_NAME);
    }
    let is_new = shared.rooms.make(name);
    is_new.map(reply::made).ok_or(room::TOO_MANY)
}

/// Says something to all members of a room.
pub(crate) async fn say(query: &str, body: Incoming, shared: &Shared) -> Result<Reply, Refusal> {
    let (room, _, member) = find(query, shared)?;
    if !room.knows(member) {
        return Err(Refusal::NoMember);
    }
    let message = endpoints::whole(body, shared.limits.message_bytes).await?;
    if !room::is_line(&message) {
        return Err(Refusal::Malformed("a message is one line of text\n"));
    }
    room.say(OpCode::Text, &message);
    Ok(reply::no_content())
}

/// Answers with the messages after a number.
pub(crate) fn poll(query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let (room, known) = join(query, parameter(query, "since"), shared)?;
    let found = room.after_in_form(known, Form::Line, usize::MAX);
    answer(&room, known, found)
}

/// Answers with the messages after a number as soon as there is one.
pub(crate) async fn long_poll(
    query: &str,
    shared: &Shared,
    activity: &Activity,
) -> Result<Reply, Refusal> {
    let timeout = wait::timeout(query).ok_or(Refusal::Malformed(wait::SENSELESS))?;
    let (room, mut known) = join(query, parameter(query, "since"), shared)?;
    let seat = room.sit();
    let look = || match room.after_in_form(known, Form::Line, usize::MAX) {
        Found::Nothing => None,
        Found::News(news) if news.count == 0 => {
            known = news.last;
            None
        }
        found => Some(found),
    };
    let found = wait::for_news(&seat, timeout, activity, look).await;
    answer(&room, known, found.unwrap_or(Found::Nothing))
}

/// Answers with a stream of events, one for each message.
pub(crate) fn stream(
    query: &str,
    headers: &HeaderMap,
    worker: &Rc<Worker>,
    activity: &Activity,
) -> Result<Reply, Refusal> {
    let shared = &worker.shared;
    let (_, name, _) = find(query, shared)?;
    let (room, known) = join(query, place(query, headers), shared)?;
    let member = shared.rooms.join(name).ok_or(room::TOO_MANY)?;
    member.reading.seen.store(known, Relaxed);
    member.reading.wants_signs.store(true, Relaxed);
    count(&worker.counts.subscriptions);
    activity.listen(Arc::downgrade(&member.reading) as _);
    let listening = Listening {
        worker: Rc::clone(worker),
        member,
    };
    Ok(with_head(
        reply::events(Source::Room(listening)),
        room.head(),
    ))
}

/// Returns the room asked for, its name and the member's.
fn find<'a>(query: &'a str, shared: &Shared) -> Result<(Arc<Room>, &'a str, &'a str), Refusal> {
    let name = |parameter_name| {
        parameter(query, parameter_name)
            .filter(|name| is_name(name))
            .ok_or(BAD_NAME)
    };
    let (room, member) = (name("room")?, name("member")?);
    let found = shared.rooms.find(room);
    Ok((
        found.ok_or(Refusal::Unknown("no such room\n"))?,
        room,
        member,
    ))
}

/// Makes whoever asks a member, and finds the place from which it wants to know messages.
fn join(query: &str, since: Option<&str>, shared: &Shared) -> Result<(Arc<Room>, u64), Refusal> {
    let (room, _, member) = find(query, shared)?;
    let number = |since| {
        whole_number(since)
            .ok_or_else(|| senseless(&room, "since must be the number of a message\n"))
    };
    let since = since.map(number).transpose()?;
    let known = room.begin(since).map_err(|place| match place {
        Misplaced::Missed { oldest } => missed(&room, oldest),
        Misplaced::Beyond => senseless(&room, "since is beyond the latest message\n"),
    })?;
    if room.admit(member) {
        Ok((room, known))
    } else {
        Err(Refusal::Full("too many members\n"))
    }
}

fn senseless(room: &Room, what: &'static str) -> Refusal {
    let head = room.head();
    Refusal::Senseless { what, head }
}

fn missed(room: &Room, oldest: u64) -> Refusal {
    let head = room.head();
    Refusal::Missed { oldest, head }
}

fn answer(room: &Room, known: u64, found: Found) -> Result<Reply, Refusal> {
    match found {
        Found::News(news) if news.count > 0 => {
            Ok(with_head(reply::ok(TEXT, news.bytes), news.last))
        }
        Found::News(news) => Ok(with_head(reply::no_content(), news.last)),
        Found::Nothing | Found::Over => Ok(with_head(reply::no_content(), known)),
        Found::Missed { oldest } => Err(missed(room, oldest)),
    }
}

/// A member that follows its room by a stream of events.
pub(crate) struct Listening {
    worker: Rc<Worker>,
    member: Member,
}

impl Listening {
    /// Returns what comes next. Messages once returned count as delivered.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Tell> {
        self.member.seat.register(context.waker());
        let reading = &*self.member.reading;
        let known = reading.seen.load(Relaxed);
        match reading.room.after_in_form(known, Form::Event, EVENT_BYTES) {
            Found::News(news) => {
                reading.seen.store(news.last, Relaxed);
                if news.count > 0 {
                    add(&self.worker.counts.deliveries, news.count);
                    return Poll::Ready(Tell::Events(news.bytes));
                }
            }
            Found::Missed { oldest } => {
                count(&self.worker.counts.dropped);
                return Poll::Ready(Tell::Gap(oldest));
            }
            Found::Nothing => {}
            Found::Over => return Poll::Ready(Tell::Over),
        }
        if reading.is_silent.swap(false, Relaxed) {
            return Poll::Ready(Tell::SignOfLife);
        }
        Poll::Pending
    }
}

/// Bounds what one member has in hand, and how long it keeps the worker from others.
const EVENT_BYTES: usize = 64 << 10;
