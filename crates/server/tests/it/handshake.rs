//! Opening handshakes, good and bad, and what may come with them.

use crate::support::{BINARY, Client, FIN, HANDSHAKE, TEXT, WebSocket, masked, server};

#[test]
fn bad_handshakes_get_an_answer_that_says_why() {
    let server = server();
    for (from, to, status) in [
        ("Upgrade: websocket\r\n", "", 426),
        ("Connection: Upgrade\r\n", "", 426),
        ("Connection: Upgrade\r\n", "Connection: keep-alive\r\n", 426),
        ("Version: 13", "Version: 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("jZQ==", "jZQ", 400),
        ("Host: here\r\n", "", 400),
        ("Host: here\r\n", "Host: here\r\nHost: there\r\n", 400),
        ("\r\n\r\n", "\r\nOrigin: http://evil.example\r\n\r\n", 403),
        ("GET ", "POST ", 405),
    ] {
        let mut client = Client::http(&server);
        let reply = client.request(&HANDSHAKE.replacen(from, to, 1));
        assert_eq!(reply.status, status, "{from:?} -> {to:?}");
        let version = (status == 426).then_some("13");
        assert_eq!(reply.header("sec-websocket-version"), version);
    }
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn http_1_0_cannot_upgrade() {
    let server = server();
    let mut client = Client::http(&server);
    let reply = client.request(&HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"));
    assert!(matches!(reply.status, 400 | 426), "{}", reply.status);
}

#[test]
fn a_refused_client_may_try_again_on_the_same_connection() {
    let server = server();
    let mut client = Client::http(&server);
    assert_eq!(client.request(&HANDSHAKE.replace("13", "8")).status, 426);
    client.send(HANDSHAKE);
    let mut socket = WebSocket::opened(client);
    socket.send(FIN | TEXT, b"hello");
    assert_eq!(socket.read(), (FIN | TEXT, b"hello".to_vec()));
}

#[test]
fn a_proxied_request_of_the_own_origin_is_accepted() {
    let server = server();
    let mut client = Client::http(&server);
    let handshake = HANDSHAKE
        .replace("Connection: Upgrade", "Connection: keep-alive, upgrade")
        .replace("\r\n\r\n", "\r\nOrigin: http://here\r\n\r\n");
    client.send(handshake);
    WebSocket::opened(client);
}

#[test]
fn frames_that_come_with_the_handshake_are_answered() {
    let server = server();
    for length in [5, 20_000] {
        let payload = vec![7; length];
        let mut client = Client::http(&server);
        client.send(
            [
                HANDSHAKE.as_bytes(),
                &masked(FIN | BINARY, &payload),
                &masked(FIN | TEXT, b"2"),
            ]
            .concat(),
        );
        let mut socket = WebSocket::opened(client);
        assert_eq!(socket.read(), (FIN | BINARY, payload));
        assert_eq!(socket.read(), (FIN | TEXT, b"2".to_vec()));
    }
}

#[test]
fn a_request_may_precede_the_handshake() {
    let server = server();
    let mut client = Client::http(&server);
    assert_eq!(client.echo(b"first").text(), "first");
    client.send(HANDSHAKE);
    WebSocket::opened(client);
}
