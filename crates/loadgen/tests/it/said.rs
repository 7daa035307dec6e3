//! Whatever a server says, in whatever pieces: it is understood the same way, or refused, and nothing panics.

use proptest::prelude::*;

use crate::script::{check_events, check_http1, check_websocket};

/// Begins an input: three pieces, of one byte, of none (a wait), and of seven.
const PIECES: &[u8] = &[3, 1, 0, 7];

const REPLIES: [&[u8]; 4] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Sockrates-Head: 7\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0a\r\n0123456789\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: keep-alive, close\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nto the end",
];

const FRAMES: [&[u8]; 3] = [
    b"\x01\x02he\x89\x01p\x00\x01l\x8a\x00\x80\x02lo\x88\x02\x03\xe8",
    b"\x82\x7e\x00\x80................................................................\
      ................................................................\x81\x00\x88\x00",
    b"\x81\x06\xc3\xa9\xe2\x82\xacx\x88\x05\x03\xe9bye",
];

const EVENTS: &[u8] =
    b"HTTP/1.1 200 OK\r\nx-sockrates-head: 4\r\ntransfer-encoding: chunked\r\n\r\n\
    1c\r\n: hello\n\nid: 5\ndata: 100 abc\r\n17\r\n\n\nid: 6\ndata: 200 def\n\n\r\n0\r\n\r\n";

/// One of these, with some bytes changed, left out, put in or said twice.
fn nearly(rights: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let change = (0u8..4, any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 0..4);
    (prop::sample::select(rights), changes).prop_map(|(right, changes)| {
        let mut bytes = right.to_vec();
        for (how, place, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    })
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..30, 0..16)
}

fn input(pieces: &[u8], said: &[u8]) -> Vec<u8> {
    let count = u8::try_from(pieces.len()).unwrap();
    [&[count], pieces, said].concat()
}

proptest! {
    #[test]
    fn any_bytes_are_heard_over_http(bytes: Vec<u8>) {
        check_http1(&bytes);
    }

    #[test]
    fn any_bytes_are_heard_over_a_websocket(bytes: Vec<u8>) {
        check_websocket(&bytes);
    }

    #[test]
    fn any_bytes_are_heard_in_a_stream(bytes: Vec<u8>) {
        check_events(&bytes);
    }

    #[test]
    fn replies_that_are_nearly_right_are_heard(pieces in pieces(), said in nearly(&REPLIES)) {
        check_http1(&input(&pieces, &said));
    }

    #[test]
    fn frames_that_are_nearly_right_are_heard(pieces in pieces(), said in nearly(&FRAMES)) {
        check_websocket(&input(&pieces, &said));
    }

    #[test]
    fn events_that_are_nearly_right_are_heard(pieces in pieces(), said in nearly(&[EVENTS])) {
        check_events(&input(&pieces, &said));
    }
}

/// The checks compare what was heard: it must be something.
#[test]
fn what_is_right_is_heard() {
    use crate::script::{Script, events, http1, split, websocket};
    let (pieces, _) = split(PIECES);
    let lengths = [5, 13, 0, 10];
    for (reply, length) in REPLIES.iter().zip(lengths) {
        let (told, _) = http1(Script::new(reply.to_vec(), pieces));
        assert_eq!(told.contents[0].len(), length, "{told:?}");
    }
    let (told, _) = websocket(FRAMES[0], pieces);
    assert_eq!(
        (&told.messages[0].1[..], &told.codes[..]),
        (&b"hello"[..], &[1000][..])
    );
    let (lines, _) = events(Script::new(EVENTS.to_vec(), pieces));
    assert_eq!(lines, [&b"5 100 abc"[..], b"6 200 def"]);
}

/// The seeds of the fuzz targets, and every input that one of them found a fault with.
#[test]
fn the_seeds_of_the_fuzz_targets_are_heard() {
    type Target = (&'static str, fn(&[u8]));
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let targets: [Target; 3] = [
        ("http_response", check_http1),
        ("websocket", check_websocket),
        ("server_sent_events", check_events),
    ];
    for (target, check) in targets {
        let mut seeds = 0;
        for entry in std::fs::read_dir(corpus.join(target)).unwrap() {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds > 2, "{target}");
    }
}
