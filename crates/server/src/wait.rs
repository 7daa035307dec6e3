//! Long polls: a request that is answered when there is news, or when its client does not want to
//! wait any longer.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use sockrates_core::publishing::{parameter, whole_number};
use sockrates_core::target::LONG_POLL_MAX_MS;

use crate::activity::Activity;
use crate::audience::Seat;
use crate::pause::pause;

/// Returns how long a client wants to wait; `None` when that makes no sense.
pub(crate) fn timeout(query: &str) -> Option<Duration> {
    let ms = match parameter(query, "timeout_ms") {
        None => Some(LONG_POLL_MS),
        Some(value) => whole_number(value),
    };
    ms.filter(|ms| (1..=LONG_POLL_MAX_MS).contains(ms))
        .map(|ms| Duration::from_millis(ms.into()))
}

/// Looks for news until there are some, or the time is over.
pub(crate) async fn for_news<T>(
    seat: &Seat,
    timeout: Duration,
    activity: &Activity,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let news = poll_fn(|context| {
        seat.register(context.waker());
        look().map_or(Poll::Pending, Poll::Ready)
    });
    activity.wait();
    let found = tokio::select! {
        biased;
        found = news => Some(found),
        () = pause(timeout) => None,
    };
    activity.resume();
    found
}

/// What is wrong with a senseless time.
pub(crate) const SENSELESS: &str = "timeout_ms must be from 1 to 30000\n";
/// Long enough to be rare, short enough for what stands between.
const LONG_POLL_MS: u32 = 25_000;
