//! Waiting for updates.

use std::time::Duration;

use sockrates_server::Limits;

use crate::support::{Client, server, server_with};

#[test]
fn what_is_there_already_is_answered_at_once() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=1000&bytes=1");
    client.wait_for_head("t", 3);
    let reply = client.get("/updates/long-poll?topic=t&since=0&timeout_ms=30000");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text().lines().count() as u64, reply.sequence());
}

#[test]
fn the_next_update_wakes_who_waits() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=20&bytes=1");
    let mut known = 0;
    while known < 5 {
        let reply = client.get(&format!("/updates/long-poll?topic=t&since={known}"));
        assert_eq!(reply.status, 200);
        assert!(reply.sequence() > known);
        known = reply.sequence();
    }
    // Without a place, from now on.
    let reply = client.get("/updates/long-poll?topic=t");
    // More than one may have come until a busy machine answers.
    let latest = reply.text().lines().last().unwrap();
    assert!(latest.starts_with(&format!("{} ", reply.sequence())));
    assert!(reply.sequence() > known);
}

#[test]
fn silence_is_told_when_the_time_is_over() {
    let server = server();
    let mut client = Client::http(&server);
    for query in ["timeout_ms=1", "since=0&timeout_ms=50"] {
        let reply = client.get(&format!("/updates/long-poll?{query}"));
        assert_eq!((reply.status, reply.sequence()), (204, 0));
    }
    assert_eq!(server.stop().operations, 2);
}

#[test]
fn senseless_long_polls_are_refused() {
    let server = server();
    let mut client = Client::http(&server);
    for (query, status) in [
        ("topic=other", 404),
        ("since=x", 400),
        ("since=1", 400),
        ("timeout_ms=0", 400),
        ("timeout_ms=30001", 400),
        ("timeout_ms=x", 400),
    ] {
        let reply = client.get(&format!("/updates/long-poll?{query}"));
        assert_eq!(reply.status, status, "{query}");
        let head = (status == 400).then_some("0");
        assert_eq!(reply.header("x-sockrates-head"), head, "{query}");
    }
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn a_replaced_topic_ends_the_wait() {
    let server = server();
    let (mut waiting, mut other) = (Client::http(&server), Client::http(&server));
    other.make_topic("t", "rate=0");
    waiting.send("GET /updates/long-poll?topic=t HTTP/1.1\r\nHost: here\r\n\r\n");
    // The request may come after a replacement, and wait for the new topic.
    while !waiting.is_answered_soon() {
        other.make_topic("t", "rate=0");
    }
    assert_eq!(waiting.reply().status, 204);
}

#[test]
fn a_server_that_stops_does_not_wait_for_who_waits() {
    let server = server();
    let mut waiting = Client::http(&server);
    waiting.send("GET /updates/long-poll HTTP/1.1\r\nHost: here\r\n\r\n");
    // Behind this, the request has been read: both go through the same worker, in order.
    assert_eq!(Client::http(&server).get("/healthz").status, 200);
    let usage = server.stop();
    waiting.expect_end();
    assert_eq!((usage.operations, usage.connections_cut), (0, 0));
}

#[test]
fn who_leaves_while_waiting_gives_back_the_place() {
    let server = server_with(Limits {
        connections: 2,
        ..Limits::default()
    });
    for _ in 0..20 {
        let mut waiting = Client::http(&server);
        waiting.send("GET /updates/long-poll HTTP/1.1\r\nHost: here\r\n\r\n");
        let mut other = Client::http(&server);
        // Refused only as long as the former two are still going.
        while !other.try_get("/healthz") {
            other = Client::http(&server);
        }
    }
}

#[test]
fn waiting_is_not_idling() {
    let server = server_with(Limits {
        idle_timeout: Duration::from_millis(100),
        exchange_timeout: Duration::from_millis(100),
        ..Limits::default()
    });
    let mut client = Client::http(&server);
    assert_eq!(client.get("/updates/long-poll?timeout_ms=1000").status, 204);
    assert_eq!(server.stop().connections_cut, 0);
}
