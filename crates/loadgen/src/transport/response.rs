//! HTTP/1.1 responses, parsed as they arrive: RFC 9112, as far as a client that asks for nothing
//! exotic needs it. The head is `httparse`'s work; the rules for the body's length are here.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};
use sockrates_core::failure::FailureKind;
use sockrates_core::target;

/// More headers than any honest small reply has.
const MAX_HEADERS: usize = 64;

/// A response's head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// How many bytes the head takes, with its empty line.
    pub bytes: usize,
    /// The status code.
    pub status: u16,
    /// How the body ends.
    pub body: Body,
    /// Whether the server will close the connection after this response.
    pub closes: bool,
    /// The sequence of the topic's latest update, where it is said.
    pub news: Option<u64>,
    /// The sequence of the oldest update that can still be had, where it is said.
    pub oldest: Option<u64>,
}

/// How a response's body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Parses the head at the start of `bytes`; `None` when it is not complete yet.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head>, FailureKind> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let Status::Complete(length) = parsed.map_err(|_| FailureKind::Protocol)? else {
        return Ok(None);
    };
    let status = response.code.ok_or(FailureKind::Protocol)?;
    let is_http_1_1 = response.version == Some(1);
    let fields = Fields::read(response.headers)?;
    let closes = fields.close || !(is_http_1_1 || fields.keep_alive);
    let body = if status < 200 || status == 204 || status == 304 {
        Body::Length(0)
    } else {
        fields.body()?
    };
    Ok(Some(Head {
        bytes: length,
        status,
        body,
        closes: closes || body == Body::UntilClose,
        news: fields.news,
        oldest: fields.oldest,
    }))
}

/// The header fields that decide how a response ends.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    news: Option<u64>,
    oldest: Option<u64>,
}

impl Fields {
    fn read(headers: &[Header<'_>]) -> Result<Self, FailureKind> {
        let mut fields = Self::default();
        for Header { name, value } in headers {
            // Most headers matter not: their lengths tell without comparing them.
            match name.len() {
                14 if name.eq_ignore_ascii_case("content-length") => fields.set_length(value)?,
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    fields.set_encoding(value)?;
                }
                10 if name.eq_ignore_ascii_case("connection") => fields.set_connection(value),
                16 if name.eq_ignore_ascii_case(target::HEAD_HEADER) => {
                    fields.news = sequence(value);
                }
                18 if name.eq_ignore_ascii_case(target::OLDEST_HEADER) => {
                    fields.oldest = sequence(value);
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    /// Digits only, and the same number if it comes twice: anything else hides a second message.
    fn set_length(&mut self, value: &[u8]) -> Result<(), FailureKind> {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| is_number);
        let length = text
            .and_then(|text| text.parse().ok())
            .ok_or(FailureKind::Protocol)?;
        if self.length.is_some_and(|earlier| earlier != length) {
            return Err(FailureKind::Protocol);
        }
        self.length = Some(length);
        Ok(())
    }

    /// No other coding was offered.
    fn set_encoding(&mut self, value: &[u8]) -> Result<(), FailureKind> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(FailureKind::Protocol);
        }
        self.chunked = true;
        Ok(())
    }

    fn set_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    const fn body(&self) -> Result<Body, FailureKind> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(FailureKind::Protocol),
            (true, None) => Ok(Body::Chunked),
            (false, Some(length)) => Ok(Body::Length(length)),
            (false, None) => Ok(Body::UntilClose),
        }
    }
}

fn sequence(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Option<Head>, FailureKind> {
        parse_head(text.as_bytes())
    }

    fn body(headers: &str) -> Result<Body, FailureKind> {
        head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).map(|head| head.unwrap().body)
    }

    #[test]
    fn the_body_ends_as_its_head_says() {
        assert_eq!(body("Content-Length: 64\r\n"), Ok(Body::Length(64)));
        assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(Body::Chunked));
        assert_eq!(body(""), Ok(Body::UntilClose));
        let no_body = head("HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!((no_body.body, no_body.closes), (Body::Length(0), false));
        assert_eq!(
            head("HTTP/1.1 100 Continue\r\n\r\n")
                .unwrap()
                .unwrap()
                .status,
            100
        );
    }

    #[test]
    fn the_connection_header_is_understood() {
        let closes = |version, headers| {
            let text = format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n{headers}\r\n");
            head(&text).unwrap().unwrap().closes
        };
        assert!(!closes("1.1", ""));
        assert!(closes("1.1", "Connection: Close\r\n"));
        assert!(closes("1.1", "Connection: upgrade, close\r\n"));
        assert!(closes("1.0", ""));
        assert!(!closes("1.0", "connection: keep-alive\r\n"));
    }

    #[test]
    fn hostile_heads_are_protocol_errors() {
        for headers in [
            "Content-Length: -1\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "no colon\r\n",
        ] {
            assert_eq!(body(headers), Err(FailureKind::Protocol), "{headers}");
        }
        assert_eq!(
            body(&"a: b\r\n".repeat(MAX_HEADERS + 1)),
            Err(FailureKind::Protocol)
        );
        assert_eq!(head("HTTP/2 200 OK\r\n\r\n"), Err(FailureKind::Protocol));
        assert_eq!(head("SSH-2.0-OpenSSH\r\n"), Err(FailureKind::Protocol));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_a_panic(bytes: Vec<u8>) {
            let _ = parse_head(&bytes);
        }

        #[test]
        fn an_incomplete_head_is_never_mistaken_for_a_whole_one(cut in 0usize..57) {
            let text = "HTTP/1.1 200 OK\r\ncontent-length: 64\r\ndate: Thu, 1 Jan\r\n\r\n";
            prop_assert_eq!(text.len(), 57);
            prop_assert_eq!(head(&text[..cut]), Ok(None));
        }
    }
}
