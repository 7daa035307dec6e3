//! Listening on a WebSocket, and speaking on it at the same time.

use std::cell::RefCell;
use std::rc::Rc;

use fastwebsockets::{OpCode, WebSocket, unmask};
use sockrates_core::failure::FailureKind;
use sockrates_core::target;
use tokio::io::{self, AsyncRead, AsyncWrite, Empty, Join, ReadHalf, Sink, WriteHalf};

use super::handshake::{self, Opening};
use super::{client, failure, pong, write};
use crate::transport::prefixed::Prefixed;
use crate::transport::{Listen, Peer};

/// The listening half of a WebSocket.
pub struct Ear<S> {
    socket: WebSocket<Join<Prefixed<ReadHalf<S>>, Sink>>,
    /// The message as it came, kept for its buffer.
    message: Vec<u8>,
    /// Pings that are to be answered: the other half may be in the middle of a frame.
    pings: Pings,
}

/// The speaking half.
pub struct Mouth<S> {
    socket: WebSocket<Join<Empty, WriteHalf<S>>>,
    pings: Pings,
}

type Pings = Rc<RefCell<Vec<Vec<u8>>>>;

/// Opens a WebSocket at a path with its query. Returns the latest update's sequence, where the server says it.
pub(crate) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    peer: &Peer,
    target: &str,
) -> Result<(Ear<S>, Mouth<S>, Option<u64>), FailureKind> {
    let opening = Opening::plain(&peer.host, target);
    let upgraded = handshake::upgrade(&mut stream, &opening).await?;
    let (reader, writer) = io::split(stream);
    let pings = Pings::default();
    let ear = Ear {
        socket: client(io::join(Prefixed::new(upgraded.early, reader), io::sink())),
        message: Vec::new(),
        pings: Rc::clone(&pings),
    };
    let mouth = Mouth {
        socket: client(io::join(io::empty(), writer)),
        pings,
    };
    Ok((ear, mouth, upgraded.news))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ear<S> {
    /// Waits for the next message. Once given up, the connection is of no further use.
    pub(crate) async fn hear(&mut self) -> Result<&[u8], FailureKind> {
        self.message.clear();
        let mut is_under_way = false;
        loop {
            let frame = self.socket.read_frame().await;
            let frame = frame.map_err(|error| failure(&error))?;
            match frame.opcode {
                OpCode::Ping => self.pings.borrow_mut().push(frame.payload.to_vec()),
                OpCode::Pong => {}
                OpCode::Close => return Err(FailureKind::PeerClosed),
                opcode if (opcode == OpCode::Continuation) != is_under_way => {
                    return Err(FailureKind::Protocol);
                }
                _ => {
                    self.message.extend_from_slice(&frame.payload);
                    is_under_way = !frame.fin;
                    if frame.fin {
                        return Ok(&self.message);
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Mouth<S> {
    /// Sends a message as text, which is masked in place, and answers pings that came before.
    pub(crate) async fn say(
        &mut self,
        message: &mut [u8],
        key: [u8; 4],
    ) -> Result<(), FailureKind> {
        self.answer().await?;
        unmask(message, key);
        write(&mut self.socket, OpCode::Text, key, message).await
    }

    /// Answers pings.
    async fn answer(&mut self) -> Result<(), FailureKind> {
        loop {
            let ping = self.pings.borrow_mut().pop();
            let Some(payload) = ping else { return Ok(()) };
            pong(&mut self.socket, &payload).await?;
        }
    }
}

/// One topic's updates over a WebSocket.
pub struct WsUpdates<S> {
    ear: Ear<S>,
    mouth: Mouth<S>,
    /// The topic and a space, with which each message begins.
    prefix: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Listen<S> for WsUpdates<S> {
    async fn follow(
        stream: S,
        peer: &Peer,
        topic: &str,
        since: Option<u64>,
    ) -> Result<(Self, Option<u64>), FailureKind> {
        let mut path = format!("{}?topic={topic}", target::WS_UPDATES);
        if let Some(since) = since {
            path.push_str(&format!("&since={since}"));
        }
        let (ear, mouth, news) = open(stream, peer, &path).await?;
        let prefix = format!("{topic} ").into_bytes();
        Ok((Self { ear, mouth, prefix }, news))
    }

    async fn next_update(&mut self) -> Result<&[u8], FailureKind> {
        // Pings come in silence only, and are answered with the next update: soon enough.
        self.mouth.answer().await?;
        let message = self.ear.hear().await?;
        message
            .strip_prefix(&*self.prefix)
            .ok_or(FailureKind::WrongPayload)
    }
}
