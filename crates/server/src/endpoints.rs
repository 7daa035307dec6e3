//! What the HTTP endpoints answer.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use sockrates_core::publishing::{parameter, whole_number};

use crate::reply::{self, BINARY, Refusal, Reply, TEXT};
use crate::worker::Shared;

/// Answers with the request's body. A body that arrives in one piece is not copied.
pub(crate) async fn echo(body: Incoming, limit: usize) -> Result<Reply, Refusal> {
    Ok(reply::ok(BINARY, whole(body, limit).await?))
}

/// Answers with the beginning of the payload.
pub(crate) fn payload(query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let bytes = parameter(query, "bytes")
        .and_then(whole_number::<usize>)
        .filter(|bytes| *bytes <= shared.limits.message_bytes)
        .ok_or(Refusal::Malformed(
            "bytes must be a number up to the limit of messages\n",
        ))?;
    Ok(reply::ok(BINARY, shared.payload().slice(..bytes)))
}

/// Answers that the server is there.
pub(crate) fn health() -> Reply {
    reply::ok(TEXT, Bytes::from_static(b"ok"))
}

/// Collects a body of bounded length.
pub(crate) async fn whole(mut body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    // The announced length; nothing is read, nor a waiting client told to go on, when it is too much.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refusal::TooLong);
    }
    let Some(first) = piece(&mut body, limit).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut all = BytesMut::with_capacity(announced.max(first.len()));
    all.extend_from_slice(&first);
    while let Some(next) = piece(&mut body, limit - all.len()).await? {
        all.extend_from_slice(&next);
    }
    Ok(all.freeze())
}

/// Returns the next bytes of a body for which there is still so much room; `None` at its end. Trailers are ignored.
async fn piece(body: &mut Incoming, room: usize) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Malformed("broken body\n"))?;
        match frame.into_data() {
            Ok(bytes) if bytes.len() > room => return Err(Refusal::TooLong),
            Ok(bytes) => return Ok(Some(bytes)),
            Err(_trailers) => {}
        }
    }
    Ok(None)
}
