//! The topic of updates: what the publisher writes and all workers read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use sockrates_core::update::Update;
use sockrates_probe::clock;

/// A topic with a bounded history.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    /// The latest sequence, apart from the history so that a poll that finds nothing takes no lock.
    head: AtomicU64,
    history: Mutex<History>,
}

/// The latest updates as lines, oldest first, numbered without gaps up to `head`.
#[derive(Debug, Default)]
struct History {
    head: u64,
    lines: VecDeque<Bytes>,
    bytes: usize,
}

/// Updates that a client did not know.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct News {
    /// Their lines, in order.
    pub(crate) lines: Bytes,
    /// The sequence of the last one.
    pub(crate) head: u64,
}

impl Topic {
    /// Publishes one update; this is the instant at which it comes into being.
    pub(crate) fn publish(&self, payload: &[u8]) {
        let mut history = self.lock();
        let sequence = history.head + 1;
        let mut line = Vec::with_capacity(payload.len() + LINE_EXTRA_BYTES);
        let update = Update {
            sequence,
            created_ns: clock::monotonic_ns(),
            payload,
        };
        update.write(&mut line);
        history.push(line.into());
        self.head.store(sequence, Ordering::Release);
    }

    /// Returns the latest sequence; 0 before the first update.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Returns the updates after this sequence, as far as the history reaches back; `None` when there is none.
    pub(crate) fn after(&self, since: u64) -> Option<News> {
        if self.head() <= since {
            return None;
        }
        let history = self.lock();
        let wanted = usize::try_from(history.head - since).unwrap_or(usize::MAX);
        let skipped = history.lines.len().saturating_sub(wanted);
        Some(News {
            lines: join(history.lines.range(skipped..)),
            head: history.head,
        })
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history
            .lock()
            .expect("nothing panics while it holds the history")
    }
}

impl History {
    fn push(&mut self, line: Bytes) {
        self.head += 1;
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > HISTORY_UPDATES
            || self.bytes > HISTORY_BYTES && self.lines.len() > 1
        {
            self.bytes -= self.lines.pop_front().map_or(0, |oldest| oldest.len());
        }
    }
}

fn join<'a>(lines: impl ExactSizeIterator<Item = &'a Bytes> + Clone) -> Bytes {
    if lines.len() == 1 {
        return lines.cloned().collect::<Vec<_>>().remove(0);
    }
    let mut all = BytesMut::with_capacity(lines.clone().map(Bytes::len).sum());
    lines.for_each(|line| all.extend_from_slice(line));
    all.freeze()
}

/// What a line holds besides the payload: two numbers of up to 20 digits, two spaces and a line feed.
const LINE_EXTRA_BYTES: usize = 43;
/// Seconds of history at the rates that make sense to poll for.
const HISTORY_UPDATES: usize = 4096;
/// Bounds a reply, too, since one may hold the whole history.
const HISTORY_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(news: &News) -> Vec<u64> {
        let text = news.lines.strip_suffix(b"\n").unwrap();
        text.split(|byte| *byte == b'\n')
            .map(|line| Update::parse(line).unwrap().sequence)
            .collect()
    }

    #[test]
    fn news_begin_after_what_is_known() {
        let topic = Topic::default();
        assert_eq!(topic.after(0), None);
        for _ in 0..3 {
            topic.publish(b"x");
        }
        assert_eq!(sequences(&topic.after(0).unwrap()), [1, 2, 3]);
        assert_eq!(sequences(&topic.after(2).unwrap()), [3]);
        assert_eq!(topic.after(3), None);
        assert_eq!(topic.after(2).unwrap().head, 3);
    }

    #[test]
    fn history_is_bounded_in_number() {
        let topic = Topic::default();
        let published = HISTORY_UPDATES as u64 + 10;
        for _ in 0..published {
            topic.publish(b"x");
        }
        assert_eq!(
            sequences(&topic.after(0).unwrap()),
            (11..=published).collect::<Vec<_>>()
        );
    }

    #[test]
    fn history_is_bounded_in_bytes_but_keeps_the_latest() {
        let topic = Topic::default();
        topic.publish(&vec![b'x'; HISTORY_BYTES / 2]);
        topic.publish(&vec![b'x'; HISTORY_BYTES / 2]);
        assert_eq!(sequences(&topic.after(0).unwrap()), [2]);
        topic.publish(&vec![b'x'; HISTORY_BYTES]);
        assert_eq!(sequences(&topic.after(0).unwrap()), [3]);
    }
}
