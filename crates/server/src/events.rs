//! A stream of server-sent events: the body of a reply that does not end.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::audience::Seat;
use crate::topic::{Cursor, Form};
use crate::worker::{Worker, count, count_many};

/// The events of one subscriber. hyper asks for the next ones when it has written those before: what a client does not
/// read stays in the topic's history, where it costs nothing more.
pub(crate) struct Events {
    worker: Rc<Worker>,
    cursor: Arc<Cursor>,
    seat: Seat,
    /// The beat of keep-alives at which something was last sent.
    beat: u64,
    is_over: bool,
}

impl Events {
    pub(crate) fn new(worker: Rc<Worker>, cursor: Arc<Cursor>) -> Self {
        count(&worker.counts.subscriptions);
        Self {
            seat: cursor.topic.audience.join(),
            beat: worker.shared.beat.load(Relaxed),
            worker,
            cursor,
            is_over: false,
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.seat.register(context.waker());
        let before = self.cursor.sent();
        let bytes = match self.cursor.take(Form::Event, FRAME_BYTES) {
            Ok(Some(news)) => {
                count_many(&self.worker.counts.deliveries, news.last - before);
                self.beat = self.worker.shared.beat.load(Relaxed);
                news.bytes
            }
            Ok(None) if self.cursor.topic.is_over() => return Poll::Ready(None),
            Ok(None) => {
                let beat = self.worker.shared.beat.load(Relaxed);
                // One beat may have come just after the last event.
                if beat < self.beat + 2 {
                    return Poll::Pending;
                }
                self.beat = beat;
                Bytes::from_static(b": keep-alive\n\n")
            }
            Err(gone) => {
                self.is_over = true;
                format!("event: gap\ndata: {}\n\n", gone.oldest).into()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

/// As many updates as are there go out in one piece of up to this size.
const FRAME_BYTES: usize = 64 << 10;
