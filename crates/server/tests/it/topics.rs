//! Making topics, and what their publishers do.

use sockrates_core::update::{self, Update};
use sockrates_probe::clock;
use sockrates_server::{Config, Server};

use crate::support::{Client, Reply, server};

/// Polls from the beginning until so many updates are there, and returns when they came into being.
fn created(client: &mut Client, topic: &str, count: u64) -> Vec<u64> {
    client.wait_for_head(topic, count);
    let reply = client.get(&format!("/updates/poll?topic={topic}&since=0"));
    reply.text().lines().map(created_ns).collect()
}

fn created_ns(line: &str) -> u64 {
    Update::parse(line.as_bytes()).unwrap().created_ns
}

#[test]
fn a_topic_publishes_what_it_was_asked_to() {
    let server = server();
    let mut client = Client::http(&server);
    assert!(client.make_topic("news", "rate=1000&bytes=10&seed=5"));
    client.wait_for_head("news", 20);
    let reply = client.get("/updates/poll?topic=news&since=0");
    for (line, sequence) in reply.text().lines().zip(1..) {
        let update = Update::parse(line.as_bytes()).unwrap();
        assert_eq!(update.sequence, sequence);
        assert_eq!(update.payload, update::payload(5, sequence, 10));
    }
    assert_eq!(client.get("/updates/poll?topic=default").sequence(), 0);
}

#[test]
fn what_makes_no_topic_is_refused_and_named() {
    let server = server();
    let mut client = Client::http(&server);
    let long = "x".repeat(65);
    for (target, named) in [
        ("?rate=1", "name"),
        ("a%20b?rate=1", "name"),
        ("a/b?rate=1", "name"),
        (&*format!("{long}?rate=1"), "name"),
        ("a", "rate"),
        ("a?rate=-1", "rate"),
        ("a?rate=1&arrivals=often", "arrivals"),
        ("a?rate=1&bytes=1048577", "bytes"),
        ("a?rate=1&seed=x", "seed"),
    ] {
        let reply = client.put(&format!("/updates/topics/{target}"));
        assert_eq!(reply.status, 400, "{target}");
        assert!(reply.text().contains(named), "{target}: {}", reply.text());
    }
    let reply = client.get("/updates/topics/a?rate=1");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("PUT")));
    assert_eq!(client.get("/updates/poll?topic=a").status, 404);
    assert_eq!(server.stop().operations, 0);
}

#[test]
fn a_topic_that_replaces_another_begins_anew() {
    let server = server();
    let mut client = Client::http(&server);
    assert!(client.make_topic("t", "rate=10000&seed=1&bytes=8"));
    client.wait_for_head("t", 100);
    assert!(!client.make_topic("t", "rate=0"));
    assert_eq!(client.get("/updates/poll?topic=t&since=0").status, 204);
    assert!(!client.make_topic("t", "rate=10000&seed=2&bytes=8"));
    client.wait_for_head("t", 1);
    let reply = client.get("/updates/poll?topic=t&since=0");
    let payload = String::from_utf8(update::payload(2, 1, 8)).unwrap();
    assert!(reply.text().lines().next().unwrap().ends_with(&payload));
    assert!(server.stop().updates_published > 100);
}

#[test]
fn distances_of_a_periodic_topic_are_equal() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=500&arrivals=periodic");
    let created = created(&mut client, "t", 100);
    for (k, created_ns) in (0..).zip(&created) {
        assert!(created_ns.abs_diff(created[0] + k * 2_000_000) <= 1);
    }
}

/// The same seed gives the same distances, however late the publisher was.
#[test]
fn updates_are_as_old_as_their_schedule_says() {
    let config = Config {
        workers: 2,
        ..Config::default()
    };
    let server = Server::start(&config).unwrap();
    let mut client = Client::http(&server);
    let distances = ["a", "b"].map(|topic| {
        client.make_topic(topic, "rate=20000&bytes=0&seed=3");
        let created = created(&mut client, topic, 500);
        assert!(created.is_sorted() && created[499] <= clock::monotonic_ns());
        created[1..500]
            .iter()
            .map(|at_ns| at_ns - created[0])
            .collect::<Vec<_>>()
    });
    let pairs = distances[0].iter().zip(&distances[1]);
    assert!(pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1));
}

#[test]
fn what_has_left_the_history_is_gone() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("t", "rate=1000000&bytes=0");
    client.wait_for_head("t", 4200);
    for path in ["poll", "long-poll", "stream"] {
        let reply = client.get(&format!("/updates/{path}?topic=t&since=0"));
        assert_eq!(reply.status, 410, "{path}");
        let oldest: u64 = reply.header("x-sockrates-oldest").unwrap().parse().unwrap();
        assert_eq!(reply.sequence() + 1 - oldest, 4096);
    }
    let reply = client.get("/updates/poll?topic=t");
    assert_eq!(reply.status, 204);
}

#[test]
fn a_thousand_topics_are_published_by_all_workers() {
    let config = Config {
        workers: 3,
        ..Config::default()
    };
    let server = Server::start(&config).unwrap();
    let mut client = Client::http(&server);
    for index in 0..1000 {
        client.make_topic(
            &format!("t{index}"),
            &format!("rate=2&seed={index}&arrivals=periodic"),
        );
    }
    for index in 0..1000 {
        client.wait_for_head(&format!("t{index}"), 1);
    }
    assert!(server.stop().updates_published >= 1000);
}

/// A million updates a second are more than an unoptimised server can make.
#[test]
fn an_overloaded_publisher_is_late_and_starves_nobody() {
    let server = server();
    let mut client = Client::http(&server);
    client.make_topic("flood", "rate=1000000&bytes=1000");
    let replies: Vec<Reply> = (0..200).map(|_| client.get("/updates/poll")).collect();
    assert!(replies.iter().all(|reply| reply.status == 204));
    client.wait_for_head("flood", 5000);
    let usage = server.stop();
    assert!(usage.publisher_lag_max_ns > 100_000);
    assert!(usage.publisher_lag_last_ns > 100_000);
}
