//! Frames and messages as they arrive from any server (RFC 6455 section 5), with every rule that keeps a wrong message from
//! being taken for a right one.
//!
//! What was read stays here when a wait is given up, so that a connection can be asked whether anything has come, without
//! losing half a frame: fastwebsockets cannot be asked that. Lanes that are compared use fastwebsockets.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fastwebsockets::unmask;
use sockrates_core::failure::FailureKind;
use sockrates_core::payload::PayloadKind;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{MAX_CONTROL_BYTES, MAX_FRAGMENTS, MAX_MESSAGE_BYTES, checked_text, close_code};
use crate::transport::READ_BUFFER_BYTES;

/// What came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// A whole message: [`Frames::message`] holds it until the next one begins.
    Message(PayloadKind),
    /// A ping, to be answered with the same bytes.
    Ping(Vec<u8>),
    /// The end, with its code.
    Close(Option<u16>),
}

/// One end of a WebSocket that was opened.
#[derive(Debug)]
pub(crate) struct Frames<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// The part of the buffer that was read and not yet used.
    from: usize,
    to: usize,
    message: Vec<u8>,
    /// The kind of the message under way.
    kind: Option<PayloadKind>,
    /// How much of it is known to be UTF-8, if it is text.
    checked: usize,
    fragments: u32,
    /// The data frame under way: what is missing of it, and whether it is its message's last.
    open: Option<(u64, bool)>,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Head {
    fin: bool,
    opcode: u8,
    payload: u64,
    /// The head's own length.
    bytes: usize,
}

/// The top bits of a head's first two bytes.
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Instead of a length: it follows in two or in eight bytes.
const SHORT_LENGTH: u8 = 0x7e;
const LONG_LENGTH: u8 = 0x7f;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Takes a stream on which the handshake is over.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            from: 0,
            to: 0,
            message: Vec::new(),
            kind: None,
            checked: 0,
            fragments: 0,
            open: None,
        }
    }

    /// Waits for what comes next. May be given up and asked again.
    pub(crate) async fn next(&mut self) -> Result<Event, FailureKind> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Returns what has come already, if anything has.
    pub(crate) async fn next_if_there(&mut self) -> Result<Option<Event>, FailureKind> {
        poll_fn(|context| {
            Poll::Ready(match self.poll_next(context) {
                Poll::Ready(event) => event.map(Some),
                Poll::Pending => Ok(None),
            })
        })
        .await
    }

    /// Returns the last whole message.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Writes frames.
    pub(crate) async fn write(&mut self, frames: &[u8]) -> Result<(), FailureKind> {
        let written = self.stream.write_all(frames).await;
        written.map_err(|error| FailureKind::of_io(&error))
    }

    /// Waits for the end of the stream; whatever comes before it is passed over.
    pub(crate) async fn end(&mut self) -> Result<(), FailureKind> {
        loop {
            match self.read_more().await {
                Ok(()) => (self.from, self.to) = (0, 0),
                Err(FailureKind::PeerClosed) => return Ok(()),
                Err(kind) => return Err(kind),
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), FailureKind> {
        poll_fn(|context| self.poll_more(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, FailureKind>> {
        loop {
            if let Some(event) = self.take()? {
                return Poll::Ready(Ok(event));
            }
            ready!(self.poll_more(context))?;
        }
    }

    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FailureKind>> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            // Only a head or a control frame waits for more, so that there is room behind it.
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let mut free = ReadBuf::new(&mut self.buffer[self.to..]);
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut free));
        let count = free.filled().len();
        self.to += count;
        Poll::Ready(match read {
            Ok(()) if count == 0 => Err(FailureKind::PeerClosed),
            Ok(()) => Ok(()),
            Err(error) => Err(FailureKind::of_io(&error)),
        })
    }

    /// Takes the next event out of what was read; `None` when more is needed.
    fn take(&mut self) -> Result<Option<Event>, FailureKind> {
        loop {
            if let Some((missing, fin)) = self.open {
                let here = self.to - self.from;
                let length = usize::try_from(missing).map_or(here, |missing| missing.min(here));
                self.message
                    .extend_from_slice(&self.buffer[self.from..self.from + length]);
                self.from += length;
                let missing = missing - length as u64;
                if missing > 0 {
                    self.open = Some((missing, fin));
                    return Ok(None);
                }
                self.open = None;
                if self.kind == Some(PayloadKind::Text) {
                    self.checked = checked_text(&self.message, self.checked)?;
                }
                if fin {
                    return self.whole().map(Some);
                }
            }
            let unused = &self.buffer[self.from..self.to];
            let Some(head) = parse_head(unused)? else {
                return Ok(None);
            };
            if head.opcode < CLOSE {
                self.from += head.bytes;
                self.begin(head)?;
                continue;
            }
            // Checked to be short.
            let end = head.bytes + usize::try_from(head.payload).unwrap_or(usize::MAX);
            let Some(payload) = unused.get(head.bytes..end) else {
                return Ok(None);
            };
            let event = control(head.opcode, payload)?;
            self.from += end;
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Begins a data frame.
    fn begin(&mut self, head: Head) -> Result<(), FailureKind> {
        let kind = match head.opcode {
            TEXT => Some(PayloadKind::Text),
            BINARY => Some(PayloadKind::Binary),
            _ => None,
        };
        // A message begins with its kind, and only one is under way at a time (RFC 6455 section 5.4).
        if kind.is_some() == self.kind.is_some() {
            return Err(FailureKind::Protocol);
        }
        if kind.is_some() {
            (self.kind, self.fragments, self.checked) = (kind, 0, 0);
            self.message.clear();
        }
        self.fragments += 1;
        let length = self.message.len() as u64 + head.payload;
        if self.fragments > MAX_FRAGMENTS || length > MAX_MESSAGE_BYTES as u64 {
            return Err(FailureKind::Protocol);
        }
        self.open = Some((head.payload, head.fin));
        Ok(())
    }

    fn whole(&mut self) -> Result<Event, FailureKind> {
        let kind = self.kind.take().expect("a frame belongs to a message");
        if kind == PayloadKind::Text && self.checked < self.message.len() {
            return Err(FailureKind::Protocol);
        }
        Ok(Event::Message(kind))
    }
}

/// Parses the head of a frame from a server; `None` when it is not complete yet.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, FailureKind> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (fin, reserved, opcode) = (first & FIN != 0, first & 0x70, first & 0x0f);
    // No extension gives the reserved bits a meaning, and a server never masks (RFC 6455 sections 5.1 and 5.2).
    if reserved != 0 || second & MASKED != 0 || !matches!(opcode, 0..=2 | CLOSE..=PONG) {
        return Err(FailureKind::Protocol);
    }
    let (payload, bytes) = match second & !MASKED {
        SHORT_LENGTH => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        LONG_LENGTH => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let is_control = opcode >= CLOSE;
    let too_long = payload > MAX_CONTROL_BYTES as u64;
    if is_control && (!fin || too_long) || payload > MAX_MESSAGE_BYTES as u64 {
        return Err(FailureKind::Protocol);
    }
    Ok(Some(Head {
        fin,
        opcode,
        payload,
        bytes,
    }))
}

/// Understands a control frame; a pong that nobody asked for says nothing (RFC 6455 section 5.5.3).
fn control(opcode: u8, payload: &[u8]) -> Result<Option<Event>, FailureKind> {
    match (opcode, payload) {
        (PING, _) => Ok(Some(Event::Ping(payload.to_vec()))),
        (PONG, _) => Ok(None),
        _ => Ok(Some(Event::Close(close_code(payload)?))),
    }
}

/// Appends a masked frame of a whole message.
pub(crate) fn write_message(kind: PayloadKind, key: [u8; 4], payload: &[u8], out: &mut Vec<u8>) {
    let opcode = match kind {
        PayloadKind::Text => TEXT,
        PayloadKind::Binary => BINARY,
    };
    write_frame(opcode, key, payload, out);
}

/// Makes the answer to a ping.
pub(crate) fn pong(key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(PONG, key, payload, &mut frame);
    frame
}

/// Makes a Close.
pub(crate) fn close(key: [u8; 4], code: Option<u16>) -> Vec<u8> {
    let mut frame = Vec::new();
    let code = code.map(u16::to_be_bytes);
    let payload = code.as_ref().map_or(&[][..], |code| code);
    write_frame(CLOSE, key, payload, &mut frame);
    frame
}

fn write_frame(opcode: u8, key: [u8; 4], payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(opcode != CONTINUATION, "messages are not fragmented");
    out.push(FIN | opcode);
    match payload.len() {
        #[expect(clippy::cast_possible_truncation, reason = "in the pattern's range")]
        short @ 0..126 => out.push(MASKED | short as u8),
        length => {
            if let Ok(length) = u16::try_from(length) {
                out.push(MASKED | SHORT_LENGTH);
                out.extend_from_slice(&length.to_be_bytes());
            } else {
                out.push(MASKED | LONG_LENGTH);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
    }
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    // Masking is its own inverse.
    unmask(&mut out[start..], key);
}

#[cfg(test)]
mod tests {
    use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::transport::websocket::broken;

    /// Feeds bytes in pieces of this size and returns every event with its message, up to the first failure.
    fn events(bytes: &[u8], piece: usize) -> (Vec<(Event, Vec<u8>)>, FailureKind) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut server, client) = duplex(piece.max(1));
            let mut frames = Frames::new(client);
            let sending = async {
                let sent = server.write_all(bytes).await;
                drop(server);
                sent
            };
            // Gives the connection up when it has failed, which ends the sending, too.
            let reading = async move {
                let mut all = Vec::new();
                loop {
                    match frames.next().await {
                        Ok(event) => all.push((event, frames.message().to_vec())),
                        Err(kind) => return (all, kind),
                    }
                }
            };
            tokio::join!(sending, reading).1
        })
    }

    fn failure(bytes: &[u8]) -> FailureKind {
        let (events, failure) = events(bytes, 4096);
        assert!(events.is_empty(), "{events:?}");
        failure
    }

    #[test]
    fn fragments_and_pings_in_between_make_one_message() {
        let bytes = b"\x01\x02he\x89\x01p\x00\x01l\x8a\x00\x80\x02lo\x88\x02\x03\xe8";
        for piece in [1, 2, 5, 100] {
            let (all, end) = events(bytes, piece);
            let [ping, (text, message), close] = &all[..] else {
                panic!("{all:?}");
            };
            assert_eq!(ping.0, Event::Ping(b"p".to_vec()));
            assert_eq!(
                (text, &message[..]),
                (&Event::Message(PayloadKind::Text), &b"hello"[..])
            );
            assert_eq!(
                (&close.0, end),
                (&Event::Close(Some(1000)), FailureKind::PeerClosed)
            );
        }
    }

    #[test]
    fn what_breaks_the_rules_is_a_protocol_error() {
        for bytes in broken() {
            assert_eq!(failure(&bytes), FailureKind::Protocol, "{bytes:x?}");
        }
        assert_eq!(failure(b"\x81\x05hel"), FailureKind::PeerClosed);
    }

    #[test]
    fn giving_up_a_wait_loses_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut server, client) = duplex(64);
            let mut frames = Frames::new(client);
            for byte in b"\x81\x03hey" {
                assert_eq!(frames.next_if_there().await, Ok(None));
                server.write_all(&[*byte]).await.unwrap();
            }
            let event = frames.next_if_there().await.unwrap();
            assert_eq!(event, Some(Event::Message(PayloadKind::Text)));
            assert_eq!(frames.message(), b"hey");
        });
    }

    /// fastwebsockets, as a server on the other side.
    fn server(stream: DuplexStream) -> WebSocket<DuplexStream> {
        WebSocket::after_handshake(stream, Role::Server)
    }

    proptest! {
        #[test]
        fn what_fastwebsockets_writes_is_read_and_the_other_way_round(
            payload in prop::collection::vec(any::<u8>(), 0..70_000),
            key: [u8; 4],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (there, back, kind) = runtime.block_on(async {
                let (near, far) = duplex(1 << 17);
                let mut frames = Frames::new(near);
                let mut server = server(far);
                let mut frame = Vec::new();
                write_message(PayloadKind::Binary, key, &payload, &mut frame);
                frames.write(&frame).await.unwrap();
                let there = server.read_frame().await.unwrap().payload.to_vec();
                let back = Frame::new(true, OpCode::Binary, None, Payload::Borrowed(&payload));
                server.write_frame(back).await.unwrap();
                let kind = frames.next().await.unwrap();
                (there, frames.message().to_vec(), kind)
            });
            prop_assert_eq!(&there, &payload);
            prop_assert_eq!(back, payload);
            prop_assert_eq!(kind, Event::Message(PayloadKind::Binary));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..40) {
            let whole = events(&bytes, 4096);
            prop_assert_eq!(events(&bytes, piece), whole);
        }
    }
}
