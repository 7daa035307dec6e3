//! The length-prefixed floor.

use sockrates_core::target::TCP_LAST;

use crate::support::{Client, pattern, server};

fn message(head: u32, payload: &[u8]) -> Vec<u8> {
    [&head.to_be_bytes()[..], payload].concat()
}

fn whole(payload: &[u8]) -> Vec<u8> {
    message(u32::try_from(payload.len()).unwrap(), payload)
}

#[test]
fn messages_come_back_as_they_were() {
    let server = server();
    let mut client = Client::floor(&server);
    for length in [0, 1, 8188, 8189, 64 << 10, 1 << 20, 3] {
        let message = whole(&pattern(length));
        client.send(&message);
        assert!(client.read(message.len()) == message, "{length}");
    }
    let usage = server.stop();
    assert_eq!((usage.connections_accepted, usage.operations), (1, 7));
}

#[test]
fn messages_may_come_together_or_in_single_bytes() {
    let server = server();
    let mut client = Client::floor(&server);
    let messages: Vec<u8> = (0..50).flat_map(|k| whole(&pattern(k))).collect();
    client.send(&messages);
    assert_eq!(client.read(messages.len()), messages);
    for byte in &messages[..100] {
        client.send([*byte]);
    }
    client.send(&messages[100..]);
    assert_eq!(client.read(messages.len()), messages);
    assert_eq!(server.stop().operations, 100);
}

#[test]
fn the_server_closes_first_after_the_last_message() {
    let server = server();
    let mut client = Client::floor(&server);
    client.send(whole(b"one"));
    client.send(message(TCP_LAST | 3, b"two"));
    assert_eq!(client.read(14), [whole(b"one"), whole(b"two")].concat());
    client.expect_end();
}

#[test]
fn too_long_a_message_ends_the_connection() {
    let server = server();
    let mut client = Client::floor(&server);
    client.send(message((1 << 20) + 1, b""));
    client.expect_end();
    let usage = server.stop();
    assert_eq!((usage.operations, usage.connections_cut), (0, 1));
}
