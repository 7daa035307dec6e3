//! Rooms: what one member sends goes to all, in one order.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::OpCode;

use crate::activity::Backlog;
use crate::audience::{Audience, Seat};
use crate::log::Log;
use crate::messages::End;
use crate::push::{self, Outlet};
use crate::subscribe::TOO_SLOW;
use crate::worker::{Worker, count};

/// All rooms by name. A room is made by its first member and gone with its last.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<HashMap<String, Arc<Room>>>);

/// One room: the frames of its latest messages, ready to be sent.
#[derive(Debug, Default)]
struct Room {
    name: String,
    head: AtomicU64,
    frames: Mutex<Log<Bytes>>,
    audience: Arc<Audience>,
    /// Counted under the lock of all rooms.
    members: AtomicU64,
}

/// A member's place in its room.
#[derive(Debug)]
struct Place {
    room: Arc<Room>,
    sent: AtomicU64,
}

/// One member.
pub(crate) struct Member {
    worker: Rc<Worker>,
    place: Arc<Place>,
    seat: Seat,
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.0.lock().expect("nothing panics while it holds rooms")
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Log<Bytes>> {
        let frames = self.frames.lock();
        frames.expect("nothing panics while it holds frames")
    }
}

impl Member {
    /// Joins a room; it hears what is said from now on. `None` when there is no room for another room.
    pub(crate) fn join(worker: Rc<Worker>, name: &str) -> Option<Self> {
        let mut rooms = worker.shared.rooms.lock();
        if rooms.len() >= MOST_ROOMS && !rooms.contains_key(name) {
            return None;
        }
        let room = rooms.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Room {
                name: name.to_owned(),
                ..Room::default()
            })
        });
        room.members.fetch_add(1, Ordering::Relaxed);
        let room = Arc::clone(room);
        drop(rooms);
        count(&worker.counts.subscriptions);
        let seat = room.audience.join();
        let sent = AtomicU64::new(room.lock().head());
        Some(Self {
            worker,
            place: Arc::new(Place { room, sent }),
            seat,
        })
    }

    /// Returns what the sweeper looks at.
    pub(crate) fn backlog(&self) -> Arc<dyn Backlog> {
        Arc::clone(&self.place) as _
    }
}

impl Outlet for Member {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        self.seat.register(context.waker());
        let Place { room, sent } = &*self.place;
        let last = sent.load(Ordering::Relaxed);
        if room.head.load(Ordering::Acquire) <= last {
            return Poll::Pending;
        }
        match room.lock().after(last) {
            Ok(mut frames) => match frames.next() {
                None => Poll::Pending,
                Some(frame) => {
                    sent.store(last + 1, Ordering::Relaxed);
                    count(&self.worker.counts.deliveries);
                    Poll::Ready(Ok(frame.clone()))
                }
            },
            Err(_) => {
                count(&self.worker.counts.dropped);
                Poll::Ready(Err(End::Farewell(TOO_SLOW, "too slow".to_owned())))
            }
        }
    }

    fn message(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), End> {
        let room = &self.place.room;
        let frame = push::frame(opcode, &[payload]);
        let mut frames = room.lock();
        let bytes = frame.len();
        frames.push(frame, bytes);
        room.head.store(frames.head(), Ordering::Release);
        drop(frames);
        room.audience.wake_all();
        count(&self.worker.counts.operations);
        Ok(())
    }
}

impl Backlog for Place {
    fn behind(&self) -> u64 {
        let head = self.room.head.load(Ordering::Acquire);
        head.saturating_sub(self.sent.load(Ordering::Relaxed))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut rooms = self.worker.shared.rooms.lock();
        let room = &self.place.room;
        if room.members.fetch_sub(1, Ordering::Relaxed) == 1 {
            rooms.remove(&room.name);
        }
    }
}

const MOST_ROOMS: usize = 16_384;
