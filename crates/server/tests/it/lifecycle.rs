//! Starting, stopping, and what the server says about itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use sockrates_core::document::Document;
use sockrates_core::target::ServerUsage;
use sockrates_server::{Config, Limits, Publisher, Server, StartError};

use crate::support::{BINARY, CLOSE, Client, FIN, HANDSHAKE, TEXT, WebSocket, echo_head, server};

fn refusal(config: &Config) -> StartError {
    Server::start(config).expect_err("must not start")
}

#[test]
fn the_ready_line_names_addresses_of_loopback() {
    let server = server();
    let ready = server.ready();
    assert!(ready.ready && ready.http.ip().is_loopback() && ready.http.port() > 0);
    assert_ne!(ready.tcp.unwrap().port(), ready.http.port());
    assert_eq!(ready.pid, std::process::id());
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = server();
    for listen in [
        taken.local_addr().unwrap(),
        other.ready().http,
        other.ready().tcp.unwrap(),
    ] {
        for config in [
            Config {
                listen,
                ..Config::default()
            },
            Config {
                tcp_listen: listen,
                workers: 2,
                ..Config::default()
            },
        ] {
            let error = refusal(&config);
            assert!(matches!(error, StartError::Taken(address) if address == listen));
            assert!(error.to_string().contains(&listen.to_string()));
            assert!(error.is_environment());
        }
    }
}

#[test]
fn one_port_cannot_serve_both() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let error = refusal(&Config {
        listen: free,
        tcp_listen: free,
        ..Config::default()
    });
    assert!(matches!(error, StartError::Taken(address) if address == free));
}

#[test]
fn other_machines_are_let_in_only_when_allowed() {
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let error = refusal(&Config {
        listen,
        ..Config::default()
    });
    assert!(matches!(error, StartError::Remote(address) if address == listen));
    let error = refusal(&Config {
        tcp_listen: listen,
        ..Config::default()
    });
    assert!(matches!(error, StartError::Remote(address) if address == listen));
}

#[test]
fn senseless_settings_are_refused() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Config {
            limits,
            ..Config::default()
        }
    };
    let publisher = |events_per_second, payload_bytes| Config {
        publisher: Publisher {
            events_per_second,
            payload_bytes,
            seed: 1,
        },
        ..Config::default()
    };
    for config in [
        Config {
            workers: 0,
            ..Config::default()
        },
        limits(|limits| limits.header_bytes = 0),
        limits(|limits| limits.message_bytes = 1 << 31),
        limits(|limits| limits.idle_timeout = std::time::Duration::ZERO),
        publisher(f64::NAN, 1),
        publisher(-1.0, 1),
        publisher(1.0, u32::MAX),
    ] {
        let error = refusal(&config);
        assert!(
            matches!(error, StartError::Settings(_)) && !error.is_environment(),
            "{error}"
        );
    }
    let error = refusal(&Config {
        cpus: vec![100_000],
        ..Config::default()
    });
    assert!(matches!(error, StartError::Pin { cpu: 100_000, .. }));
}

#[test]
fn several_pinned_workers_share_the_port() {
    let cpus = sockrates_probe::cpu::usable().unwrap();
    let server = Server::start(&Config {
        workers: 3,
        cpus,
        ..Config::default()
    })
    .unwrap();
    let mut clients: Vec<_> = (0..30).map(|_| Client::http(&server)).collect();
    for client in &mut clients {
        assert_eq!(client.echo(b"x").text(), "x");
    }
    let usage = server.stop();
    assert_eq!((usage.connections_accepted, usage.operations), (30, 30));
}

#[test]
fn usage_counts_what_was_done_and_nothing_else() {
    let server = server();
    let mut http = Client::http(&server);
    http.echo(b"counts");
    http.get("/payload?bytes=10");
    http.get("/updates/poll");
    http.get("/healthz");
    http.get("/nowhere");
    http.get("/payload?bytes=x");
    let mut socket = WebSocket::open(&server);
    for _ in 0..3 {
        socket.send(FIN | TEXT, b"counts");
        socket.read();
    }
    socket.send(FIN | CLOSE, b"");
    socket.read();
    let mut floor = Client::floor(&server);
    floor.send(1u32.to_be_bytes());
    floor.send("x");
    floor.read(5);
    let usage = server.stop();
    assert!(usage.process.cpu_ns() > 0 && usage.process.peak_memory_bytes > 0);
    let expected = ServerUsage {
        schema_version: ServerUsage::VERSION,
        process: usage.process,
        connections_accepted: 3,
        connections_refused: 0,
        operations: 7,
        connections_cut: 0,
        ..ServerUsage::default()
    };
    assert_eq!(usage, expected);
}

#[test]
fn stopping_ends_connections_of_all_kinds_and_frees_the_ports() {
    let server = server();
    let ready = server.ready();
    let mut half_head = Client::http(&server);
    half_head.send("GET /he");
    let mut half_body = Client::http(&server);
    half_body.send(echo_head(10, "Expect: 100-continue\r\n"));
    assert_eq!(half_body.reply().status, 100);
    let mut half_message = WebSocket::open(&server);
    half_message.send(BINARY, b"x");
    let mut idle = WebSocket::open(&server);
    idle.send(FIN | BINARY, b"x");
    idle.read();
    let clients = [
        half_head,
        half_body,
        half_message.client,
        idle.client,
        Client::http(&server),
        Client::floor(&server),
    ];
    let usage = server.stop();
    assert_eq!((usage.operations, usage.connections_cut), (1, 0));
    for mut client in clients {
        client.expect_drop();
    }
    let again = Config {
        listen: ready.http,
        tcp_listen: ready.tcp.unwrap(),
        ..Config::default()
    };
    Server::start(&again).unwrap().stop();
}

#[test]
fn replies_under_way_are_finished_before_the_end() {
    let server = server();
    let mut client = Client::http(&server);
    client.send(echo_head(3, "Expect: 100-continue\r\n"));
    assert_eq!(client.reply().status, 100);
    client.send("abc");
    assert_eq!(server.stop().operations, 1);
    assert_eq!(client.reply().text(), "abc");
    client.expect_end();
}

#[test]
fn clients_that_leave_early_do_no_harm() {
    let server = server();
    for _ in 0..20 {
        drop(Client::http(&server));
        Client::http(&server).send("GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n");
        Client::http(&server).send(HANDSHAKE);
        WebSocket::open(&server).send(BINARY, b"x");
        Client::floor(&server).send([0]);
    }
    assert_eq!(Client::http(&server).get("/healthz").status, 200);
    assert_eq!(server.stop().connections_cut, 0);
}
