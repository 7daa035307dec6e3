//! Topics of updates: what their publishers write and all workers read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::{Bytes, BytesMut};
use fastwebsockets::OpCode;
use sockrates_core::publishing::TopicSpec;
use sockrates_core::target::DEFAULT_TOPIC;
use sockrates_core::update::Update;

use crate::activity::Backlog;
use crate::audience::Audience;
use crate::log::{Gone, Log};
use crate::push;

/// A topic with a bounded history.
#[derive(Debug)]
pub(crate) struct Topic {
    name: String,
    pub(crate) spec: TopicSpec,
    /// The latest sequence, apart from the history so that whoever finds nothing new takes no lock.
    head: AtomicU64,
    history: Mutex<Log<Entry>>,
    pub(crate) audience: Arc<Audience>,
    is_over: AtomicBool,
}

/// One update in the forms it is sent in. The latter two are made when they are first asked for, and shared by all.
#[derive(Debug)]
struct Entry {
    line: Bytes,
    event: Option<Bytes>,
    frame: Option<Bytes>,
}

/// What carries an update.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// `SEQUENCE CREATED_NS PAYLOAD` and a line feed.
    Line,
    /// A server-sent event.
    Event,
    /// A WebSocket frame.
    Frame,
}

/// Updates that a client did not know.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct News {
    /// Their bytes, in order.
    pub(crate) bytes: Bytes,
    /// The sequence of the last one.
    pub(crate) last: u64,
}

impl Topic {
    pub(crate) fn new(name: &str, spec: TopicSpec) -> Self {
        Self {
            name: name.to_owned(),
            spec,
            head: AtomicU64::new(0),
            history: Mutex::default(),
            audience: Arc::default(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Publishes an update that came into being at this instant.
    pub(crate) fn publish(&self, created_ns: u64, payload: &[u8]) {
        let mut history = self.lock();
        let sequence = history.head() + 1;
        let mut line = Vec::with_capacity(payload.len() + LINE_EXTRA_BYTES);
        let update = Update {
            sequence,
            created_ns,
            payload,
        };
        update.write(&mut line);
        let bytes = line.len();
        let entry = Entry {
            line: line.into(),
            event: None,
            frame: None,
        };
        history.push(entry, bytes);
        self.head.store(sequence, Ordering::Release);
        drop(history);
        self.audience.wake_all();
    }

    /// Returns the latest sequence; 0 before the first update.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Returns the sequence of the oldest update that can be had.
    pub(crate) fn oldest(&self) -> u64 {
        self.lock().oldest()
    }

    /// Returns updates after this sequence, in order and up to `most` bytes but at least one; `None` when there is none.
    pub(crate) fn after(&self, since: u64, form: Form, most: usize) -> Result<Option<News>, Gone> {
        if self.head() <= since {
            return Ok(None);
        }
        let mut history = self.lock();
        let mut entries = history.after(since)?;
        let Some(first) = entries.next() else {
            return Ok(None);
        };
        let first = first.in_form(form, &self.name).clone();
        let mut news = News {
            bytes: first,
            last: since + 1,
        };
        let mut all: Option<BytesMut> = None;
        for entry in entries {
            let next = entry.in_form(form, &self.name);
            let length = all.as_ref().map_or(news.bytes.len(), BytesMut::len);
            if length + next.len() > most {
                break;
            }
            all.get_or_insert_with(|| BytesMut::from(&news.bytes[..]))
                .extend_from_slice(next);
            news.last += 1;
        }
        if let Some(all) = all {
            news.bytes = all.freeze();
        }
        Ok(Some(news))
    }

    /// Ends the topic: another has taken its name.
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.audience.wake_all();
    }

    /// Says whether another topic has taken its name.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Log<Entry>> {
        self.history
            .lock()
            .expect("nothing panics while it holds the history")
    }
}

impl Entry {
    fn in_form(&mut self, form: Form, topic: &str) -> &Bytes {
        match form {
            Form::Line => &self.line,
            Form::Event => self.event.get_or_insert_with(|| event(&self.line)),
            Form::Frame => self.frame.get_or_insert_with(|| {
                let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
                push::frame(OpCode::Text, &[topic.as_bytes(), b" ", line])
            }),
        }
    }
}

/// Makes a server-sent event of an update's line (WHATWG HTML, section 9.2.5).
fn event(line: &[u8]) -> Bytes {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let end = line.iter().position(|byte| *byte == b' ');
    let (id, data) = line.split_at(end.unwrap_or(line.len()));
    [b"id: ", id, b"\ndata:", data, b"\n\n"].concat().into()
}

/// A subscriber's place in a topic, which the sweeper compares with its head.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) topic: Arc<Topic>,
    sent: AtomicU64,
}

impl Cursor {
    pub(crate) const fn new(topic: Arc<Topic>, since: u64) -> Self {
        Self {
            topic,
            sent: AtomicU64::new(since),
        }
    }

    /// Takes the updates that come next, if there are any.
    pub(crate) fn take(&self, form: Form, most: usize) -> Result<Option<News>, Gone> {
        let news = self
            .topic
            .after(self.sent.load(Ordering::Relaxed), form, most)?;
        if let Some(news) = &news {
            self.sent.store(news.last, Ordering::Relaxed);
        }
        Ok(news)
    }

    /// Returns the sequence of the last update that was taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Backlog for Cursor {
    fn behind(&self) -> u64 {
        self.topic.head().saturating_sub(self.sent())
    }
}

/// All topics by name.
#[derive(Debug)]
pub(crate) struct Topics {
    topics: RwLock<HashMap<String, Arc<Topic>>>,
    /// What topics published that have been replaced.
    published_before: AtomicU64,
    made: AtomicUsize,
}

impl Topics {
    /// Makes the topics a server has from the start.
    pub(crate) fn new(default: TopicSpec) -> Self {
        let topic = Arc::new(Topic::new(DEFAULT_TOPIC, default));
        Self {
            topics: RwLock::new(HashMap::from([(DEFAULT_TOPIC.to_owned(), topic)])),
            published_before: AtomicU64::new(0),
            made: AtomicUsize::new(0),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        let topics = self.topics.read();
        let topics = topics.expect("nothing panics while it holds the topics");
        topics.get(name).cloned()
    }

    /// Makes or replaces a topic; `None` when there is no room for it. Returns it with its number, and whether it is new.
    pub(crate) fn put(&self, name: &str, spec: TopicSpec) -> Option<(Arc<Topic>, usize, bool)> {
        let topics = self.topics.write();
        let mut topics = topics.expect("nothing panics while it holds the topics");
        if topics.len() >= MOST_TOPICS && !topics.contains_key(name) {
            return None;
        }
        let topic = Arc::new(Topic::new(name, spec));
        let replaced = topics.insert(name.to_owned(), Arc::clone(&topic));
        drop(topics);
        if let Some(old) = &replaced {
            self.published_before
                .fetch_add(old.head(), Ordering::Relaxed);
            old.end();
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        Some((topic, number, replaced.is_none()))
    }

    /// Returns how many updates all topics ever published.
    pub(crate) fn published(&self) -> u64 {
        let topics = self.topics.read();
        let topics = topics.expect("nothing panics while it holds the topics");
        let now: u64 = topics.values().map(|topic| topic.head()).sum();
        now + self.published_before.load(Ordering::Relaxed)
    }

    /// Wakes all subscribers, so that they see to their keep-alives.
    pub(crate) fn wake_all(&self) {
        let topics = self.topics.read();
        let topics = topics.expect("nothing panics while it holds the topics");
        topics.values().for_each(|topic| topic.audience.wake_all());
    }
}

/// What a line holds besides the payload: two numbers of up to 20 digits, two spaces and a line feed.
const LINE_EXTRA_BYTES: usize = 43;
const MOST_TOPICS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> Topic {
        let topic = Topic::new("t", TopicSpec::default());
        for created_ns in [100, 200, 300] {
            topic.publish(created_ns, b"abc");
        }
        topic
    }

    fn text(topic: &Topic, since: u64, form: Form, most: usize) -> (String, u64) {
        let news = topic.after(since, form, most).unwrap().unwrap();
        (String::from_utf8_lossy(&news.bytes).into(), news.last)
    }

    #[test]
    fn each_form_says_the_same() {
        let topic = topic();
        assert_eq!(
            text(&topic, 1, Form::Line, 1000),
            ("2 200 abc\n3 300 abc\n".to_owned(), 3)
        );
        assert_eq!(
            text(&topic, 2, Form::Event, 1000),
            ("id: 3\ndata: 300 abc\n\n".to_owned(), 3)
        );
        assert_eq!(
            text(&topic, 2, Form::Frame, 1000),
            ("\u{fffd}\u{b}t 3 300 abc".to_owned(), 3)
        );
        assert_eq!(topic.after(3, Form::Line, 1000), Ok(None));
    }

    #[test]
    fn news_are_bounded_but_never_cut() {
        let topic = topic();
        for (most, last) in [(0, 1), (10, 1), (20, 2), (29, 2), (30, 3)] {
            assert_eq!(text(&topic, 0, Form::Line, most).1, last, "{most}");
        }
    }

    #[test]
    fn a_frame_is_encoded_once_for_all() {
        let topic = topic();
        let frame = || topic.after(2, Form::Frame, 0).unwrap().unwrap().bytes;
        assert_eq!(frame().as_ptr(), frame().as_ptr());
    }

    #[test]
    fn a_replaced_topic_is_over_and_its_updates_stay_counted() {
        let topics = Topics::new(TopicSpec::default());
        let (old, first, is_new) = topics.put("a", TopicSpec::default()).unwrap();
        assert!(is_new);
        old.publish(1, b"");
        let (new, second, is_new) = topics.put("a", TopicSpec::default()).unwrap();
        assert!(!is_new && old.is_over() && !new.is_over());
        assert_eq!((first, second, topics.published()), (1, 2, 1));
    }
}
