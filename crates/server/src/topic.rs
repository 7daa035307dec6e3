//! A topic of updates: what its publisher writes and all workers read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use fastwebsockets::OpCode;
use sockrates_core::update::Update;

use crate::audience::{Audience, Seat};
use crate::log::{Gone, Log};
use crate::push;

/// A topic with a bounded history.
#[derive(Debug)]
pub(crate) struct Topic {
    name: String,
    /// The latest sequence, apart from the history so that a look that finds nothing takes no lock.
    head: AtomicU64,
    is_over: AtomicBool,
    history: Mutex<Log<Encodings>>,
    audience: Arc<Audience>,
}

/// One update as it is sent. What not every topic needs is made at its first use, and then shared by all.
#[derive(Debug)]
struct Encodings {
    line: Bytes,
    event: Option<Bytes>,
    frame: Option<Bytes>,
}

/// How updates are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoding {
    /// A line of text.
    Line,
    /// A server-sent event.
    Event,
    /// A WebSocket frame that names the topic.
    Frame,
}

/// What a reader finds after what it knows.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Nothing,
    News(News),
    /// The next update has left the history, which begins with this one.
    Missed {
        oldest: u64,
    },
    /// Another topic has taken the name.
    Over,
}

/// Updates that a reader did not know.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct News {
    /// They, encoded, in order.
    pub(crate) bytes: Bytes,
    /// How many they are.
    pub(crate) count: u64,
    /// The sequence of the last one.
    pub(crate) last: u64,
}

/// Why a reader cannot begin where it wants to.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Misplaced {
    /// The next update has left the history, which begins with this one.
    Missed { oldest: u64 },
    /// It knows more than there is: it has followed another server, and silence would hide that for ever.
    Beyond,
}

impl Topic {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            head: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            history: Mutex::default(),
            audience: Arc::default(),
        }
    }

    /// Publishes one update and wakes whoever waits for it.
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
        history.push(Encodings::of(line.into()), bytes);
        self.head.store(sequence, Ordering::Release);
        drop(history);
        self.audience.wake_all();
    }

    /// Ends the topic, and wakes whoever must know.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.audience.wake_all();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Returns the latest sequence; 0 before the first update.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Takes a seat from which news are noticed.
    pub(crate) fn join(&self) -> Seat {
        self.audience.join()
    }

    /// Returns the sequence after which a reader begins that knows all up to `since`, or asks for what is to come.
    pub(crate) fn begin(&self, since: Option<u64>) -> Result<u64, Misplaced> {
        let head = self.head();
        match since {
            None => Ok(head),
            Some(since) if since > head => Err(Misplaced::Beyond),
            Some(since) if since == head => Ok(since),
            Some(since) => match self.lock().oldest() {
                oldest if since + 1 < oldest => Err(Misplaced::Missed { oldest }),
                _ => Ok(since),
            },
        }
    }

    /// Returns the updates after this sequence: as many as fit into so many bytes, but at least one.
    pub(crate) fn after(&self, known: u64, encoding: Encoding, max_bytes: usize) -> Found {
        if self.is_over() {
            return Found::Over;
        }
        if self.head() <= known {
            return Found::Nothing;
        }
        let mut history = self.lock();
        let updates = match history.after(known) {
            Ok(updates) => updates,
            Err(Gone { oldest }) => return Found::Missed { oldest },
        };
        // Mostly there is one: then nothing is allocated and nothing copied.
        let (mut first, mut rest, mut bytes) = (None, Vec::new(), 0);
        for update in updates {
            let part = update.encoded(encoding, &self.name);
            bytes += part.len();
            match first {
                None => first = Some(part),
                Some(_) if bytes > max_bytes => break,
                Some(_) => rest.push(part),
            }
        }
        drop(history);
        let Some(first) = first else {
            return Found::Nothing;
        };
        let count = 1 + rest.len() as u64;
        Found::News(News {
            bytes: join(first, &rest),
            count,
            last: known + count,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Log<Encodings>> {
        self.history
            .lock()
            .expect("nothing panics while it holds the history")
    }
}

impl Encodings {
    const fn of(line: Bytes) -> Self {
        Self {
            line,
            event: None,
            frame: None,
        }
    }

    fn encoded(&mut self, encoding: Encoding, topic: &str) -> Bytes {
        let line = &self.line;
        match encoding {
            Encoding::Line => line.clone(),
            Encoding::Event => self.event.get_or_insert_with(|| event(line)).clone(),
            Encoding::Frame => self.frame.get_or_insert_with(|| frame(topic, line)).clone(),
        }
    }
}

fn event(line: &[u8]) -> Bytes {
    let mut parts = line.splitn(2, |byte| *byte == b' ');
    let mut next = || parts.next().unwrap_or_default();
    [b"id: ", next(), b"\ndata: ", next(), b"\n"]
        .concat()
        .into()
}

fn frame(topic: &str, line: &[u8]) -> Bytes {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    push::frame(OpCode::Text, &[topic.as_bytes(), b" ", text])
}

/// Puts parts together; a single one is not copied.
pub(crate) fn join(first: Bytes, rest: &[Bytes]) -> Bytes {
    if rest.is_empty() {
        return first;
    }
    let length = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
    let mut all = BytesMut::with_capacity(length);
    all.extend_from_slice(&first);
    for part in rest {
        all.extend_from_slice(part);
    }
    all.freeze()
}

/// What a line holds besides the payload: two numbers of up to 20 digits, two spaces and a line feed.
const LINE_EXTRA_BYTES: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{MOST_BYTES as HISTORY_BYTES, MOST_ENTRIES as HISTORY_UPDATES};

    fn published(count: usize, payload: &[u8]) -> Topic {
        let topic = Topic::new("t");
        (0..count).for_each(|_| topic.publish(7, payload));
        topic
    }

    fn news(topic: &Topic, known: u64, encoding: Encoding, max_bytes: usize) -> News {
        match topic.after(known, encoding, max_bytes) {
            Found::News(news) => news,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn news_begin_after_what_is_known() {
        let topic = published(3, b"x");
        let lines = |known| news(&topic, known, Encoding::Line, usize::MAX).bytes;
        assert_eq!(lines(0), &b"1 7 x\n2 7 x\n3 7 x\n"[..]);
        assert_eq!(lines(2), &b"3 7 x\n"[..]);
        assert_eq!(topic.after(3, Encoding::Line, usize::MAX), Found::Nothing);
    }

    #[test]
    fn each_encoding_is_made_once() {
        let topic = published(1, b"x");
        for (encoding, expected) in [
            (Encoding::Line, &b"1 7 x\n"[..]),
            (Encoding::Event, b"id: 1\ndata: 7 x\n\n"),
            (Encoding::Frame, b"\x81\x07t 1 7 x"),
        ] {
            let [first, second] = [(); 2].map(|()| news(&topic, 0, encoding, 0).bytes);
            assert_eq!(first, expected);
            assert_eq!(first.as_ptr(), second.as_ptr());
        }
    }

    #[test]
    fn news_are_cut_between_updates() {
        let topic = published(3, b"x");
        let cut = |max_bytes| news(&topic, 0, Encoding::Line, max_bytes);
        assert_eq!([0, 6, 11].map(|max_bytes| cut(max_bytes).last), [1; 3]);
        assert_eq!((cut(12).count, cut(12).last), (2, 2));
    }

    #[test]
    fn a_reader_begins_within_the_history_only() {
        assert_eq!(published(0, b"").begin(Some(0)), Ok(0));
        let topic = published(HISTORY_UPDATES + 10, b"x");
        let head = topic.head();
        assert_eq!(topic.begin(None), Ok(head));
        assert_eq!(topic.begin(Some(10)), Ok(10));
        assert_eq!(topic.begin(Some(9)), Err(Misplaced::Missed { oldest: 11 }));
        assert_eq!(topic.begin(Some(head + 1)), Err(Misplaced::Beyond));
        assert_eq!(topic.begin(Some(u64::MAX)), Err(Misplaced::Beyond));
    }

    #[test]
    fn history_is_bounded_in_number() {
        let topic = published(HISTORY_UPDATES + 10, b"x");
        let missed = Found::Missed { oldest: 11 };
        assert_eq!(topic.after(9, Encoding::Line, 0), missed);
        let all = news(&topic, 10, Encoding::Line, usize::MAX);
        assert_eq!(
            (all.count, all.last),
            (HISTORY_UPDATES as u64, topic.head())
        );
    }

    #[test]
    fn history_is_bounded_in_bytes_but_keeps_the_latest() {
        let topic = published(2, &vec![b'x'; HISTORY_BYTES / 2]);
        assert_eq!(topic.begin(Some(0)), Err(Misplaced::Missed { oldest: 2 }));
        topic.publish(7, &vec![b'x'; HISTORY_BYTES]);
        assert_eq!(topic.begin(Some(1)), Err(Misplaced::Missed { oldest: 3 }));
        assert_eq!(topic.begin(Some(2)), Ok(2));
    }

    #[test]
    fn a_topic_that_is_over_says_so() {
        let topic = published(1, b"x");
        topic.end();
        assert_eq!(topic.after(0, Encoding::Line, 0), Found::Over);
    }
}
