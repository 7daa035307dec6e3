//! Updates as server-sent events: the body of a reply that does not end by itself.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::subscription::{Subscriber, Told};
use crate::topic::Encoding;

/// A subscriber's events.
pub(crate) struct Events {
    subscriber: Subscriber,
    is_over: bool,
}

impl Events {
    pub(crate) fn new(subscriber: Subscriber) -> Self {
        Self {
            subscriber,
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
        let data = match ready!(self.subscriber.poll(context, Encoding::Event)) {
            Told::Updates(events) => events,
            Told::SignOfLife => Bytes::from_static(b": keep-alive\n\n"),
            Told::Missed(oldest) => {
                self.is_over = true;
                format!("event: gap\ndata: {oldest}\n\n").into()
            }
            Told::Over => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}
