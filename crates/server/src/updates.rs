//! What the HTTP endpoints of updates answer.

use std::future::poll_fn;
use std::iter::{repeat_n, zip};
use std::rc::Rc;
use std::str::FromStr;
use std::task::Poll;
use std::time::Duration;

use hyper::Response;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use sockrates_core::publishing::{TopicSpec, is_name, parameter, parameters};
use sockrates_core::target::{self, DEFAULT_TOPIC, LONG_POLL_MAX_MS};

use crate::activity::Activity;
use crate::events::Events;
use crate::pause::pause;
use crate::reply::{self, BAD_NAME, Body, HEAD, Refusal, Reply, TEXT};
use crate::subscription::Subscriber;
use crate::topic::{Encoding, Found, Misplaced, Topic};
use crate::topics::Made;
use crate::worker::{Shared, Worker};

/// Makes the topic that the path names.
pub(crate) fn make(path: &str, query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let name = path
        .strip_prefix(target::UPDATES_TOPICS)
        .filter(|name| is_name(name))
        .ok_or(BAD_NAME)?;
    let spec = TopicSpec::parse(query).map_err(Refusal::Query)?;
    reply::check_payload(spec.payload_bytes, shared)?;
    let made = shared.topics.make(name, spec)?;
    Ok(with_head(reply::made(made == Made::New), 0))
}

/// Answers with the updates after a sequence.
pub(crate) fn poll(query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let topic = shared.topics.find(topic_name(query))?;
    let known = begin(&topic, parameter(query, "since"))?;
    answer(
        &topic,
        known,
        topic.after(known, Encoding::Line, usize::MAX),
    )
}

/// Answers with the updates after a sequence as soon as there is one.
pub(crate) async fn long_poll(
    query: &str,
    shared: &Shared,
    activity: &Activity,
) -> Result<Reply, Refusal> {
    let topic = shared.topics.find(topic_name(query))?;
    let known = begin(&topic, parameter(query, "since"))?;
    let timeout = timeout(&topic, query)?;
    let seat = topic.join();
    let news = poll_fn(|context| {
        seat.register(context.waker());
        match topic.after(known, Encoding::Line, usize::MAX) {
            Found::Nothing => Poll::Pending,
            found => Poll::Ready(found),
        }
    });
    activity.wait();
    let found = tokio::select! {
        biased;
        found = news => found,
        () = pause(timeout) => Found::Nothing,
    };
    activity.resume();
    answer(&topic, known, found)
}

/// Answers with a stream of events that does not end.
pub(crate) fn stream(
    query: &str,
    headers: &HeaderMap,
    worker: &Rc<Worker>,
    activity: &Activity,
) -> Result<Reply, Refusal> {
    let topic = worker.shared.topics.find(topic_name(query))?;
    let last = headers
        .get(LAST_EVENT_ID)
        .map(|id| id.to_str().unwrap_or_default());
    let known = begin(&topic, last.or_else(|| parameter(query, "since")))?;
    let head = topic.head();
    let subscriber = Subscriber::new(Rc::clone(worker), vec![(topic, known)]);
    activity.listen(subscriber.open());
    let mut reply = Response::new(Body::Right(Events::new(subscriber)));
    let fixed = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        reply
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(with_head(reply, head))
}

/// Prepares what a WebSocket is to follow; with it comes the header that tells the topics' heads.
pub(crate) fn subscribe(
    query: &str,
    worker: &Rc<Worker>,
) -> Result<(Subscriber, HeaderValue), Refusal> {
    let mut names: Vec<_> = parameters(query, "topic").collect();
    if names.is_empty() {
        names.push(DEFAULT_TOPIC);
    }
    let mut sinces: Vec<_> = parameters(query, "since").map(Some).collect();
    if sinces.is_empty() {
        sinces.extend(repeat_n(None, names.len()));
    }
    if names.len() > MAX_TOPICS_FOLLOWED || sinces.len() != names.len() {
        return Err(Refusal::Malformed(
            "up to 1024 topics may be followed, with `since` for each of them or for none\n",
        ));
    }
    let (mut follows, mut heads) = (Vec::new(), Vec::new());
    for (name, since) in zip(names, sinces) {
        let topic = worker.shared.topics.find(name)?;
        let known = begin(&topic, since)?;
        heads.push(topic.head().to_string());
        follows.push((topic, known));
    }
    let heads = HeaderValue::try_from(heads.join(",")).expect("digits and commas are a value");
    Ok((Subscriber::new(Rc::clone(worker), follows), heads))
}

fn topic_name(query: &str) -> &str {
    parameter(query, "topic").unwrap_or(DEFAULT_TOPIC)
}

fn timeout(topic: &Topic, query: &str) -> Result<Duration, Refusal> {
    let ms = match parameter(query, "timeout_ms") {
        None => Some(LONG_POLL_MS),
        Some(value) => u32::from_str(value).ok(),
    };
    ms.filter(|ms| (1..=LONG_POLL_MAX_MS).contains(ms))
        .map(|ms| Duration::from_millis(ms.into()))
        .ok_or_else(|| senseless(topic, "timeout_ms must be from 1 to 30000\n"))
}

/// Finds the place in a topic from which a client asks for updates.
fn begin(topic: &Topic, since: Option<&str>) -> Result<u64, Refusal> {
    let since = since
        .map(u64::from_str)
        .transpose()
        .map_err(|_| senseless(topic, "since must be a sequence number\n"))?;
    topic.begin(since).map_err(|place| match place {
        Misplaced::Missed { oldest } => missed(topic, oldest),
        Misplaced::Beyond => senseless(topic, "since is beyond the latest update\n"),
    })
}

fn senseless(topic: &Topic, what: &'static str) -> Refusal {
    Refusal::Senseless {
        what,
        head: topic.head(),
    }
}

fn answer(topic: &Topic, known: u64, found: Found) -> Result<Reply, Refusal> {
    match found {
        Found::News(news) => Ok(with_head(reply::ok(TEXT, news.bytes), news.last)),
        Found::Nothing | Found::Over => Ok(with_head(reply::no_content(), known)),
        Found::Missed { oldest } => Err(missed(topic, oldest)),
    }
}

fn missed(topic: &Topic, oldest: u64) -> Refusal {
    Refusal::Missed {
        oldest,
        head: topic.head(),
    }
}

fn with_head(mut reply: Reply, head: u64) -> Reply {
    reply.headers_mut().insert(HEAD, HeaderValue::from(head));
    reply
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Long enough to be rare, short enough for what stands between.
const LONG_POLL_MS: u32 = 25_000;
/// Their names fit into a request head.
const MAX_TOPICS_FOLLOWED: usize = 1024;
