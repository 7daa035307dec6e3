//! Known faults: each does what it says, to what it names.

use std::thread;
use std::time::Duration;

use sockrates_core::target::TCP_LAST;
use sockrates_probe::clock;
use sockrates_server::faults::Faults;
use sockrates_server::{Config, Server};

use crate::support::{BINARY, Client, FIN, WebSocket};

fn faulty(workers: usize, faults: Faults) -> Server {
    Server::start(&Config {
        workers,
        faults,
        ..Config::default()
    })
    .unwrap()
}

fn delaying(times: &str) -> Server {
    faulty(
        1,
        Faults {
            delay: times.parse().unwrap(),
            ..Faults::default()
        },
    )
}

/// Returns how long this took, in milliseconds.
fn took_ms(run: impl FnOnce()) -> u64 {
    let start_ns = clock::monotonic_ns();
    run();
    (clock::monotonic_ns() - start_ns) / 1_000_000
}

fn exchange(floor: &mut Client) {
    floor.send(b"\0\0\0\x02hi");
    assert_eq!(floor.read(6), b"\0\0\0\x02hi");
}

#[test]
fn padding_makes_echoes_longer_by_so_many_bytes_and_nothing_else() {
    let length = |server: &Server, target: &str| {
        let mut client = Client::http(server);
        let reply = match target {
            "/echo" => client.echo(b"body"),
            _ => client.get(target),
        };
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body.len(), 4);
        assert!(target != "/echo" || reply.body == b"body");
        reply.head.len()
    };
    let plain = faulty(1, Faults::default());
    for bytes in [5, 6, 300, 1000] {
        let pad = format!("http1={bytes}").parse().unwrap();
        let padded = faulty(
            1,
            Faults {
                pad,
                ..Faults::default()
            },
        );
        assert_eq!(length(&padded, "/echo"), length(&plain, "/echo") + bytes);
        let other = "/payload?bytes=4";
        assert_eq!(length(&padded, other), length(&plain, other));
        let mut socket = WebSocket::open(&padded);
        socket.send(FIN | BINARY, b"body");
        assert_eq!(socket.read(), (FIN | BINARY, b"body".to_vec()));
    }
}

#[test]
fn every_operation_of_a_delayed_transport_waits() {
    let server = delaying("http1=20000000,websocket=20000000,tcp=20000000");
    let mut http = Client::http(&server);
    for target in ["/payload?bytes=1", "/updates/poll"] {
        assert!(took_ms(|| assert!(http.get(target).status < 300)) >= 20);
    }
    assert!(took_ms(|| assert_eq!(http.echo(b"x").text(), "x")) >= 20);
    let mut floor = Client::floor(&server);
    assert!(took_ms(|| exchange(&mut floor)) >= 20);
    let mut socket = WebSocket::open(&server);
    let echo = |socket: &mut WebSocket| {
        // In fragments, which are one operation.
        socket.send(BINARY, b"a");
        socket.send(FIN, b"b");
        assert_eq!(socket.read(), (FIN | BINARY, b"ab".to_vec()));
    };
    assert!(took_ms(|| echo(&mut socket)) >= 20);
}

#[test]
fn drawn_delays_keep_their_order_and_replies_right() {
    let server = delaying("tcp=exp:100000");
    let mut floor = Client::floor(&server);
    for byte in 0..20 {
        floor.send([0, 0, 0, 1, byte]);
    }
    for byte in 0..20 {
        assert_eq!(floor.read(5), [0, 0, 0, 1, byte]);
    }
    floor.send(TCP_LAST.to_be_bytes());
    assert_eq!(floor.read(4), [0; 4]);
    floor.expect_end();
    assert_eq!(server.stop().operations, 21);
}

#[test]
fn delays_of_several_connections_run_at_the_same_time() {
    let server = delaying("tcp=200000000");
    let mut clients: Vec<_> = (0..50).map(|_| Client::floor(&server)).collect();
    let took_ms = took_ms(|| {
        for client in &mut clients {
            client.send(b"\0\0\0\x02hi");
        }
        for client in &mut clients {
            assert_eq!(client.read(6), b"\0\0\0\x02hi");
        }
    });
    // One after the other would take 10 s.
    assert!((200..5000).contains(&took_ms), "{took_ms}");
}

/// Other tests burn CPU time in this process, too; that other transports burn none is tested with the binary.
#[test]
fn burning_uses_the_cpu() {
    let server = faulty(
        1,
        Faults {
            burn: "websocket=1000000".parse().unwrap(),
            ..Faults::default()
        },
    );
    let mut socket = WebSocket::open(&server);
    let took_ms = took_ms(|| {
        for _ in 0..50 {
            socket.send(FIN | BINARY, b"x");
            assert_eq!(socket.read(), (FIN | BINARY, b"x".to_vec()));
        }
    });
    assert!(took_ms >= 50, "{took_ms}");
    let process = server.stop().process;
    assert!(process.cpu_user_ns + process.cpu_system_ns >= 50_000_000);
}

#[test]
fn a_stall_stops_every_worker() {
    let server = faulty(
        2,
        Faults {
            stall: Some("100:2000".parse().unwrap()),
            ..Faults::default()
        },
    );
    // Enough that both workers have some.
    let mut clients: Vec<_> = (0..20).map(|_| Client::floor(&server)).collect();
    // No operation, and so no beginning.
    assert_eq!(Client::http(&server).get("/healthz").status, 200);
    thread::sleep(Duration::from_millis(200));
    let start_ns = clock::monotonic_ns();
    exchange(&mut clients[0]);
    thread::sleep(Duration::from_millis(600));
    let replied_ns: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(|| {
                    exchange(client);
                    clock::monotonic_ns()
                })
            })
            .collect();
        let replied = |client: thread::ScopedJoinHandle<'_, u64>| client.join().unwrap();
        clients.into_iter().map(replied).collect()
    });
    for replied_ns in replied_ns {
        let after_ms = (replied_ns - start_ns) / 1_000_000;
        assert!(after_ms >= 2100, "{after_ms}");
    }
}
