//! Waiting for an instant, exact to the wake-up: a `timerfd`, since the runtime's timers count milliseconds.

use std::io;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until the monotonic clock shows `at_ns`.
#[expect(
    deprecated,
    reason = "its successor is unsafe; an OwnedFd that never leaves is safe with both"
)]
pub(crate) async fn until(at_ns: u64) -> io::Result<()> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let spec = Itimerspec {
        it_interval: timespec(0),
        // A zero time would disarm the timer; 1 ns after boot is as long past.
        it_value: timespec(at_ns.max(1)),
    };
    timerfd_settime(&fd, TimerfdTimerFlags::ABSTIME, &spec)?;
    // Used once, and readable from its expiry on: there is nothing to read out.
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    fd.readable().await.map(|_| ())
}

fn timespec(ns: u64) -> Timespec {
    let part = |number: u64| i64::try_from(number).expect("a u64 of ns is below i64::MAX seconds");
    Timespec {
        tv_sec: part(ns / 1_000_000_000),
        tv_nsec: part(ns % 1_000_000_000),
    }
}
