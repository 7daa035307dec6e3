//! What clients must not do over a WebSocket, and the code that the server closes with.

use crate::support::{BINARY, CLOSE, FIN, PING, PONG, TEXT, WebSocket, head, masked, server};

const RESERVED_BIT: u8 = 0x40;

fn closes_with(code: u16, frames: &[Vec<u8>]) {
    let server = server();
    let mut socket = WebSocket::open(&server);
    for frame in frames {
        socket.client.send(frame);
    }
    socket.expect_close(code);
    // The server waits for this end of the connection.
    drop(socket);
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn frames_must_be_masked() {
    closes_with(1002, &[[head(FIN | TEXT, 2), b"hi".to_vec()].concat()]);
    closes_with(1002, &[head(FIN | PING, 0)]);
    closes_with(1002, &[head(FIN | CLOSE, 0)]);
}

#[test]
fn reserved_bits_and_opcodes_mean_nothing() {
    for bit in [0x10, 0x20, RESERVED_BIT] {
        closes_with(1002, &[masked(FIN | TEXT | bit, b"")]);
    }
    for opcode in [3, 7, 11, 15] {
        closes_with(1002, &[masked(FIN | opcode, b"")]);
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [PING, PONG, CLOSE] {
        closes_with(1002, &[masked(opcode, b"")]);
        closes_with(1002, &[masked(FIN | opcode, &[3; 126])]);
    }
}

#[test]
fn fragments_belong_to_one_message() {
    closes_with(1002, &[masked(FIN, b"of nothing")]);
    closes_with(1002, &[masked(0, b"of nothing")]);
    closes_with(1002, &[masked(TEXT, b"one"), masked(FIN | TEXT, b"two")]);
    closes_with(1002, &[masked(TEXT, b"one"), masked(BINARY, b"two")]);
}

#[test]
fn text_is_utf8() {
    closes_with(1007, &[masked(FIN | TEXT, b"\xff")]);
    closes_with(1007, &[masked(FIN | TEXT, b"half a letter \xc3")]);
    closes_with(
        1007,
        &[masked(TEXT, b"half a letter \xc3"), masked(FIN, b"")],
    );
    // Refused at once: the rest of the message never comes.
    closes_with(1007, &[masked(TEXT, b"\xff")]);
    closes_with(1007, &[masked(TEXT, b"\xc3"), masked(0, b"(")]);
    // A surrogate, an overlong slash, and a number beyond Unicode.
    for text in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xf4\x90\x80\x80"] {
        closes_with(1007, &[masked(FIN | TEXT, text)]);
    }
}

#[test]
fn close_says_why_in_a_code_that_may_be_sent_and_in_utf8() {
    closes_with(1002, &[masked(FIN | CLOSE, b"\x03")]);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        closes_with(1002, &[masked(FIN | CLOSE, &code.to_be_bytes())]);
    }
    closes_with(1007, &[masked(FIN | CLOSE, b"\x03\xe8\xff")]);
}

#[test]
fn lengths_are_bounded_before_anything_is_read() {
    for length in [(1 << 20) + 1, 1 << 40, u64::MAX] {
        let masked_head = [&[FIN | BINARY, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        closes_with(1009, &[masked_head]);
    }
}

#[test]
fn fragments_are_bounded_together() {
    let half = vec![0; 1 << 19];
    closes_with(
        1009,
        &[masked(BINARY, &half), masked(0, &half), masked(0, b"x")],
    );
}

/// The client is still sending when the server has seen enough: the reason must reach it all the same.
#[test]
fn the_code_arrives_although_the_client_goes_on_sending() {
    let server = server();
    let mut socket = WebSocket::open(&server);
    socket.send(FIN | BINARY, &vec![0; 3 << 20]);
    socket.expect_close(1009);
    drop(socket);
    assert_eq!(server.stop().connections_cut, 1);
}
