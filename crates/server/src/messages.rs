//! Reads the messages of one WebSocket, and keeps to the protocol to the letter (RFC 6455).
//!
//! fastwebsockets reads frames; messages, their limits and the rules for control frames are handled here, since its own
//! handling of them is laxer than the standard. Two limits of it remain. A length in a longer form than needed is
//! accepted. And text in one frame is checked when the frame is complete, not as it arrives, which the standard allows.

use bytes::BytesMut;
use fastwebsockets::{CloseCode, Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use tokio::io::{AsyncRead, AsyncWrite};

/// The messages that a client sends.
pub(crate) struct Messages<S> {
    pub(crate) socket: WebSocket<S>,
    limit: usize,
    /// The message under way when it comes in fragments. Any number of fragments may make it up: they are put together
    /// at once, so that an empty one costs nothing.
    message: Option<Fragments>,
}

struct Fragments {
    opcode: OpCode,
    payload: BytesMut,
    /// How much of a text is known to be UTF-8.
    checked: usize,
}

impl Fragments {
    /// Checks what has come of a text: only a character at its end may be incomplete. Text that no continuation makes valid
    /// is refused as it arrives (section 8.1).
    fn check(&mut self) -> Result<(), End> {
        match std::str::from_utf8(&self.payload[self.checked..]) {
            Ok(_) => self.checked = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(End::Violation(CloseCode::Invalid)),
        }
        Ok(())
    }
}

/// What a client sent.
pub(crate) enum Received {
    /// A whole message: text or binary.
    Message(OpCode, Payload<'static>),
    /// A ping, to be answered with the same payload.
    Ping(Payload<'static>),
    /// Nothing that asks for anything: an answer to a ping, or a part of a message.
    Nothing,
}

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client closes, with this payload.
    Closed(Payload<'static>),
    /// The client broke a rule.
    Violation(CloseCode),
    /// The server has nothing more to say, for this reason.
    Farewell(u16, String),
    /// The connection is gone.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Messages<S> {
    /// Reads messages of so many bytes at most.
    pub(crate) fn new(stream: S, limit: usize) -> Self {
        let mut socket = WebSocket::after_handshake(stream, Role::Server);
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        // It refuses what is as long as this, not only what is longer.
        socket.set_max_message_size(limit + 1);
        Self {
            socket,
            limit,
            message: None,
        }
    }

    /// Reads one frame. This must never be cancelled and tried again: fastwebsockets forgets what it has read of a
    /// frame. Whoever wants to stop this, drops it and the connection with it.
    pub(crate) async fn next(&mut self) -> Result<Received, End> {
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
                Ok(Received::Message(frame.opcode, frame.payload))
            }
            OpCode::Text | OpCode::Binary | OpCode::Continuation => self.assemble(&frame),
            OpCode::Close => Err(closing(frame.payload)),
            OpCode::Ping => Ok(Received::Ping(frame.payload)),
            OpCode::Pong if frame.payload.len() > CONTROL_BYTES => {
                Err(End::Violation(CloseCode::Protocol))
            }
            OpCode::Pong => Ok(Received::Nothing),
        }
    }

    /// Says whether no message is under way.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.message.is_none()
    }

    /// Adds a fragment to the message under way, or begins one.
    fn assemble(&mut self, frame: &Frame<'static>) -> Result<Received, End> {
        let mut message = match (self.message.take(), frame.opcode) {
            (Some(message), OpCode::Continuation) => message,
            (None, OpCode::Text | OpCode::Binary) => Fragments {
                opcode: frame.opcode,
                payload: BytesMut::new(),
                checked: 0,
            },
            _ => return Err(End::Violation(CloseCode::Protocol)),
        };
        if frame.payload.len() > self.limit - message.payload.len() {
            return Err(End::Violation(CloseCode::Size));
        }
        message.payload.extend_from_slice(&frame.payload);
        if message.opcode == OpCode::Text {
            message.check()?;
        }
        if !frame.fin {
            self.message = Some(message);
            return Ok(Received::Nothing);
        }
        if message.opcode == OpCode::Text && message.checked < message.payload.len() {
            return Err(End::Violation(CloseCode::Invalid));
        }
        Ok(Received::Message(
            message.opcode,
            Payload::Bytes(message.payload),
        ))
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
pub(crate) const CONTROL_BYTES: usize = 125;
/// The close code of what begins anew (IANA WebSocket Close Code registry: Service Restart).
pub(crate) const RESTART: u16 = 1012;
/// The close code for who reads too slowly, so that what it needs is gone: 410 in the range of private codes.
pub(crate) const TOO_SLOW: u16 = 4410;
