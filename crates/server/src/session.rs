//! One WebSocket: echoes messages and keeps to the protocol to the letter (RFC 6455).
//!
//! fastwebsockets reads and writes frames; messages, their limits, control frames and closing are handled here, since
//! its own handling of them is laxer than the standard. Two limits of it remain. A length in a longer form than needed
//! is accepted. And text is checked when a message is complete, not as it arrives, which the standard allows.

use std::sync::Arc;

use bytes::BytesMut;
use fastwebsockets::{CloseCode, Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use tokio::io::AsyncWriteExt;

use crate::activity::{Activity, Stage};
use crate::injection::Transport;
use crate::stream::Watched;
use crate::worker::{Worker, count};

/// Serves one WebSocket to its end. Reading a frame must never be cancelled and tried again: fastwebsockets forgets
/// what it has read of it. Whoever wants to stop this, drops it and the connection with it.
pub(crate) async fn serve(worker: &Worker, stream: Watched) {
    let activity = Arc::clone(stream.activity());
    let limit = worker.shared.limits.message_bytes;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_auto_close(false);
    socket.set_auto_pong(false);
    // It refuses what is as long as this, not only what is longer.
    socket.set_max_message_size(limit + 1);
    let mut session = Session {
        worker,
        socket,
        activity,
        limit,
        message: None,
    };
    let end = loop {
        if let Err(end) = session.serve_frame().await {
            break end;
        }
    };
    // The client is gone, or gets what is left; either way this was all.
    let _ = session.close(end).await;
}

struct Session<'a> {
    worker: &'a Worker,
    socket: WebSocket<Watched>,
    activity: Arc<Activity>,
    limit: usize,
    /// The message under way when it comes in fragments. Any number of fragments may make it up: they are put together
    /// at once, so that an empty one costs nothing.
    message: Option<Fragments>,
}

struct Fragments {
    opcode: OpCode,
    payload: BytesMut,
}

/// Why a session ends.
enum End {
    /// The client closes, with this payload.
    Closed(Payload<'static>),
    /// The client broke a rule.
    Violation(CloseCode),
    /// The connection is gone.
    Gone,
}

impl Session<'_> {
    /// Reads one frame and does what it asks for.
    async fn serve_frame(&mut self) -> Result<(), End> {
        let mut frame = self
            .socket
            .read_frame()
            .await
            .map_err(|error| end_for(&error))?;
        if !is_masked(&mut frame) {
            return Err(End::Violation(CloseCode::Protocol));
        }
        match frame.opcode {
            OpCode::Text | OpCode::Binary if frame.fin && self.message.is_none() => {
                self.echo(frame.opcode, frame.payload).await
            }
            OpCode::Text | OpCode::Binary | OpCode::Continuation => self.assemble(frame).await,
            OpCode::Close => Err(closing(frame.payload)),
            OpCode::Ping => self.write(OpCode::Pong, frame.payload).await,
            OpCode::Pong if frame.payload.len() > CONTROL_BYTES => {
                Err(End::Violation(CloseCode::Protocol))
            }
            OpCode::Pong => {
                self.rest();
                Ok(())
            }
        }
    }

    /// Adds a fragment to the message under way, or begins one.
    async fn assemble(&mut self, frame: Frame<'static>) -> Result<(), End> {
        let mut message = match (self.message.take(), frame.opcode) {
            (Some(message), OpCode::Continuation) => message,
            (None, OpCode::Text | OpCode::Binary) => Fragments {
                opcode: frame.opcode,
                payload: BytesMut::new(),
            },
            _ => return Err(End::Violation(CloseCode::Protocol)),
        };
        if frame.payload.len() > self.limit - message.payload.len() {
            return Err(End::Violation(CloseCode::Size));
        }
        message.payload.extend_from_slice(&frame.payload);
        if !frame.fin {
            self.message = Some(message);
            return Ok(());
        }
        let whole = Frame::new(true, message.opcode, None, Payload::Bytes(message.payload));
        if whole.opcode == OpCode::Text && !whole.is_utf8() {
            return Err(End::Violation(CloseCode::Invalid));
        }
        self.echo(whole.opcode, whole.payload).await
    }

    async fn echo(&mut self, opcode: OpCode, payload: Payload<'static>) -> Result<(), End> {
        if let Some(faults) = &self.worker.faults {
            faults.before_reply(Transport::WebSocket).await;
        }
        self.write(opcode, payload).await?;
        count(&self.worker.counts.operations);
        Ok(())
    }

    /// Writes a frame of its own: the one that was read still says that it is masked, and would be sent so.
    async fn write(&mut self, opcode: OpCode, payload: Payload<'static>) -> Result<(), End> {
        let frame = Frame::new(true, opcode, None, payload);
        self.socket
            .write_frame(frame)
            .await
            .map_err(|_| End::Gone)?;
        self.rest();
        Ok(())
    }

    /// Ends the exchange, unless a message is still under way: control frames must not stretch its time.
    fn rest(&self) {
        if self.message.is_none() {
            self.activity.enter(Stage::Idle);
        }
    }

    /// Says goodbye, and closes the TCP connection first, as the standard wants of servers.
    async fn close(mut self, end: End) -> Result<(), WebSocketError> {
        let farewell = match end {
            End::Closed(payload) => Frame::close_raw(payload),
            End::Violation(code) => {
                if code == CloseCode::Size {
                    count(&self.worker.counts.cut);
                }
                // The client may be in the middle of what was wrong.
                self.activity.set_lingers(true);
                Frame::close(code.into(), b"")
            }
            End::Gone => return Ok(()),
        };
        self.socket.write_frame(farewell).await?;
        self.socket.into_inner().shutdown().await?;
        Ok(())
    }
}

/// Clients must mask (section 5.1). fastwebsockets keeps to itself whether they did, except in the head it would write.
#[inline]
fn is_masked(frame: &mut Frame<'_>) -> bool {
    let mut head = [0; 14];
    frame.fmt_head(&mut head);
    head[1] & 0x80 != 0
}

/// Judges a Close frame's payload: nothing, or a code that may be sent, and a reason in UTF-8 (section 5.5.1).
fn closing(payload: Payload<'static>) -> End {
    match &*payload {
        [] => End::Closed(payload),
        [high, low, reason @ ..] if reason.len() + 2 <= CONTROL_BYTES => {
            if !CloseCode::from(u16::from_be_bytes([*high, *low])).is_allowed() {
                End::Violation(CloseCode::Protocol)
            } else if std::str::from_utf8(reason).is_err() {
                End::Violation(CloseCode::Invalid)
            } else {
                End::Closed(payload)
            }
        }
        _ => End::Violation(CloseCode::Protocol),
    }
}

fn end_for(error: &WebSocketError) -> End {
    match error {
        WebSocketError::IoError(_) | WebSocketError::UnexpectedEOF => End::Gone,
        WebSocketError::FrameTooLarge => End::Violation(CloseCode::Size),
        WebSocketError::InvalidUTF8 => End::Violation(CloseCode::Invalid),
        _ => End::Violation(CloseCode::Protocol),
    }
}

/// The largest payload of a control frame (section 5.5).
const CONTROL_BYTES: usize = 125;
