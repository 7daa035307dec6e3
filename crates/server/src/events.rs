//! Server-sent events: the body of a reply that does not end by itself.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::chat::Listening;
use crate::duplex::Watching;
use crate::subscription::{Subscriber, Told};
use crate::topic::Encoding;

/// The events of one client.
pub(crate) struct Events {
    source: Source,
    is_over: bool,
}

/// What the events are of.
pub(crate) enum Source {
    Updates(Subscriber),
    Room(Listening),
    Game(Watching),
}

/// What a client is told next.
pub(crate) enum Tell {
    /// Events, encoded.
    Events(Bytes),
    /// Nothing is new, but it must hear something.
    SignOfLife,
    /// It came too late for what it should have got next: the oldest that there still is.
    Gap(u64),
    /// There will be nothing more.
    Over,
}

impl Events {
    pub(crate) const fn new(source: Source) -> Self {
        Self {
            source,
            is_over: false,
        }
    }
}

impl Source {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Tell> {
        match self {
            Self::Updates(subscriber) => {
                let told = subscriber.poll(context, Encoding::Event);
                told.map(|told| match told {
                    Told::Updates(events) => Tell::Events(events),
                    Told::SignOfLife => Tell::SignOfLife,
                    Told::Missed(oldest) => Tell::Gap(oldest),
                    Told::Over => Tell::Over,
                })
            }
            Self::Room(listening) => listening.poll(context),
            Self::Game(watching) => watching.poll(context),
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
        let data = match ready!(self.source.poll(context)) {
            Tell::Events(events) => events,
            Tell::SignOfLife => Bytes::from_static(b": keep-alive\n\n"),
            Tell::Gap(oldest) => {
                self.is_over = true;
                format!("event: gap\ndata: {oldest}\n\n").into()
            }
            Tell::Over => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}
