//! Subscribers that do not read, or leave without a word, and those beside them.

use std::time::Duration;

use sockrates_core::target::ServerUsage;
use sockrates_server::{Limits, Server};

use crate::support::{Client, WebSocket, server, server_with};

/// Looks at subscribers often.
fn server_that_drops() -> Server {
    server_with(Limits {
        subscriber_backlog: 400,
        keep_alive: Duration::from_millis(200),
        ..Limits::default()
    })
}

/// Gets all updates, until there were more than anybody's buffers hold.
fn follow_beside(server: &Server) {
    let (mut good, _) = WebSocket::open_at(server, "/ws/updates?topic=t&since=0");
    for sequence in 1..=2000 {
        assert!(good.text().starts_with(&format!("t {sequence} ")));
    }
}

fn assert_one_dropped(usage: &ServerUsage) {
    assert_eq!((usage.subscribers_dropped, usage.connections_cut), (1, 0));
    assert_eq!(usage.subscriptions, 2);
    assert!(usage.publisher_lag_max_ns < 10_000_000_000);
}

const LONG: &str = "rate=500&bytes=16000&arrivals=periodic";

#[test]
fn a_websocket_that_does_not_read_is_dropped_and_others_get_all() {
    let server = server_that_drops();
    Client::http(&server).make_topic("t", LONG);
    let (mut slow, _) = WebSocket::open_at(&server, "/ws/updates?topic=t");
    follow_beside(&server);
    assert_one_dropped(&server.stop());
    slow.client.expect_drop();
}

#[test]
fn a_stream_that_is_not_read_is_dropped_and_others_get_all() {
    let server = server_that_drops();
    Client::http(&server).make_topic("t", LONG);
    let mut slow = Client::http(&server);
    slow.send("GET /updates/stream?topic=t HTTP/1.1\r\nHost: here\r\n\r\n");
    follow_beside(&server);
    assert_one_dropped(&server.stop());
    slow.expect_drop();
}

/// With a backlog longer than the history, a subscriber that is too slow finds a gap.
fn server_that_waits() -> Server {
    server_with(Limits {
        subscriber_backlog: u64::MAX,
        ..Limits::default()
    })
}

#[test]
fn a_stream_that_fell_behind_the_history_is_told_so() {
    let server = server_that_waits();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=100000&bytes=4000");
    let reply = client.get("/updates/stream?topic=t");
    Client::http(&server).wait_for_head("t", reply.sequence() + 10_000);
    let last = std::iter::from_fn(|| Some(client.chunk()))
        .find(|chunk| !chunk.starts_with("id: "))
        .unwrap();
    let oldest = last
        .strip_prefix("event: gap\ndata: ")
        .and_then(|rest| rest.strip_suffix("\n\n"));
    assert!(oldest.unwrap().parse::<u64>().unwrap() > 1);
    assert_eq!(client.chunk(), "");
}

#[test]
fn a_websocket_that_fell_behind_the_history_is_told_so() {
    let server = server_that_waits();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=100000&bytes=4000");
    let (mut socket, reply) = WebSocket::open_at(&server, "/ws/updates?topic=t");
    client.wait_for_head("t", reply.sequence() + 10_000);
    let payload = std::iter::from_fn(|| Some(socket.read()))
        .find(|(first, _)| *first == 0x88)
        .unwrap()
        .1;
    assert_eq!(payload[..2], 4410_u16.to_be_bytes());
    assert!(payload[2..].starts_with(b"oldest "));
    socket.client.expect_end();
}

#[test]
fn who_leaves_in_the_middle_harms_nobody() {
    let server = server();
    Client::http(&server).make_topic("t", "rate=2000&bytes=3000");
    let (mut good, _) = WebSocket::open_at(&server, "/ws/updates?topic=t&since=0");
    for turn in 0..20 {
        let mut leaving = Client::http(&server);
        leaving.get("/updates/stream?topic=t");
        leaving.read(turn);
        let (mut leaving, _) = WebSocket::open_at(&server, "/ws/updates?topic=t");
        leaving.client.read(turn);
    }
    for sequence in 1..=500 {
        assert!(good.text().starts_with(&format!("t {sequence} ")));
    }
    let usage = server.stop();
    assert_eq!((usage.subscriptions, usage.connections_cut), (41, 0));
}
