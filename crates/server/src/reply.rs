//! HTTP replies: few and fixed headers, so that replies of different endpoints cost alike.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use sockrates_core::publishing::QueryError;
use sockrates_core::target;

use crate::events::{Events, Source};
use crate::worker::Shared;

/// A reply.
pub(crate) type Reply = Response<Body>;

/// What a reply carries: bytes, complete in memory, or a stream of events.
pub(crate) type Body = Either<Full<Bytes>, Events>;

/// Makes a reply of this kind.
pub(crate) fn ok(content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    let content_type = HeaderValue::from_static(content_type);
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    reply
}

/// Makes a reply that is a stream of events.
pub(crate) fn events(source: Source) -> Reply {
    let mut reply = Response::new(Either::Right(Events::new(source)));
    let fixed = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        reply
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// Says the sequence of the last thing that a reply brings, or else of the latest one.
pub(crate) fn with_head(mut reply: Reply, head: u64) -> Reply {
    reply.headers_mut().insert(HEAD, HeaderValue::from(head));
    reply
}

/// Makes a reply without a body.
pub(crate) fn no_content() -> Reply {
    let mut reply = Response::new(Either::Left(Full::default()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}

/// Says that something was made, or replaced.
pub(crate) fn made(is_new: bool) -> Reply {
    let mut reply = Response::new(Either::Left(Full::default()));
    if is_new {
        *reply.status_mut() = StatusCode::CREATED;
    }
    reply
}

/// Refuses to publish what clients could not take.
pub(crate) fn check_payload(bytes: u32, shared: &Shared) -> Result<(), Refusal> {
    if bytes as usize <= shared.limits.message_bytes {
        return Ok(());
    }
    Err(Refusal::Query(QueryError {
        name: "bytes",
        form: "at most the limit of messages",
    }))
}

/// Why a request gets no answer of the kind it asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// No such path or topic.
    Unknown(&'static str),
    /// Another method is needed.
    Method(&'static str),
    /// Others may read the request otherwise than this server does.
    Ambiguous(&'static str),
    /// The request says nothing sensible.
    Malformed(&'static str),
    /// The query does not say what to publish.
    Query(QueryError),
    /// What a topic is asked for makes no sense.
    Senseless { what: &'static str, head: u64 },
    /// The history of a topic does not reach back to what the client needs.
    Missed { oldest: u64, head: u64 },
    /// The body is longer than the server takes.
    TooLong,
    /// The path speaks WebSocket only, in version 13.
    UpgradeNeeded,
    /// A page of another site asks.
    Foreign,
    /// Only members may.
    NoMember,
    /// Somebody else has what is asked for.
    Conflict(&'static str),
    /// There are as many as there may be.
    Full(&'static str),
}

impl Refusal {
    /// Makes the reply that says so.
    pub(crate) fn reply(&self) -> Reply {
        let (status, message) = match self {
            Self::Query(error) => {
                return self.with(StatusCode::BAD_REQUEST, format!("{error}\n").into());
            }
            Self::Unknown(what) => (StatusCode::NOT_FOUND, *what),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "wrong method, see Allow\n"),
            Self::Malformed(what) | Self::Ambiguous(what) | Self::Senseless { what, .. } => {
                (StatusCode::BAD_REQUEST, *what)
            }
            Self::Missed { .. } => (StatusCode::GONE, "the history does not reach back so far\n"),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "body above the limit\n"),
            Self::UpgradeNeeded => (StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 only\n"),
            Self::Foreign => (StatusCode::FORBIDDEN, "origin is not this server\n"),
            Self::NoMember => (StatusCode::FORBIDDEN, "no member: poll or follow first\n"),
            Self::Conflict(what) => (StatusCode::CONFLICT, *what),
            Self::Full(what) => (StatusCode::SERVICE_UNAVAILABLE, *what),
        };
        self.with(status, Bytes::from_static(message.as_bytes()))
    }

    fn with(&self, status: StatusCode, message: Bytes) -> Reply {
        let mut reply = ok(TEXT, message);
        *reply.status_mut() = status;
        reply.headers_mut().extend(self.headers());
        reply
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let fixed = |name, value| (name, HeaderValue::from_static(value));
        match self {
            Self::Method(allowed) => vec![fixed(header::ALLOW, *allowed)],
            Self::TooLong | Self::Ambiguous(_) => vec![fixed(header::CONNECTION, "close")],
            Self::UpgradeNeeded => vec![
                fixed(header::CONNECTION, "upgrade"),
                fixed(header::UPGRADE, "websocket"),
                fixed(header::SEC_WEBSOCKET_VERSION, "13"),
            ],
            Self::Senseless { head, .. } => vec![(HEAD, (*head).into())],
            Self::Missed { oldest, head } => {
                vec![(OLDEST, (*oldest).into()), (HEAD, (*head).into())]
            }
            _ => Vec::new(),
        }
    }
}

/// Carries the latest sequence, so that a client can begin with the present.
pub(crate) const HEAD: HeaderName = HeaderName::from_static(target::HEAD_HEADER);
const OLDEST: HeaderName = HeaderName::from_static(target::OLDEST_HEADER);
/// For what cannot name a topic, a room, a game or a player.
pub(crate) const BAD_NAME: Refusal =
    Refusal::Malformed("a name is 1 to 64 letters, digits, `-`, `_` and `.`\n");
/// The content type of what people may read.
pub(crate) const TEXT: &str = "text/plain";
/// The content type of payloads.
pub(crate) const BINARY: &str = "application/octet-stream";
