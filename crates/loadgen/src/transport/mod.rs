//! How messages travel. A transport frames, sends, receives and unframes; it has no clock, opens no
//! socket, sets no option, retries nothing and records nothing, so that all lanes share the code
//! that does.

pub mod http1;
pub mod http1_hyper;
mod prefixed;
pub mod response;
pub mod sse;
pub mod tcp;
pub mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::RngCore;
use sockrates_core::custom::{Custom, MessageExchange, header_lines, host_header};
use sockrates_core::failure::FailureKind;
use sockrates_core::lane::Lifecycle;
use sockrates_core::payload::{PayloadKind, Verifier};
use sockrates_core::seed;

use self::websocket::handshake::Opening;

/// What a workload asks for.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// The same bytes back.
    Echo {
        /// The message.
        payload: &'a [u8],
        /// Whether a protocol that knows the difference sends it as text.
        kind: PayloadKind,
        /// Chooses the masking key, where there is one: each message of a ring has its own.
        mask: [u8; 4],
    },
    /// The updates of a topic after a sequence number.
    Poll {
        /// The topic.
        topic: &'a str,
        /// The last sequence number already known; `None` begins with the present.
        since: Option<u64>,
        /// How long the server may wait until there is one; `None` has it answer at once.
        timeout_ms: Option<u32>,
    },
    /// A player's input to a game.
    Input {
        /// The game.
        game: &'a str,
        /// The player.
        player: &'a str,
        /// The input.
        input: &'a [u8],
    },
    /// The latest snapshot of a game for a player.
    Snapshot {
        /// The game.
        game: &'a str,
        /// The player.
        player: &'a str,
        /// The last tick already known; 0 for none.
        since: u64,
    },
    /// One of a user's own.
    Custom {
        /// What is asked, over each protocol.
        custom: &'a Custom,
        /// The message, over WebSocket.
        message: &'a [u8],
        /// Its masking key.
        mask: [u8; 4],
    },
    /// Whatever is there.
    Get {
        /// Path and query.
        target: &'a str,
    },
    /// Says something.
    Post {
        /// Path and query.
        target: &'a str,
        /// What is said.
        body: &'a [u8],
    },
    /// Makes a topic, a room or a game.
    Put {
        /// Path and query.
        target: &'a str,
    },
}

/// Where requests go, and over what kind of connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The `Host` header's value: address and port.
    pub host: String,
    /// Whether a request is the last one on its connection.
    pub lifecycle: Lifecycle,
    /// How WebSockets are opened with servers that are not known.
    pub door: Option<Arc<Door>>,
}

/// How WebSockets are opened with a server that is not known.
#[derive(Debug)]
pub struct Door {
    exchange: MessageExchange,
    seed: u64,
    /// How many were opened: each has a key of its own.
    opened: AtomicU64,
}

impl Door {
    /// Makes the way in for a workload's messages.
    pub fn new(exchange: MessageExchange, seed: u64) -> Self {
        Self {
            exchange,
            seed,
            opened: AtomicU64::new(0),
        }
    }

    /// Returns the next handshake: the same seed gives the same ones in the same order.
    pub fn opening(&self, host: &str) -> Opening {
        let MessageExchange {
            path,
            headers,
            subprotocol,
            ..
        } = &self.exchange;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let mut key = [0; 16];
        seed::stream(self.seed, "websocket key", number).fill_bytes(&mut key);
        let lines = host_header(headers, host) + &header_lines(headers);
        let key = BASE64.encode(key);
        Opening::new(path, format_args!("{lines}"), subprotocol.clone(), key)
    }
}

impl Peer {
    /// Returns the next handshake with a server that is not known.
    fn opening(&self) -> Opening {
        match &self.door {
            Some(door) => door.opening(&self.host),
            None => Opening::plain(&self.host, "/"),
        }
    }
}

/// Takes a reply as it arrives, and judges it.
pub trait Reply {
    /// Takes the status, in protocols that have one (an HTTP status code).
    fn status(&mut self, status: u16) -> Result<(), FailureKind>;
    /// Takes the sequence of the topic's latest update, where the reply says it.
    fn head(&mut self, _sequence: u64) {}
    /// Takes the sequence of the topic's oldest update that can still be had, where the reply says it.
    fn oldest(&mut self, _sequence: u64) {}
    /// Learns that the first bytes of the reply have come, in transports to servers that are not known.
    fn begins(&mut self) {}
    /// Takes a whole message and says whether it is the reply, in protocols in which a server may speak unasked.
    fn message(&mut self, _kind: PayloadKind, message: &[u8]) -> Result<bool, FailureKind> {
        self.feed(message);
        self.finish().map(|()| true)
    }
    /// Takes a message that had come before anything was asked.
    fn unasked(&mut self, _kind: PayloadKind, _message: &[u8]) {}
    /// Takes the code with which the server closed instead of answering.
    fn closed(&mut self, _code: u16) {}
    /// Takes the next bytes of the content.
    fn feed(&mut self, chunk: &[u8]);
    /// Judges the whole; called once, when the reply has ended.
    fn finish(&mut self) -> Result<(), FailureKind>;
}

/// Why an idle connection is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Over {
    /// The server closed it.
    Closed,
    /// The server said something that nobody asked for.
    Spoke,
}

/// Carries messages over one connection.
#[expect(
    async_fn_in_trait,
    reason = "a worker is one thread: its futures need not be Send"
)]
pub trait Transport<S>: Sized {
    /// The name in lanes, and in the registry.
    const NAME: &'static str;

    /// A request ready to be sent, kept by the caller: made once for a request that repeats.
    type Prepared: Default;

    /// Prepares a request, reusing what `prepared` holds. `None` says that the transport cannot
    /// carry this kind of request.
    fn prepare(request: &Request<'_>, peer: &Peer, prepared: &mut Self::Prepared) -> Option<()>;

    /// Makes a connected stream usable.
    async fn handshake(stream: S, peer: &Peer) -> Result<Self, FailureKind>;

    /// Sends a request and feeds its reply. After an error the connection is of no further use.
    async fn exchange<R: Reply>(
        &mut self,
        request: &Self::Prepared,
        reply: &mut R,
    ) -> Result<(), FailureKind>;

    /// Says whether the server has announced that it closes after the last reply.
    fn is_spent(&self) -> bool {
        false
    }

    /// Looks whether an idle connection is over: closed, or of no further use because the server spoke unasked.
    fn look(&mut self, _context: &mut Context<'_>) -> Option<Over> {
        None
    }

    /// Says goodbye on a connection that is no longer needed, without waiting for an answer: to a server that is not
    /// known, which may complain of clients that just go.
    async fn leave(&mut self) {}

    /// Waits until the server has closed its side, as it does first after a last request.
    async fn close(self) -> Result<(), FailureKind>;
}

/// A connection over which the server speaks first.
#[expect(
    async_fn_in_trait,
    reason = "a worker is one thread: its futures need not be Send"
)]
pub trait Listen<S>: Sized {
    /// Asks for the updates of a topic after a sequence number, or from now on. Returns the sequence after which they
    /// begin, if the server says so.
    async fn follow(
        stream: S,
        peer: &Peer,
        topic: &str,
        since: Option<u64>,
    ) -> Result<(Self, Option<u64>), FailureKind>;

    /// Waits for the next update and returns its line. Once given up, the connection is of no further use.
    async fn next_update(&mut self) -> Result<&[u8], FailureKind>;
}

/// The reply to an echo: the request's payload, with a status of success if there is one.
impl Reply for Verifier<'_> {
    fn status(&mut self, status: u16) -> Result<(), FailureKind> {
        if status == 200 {
            Ok(())
        } else {
            Err(FailureKind::BadStatus)
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        Self::feed(self, chunk);
    }

    fn finish(&mut self) -> Result<(), FailureKind> {
        Self::finish(self)
    }
}

/// How many bytes a connection reads at once; a small reply arrives in one read.
pub(crate) const READ_BUFFER_BYTES: usize = 16 * 1024;
