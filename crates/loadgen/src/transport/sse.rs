//! Server-sent events (WHATWG HTML, section 9.2) over HTTP/1.1, as far as sockrates needs them: `id`, `data`, comments.

use std::fmt::Write;

use httparse::Status;
use sockrates_core::failure::FailureKind;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::response::{Body, parse_head};
use super::tcp::read_some;
use super::{Listen, Peer, READ_BUFFER_BYTES};

/// One stream of events, each with an id and one line of data.
#[derive(Debug)]
pub struct Sse<S> {
    stream: S,
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
    chunk: Chunk,
    /// The stream's text from the first event that was not yet returned.
    text: Vec<u8>,
    used: usize,
    /// The event's line, its id first, kept for its buffer.
    line: Vec<u8>,
}

/// What comes next in a chunked body (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Chunk {
    Head,
    Data(u64),
    End,
    /// The server has nothing more to say.
    None,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Listen<S> for Sse<S> {
    async fn follow(
        stream: S,
        peer: &Peer,
        topic: &str,
        since: Option<u64>,
    ) -> Result<(Self, Option<u64>), FailureKind> {
        let target = format!("{}?topic={topic}", target::UPDATES_STREAM);
        Self::open(stream, peer, &target, since).await
    }

    async fn next_update(&mut self) -> Result<&[u8], FailureKind> {
        loop {
            self.decode()?;
            if self.take_event()? {
                return Ok(&self.line);
            }
            if self.chunk == Chunk::None {
                return Err(FailureKind::PeerClosed);
            }
            self.read_more().await?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sse<S> {
    /// Asks for the stream at a path with its query, from the event with this id on or from now on. Returns the latest
    /// sequence, if the server says it.
    pub(crate) async fn open(
        mut stream: S,
        peer: &Peer,
        target: &str,
        since: Option<u64>,
    ) -> Result<(Self, Option<u64>), FailureKind> {
        let host = &peer.host;
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
        if let Some(since) = since {
            // As a browser resumes.
            write!(request, "Last-Event-ID: {since}\r\n").expect("writing to memory cannot fail");
        }
        request.push_str("Accept: text/event-stream\r\n\r\n");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.map_err(|error| FailureKind::of_io(&error))?;
        let mut sse = Self {
            stream,
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            from: 0,
            to: 0,
            chunk: Chunk::Head,
            text: Vec::new(),
            used: 0,
            line: Vec::new(),
        };
        let head = loop {
            sse.read_more().await?;
            if let Some(head) = parse_head(&sse.buffer[..sse.to])? {
                break head;
            }
        };
        if head.status != 200 {
            return Err(FailureKind::BadStatus);
        }
        if head.body != Body::Chunked {
            return Err(FailureKind::Protocol);
        }
        sse.from = head.bytes;
        Ok((sse, head.news))
    }
}

impl<S: AsyncRead + Unpin> Sse<S> {
    /// Decodes the chunks that are there.
    fn decode(&mut self) -> Result<(), FailureKind> {
        while self.from < self.to {
            let unused = &self.buffer[self.from..self.to];
            match self.chunk {
                Chunk::Head => {
                    match httparse::parse_chunk_size(unused).map_err(|_| FailureKind::Protocol)? {
                        Status::Partial => return Ok(()),
                        Status::Complete((_, 0)) => {
                            self.from = self.to;
                            self.chunk = Chunk::None;
                        }
                        Status::Complete((head, length)) => {
                            self.from += head;
                            self.chunk = Chunk::Data(length);
                        }
                    }
                }
                Chunk::Data(left) => {
                    let here =
                        usize::try_from(left).map_or(unused.len(), |left| left.min(unused.len()));
                    self.text.extend_from_slice(&unused[..here]);
                    self.from += here;
                    let left = left - here as u64;
                    self.chunk = if left == 0 {
                        Chunk::End
                    } else {
                        Chunk::Data(left)
                    };
                }
                Chunk::None => self.from = self.to,
                Chunk::End => match unused {
                    [b'\r', b'\n', ..] => {
                        self.from += 2;
                        self.chunk = Chunk::Head;
                    }
                    [b'\r'] => return Ok(()),
                    _ => return Err(FailureKind::Protocol),
                },
            }
        }
        Ok(())
    }

    /// Puts the next event's line together, if it is there. Comments are skipped.
    fn take_event(&mut self) -> Result<bool, FailureKind> {
        loop {
            let rest = &self.text[self.used..];
            let Some(length) = rest.windows(2).position(|pair| pair == b"\n\n") else {
                if self.used > 0 {
                    self.text.drain(..self.used);
                    self.used = 0;
                }
                let is_flood = self.text.len() > MAX_EVENT_BYTES;
                return if is_flood {
                    Err(FailureKind::Protocol)
                } else {
                    Ok(false)
                };
            };
            let block = &rest[..length];
            self.used += length + 2;
            self.line.clear();
            let (mut id, mut data) = (None, None);
            for line in block.split(|byte| *byte == b'\n') {
                if let Some(value) = line.strip_prefix(b"id: ") {
                    id = Some(value);
                } else if let Some(value) = line.strip_prefix(b"data: ") {
                    data = Some(value);
                } else if line.starts_with(b"event: ") {
                    // A gap: the server has dropped what this client has not read.
                    return Err(FailureKind::PeerClosed);
                }
            }
            match (id, data) {
                (Some(id), Some(data)) => {
                    self.line.extend_from_slice(id);
                    self.line.push(b' ');
                    self.line.extend_from_slice(data);
                    return Ok(true);
                }
                (None, None) => {}
                _ => return Err(FailureKind::WrongPayload),
            }
        }
    }

    /// Reads more behind what is unused.
    async fn read_more(&mut self) -> Result<(), FailureKind> {
        if self.from > 0 {
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

/// Twice the largest update.
const MAX_EVENT_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use sockrates_core::lane::Lifecycle;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-sockrates-head: 4\r\n\
        transfer-encoding: chunked\r\n\r\n";

    fn chunks(texts: &[&str]) -> String {
        let chunk = |text: &&str| format!("{:x}\r\n{text}\r\n", text.len());
        texts.iter().map(chunk).collect()
    }

    /// Follows a stream that says this and then ends; the bytes come in pieces of this size.
    fn heard(reply: &str, piece: usize) -> (Option<u64>, Vec<String>, FailureKind) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let (client, mut server) = duplex(1 << 16);
            let peer = Peer {
                host: "here".to_owned(),
                lifecycle: Lifecycle::Persistent,
                door: None,
            };
            let serve = async {
                let mut request = [0; 1024];
                let length = server.read(&mut request).await.unwrap();
                assert!(request[..length].ends_with(b"\r\n\r\n"));
                for part in reply.as_bytes().chunks(piece) {
                    if server.write_all(part).await.is_err() {
                        // The client has heard enough.
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                drop(server);
            };
            let listen = async {
                let (mut sse, head) = Sse::follow(client, &peer, "t", Some(4)).await.unwrap();
                let mut lines = Vec::new();
                loop {
                    match sse.next_update().await {
                        Ok(line) => lines.push(String::from_utf8(line.to_vec()).unwrap()),
                        Err(kind) => return (head, lines, kind),
                    }
                }
            };
            tokio::join!(serve, listen).1
        })
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let body = chunks(&[
            ": hello\n\nid: 5\ndata: 100 abc\n\nid: 6\nda",
            "ta: 200 def\n\n",
        ]);
        let reply = format!("{HEAD}{body}0\r\n\r\n");
        for piece in [1, 2, 3, 7, 1 << 14] {
            let (head, lines, end) = heard(&reply, piece);
            assert_eq!((head, end), (Some(4), FailureKind::PeerClosed));
            assert_eq!(lines, ["5 100 abc", "6 200 def"], "{piece}");
        }
    }

    #[test]
    fn what_is_no_update_is_a_failure() {
        for (body, kind) in [
            (chunks(&["id: 5\n\n"]), FailureKind::WrongPayload),
            (chunks(&["data: 5\n\n"]), FailureKind::WrongPayload),
            (
                chunks(&["event: gap\ndata: 9\n\n"]),
                FailureKind::PeerClosed,
            ),
            ("zz\r\n".to_owned(), FailureKind::Protocol),
            ("1\r\nxy\r\n".to_owned(), FailureKind::Protocol),
            (String::new(), FailureKind::PeerClosed),
        ] {
            let (_, lines, end) = heard(&format!("{HEAD}{body}"), 1 << 14);
            assert_eq!((lines.len(), end), (0, kind), "{body}");
        }
    }
}
