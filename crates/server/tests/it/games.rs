//! What players of a game get.

use sockrates_core::snapshot::{self, Snapshot};
use sockrates_server::{Config, Server};

use crate::support::{
    BINARY, CLOSE, Client, FIN, Reply, TEXT, WebSocket, handshake, pattern, server,
};

/// A snapshot with its payload verified and taken off.
#[derive(Clone, Copy, Debug)]
struct Shown {
    tick: u64,
    due_ns: u64,
    ack: u64,
}

const SEED: u64 = 7;

fn shown(line: &[u8], bytes: usize) -> Shown {
    let snapshot = Snapshot::parse(line).unwrap();
    let payload = snapshot::payload(SEED, snapshot.tick, bytes);
    assert!(snapshot.payload == payload, "{}", snapshot.tick);
    assert!(snapshot.created_ns >= snapshot.due_ns);
    Shown {
        tick: snapshot.tick,
        due_ns: snapshot.due_ns,
        ack: snapshot.ack,
    }
}

fn put(client: &mut Client, game: &str) -> u16 {
    let target = format!("/duplex/games/{game}");
    client
        .request(&format!("PUT {target} HTTP/1.1\r\nHost: here\r\n\r\n"))
        .status
}

/// Starts a server with the game `g`.
fn playing(hz: &str, bytes: usize) -> (Server, Client) {
    let server = server();
    let mut client = Client::http(&server);
    let game = format!("g?hz={hz}&bytes={bytes}&seed={SEED}");
    assert_eq!(put(&mut client, &game), 201);
    (server, client)
}

fn play(server: &Server, player: &str) -> WebSocket {
    WebSocket::open_at(server, &format!("/ws/duplex?game=g&player={player}")).0
}

fn read(socket: &mut WebSocket, bytes: usize) -> Shown {
    let (first, line) = socket.read();
    assert_eq!(first, FIN | TEXT);
    shown(&line, bytes)
}

fn input(client: &mut Client, query: &str, body: &str) -> Reply {
    let length = body.len();
    client.request(&format!(
        "POST /duplex/input?{query} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

/// Asks until there is a snapshot after this tick.
fn ask(client: &mut Client, player: &str, since: u64, bytes: usize) -> Shown {
    let target = format!("/duplex/snapshot?game=g&player={player}&since={since}");
    let reply = loop {
        let reply = client.get(&target);
        if reply.status != 204 {
            break reply;
        }
    };
    let kind = reply.header("content-type");
    assert_eq!((reply.status, kind), (200, Some("text/plain")));
    shown(reply.body.strip_suffix(b"\n").unwrap(), bytes)
}

#[test]
fn each_tick_is_shown_once_and_due_by_the_schedule() {
    const PERIOD_NS: u64 = 50_000_000;
    let (server, _) = playing("20", 130);
    let mut socket = play(&server, "p");
    let seen: Vec<_> = (0..20).map(|_| read(&mut socket, 130)).collect();
    let usage = server.stop();
    for pair in seen.windows(2) {
        let ticks = pair[1].tick - pair[0].tick;
        assert_eq!(pair[1].due_ns - pair[0].due_ns, ticks * PERIOD_NS);
        // A machine that stands still for longer skips ticks, and says so.
        assert!(ticks == 1 || usage.publisher_lag_max_ns >= PERIOD_NS);
    }
    assert_eq!((usage.subscriptions, usage.operations), (1, 0));
    assert!(usage.deliveries >= 20);
}

#[test]
fn inputs_over_a_websocket_are_acknowledged_by_a_later_snapshot() {
    let (server, _) = playing("100", 10);
    let [mut socket, mut other] = ["p", "q"].map(|player| play(&server, player));
    let mut acknowledged = 0;
    // Only the largest number counts.
    for (first, input, expected) in [
        (FIN | TEXT, &b"1 left"[..], 1),
        (FIN | BINARY, b"5 right", 5),
        (FIN | TEXT, b"3 late", 5),
        (FIN | TEXT, b"6", 6),
    ] {
        socket.send(first, input);
        while acknowledged < expected {
            let ack = read(&mut socket, 10).ack;
            assert!((acknowledged..=expected).contains(&ack));
            acknowledged = ack;
        }
    }
    assert_eq!(read(&mut other, 10).ack, 0);
    assert_eq!(server.stop().operations, 4);
}

#[test]
fn inputs_over_http_are_acknowledged_by_a_later_snapshot() {
    let (server, mut client) = playing("100", 0);
    // The same player may watch over a WebSocket.
    let mut socket = play(&server, "p");
    let mut seen = ask(&mut client, "p", 0, 0);
    assert_eq!(seen.ack, 0);
    for number in 1..=5 {
        let reply = input(&mut client, "game=g&player=p", &format!("{number} jump"));
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        while seen.ack < number {
            let next = ask(&mut client, "p", seen.tick, 0);
            assert!(next.tick > seen.tick);
            seen = next;
        }
        assert_eq!(seen.ack, number);
    }
    while read(&mut socket, 0).ack < 5 {}
    assert_eq!(ask(&mut client, "q", 0, 0).ack, 0);
    let usage = server.stop();
    // Five inputs, and at least as many snapshots, plus the two.
    assert!(usage.operations >= 12);
    assert_eq!(usage.subscriptions, 1);
}

#[test]
fn a_long_poll_is_answered_by_the_next_tick() {
    let (server, mut client) = playing("50", 10);
    let mut last = 0;
    for number in 1..=5 {
        let reply = input(&mut client, "game=g&player=p", &format!("{number} jump"));
        assert_eq!(reply.status, 204);
        let acknowledged = loop {
            let target = format!("/duplex/long-poll?game=g&player=p&since={last}");
            let reply = client.get(&target);
            assert_eq!(
                (reply.status, reply.header("content-type")),
                (200, Some("text/plain"))
            );
            let seen = shown(reply.body.strip_suffix(b"\n").unwrap(), 10);
            assert!(seen.tick > last);
            last = seen.tick;
            if seen.ack >= number {
                break seen.ack;
            }
        };
        assert_eq!(acknowledged, number);
    }
    for (query, status) in [
        ("since=x", 400),
        ("since=-1", 400),
        ("timeout_ms=0", 400),
        ("timeout_ms=30001", 400),
        ("timeout_ms=1&since=18446744073709551615", 204),
    ] {
        let target = format!("/duplex/long-poll?game=g&player=p&{query}");
        assert_eq!(client.get(&target).status, status, "{query}");
    }
    drop(server);
}

#[test]
fn a_replaced_game_answers_long_polls_and_ends_streams() {
    let (server, mut client) = playing("0.001", 0);
    let [mut waiting, mut stream] = [(); 2].map(|()| Client::http(&server));
    waiting.send("GET /duplex/long-poll?game=g&player=p HTTP/1.1\r\nHost: here\r\n\r\n");
    assert_eq!(stream.get("/duplex/stream?game=g&player=q").status, 200);
    // The request may come after a replacement, and wait for the new game.
    while !waiting.is_answered_soon() {
        assert_eq!(put(&mut client, "g?hz=0.001&bytes=0"), 200);
    }
    assert_eq!(waiting.reply().status, 204);
    // The last chunk has no bytes.
    assert_eq!(stream.chunk(), "");
}

#[test]
fn a_stream_shows_each_tick_and_a_player_has_one_at_a_time() {
    let (server, mut client) = playing("50", 10);
    let mut stream = Client::http(&server);
    let reply = stream.get("/duplex/stream?game=g&player=p");
    let kind = reply.header("content-type");
    assert_eq!((reply.status, kind), (200, Some("text/event-stream")));
    assert_eq!(client.get("/duplex/stream?game=g&player=p").status, 409);
    assert_eq!(
        client
            .request(&handshake("/ws/duplex?game=g&player=p"))
            .status,
        409
    );
    assert_eq!(input(&mut client, "game=g&player=p", "7 jump").status, 204);
    let mut last = 0;
    loop {
        let event = stream.chunk();
        let (id, data) = event.split_once("\ndata: ").unwrap();
        let id = id.strip_prefix("id: ").unwrap();
        let line = format!("{id} {}", data.strip_suffix("\n\n").unwrap());
        let seen = shown(line.as_bytes(), 10);
        assert!(seen.tick > last);
        last = seen.tick;
        if seen.ack == 7 {
            break;
        }
    }
    drop(stream);
    // Its place is free again when the server has seen the end.
    while client.get("/duplex/stream?game=g&player=p").status == 409 {}
    assert!(server.stop().deliveries >= 1);
}

#[test]
fn all_workers_serve_the_same_game() {
    let config = Config {
        workers: 3,
        ..Config::default()
    };
    let server = Server::start(&config).unwrap();
    let mut client = Client::http(&server);
    assert_eq!(
        put(&mut client, &format!("g?hz=50&bytes=20&seed={SEED}")),
        201
    );
    let names: Vec<_> = (0..12).map(|k| format!("p{k}")).collect();
    let mut sockets: Vec<_> = names.iter().map(|name| play(&server, name)).collect();
    for (number, socket) in (1..).zip(&mut sockets) {
        socket.send(FIN | TEXT, format!("{number}").as_bytes());
    }
    for (number, socket) in (1..).zip(&mut sockets) {
        let acknowledged = loop {
            let ack = read(socket, 20).ack;
            if ack > 0 {
                break ack;
            }
        };
        assert_eq!(acknowledged, number);
    }
}

#[test]
fn a_player_that_does_not_read_misses_snapshots_but_not_the_latest() {
    const BYTES: usize = 500_000;
    let (server, mut client) = playing("100", BYTES);
    let mut slow = play(&server, "slow");
    // More than socket buffers hold; a client that asks sees each snapshot at most once.
    let mut ticks = 0;
    let mut latest = 0;
    while ticks < 80 {
        latest = ask(&mut client, "p", latest, BYTES).tick;
        ticks += 1;
    }
    let (mut snapshots, mut last) = (0, 0);
    while last < latest {
        let next = read(&mut slow, BYTES).tick;
        assert!(next > last);
        last = next;
        snapshots += 1;
    }
    assert!(snapshots < ticks, "{snapshots}");
    let usage = server.stop();
    assert!(usage.snapshots_coalesced >= ticks - snapshots);
    assert_eq!((usage.subscribers_dropped, usage.connections_cut), (0, 0));
}

#[test]
fn a_replaced_game_closes_its_players_and_the_new_one_begins_at_once() {
    let (server, mut client) = playing("1000", 0);
    let mut socket = play(&server, "p");
    socket.send(FIN | TEXT, b"9");
    while read(&mut socket, 0).ack < 9 {}
    assert_eq!(
        put(&mut client, &format!("g?hz=0.001&bytes=0&seed={SEED}")),
        200
    );
    let farewell = loop {
        let (first, payload) = socket.read();
        if first == FIN | CLOSE {
            break payload;
        }
    };
    assert_eq!(
        farewell,
        [&1012_u16.to_be_bytes()[..], b"game replaced"].concat()
    );
    socket.client.expect_end();
    // Nothing of the old game is left: no tick, no player.
    let target = "/duplex/snapshot?game=g&player=p";
    assert_eq!(client.get(target).status, 204);
    let _again = play(&server, "p");
    assert_eq!(
        put(&mut client, &format!("g?hz=50&bytes=0&seed={SEED}")),
        200
    );
    assert_eq!(ask(&mut client, "p", 0, 0).ack, 0);
}

#[test]
fn a_game_that_hardly_ticks_holds_up_nobody() {
    let (server, mut client) = playing("1e-300", 0);
    let mut socket = play(&server, "p");
    socket.send(FIN | TEXT, b"1");
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/duplex/snapshot?game=g&player=p").status, 204);
    socket.close();
    assert_eq!(server.stop().deliveries, 0);
}

#[test]
fn a_player_is_connected_once_but_may_come_back() {
    let (server, mut client) = playing("0.001", 0);
    let target = "/ws/duplex?game=g&player=p";
    // A failed handshake leaves nothing behind.
    assert_eq!(client.get(target).status, 426);
    let first = play(&server, "p");
    assert_eq!(client.request(&handshake(target)).status, 409);
    let _other = play(&server, "q");
    first.close();
    let _back = play(&server, "p");
    assert_eq!(server.stop().subscriptions, 3);
}

#[test]
fn what_is_no_input_ends_a_websocket_and_is_refused_over_http() {
    let (server, mut client) = playing("0.001", 0);
    for wrong in ["", "left", "-1 left", "0 left", " 1"] {
        let mut socket = play(&server, "p");
        socket.send(FIN | TEXT, wrong.as_bytes());
        socket.expect_close(1007);
        // Its place is free although the client has not closed yet.
        play(&server, "p").close();
        assert_eq!(input(&mut client, "game=g&player=q", wrong).status, 400);
    }
    let mut socket = play(&server, "p");
    socket.send(FIN | BINARY, &pattern((1 << 20) + 1));
    socket.expect_close(1009);
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn senseless_games_are_refused() {
    let server = server();
    let mut client = Client::http(&server);
    for game in [
        "?hz=20",
        "a/b?hz=20",
        "g",
        "g?hz=0",
        "g?hz=-1",
        "g?hz=1000001",
        "g?hz=20&bytes=x",
        "g?hz=20&bytes=1048577",
        "g?hz=20&seed=x",
    ] {
        assert_eq!(put(&mut client, game), 400, "{game}");
    }
    assert_eq!(put(&mut client, "g?hz=0.001&bytes=1048576"), 201);
    assert_eq!(put(&mut client, "g?hz=0.001"), 200);
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn senseless_players_are_refused() {
    let (server, mut client) = playing("0.001", 0);
    for (query, status) in [
        ("game=other&player=p", 404),
        ("game=g&player=a%20b", 400),
        ("game=g&player=", 400),
        ("game=g", 400),
    ] {
        assert_eq!(input(&mut client, query, "1").status, status, "{query}");
        for (target, kind) in [
            ("/duplex/snapshot", false),
            ("/duplex/long-poll", false),
            ("/duplex/stream", false),
            ("/ws/duplex", true),
        ] {
            let target = format!("{target}?{query}");
            let reply = if kind {
                client.request(&handshake(&target))
            } else {
                client.get(&target)
            };
            assert_eq!(reply.status, status, "{target}");
        }
    }
    for (since, status) in [("x", 400), ("-1", 400), ("18446744073709551615", 204)] {
        let target = format!("/duplex/snapshot?game=g&player=p&since={since}");
        assert_eq!(client.get(&target).status, status, "{since}");
    }
    assert_eq!(server.stop().operations, 1);
}

#[test]
fn each_path_takes_its_own_method() {
    let server = server();
    let mut client = Client::http(&server);
    for (method, target, allowed) in [
        ("GET", "/duplex/games/g", "PUT"),
        ("GET", "/duplex/input", "POST"),
        ("PUT", "/duplex/snapshot", "GET"),
        ("PUT", "/ws/duplex", "GET"),
    ] {
        let reply = client.request(&format!("{method} {target} HTTP/1.1\r\nHost: here\r\n\r\n"));
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allowed)));
    }
}
