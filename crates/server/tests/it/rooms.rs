//! What members of a room hear.

use std::time::Duration;

use sockrates_server::{Config, Limits, Server};

use crate::support::{
    BINARY, CLOSE, Client, FIN, PING, PONG, TEXT, WebSocket, handshake, masked, pattern, server,
    server_with,
};

fn join(server: &Server, room: &str) -> WebSocket {
    WebSocket::open_at(server, &format!("/ws/room/{room}")).0
}

#[test]
fn what_one_member_says_all_members_of_its_room_hear() {
    let server = server();
    let mut members = [(); 2].map(|()| join(&server, "lobby"));
    let mut stranger = join(&server, "cellar");
    let said = [
        (FIN | TEXT, b"hello".to_vec()),
        (FIN | BINARY, pattern(300)),
        (FIN | TEXT, vec![]),
        (FIN | BINARY, pattern(1 << 20)),
    ];
    for (turn, (first, payload)) in said.iter().enumerate() {
        members[turn % 2].send(*first, payload);
        for member in &mut members {
            assert!(member.read() == (*first, payload.clone()), "{turn}");
        }
    }
    stranger.send(FIN | TEXT, b"alone");
    assert_eq!(stranger.read(), (FIN | TEXT, b"alone".to_vec()));
    let usage = server.stop();
    let counts = (usage.subscriptions, usage.operations, usage.deliveries);
    assert_eq!(counts, (3, 5, 9));
    assert_eq!((usage.subscribers_dropped, usage.connections_cut), (0, 0));
}

#[test]
fn all_members_hear_the_same_order_whatever_worker_serves_them() {
    let config = Config {
        workers: 3,
        ..Config::default()
    };
    let server = Server::start(&config).unwrap();
    let mut members: Vec<_> = (0..8).map(|_| join(&server, "lobby")).collect();
    for number in 0..100 {
        for (speaker, member) in (0..).zip(&mut members) {
            member.send(FIN | BINARY, &[speaker, number]);
        }
    }
    let mut heard = members
        .iter_mut()
        .map(|member| (0..800).map(|_| member.read().1).collect::<Vec<Vec<u8>>>());
    let order = heard.next().unwrap();
    for speaker in 0..8 {
        let own = order.iter().filter(|message| message[0] == speaker);
        assert!(own.map(|message| message[1]).eq(0..100), "{speaker}");
    }
    assert!(heard.all(|other| other == order));
    assert_eq!(server.stop().deliveries, 8 * 800);
}

/// More than the room keeps, in a few packets: its own words must not run away from a member that reads.
#[test]
fn who_says_much_at_once_hears_it_all() {
    let server = server();
    let mut member = join(&server, "lobby");
    let messages = (0..10_000_u16).map(|number| masked(FIN | BINARY, &number.to_be_bytes()));
    member.client.send(messages.collect::<Vec<_>>().concat());
    for number in 0..10_000_u16 {
        assert_eq!(member.read().1, number.to_be_bytes());
    }
    assert_eq!(server.stop().subscribers_dropped, 0);
}

#[test]
fn fragments_are_heard_whole_and_pings_by_nobody_else() {
    let server = server();
    let [mut speaker, mut listener] = [(); 2].map(|()| join(&server, "lobby"));
    // The second letter is cut in two.
    speaker.send(TEXT, b"a\xc3");
    speaker.send(FIN | PING, b"between");
    speaker.send(FIN, b"\xbc");
    assert_eq!(speaker.read(), (FIN | PONG, b"between".to_vec()));
    for member in [&mut speaker, &mut listener] {
        assert_eq!(member.read(), (FIN | TEXT, "aü".into()));
    }
}

#[test]
fn a_member_that_leaves_or_breaks_the_rules_harms_nobody() {
    let server = server();
    let [mut first, mut second] = [(); 2].map(|()| join(&server, "lobby"));
    for leave in [
        |mut member: WebSocket| member.client.send(&masked(FIN | TEXT, b"cut short")[..8]),
        WebSocket::close,
        |mut member: WebSocket| {
            member.send(FIN | TEXT, b"\xff");
            member.expect_close(1007);
        },
        |mut member: WebSocket| {
            member.send(FIN | BINARY, &pattern((1 << 20) + 1));
            member.expect_close(1009);
        },
    ] {
        leave(join(&server, "lobby"));
        first.send(FIN | TEXT, b"still there?");
        for member in [&mut first, &mut second] {
            assert_eq!(member.read(), (FIN | TEXT, b"still there?".to_vec()));
        }
    }
    assert_eq!(server.stop().operations, 4);
}

#[test]
fn a_new_member_hears_only_what_is_said_from_then_on() {
    let server = server();
    let mut early = join(&server, "lobby");
    early.send(FIN | TEXT, b"early");
    assert_eq!(early.read().1, b"early");
    let mut late = join(&server, "lobby");
    early.close();
    late.send(FIN | TEXT, b"late");
    assert_eq!(late.read().1, b"late");
    late.close();
    let mut next = join(&server, "lobby");
    next.send(FIN | TEXT, b"next");
    assert_eq!(next.read().1, b"next");
}

#[test]
fn a_member_that_never_reads_is_dropped_and_the_others_hear_everything() {
    let server = server_with(Limits {
        // The sweeper looks at a quarter of it.
        header_read_timeout: Duration::from_secs(1),
        ..Limits::default()
    });
    let [mut speaker, mut listener, mut deaf] = [(); 3].map(|()| join(&server, "lobby"));
    // Far more than socket buffers hold, and then some.
    let message = pattern(16 << 10);
    let frame = masked(FIN | BINARY, &message);
    for number in 0..3000 {
        speaker.client.send(&frame);
        for member in [&mut speaker, &mut listener] {
            assert!(member.read() == (FIN | BINARY, message.clone()), "{number}");
        }
    }
    deaf.client
        .repeat_until_cut(&masked(FIN | PONG, b"for no reason"));
    speaker.send(FIN | TEXT, b"gone");
    assert_eq!(listener.read().1, b"gone");
    let usage = server.stop();
    assert_eq!((usage.subscribers_dropped, usage.connections_cut), (1, 0));
}

#[test]
fn a_member_whom_the_room_has_left_behind_is_told_so() {
    let server = server();
    let [mut speaker, mut slow] = [(); 2].map(|()| join(&server, "lobby"));
    let message = pattern(1 << 20);
    let frame = masked(FIN | BINARY, &message);
    for _ in 0..40 {
        speaker.client.send(&frame);
        assert!(speaker.read().1 == message);
    }
    let farewell = loop {
        let (first, payload) = slow.read();
        if first == FIN | CLOSE {
            break payload;
        }
        assert!(payload == message);
    };
    assert_eq!(
        farewell,
        [&4410_u16.to_be_bytes()[..], b"too slow"].concat()
    );
    slow.client.expect_end();
    let usage = server.stop();
    assert_eq!((usage.subscribers_dropped, usage.connections_cut), (1, 0));
}

#[test]
fn a_room_needs_a_name_and_a_handshake() {
    let server = server();
    let mut client = Client::http(&server);
    let long = "x".repeat(65);
    for name in ["", "a/b", "a%20b", &long] {
        let reply = client.request(&handshake(&format!("/ws/room/{name}")));
        assert_eq!(reply.status, 400, "{name}");
    }
    assert_eq!(client.get("/ws/room/lobby").status, 426);
    let reply = client.request("PUT /ws/room/lobby HTTP/1.1\r\nHost: here\r\n\r\n");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")));
    let usage = server.stop();
    assert_eq!((usage.subscriptions, usage.operations), (0, 0));
}
