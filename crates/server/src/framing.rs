//! What hyper lets pass and another reader of the same bytes may understand otherwise: requests that could be smuggled past a
//! proxy are refused, and end their connection (RFC 9112 sections 3.2, 6.1 and 11.2).
//!
//! hyper refuses different lengths, lists of them, odd codings, folded lines, bare carriage returns and spaces ahead of a colon
//! by itself, and ends a connection whose request has both a length and a coding.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Version};

use crate::reply::Refusal;

/// Checks a request before it is routed.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.as_bytes().iter().copied().all(is_of_a_host) => {}
        (None, None) if request.version() < Version::HTTP_11 => {}
        _ => return Err(Refusal::Ambiguous("one Host is needed, and a sound one\n")),
    }
    if headers.contains_key(header::TRANSFER_ENCODING) && !is_chunked(headers) {
        return Err(Refusal::Ambiguous(
            "the only Transfer-Encoding is chunked, once\n",
        ));
    }
    Ok(())
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next().map(HeaderValue::as_bytes);
    first.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// The characters of a host and its port (RFC 3986 section 3.2.2), but for the `@` of credentials.
fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}
