//! HTTP/1.1 with a lean client: requests serialised beforehand, replies parsed in place.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use httparse::Status;
use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::response::{Body, Head, parse_head};
use super::tcp::{expect_end, read_some};
use super::{Over, Peer, READ_BUFFER_BYTES, Reply, Request, Transport};

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Http1<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// The part of the buffer that was read and not yet used.
    from: usize,
    to: usize,
    /// The last final head, and its bytes. A server says the same for a second on end (until its
    /// `Date` changes): the same bytes mean the same and need no parsing.
    known: Vec<u8>,
    known_head: Option<Head>,
    /// Whether the server closes after the last reply.
    closes: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> for Http1<S> {
    const NAME: &'static str = "http1";

    /// The request's bytes.
    type Prepared = Vec<u8>;

    fn prepare(request: &Request<'_>, peer: &Peer, prepared: &mut Vec<u8>) -> Option<()> {
        prepared.clear();
        write_request(request, peer, prepared).ok()
    }

    async fn handshake(stream: S, _peer: &Peer) -> Result<Self, FailureKind> {
        Ok(Self {
            stream,
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            from: 0,
            to: 0,
            known: Vec::with_capacity(KNOWN_BYTES),
            known_head: None,
            closes: false,
        })
    }

    async fn exchange<R: Reply>(
        &mut self,
        request: &Vec<u8>,
        reply: &mut R,
    ) -> Result<(), FailureKind> {
        self.stream
            .write_all(request)
            .await
            .map_err(|error| FailureKind::of_io(&error))?;
        self.read_more().await?;
        reply.begins();
        let head = self.final_head().await?;
        self.closes = head.closes;
        reply.status(head.status)?;
        if let Some(sequence) = head.news {
            reply.head(sequence);
        }
        if let Some(sequence) = head.oldest {
            reply.oldest(sequence);
        }
        match head.body {
            // Whatever its head says of a body, it has none (RFC 9110 section 9.3.2).
            _ if request.starts_with(b"HEAD ") => {}
            Body::Length(length) => self.counted(length, reply).await?,
            Body::Chunked => self.chunked(reply).await?,
            Body::UntilClose => self.until_close(reply).await?,
        }
        if self.from < self.to {
            // Bytes that nobody asked for: the next reply could be taken for another one's.
            return Err(FailureKind::Protocol);
        }
        reply.finish()
    }

    fn is_spent(&self) -> bool {
        self.closes
    }

    fn look(&mut self, context: &mut Context<'_>) -> Option<Over> {
        let mut free = ReadBuf::new(&mut self.buffer);
        match Pin::new(&mut self.stream).poll_read(context, &mut free) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) if !free.filled().is_empty() => Some(Over::Spoke),
            Poll::Ready(_) => Some(Over::Closed),
        }
    }

    /// A server that was asked to close and does not say that it will is not waited for.
    async fn close(mut self) -> Result<(), FailureKind> {
        if !self.closes {
            return Ok(());
        }
        expect_end(&mut self.stream, &mut self.buffer).await
    }
}

impl<S: AsyncRead + Unpin> Http1<S> {
    /// Reads heads until one is not interim (1xx).
    async fn final_head(&mut self) -> Result<Head, FailureKind> {
        loop {
            let unused = &self.buffer[self.from..self.to];
            if let Some(head) = self.known_head.filter(|_| unused.starts_with(&self.known)) {
                self.from += head.bytes;
                return Ok(head);
            }
            let Some(head) = parse_head(unused)? else {
                self.read_more().await?;
                continue;
            };
            match head.status {
                // Nobody asked for another protocol.
                101 => return Err(FailureKind::Protocol),
                100..200 => self.from += head.bytes,
                _ => {
                    self.remember(head);
                    self.from += head.bytes;
                    return Ok(head);
                }
            }
        }
    }

    fn remember(&mut self, head: Head) {
        self.known_head = (head.bytes <= KNOWN_BYTES).then_some(head);
        self.known.clear();
        if self.known_head.is_some() {
            self.known
                .extend_from_slice(&self.buffer[self.from..self.from + head.bytes]);
        }
    }

    async fn counted(&mut self, length: u64, reply: &mut impl Reply) -> Result<(), FailureKind> {
        let mut missing = length;
        loop {
            let here = self.take(missing);
            reply.feed(&self.buffer[here.clone()]);
            missing -= here.len() as u64;
            if missing == 0 {
                return Ok(());
            }
            self.read_more().await?;
        }
    }

    async fn chunked(&mut self, reply: &mut impl Reply) -> Result<(), FailureKind> {
        loop {
            let unused = &self.buffer[self.from..self.to];
            match httparse::parse_chunk_size(unused).map_err(|_| FailureKind::Protocol)? {
                Status::Partial => self.read_more().await?,
                Status::Complete((head, 0)) => {
                    self.from += head;
                    return self.skip_trailers().await;
                }
                Status::Complete((head, length)) => {
                    self.from += head;
                    self.counted(length, reply).await?;
                    self.expect_line_end().await?;
                }
            }
        }
    }

    async fn until_close(&mut self, reply: &mut impl Reply) -> Result<(), FailureKind> {
        loop {
            let here = self.take(u64::MAX);
            reply.feed(&self.buffer[here]);
            match self.read_more().await {
                Ok(()) => {}
                Err(FailureKind::PeerClosed) => return Ok(()),
                Err(kind) => return Err(kind),
            }
        }
    }

    /// Passes over the trailers, up to the empty line (RFC 9112 section 7.1.2).
    async fn skip_trailers(&mut self) -> Result<(), FailureKind> {
        loop {
            let unused = &self.buffer[self.from..self.to];
            match unused.windows(2).position(|end| end == b"\r\n") {
                None => self.read_more().await?,
                Some(length) => {
                    self.from += length + 2;
                    if length == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn expect_line_end(&mut self) -> Result<(), FailureKind> {
        while self.to - self.from < 2 {
            self.read_more().await?;
        }
        self.from += 2;
        if &self.buffer[self.from - 2..self.from] == b"\r\n" {
            Ok(())
        } else {
            Err(FailureKind::Protocol)
        }
    }

    /// Takes up to `most` bytes of what was read and returns where they are.
    fn take(&mut self, most: u64) -> std::ops::Range<usize> {
        let here = self.to - self.from;
        let length = usize::try_from(most).map_or(here, |most| most.min(here));
        let start = self.from;
        self.from += length;
        start..self.from
    }

    /// Reads more behind what is unused, which moves to the front when that is needed for room. A
    /// head that does not fit is a flood.
    async fn read_more(&mut self) -> Result<(), FailureKind> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.to == self.buffer.len() {
            return Err(FailureKind::Protocol);
        }
        self.to += read_some(&mut self.stream, &mut self.buffer[self.to..]).await?;
        Ok(())
    }
}

/// Longer heads are parsed each time: remembering one must not allocate.
const KNOWN_BYTES: usize = 1024;

fn write_request(request: &Request<'_>, peer: &Peer, out: &mut Vec<u8>) -> std::io::Result<()> {
    let Peer {
        host, lifecycle, ..
    } = peer;
    let close = match lifecycle {
        Lifecycle::PerRequest => "Connection: close\r\n",
        Lifecycle::Persistent => "",
    };
    match request {
        Request::Echo { payload, .. } => {
            let (path, length) = (target::ECHO, payload.len());
            write!(
                out,
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n"
            )?;
            write!(out, "{close}\r\n")?;
            out.extend_from_slice(payload);
            Ok(())
        }
        Request::Poll { .. } | Request::Snapshot { .. } | Request::Get { .. } => {
            out.extend_from_slice(b"GET ");
            write_target(request, out)?;
            write!(out, " HTTP/1.1\r\nHost: {host}\r\n{close}\r\n")
        }
        Request::Input { input: body, .. } | Request::Post { body, .. } => {
            out.extend_from_slice(b"POST ");
            write_target(request, out)?;
            let length = body.len();
            write!(out, " HTTP/1.1\r\nHost: {host}\r\n")?;
            write!(out, "Content-Length: {length}\r\n{close}\r\n")?;
            out.extend_from_slice(body);
            Ok(())
        }
        Request::Custom { custom, .. } => {
            // The registry was asked whether the workload has a part for HTTP.
            let http = custom
                .http
                .as_ref()
                .ok_or(std::io::ErrorKind::Unsupported)?;
            out.extend(http.request(host, *lifecycle == Lifecycle::PerRequest));
            Ok(())
        }
        Request::Put { target } => {
            write!(out, "PUT {target} HTTP/1.1\r\nHost: {host}\r\n")?;
            write!(out, "Content-Length: 0\r\n{close}\r\n")
        }
    }
}

/// Writes path and query of a request that says everything in them.
pub(super) fn write_target(request: &Request<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
    match request {
        Request::Poll {
            topic,
            since,
            timeout_ms,
        } => {
            let path = match timeout_ms {
                None => target::UPDATES_POLL,
                Some(_) => target::UPDATES_LONG_POLL,
            };
            write!(out, "{path}?topic={topic}")?;
            if let Some(since) = since {
                write!(out, "&since={since}")?;
            }
            if let Some(timeout_ms) = timeout_ms {
                write!(out, "&timeout_ms={timeout_ms}")?;
            }
            Ok(())
        }
        Request::Input { game, player, .. } => {
            let path = target::DUPLEX_INPUT;
            write!(out, "{path}?game={game}&player={player}")
        }
        Request::Snapshot {
            game,
            player,
            since,
        } => {
            let path = target::DUPLEX_SNAPSHOT;
            write!(out, "{path}?game={game}&player={player}&since={since}")
        }
        Request::Get { target } | Request::Post { target, .. } | Request::Put { target } => {
            write!(out, "{target}")
        }
        Request::Custom { custom, .. } => {
            let path = custom.http.as_ref().map(|http| http.path.as_str());
            write!(out, "{}", path.unwrap_or_default())
        }
        Request::Echo { .. } => write!(out, "{}", target::ECHO),
    }
}
