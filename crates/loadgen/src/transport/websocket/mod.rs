//! WebSocket (RFC 6455) over fastwebsockets, with frames masked beforehand: a ring of payloads
//! under different random keys, so that the server unmasks real masks and the client spends what a
//! client must.

pub mod any;
pub(crate) mod frames;
pub mod handshake;
pub mod listen;

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError, unmask};
use sockrates_core::failure::FailureKind;
use sockrates_core::payload::PayloadKind;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite};

use self::handshake::Opening;
use super::prefixed::Prefixed;
use super::{Peer, Reply, Request, Transport};

/// One WebSocket connection.
pub struct Ws<S>(WebSocket<Prefixed<S>>);

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
        Ok(Self(client(Prefixed::new(upgraded.early, stream))))
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
        write(&mut self.0, *opcode, *key, payload).await?;
        let mut expected = *opcode;
        loop {
            let frame = self.0.read_frame().await.map_err(|error| failure(&error))?;
            match frame.opcode {
                OpCode::Ping => pong(&mut self.0, &frame.payload).await?,
                OpCode::Pong => {}
                OpCode::Close => return Err(FailureKind::PeerClosed),
                opcode if opcode == expected => {
                    reply.feed(&frame.payload);
                    if frame.fin {
                        return reply.finish();
                    }
                    expected = OpCode::Continuation;
                }
                // A reply of the other kind is someone else's; a continuation out of place breaks the rules.
                OpCode::Continuation => return Err(FailureKind::Protocol),
                OpCode::Text | OpCode::Binary => return Err(FailureKind::WrongPayload),
            }
        }
    }

    /// Says goodbye with status 1000 (normal closure), and expects a Close and then the end.
    async fn close(mut self) -> Result<(), FailureKind> {
        const NORMAL: [u8; 2] = 1000u16.to_be_bytes();
        let mut status = NORMAL;
        unmask(&mut status, CONTROL_KEY);
        write(&mut self.0, OpCode::Close, CONTROL_KEY, &status).await?;
        let mut is_closed = false;
        loop {
            match self.0.read_frame().await {
                Ok(frame) if frame.opcode == OpCode::Close => is_closed = true,
                Err(WebSocketError::UnexpectedEOF) if is_closed => return Ok(()),
                Ok(_) => return Err(FailureKind::Protocol),
                Err(error) => return Err(failure(&error)),
            }
        }
    }
}

/// Makes a WebSocket of which nothing happens by itself.
fn client<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocket<S> {
    let mut websocket = WebSocket::after_handshake(stream, Role::Client);
    websocket.set_auto_apply_mask(false);
    websocket.set_auto_close(false);
    websocket.set_auto_pong(false);
    websocket
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

/// Answers a ping.
async fn pong<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocket<S>,
    payload: &[u8],
) -> Result<(), FailureKind> {
    let mut masked = payload.to_vec();
    unmask(&mut masked, CONTROL_KEY);
    write(socket, OpCode::Pong, CONTROL_KEY, &masked).await
}

fn failure(error: &WebSocketError) -> FailureKind {
    match error {
        WebSocketError::UnexpectedEOF | WebSocketError::ConnectionClosed => FailureKind::PeerClosed,
        WebSocketError::IoError(error) => FailureKind::of_io(error),
        _ => FailureKind::Protocol,
    }
}
