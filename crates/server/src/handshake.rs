//! The opening handshake of a WebSocket, checked to the letter (RFC 6455 section 4.2.1).
//!
//! fastwebsockets looks only at the version and for a key; this is the rest.

use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Request, Version};

use crate::reply::Refusal;

/// Checks a `GET` request.
pub(crate) fn check<B: Body>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    if !has_token(headers, &header::CONNECTION, "upgrade")
        || !has_token(headers, &header::UPGRADE, "websocket")
        || only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(b"13")
    {
        return Err(Refusal::UpgradeNeeded);
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::Malformed("WebSocket needs HTTP/1.1\n"));
    }
    if !request.body().is_end_stream() {
        return Err(Refusal::Malformed("a handshake has no body\n"));
    }
    if !only(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err(Refusal::Malformed(
            "one Sec-WebSocket-Key of 16 bytes in base64 is needed\n",
        ));
    }
    let Some(host) = only(headers, &header::HOST) else {
        return Err(Refusal::Malformed("one Host is needed\n"));
    };
    if headers.contains_key(header::ORIGIN)
        && !only(headers, &header::ORIGIN).is_some_and(|o| is_at(o, host))
    {
        return Err(Refusal::Foreign);
    }
    Ok(())
}

/// Returns whether a header that is a list of tokens, maybe over several lines, holds this one.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// Returns whether this is base64 of 16 bytes: 21 digits, one whose lower four bits are unused and zero, two pads.
fn is_key(value: &[u8]) -> bool {
    let Some([digits @ .., last, b'=', b'=']) = value.first_chunk::<24>() else {
        return false;
    };
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    value.len() == 24 && digits.iter().all(is_digit) && b"AQgw".contains(last)
}

/// Returns whether a page of this origin came from this host. Browsers send the origin; other clients need not.
fn is_at(origin: &[u8], host: &[u8]) -> bool {
    [&b"http://"[..], b"https://"]
        .iter()
        .filter_map(|scheme| origin.strip_prefix(*scheme))
        .any(|origin_host| origin_host.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn checked(changes: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let mut headers = vec![
            ("host", "here:80"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        headers.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        headers.extend(changes.iter().filter(|(_, value)| *value != "-"));
        let request = headers
            .into_iter()
            .fold(Request::get("/ws/echo"), |request, (name, value)| {
                request.header(name, value)
            });
        check(&request.body(Empty::<Bytes>::new()).unwrap())
    }

    #[test]
    fn what_browsers_and_proxies_send_is_accepted() {
        assert_eq!(checked(&[]), Ok(()));
        assert_eq!(
            checked(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "h2c,WebSocket")
            ]),
            Ok(())
        );
        assert_eq!(
            checked(&[("connection", "keep-alive"), ("connection", "upgrade")]),
            Ok(())
        );
        assert_eq!(checked(&[("origin", "http://HERE:80")]), Ok(()));
    }

    #[test]
    fn whoever_asks_for_something_else_is_told_what_there_is() {
        for change in [
            ("connection", "keep-alive"),
            ("connection", "xupgrade"),
            ("connection", "-"),
            ("upgrade", "h2c"),
            ("upgrade", "-"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-version", "-"),
        ] {
            assert_eq!(
                checked(&[change]),
                Err(Refusal::UpgradeNeeded),
                "{change:?}"
            );
        }
    }

    #[test]
    fn only_one_key_of_sixteen_bytes_will_do() {
        for key in [
            "-",
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25!ZQ==",
            "dGhlIHNhbXBsZSBub25jZQ==AAAA",
        ] {
            assert!(
                matches!(
                    checked(&[("sec-websocket-key", key)]),
                    Err(Refusal::Malformed(_))
                ),
                "{key}"
            );
        }
        let twice = [("sec-websocket-key", KEY), ("sec-websocket-key", KEY)];
        assert!(matches!(checked(&twice), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for origin in [
            "http://evil.example",
            "null",
            "here:80",
            "http://here:81",
            "http://here:80.evil.example",
        ] {
            assert_eq!(
                checked(&[("origin", origin)]),
                Err(Refusal::Foreign),
                "{origin}"
            );
        }
        let twice = [
            ("origin", "http://here:80"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(checked(&twice), Err(Refusal::Foreign));
    }

    #[test]
    fn host_version_and_empty_body_are_needed() {
        assert!(matches!(
            checked(&[("host", "-")]),
            Err(Refusal::Malformed(_))
        ));
        let request = Request::get("/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", KEY)
            .header("host", "here");
        let mut request = request.body(Full::new(Bytes::from_static(b"x"))).unwrap();
        assert!(matches!(check(&request), Err(Refusal::Malformed(_))));
        *request.body_mut() = Full::default();
        assert_eq!(check(&request), Ok(()));
        *request.version_mut() = Version::HTTP_10;
        assert!(matches!(check(&request), Err(Refusal::Malformed(_))));
    }
}
