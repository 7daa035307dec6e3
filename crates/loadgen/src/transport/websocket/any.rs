//! WebSocket with servers that are not known: messages are matched with what was asked, and what nobody asked for is
//! never taken for an answer.

use sockrates_core::failure::FailureKind;
use tokio::io::{AsyncRead, AsyncWrite};

use super::frames::{self, Event, Frames};
use super::{CONTROL_KEY, NORMAL_CLOSURE, close_answer, handshake};
use crate::transport::prefixed::Prefixed;
use crate::transport::{Peer, Reply, Request, Transport};

/// What a Close without a code means (RFC 6455 section 7.1.5).
const NO_CODE: u16 = 1005;

/// One WebSocket connection to any server.
#[derive(Debug)]
pub struct AnyWs<S>(Frames<Prefixed<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> for AnyWs<S> {
    const NAME: &'static str = "websocket";

    /// A masked frame.
    type Prepared = Vec<u8>;

    fn prepare(request: &Request<'_>, _peer: &Peer, prepared: &mut Vec<u8>) -> Option<()> {
        let Request::Custom {
            custom,
            message,
            mask,
        } = request
        else {
            return None;
        };
        prepared.clear();
        let kind = custom.websocket.as_ref()?.kind;
        frames::write_message(kind, *mask, message, prepared);
        Some(())
    }

    async fn handshake(mut stream: S, peer: &Peer) -> Result<Self, FailureKind> {
        let upgraded = handshake::upgrade(&mut stream, &peer.opening()).await?;
        Ok(Self(Frames::new(Prefixed::new(upgraded.early, stream))))
    }

    async fn exchange<R: Reply>(
        &mut self,
        request: &Vec<u8>,
        reply: &mut R,
    ) -> Result<(), FailureKind> {
        while let Some(event) = self.0.next_if_there().await? {
            if let Event::Message(kind) = self.attend(event, reply).await? {
                reply.unasked(kind, self.0.message());
            }
        }
        self.0.write(request).await?;
        loop {
            let event = self.0.next().await?;
            reply.begins();
            if let Event::Message(kind) = self.attend(event, reply).await?
                && reply.message(kind, self.0.message())?
            {
                return Ok(());
            }
        }
    }

    async fn leave(&mut self) {
        // The connection is dropped either way.
        let _ = self
            .0
            .write(&frames::close(CONTROL_KEY, Some(NORMAL_CLOSURE)))
            .await;
    }

    /// Says goodbye with status 1000 (normal closure), and expects a Close and then the end. Messages that were under way
    /// are passed over.
    async fn close(mut self) -> Result<(), FailureKind> {
        self.0
            .write(&frames::close(CONTROL_KEY, Some(NORMAL_CLOSURE)))
            .await?;
        while !matches!(self.0.next().await?, Event::Close(_)) {}
        self.0.end().await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AnyWs<S> {
    /// Answers a ping, and notes a Close, which is a failure of whoever waits.
    async fn attend(&mut self, event: Event, reply: &mut impl Reply) -> Result<Event, FailureKind> {
        match &event {
            Event::Ping(payload) => self.0.write(&frames::pong(CONTROL_KEY, payload)).await?,
            Event::Close(code) => {
                reply.closed(code.unwrap_or(NO_CODE));
                // The connection is over, whether the answer arrives or not.
                let _ = self.answer_close(*code).await;
                return Err(FailureKind::PeerClosed);
            }
            Event::Message(_) => {}
        }
        Ok(event)
    }

    async fn answer_close(&mut self, code: Option<u16>) -> Result<(), FailureKind> {
        let answer = frames::close(CONTROL_KEY, close_answer(code));
        self.0.write(&answer).await
    }

    /// Sends what asks for messages, if anything does.
    pub(crate) async fn subscribe(&mut self, request: &[u8]) -> Result<(), FailureKind> {
        self.0.write(request).await
    }

    /// Waits for the next message and returns its length; or the code with which the server closes. May be given up and
    /// asked again.
    pub(crate) async fn receive(&mut self) -> Result<Result<usize, u16>, FailureKind> {
        loop {
            match self.0.next().await? {
                Event::Message(_) => return Ok(Ok(self.0.message().len())),
                Event::Close(code) => {
                    let _ = self.answer_close(code).await;
                    return Ok(Err(code.unwrap_or(NO_CODE)));
                }
                Event::Ping(payload) => self.0.write(&frames::pong(CONTROL_KEY, &payload)).await?,
            }
        }
    }
}
