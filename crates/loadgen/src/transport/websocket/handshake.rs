//! The opening handshake (RFC 6455 section 4.1), with the checks that make a connection a WebSocket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use fastwebsockets::handshake::generate_key;
use httparse::{EMPTY_HEADER, Header, Response, Status};
use sha1::{Digest, Sha1};
use sockrates_core::failure::FailureKind;
use sockrates_core::target;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::transport::tcp::read_some;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// An answer has a handful of headers.
const MAX_HEAD_BYTES: usize = 4096;
const MAX_HEADERS: usize = 32;

/// What an upgrade gave.
#[derive(Debug)]
pub(super) struct Upgraded {
    /// What came behind the answer.
    pub(super) early: Bytes,
    /// The sequence of the topic's latest update, where it is said.
    pub(super) news: Option<u64>,
}

/// Asks for the upgrade at a path with its query, and checks the answer.
pub(super) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &str,
    target: &str,
) -> Result<Upgraded, FailureKind> {
    let key = generate_key();
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| FailureKind::of_io(&error))?;
    let mut buffer = [0; MAX_HEAD_BYTES];
    let mut filled = 0;
    loop {
        filled += read_some(stream, &mut buffer[filled..]).await?;
        if let Some((length, news)) = check(&buffer[..filled], &accept(&key))? {
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
fn check(bytes: &[u8], accept: &str) -> Result<Option<(usize, Option<u64>)>, FailureKind> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|_| FailureKind::Protocol)?;
    let Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let headers = &*response.headers;
    let agrees = response.code == Some(101)
        && has_token(headers, "upgrade", "websocket")
        && has_token(headers, "connection", "upgrade")
        && values(headers, "sec-websocket-accept").eq([accept.as_bytes()])
        // Neither was offered, so that neither may be chosen.
        && values(headers, "sec-websocket-extensions").next().is_none()
        && values(headers, "sec-websocket-protocol").next().is_none();
    if agrees {
        let news = values(headers, target::HEAD_HEADER).next();
        let news = news.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        Ok(Some((length, news)))
    } else {
        Err(FailureKind::HandshakeRefused)
    }
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

    fn answer(text: &str) -> Result<Option<(usize, Option<u64>)>, FailureKind> {
        // The key and its answer of RFC 6455 section 1.3.
        check(text.as_bytes(), &accept("dGhlIHNhbXBsZSBub25jZQ=="))
    }

    #[test]
    fn the_answer_of_the_standard_is_accepted() {
        assert_eq!(answer(GOOD), Ok(Some((GOOD.len(), None))));
        let news = GOOD.replacen("\r\n\r\n", "\r\nX-Sockrates-Head: 7\r\n\r\n", 1);
        assert_eq!(answer(&news), Ok(Some((news.len(), Some(7)))));
        assert_eq!(answer(&GOOD[..GOOD.len() - 1]), Ok(None));
    }

    #[test]
    fn any_other_answer_is_refused() {
        for (from, to) in [
            ("101 Switching Protocols", "200 OK"),
            ("Upgrade: WebSocket", "Upgrade: h2c"),
            ("keep-alive, Upgrade", "keep-alive"),
            ("s3pP", "S3pP"),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            ),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
        ] {
            let refused = answer(&GOOD.replacen(from, to, 1));
            assert_eq!(refused, Err(FailureKind::HandshakeRefused), "{to}");
        }
        assert_eq!(answer("nonsense\r\n\r\n"), Err(FailureKind::Protocol));
    }
}
