//! What clients may not take: bytes, time, connections.

use std::time::Duration;

use sockrates_server::{Limits, Server};

use crate::support::{
    BINARY, Client, FIN, WebSocket, echo_head, masked, pattern, server, server_with,
};

#[test]
fn a_body_above_the_limit_is_refused_and_the_connection_closed() {
    let server = server_with(Limits {
        message_bytes: 1000,
        ..Limits::default()
    });
    let mut client = Client::http(&server);
    assert_eq!(client.echo(&pattern(1000)).body, pattern(1000));
    // Announced: refused before anything of it is sent.
    let reply = client.request(&echo_head(1001, "Expect: 100-continue\r\n"));
    assert_eq!(
        (reply.status, reply.header("connection")),
        (413, Some("close"))
    );
    client.expect_end();
    // Not announced: refused as soon as it is too much, be it the first piece or a later one.
    for chunks in [&[2000][..], &[600, 600]] {
        let mut client = Client::http(&server);
        client.send("POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n");
        for length in chunks {
            client.send(format!("{length:x}\r\n"));
            client.send([pattern(*length), b"\r\n".to_vec()].concat());
        }
        assert_eq!(client.reply().status, 413);
        client.expect_end();
    }
    let usage = server.stop();
    assert_eq!((usage.operations, usage.connections_cut), (1, 3));
}

/// Closing with unread bytes would reset the connection, and the reply might be lost.
#[test]
fn the_refusal_arrives_although_the_client_goes_on_sending() {
    let server = server();
    let mut client = Client::http(&server);
    assert_eq!(client.echo(&pattern(8 << 20)).status, 413);
    client.expect_end();
}

#[test]
fn a_head_above_the_limit_is_refused() {
    let server = server();
    let mut client = Client::http(&server);
    let fits = format!(
        "GET /healthz HTTP/1.1\r\nHost: here\r\nX: {}\r\n\r\n",
        "x".repeat(16_000)
    );
    assert_eq!(client.request(&fits).status, 200);
    let too_long = "x".repeat(16 << 10);
    client.send(format!(
        "GET /healthz HTTP/1.1\r\nHost: here\r\nX: {too_long}"
    ));
    assert_eq!(client.reply().status, 431);
    client.expect_drop();
    assert_eq!(server.stop().connections_cut, 1);
}

#[test]
fn connections_above_the_limit_are_closed_at_once() {
    let server = server_with(Limits {
        connections: 2,
        ..Limits::default()
    });
    let mut first = Client::http(&server);
    assert_eq!(first.get("/healthz").status, 200);
    let mut second = Client::floor(&server);
    second.send(0u32.to_be_bytes());
    assert_eq!(second.read(4), [0; 4]);
    Client::http(&server).expect_end();
    Client::floor(&server).expect_end();
    assert_eq!(first.get("/healthz").status, 200);
    let usage = server.stop();
    assert_eq!(
        (usage.connections_accepted, usage.connections_refused),
        (2, 2)
    );
}

#[test]
fn a_place_is_free_again_when_its_connection_has_ended() {
    let server = server_with(Limits {
        connections: 1,
        ..Limits::default()
    });
    for _ in 0..50 {
        // The end reaches the client a moment before the place is free: being refused means to try again.
        while !is_served(&server) {}
    }
    assert_eq!(server.stop().connections_accepted, 50);
}

fn is_served(server: &Server) -> bool {
    let mut client = Client::floor(server);
    let message = sockrates_core::target::TCP_LAST.to_be_bytes();
    client.try_exchange(&message, &mut [0; 4])
}

const TINY: Duration = Duration::from_millis(50);

#[test]
fn idle_connections_of_all_kinds_are_cut() {
    let server = server_with(Limits {
        // Longer than a busy machine keeps the clients from saying their first words.
        idle_timeout: 8 * TINY,
        ..Limits::default()
    });
    let mut socket = WebSocket::open(&server);
    let mut kept = Client::http(&server);
    assert_eq!(kept.get("/healthz").status, 200);
    let clients = [Client::http(&server), Client::floor(&server), kept, {
        socket.send(BINARY, b"unfinished");
        socket.client
    }];
    for mut client in clients {
        client.expect_end();
    }
    assert_eq!(server.stop().connections_cut, 4);
}

#[test]
fn a_head_takes_no_longer_than_it_may() {
    let server = server_with(Limits {
        header_read_timeout: TINY,
        ..Limits::default()
    });
    let mut client = Client::http(&server);
    assert_eq!(client.get("/healthz").status, 200);
    client.send("GET /healthz HT");
    client.expect_end();
    assert_eq!(server.stop().connections_cut, 1);
}

#[test]
fn bodies_and_messages_take_no_longer_than_they_may() {
    let server = server_with(Limits {
        exchange_timeout: TINY,
        ..Limits::default()
    });
    let mut body = Client::http(&server);
    body.send(echo_head(10, "") + "x");
    let mut floor = Client::floor(&server);
    floor.send([0, 0]);
    let mut socket = WebSocket::open(&server);
    socket
        .client
        .send(&masked(FIN | BINARY, b"unfinished")[..9]);
    for mut client in [body, floor, socket.client] {
        client.expect_end();
    }
    assert_eq!(server.stop().connections_cut, 3);
}

/// More replies are under way than socket buffers hold, and nobody reads them.
#[test]
fn a_client_that_does_not_read_is_cut() {
    let server = server_with(Limits {
        exchange_timeout: TINY,
        ..Limits::default()
    });
    let mut client = Client::http(&server);
    client.send("GET /payload?bytes=1048576 HTTP/1.1\r\nHost: here\r\n\r\n".repeat(100));
    client.send_until_cut();
    assert_eq!(server.stop().connections_cut, 1);
}

/// Closed in order, the kernel would keep what is unread for as long as the client likes.
#[test]
fn nothing_is_kept_for_a_client_that_was_cut() {
    let server = server_with(Limits {
        exchange_timeout: TINY,
        ..Limits::default()
    });
    let mut client = Client::http(&server);
    client.send("GET /payload?bytes=1048576 HTTP/1.1\r\nHost: here\r\n\r\n".repeat(100));
    client.expect_reset();
    assert_eq!(server.stop().connections_cut, 1);
}
