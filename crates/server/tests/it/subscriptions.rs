//! Updates over WebSocket.

use std::collections::HashMap;
use std::time::Duration;

use sockrates_server::{Config, Limits, Server};

use crate::support::{
    CLOSE, Client, FIN, PING, PONG, TEXT, WebSocket, handshake, server, server_with,
};

/// Reads one message: its topic, its sequence and the rest.
fn message(socket: &mut WebSocket) -> (String, u64, String) {
    let text = socket.text();
    let mut parts = text.splitn(3, ' ');
    let mut next = || parts.next().unwrap().to_owned();
    (next(), next().parse().unwrap(), next())
}

#[test]
fn messages_are_the_same_updates_as_polled() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=200&bytes=4");
    let (mut socket, _) = WebSocket::open_at(&server, "/ws/updates?topic=t&since=0");
    let messages: Vec<_> = (0..10).map(|_| socket.text()).collect();
    let polled = client.get("/updates/poll?topic=t&since=0");
    for (message, line) in messages.iter().zip(polled.text().lines()) {
        assert_eq!(*message, format!("t {line}"));
    }
    let usage = server.stop();
    assert_eq!(usage.subscriptions, 1);
    assert!(usage.deliveries >= 10);
}

#[test]
fn several_topics_come_over_one_connection() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("a", "rate=300&bytes=1");
    client.make_topic("b", "rate=300&bytes=1");
    client.wait_for_head("a", 5);
    client.wait_for_head("b", 5);
    let target = "/ws/updates?topic=b&since=3&topic=a&since=4";
    let (mut socket, reply) = WebSocket::open_at(&server, target);
    let heads = reply.header("x-sockrates-head").unwrap();
    assert_eq!(
        heads
            .split(',')
            .filter(|h| h.parse::<u64>().unwrap() >= 5)
            .count(),
        2
    );
    let mut known = HashMap::from([("a".to_owned(), 4), ("b".to_owned(), 3)]);
    while known.values().any(|known| *known < 50) {
        let (topic, sequence, _) = message(&mut socket);
        let known = known.get_mut(&topic).unwrap();
        *known += 1;
        assert_eq!(sequence, *known);
    }
}

#[test]
fn subscribers_of_all_workers_get_the_same_updates() {
    let config = Config {
        workers: 3,
        ..Config::default()
    };
    let server = Server::start(&config).unwrap();
    Client::http(&server).make_topic("t", "rate=300&bytes=1");
    let target = "/ws/updates?topic=t&since=0";
    let mut sockets: Vec<_> = (0..12)
        .map(|_| WebSocket::open_at(&server, target).0)
        .collect();
    for sequence in 1..=50 {
        let mut texts = sockets.iter_mut().map(WebSocket::text);
        let first = texts.next().unwrap();
        assert!(first.starts_with(&format!("t {sequence} ")));
        assert!(texts.all(|text| text == first));
    }
    let usage = server.stop();
    assert_eq!((usage.subscriptions, usage.subscribers_dropped), (12, 0));
    assert!(usage.deliveries >= 600);
}

#[test]
fn without_places_all_topics_begin_now() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=300&bytes=1");
    client.wait_for_head("t", 5);
    let (mut socket, reply) = WebSocket::open_at(&server, "/ws/updates?topic=default&topic=t");
    let heads = reply.header("x-sockrates-head").unwrap();
    let head: u64 = heads.strip_prefix("0,").unwrap().parse().unwrap();
    assert_eq!(message(&mut socket).1, head + 1);
}

#[test]
fn senseless_subscriptions_are_refused_before_the_upgrade() {
    let server = server();
    let mut client = Client::http(&server);
    let too_many = "topic=default&".repeat(1025);
    for (query, status) in [
        ("topic=other", 404),
        ("topic=default&topic=other", 404),
        ("topic=default&since=x", 400),
        ("topic=default&since=1", 400),
        ("topic=default&topic=default&since=0", 400),
        ("topic=default&since=0&since=0", 400),
        (&*too_many, 400),
    ] {
        let reply = client.request(&handshake(&format!("/ws/updates?{query}")));
        assert_eq!(reply.status, status, "{query}");
    }
    assert_eq!(client.get("/ws/updates").status, 426);
    client.make_topic("t", "rate=1000000&bytes=0");
    client.wait_for_head("t", 4200);
    let reply = client.request(&handshake("/ws/updates?topic=t&since=0"));
    assert_eq!(reply.status, 410);
    assert!(reply.header("x-sockrates-oldest").is_some());
    assert_eq!(server.stop().subscriptions, 0);
}

#[test]
fn a_replaced_topic_is_told_and_ends_the_connection() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=0");
    let (mut socket, _) = WebSocket::open_at(&server, "/ws/updates?topic=default&topic=t");
    client.make_topic("t", "rate=0");
    let (first, payload) = socket.read();
    assert_eq!(
        (first, &*payload),
        (FIN | CLOSE, &b"\x03\xf4topic replaced"[..])
    );
    socket.client.expect_end();
}

#[test]
fn what_a_subscriber_says_is_ignored_but_for_ping_and_close() {
    let server = server();
    let (mut socket, _) = WebSocket::open_at(&server, "/ws/updates");
    socket.send(FIN | TEXT, b"hello");
    socket.send(FIN | PING, b"there?");
    assert_eq!(socket.read(), (FIN | PONG, b"there?".to_vec()));
    socket.send(FIN | CLOSE, b"\x03\xe8");
    socket.expect_close(1000);
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn silence_is_broken_by_pings() {
    let server = server_with(Limits {
        keep_alive: Duration::from_millis(100),
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    });
    let (mut socket, _) = WebSocket::open_at(&server, "/ws/updates");
    for _ in 0..15 {
        assert_eq!(socket.read(), (FIN | PING, vec![]));
    }
    assert_eq!(server.stop().connections_cut, 0);
}
