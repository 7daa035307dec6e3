//! WebSocket (RFC 6455) over fastwebsockets, with frames masked beforehand: a ring of payloads
//! under different random keys, so that the server unmasks real masks and the client spends what a
//! client must.

pub mod agent;
pub mod any;
pub(crate) mod frames;
pub mod handshake;
pub mod listen;
mod messages;

use fastwebsockets::{Frame, OpCode, Payload, WebSocket, WebSocketError, unmask};
use sockrates_core::failure::FailureKind;
use sockrates_core::payload::PayloadKind;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite};

use self::handshake::Opening;
use self::messages::{Answer, Heard, Messages};
use super::prefixed::Prefixed;
use super::{Peer, Reply, Request, Transport};

/// One WebSocket connection.
pub struct Ws<S>(Messages<Prefixed<S>>);

/// A masked message.
#[derive(Debug)]
pub struct Masked {
    opcode: OpCode,
    key: [u8; 4],
    payload: Vec<u8>,
}

impl Default for Masked {
    fn default() -> Self {
        Self {
            opcode: OpCode::Binary,
            key: [0; 4],
            payload: Vec::new(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> for Ws<S> {
    const NAME: &'static str = "websocket";

    type Prepared = Masked;

    fn prepare(request: &Request<'_>, _peer: &Peer, prepared: &mut Masked) -> Option<()> {
        let Request::Echo {
            payload,
            kind,
            mask,
        } = request
        else {
            return None;
        };
        prepared.opcode = match kind {
            PayloadKind::Binary => OpCode::Binary,
            PayloadKind::Text => OpCode::Text,
        };
        prepared.key = *mask;
        prepared.payload.clear();
        prepared.payload.extend_from_slice(payload);
        // Masking is its own inverse.
        unmask(&mut prepared.payload, *mask);
        Some(())
    }

    async fn handshake(mut stream: S, peer: &Peer) -> Result<Self, FailureKind> {
        let opening = Opening::plain(&peer.host, target::WS_ECHO);
        let upgraded = handshake::upgrade(&mut stream, &opening).await?;
        Ok(Self(Messages::new(Prefixed::new(upgraded.early, stream))))
    }

    async fn exchange<R: Reply>(
        &mut self,
        request: &Masked,
        reply: &mut R,
    ) -> Result<(), FailureKind> {
        let Masked {
            opcode,
            key,
            payload,
        } = request;
        write(&mut self.0.socket, *opcode, *key, payload).await?;
        loop {
            let frame = self.0.socket.read_frame().await;
            let mut frame = frame.map_err(|error| failure(&error))?;
            if self.0.is_whole(&mut frame, *opcode) {
                reply.feed(&frame.payload);
                return reply.finish();
            }
            match self.0.take(frame)? {
                Some(Heard::Message(kind, payload)) if kind == *opcode => {
                    reply.feed(&payload);
                    return reply.finish();
                }
                // A reply of the other kind is someone else's.
                Some(Heard::Message(..)) => return Err(FailureKind::WrongPayload),
                Some(Heard::Control(answer)) => self.0.answer(answer).await?,
                None => {}
            }
        }
    }

    /// Says goodbye with status 1000 (normal closure), and expects a Close and then the end.
    async fn close(mut self) -> Result<(), FailureKind> {
        write_control(
            &mut self.0.socket,
            OpCode::Close,
            &NORMAL_CLOSURE.to_be_bytes(),
        )
        .await?;
        match self.0.next().await? {
            Heard::Control(Answer::Close(_)) => {}
            _ => return Err(FailureKind::Protocol),
        }
        match self.0.next().await {
            Err(FailureKind::PeerClosed) => Ok(()),
            Err(kind) => Err(kind),
            Ok(_) => Err(FailureKind::Protocol),
        }
    }
}

/// RFC 6455 section 7.4.1.
const NORMAL_CLOSURE: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
/// A control frame carries no more (RFC 6455 section 5.5).
const MAX_CONTROL_BYTES: usize = 125;
/// Larger messages of a server are a flood.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// So are more fragments of one message, empty ones included.
const MAX_FRAGMENTS: u32 = 1 << 17;

/// Returns the code of a Close, where it has one; the reason behind it must be UTF-8 (RFC 6455 section 5.5.1).
fn close_code(payload: &[u8]) -> Result<Option<u16>, FailureKind> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] if std::str::from_utf8(reason).is_ok() => {
            Ok(Some(u16::from_be_bytes([*high, *low])))
        }
        _ => Err(FailureKind::Protocol),
    }
}

/// Returns the code that a Close is answered with: its own, or the reproach that it has one that nobody may send (RFC 6455
/// section 7.4, and 1012 to 1014 of IANA's WebSocket Close Code registry).
const fn close_answer(code: Option<u16>) -> Option<u16> {
    match code {
        None | Some(1000..=1003 | 1007..=1014 | 3000..=4999) => code,
        Some(_) => Some(PROTOCOL_ERROR),
    }
}

/// Control frames carry nothing worth hiding from a proxy; any key but zero will do.
const CONTROL_KEY: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// Writes a frame that is masked already.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocket<S>,
    opcode: OpCode,
    key: [u8; 4],
    masked: &[u8],
) -> Result<(), FailureKind> {
    let frame = Frame::new(true, opcode, Some(key), Payload::Borrowed(masked));
    let written = socket.write_frame(frame).await;
    written.map_err(|error| failure(&error))
}

/// Returns how much of a text that goes on is checked, from `checked` on: all but a character that is not complete yet. Text
/// that no continuation makes valid is refused as it arrives (RFC 6455 section 8.1).
fn checked_text(text: &[u8], checked: usize) -> Result<usize, FailureKind> {
    match std::str::from_utf8(&text[checked..]) {
        Ok(_) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(checked + error.valid_up_to()),
        Err(_) => Err(FailureKind::Protocol),
    }
}

/// Writes a control frame, whose payload is as short as it must be.
async fn write_control<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocket<S>,
    opcode: OpCode,
    payload: &[u8],
) -> Result<(), FailureKind> {
    let mut buffer = [0; MAX_CONTROL_BYTES];
    let masked = &mut buffer[..payload.len()];
    masked.copy_from_slice(payload);
    unmask(masked, CONTROL_KEY);
    write(socket, opcode, CONTROL_KEY, masked).await
}

fn failure(error: &WebSocketError) -> FailureKind {
    match error {
        WebSocketError::UnexpectedEOF | WebSocketError::ConnectionClosed => FailureKind::PeerClosed,
        WebSocketError::IoError(error) => FailureKind::of_io(error),
        _ => FailureKind::Protocol,
    }
}
