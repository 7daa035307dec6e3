//! Exchanges of one's own, with servers that know nothing of sockrates: what is asked, and which answer counts.
//!
//! Parsed and checked here once; how it travels is the transports' business.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::payload::PayloadKind;

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

/// The HTTP statuses that count: codes and classes, as in `2xx,304`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusSet(Vec<Statuses>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Statuses {
    Code(u16),
    /// The hundreds.
    Class(u16),
}

/// Says that a text names no statuses.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is no list of statuses: write codes from 200 to 599 and classes, separated by commas, as in 2xx,304"
)]
pub struct StatusError(String);

/// How many different messages a connection sends in turn.
pub const SEQUENCE: &str = "{sequence}";

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

    /// Says what is wrong with it: the field, and what would be right.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.http.is_none() && self.websocket.is_none() {
            return Err((
                "workload",
                "is `custom` and has neither `http` nor `websocket`".to_owned(),
            ));
        }
        if let Some(http) = &self.http {
            http.check()?;
        }
        self.websocket
            .as_ref()
            .map_or(Ok(()), MessageExchange::check)
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

    fn check(&self) -> Result<(), (&'static str, String)> {
        check_path("workload.http.path", &self.path)?;
        if self.method.is_empty() || !self.method.bytes().all(is_token) || self.method == "CONNECT"
        {
            return Err((
                "workload.http.method",
                format!(
                    "is `{}`: use a method such as GET or POST",
                    self.method.escape_debug()
                ),
            ));
        }
        if let Some(Content::Base64(text)) = &self.body {
            check_base64("workload.http.body", text)?;
        }
        if let Some(ExpectedBody::Exactly(Content::Base64(text))) = &self.expect_body {
            check_base64("workload.http.expect_body", text)?;
        }
        check_headers("workload.http.headers", &self.headers, &HTTP_OWN)
    }
}

impl MessageExchange {
    fn check(&self) -> Result<(), (&'static str, String)> {
        check_path("workload.websocket.path", &self.path)?;
        check_headers("workload.websocket.headers", &self.headers, &WEBSOCKET_OWN)?;
        if let Some(name) = &self.subprotocol
            && (name.is_empty() || !name.bytes().all(is_token))
        {
            return Err((
                "workload.websocket.subprotocol",
                format!(
                    "is `{}`: use one name without spaces or commas",
                    name.escape_debug()
                ),
            ));
        }
        if let Some(Content::Base64(text)) = &self.expect_message {
            check_base64("workload.websocket.expect_message", text)?;
        }
        match (self.matching, &self.message, &self.expect_message) {
            (Matching::Echo | Matching::AnyReply, None, _) => Err((
                "workload.websocket.message",
                "is left out: say what to send, or use `receive-only`".to_owned(),
            )),
            (Matching::Echo | Matching::ReceiveOnly, _, Some(_)) => Err((
                "workload.websocket.expect_message",
                "is for `any-reply`: an echo is compared with what was sent".to_owned(),
            )),
            _ => Ok(()),
        }
    }

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

    /// Says whether the messages of a ring differ.
    pub fn has_sequence(&self) -> bool {
        match &self.message {
            Some(Message::Text(text)) => text.contains(SEQUENCE),
            Some(Message::Random(_)) => true,
            None => false,
        }
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

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![Statuses::Class(2)])
    }
}

impl StatusSet {
    /// Says whether a status counts.
    pub fn holds(&self, status: u16) -> bool {
        self.0.iter().any(|statuses| match statuses {
            Statuses::Code(code) => status == *code,
            Statuses::Class(class) => status / 100 == *class,
        })
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, statuses) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match statuses {
                Statuses::Code(code) => write!(f, "{comma}{code}")?,
                Statuses::Class(class) => write!(f, "{comma}{class}xx")?,
            }
        }
        Ok(())
    }
}

impl FromStr for StatusSet {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let parse = |part: &str| match part.as_bytes() {
            [class @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                Some(Statuses::Class(u16::from(class - b'0')))
            }
            [b'2'..=b'5', _, _] => part.parse().ok().map(Statuses::Code),
            _ => None,
        };
        let all: Option<Vec<_>> = text.split(',').map(|part| parse(part.trim())).collect();
        all.map(Self).ok_or_else(|| StatusError(text.to_owned()))
    }
}

/// A set is its text on disk.
impl Serialize for StatusSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StatusSet {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusSet".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[2-5]([0-9]{2}|xx)(,[2-5]([0-9]{2}|xx))*$",
            "description": "codes and classes, separated by commas"
        })
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

/// Headers that follow from the lane and the body.
const HTTP_OWN: [(&str, &str); 3] = [
    ("connection", "the lifecycle decides on it"),
    ("content-length", "it follows from the body"),
    ("transfer-encoding", "a body is sent with its length"),
];
const WEBSOCKET_OWN: [(&str, &str); 6] = [
    ("connection", "the handshake sets it"),
    ("upgrade", "the handshake sets it"),
    ("sec-websocket-key", "the handshake sets it"),
    ("sec-websocket-version", "the handshake sets it"),
    ("sec-websocket-protocol", "use the subprotocol"),
    ("sec-websocket-extensions", "no extension is spoken"),
];

fn check_headers(
    field: &'static str,
    headers: &[Header],
    own: &[(&str, &str)],
) -> Result<(), (&'static str, String)> {
    for (name, value) in headers {
        let shown = name.escape_debug();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err((
                field,
                format!("has the name `{shown}`: use letters, digits and `-`"),
            ));
        }
        // Field values are visible characters, spaces and tabs (RFC 9110 section 5.5).
        if value
            .bytes()
            .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
        {
            return Err((field, format!("has a control character in `{shown}`")));
        }
        let same = |(taken, _): &&(&str, &str)| name.eq_ignore_ascii_case(taken);
        if let Some((_, why)) = own.iter().find(same) {
            return Err((field, format!("has `{shown}`: {why}")));
        }
    }
    Ok(())
}

fn check_path(field: &'static str, path: &str) -> Result<(), (&'static str, String)> {
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        let shown = path.escape_debug();
        Err((
            field,
            format!("is `{shown}`: begin with `/`, and write other characters as %XX"),
        ))
    }
}

fn check_base64(field: &'static str, text: &str) -> Result<(), (&'static str, String)> {
    match BASE64.decode(text) {
        Ok(_) => Ok(()),
        Err(error) => Err((field, format!("is not base64: {error}"))),
    }
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
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
    fn what_would_break_a_head_is_refused_by_name() {
        let refused = |change: fn(&mut HttpExchange)| {
            let mut http = get("/");
            change(&mut http);
            http.check().unwrap_err()
        };
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let injected = HttpExchange {
            headers: header("a", "b\r\nc: d"),
            ..get("/")
        };
        assert!(
            injected
                .check()
                .unwrap_err()
                .1
                .contains("control character")
        );
        let own = HttpExchange {
            headers: header("Content-Length", "5"),
            ..get("/")
        };
        assert!(own.check().unwrap_err().1.contains("follows from the body"));
        let odd = HttpExchange {
            headers: header("a b", "c"),
            ..get("/")
        };
        assert!(odd.check().unwrap_err().1.contains("`a b`"));
        assert_eq!(
            refused(|http| http.path = "a".to_owned()).0,
            "workload.http.path"
        );
        assert_eq!(
            refused(|http| http.path = "/ö".to_owned()).0,
            "workload.http.path"
        );
        assert_eq!(
            refused(|http| http.method = "GET X".to_owned()).0,
            "workload.http.method"
        );
        let garbled = |http: &mut HttpExchange| http.body = Some(Content::Base64("?".to_owned()));
        assert_eq!(refused(garbled).0, "workload.http.body");
    }

    #[test]
    fn messages_need_a_way_to_be_matched() {
        let parse = |text: &str| toml::from_str::<MessageExchange>(text).unwrap().check();
        assert!(parse("path = '/'").unwrap_err().1.contains("receive-only"));
        assert_eq!(parse("path = '/'\nmatching = 'receive-only'"), Ok(()));
        let echo = "path = '/'\nmessage = { text = 'a' }\nexpect_message = { text = 'b' }";
        assert!(parse(echo).unwrap_err().1.contains("any-reply"));
        assert_eq!(parse(&format!("{echo}\nmatching = 'any-reply'")), Ok(()));
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

    #[test]
    fn statuses_are_codes_and_classes() {
        let set: StatusSet = "2xx, 304".parse().unwrap();
        assert_eq!(set.to_string(), "2xx,304");
        assert!(set.holds(299) && set.holds(304) && !set.holds(301));
        assert!(StatusSet::default().holds(204));
        for wrong in ["", "2", "200,", "1xx", "600", "abc", "20x", "2000"] {
            assert!(
                wrong
                    .parse::<StatusSet>()
                    .unwrap_err()
                    .to_string()
                    .contains(wrong)
            );
        }
    }

    proptest! {
        #[test]
        fn content_keeps_its_bytes(bytes: Vec<u8>) {
            prop_assert_eq!(Content::of(&bytes).bytes(), bytes);
        }
    }
}
