//! One subscriber: which topics it follows, and how far it has got in each.
//!
//! Nothing is queued for it. It reads the topics' histories at its own pace, and the sweeper ends it when that is too
//! slow.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::activity::Listener;
use crate::audience::Seat;
use crate::topic::{Encoding, Found, Topic};
use crate::worker::{Worker, add, count};

/// What the sweeper sees of a subscriber.
#[derive(Debug)]
pub(crate) struct Subscription {
    follows: Vec<Follow>,
    waker: Mutex<Option<Waker>>,
    /// A sign of life is due.
    is_silent: AtomicBool,
    is_known: AtomicBool,
}

#[derive(Debug)]
struct Follow {
    topic: Arc<Topic>,
    /// The sequence of the last update handed over.
    known: AtomicU64,
}

/// A subscriber's own part.
pub(crate) struct Subscriber {
    worker: Rc<Worker>,
    subscription: Arc<Subscription>,
    seats: Vec<Seat>,
    /// The topic looked at first: the one behind that which had news before.
    turn: usize,
}

/// What a subscriber is to be told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Updates, encoded.
    Updates(Bytes),
    /// Nothing is new, but it must hear something.
    SignOfLife,
    /// It came too late for an update: the oldest that there still is.
    Missed(u64),
    /// A topic has been replaced.
    Over,
}

impl Listener for Subscription {
    /// At the first look no subscriber is too slow: it may have begun far back just now.
    fn is_slow(&self, backlog: u64) -> bool {
        self.is_known.swap(true, Relaxed) && self.follows.iter().any(|f| f.behind() > backlog)
    }

    fn break_silence(&self) {
        self.is_silent.store(true, Relaxed);
        self.waker().iter().for_each(Waker::wake_by_ref);
    }
}

impl Subscription {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().expect("nothing panics while it holds it")
    }
}

impl Follow {
    fn behind(&self) -> u64 {
        let known = self.known.load(Relaxed);
        self.topic.head().saturating_sub(known)
    }
}

impl Subscriber {
    /// Follows these topics, each after a sequence.
    pub(crate) fn new(worker: Rc<Worker>, topics: Vec<(Arc<Topic>, u64)>) -> Self {
        let seats = topics.iter().map(|(topic, _)| topic.join()).collect();
        let follow = |(topic, known)| Follow {
            topic,
            known: AtomicU64::new(known),
        };
        let subscription = Subscription {
            follows: topics.into_iter().map(follow).collect(),
            waker: Mutex::default(),
            is_silent: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
        };
        Self {
            worker,
            subscription: Arc::new(subscription),
            seats,
            turn: 0,
        }
    }

    /// Begins to count as a subscriber; returns what the sweeper sees of it.
    pub(crate) fn open(&self) -> Weak<Subscription> {
        count(&self.worker.counts.subscriptions);
        Arc::downgrade(&self.subscription)
    }

    /// Returns what comes next. Updates once returned count as delivered.
    pub(crate) fn poll(&mut self, context: &Context<'_>, encoding: Encoding) -> Poll<Told> {
        self.register(context.waker());
        let follows = &self.subscription.follows;
        for step in 0..follows.len() {
            let index = (self.turn + step) % follows.len();
            let Follow { topic, known } = &follows[index];
            match topic.after(known.load(Relaxed), encoding, FRAME_BYTES) {
                Found::Nothing => {}
                Found::News(news) => {
                    known.store(news.last, Relaxed);
                    add(&self.worker.counts.deliveries, news.count);
                    self.turn = index + 1;
                    return Poll::Ready(Told::Updates(news.bytes));
                }
                Found::Missed { oldest } => return Poll::Ready(Told::Missed(oldest)),
                Found::Over => return Poll::Ready(Told::Over),
            }
        }
        if self.subscription.is_silent.swap(false, Relaxed) {
            return Poll::Ready(Told::SignOfLife);
        }
        Poll::Pending
    }

    /// Has this task woken by all news, from now on.
    fn register(&self, waker: &Waker) {
        let mut known = self.subscription.waker();
        if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        self.seats.iter().for_each(|seat| seat.register(waker));
        *known = Some(waker.clone());
    }
}

/// Bounds what one subscriber has in hand, and how long it keeps the worker from others.
const FRAME_BYTES: usize = 64 << 10;
