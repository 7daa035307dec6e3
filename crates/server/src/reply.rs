//! HTTP replies: few and fixed headers, so that replies of different endpoints cost alike.

use std::fmt::Display;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use sockrates_core::target;

use crate::events::Events;

/// A reply: complete in memory, or a stream that does not end.
pub(crate) type Reply = Response<Either<Full<Bytes>, Events>>;

/// Makes a reply of this kind.
pub(crate) fn ok(content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    let content_type = HeaderValue::from_static(content_type);
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    reply
}

/// Makes a reply without a body.
pub(crate) fn no_content() -> Reply {
    with_status(StatusCode::NO_CONTENT)
}

/// Makes the reply to having made something, or having replaced it.
pub(crate) fn made(is_new: bool) -> Reply {
    with_status(if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    })
}

/// Makes a reply that is a stream of events.
pub(crate) fn stream(events: Events) -> Reply {
    let mut reply = Response::new(Either::Right(events));
    let content_type = HeaderValue::from_static("text/event-stream");
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    reply
}

/// Makes the reply that another protocol follows upon, with these further headers.
pub(crate) fn switching<B>(upgrade: &Response<B>) -> Reply {
    let mut reply = with_status(upgrade.status());
    *reply.headers_mut() = upgrade.headers().clone();
    reply
}

fn with_status(status: StatusCode) -> Reply {
    let mut reply = Response::new(Either::Left(Full::default()));
    *reply.status_mut() = status;
    reply
}

/// Why a request gets no answer of the kind it asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// No such path or topic.
    Unknown(&'static str),
    /// Another method is needed.
    Method(&'static str),
    /// The request says nothing sensible.
    Malformed(String),
    /// What is asked for is no longer there.
    Gone {
        /// The oldest sequence that is.
        oldest: u64,
        /// The latest.
        head: u64,
    },
    /// There is no room for more.
    Full(&'static str),
    /// Something else is in the way.
    Conflict(&'static str),
    /// The body is longer than the server takes.
    TooLong,
    /// The path speaks WebSocket only, in version 13.
    UpgradeNeeded,
    /// A page of another site asks.
    Foreign,
}

impl Refusal {
    /// Says what is wrong with a request.
    pub(crate) fn malformed(what: impl Display) -> Self {
        Self::Malformed(format!("{what}\n"))
    }

    /// Makes the reply that says so.
    pub(crate) fn reply(&self) -> Reply {
        let (status, message) = match self {
            Self::Unknown(what) => (StatusCode::NOT_FOUND, *what),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "wrong method, see Allow\n"),
            Self::Malformed(what) => (StatusCode::BAD_REQUEST, what.as_str()),
            Self::Gone { .. } => (StatusCode::GONE, "dropped from the history\n"),
            Self::Full(what) => (StatusCode::SERVICE_UNAVAILABLE, *what),
            Self::Conflict(what) => (StatusCode::CONFLICT, *what),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "body above the limit\n"),
            Self::UpgradeNeeded => (StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 only\n"),
            Self::Foreign => (StatusCode::FORBIDDEN, "origin is not this server\n"),
        };
        let mut reply = ok(TEXT, Bytes::copy_from_slice(message.as_bytes()));
        *reply.status_mut() = status;
        for (name, value) in self.headers() {
            reply
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        if let Self::Gone { oldest, head } = self {
            let headers = reply.headers_mut();
            headers.insert(OLDEST, HeaderValue::from(*oldest));
            headers.insert(HEAD, HeaderValue::from(*head));
        }
        reply
    }

    fn headers(&self) -> Vec<(HeaderName, &'static str)> {
        match self {
            Self::Method(allowed) => vec![(header::ALLOW, *allowed)],
            Self::TooLong => vec![(header::CONNECTION, "close")],
            Self::UpgradeNeeded => vec![
                (header::CONNECTION, "upgrade"),
                (header::UPGRADE, "websocket"),
                (header::SEC_WEBSOCKET_VERSION, "13"),
            ],
            _ => Vec::new(),
        }
    }
}

/// The content type of what people may read.
pub(crate) const TEXT: &str = "text/plain";
/// The content type of payloads.
pub(crate) const BINARY: &str = "application/octet-stream";
/// The sequence of the latest update a client then knows.
pub(crate) const HEAD: HeaderName = HeaderName::from_static(target::HEAD_HEADER);
const OLDEST: HeaderName = HeaderName::from_static(target::OLDEST_HEADER);
