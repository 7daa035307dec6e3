//! Servers that know nothing of sockrates: what they may do, and what must not be taken for an answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};
use sockrates_core::custom::{Custom, HttpExchange, MessageExchange};
use sockrates_core::failure::FailureKind;
use sockrates_core::plan::{Cell, Placement, Target, TrialSpec};
use sockrates_core::record::Metric;
use sockrates_core::scenario::{Timing, Workload};
use sockrates_core::schedule::Load as Shape;
use sockrates_loadgen::live::Live;
use sockrates_loadgen::preflight::{self, Rejection};
use sockrates_loadgen::trial::{self, Load};

use crate::support::both;

/// Starts a server that does the same with every connection.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads a request's head; `None` at the end.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        (stream.read(&mut byte).ok()? == 1).then_some(())?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Takes the handshake of a WebSocket.
fn open(stream: &mut TcpStream) -> Option<()> {
    open_and_say(stream, b"")
}

/// The same, with frames right behind the answer.
fn open_and_say(stream: &mut TcpStream, frames: &[u8]) -> Option<()> {
    let head = head(stream)?;
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let accept = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let accept = BASE64.encode(accept);
    let answer = format!(
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(&[answer.as_bytes(), frames].concat()).ok()
}

/// Reads a short masked message; `None` at the end or a Close.
fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).ok()?;
    (head[0] & 0x0f != 8).then_some(())?;
    for (byte, key) in payload.iter_mut().zip(head[2..].iter().cycle()) {
        *byte ^= key;
    }
    Some(payload)
}

/// Writes a short text message.
fn text(stream: &mut TcpStream, payload: &[u8]) -> Option<()> {
    let length = u8::try_from(payload.len()).unwrap();
    stream.write_all(&[&[0x81, length], payload].concat()).ok()
}

fn http(rest: &str) -> Custom {
    let http: HttpExchange = toml(&format!("path = '/'\n{rest}"));
    Custom {
        http: Some(http),
        websocket: None,
    }
}

fn websocket(rest: &str) -> Custom {
    let message = if rest.contains("message") {
        ""
    } else {
        "message = { random = 32 }\n"
    };
    let websocket: MessageExchange = toml(&format!("path = '/'\n{message}{rest}"));
    Custom {
        http: None,
        websocket: Some(websocket),
    }
}

fn toml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap()
}

const TIMING: Timing = Timing {
    warm_up_ms: 0,
    ramp_ms: 0,
    window_ms: 30_000,
    drain_ms: 5000,
    timeout_ms: 20_000,
};

fn spec(lane: &str, custom: Custom, operations: u64) -> TrialSpec {
    let cell = Cell {
        workload: Workload::Custom(Box::new(custom)),
        ..Cell::echo(lane.parse().unwrap(), 0, TIMING)
    };
    TrialSpec {
        stop_after_operations: Some(operations),
        ..TrialSpec::alone(cell, Placement::default())
    }
}

fn measure(spec: &TrialSpec, address: SocketAddr) -> Load {
    let spec = spec.clone();
    let measured = std::thread::spawn(move || trial::run(&spec, both(address), &[]));
    let load = measured.join().unwrap().unwrap();
    assert!(load.operations.is_conserved(), "{:?}", load.operations);
    load
}

fn failed(load: &Load, kind: FailureKind) -> u64 {
    load.operations.failed.get(&kind).copied().unwrap_or(0)
}

#[test]
fn a_server_that_closes_kept_connections_is_followed() {
    // Three replies on each connection, the last one announced.
    let address = server(|mut stream| {
        for number in 1..=3 {
            let Some(_) = head(&mut stream) else { return };
            let close = if number == 3 {
                "Connection: close\r\n"
            } else {
                ""
            };
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{close}\r\nok");
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    let load = measure(&spec("http1-persistent", http(""), 9), address);
    assert_eq!(load.operations.verified, 9, "{:?}", load.operations);
    assert_eq!(load.connections_opened, 3);
    let wire = load.wire.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    assert_eq!(
        (wire.connections, wire.bytes_sent),
        (3, 9 * request.len() as u64)
    );
    // Both clocks: every operation with set-up, and every one without.
    assert_eq!(load.histograms[&Metric::ServiceTime].count(), 9);
    assert_eq!(load.histograms[&Metric::Exchange].count(), 9);
    assert_eq!(load.histograms[&Metric::FirstByte].count(), 3);
}

#[test]
fn an_idle_connection_that_the_server_closed_is_replaced_and_no_failure() {
    // One reply, kept alive as far as its head says, and then the end.
    let address = server(|mut stream| {
        if head(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut spec = spec("http1-persistent", http(""), 5);
    // 200 ms apart: the end has come long before the next request.
    spec.cell.load = Shape::OpenConstant {
        rate_per_second: 5.0,
    };
    let load = measure(&spec, address);
    assert_eq!(load.operations.verified, 5, "{:?}", load.operations);
    assert_eq!(load.connections_opened, 5);
}

#[test]
fn statuses_are_counted_and_only_those_asked_for_count() {
    let address = server(|mut stream| {
        for status in [200, 500].into_iter().cycle() {
            let Some(_) = head(&mut stream) else { return };
            let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    let load = measure(&spec("http1-persistent", http(""), 4), address);
    assert_eq!(
        (
            load.operations.verified,
            failed(&load, FailureKind::BadStatus)
        ),
        (2, 2)
    );
    let answers = load.answers.unwrap();
    assert_eq!(
        answers.statuses.into_iter().collect::<Vec<_>>(),
        [(200, 2), (500, 2)]
    );
    let both = http("expect_status = '200,500'");
    let load = measure(&spec("http1-persistent", both, 4), address);
    assert_eq!(load.operations.verified, 4);
}

#[test]
fn a_head_request_has_no_body_and_a_wrong_body_is_a_failure() {
    let address = server(|mut stream| {
        while let Some(request) = head(&mut stream) {
            let body = if request.starts_with("HEAD") {
                ""
            } else {
                "hello"
            };
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}");
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    let load = measure(
        &spec("http1-persistent", http("method = 'HEAD'"), 3),
        address,
    );
    assert_eq!(load.operations.verified, 3, "{:?}", load.operations);
    let right = http("expect_body = { exactly = { text = 'hello' } }");
    assert_eq!(
        measure(&spec("http1-persistent", right, 3), address)
            .operations
            .verified,
        3
    );
    let wrong = http("expect_body = { exactly = { text = 'hullo' } }");
    let load = measure(&spec("http1-persistent", wrong, 3), address);
    assert_eq!(failed(&load, FailureKind::WrongPayload), 3);
}

#[test]
fn trailers_are_passed_over() {
    let address = server(|mut stream| {
        while head(&mut stream).is_some() {
            let reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n";
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    let right = http("expect_body = { exactly = { text = 'ok' } }");
    let load = measure(&spec("http1-persistent", right, 3), address);
    assert_eq!(load.operations.verified, 3, "{:?}", load.operations);
}

#[test]
fn what_a_server_says_on_an_idle_connection_is_counted_and_answers_nothing() {
    let address = server(|mut stream| {
        while head(&mut stream).is_some() {
            let reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(reply.as_bytes());
            std::thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    let mut spec = spec("http1-persistent", http(""), 4);
    spec.cell.load = Shape::OpenConstant {
        rate_per_second: 1.0,
    };
    let load = measure(&spec, address);
    assert_eq!(load.operations.verified, 4, "{:?}", load.operations);
    // That of the last operation may come after the end.
    assert!((3..=4).contains(&load.answers.unwrap().unasked));
    assert_eq!(load.connections_opened, 4);
}

#[test]
fn bytes_are_counted_of_connections_that_end_badly_too() {
    // Answers a few, and then no more.
    let address = server(|mut stream| {
        for _ in 0..3 {
            let Some(_) = head(&mut stream) else { return };
            let reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(reply.as_bytes()).unwrap();
        }
        let _ = head(&mut stream);
        std::thread::sleep(Duration::from_mins(1));
    });
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").len() as u64;
    let mut spec = spec("http1-persistent", http(""), 0);
    spec.stop_after_operations = None;
    spec.cell.timing = Timing {
        window_ms: 1500,
        drain_ms: 100,
        ..TIMING
    };
    let load = measure(&spec, address);
    assert_eq!(
        (load.operations.verified, load.operations.unfinished),
        (3, 1)
    );
    assert_eq!(load.wire.unwrap().bytes_sent, 4 * request);
    // And of a WebSocket whose goodbye is not answered.
    let abrupt = server(|mut stream| {
        if open(&mut stream).is_some()
            && let Some(payload) = message(&mut stream)
        {
            let _ = text(&mut stream, &payload);
        }
    });
    let load = measure(
        &self::spec("websocket-per-request", websocket(""), 2),
        abrupt,
    );
    assert_eq!(load.operations.failed_total(), 2, "{:?}", load.operations);
    assert!(load.wire.unwrap().bytes_sent > 0);
}

#[test]
fn a_load_that_is_stopped_in_its_ramp_ends_at_once() {
    let address = echo(&[], false);
    let mut spec = spec("websocket-persistent", websocket(""), 0);
    spec.stop_after_operations = None;
    spec.cell.connections = 4;
    spec.cell.timing = Timing {
        warm_up_ms: 60_000,
        ramp_ms: 60_000,
        drain_ms: 60_000,
        ..TIMING
    };
    let live = Arc::<Live>::default();
    let seen = Arc::clone(&live);
    let running =
        std::thread::spawn(move || trial::run_live(&spec, both(address), &[], &live).unwrap());
    while seen.progress().verified == 0 {
        std::thread::yield_now();
    }
    seen.stop();
    let load = running.join().unwrap();
    assert!(load.spans.end_ns - load.spans.start_ns < 50_000_000_000);
    assert!(load.operations.is_conserved() && load.warm_up.is_conserved());
}

/// Echoes each message with what `around` says before and after it.
fn echo(before: &'static [&'static [u8]], again: bool) -> SocketAddr {
    server(move |mut stream| {
        if open(&mut stream).is_none() {
            return;
        }
        while let Some(payload) = message(&mut stream) {
            let said = before.iter().try_for_each(|one| text(&mut stream, one));
            let said = said.and_then(|()| text(&mut stream, &payload));
            let said = said.and_then(|()| {
                if again {
                    text(&mut stream, &payload)
                } else {
                    Some(())
                }
            });
            if said.is_none() {
                return;
            }
        }
    })
}

#[test]
fn what_nobody_asked_for_is_counted_apart_and_never_an_answer() {
    let address = echo(&[b"news", b"more news"], false);
    let load = measure(&spec("websocket-persistent", websocket(""), 20), address);
    assert_eq!(load.operations.verified, 20, "{:?}", load.operations);
    let answers = load.answers.unwrap();
    assert_eq!((answers.unasked, answers.repeated), (40, 0));
}

#[test]
fn an_answer_that_comes_twice_is_not_the_answer_to_the_next_message() {
    let address = echo(&[], true);
    let load = measure(&spec("websocket-persistent", websocket(""), 40), address);
    assert_eq!(load.operations.verified, 40, "{:?}", load.operations);
    let answers = load.answers.unwrap();
    // That of the last message may come after the end.
    assert!((39..=40).contains(&answers.repeated), "{answers:?}");
    assert_eq!(answers.unasked, answers.repeated);
    let numbered = websocket("message = { text = 'n {sequence}' }");
    let load = measure(&spec("websocket-persistent", numbered, 40), address);
    assert_eq!(
        (load.operations.verified, load.operations.failed_total()),
        (40, 0)
    );
}

#[test]
fn an_answer_with_a_flipped_byte_is_a_failure_and_no_unasked_message() {
    let address = server(|mut stream| {
        if open(&mut stream).is_none() {
            return;
        }
        while let Some(mut payload) = message(&mut stream) {
            payload[3] ^= 1;
            if text(&mut stream, &payload).is_none() {
                return;
            }
        }
    });
    let load = measure(&spec("websocket-persistent", websocket(""), 3), address);
    assert_eq!(
        failed(&load, FailureKind::WrongPayload),
        3,
        "{:?}",
        load.operations
    );
    assert_eq!(load.answers.unwrap().unasked, 0);
}

#[test]
fn any_reply_takes_the_next_message_but_none_from_before() {
    let greeting = server(|mut stream| {
        // A greeting that nobody asked for, behind the answer to the handshake.
        if open_and_say(&mut stream, b"\x81\x07welcome").is_none() {
            return;
        }
        while message(&mut stream).is_some() {
            if text(&mut stream, b"yes").is_none() {
                return;
            }
        }
    });
    let exact = websocket("matching = 'any-reply'\nexpect_message = { text = 'yes' }");
    let load = measure(&spec("websocket-persistent", exact, 5), greeting);
    assert_eq!(load.operations.verified, 5, "{:?}", load.operations);
    assert_eq!(load.answers.unwrap().unasked, 1);
}

#[test]
fn close_codes_are_counted() {
    let address = server(|mut stream| {
        if open(&mut stream)
            .and_then(|()| message(&mut stream))
            .is_some()
        {
            let _ = stream.write_all(&[0x88, 2, 0x03, 0xf3]);
        }
    });
    let load = measure(&spec("websocket-persistent", websocket(""), 3), address);
    assert_eq!(
        failed(&load, FailureKind::PeerClosed),
        3,
        "{:?}",
        load.operations
    );
    assert_eq!(load.answers.unwrap().close_codes[&1011], 3);
}

#[test]
fn per_request_websockets_say_goodbye() {
    let address = server(|mut stream| {
        if open(&mut stream).is_none() {
            return;
        }
        while let Some(payload) = message(&mut stream) {
            text(&mut stream, &payload).unwrap();
        }
        // The same back, and the end.
        let _ = stream.write_all(&[0x88, 2, 0x03, 0xe8]);
    });
    let load = measure(&spec("websocket-per-request", websocket(""), 4), address);
    assert_eq!(load.operations.verified, 4, "{:?}", load.operations);
    assert_eq!(load.connections_opened, 4);
    assert_eq!(load.histograms[&Metric::Close].count(), 4);
}

#[test]
fn whoever_only_receives_counts_messages_and_the_time_between_them() {
    let address = server(|mut stream| {
        // Twenty messages after the subscription, and then silence.
        if open(&mut stream)
            .and_then(|()| message(&mut stream))
            .as_deref()
            != Some(b"subscribe")
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..20 {
            let _ = text(&mut stream, b"tick");
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = message(&mut stream);
    });
    let listen = websocket("matching = 'receive-only'\nmessage = { text = 'subscribe' }");
    let mut spec = spec("websocket-persistent", listen, 0);
    spec.stop_after_operations = None;
    spec.cell.load = Shape::Events {};
    spec.cell.timing = Timing {
        window_ms: 1500,
        drain_ms: 0,
        ..TIMING
    };
    let load = measure(&spec, address);
    assert_eq!(load.operations.verified, 20, "{:?}", load.operations);
    assert_eq!(load.histograms[&Metric::InterArrival].count(), 19);
    let answers = load.answers.unwrap();
    assert_eq!((answers.received, answers.received_bytes), (20, 80));
    assert_eq!(load.wire.unwrap().connections, 1);
}

#[test]
fn a_load_that_is_stopped_keeps_what_it_has_and_its_books_balance() {
    let address = echo(&[], false);
    for load in [
        Shape::Closed {},
        Shape::OpenConstant {
            rate_per_second: 500.0,
        },
    ] {
        let mut spec = spec("websocket-persistent", websocket(""), 0);
        spec.stop_after_operations = None;
        spec.cell.load = load;
        let live = Arc::<Live>::default();
        let seen = Arc::clone(&live);
        let running =
            std::thread::spawn(move || trial::run_live(&spec, both(address), &[], &live).unwrap());
        while seen.progress().verified < 20 {
            std::thread::yield_now();
        }
        seen.stop();
        let load = running.join().unwrap();
        assert!(load.operations.is_conserved(), "{:?}", load.operations);
        assert!(load.operations.verified >= 20);
        assert!(load.spans.window_end_ns - load.spans.start_ns < 20_000_000_000);
        assert_eq!(load.operations.unfinished, 0);
    }
}

#[test]
fn the_first_exchange_says_why_a_server_cannot_be_measured() {
    let answers = |answer: &'static str| {
        server(move |mut stream| {
            let _ = head(&mut stream);
            let _ = stream.write_all(answer.as_bytes());
            // Reads on, so that the answer is not lost to a reset.
            let _ = head(&mut stream);
        })
    };
    let rejected = |lane: &str, custom: Custom, address: SocketAddr| {
        let mut spec = spec(lane, custom, 1);
        spec.cell.timing.timeout_ms = 1000;
        spec.target = Target::Running {
            http: address,
            tcp: None,
            host: None,
        };
        preflight::check(&spec, address, &[]).unwrap_err()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let refused = rejected("http1-persistent", http(""), closed);
    assert!(matches!(
        refused,
        Rejection::Connect {
            failure: FailureKind::ConnectRefused,
            ..
        }
    ));
    let moved = answers("HTTP/1.1 301 Moved\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    let message = rejected("http1-persistent", http(""), moved).to_string();
    assert!(
        message.contains("301 Moved") && message.contains("/other"),
        "{message}"
    );
    let ssh = answers("SSH-2.0-x\x1b[2J\r\n");
    for (lane, custom) in [
        ("http1-persistent", http("")),
        ("websocket-persistent", websocket("")),
    ] {
        let message = rejected(lane, custom, ssh).to_string();
        assert!(
            message.contains("does not speak HTTP") && !message.contains('\x1b'),
            "{message}"
        );
    }
    let wrong = answers(
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
    );
    let message = rejected("websocket-persistent", websocket(""), wrong).to_string();
    assert!(message.contains("Sec-WebSocket-Accept"), "{message}");
    let busy = answers("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let message = rejected("websocket-persistent", websocket(""), busy).to_string();
    assert!(message.contains("status 503"), "{message}");
    let silent = server(|mut stream| while head(&mut stream).is_some() {});
    let message = rejected("http1-persistent", http(""), silent).to_string();
    assert!(message.contains("timed out"), "{message}");
    let fine = echo(&[], false);
    assert_eq!(
        preflight::check(&spec("websocket-persistent", websocket(""), 1), fine, &[]),
        Ok(())
    );
}
