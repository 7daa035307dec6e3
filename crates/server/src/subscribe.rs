//! Updates over WebSocket: one message each, of one topic or many.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::OpCode;

use crate::activity::Backlog;
use crate::audience::Seat;
use crate::messages::End;
use crate::push::{Outlet, frame};
use crate::topic::{Cursor, Form};
use crate::worker::{Worker, count, count_many};

/// What one WebSocket follows.
pub(crate) struct Subscriptions {
    worker: Rc<Worker>,
    followed: Vec<(Arc<Cursor>, Seat)>,
    /// Which one is looked at first, so that a busy topic does not silence the others.
    first: usize,
    /// The beat of keep-alives at which something was last sent.
    beat: u64,
}

/// The places of a WebSocket in all its topics.
#[derive(Debug)]
pub(crate) struct Places(pub(crate) Vec<Arc<Cursor>>);

impl Backlog for Places {
    fn behind(&self) -> u64 {
        let behind = self.0.iter().map(|cursor| cursor.behind());
        behind.max().unwrap_or(0)
    }
}

impl Subscriptions {
    pub(crate) fn new(worker: Rc<Worker>, cursors: &[Arc<Cursor>]) -> Self {
        count(&worker.counts.subscriptions);
        let follow = |cursor: &Arc<Cursor>| (Arc::clone(cursor), cursor.topic.audience.join());
        Self {
            followed: cursors.iter().map(follow).collect(),
            first: 0,
            beat: worker.shared.beat.load(Relaxed),
            worker,
        }
    }
}

impl Outlet for Subscriptions {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        for (_, seat) in &self.followed {
            seat.register(context.waker());
        }
        let topics = self.followed.len();
        for turn in 0..topics {
            let index = (self.first + turn) % topics;
            let (cursor, _) = &self.followed[index];
            let before = cursor.sent();
            match cursor.take(Form::Frame, FRAMES_BYTES) {
                Ok(Some(news)) => {
                    count_many(&self.worker.counts.deliveries, news.last - before);
                    self.first = (index + 1) % topics;
                    self.beat = self.worker.shared.beat.load(Relaxed);
                    return Poll::Ready(Ok(news.bytes));
                }
                Ok(None) if cursor.topic.is_over() => {
                    let reason = "topic replaced".to_owned();
                    return Poll::Ready(Err(End::Farewell(SERVICE_RESTART, reason)));
                }
                Ok(None) => {}
                Err(gone) => {
                    count(&self.worker.counts.dropped);
                    let reason = format!("oldest {}", gone.oldest);
                    return Poll::Ready(Err(End::Farewell(TOO_SLOW, reason)));
                }
            }
        }
        let beat = self.worker.shared.beat.load(Relaxed);
        // One beat may have come just after the last update.
        if beat < self.beat + 2 {
            return Poll::Pending;
        }
        self.beat = beat;
        Poll::Ready(Ok(frame(OpCode::Ping, &[])))
    }

    /// Whoever follows has nothing to say.
    fn message(&mut self, _opcode: OpCode, _payload: &[u8]) -> Result<(), End> {
        Ok(())
    }
}

/// As many updates as are there go out in one piece of up to this size.
const FRAMES_BYTES: usize = 64 << 10;
/// The close code for what goes on elsewhere (IANA WebSocket Close Code registry: Service Restart).
pub(crate) const SERVICE_RESTART: u16 = 1012;
/// The close code for who reads too slowly: of the range for applications.
pub(crate) const TOO_SLOW: u16 = 4410;
