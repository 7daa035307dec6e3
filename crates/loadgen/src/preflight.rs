//! One exchange ahead of a load on a server that is not known: the same code as in the load, with an ear for why it fails.
//!
//! A load on the wrong address, path or protocol is refused here, in words, instead of being measured.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use httparse::{EMPTY_HEADER, Response};
use sockrates_core::custom::Custom as Spec;
use sockrates_core::failure::FailureKind;
use sockrates_core::plan::TrialSpec;
use sockrates_core::scenario::Workload as Workloads;
use sockrates_probe::clock;
use sockrates_probe::timer::TimerFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::dial::Dialer;
use crate::transport::http1::Http1;
use crate::transport::websocket::any::AnyWs;
use crate::transport::websocket::handshake::{self, Opening, Refusal};
use crate::transport::{Door, Peer, Transport};
use crate::trial;
use crate::workload::custom::Custom;
use crate::workload::{Exchanges, Workload};

/// Why a load on this server makes no sense.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// Nobody is there.
    #[error("cannot connect to {address}: {failure}")]
    Connect {
        /// The address that was dialed.
        address: SocketAddr,
        /// How it failed.
        failure: FailureKind,
    },
    /// It does not speak HTTP.
    #[error("{address} does not speak HTTP: it says `{says}`")]
    NotHttp {
        /// The address that was dialed.
        address: SocketAddr,
        /// The beginning of what it says, made harmless.
        says: String,
    },
    /// It answers with a status that does not count.
    #[error("{address} answers {status}{hint}")]
    Status {
        /// The address that was dialed.
        address: SocketAddr,
        /// Status and reason.
        status: String,
        /// What to do about it.
        hint: String,
    },
    /// It refuses the WebSocket handshake, or gets it wrong.
    #[error("{address} opens no WebSocket at this path: {refusal}{hint}")]
    Handshake {
        /// The address that was dialed.
        address: SocketAddr,
        /// What is wrong with the answer.
        refusal: Refusal,
        /// What to do about it.
        hint: String,
    },
    /// It answers, and does not end the connection as it should.
    #[error(
        "{address} answers, but does not end the connection properly: {failure}; use --lifecycle persistent"
    )]
    Closing {
        /// The address that was dialed.
        address: SocketAddr,
        /// How it failed.
        failure: FailureKind,
    },
    /// It answers, but not as was expected, or not in time.
    #[error("{address} accepts the connection, but the first exchange failed: {failure}{hint}")]
    Exchange {
        /// The address that was dialed.
        address: SocketAddr,
        /// How it failed.
        failure: FailureKind,
        /// What to do about it.
        hint: &'static str,
    },
}

/// Does the first exchange of a custom trial, and waits for it no longer than the trial's time-out.
pub fn check(spec: &TrialSpec, address: SocketAddr, sources: &[Ipv4Addr]) -> Result<(), Rejection> {
    let Workloads::Custom(custom) = &spec.cell.workload else {
        return Ok(());
    };
    let heard = Heard::default();
    let door = trial::door(spec);
    let peer = Peer {
        host: trial::host(spec, address),
        lifecycle: spec.cell.lane.lifecycle,
        door,
    };
    let trying = Try {
        custom,
        peer,
        dialer: Dialer::new(address, sources),
        exchanges: spec
            .cell
            .exchanges_per_connection()
            .map_or(Exchanges::UNLIMITED, Exchanges),
        seed: spec.seed,
        timeout_ns: u64::from(spec.cell.timing.timeout_ms) * 1_000_000,
    };
    let is_websocket = spec.cell.lane.transport == "websocket";
    let result = if is_websocket {
        trying.perform::<AnyWs<Overheard>>(&heard, custom.listens())
    } else {
        trying.perform::<Http1<Overheard>>(&heard, false)
    };
    result.map_err(|failure| {
        let opening = is_websocket.then(|| first_opening(custom, spec.seed, &trying.peer.host));
        rejection(address, failure, &heard.take(), opening.flatten(), custom)
    })
}

/// Returns the bytes that the first connection of a custom trial sends first.
pub fn first_bytes(spec: &TrialSpec, address: SocketAddr) -> Option<Vec<u8>> {
    let Workloads::Custom(custom) = &spec.cell.workload else {
        return None;
    };
    let host = trial::host(spec, address);
    if spec.cell.lane.transport == "websocket" {
        let opening = first_opening(custom, spec.seed, &host)?;
        return Some(opening.request.into_bytes());
    }
    let is_last = spec.cell.opens_while_measured();
    Some(custom.http.as_ref()?.request(&host, is_last))
}

fn first_opening(custom: &Spec, seed: u64, host: &str) -> Option<Opening> {
    let exchange = custom.websocket.clone()?;
    Some(Door::new(exchange, seed).opening(host))
}

struct Try<'a> {
    custom: &'a Spec,
    peer: Peer,
    dialer: Dialer,
    exchanges: Exchanges,
    seed: u64,
    timeout_ns: u64,
}

impl Try<'_> {
    fn perform<T: Transport<Overheard>>(
        &self,
        heard: &Heard,
        only_opens: bool,
    ) -> Result<(), FailureKind> {
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(|error| FailureKind::of_io(&error))?;
        runtime.block_on(async {
            let mut timer = TimerFd::new().map_err(|error| FailureKind::of_io(&error))?;
            let deadline_ns = clock::monotonic_ns() + self.timeout_ns;
            tokio::select! {
                biased;
                result = self.exchange::<T>(heard, only_opens) => result,
                _ = timer.until(deadline_ns) => Err(heard.timed_out()),
            }
        })
    }

    async fn exchange<T: Transport<Overheard>>(
        &self,
        heard: &Heard,
        only_opens: bool,
    ) -> Result<(), FailureKind> {
        let stream = Overheard {
            stream: self.dialer.dial(0).await?,
            heard: heard.clone(),
        };
        heard.connect();
        let mut transport = T::handshake(stream, &self.peer).await?;
        heard.pass();
        if only_opens {
            transport.leave().await;
            return Ok(());
        }
        let spec = Rc::new(self.custom.clone());
        let workload = Custom::new::<_, T>(&spec, 0, self.seed, self.exchanges, &self.peer);
        let mut workload = workload.expect("the registry was asked whether the lane carries it");
        let (request, mut reply) = workload.next(self.exchanges == Exchanges(1));
        transport.exchange(request, &mut reply).await?;
        if self.exchanges == Exchanges(1) {
            heard.finish();
            return transport.close().await;
        }
        transport.leave().await;
        Ok(())
    }
}

/// How much of an answer is kept for a message.
const HEARD_BYTES: usize = 4096;

/// What the server said.
#[derive(Clone, Default)]
struct Heard(Rc<std::cell::RefCell<What>>);

#[derive(Clone, Default)]
struct What {
    bytes: Vec<u8>,
    is_connected: bool,
    /// Whether the handshake is over.
    is_open: bool,
    /// Whether the exchange is, and only closing is left.
    is_answered: bool,
}

impl Heard {
    fn connect(&self) {
        self.0.borrow_mut().is_connected = true;
    }

    fn timed_out(&self) -> FailureKind {
        if self.0.borrow().is_connected {
            FailureKind::TimedOut
        } else {
            FailureKind::ConnectTimedOut
        }
    }

    fn pass(&self) {
        self.0.borrow_mut().is_open = true;
    }

    fn finish(&self) {
        self.0.borrow_mut().is_answered = true;
    }

    fn add(&self, bytes: &[u8]) {
        let kept = &mut self.0.borrow_mut().bytes;
        let room = HEARD_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take(&self) -> What {
        self.0.take()
    }
}

/// A connection whose answers are overheard.
struct Overheard {
    stream: TcpStream,
    heard: Heard,
}

impl AsyncRead for Overheard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.heard.add(&buffer.filled()[before..]);
        poll
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Says why the first exchange failed, with what the server said.
fn rejection(
    address: SocketAddr,
    failure: FailureKind,
    heard: &What,
    opening: Option<Opening>,
    custom: &Spec,
) -> Rejection {
    let answer = Head::parse(&heard.bytes);
    let is_connect = failure <= FailureKind::ConnectOther;
    if heard.is_answered {
        return Rejection::Closing { address, failure };
    }
    let is_http = heard.bytes.starts_with(b"HTTP/");
    match (failure, answer, opening) {
        (failure, _, _) if is_connect => Rejection::Connect { address, failure },
        (_, None, _) if !heard.bytes.is_empty() && !heard.is_open && !is_http => {
            Rejection::NotHttp {
                address,
                says: harmless(&heard.bytes),
            }
        }
        (_, Some(answer), Some(opening)) if !heard.is_open => {
            match handshake::check(&heard.bytes, &opening) {
                Err(refusal) => Rejection::Handshake {
                    address,
                    refusal,
                    hint: answer.hint_for_handshake(),
                },
                Ok(_) => Rejection::Exchange {
                    address,
                    failure,
                    hint: "",
                },
            }
        }
        (FailureKind::BadStatus, Some(answer), _) => Rejection::Status {
            address,
            status: answer.status(),
            hint: answer.hint(),
        },
        (FailureKind::Protocol, None, None) if !heard.bytes.is_empty() && !is_http => {
            Rejection::NotHttp {
                address,
                says: harmless(&heard.bytes),
            }
        }
        (failure, _, opening) => Rejection::Exchange {
            address,
            failure,
            hint: hint(failure, opening.is_some(), custom),
        },
    }
}

fn hint(failure: FailureKind, is_websocket: bool, custom: &Spec) -> &'static str {
    match failure {
        FailureKind::TimedOut if is_websocket && custom.websocket.is_some() => {
            "; if the server does not echo, choose --match any-reply or receive-only, or give it more time with --timeout"
        }
        FailureKind::TimedOut => "; give it more time with --timeout",
        FailureKind::WrongPayload if is_websocket => {
            "; the answer is not what was sent, or not what --expect-body says; is it --match any-reply?"
        }
        FailureKind::WrongPayload => {
            "; the body is not what --expect-body or --expect-echo asks for"
        }
        FailureKind::Protocol => {
            "; a reply must keep to RFC 9112 or RFC 6455, its head within 16 KiB and 64 fields (4 KiB for a WebSocket's handshake)"
        }
        FailureKind::PeerClosed | FailureKind::ConnectionReset => {
            "; is it another protocol that is spoken there, or TLS?"
        }
        _ => "",
    }
}

/// What matters of a response's head.
struct Head {
    code: u16,
    reason: String,
    location: Option<String>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut headers = [EMPTY_HEADER; 128];
        let mut response = Response::new(&mut headers);
        let parsed = response.parse(bytes);
        // Half a head will do, if there is a status.
        parsed.ok()?;
        let location = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("location"));
        Some(Self {
            code: response.code?,
            reason: harmless(response.reason.unwrap_or_default().as_bytes()),
            location: location.map(|header| harmless(header.value)),
        })
    }

    fn status(&self) -> String {
        format!("{} {}", self.code, self.reason)
            .trim_end()
            .to_owned()
    }

    fn hint(&self) -> String {
        let code = self.code;
        let other = match (code, &self.location) {
            (300..=399, Some(location)) => {
                format!(": redirects are not followed, measure {location} itself, or accept it")
            }
            (401 | 407, _) => {
                ": give credentials with -H 'Authorization: …', or accept it".to_owned()
            }
            (404 | 405, _) => ": is this the path, and the method (-m)? Or accept it".to_owned(),
            (429 | 503, _) => ": it is overloaded or limits its clients; or accept it".to_owned(),
            _ => ": accept it".to_owned(),
        };
        format!("{other} with --expect-status {code}")
    }

    fn hint_for_handshake(&self) -> String {
        match (self.code, &self.location) {
            (300..=399, Some(location)) => {
                format!("; redirects are not followed, measure {location} itself")
            }
            (401 | 403, _) => {
                "; give credentials with -H 'Authorization: …' or an -H 'Origin: …'".to_owned()
            }
            (200 | 404, _) => "; is this the path?".to_owned(),
            (400 | 426, _) => "; is a subprotocol needed (--subprotocol)?".to_owned(),
            _ => String::new(),
        }
    }
}

/// How much of what a server says stands in a message.
const SHOWN_CHARS: usize = 80;

/// Makes text from a server harmless on a terminal.
pub(crate) fn harmless(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let escaped = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug);
    escaped
        .collect::<String>()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_made_harmless() {
        assert_eq!(
            harmless(b"\x1b[31mhi\r\n\xff"),
            "\\u{1b}[31mhi\\r\\n\u{fffd}"
        );
        assert_eq!(harmless(&[b'a'; 200]).len(), SHOWN_CHARS);
    }

    #[test]
    fn statuses_come_with_a_remedy() {
        let hint = |text: &str| Head::parse(text.as_bytes()).unwrap().hint();
        let moved = hint("HTTP/1.1 301 Moved\r\nLocation: http://a/b\r\n\r\n");
        assert!(
            moved.contains("measure http://a/b itself") && moved.contains("--expect-status 301")
        );
        assert!(hint("HTTP/1.1 401 No\r\n\r\n").contains("Authorization"));
        assert!(hint("HTTP/1.1 503 No\r\n\r\n").contains("--expect-status 503"));
        assert!(Head::parse(b"SSH-2.0-x\r\n").is_none());
    }
}
