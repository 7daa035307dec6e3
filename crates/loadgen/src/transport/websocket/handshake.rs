//! The opening handshake (RFC 6455 section 4.1), with the checks that make a connection a WebSocket.
//!
//! Each check that fails has a name of its own, so that its message says why.

use std::fmt::Arguments;
use std::mem::MaybeUninit;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use fastwebsockets::handshake::generate_key;
use httparse::{Header, ParserConfig, Response, Status};
use sha1::{Digest, Sha1};
use sockrates_core::failure::FailureKind;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::transport::tcp::read_some;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// An answer has a handful of headers.
const MAX_HEAD_BYTES: usize = 4096;
const MAX_HEADERS: usize = 64;

/// What an upgrade gave.
#[derive(Debug)]
pub(crate) struct Upgraded {
    /// What came behind the answer.
    pub(crate) early: Bytes,
    /// The sequence of the topic's latest update, where it is said.
    pub(crate) news: Option<u64>,
}

/// A handshake's request, and what its answer must agree with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The bytes to send.
    pub request: String,
    /// The only subprotocol offered.
    subprotocol: Option<String>,
    /// Sixteen random bytes in base64, other ones for each connection.
    key: String,
}

impl Opening {
    /// Asks for nothing but the upgrade.
    pub(crate) fn plain(host: &str, target: &str) -> Self {
        let lines = format_args!("Host: {host}\r\n");
        Self::new(target, lines, None, generate_key())
    }

    /// Asks for the upgrade at a path with its query; `lines` are the `Host` line and further ones, each with its end.
    pub(crate) fn new(
        target: &str,
        lines: Arguments<'_>,
        subprotocol: Option<String>,
        key: String,
    ) -> Self {
        let mut request = format!(
            "GET {target} HTTP/1.1\r\n{lines}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if let Some(name) = &subprotocol {
            request += &format!("Sec-WebSocket-Protocol: {name}\r\n");
        }
        request += "\r\n";
        Self {
            request,
            subprotocol,
            key,
        }
    }
}

/// Why an answer opens no WebSocket (RFC 6455 section 4.1).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is no HTTP response.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// Another status than 101.
    #[error("the answer has status {0} instead of 101")]
    Status(u16),
    /// HTTP/1.0, which knows no upgrade.
    #[error("the answer is HTTP/1.0, which knows no upgrade")]
    Version,
    /// No `Upgrade: websocket`.
    #[error("the answer lacks `Upgrade: websocket`")]
    NoUpgrade,
    /// No `Connection: Upgrade`.
    #[error("the answer lacks `Connection: Upgrade`")]
    NoConnection,
    /// `Sec-WebSocket-Accept` is missing, doubled, or does not follow from the key.
    #[error("the answer's `Sec-WebSocket-Accept` does not follow from the key")]
    WrongAccept,
    /// An extension that was not offered.
    #[error("the answer chooses an extension, and none was offered")]
    Extension,
    /// Another subprotocol than the one offered, or none.
    #[error(
        "the answer does not choose the subprotocol that was offered, or chooses one where none was"
    )]
    Subprotocol,
}

impl From<Refusal> for FailureKind {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotHttp => Self::Protocol,
            _ => Self::HandshakeRefused,
        }
    }
}

/// Asks for the upgrade and checks the answer.
pub(crate) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    opening: &Opening,
) -> Result<Upgraded, FailureKind> {
    stream
        .write_all(opening.request.as_bytes())
        .await
        .map_err(|error| FailureKind::of_io(&error))?;
    let mut buffer = [0; MAX_HEAD_BYTES];
    let mut filled = 0;
    loop {
        filled += read_some(stream, &mut buffer[filled..]).await?;
        if let Some((length, news)) = check(&buffer[..filled], opening)? {
            return Ok(Upgraded {
                early: Bytes::copy_from_slice(&buffer[length..filled]),
                news,
            });
        }
        if filled == MAX_HEAD_BYTES {
            return Err(FailureKind::Protocol);
        }
    }
}

/// Returns the value the server must answer a key with.
fn accept(key: &str) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Returns the length of the answer's head, and the latest update it names; `None` when it is not complete yet.
pub(crate) fn check(
    bytes: &[u8],
    opening: &Opening,
) -> Result<Option<(usize, Option<u64>)>, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let parser = ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let parsed = parsed.map_err(|_| Refusal::NotHttp)?;
    let Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let headers = &*response.headers;
    let subprotocol = opening.subprotocol.as_ref().map(String::as_bytes);
    let rules = [
        (response.version == Some(1), Refusal::Version),
        (
            has_token(headers, "upgrade", "websocket"),
            Refusal::NoUpgrade,
        ),
        (
            has_token(headers, "connection", "upgrade"),
            Refusal::NoConnection,
        ),
        (
            values(headers, "sec-websocket-accept").eq([accept(&opening.key).as_bytes()]),
            Refusal::WrongAccept,
        ),
        (
            values(headers, "sec-websocket-extensions").next().is_none(),
            Refusal::Extension,
        ),
        (
            values(headers, "sec-websocket-protocol").eq(subprotocol),
            Refusal::Subprotocol,
        ),
    ];
    match response.code {
        Some(101) => {}
        code => return Err(Refusal::Status(code.unwrap_or_default())),
    }
    if let Some((_, refusal)) = rules.into_iter().find(|(holds, _)| !holds) {
        return Err(refusal);
    }
    let news = values(headers, target::HEAD_HEADER).next();
    let news = news.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    Ok(Some((length, news)))
}

fn values<'a>(headers: &'a [Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let named = headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value.trim_ascii())
}

fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    let mut tokens = values(headers, name).flat_map(|value| value.split(|byte| *byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn answer(text: &str) -> Result<Option<(usize, Option<u64>)>, Refusal> {
        // The key of RFC 6455 section 1.3.
        let opening = Opening {
            key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
            ..Opening::plain("h", "/")
        };
        check(text.as_bytes(), &opening)
    }

    #[test]
    fn the_answer_of_the_standard_is_accepted() {
        assert_eq!(answer(GOOD), Ok(Some((GOOD.len(), None))));
        let news = GOOD.replacen("\r\n\r\n", "\r\nX-Sockrates-Head: 7\r\n\r\n", 1);
        assert_eq!(answer(&news), Ok(Some((news.len(), Some(7)))));
        assert_eq!(answer(&GOOD[..GOOD.len() - 1]), Ok(None));
    }

    #[test]
    fn any_other_answer_is_refused_with_its_reason() {
        for (from, to, refusal) in [
            ("101 Switching Protocols", "200 OK", Refusal::Status(200)),
            ("HTTP/1.1 101", "HTTP/1.0 101", Refusal::Version),
            ("Upgrade: WebSocket", "Upgrade: h2c", Refusal::NoUpgrade),
            ("keep-alive, Upgrade", "keep-alive", Refusal::NoConnection),
            ("s3pP", "S3pP", Refusal::WrongAccept),
            ("Sec-WebSocket-Accept", "X-Accept", Refusal::WrongAccept),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                Refusal::Extension,
            ),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
                Refusal::Subprotocol,
            ),
        ] {
            assert_eq!(answer(&GOOD.replacen(from, to, 1)), Err(refusal), "{to}");
        }
        assert_eq!(answer("nonsense\r\n\r\n"), Err(Refusal::NotHttp));
        assert_eq!(
            FailureKind::from(Refusal::WrongAccept),
            FailureKind::HandshakeRefused
        );
    }

    #[test]
    fn the_subprotocol_that_was_offered_must_be_chosen() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==".to_owned();
        let lines = format_args!("Host: h\r\n");
        let opening = Opening::new("/", lines, Some("chat".to_owned()), key);
        assert!(
            opening
                .request
                .contains("\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
        );
        let answer = |name: &str| {
            let line = format!("\r\nSec-WebSocket-Protocol: {name}\r\n\r\n");
            check(GOOD.replacen("\r\n\r\n", &line, 1).as_bytes(), &opening)
        };
        assert!(answer("chat").is_ok());
        assert_eq!(answer("other"), Err(Refusal::Subprotocol));
        assert_eq!(check(GOOD.as_bytes(), &opening), Err(Refusal::Subprotocol));
    }
}
