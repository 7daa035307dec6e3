//! Listening on a WebSocket, and speaking on it at the same time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fastwebsockets::{OpCode, WebSocket, unmask};
use sockrates_core::failure::FailureKind;
use sockrates_core::target;
use tokio::io::{self, AsyncRead, AsyncWrite, Empty, Join, ReadHalf, Sink, WriteHalf};

use super::handshake::{self, Opening};
use super::messages::{Answer, Heard, Messages};
use super::write;
use crate::transport::prefixed::Prefixed;
use crate::transport::{Listen, Peer};

/// The listening half of a WebSocket.
pub struct Ear<S> {
    messages: Messages<Join<Prefixed<ReadHalf<S>>, Sink>>,
    /// The message as it came, kept for its buffer.
    message: Vec<u8>,
    is_closed: bool,
    /// What is to be answered: the other half may be in the middle of a frame.
    answers: Answers,
}

/// The speaking half.
pub struct Mouth<S> {
    socket: WebSocket<Join<Empty, WriteHalf<S>>>,
    answers: Answers,
}

type Answers = Rc<RefCell<VecDeque<Answer>>>;

/// Opens a WebSocket at a path with its query. Returns the latest update's sequence, where the server says it.
pub(crate) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    peer: &Peer,
    target: &str,
) -> Result<(Ear<S>, Mouth<S>, Option<u64>), FailureKind> {
    let opening = Opening::plain(&peer.host, target);
    let upgraded = handshake::upgrade(&mut stream, &opening).await?;
    let (reader, writer) = io::split(stream);
    let answers = Answers::default();
    let ear = Ear {
        messages: Messages::new(io::join(Prefixed::new(upgraded.early, reader), io::sink())),
        message: Vec::new(),
        is_closed: false,
        answers: Rc::clone(&answers),
    };
    let mouth = Mouth {
        socket: Messages::new(io::join(io::empty(), writer)).socket,
        answers,
    };
    Ok((ear, mouth, upgraded.news))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ear<S> {
    /// Waits for the next message. Once given up, the connection is of no further use.
    pub(crate) async fn hear(&mut self) -> Result<&[u8], FailureKind> {
        while self.attend().await?.is_none() {
            if self.is_closed {
                return Err(FailureKind::PeerClosed);
            }
        }
        Ok(&self.message)
    }

    /// Waits for the next message and returns its kind; or `None` when the other half has something to answer.
    pub(super) async fn attend(&mut self) -> Result<Option<OpCode>, FailureKind> {
        match self.messages.next().await? {
            Heard::Message(kind, payload) => {
                self.message.clear();
                self.message.extend_from_slice(&payload);
                Ok(Some(kind))
            }
            Heard::Control(answer) => {
                self.is_closed = matches!(answer, Answer::Close(_));
                self.answers.borrow_mut().push_back(answer);
                Ok(None)
            }
        }
    }

    /// Returns the last message.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Waits until the server has closed the connection, after both have said Close.
    pub(super) async fn until_the_end(&mut self) {
        while self.messages.next().await.is_ok() {}
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Mouth<S> {
    /// Sends a message as text, which is masked in place, and answers what came before.
    pub(crate) async fn say(
        &mut self,
        message: &mut [u8],
        key: [u8; 4],
    ) -> Result<(), FailureKind> {
        self.send(OpCode::Text, message, key).await
    }

    /// Sends a message of either kind, likewise.
    pub(super) async fn send(
        &mut self,
        kind: OpCode,
        message: &mut [u8],
        key: [u8; 4],
    ) -> Result<(), FailureKind> {
        self.answer().await?;
        unmask(message, key);
        write(&mut self.socket, kind, key, message).await
    }

    /// Answers what asks for it. A Close is a failure, once it is answered.
    pub(super) async fn answer(&mut self) -> Result<(), FailureKind> {
        loop {
            let answer = self.answers.borrow_mut().pop_front();
            let Some(answer) = answer else { return Ok(()) };
            answer.send(&mut self.socket).await?;
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
        while self.ear.attend().await?.is_none() {
            self.mouth.answer().await?;
        }
        let message = self.ear.message.strip_prefix(&*self.prefix);
        message.ok_or(FailureKind::WrongPayload)
    }
}
