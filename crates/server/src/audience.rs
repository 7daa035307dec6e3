//! Who waits for news of one thing: a topic, a room, a game.
//!
//! A waiting task registers its waker once and keeps its seat; news wake all seats. Nothing is queued here: what is
//! new stands in one place that all seats read, each from where it left off, so that a slow reader costs the others
//! nothing.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

/// The seats of all who wait.
#[derive(Debug, Default)]
pub(crate) struct Audience(Mutex<Seats>);

#[derive(Debug, Default)]
struct Seats {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// One place in an audience, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    audience: Arc<Audience>,
    index: usize,
}

impl Audience {
    /// Takes a seat.
    pub(crate) fn join(self: &Arc<Self>) -> Seat {
        let mut seats = self.lock();
        let index = seats.free.pop().unwrap_or_else(|| {
            seats.wakers.push(None);
            seats.wakers.len() - 1
        });
        drop(seats);
        Seat {
            audience: Arc::clone(self),
            index,
        }
    }

    /// Wakes everyone. Waking puts a task into its worker's queue and does nothing else.
    pub(crate) fn wake_all(&self) {
        let seats = self.lock();
        seats.wakers.iter().flatten().for_each(Waker::wake_by_ref);
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().expect("nothing panics while it holds seats")
    }
}

impl Seat {
    /// Has this task woken by all further news. To be called before looking for news: what comes in between then wakes.
    pub(crate) fn register(&self, waker: &Waker) {
        let seat = &mut self.audience.lock().wakers[self.index];
        // A task keeps its waker for life, so that this clones once.
        if !seat.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *seat = Some(waker.clone());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.audience.lock();
        seats.wakers[self.index] = None;
        seats.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn news_wake_everyone_who_still_sits() {
        let audience = Arc::new(Audience::default());
        let counts: [Arc<Count>; 3] = Default::default();
        let mut seats = counts.clone().map(|count| {
            let seat = audience.join();
            seat.register(&Waker::from(count));
            Some(seat)
        });
        audience.wake_all();
        seats[1] = None;
        let _free_again = audience.join();
        audience.wake_all();
        let woken = counts.map(|count| count.0.load(Relaxed));
        assert_eq!(woken, [2, 1, 2]);
        assert_eq!(audience.lock().wakers.len(), 3);
    }

    #[test]
    fn a_seat_keeps_the_latest_waker_only() {
        let audience = Arc::new(Audience::default());
        let [first, second]: [Arc<Count>; 2] = Default::default();
        let seat = audience.join();
        seat.register(&Waker::from(Arc::clone(&first)));
        seat.register(&Waker::from(Arc::clone(&second)));
        audience.wake_all();
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (0, 1));
    }
}
