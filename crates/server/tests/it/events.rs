//! Updates as server-sent events.

use std::time::Duration;

use sockrates_server::Limits;

use crate::support::{Client, Reply, server, server_with};

/// Opens a stream, with more header lines.
fn open(client: &mut Client, query: &str, headers: &str) -> Reply {
    let reply = client.request(&format!(
        "GET /updates/stream?{query} HTTP/1.1\r\nHost: here\r\n{headers}\r\n"
    ));
    assert_eq!(reply.status, 200, "{query}");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply
}

/// Reads at least this many events, and returns their sequences.
fn sequences(client: &mut Client, least: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.len() < least {
        let chunk = client.chunk();
        for event in chunk.strip_suffix("\n\n").unwrap().split("\n\n") {
            let (id, data) = event.split_once('\n').unwrap();
            assert!(data.starts_with("data: "), "{event}");
            sequences.push(id.strip_prefix("id: ").unwrap().parse().unwrap());
        }
    }
    sequences
}

#[test]
fn events_are_the_same_updates_as_polled() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=100&bytes=4&seed=1");
    let head = open(&mut client, "topic=t&since=0", "").sequence();
    let events: String = std::iter::from_fn(|| Some(client.chunk()))
        .take(5)
        .collect();
    let mut other = Client::http(&server);
    let polled = other.get("/updates/poll?topic=t&since=0");
    assert!(polled.sequence() >= head);
    for (event, line) in events.split_terminator("\n\n").zip(polled.text().lines()) {
        let (sequence, rest) = line.split_once(' ').unwrap();
        assert_eq!(event, format!("id: {sequence}\ndata: {rest}"));
    }
    let usage = server.stop();
    assert_eq!(usage.subscriptions, 1);
    assert!(usage.deliveries >= 5);
}

#[test]
fn a_stream_goes_on_behind_the_last_event_without_loss() {
    let server = server();
    Client::http(&server).make_topic("t", "rate=2000&bytes=4");
    let mut all = Vec::new();
    for _ in 0..10 {
        let last = all.last().copied().unwrap_or(0);
        let mut client = Client::http(&server);
        // It wins over the query, which a browser repeats as it was.
        open(
            &mut client,
            "topic=t&since=0",
            &format!("Last-Event-ID: {last}\r\n"),
        );
        all.extend(sequences(&mut client, 20));
    }
    let expected: Vec<_> = (1..=all.len() as u64).collect();
    assert_eq!(all, expected);
}

#[test]
fn without_a_place_a_stream_begins_now() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=500&bytes=4");
    let before = client.wait_for_head("t", 10);
    let head = open(&mut client, "topic=t", "").sequence();
    assert!(head >= before);
    assert_eq!(sequences(&mut client, 1)[0], head + 1);
}

#[test]
fn senseless_streams_are_refused() {
    let server = server();
    let mut client = Client::http(&server);
    for (query, headers, status) in [
        ("topic=other", "", 404),
        ("since=x", "", 400),
        ("since=1", "", 400),
        ("", "Last-Event-ID: x\r\n", 400),
        ("since=0", "Last-Event-ID: \r\n", 400),
        ("since=0", "Last-Event-ID: 7\r\n", 400),
    ] {
        let reply = client.request(&format!(
            "GET /updates/stream?{query} HTTP/1.1\r\nHost: here\r\n{headers}\r\n"
        ));
        assert_eq!(reply.status, status, "{query} {headers}");
    }
    assert_eq!(server.stop().subscriptions, 0);
}

#[test]
fn a_replaced_topic_ends_its_streams_and_the_connection_goes_on() {
    let server = server();
    let (mut client, mut other) = (Client::http(&server), Client::http(&server));
    other.make_topic("t", "rate=0");
    open(&mut client, "topic=t", "");
    other.make_topic("t", "rate=0");
    assert_eq!(client.chunk(), "");
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn silence_is_broken_before_it_is_idleness() {
    let server = server_with(Limits {
        keep_alive: Duration::from_millis(100),
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    });
    let mut client = Client::http(&server);
    open(&mut client, "", "");
    for _ in 0..15 {
        assert_eq!(client.chunk(), ": keep-alive\n\n");
    }
    assert_eq!(server.stop().connections_cut, 0);
}
