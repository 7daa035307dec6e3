//! A server made of bytes: it says them in pieces of given sizes, whatever it is asked, and then closes. What each
//! transport makes of that is told in a form that can be compared. Property tests and fuzz targets share this file.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};
use sockrates_core::custom::{Custom, Message, MessageExchange};
use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use sockrates_core::payload::PayloadKind;
use sockrates_loadgen::transport::http1::Http1;
use sockrates_loadgen::transport::sse::Sse;
use sockrates_loadgen::transport::websocket::any::AnyWs;
use sockrates_loadgen::transport::{Door, Listen, Peer, Reply, Request, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a connection with such a server. Takes and forgets what is written.
#[derive(Debug)]
pub struct Script {
    bytes: Vec<u8>,
    at: usize,
    /// The lengths of the pieces, used round and round; 0 makes the reader wait once.
    pieces: Vec<u8>,
    piece: usize,
}

impl Script {
    /// Without pieces, the bytes come all at once.
    pub fn new(bytes: Vec<u8>, pieces: &[u8]) -> Self {
        Self {
            bytes,
            at: 0,
            pieces: pieces.to_vec(),
            piece: 0,
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = match self.pieces.len() {
            0 => usize::MAX,
            length => {
                let piece = self.pieces[self.piece % length];
                self.piece += 1;
                usize::from(piece)
            }
        };
        // Nobody waits for ever, even if all pieces are empty.
        if piece == 0 && self.piece % 2 == 1 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.bytes.len() - self.at;
        let length = piece.max(1).min(left).min(buffer.remaining());
        buffer.put_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls to the end. A script never waits for anything but to be asked again, so that this ends.
fn run<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// What a server said, as a transport understood it.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Told {
    pub statuses: Vec<u16>,
    pub contents: Vec<Vec<u8>>,
    /// The ends of messages, with their kinds, and the codes of closures.
    pub messages: Vec<(PayloadKind, Vec<u8>)>,
    pub codes: Vec<u16>,
}

impl Reply for &mut Told {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        self.statuses.push(status);
        self.contents.push(Vec::new());
        Ok(())
    }

    fn message(&mut self, kind: PayloadKind, message: &[u8]) -> Result<bool, FailureKind> {
        self.messages.push((kind, message.to_vec()));
        Ok(false)
    }

    fn unasked(&mut self, kind: PayloadKind, message: &[u8]) {
        self.messages.push((kind, message.to_vec()));
    }

    fn closed(&mut self, code: u16) {
        self.codes.push(code);
    }

    fn feed(&mut self, chunk: &[u8]) {
        let content = self.contents.last_mut().expect("a status comes first");
        content.extend_from_slice(chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        Ok(())
    }
}

fn peer(door: Option<Door>) -> Peer {
    Peer {
        host: "here".to_owned(),
        lifecycle: Lifecycle::Persistent,
        door: door.map(Arc::new),
    }
}

/// Exchanges over HTTP until something fails; at most eight times.
pub fn http1(script: Script) -> (Told, Option<FailureKind>) {
    run(async {
        let (mut told, peer) = (Told::default(), peer(None));
        let mut http = match Http1::handshake(script, &peer).await {
            Ok(http) => http,
            Err(kind) => return (told, Some(kind)),
        };
        let request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        for _ in 0..8 {
            if let Err(kind) = http.exchange(&request, &mut &mut told).await {
                return (told, Some(kind));
            }
        }
        (told, None)
    })
}

/// Follows a stream of events to its end.
pub fn events(script: Script) -> (Vec<Vec<u8>>, FailureKind) {
    run(async {
        let mut lines = Vec::new();
        let mut sse = match Sse::follow(script, &peer(None), "t", None).await {
            Ok((sse, _)) => sse,
            Err(kind) => return (lines, kind),
        };
        loop {
            match sse.next_update().await {
                Ok(line) => lines.push(line.to_vec()),
                Err(kind) => return (lines, kind),
            }
        }
    })
}

/// Opens a WebSocket and listens to its end; `said` is what the server says once it is open.
pub fn websocket(said: &[u8], pieces: &[u8]) -> (Told, FailureKind) {
    let exchange = MessageExchange {
        path: "/".to_owned(),
        headers: Vec::new(),
        subprotocol: None,
        message: Some(Message::Text("hello".to_owned())),
        kind: PayloadKind::Text,
        matching: sockrates_core::custom::Matching::AnyReply,
        expect_message: None,
    };
    let custom = Custom {
        http: None,
        websocket: Some(exchange.clone()),
    };
    run(async {
        let mut told = Told::default();
        let request = Door::new(exchange.clone(), 1).opening("here").request;
        let bytes = [opened(&request).as_bytes(), said].concat();
        let peer = peer(Some(Door::new(exchange, 1)));
        let mut prepared = Vec::new();
        let asked = Request::Custom {
            custom: &custom,
            message: b"hello",
            mask: [1, 2, 3, 4],
        };
        AnyWs::<Script>::prepare(&asked, &peer, &mut prepared).expect("it carries messages");
        let mut websocket = AnyWs::handshake(Script::new(bytes, pieces), &peer)
            .await
            .expect("the handshake is right");
        loop {
            if let Err(kind) = websocket.exchange(&prepared, &mut &mut told).await {
                return (told, kind);
            }
        }
    })
}

/// Returns the answer that opens a WebSocket.
fn opened(request: &str) -> String {
    let key = request.split("Sec-WebSocket-Key: ").nth(1);
    let key = key.and_then(|rest| rest.split("\r\n").next());
    let digest = Sha1::new()
        .chain_update(key.expect("a handshake has a key"))
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        BASE64.encode(digest)
    )
}

/// Splits an input: its first byte says how many bytes of it are the lengths of pieces.
pub fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let (count, rest) = input.split_first().unwrap_or((&0, &[]));
    rest.split_at(usize::from(*count % 16).min(rest.len()))
}

/// However it is cut, a reply that is right when it comes whole is the same reply.
pub fn check_http1(input: &[u8]) {
    let (pieces, bytes) = split(input);
    let script = |pieces| http1(Script::new(bytes.to_vec(), pieces));
    let (cut, _) = script(pieces);
    let (whole, end) = script(&[]);
    // A reply that comes whole may be followed by what nobody asked for; cut, that is the next reply.
    let right = whole.statuses.len() - usize::from(end.is_some() && !whole.statuses.is_empty());
    assert_eq!(whole.statuses[..right], cut.statuses[..right]);
    assert_eq!(whole.contents[..right], cut.contents[..right]);
}

/// However they are cut, messages are the same, and so is the end.
pub fn check_websocket(input: &[u8]) {
    let (pieces, bytes) = split(input);
    assert_eq!(websocket(bytes, pieces), websocket(bytes, &[]));
}

/// However they are cut, events that are right when they come whole are the same events.
pub fn check_events(input: &[u8]) {
    let (pieces, bytes) = split(input);
    let script = |pieces| events(Script::new(bytes.to_vec(), pieces)).0;
    let (cut, whole) = (script(pieces), script(&[]));
    // What breaks a rule ends a stream, also for the events that came with it.
    assert!(cut.starts_with(&whole), "{cut:?} {whole:?}");
}
