//! A server on free ports, and a client that sends and reads bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sockrates_server::{Config, Limits, Publisher, Server};

pub(crate) fn server() -> Server {
    Server::start(&Config::default()).unwrap()
}

pub(crate) fn server_with(limits: Limits) -> Server {
    Server::start(&Config {
        limits,
        ..Config::default()
    })
    .unwrap()
}

pub(crate) fn publishing(publisher: Publisher) -> Server {
    Server::start(&Config {
        publisher,
        ..Config::default()
    })
    .unwrap()
}

/// Bytes that repeat only after 251, so that a shifted piece is noticed.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// One client connection.
pub(crate) struct Client {
    stream: TcpStream,
}

/// An HTTP reply as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Returns a header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Returns the sequence of the latest update.
    pub(crate) fn sequence(&self) -> u64 {
        self.header("x-sockrates-head").unwrap().parse().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn http(server: &Server) -> Self {
        Self::connect(server.ready().http)
    }

    pub(crate) fn floor(server: &Server) -> Self {
        Self::connect(server.ready().tcp.unwrap())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the server is tested without the load generator"
    )]
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        // Only so that a bug fails a test rather than hangs it.
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a message and reads a reply of known length; false when the server has closed instead.
    pub(crate) fn try_exchange(&mut self, message: &[u8], reply: &mut [u8]) -> bool {
        self.stream.write_all(message).is_ok() && self.stream.read_exact(reply).is_ok()
    }

    /// Sends until the server has cut the connection.
    pub(crate) fn send_until_cut(&mut self) {
        self.repeat_until_cut(&[b'x'; 1 << 14]);
    }

    /// Sends the same again and again until the server has cut the connection. Nothing is read.
    pub(crate) fn repeat_until_cut(&mut self, bytes: &[u8]) {
        let error = loop {
            if let Err(error) = self.stream.write_all(bytes) {
                break error.kind();
            }
        };
        assert!(
            matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
    }

    /// Says whether the server sends something within a tenth of a second.
    pub(crate) fn is_answered_soon(&mut self) -> bool {
        let soon = Some(Duration::from_millis(100));
        self.stream.set_read_timeout(soon).unwrap();
        let is_answered = self.stream.peek(&mut [0]).is_ok();
        let late = Some(Duration::from_mins(1));
        self.stream.set_read_timeout(late).unwrap();
        is_answered
    }

    /// Says whether a request is answered, rather than the connection refused.
    pub(crate) fn try_get(&mut self, target: &str) -> bool {
        let request = format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n");
        self.try_exchange(request.as_bytes(), &mut [0; 12])
    }

    pub(crate) fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Expects that the server has closed, and sent nothing more.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }

    /// Expects that the server has dropped the connection, be it with a reset.
    pub(crate) fn expect_drop(&mut self) {
        match self.stream.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// Expects that the server resets the connection, though nothing is read or sent.
    pub(crate) fn expect_reset(&mut self) {
        for _ in 0..1000 {
            if let Some(error) = self.stream.take_error().unwrap() {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the connection goes on");
    }

    pub(crate) fn request(&mut self, request: &str) -> Reply {
        self.send(request);
        self.reply()
    }

    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.request(&format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n"))
    }

    /// Makes a topic; false when one was replaced.
    pub(crate) fn make_topic(&mut self, name: &str, query: &str) -> bool {
        let reply = self.put(&format!("/updates/topics/{name}?{query}"));
        assert_eq!(reply.header("x-sockrates-head"), Some("0"));
        match reply.status {
            201 => true,
            200 => false,
            other => panic!("{other}"),
        }
    }

    pub(crate) fn put(&mut self, target: &str) -> Reply {
        self.request(&format!("PUT {target} HTTP/1.1\r\nHost: here\r\n\r\n"))
    }

    /// Polls until a topic's head is at least this, and returns it.
    pub(crate) fn wait_for_head(&mut self, topic: &str, least: u64) -> u64 {
        loop {
            let head = self.get(&format!("/updates/poll?topic={topic}")).sequence();
            if head >= least {
                return head;
            }
        }
    }

    /// Reads one chunk of a body that comes in chunks; the last one is empty.
    pub(crate) fn chunk(&mut self) -> String {
        let mut size = Vec::new();
        while !size.ends_with(b"\r\n") {
            size.extend(self.read(1));
        }
        let size = std::str::from_utf8(&size).unwrap().trim_end();
        let mut chunk = self.read(usize::from_str_radix(size, 16).unwrap() + 2);
        assert_eq!(chunk.split_off(chunk.len() - 2), b"\r\n");
        String::from_utf8(chunk).unwrap()
    }

    pub(crate) fn echo(&mut self, body: &[u8]) -> Reply {
        self.send(echo_head(body.len(), ""));
        self.send(body);
        self.reply()
    }

    /// Reads one reply: its head byte by byte, so that nothing behind it is lost, and the announced body.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1));
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        let length = reply
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        reply.body = self.read(length);
        reply
    }
}

pub(crate) fn echo_head(length: usize, more: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n{more}\r\n")
}

/// A client connection that speaks WebSocket.
pub(crate) struct WebSocket {
    pub(crate) client: Client,
}

/// The opening handshake with the standard's example key (RFC 6455 section 1.3).
pub(crate) const HANDSHAKE: &str = "GET /ws/echo HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The same handshake for another path.
pub(crate) fn handshake(target: &str) -> String {
    HANDSHAKE.replacen("/ws/echo", target, 1)
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const FIN: u8 = 0x80;

impl WebSocket {
    pub(crate) fn open(server: &Server) -> Self {
        let mut client = Client::http(server);
        client.send(HANDSHAKE);
        Self::opened(client)
    }

    /// Opens a WebSocket of another path, and returns its handshake's reply, too.
    pub(crate) fn open_at(server: &Server, target: &str) -> (Self, Reply) {
        let mut client = Client::http(server);
        let reply = client.request(&handshake(target));
        assert_eq!(reply.status, 101, "{}", reply.head);
        (Self { client }, reply)
    }

    /// Reads the handshake's reply.
    pub(crate) fn opened(mut client: Client) -> Self {
        let reply = client.reply();
        assert_eq!(reply.status, 101);
        assert_eq!(
            reply.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        Self { client }
    }

    /// Sends one frame, masked; `first` is its first byte.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.client.send(masked(first, payload));
    }

    /// Reads one frame: its first byte and its payload. Fails unless it is unmasked and its length in the shortest form.
    pub(crate) fn read(&mut self) -> (u8, Vec<u8>) {
        let head = self.client.read(2);
        let length = match head[1] {
            126 => {
                let length = u16::from_be_bytes(self.client.read(2).try_into().unwrap());
                assert!(length > 125);
                usize::from(length)
            }
            127 => {
                let length = u64::from_be_bytes(self.client.read(8).try_into().unwrap());
                assert!(length > 0xffff);
                usize::try_from(length).unwrap()
            }
            short => {
                assert!(short < 126, "a masked frame from the server");
                usize::from(short)
            }
        };
        (head[0], self.client.read(length))
    }

    /// Reads one text message.
    pub(crate) fn text(&mut self) -> String {
        let (first, payload) = self.read();
        assert_eq!(first, FIN | TEXT);
        String::from_utf8(payload).unwrap()
    }

    /// Expects a Close frame with this code, and then the end.
    pub(crate) fn expect_close(&mut self, code: u16) {
        let (first, payload) = self.read();
        assert_eq!((first, &*payload), (FIN | CLOSE, &code.to_be_bytes()[..]));
        self.client.expect_end();
    }

    /// Closes, and waits until the server has done so.
    pub(crate) fn close(mut self) {
        self.send(FIN | CLOSE, b"");
        while self.read().0 != FIN | CLOSE {}
        self.client.expect_end();
    }
}

/// Makes a client's frame: masked, and its length in the shortest form.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len());
    frame[1] |= 0x80;
    frame.extend(KEY);
    frame.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// Makes a frame's head as far as the length.
pub(crate) fn head(first: u8, length: usize) -> Vec<u8> {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => vec![first, short],
        (_, Ok(medium)) => [&[first, 126][..], &medium.to_be_bytes()].concat(),
        _ => [&[first, 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
