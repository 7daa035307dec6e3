//! Exchanges of one's own, with servers that know nothing of sockrates: what is asked, and which answer counts.
//!
//! Parsed and checked here once; how it travels is the transports' business.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::payload::PayloadKind;

mod check;
mod status;

pub use status::{StatusError, StatusSet};

/// What clients of a `custom` workload do, over either protocol; a lane needs the part of its own.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// The request, over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpExchange>,
    /// The messages, over WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<MessageExchange>,
}

/// A header's name and value.
pub type Header = (String, String);

/// A request and the reply that counts.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpExchange {
    /// Path and query, as they stand in the request line.
    pub path: String,
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// Further headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// The request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Content>,
    /// The statuses that count as an answer.
    #[serde(default)]
    pub expect_status: StatusSet,
    /// What the reply's body must be; absent, any will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_body: Option<ExpectedBody>,
}

/// Messages and the replies that count.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MessageExchange {
    /// Path and query of the handshake.
    pub path: String,
    /// Further headers of the handshake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// The only subprotocol that is offered, and must be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subprotocol: Option<String>,
    /// What is sent; with `receive-only`, once when the connection is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Whether it is sent as text or as binary.
    #[serde(default = "text")]
    pub kind: PayloadKind,
    /// Which message answers.
    #[serde(default)]
    pub matching: Matching,
    /// What the answer must be, where any message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_message: Option<Content>,
}

/// Bytes that are written as text where they are text.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Base64(String),
}

/// What a reply's body must be.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedBody {
    /// The request's body.
    Echo,
    /// These bytes.
    Exactly(Content),
}

/// A message to send.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// So many random bytes: a ring of messages, each different.
    Random(u32),
    /// This text; `{sequence}` in it becomes a number, so that a ring of messages differs.
    Text(String),
}

/// Which message answers one that was sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// The one that says the same, by content and by its place in the ring.
    #[default]
    Echo,
    /// The next one.
    AnyReply,
    /// None: the server speaks, and the times between its messages are measured.
    ReceiveOnly,
}

/// So many random bytes are never twice the same in a ring.
const DISTINCT_BYTES: u32 = 8;
/// What becomes a number in a message's text.
const SEQUENCE: &str = "{sequence}";

fn get() -> String {
    "GET".to_owned()
}

const fn text() -> PayloadKind {
    PayloadKind::Text
}

impl Custom {
    /// Returns the length of what is sent, over the first protocol there is.
    pub fn payload_bytes(&self) -> u32 {
        let of_http = |http: &HttpExchange| http.body.as_ref().map_or(0, Content::len);
        let of_websocket = |websocket: &MessageExchange| match &websocket.message {
            Some(Message::Random(bytes)) => *bytes as usize,
            Some(Message::Text(text)) => text.len(),
            None => 0,
        };
        let length = match (&self.http, &self.websocket) {
            (Some(http), _) => of_http(http),
            (None, Some(websocket)) => of_websocket(websocket),
            (None, None) => 0,
        };
        u32::try_from(length).unwrap_or(u32::MAX)
    }

    /// Says whether clients only listen.
    pub fn listens(&self) -> bool {
        let websocket = self.websocket.as_ref();
        websocket.is_some_and(|websocket| websocket.matching == Matching::ReceiveOnly)
    }
}

impl HttpExchange {
    /// Returns the bytes of the request on the wire (RFC 9112 section 3), the last one on its connection or not.
    pub fn request(&self, host: &str, is_last: bool) -> Vec<u8> {
        let Self {
            path,
            method,
            headers,
            body,
            ..
        } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        head += &host_header(headers, host);
        head += &header_lines(headers);
        if is_last {
            head += "Connection: close\r\n";
        }
        let body = body.as_ref().map(Content::bytes);
        // A method that means something with a body says so without one, too (RFC 9110 section 8.6).
        if body.is_some() || ["POST", "PUT", "PATCH"].contains(&method.as_str()) {
            head += &format!("Content-Length: {}\r\n", body.as_ref().map_or(0, Vec::len));
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend(body.unwrap_or_default());
        bytes
    }

    /// Returns the bytes that the reply's body must be, if it must.
    pub fn expected_body(&self) -> Option<Vec<u8>> {
        match self.expect_body.as_ref()? {
            ExpectedBody::Echo => Some(self.body.as_ref().map(Content::bytes).unwrap_or_default()),
            ExpectedBody::Exactly(content) => Some(content.bytes()),
        }
    }
}

impl MessageExchange {
    /// Returns the message at one place of the ring of a slot: the same arguments always give the same bytes. None where
    /// nothing is sent.
    pub fn message(&self, seed: u64, index: u64) -> Option<Vec<u8>> {
        match self.message.as_ref()? {
            Message::Random(bytes) => Some(crate::payload::generate(
                self.kind,
                *bytes as usize,
                seed,
                index,
            )),
            Message::Text(text) => Some(text.replace(SEQUENCE, &index.to_string()).into_bytes()),
        }
    }

    /// Says whether the messages of a ring differ, so that an answer tells what it answers.
    pub fn has_sequence(&self) -> bool {
        match &self.message {
            Some(Message::Text(text)) => text.contains(SEQUENCE),
            Some(Message::Random(bytes)) => *bytes >= DISTINCT_BYTES,
            None => false,
        }
    }
}

/// Returns whether a header of this name may carry what nobody else should know.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "auth",
        "cookie",
        "key",
        "token",
        "secret",
        "password",
        "credential",
        "session",
    ];
    words.iter().any(|word| name.contains(word))
}

/// What stands for a secret where it is not kept.
pub const REDACTED: &str = "(not kept)";

impl Custom {
    /// Takes the values of secret headers away.
    pub fn redact(&mut self) {
        let http = self.http.iter_mut().map(|exchange| &mut exchange.headers);
        let websocket = self
            .websocket
            .iter_mut()
            .map(|exchange| &mut exchange.headers);
        for (name, value) in http.chain(websocket).flatten() {
            if is_secret(name) {
                REDACTED.clone_into(value);
            }
        }
    }

    /// Returns whether it lacks a secret that was taken away.
    pub fn is_redacted(&self) -> bool {
        let http = self.http.iter().flat_map(|exchange| &exchange.headers);
        let websocket = self.websocket.iter().flat_map(|exchange| &exchange.headers);
        http.chain(websocket)
            .any(|(name, value)| is_secret(name) && value == REDACTED)
    }
}

/// Returns the `Host` line, unless the headers have one.
pub fn host_header(headers: &[Header], host: &str) -> String {
    if headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        String::new()
    } else {
        format!("Host: {host}\r\n")
    }
}

/// Returns headers as they stand in a head.
pub fn header_lines(headers: &[Header]) -> String {
    let line = |(name, value): &Header| format!("{name}: {value}\r\n");
    headers.iter().map(line).collect()
}

impl Content {
    /// Wraps bytes: as text where they are text without control characters but line ends and tabs.
    pub fn of(bytes: &[u8]) -> Self {
        let is_plain = |text: &&str| {
            let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
            !text.contains(is_odd)
        };
        match std::str::from_utf8(bytes).ok().filter(is_plain) {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Base64(BASE64.encode(bytes)),
        }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            // Checked with the scenario.
            Self::Base64(text) => BASE64.decode(text).unwrap_or_default(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Base64(_) => self.bytes().len(),
        }
    }
}

impl Matching {
    /// Returns the name used in scenario files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::AnyReply => "any-reply",
            Self::ReceiveOnly => "receive-only",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> HttpExchange {
        toml::from_str(&format!("path = {path:?}")).unwrap()
    }

    #[test]
    fn a_request_is_written_as_the_standard_says() {
        let plain = get("/a?b=c");
        assert_eq!(
            plain.request("h:1", false),
            b"GET /a?b=c HTTP/1.1\r\nHost: h:1\r\n\r\n"
        );
        let full = HttpExchange {
            method: "POST".to_owned(),
            headers: vec![("hOsT".to_owned(), "other".to_owned())],
            body: Some(Content::of(b"\0x")),
            ..plain.clone()
        };
        assert_eq!(
            full.request("h:1", true),
            b"POST /a?b=c HTTP/1.1\r\nhOsT: other\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\0x"
        );
        let empty = HttpExchange {
            method: "PUT".to_owned(),
            ..plain
        };
        let text = String::from_utf8(empty.request("h", false)).unwrap();
        assert!(text.contains("Content-Length: 0\r\n"), "{text}");
    }

    #[test]
    fn a_ring_of_messages_differs_where_it_can() {
        let text = |text: &str| MessageExchange {
            message: Some(Message::Text(text.to_owned())),
            ..toml::from_str("path = '/'").unwrap()
        };
        let numbered = text("{\"id\": {sequence}}");
        assert_eq!(numbered.message(1, 7).unwrap(), b"{\"id\": 7}");
        assert!(numbered.has_sequence() && !text("same").has_sequence());
        let random = MessageExchange {
            message: Some(Message::Random(9)),
            ..text("")
        };
        assert_ne!(random.message(1, 0), random.message(1, 1));
        assert_eq!(random.message(1, 0), random.message(1, 0));
    }

    proptest! {
        #[test]
        fn content_keeps_its_bytes(bytes: Vec<u8>) {
            prop_assert_eq!(Content::of(&bytes).bytes(), bytes);
        }
    }
}
