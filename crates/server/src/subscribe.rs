//! Updates over WebSocket, each in a message of its own.

use std::task::{Context, Poll};

use bytes::Bytes;
use fastwebsockets::OpCode;

use crate::messages::{End, RESTART, TOO_SLOW};
use crate::push::{self, Outlet};
use crate::stream::Watched;
use crate::subscription::{Subscriber, Told};
use crate::topic::Encoding;
use crate::worker::Worker;

/// Serves one WebSocket to its end.
pub(crate) async fn serve(worker: &Worker, stream: Watched, subscriber: Subscriber) {
    stream.activity().listen(subscriber.open());
    push::serve(worker, stream, subscriber).await;
}

impl Outlet for Subscriber {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        self.poll(context, Encoding::Frame).map(|told| match told {
            Told::Updates(frames) => Ok(frames),
            Told::SignOfLife => Ok(push::frame(OpCode::Ping, &[])),
            Told::Missed(oldest) => Err(End::Farewell(TOO_SLOW, format!("oldest {oldest}"))),
            Told::Over => Err(End::Farewell(RESTART, "topic replaced".to_owned())),
        })
    }

    /// Subscribers have nothing to say.
    fn message(&mut self, _: OpCode, _: &[u8]) -> Result<(), End> {
        Ok(())
    }
}
