//! Rooms over HTTP: what members post, and what polls, long polls and streams bring.

use std::time::Duration;

use sockrates_server::{Limits, Server};

use crate::support::{BINARY, Client, FIN, Reply, TEXT, WebSocket, pattern, server, server_with};

/// Starts a server with the room `r`.
fn with_room() -> (Server, Client) {
    let server = server();
    let mut client = Client::http(&server);
    assert_eq!(client.put("/chat/rooms/r").status, 201);
    (server, client)
}

fn say(client: &mut Client, query: &str, message: &[u8]) -> Reply {
    let length = message.len();
    let head = format!(
        "POST /chat/say?{query} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n"
    );
    // At once: a server need not wait for the body of what it refuses.
    client.send([head.as_bytes(), message].concat());
    client.reply()
}

/// Makes a member by a first poll, and says something as it.
fn said(client: &mut Client, member: &str, message: &str) {
    let who = format!("room=r&member={member}");
    assert!(matches!(
        client.get(&format!("/chat/poll?{who}")).status,
        204
    ));
    let reply = say(client, &who, message.as_bytes());
    assert_eq!((reply.status, reply.body.len()), (204, 0), "{message}");
}

fn follow(client: &mut Client, query: &str, headers: &str) -> Reply {
    let reply = client.request(&format!(
        "GET /chat/stream?{query} HTTP/1.1\r\nHost: here\r\n{headers}\r\n"
    ));
    assert_eq!(reply.status, 200, "{query}");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply
}

#[test]
fn members_of_all_ways_get_the_same_messages_in_the_same_order() {
    let (server, mut client) = with_room();
    let mut stream = Client::http(&server);
    assert_eq!(follow(&mut stream, "room=r&member=s", "").sequence(), 0);
    let mut socket = WebSocket::open_at(&server, "/ws/room/r").0;
    said(&mut client, "a", "hello");
    socket.send(FIN | TEXT, b"from a socket");
    assert_eq!(socket.read(), (FIN | TEXT, b"hello".to_vec()));
    assert_eq!(socket.read(), (FIN | TEXT, b"from a socket".to_vec()));
    let mut events = String::new();
    while events.matches("\n\n").count() < 2 {
        events += &stream.chunk();
    }
    assert_eq!(
        events,
        "id: 1\ndata: hello\n\nid: 2\ndata: from a socket\n\n"
    );
    for path in ["/chat/poll", "/chat/long-poll"] {
        let reply = client.get(&format!("{path}?room=r&member=a&since=0"));
        assert_eq!((reply.status, reply.sequence()), (200, 2), "{path}");
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert_eq!(reply.text(), "1 hello\n2 from a socket\n");
        let reply = client.get(&format!("{path}?room=r&member=a&since=1"));
        assert_eq!(reply.text(), "2 from a socket\n");
    }
    let usage = server.stop();
    assert_eq!(usage.subscriptions, 2);
    assert_eq!(usage.deliveries, 4, "two by each that is connected");
    // A poll that made a member, two messages, four replies.
    assert_eq!(usage.operations, 7);
}

#[test]
fn the_next_message_wakes_who_waits_and_silence_ends_with_its_time() {
    let (server, mut client) = with_room();
    let reply = client.get("/chat/long-poll?room=r&member=a&timeout_ms=1");
    assert_eq!((reply.status, reply.sequence()), (204, 0));
    let mut waiting = Client::http(&server);
    for number in 1..=5 {
        let since = number - 1;
        waiting.send(format!(
            "GET /chat/long-poll?room=r&member=w&since={since} HTTP/1.1\r\nHost: here\r\n\r\n"
        ));
        said(&mut client, "a", "now");
        let reply = waiting.reply();
        assert_eq!((reply.status, reply.sequence()), (200, number));
        assert_eq!(reply.text(), format!("{number} now\n"));
    }
}

#[test]
fn a_stream_goes_on_behind_the_last_event() {
    let (server, mut client) = with_room();
    for word in ["one", "two", "three"] {
        said(&mut client, "a", word);
    }
    for (query, header, expected) in [
        ("room=r&member=s&since=2", "", "id: 3\ndata: three\n\n"),
        (
            "room=r&member=s&since=0",
            "Last-Event-ID: 2\r\n",
            "id: 3\ndata: three\n\n",
        ),
    ] {
        let mut stream = Client::http(&server);
        assert_eq!(follow(&mut stream, query, header).sequence(), 3);
        assert_eq!(stream.chunk(), expected);
    }
    // Without a place, from now on.
    let mut stream = Client::http(&server);
    follow(&mut stream, "room=r&member=s", "");
    said(&mut client, "a", "four");
    assert_eq!(stream.chunk(), "id: 4\ndata: four\n\n");
}

#[test]
fn what_is_no_line_of_text_is_for_websockets_only() {
    let (server, mut client) = with_room();
    let mut socket = WebSocket::open_at(&server, "/ws/room/r").0;
    for (first, payload) in [
        (BINARY, &b"raw"[..]),
        (TEXT, b"two\nlines"),
        (TEXT, b"a line"),
    ] {
        socket.send(FIN | first, payload);
        assert_eq!(socket.read(), (FIN | first, payload.to_vec()));
    }
    let reply = client.get("/chat/poll?room=r&member=a&since=0");
    assert_eq!((reply.text(), reply.sequence()), ("3 a line\n", 3));
    let reply = client.get("/chat/poll?room=r&member=a&since=1");
    assert_eq!(reply.text(), "3 a line\n");
    socket.send(FIN | BINARY, b"raw");
    socket.read();
    let reply = client.get("/chat/poll?room=r&member=a&since=3");
    assert_eq!((reply.status, reply.sequence()), (204, 4));
    for wrong in [&b"two\nlines"[..], b"a\rb", b"\xff"] {
        assert_eq!(say(&mut client, "room=r&member=a", wrong).status, 400);
    }
}

#[test]
fn senseless_requests_are_refused() {
    let (server, mut client) = with_room();
    for name in ["", "a/b", "a%20b", &"x".repeat(65)] {
        assert_eq!(client.put(&format!("/chat/rooms/{name}")).status, 400);
    }
    let gets = ["/chat/poll", "/chat/long-poll", "/chat/stream"];
    for (query, status) in [
        ("room=other&member=a", 404),
        ("member=a", 400),
        ("room=r", 400),
        ("room=r&member=", 400),
        ("room=r&member=a%20b", 400),
        ("room=r&member=a&since=x", 400),
        ("room=r&member=a&since=-1", 400),
        ("room=r&member=a&since=1", 400),
    ] {
        for path in gets {
            let reply = client.get(&format!("{path}?{query}"));
            assert_eq!(reply.status, status, "{path}?{query}");
            let head = query.contains("since").then_some("0");
            assert_eq!(reply.header("x-sockrates-head"), head, "{path}?{query}");
        }
        if !query.contains("since") {
            assert_eq!(say(&mut client, query, b"hi").status, status, "{query}");
        }
    }
    for wrong in ["0", "30001", "x"] {
        let target = format!("/chat/long-poll?room=r&member=a&timeout_ms={wrong}");
        assert_eq!(client.get(&target).status, 400, "{wrong}");
    }
    let reply = say(&mut client, "room=r&member=nobody", b"hi");
    assert_eq!(
        (reply.status, reply.text()),
        (403, "no member: poll or follow first\n")
    );
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn a_message_above_the_limit_is_refused_and_said_to_nobody() {
    let (server, mut client) = with_room();
    assert_eq!(client.get("/chat/poll?room=r&member=a").status, 204);
    let mut long = Client::http(&server);
    assert_eq!(
        say(&mut long, "room=r&member=a", &pattern((1 << 20) + 1)).status,
        413
    );
    let reply = client.get("/chat/poll?room=r&member=a&since=0");
    assert_eq!((reply.status, reply.sequence()), (204, 0));
    assert_eq!(server.stop().connections_cut, 1);
}

#[test]
fn who_asks_for_what_the_room_has_forgotten_is_told_what_there_is() {
    let (server, mut client) = with_room();
    let mut socket = WebSocket::open_at(&server, "/ws/room/r").0;
    for _ in 0..4100 {
        socket.send(FIN | TEXT, b"x");
        socket.read();
    }
    for path in ["/chat/poll", "/chat/long-poll", "/chat/stream"] {
        let reply = client.get(&format!("{path}?room=r&member=a&since=3"));
        assert_eq!((reply.status, reply.sequence()), (410, 4100), "{path}");
        assert_eq!(reply.header("x-sockrates-oldest"), Some("5"));
    }
    drop(server);
}

#[test]
fn a_room_that_was_made_stays_without_members() {
    let (server, mut client) = with_room();
    let mut stream = Client::http(&server);
    follow(&mut stream, "room=r&member=s", "");
    said(&mut client, "a", "hello");
    stream.chunk();
    drop(stream);
    assert_eq!(client.put("/chat/rooms/r").status, 200);
    let reply = client.get("/chat/poll?room=r&member=a&since=0");
    assert_eq!(reply.text(), "1 hello\n");
    // One that its members have made goes with them, and HTTP does not make any.
    let socket = WebSocket::open_at(&server, "/ws/room/own").0;
    assert_eq!(client.get("/chat/poll?room=own&member=a").status, 204);
    socket.close();
    while client.get("/chat/poll?room=own&member=a").status != 404 {}
}

#[test]
fn a_silent_stream_shows_that_it_lives() {
    let server = server_with(Limits {
        keep_alive: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut stream = Client::http(&server);
    assert_eq!(stream.put("/chat/rooms/r").status, 201);
    follow(&mut stream, "room=r&member=s", "");
    for _ in 0..3 {
        assert_eq!(stream.chunk(), ": keep-alive\n\n");
    }
}

#[test]
fn each_path_takes_its_own_method() {
    let server = server();
    let mut client = Client::http(&server);
    for (method, target, allowed) in [
        ("GET", "/chat/rooms/r", "PUT"),
        ("GET", "/chat/say", "POST"),
        ("POST", "/chat/poll", "GET"),
        ("PUT", "/chat/long-poll", "GET"),
        ("PUT", "/chat/stream", "GET"),
        ("PUT", "/duplex/long-poll", "GET"),
        ("POST", "/duplex/stream", "GET"),
    ] {
        let reply = client.request(&format!(
            "{method} {target} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some(allowed)),
            "{target}"
        );
    }
}
