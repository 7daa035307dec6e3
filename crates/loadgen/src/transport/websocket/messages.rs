//! The messages of a server, read with fastwebsockets for the lanes, to the letter of RFC 6455.
//!
//! fastwebsockets reads frames, and is laxer than the standard: it hands out masked frames of a server as they are, long
//! control frames, a message that begins in the middle of another, and fragments of text that are together no UTF-8.

use bytes::BytesMut;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use sockrates_core::failure::FailureKind;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    MAX_CONTROL_BYTES, MAX_FRAGMENTS, MAX_MESSAGE_BYTES, checked_text, close_answer, close_code,
    failure, write_control,
};

/// One WebSocket of which nothing happens by itself.
pub(super) struct Messages<S> {
    pub(super) socket: WebSocket<S>,
    /// The message under way when it comes in fragments.
    fragments: Option<Fragments>,
}

struct Fragments {
    opcode: OpCode,
    payload: BytesMut,
    /// How much of a text is known to be UTF-8.
    checked: usize,
    count: u32,
}

/// What a server says.
pub(super) enum Heard {
    /// A whole message: text or binary.
    Message(OpCode, Payload<'static>),
    /// A ping or a Close, with the answer that it asks for.
    Control(Answer),
}

/// What a control frame is answered with.
pub(super) enum Answer {
    /// To a ping: the same bytes.
    Pong(Payload<'static>),
    /// To a Close: a Close with this code, or with none, and nothing more from then on.
    Close(Option<u16>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Messages<S> {
    /// Takes a stream on which the handshake is over.
    pub(super) fn new(stream: S) -> Self {
        let mut socket = WebSocket::after_handshake(stream, Role::Client);
        socket.set_auto_apply_mask(false);
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        // It refuses what is as long as this, not only what is longer.
        socket.set_max_message_size(MAX_MESSAGE_BYTES + 1);
        Self {
            socket,
            fragments: None,
        }
    }

    /// Waits for what comes next. Once given up, the connection is of no further use: fastwebsockets forgets what it has
    /// read of a frame.
    pub(super) async fn next(&mut self) -> Result<Heard, FailureKind> {
        loop {
            let frame = self.socket.read_frame().await;
            let frame = frame.map_err(|error| failure(&error))?;
            if let Some(heard) = self.take(frame)? {
                return Ok(heard);
            }
        }
    }

    /// Says whether a frame is by itself a message of this kind: the usual case, for whoever reads frames to save the detour.
    #[inline]
    pub(super) fn is_whole(&self, frame: &mut Frame<'static>, kind: OpCode) -> bool {
        frame.fin && frame.opcode == kind && self.fragments.is_none() && !is_masked(frame)
    }

    /// Takes a frame; `None` when more must come.
    pub(super) fn take(&mut self, mut frame: Frame<'static>) -> Result<Option<Heard>, FailureKind> {
        if is_masked(&mut frame) {
            return Err(FailureKind::Protocol);
        }
        match frame.opcode {
            OpCode::Text | OpCode::Binary if frame.fin && self.fragments.is_none() => {
                Ok(Some(Heard::Message(frame.opcode, frame.payload)))
            }
            OpCode::Text | OpCode::Binary | OpCode::Continuation => self.assemble(&frame),
            _ if frame.payload.len() > MAX_CONTROL_BYTES => Err(FailureKind::Protocol),
            OpCode::Pong => Ok(None),
            OpCode::Ping => Ok(Some(Heard::Control(Answer::Pong(frame.payload)))),
            OpCode::Close => {
                let code = close_answer(close_code(&frame.payload)?);
                Ok(Some(Heard::Control(Answer::Close(code))))
            }
        }
    }

    /// Adds a fragment to the message under way, or begins one (section 5.4).
    fn assemble(&mut self, frame: &Frame<'static>) -> Result<Option<Heard>, FailureKind> {
        let mut message = match (self.fragments.take(), frame.opcode) {
            (Some(message), OpCode::Continuation) => message,
            (None, OpCode::Text | OpCode::Binary) => Fragments {
                opcode: frame.opcode,
                payload: BytesMut::new(),
                checked: 0,
                count: 0,
            },
            _ => return Err(FailureKind::Protocol),
        };
        message.count += 1;
        if message.count > MAX_FRAGMENTS
            || frame.payload.len() > MAX_MESSAGE_BYTES - message.payload.len()
        {
            return Err(FailureKind::Protocol);
        }
        message.payload.extend_from_slice(&frame.payload);
        if message.opcode == OpCode::Text {
            message.checked = checked_text(&message.payload, message.checked)?;
        }
        if !frame.fin {
            self.fragments = Some(message);
            return Ok(None);
        }
        if message.opcode == OpCode::Text && message.checked < message.payload.len() {
            return Err(FailureKind::Protocol);
        }
        let payload = Payload::Bytes(message.payload);
        Ok(Some(Heard::Message(message.opcode, payload)))
    }

    /// Answers a control frame. After a Close the connection is over, which is a failure of whoever waits.
    pub(super) async fn answer(&mut self, answer: Answer) -> Result<(), FailureKind> {
        answer.send(&mut self.socket).await
    }
}

impl Answer {
    /// Sends it over a socket that may be another half of the same connection.
    pub(super) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        socket: &mut WebSocket<S>,
    ) -> Result<(), FailureKind> {
        match self {
            Self::Pong(payload) => write_control(socket, OpCode::Pong, &payload).await,
            Self::Close(code) => {
                let code = code.map(u16::to_be_bytes);
                let payload = code.as_ref().map_or(&[][..], |code| code);
                write_control(socket, OpCode::Close, payload).await?;
                Err(FailureKind::PeerClosed)
            }
        }
    }
}

/// A server never masks (section 5.1). fastwebsockets keeps to itself whether it did, except in the head it would write.
#[inline]
fn is_masked(frame: &mut Frame<'_>) -> bool {
    let mut head = [0; 14];
    frame.fmt_head(&mut head);
    head[1] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use sockrates_core::failure::FailureKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::transport::websocket::broken;

    /// Returns what comes of a server's bytes, up to the first failure: messages, and what was answered.
    fn heard(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>, FailureKind) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut server, client) = duplex(1 << 20);
            server.write_all(bytes).await.unwrap();
            server.shutdown().await.unwrap();
            let mut messages = Messages::new(client);
            let mut all = Vec::new();
            let end = loop {
                match messages.next().await {
                    Ok(Heard::Message(_, payload)) => all.push(payload.to_vec()),
                    Ok(Heard::Control(answer)) => {
                        if let Err(kind) = messages.answer(answer).await {
                            break kind;
                        }
                    }
                    Err(kind) => break kind,
                }
            };
            drop(messages);
            let mut answered = Vec::new();
            server.read_to_end(&mut answered).await.unwrap();
            (all, answered, end)
        })
    }

    #[test]
    fn fragments_and_control_frames_in_between_make_one_message() {
        let bytes = b"\x01\x02he\x89\x01p\x00\x01l\x8a\x00\x80\x02lo\x82\x01x\x88\x02\x03\xe8";
        let (messages, answered, end) = heard(bytes);
        assert_eq!(messages, [&b"hello"[..], b"x"]);
        // A pong with the ping's byte and a Close with the same code, masked.
        let key = super::super::CONTROL_KEY;
        let masked = |head: [u8; 2], payload: &[u8]| {
            let hidden = payload.iter().zip(key).map(|(byte, key)| byte ^ key);
            [&head[..], &key, &hidden.collect::<Vec<_>>()].concat()
        };
        let expected = [
            masked([0x8a, 0x81], b"p"),
            masked([0x88, 0x82], b"\x03\xe8"),
        ]
        .concat();
        assert_eq!(answered, expected);
        assert_eq!(end, FailureKind::PeerClosed);
    }

    #[test]
    fn what_breaks_the_rules_is_a_protocol_error() {
        for bytes in broken() {
            let (messages, _, end) = heard(&bytes);
            assert!(messages.is_empty(), "{bytes:x?}");
            assert_eq!(end, FailureKind::Protocol, "{bytes:x?}");
        }
    }

    #[test]
    fn a_close_with_a_code_that_nobody_may_send_is_reproached() {
        for (code, answer) in [
            (1000u16, 1000u16),
            (4999, 4999),
            (1005, 1002),
            (999, 1002),
            (2999, 1002),
        ] {
            let [high, low] = code.to_be_bytes();
            let (_, answered, _) = heard(&[0x88, 2, high, low]);
            let key = super::super::CONTROL_KEY;
            let said = [answered[6] ^ key[0], answered[7] ^ key[1]];
            assert_eq!(u16::from_be_bytes(said), answer, "{code}");
        }
    }
}
