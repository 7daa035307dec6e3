//! Requests and replies over HTTP/1.1.

use sockrates_core::payload::{self, PayloadKind};

use crate::support::{Client, echo_head, pattern, server};

#[test]
fn bodies_come_back_as_they_were() {
    let server = server();
    let mut client = Client::http(&server);
    for length in [0, 1, 125, 8192, 64 << 10, 1 << 20] {
        let body = pattern(length);
        let reply = client.echo(&body);
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.header("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(reply.header("content-length"), Some(&*length.to_string()));
        assert!(reply.header("date").is_some());
        assert!(reply.body == body, "{length}");
    }
    let usage = server.stop();
    assert_eq!((usage.connections_accepted, usage.operations), (1, 6));
}

#[test]
fn chunked_bodies_come_back_whole() {
    let server = server();
    let mut client = Client::http(&server);
    client.send("POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\nabc\r\n");
    client.send("5;extension=1\r\ndefgh\r\n0\r\ntrailer: x\r\n\r\n");
    assert_eq!(client.reply().text(), "abcdefgh");
    assert_eq!(client.echo(b"next").text(), "next");
}

#[test]
fn a_body_in_single_bytes_comes_back_whole() {
    let server = server();
    let mut client = Client::http(&server);
    let request = [echo_head(20, "").as_bytes(), &pattern(20)].concat();
    for byte in request {
        client.send([byte]);
    }
    assert_eq!(client.reply().body, pattern(20));
}

#[test]
fn a_client_may_ask_before_it_sends() {
    let server = server();
    let mut client = Client::http(&server);
    client.send(echo_head(3, "Expect: 100-continue\r\n"));
    assert_eq!(client.reply().status, 100);
    client.send("abc");
    assert_eq!(client.reply().text(), "abc");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = server();
    let mut client = Client::http(&server);
    let requests: String = (0..20)
        .map(|k| echo_head(2, "") + &format!("{k:02}"))
        .collect();
    client.send(requests);
    for k in 0..20 {
        assert_eq!(client.reply().text(), format!("{k:02}"));
    }
}

#[test]
fn payload_is_the_beginning_of_a_known_stream() {
    let server = server();
    let mut client = Client::http(&server);
    for length in [0, 1, 1000, 1 << 20] {
        let reply = client.get(&format!("/payload?bytes={length}"));
        assert_eq!(reply.status, 200);
        assert!(
            reply.body == payload::generate(PayloadKind::Binary, length, 0, 0),
            "{length}"
        );
    }
    for query in [
        "",
        "?bytes=",
        "?bytes=x",
        "?bytes=-1",
        "?bytes=+5",
        "?bytes=%205",
        "?bytes=5.0",
        "?other=1",
        "?bytes=1048577",
    ] {
        assert_eq!(
            client.get(&format!("/payload{query}")).status,
            400,
            "{query}"
        );
    }
}

/// TARGET.md: whole, decimal and without a sign. `+5` is 5 to some parsers, and ` 5` to those that decode queries.
#[test]
fn numbers_have_no_sign() {
    let server = server();
    let mut client = Client::http(&server);
    assert_eq!(client.put("/duplex/games/g?hz=20").status, 201);
    assert_eq!(client.put("/chat/rooms/r").status, 201);
    for target in [
        "/payload?bytes=",
        "/updates/poll?since=",
        "/updates/long-poll?timeout_ms=",
        "/updates/long-poll?since=",
        "/updates/stream?since=",
        "/duplex/snapshot?game=g&player=p&since=",
        "/duplex/long-poll?game=g&player=p&timeout_ms=",
        "/chat/poll?room=r&member=m&since=",
        "/chat/long-poll?room=r&member=m&timeout_ms=",
        "/chat/stream?room=r&member=m&since=",
    ] {
        for number in ["+0", "+1", "-0", "%2B1", "0x1", "1_0"] {
            let reply = client.get(&format!("{target}{number}"));
            assert_eq!(reply.status, 400, "{target}{number}");
        }
    }
    for target in [
        "/updates/topics/t?rate=",
        "/updates/topics/t?rate=0&bytes=",
        "/updates/topics/t?rate=0&seed=",
        "/duplex/games/h?hz=",
        "/duplex/games/h?hz=20&bytes=",
    ] {
        let reply = client.put(&format!("{target}+1"));
        assert_eq!(reply.status, 400, "{target}");
    }
    let last = "GET /updates/stream HTTP/1.1\r\nHost: here\r\nLast-Event-ID: +0\r\n\r\n";
    assert_eq!(client.request(last).status, 400);
    let input = "POST /duplex/input?game=g&player=p HTTP/1.1\r\nHost: here\r\n\
                 Content-Length: 2\r\n\r\n+1";
    assert_eq!(client.request(input).status, 400);
    // The connection lives on.
    assert_eq!(client.get("/payload?bytes=5").body.len(), 5);
}

#[test]
fn the_server_closes_first_when_asked_to() {
    let server = server();
    for request in [
        echo_head(0, "Connection: close\r\n"),
        "GET /healthz HTTP/1.0\r\n\r\n".to_string(),
    ] {
        let mut client = Client::http(&server);
        assert_eq!(client.request(&request).status, 200);
        client.expect_end();
    }
}

#[test]
fn health_is_told() {
    let server = server();
    assert_eq!(Client::http(&server).get("/healthz").text(), "ok");
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn what_is_not_there_is_refused_and_the_connection_lives_on() {
    let server = server();
    let mut client = Client::http(&server);
    for (method, path, status, allow) in [
        ("GET", "/", 404, None),
        ("POST", "/echo/", 404, None),
        ("GET", "/echo", 405, Some("POST")),
        ("PUT", "/echo", 405, Some("POST")),
        ("POST", "/payload?bytes=1", 405, Some("GET")),
        ("DELETE", "/updates/poll", 405, Some("GET")),
        ("POST", "/ws/echo", 405, Some("GET")),
        ("OPTIONS", "/healthz", 405, Some("GET")),
        ("OPTIONS", "*", 404, None),
    ] {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n");
        let reply = client.request(&request);
        assert_eq!(
            (reply.status, reply.header("allow")),
            (status, allow),
            "{method} {path}"
        );
    }
    assert_eq!(client.echo(b"still here").text(), "still here");
    assert_eq!(server.stop().operations, 1);
}

#[test]
fn broken_requests_are_refused_and_end_the_connection() {
    let server = server();
    for request in [
        "NONSENSE\r\n\r\n".to_string(),
        "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n".to_string(),
        "POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
            .to_string(),
    ] {
        let mut client = Client::http(&server);
        assert_eq!(client.request(&request).status, 400, "{request}");
        client.expect_end();
    }
}

/// What two readers of the same bytes could understand differently is refused, and whatever follows is not read.
#[test]
fn requests_that_could_be_smuggled_end_the_connection() {
    let server = server();
    let echo = |headers: &str, body: &str| format!("POST /echo HTTP/1.1\r\n{headers}\r\n{body}");
    let empty = "0\r\n\r\n";
    for request in [
        echo(
            "Host: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "ab",
        ),
        echo("Host: h\r\nContent-Length: 1, 1\r\n", "a"),
        echo("Host: h\r\nContent-Length: +1\r\n", "a"),
        echo(
            "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            empty,
        ),
        echo("Host: h\r\nTransfer-Encoding: chunked, chunked\r\n", empty),
        echo("Host: h\r\nTransfer-Encoding: gzip, chunked\r\n", empty),
        echo("Host: h\r\nTransfer-Encoding: identity\r\n", ""),
        echo("Host: h\r\nTransfer-Encoding: xchunked\r\n", empty),
        echo("Host : h\r\n", ""),
        echo("Host: h\r\nA: b\r\n c\r\n", ""),
        echo("", ""),
        echo("Host: a\r\nHost: b\r\n", ""),
        echo("Host: a b\r\n", ""),
        echo("Host: a@b\r\n", ""),
        echo("Host: h\r\nhost: h\r\n", ""),
        echo(" Host: h\r\n", ""),
        echo("Host:\r\n h\r\n", ""),
        echo("Host: h\r\nA: b\rC: d\r\n", ""),
        echo("Host: h\rA: b\r\n", ""),
        echo("Host: h\r\nContent-Length : 1\r\n", "a"),
    ] {
        let mut client = Client::http(&server);
        client.send(&request);
        client.send("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.reply().status, 400, "{request}");
        client.expect_drop();
    }
    // A length beside a coding: the coding counts, and nothing after it does.
    let mut client = Client::http(&server);
    let both = "Host: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n";
    client.send(echo(both, empty));
    client.send("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    client.expect_drop();
    assert_eq!(server.stop().operations, 1);
}
