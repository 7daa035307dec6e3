//! Updates over HTTP: topics are made, polled, polled for long, and streamed.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use sockrates_core::publishing::{TopicSpec, is_name, parameter, parameters};
use sockrates_core::target::{DEFAULT_TOPIC, LONG_POLL_MAX_MS, UPDATES_TOPICS};

use crate::activity::{Activity, Stage};
use crate::events::Events;
use crate::pause::pause;
use crate::reply::{self, HEAD, Refusal, Reply, TEXT};
use crate::topic::{Cursor, Form, News, Topic};
use crate::worker::{Shared, Worker};

/// Makes or replaces a topic.
pub(crate) fn put(path: &str, query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let name = path.strip_prefix(UPDATES_TOPICS).unwrap_or_default();
    if !is_name(name) {
        return Err(Refusal::malformed(NAME_FORM));
    }
    let spec = TopicSpec::parse(query).map_err(Refusal::malformed)?;
    if spec.payload_bytes as usize > shared.limits.message_bytes {
        return Err(Refusal::malformed(
            "`bytes` must not be above the limit of messages",
        ));
    }
    let (topic, number, is_new) = shared
        .topics
        .put(name, spec)
        .ok_or(Refusal::Full("there are as many topics as there may be\n"))?;
    shared.inboxes[number % shared.inboxes.len()].add(topic);
    Ok(reply::made(is_new))
}

/// Answers with the updates after a sequence.
pub(crate) fn poll(query: &str, shared: &Shared) -> Result<Reply, Refusal> {
    let (topic, since) = wanted(query, shared)?;
    let since = since.unwrap_or_else(|| topic.head());
    let news = topic.after(since, Form::Line, usize::MAX);
    Ok(told(
        news.map_err(|gone| refuse_gone(&topic, gone.oldest))?,
        since,
    ))
}

/// Answers with the updates after a sequence as soon as there is one, or with none when the time is over.
pub(crate) async fn long_poll(
    query: &str,
    shared: &Shared,
    activity: &Activity,
) -> Result<Reply, Refusal> {
    let (topic, since) = wanted(query, shared)?;
    let since = since.unwrap_or_else(|| topic.head());
    let timeout_ms = match parameter(query, "timeout_ms") {
        None => DEFAULT_TIMEOUT_MS,
        Some(value) => value
            .parse()
            .ok()
            .filter(|ms| (1..=LONG_POLL_MAX_MS).contains(ms))
            .ok_or_else(|| {
                Refusal::malformed(format_args!("`timeout_ms` must be 1 to {LONG_POLL_MAX_MS}"))
            })?,
    };
    let mut over = pin!(pause(Duration::from_millis(timeout_ms.into())));
    let seat = topic.audience.join();
    // While nothing is new, nothing is owed.
    activity.enter(Stage::Idle);
    let news = poll_fn(|context| {
        seat.register(context.waker());
        let news = topic.after(since, Form::Line, usize::MAX);
        let is_over = topic.is_over();
        if news == Ok(None) && !is_over && over.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(news)
    });
    let news = news.await;
    activity.enter(Stage::Exchange);
    Ok(told(
        news.map_err(|gone| refuse_gone(&topic, gone.oldest))?,
        since,
    ))
}

/// Answers with a stream of updates that does not end.
pub(crate) fn stream(
    worker: &Rc<Worker>,
    activity: &Activity,
    query: &str,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    let (topic, since) = wanted(query, &worker.shared)?;
    let last_event = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let text = value.to_str().ok();
            let id = text.and_then(|text| text.parse().ok());
            Some(id.ok_or_else(|| Refusal::malformed("Last-Event-ID must be a sequence number"))?)
        }
    };
    let since = last_event.or(since);
    let since = check_since(&topic, since)?.unwrap_or_else(|| topic.head());
    let cursor = Arc::new(Cursor::new(topic, since));
    activity.set_backlog(Arc::clone(&cursor) as _);
    let mut reply = reply::stream(Events::new(Rc::clone(worker), cursor));
    let headers = reply.headers_mut();
    headers.insert(HEAD, HeaderValue::from(since));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

/// Returns the places in the topics that a WebSocket asks for, in its order.
pub(crate) fn cursors(query: &str, shared: &Shared) -> Result<Vec<Arc<Cursor>>, Refusal> {
    let mut names: Vec<_> = parameters(query, "topic").collect();
    if names.is_empty() {
        names.push(DEFAULT_TOPIC);
    }
    let since: Vec<_> = parameters(query, "since").collect();
    if names.len() > MOST_SUBSCRIPTIONS || !since.is_empty() && since.len() != names.len() {
        return Err(Refusal::malformed(
            "`since` must be given for each of up to 1024 topics, or for none",
        ));
    }
    let mut since = since.into_iter();
    let cursor = |name: &str| {
        let topic = find(name, shared)?;
        let since = check_since(&topic, since.next().map(sequence).transpose()?)?;
        let since = since.unwrap_or_else(|| topic.head());
        Ok(Arc::new(Cursor::new(topic, since)))
    };
    names.into_iter().map(cursor).collect()
}

/// Finds what a query asks for.
fn wanted(query: &str, shared: &Shared) -> Result<(Arc<Topic>, Option<u64>), Refusal> {
    let topic = find(parameter(query, "topic").unwrap_or(DEFAULT_TOPIC), shared)?;
    let since = parameter(query, "since").map(sequence).transpose()?;
    let since = check_since(&topic, since)?;
    Ok((topic, since))
}

fn find(name: &str, shared: &Shared) -> Result<Arc<Topic>, Refusal> {
    let topic = shared.topics.get(name);
    topic.ok_or(Refusal::Unknown("no such topic\n"))
}

fn sequence(value: &str) -> Result<u64, Refusal> {
    let number = value.parse().ok().filter(|number| *number < u64::MAX);
    number.ok_or_else(|| Refusal::malformed("`since` must be a sequence number"))
}

/// Refuses what cannot be followed up: the forgotten, and the future. Whoever knows more than there is has followed
/// another server; silence would hide that for ever.
fn check_since(topic: &Topic, since: Option<u64>) -> Result<Option<u64>, Refusal> {
    let Some(since) = since else { return Ok(None) };
    if since > topic.head() {
        return Err(Refusal::malformed("`since` is beyond the latest update"));
    }
    let oldest = topic.oldest();
    if since + 1 < oldest {
        return Err(refuse_gone(topic, oldest));
    }
    Ok(Some(since))
}

fn refuse_gone(topic: &Topic, oldest: u64) -> Refusal {
    Refusal::Gone {
        oldest,
        head: topic.head(),
    }
}

fn told(news: Option<News>, since: u64) -> Reply {
    let (mut reply, head) = match news {
        Some(News { bytes, last }) => (reply::ok(TEXT, bytes), last),
        None => (reply::no_content(), since),
    };
    reply.headers_mut().insert(HEAD, HeaderValue::from(head));
    reply
}

/// Names are safe in a path and in a line of text.
pub(crate) const NAME_FORM: &str = "a name is 1 to 64 letters, digits, `-`, `_` and `.`";
/// Shorter than what proxies cut.
const DEFAULT_TIMEOUT_MS: u32 = 25_000;
const MOST_SUBSCRIPTIONS: usize = 1024;
