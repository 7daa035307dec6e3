//! Polling for updates.

use sockrates_core::update::{self, Update};
use sockrates_probe::clock;
use sockrates_server::Publisher;

use crate::support::{Client, publishing, server};

#[test]
fn silence_is_told_without_a_body() {
    let server = server();
    let mut client = Client::http(&server);
    for target in [
        "/updates/poll",
        "/updates/poll?since=0",
        "/updates/poll?since=0&topic=default",
        "/updates/poll?topic=default",
    ] {
        let reply = client.get(target);
        assert_eq!(
            (reply.status, reply.header("x-sockrates-head")),
            (204, Some("0"))
        );
        assert_eq!(reply.header("content-length"), None);
    }
    let usage = server.stop();
    assert_eq!((usage.operations, usage.updates_published), (4, 0));
}

#[test]
fn senseless_polls_are_refused() {
    let server = server();
    let mut client = Client::http(&server);
    for (query, status) in [
        ("topic=other", 404),
        ("topic=", 404),
        ("since=", 400),
        ("since=x", 400),
        ("since=-1", 400),
        ("since=18446744073709551616", 400),
        ("since=1", 400),
    ] {
        assert_eq!(
            client.get(&format!("/updates/poll?{query}")).status,
            status,
            "{query}"
        );
    }
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn updates_arrive_without_gaps_and_as_derived_from_the_seed() {
    let server = publishing(Publisher {
        events_per_second: 2000.0,
        payload_bytes: 40,
        seed: 9,
    });
    let mut client = Client::http(&server);
    let (mut last, mut created_ns, mut polls) = (0, 0, 0);
    while last < 200 {
        let reply = client.get(&format!("/updates/poll?topic=default&since={last}"));
        polls += 1;
        let before = last;
        for line in reply.text().lines() {
            let update = Update::parse(line.as_bytes()).unwrap();
            assert_eq!(update.sequence, last + 1);
            assert_eq!(update.payload, update::payload(9, update.sequence, 40));
            assert!((created_ns..=clock::monotonic_ns()).contains(&update.created_ns));
            (last, created_ns) = (update.sequence, update.created_ns);
        }
        assert_eq!(reply.header("x-sockrates-head"), Some(&*last.to_string()));
        assert_eq!(reply.status, if last > before { 200 } else { 204 });
    }
    let usage = server.stop();
    assert_eq!(usage.operations, polls);
    assert!(usage.updates_published >= last);
}

#[test]
fn all_workers_serve_the_same_updates() {
    let publisher = Publisher {
        events_per_second: 100_000.0,
        payload_bytes: 0,
        seed: 1,
    };
    let config = sockrates_server::Config {
        workers: 3,
        publisher,
        ..Default::default()
    };
    let server = sockrates_server::Server::start(&config).unwrap();
    let mut clients: Vec<_> = (0..12).map(|_| Client::http(&server)).collect();
    let mut head = 0;
    for turn in 0..120 {
        let reply = clients[turn % 12].get(&format!("/updates/poll?since={head}"));
        let latest = reply.header("x-sockrates-head").unwrap().parse().unwrap();
        assert!(
            latest >= head,
            "another worker knew {head}, this one {latest}"
        );
        head = latest;
    }
    assert_eq!(server.stop().operations, 120);
}
