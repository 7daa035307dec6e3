//! How clients over HTTP ask beside the driver loop: exchanges over a connection that is kept or a
//! new one for each, and what is made of the replies.

use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use tokio::net::TcpStream;

use crate::environment::{Environment, Real};
use crate::transport::http1::Http1;
use crate::transport::sse::Sse;
use crate::transport::{Peer, Reply, Request, Transport};

/// A client's connection for requests: one that is kept, or a new one for each.
pub(crate) struct Line {
    environment: Real,
    peer: Peer,
    slot: u32,
    connection: Option<Http1<TcpStream>>,
    /// Connections opened and not yet counted.
    opened: u64,
}

impl Line {
    /// Makes it for one of a trial's clients; nothing is opened yet.
    pub(crate) const fn new(environment: Real, peer: Peer, slot: u32) -> Self {
        Self {
            environment,
            peer,
            slot,
            connection: None,
            opened: 0,
        }
    }

    /// Opens the connection ahead of the load, where it is one that is kept.
    pub(crate) async fn open_ahead(&mut self) -> Result<(), FailureKind> {
        if self.peer.lifecycle == Lifecycle::Persistent {
            self.connection = Some(self.open().await?);
        }
        Ok(())
    }

    /// Opens a stream of events on a connection of its own.
    pub(crate) async fn follow(&self, target: &str) -> Result<Sse<TcpStream>, FailureKind> {
        let stream = self.environment.dial(self.slot).await?;
        let (stream, _) = Sse::open(stream, &self.peer, target, None).await?;
        Ok(stream)
    }

    async fn open(&mut self) -> Result<Http1<TcpStream>, FailureKind> {
        let stream = self.environment.dial(self.slot).await?;
        self.opened += 1;
        Http1::handshake(stream, &self.peer).await
    }

    /// Exchanges once, and returns when the reply had come. After a failure the connection is gone.
    pub(crate) async fn exchange(
        &mut self,
        request: &Vec<u8>,
        reply: &mut Answer,
    ) -> Result<u64, FailureKind> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        connection.exchange(request, reply).await?;
        let answered_ns = self.environment.now_ns();
        if self.peer.lifecycle == Lifecycle::PerRequest {
            connection.close().await?;
        } else if !connection.is_spent() {
            self.connection = Some(connection);
        }
        Ok(answered_ns)
    }

    /// Asks where things stand now.
    pub(crate) async fn begin(&mut self, target: &str) -> Result<u64, FailureKind> {
        let mut request = Vec::new();
        self.prepare(&Request::Get { target }, &mut request);
        let mut answer = Answer::new(true);
        self.exchange(&request, &mut answer).await?;
        // Without it, what comes after is not known.
        answer.head.ok_or(FailureKind::Protocol)
    }

    /// Writes a request's bytes.
    pub(crate) fn prepare(&self, request: &Request<'_>, prepared: &mut Vec<u8>) {
        Http1::<TcpStream>::prepare(request, &self.peer, prepared)
            .expect("HTTP carries every request");
    }

    /// Returns how many connections were opened since it was asked last.
    pub(crate) const fn take_opened(&mut self) -> u64 {
        std::mem::replace(&mut self.opened, 0)
    }
}

/// Takes a reply: lines, where there may be some, or nothing.
#[derive(Default)]
pub(crate) struct Answer {
    may_bring: bool,
    is_empty: bool,
    /// The number of the latest message, where the reply says it.
    pub(crate) head: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Makes one that may bring something, or may not.
    pub(crate) fn new(may_bring: bool) -> Self {
        Self {
            may_bring,
            ..Self::default()
        }
    }

    /// Forgets what it was told, for the next reply.
    pub(crate) fn clear(&mut self) {
        self.head = None;
        self.body.clear();
    }
}

impl Reply for Answer {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.is_empty = status == 204;
        match (status, self.may_bring) {
            (204, _) | (200, true) => Ok(()),
            _ => Err(FailureKind::BadStatus),
        }
    }

    fn head(&mut self, sequence: u64) {
        self.head = Some(sequence);
    }

    fn feed(&mut self, chunk: &[u8]) {
        self.body.extend_from_slice(chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        let is_whole = self.body.is_empty() || self.body.ends_with(b"\n");
        if is_whole && self.is_empty == self.body.is_empty() {
            Ok(())
        } else {
            Err(FailureKind::WrongPayload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(may_bring: bool, status: u16, body: &[u8]) -> Result<(), FailureKind> {
        let mut answer = Answer::new(may_bring);
        answer.status(status)?;
        answer.feed(body);
        answer.finish()
    }

    #[test]
    fn an_answer_brings_whole_lines_or_nothing_as_its_status_says() {
        assert_eq!(judged(true, 200, b"1 a\n2 b\n"), Ok(()));
        assert_eq!(judged(true, 204, b""), Ok(()));
        assert_eq!(judged(false, 204, b""), Ok(()));
        for (may_bring, status, body) in [
            (true, 200, &b"1 a"[..]),
            (true, 200, b""),
            (true, 204, b"1 a\n"),
            (false, 204, b"x\n"),
        ] {
            let wrong = Err(FailureKind::WrongPayload);
            assert_eq!(judged(may_bring, status, body), wrong, "{status} {body:?}");
        }
        for (may_bring, status) in [(false, 200), (true, 201), (true, 404), (false, 500)] {
            let bad = Err(FailureKind::BadStatus);
            assert_eq!(judged(may_bring, status, b""), bad, "{status}");
        }
    }
}
