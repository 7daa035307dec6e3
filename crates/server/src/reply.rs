//! HTTP replies: few and fixed headers, so that replies of different endpoints cost alike.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// A reply, complete in memory.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Makes a reply of this kind.
pub(crate) fn ok(content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    let content_type = HeaderValue::from_static(content_type);
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    reply
}

/// Makes a reply without a body.
pub(crate) fn no_content() -> Reply {
    let mut reply = Response::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
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
    Malformed(&'static str),
    /// The body is longer than the server takes.
    TooLong,
    /// The path speaks WebSocket only, in version 13.
    UpgradeNeeded,
    /// A page of another site asks.
    Foreign,
}

impl Refusal {
    /// Makes the reply that says so.
    pub(crate) fn reply(&self) -> Reply {
        let (status, message) = match self {
            Self::Unknown(what) => (StatusCode::NOT_FOUND, *what),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "wrong method, see Allow\n"),
            Self::Malformed(what) => (StatusCode::BAD_REQUEST, *what),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "body above the limit\n"),
            Self::UpgradeNeeded => (StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 only\n"),
            Self::Foreign => (StatusCode::FORBIDDEN, "origin is not this server\n"),
        };
        let mut reply = ok(TEXT, Bytes::from_static(message.as_bytes()));
        *reply.status_mut() = status;
        for (name, value) in self.headers() {
            reply
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
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
