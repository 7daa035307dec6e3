//! What an exchange of one's own may say: each fault with the field's name, and what would be right.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Content, Custom, ExpectedBody, Header, HttpExchange, Matching, MessageExchange};

/// A field, and what is wrong with it.
type Fault = (&'static str, String);

impl Custom {
    /// Says what is wrong with it: the field, and what would be right.
    pub(crate) fn check(&self) -> Result<(), Fault> {
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
    fn check(&self) -> Result<(), Fault> {
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
    fn check(&self) -> Result<(), Fault> {
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
) -> Result<(), Fault> {
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

fn check_path(field: &'static str, path: &str) -> Result<(), Fault> {
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

fn check_base64(field: &'static str, text: &str) -> Result<(), Fault> {
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
    use super::*;

    fn get(path: &str) -> HttpExchange {
        toml::from_str(&format!("path = {path:?}")).unwrap()
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
}
