//! What the HTTP endpoints of updates answer.

use std::iter::{repeat_n, zip};
use std::rc::Rc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sockrates_core::publishing::{TopicSpec, is_name, parameter, parameters, whole_number};
use sockrates_core::target::{self, DEFAULT_TOPIC};

use crate::activity::Activity;
use crate::events::Source;
use crate::reply::{self, BAD_NAME, Refusal, Reply, TEXT, with_head};
use crate::subscription::Subscriber;
use crate::topic::{Encoding, Found, Misplaced, Topic};
use crate::topics::Made;
use crate::wait;
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
    let timeout = wait::timeout(query).ok_or_else(|| senseless(&topic, wait::SENSELESS))?;
    let seat = topic.join();
    let look = || match topic.after(known, Encoding::Line, usize::MAX) {
        Found::Nothing => None,
        found => Some(found),
    };
    let found = wait::for_news(&seat, timeout, activity, look).await;
    let found = found.unwrap_or(Found::Nothing);
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
    let known = begin(&topic, place(query, headers))?;
    let head = topic.head();
    let subscriber = Subscriber::new(Rc::clone(worker), vec![(topic, known)]);
    activity.listen(subscriber.open());
    Ok(with_head(reply::events(Source::Updates(subscriber)), head))
}

/// Returns the place from which a stream is to go on.
pub(crate) fn place<'a>(query: &'a str, headers: &'a HeaderMap) -> Option<&'a str> {
    let last = headers
        .get(LAST_EVENT_ID)
        .map(|id| id.to_str().unwrap_or_default());
    last.or_else(|| parameter(query, "since"))
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

/// Finds the place in a topic from which a client asks for updates.
fn begin(topic: &Topic, since: Option<&str>) -> Result<u64, Refusal> {
    let number = |since| {
        whole_number(since).ok_or_else(|| senseless(topic, "since must be a sequence number\n"))
    };
    let since = since.map(number).transpose()?;
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

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Their names fit into a request head.
const MAX_TOPICS_FOLLOWED: usize = 1024;
