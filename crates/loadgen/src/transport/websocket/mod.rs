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

/// What a server must not say, for the tests of both readers.
#[cfg(test)]
fn broken() -> Vec<Vec<u8>> {
    let short = [
        &b"\x81\x82\0\0\0\0hi"[..],    // masked by a server
        b"\xc1\x02hi",                 // a reserved bit
        b"\x83\x00",                   // a reserved opcode
        b"\x80\x02hi",                 // goes on with nothing
        b"\x01\x02he\x01\x02he",       // begins anew in the middle
        b"\x01\x02he\x81\x02he",       // the same, with a whole message
        b"\x09\x00",                   // a fragmented ping
        b"\x88\x01\x03",               // half a close code
        b"\x88\x03\x03\xe8\xff",       // a reason that is not UTF-8
        b"\x81\x01\xff",               // text that is not UTF-8
        b"\x01\x01\xff",               // the same, before the text is complete
        b"\x01\x01\xc3\x80\x00",       // half a character at the end
        b"\x82\x7f\x80\0\0\0\0\0\0\0", // 2^63 bytes
        b"\x82\x7f\0\0\0\0\x10\0\0\0", // 256 MiB
    ];
    // A Close, a ping and a pong of 126 bytes.
    let long = [0x88, 0x89, 0x8a].map(|first| [&[first, 0x7e, 0, 126][..], &[b'x'; 126]].concat());
    let endless = [
        &b"\x02\x00"[..],
        &b"\x00\x00".repeat(MAX_FRAGMENTS as usize),
    ]
    .concat();
    let short = short.into_iter().map(<[u8]>::to_vec);
    short.chain(long).chain([endless]).collect()
}
