//! Listening on a WebSocket, and speaking on it at the same time.

use std::cell::RefCell;
use std::rc::Rc;

use fastwebsockets::{Frame, OpCode, Payload, WebSocket, unmask};
use sockrates_core::failure::FailureKind;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{CONTROL_KEY, client, failure, handshake};
use crate::transport::prefixed::Prefixed;
use crate::transport::shared::Shared;
use crate::transport::{Listen, Peer};

/// The listening half of a WebSocket.
pub struct Ear<S> {
    socket: WebSocket<Prefixed<Shared<S>>>,
    /// The message as it came, kept for its buffer.
    message: Vec<u8>,
    /// What is to be answered to pings: the other half may be in the middle of a frame.
    pongs: Pongs,
}

/// The speaking half.
pub struct Mouth<S> {
    socket: WebSocket<Shared<S>>,
    pongs: Pongs,
}

type Pongs = Rc<RefCell<Vec<Vec<u8>>>>;

/// Opens a WebSocket at a path with its query. Returns the latest update's sequence, where the server says it.
pub(crate) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    peer: &Peer,
    target: &str,
) -> Result<(Ear<S>, Mouth<S>, Option<u64>), FailureKind> {
    let upgraded = handshake::upgrade(&mut stream, &peer.host, target).await?;
    let (stream, pongs) = (Shared::new(stream), Pongs::default());
    let ear = Ear {
        socket: client(Prefixed::new(upgraded.early, stream.clone())),
        message: Vec::new(),
        pongs: Rc::clone(&pongs),
    };
    let mouth = Mouth {
        socket: client(stream),
        pongs,
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
                OpCode::Ping => self.pongs.borrow_mut().push(frame.payload.to_vec()),
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
        self.write(OpCode::Text, key, message).await
    }

    /// Answers pings.
    async fn answer(&mut self) -> Result<(), FailureKind> {
        loop {
            let pong = self.pongs.borrow_mut().pop();
            let Some(mut pong) = pong else { return Ok(()) };
            unmask(&mut pong, CONTROL_KEY);
            self.write(OpCode::Pong, CONTROL_KEY, &pong).await?;
        }
    }

    async fn write(
        &mut self,
        opcode: OpCode,
        key: [u8; 4],
        masked: &[u8],
    ) -> Result<(), FailureKind> {
        let frame = Frame::new(true, opcode, Some(key), Payload::Borrowed(masked));
        let written = self.socket.write_frame(frame).await;
        written.map_err(|error| failure(&error))
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
