//! Micro-benchmarks of the hot path's parts: what one operation is made of, without the kernel.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may fail")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sockrates_core::lane::Lifecycle;
use sockrates_core::payload::{PayloadKind, Verifier, generate};
use sockrates_core::schedule::{Load, arrivals};
use sockrates_loadgen::calibrate::Recording;
use sockrates_loadgen::transport::response::parse_head;
use sockrates_loadgen::transport::websocket::{Masked, Ws};
use sockrates_loadgen::transport::{Peer, Request, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
    content-length: 64\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

fn response_parser(criterion: &mut Criterion) {
    criterion.bench_function("response_parser", |bencher| {
        bencher.iter(|| parse_head(black_box(RESPONSE)).unwrap());
    });
}

fn verifier(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verifier");
    for bytes in [64, 16 * 1024] {
        let payload = generate(PayloadKind::Binary, bytes, 1, 0);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes}_bytes"), |bencher| {
            bencher.iter(|| {
                let mut verifier = Verifier::new(&payload);
                verifier.feed(black_box(&payload));
                verifier.finish().unwrap();
            });
        });
    }
    group.finish();
}

fn recorder(criterion: &mut Criterion) {
    let mut recording = Recording::new();
    let mut round = 0;
    criterion.bench_function("recorder", |bencher| {
        bencher.iter(|| {
            round += 1;
            recording.record(black_box(round));
        });
    });
}

fn schedule(criterion: &mut Criterion) {
    let load = Load::OpenPoisson {
        rate_per_second: 10_000.0,
    };
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("one_second_at_10000_per_second", |bencher| {
        bencher.iter(|| arrivals(black_box(&load), 16, 1_000_000_000, 1, 0));
    });
    group.finish();
}

/// Encodes a frame, has it echoed by hand through memory, decodes and verifies the reply.
fn websocket_frame(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("websocket_frame_round_trip");
    for bytes in [64usize, 16 * 1024] {
        let payload = generate(PayloadKind::Binary, bytes, 1, 0);
        let (mut websocket, mut server) = runtime.block_on(connected());
        let mut prepared = Masked::default();
        let request = Request::Echo {
            payload: &payload,
            kind: PayloadKind::Binary,
            mask: [1, 2, 3, 4],
        };
        <Ws<DuplexStream> as Transport<DuplexStream>>::prepare(&request, &peer(), &mut prepared)
            .unwrap();
        // FIN and binary; a length of up to 125, or 126 and two bytes more (RFC 6455 section 5.2).
        let mut reply = match u8::try_from(bytes).ok().filter(|length| *length < 126) {
            Some(length) => vec![0x82, length],
            None => [
                &[0x82, 126][..],
                &u16::try_from(bytes).unwrap().to_be_bytes(),
            ]
            .concat(),
        };
        let mut sunk = vec![0; reply.len() + 4 + bytes];
        reply.extend_from_slice(&payload);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes}_bytes"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    server.write_all(&reply).await.unwrap();
                    let mut verifier = Verifier::new(&payload);
                    websocket.exchange(&prepared, &mut verifier).await.unwrap();
                    server.read_exact(&mut sunk).await.unwrap();
                });
            });
        });
    }
    group.finish();
}

fn peer() -> Peer {
    Peer {
        host: "127.0.0.1:80".into(),
        lifecycle: Lifecycle::Persistent,
        door: None,
    }
}

/// A connection through memory whose other end has agreed to the upgrade.
async fn connected() -> (Ws<DuplexStream>, DuplexStream) {
    use base64::Engine;
    use sha1::{Digest, Sha1};
    let (client, mut server) = duplex(1 << 20);
    let peer = peer();
    let answer = async {
        let mut request = vec![0; 1024];
        let read = server.read(&mut request).await.unwrap();
        let text = std::str::from_utf8(&request[..read]).unwrap();
        let key = text
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .unwrap();
        let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = base64::engine::general_purpose::STANDARD.encode(digest);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        server.write_all(answer.as_bytes()).await.unwrap();
    };
    let (websocket, ()) = tokio::join!(Ws::handshake(client, &peer), answer);
    (websocket.unwrap(), server)
}

criterion_group!(
    benches,
    response_parser,
    verifier,
    recorder,
    schedule,
    websocket_frame
);
criterion_main!(benches);
