//! The open connections of one worker, who may join them, and the sweeper that cuts those that take too long.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use sockrates_probe::clock;
use tokio::task::AbortHandle;

use crate::activity::{Activity, Allowed, Ticks};
use crate::pause::pause;
use crate::worker::{Counts, add};

/// One worker's connections.
#[derive(Debug)]
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Connection>>,
    next_id: Cell<u64>,
    ticks: Ticks,
    places: Places,
}

/// The places for connections that all workers share.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) taken: Arc<AtomicUsize>,
    pub(crate) limit: usize,
}

#[derive(Debug)]
struct Connection {
    activity: Arc<Activity>,
    task: AbortHandle,
}

impl Connections {
    pub(crate) fn new(places: Places) -> Self {
        Self {
            open: RefCell::default(),
            next_id: Cell::new(0),
            ticks: Ticks::default(),
            places,
        }
    }

    /// Takes a place for one more connection, or returns `None` when there is none left.
    pub(crate) fn enter(self: &Rc<Self>) -> Option<Membership> {
        if self.places.taken.fetch_add(1, Relaxed) >= self.places.limit {
            self.places.taken.fetch_sub(1, Relaxed);
            return None;
        }
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        Some(Membership {
            connections: Rc::clone(self),
            activity: Arc::new(Activity::new(Arc::clone(&self.ticks))),
            id,
        })
    }

    /// Looks after the connections for ever: drops slow subscribers and cuts overdue connections, counting both, and
    /// has silent subscribers told that they are not forgotten.
    pub(crate) async fn sweep(&self, allowed: Allowed, counts: &Counts) {
        loop {
            pause(allowed.tick).await;
            self.ticks.fetch_add(1, Relaxed);
            add(
                &counts.dropped,
                self.cut_those(|activity| activity.is_slow(&allowed)),
            );
            add(
                &counts.cut,
                self.cut_those(|activity| activity.is_overdue(&allowed)),
            );
            for connection in self.open.borrow().values() {
                connection.activity.break_silence(&allowed);
            }
        }
    }

    /// Drops idle connections, and lets the others finish what they are doing for as long as the grace lasts.
    pub(crate) async fn drain(&self) {
        let end_ns = clock::monotonic_ns() + GRACE_NS;
        loop {
            self.drop_those(Activity::is_at_rest);
            if self.open.borrow().is_empty() || clock::monotonic_ns() >= end_ns {
                return;
            }
            pause(DRAIN_STEP).await;
        }
    }

    fn cut_those(&self, chosen: impl Fn(&Activity) -> bool) -> u64 {
        self.drop_those(|activity| {
            let is_chosen = chosen(activity);
            if is_chosen {
                activity.cut();
            }
            is_chosen
        })
    }

    fn drop_those(&self, chosen: impl Fn(&Activity) -> bool) -> u64 {
        let mut open = self.open.borrow_mut();
        let dropped: Vec<_> = open
            .extract_if(|_, connection| chosen(&connection.activity))
            .collect();
        // Ending a task may run its destructor, which looks into the map.
        drop(open);
        for (_, connection) in &dropped {
            connection.task.abort();
        }
        dropped.len() as u64
    }
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    connections: Rc<Connections>,
    activity: Arc<Activity>,
    id: u64,
}

impl Membership {
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Serves the connection on a task of its own, which the sweeper may end.
    pub(crate) fn spawn(self, serve: impl Future<Output = ()> + 'static) {
        let connections = Rc::clone(&self.connections);
        let (id, activity) = (self.id, Arc::clone(&self.activity));
        let served = tokio::task::spawn_local(async move {
            let _place = self;
            serve.await;
        });
        let task = served.abort_handle();
        // The task has not run yet: it cannot have ended before it is listed.
        connections
            .open
            .borrow_mut()
            .insert(id, Connection { activity, task });
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.id);
        self.connections.places.taken.fetch_sub(1, Relaxed);
    }
}

/// How long a stopping server waits for replies under way.
const GRACE_NS: u64 = 1_000_000_000;
const DRAIN_STEP: Duration = Duration::from_millis(5);
