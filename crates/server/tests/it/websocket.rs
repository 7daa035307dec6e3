//! What a WebSocket echoes.

use crate::support::{
    BINARY, CLOSE, Client, FIN, HANDSHAKE, PING, PONG, TEXT, WebSocket, masked, pattern, server,
};

#[test]
fn messages_come_back_as_they_were() {
    let server = server();
    let mut socket = WebSocket::open(&server);
    let lengths = [
        0,
        1,
        125,
        126,
        1024,
        1025,
        0xffff,
        0x1_0000,
        (1 << 20) - 1,
        1 << 20,
    ];
    for length in lengths {
        let binary = pattern(length);
        socket.send(FIN | BINARY, &binary);
        assert!(socket.read() == (FIN | BINARY, binary), "{length}");
        let text = vec![b'x'; length];
        socket.send(FIN | TEXT, &text);
        assert!(socket.read() == (FIN | TEXT, text), "{length}");
    }
    let usage = server.stop();
    assert_eq!((usage.connections_accepted, usage.operations), (1, 20));
}

#[test]
fn fragments_come_back_as_one_message() {
    let server = server();
    let mut socket = WebSocket::open(&server);
    // The second letter is cut in two.
    socket.send(TEXT, b"a\xc3");
    socket.send(0, b"\xbc");
    socket.send(0, b"");
    socket.send(FIN, b"z");
    assert_eq!(socket.read(), (FIN | TEXT, "aüz".into()));
    socket.send(BINARY, b"");
    socket.send(FIN, b"");
    assert_eq!(socket.read(), (FIN | BINARY, vec![]));
    let whole = pattern(1 << 20);
    socket.send(BINARY, &whole[..1000]);
    socket.send(0, &whole[1000..300_000]);
    socket.send(FIN, &whole[300_000..]);
    assert!(socket.read() == (FIN | BINARY, whole));
    assert_eq!(server.stop().operations, 3);
}

#[test]
fn pings_are_answered_between_fragments() {
    let server = server();
    let mut socket = WebSocket::open(&server);
    socket.send(FIN | PING, b"");
    assert_eq!(socket.read(), (FIN | PONG, vec![]));
    socket.send(TEXT, b"one ");
    socket.send(FIN | PING, &[0xff; 125]);
    socket.send(FIN | PONG, b"unasked");
    socket.send(FIN, b"message");
    assert_eq!(socket.read(), (FIN | PONG, vec![0xff; 125]));
    assert_eq!(socket.read(), (FIN | TEXT, b"one message".to_vec()));
    assert_eq!(server.stop().operations, 1);
}

#[test]
fn frames_may_come_in_single_bytes() {
    let server = server();
    let mut client = Client::http(&server);
    let frames = [
        masked(FIN | BINARY, &pattern(200)),
        masked(FIN | TEXT, b"end"),
    ]
    .concat();
    for byte in [HANDSHAKE.as_bytes(), &frames].concat() {
        client.send([byte]);
    }
    let mut socket = WebSocket::opened(client);
    assert_eq!(socket.read(), (FIN | BINARY, pattern(200)));
    assert_eq!(socket.read(), (FIN | TEXT, b"end".to_vec()));
}

#[test]
fn many_frames_in_one_packet_are_answered_in_order() {
    let server = server();
    let mut socket = WebSocket::open(&server);
    let frames: Vec<u8> = (0..100).flat_map(|k| masked(FIN | BINARY, &[k])).collect();
    socket.client.send(frames);
    for k in 0..100 {
        assert_eq!(socket.read(), (FIN | BINARY, vec![k]));
    }
}

#[test]
fn a_close_is_answered_in_kind_and_the_server_closes_first() {
    let server = server();
    for payload in [
        &b""[..],
        b"\x03\xe8",
        b"\x03\xe8goodbye",
        b"\x0b\xb8",
        b"\x13\x87",
    ] {
        let mut socket = WebSocket::open(&server);
        socket.send(FIN | TEXT, b"last words");
        socket.send(FIN | CLOSE, payload);
        assert_eq!(socket.read(), (FIN | TEXT, b"last words".to_vec()));
        assert_eq!(socket.read(), (FIN | CLOSE, payload.to_vec()));
        socket.client.expect_end();
    }
    assert_eq!(server.stop().connections_cut, 0);
}

#[test]
fn a_close_between_fragments_ends_the_message() {
    let server = server();
    let mut socket = WebSocket::open(&server);
    socket.send(TEXT, b"unfinished");
    socket.send(FIN | CLOSE, b"\x03\xe8");
    assert_eq!(socket.read(), (FIN | CLOSE, b"\x03\xe8".to_vec()));
    socket.client.expect_end();
}
