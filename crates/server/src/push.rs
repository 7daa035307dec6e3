//! A WebSocket over which the server speaks first: reading and writing at once, on one task.
//!
//! Frames come ready-made from an [`Outlet`], so that one that goes to many is encoded once. They are written as they
//! are; fastwebsockets only reads.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use fastwebsockets::{CloseCode, OpCode};
use tokio::io::{self, AsyncWriteExt};

use crate::activity::Stage;
use crate::messages::{End, Messages, Received};
use crate::stream::Watched;
use crate::worker::{Worker, count};

/// What one client is sent, and what becomes of what it sends.
pub(crate) trait Outlet {
    /// Returns the next frame for this client, whole, or the reason why there will be none. Pending registers the waker.
    /// A frame once returned counts as delivered.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>>;

    /// Takes a message of this client.
    fn message(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), End>;
}

/// Serves one WebSocket to its end.
pub(crate) async fn serve(worker: &Worker, stream: Watched, outlet: impl Outlet) {
    let activity = Arc::clone(stream.activity());
    let (reader, mut writer) = io::split(stream);
    let limit = worker.shared.limits.message_bytes;
    let mut messages = Messages::new(io::join(reader, io::sink()), limit);
    let outlet = RefCell::new(outlet);
    let pong = Cell::new(None);
    let is_writing = Cell::new(false);
    let inbound = async {
        for received in 1_u64.. {
            match messages.next().await? {
                Received::Message(opcode, payload) => {
                    outlet.borrow_mut().message(opcode, &payload)?;
                }
                // The other half of this task writes it. Only the latest ping needs an answer (RFC 6455
                // section 5.5.3), so that a client that pings and does not read fills no queue.
                Received::Ping(payload) => pong.set(Some(frame(OpCode::Pong, &[&payload]))),
                Received::Nothing => {}
            }
            if messages.is_between_messages() {
                activity.enter(Stage::Idle);
            }
            // Many messages may have come at once; what they bring is written as they are read.
            if received % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    };
    let outbound = async {
        loop {
            let next = poll_fn(|context| match pong.take() {
                Some(pong) => Poll::Ready(Ok(pong)),
                None => outlet.borrow_mut().poll_frame(context),
            });
            let frame = next.await?;
            is_writing.set(true);
            writer.write_all(&frame).await.map_err(|_| End::Gone)?;
            is_writing.set(false);
        }
    };
    // Reading first: what it brings may be what is to be written.
    let end: Result<(), End> = tokio::select! {
        biased;
        end = inbound => end,
        end = outbound => end,
    };
    // A client on its way out, however slowly it goes, takes nobody's place.
    drop(outlet);
    let farewell = match end.expect_err("neither half ends without a reason") {
        // Behind half a frame nothing could be understood.
        _ if is_writing.get() => return,
        End::Gone => return,
        End::Closed(payload) => frame(OpCode::Close, &[&payload]),
        End::Farewell(code, reason) => {
            frame(OpCode::Close, &[&code.to_be_bytes(), reason.as_bytes()])
        }
        End::Violation(code) => {
            if code == CloseCode::Size {
                count(&worker.counts.cut);
            }
            // The client may be in the middle of what was wrong.
            activity.set_lingers(true);
            frame(OpCode::Close, &[&u16::from(code).to_be_bytes()])
        }
    };
    // The client is gone, or gets what is left; either way this was all.
    if writer.write_all(&farewell).await.is_ok() {
        let _ = writer.shutdown().await;
    }
}

/// Encodes a server's frame (RFC 6455 section 5.2): whole, unmasked, its length in the shortest form.
pub(crate) fn frame(opcode: OpCode, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(length + 10);
    frame.put_u8(0x80 | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => frame.put_u8(short),
        (_, Ok(medium)) => {
            frame.put_u8(126);
            frame.put_u16(medium);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame.freeze()
}

/// How many frames are read before all others have a turn: few against what a log keeps.
const TURN: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_in_the_shortest_form() {
        let head = |length: usize| frame(OpCode::Text, &[&vec![b'x'; length]]);
        assert_eq!(head(0)[..], [0x81, 0]);
        assert_eq!(head(125)[..2], [0x81, 125]);
        assert_eq!(head(126)[..4], [0x81, 126, 0, 126]);
        assert_eq!(head(0xffff)[..4], [0x81, 126, 0xff, 0xff]);
        assert_eq!(head(0x1_0000)[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(frame(OpCode::Pong, &[b"a", b"bc"])[..], *b"\x8a\x03abc");
    }
}
