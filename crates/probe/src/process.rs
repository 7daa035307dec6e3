//! What the kernel accounts to this process, and who survives whom.

use std::io;

use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use rustix::time::{ClockId, clock_gettime};
use sockrates_core::target::ProcessUsage;

/// Returns what this process (all its threads) has used so far.
pub fn usage() -> ProcessUsage {
    used(UsageWho::RUSAGE_SELF, ClockId::ProcessCPUTime)
}

/// Returns what the calling thread has used so far; the peak of memory is the process's.
pub fn thread_usage() -> ProcessUsage {
    used(UsageWho::RUSAGE_THREAD, ClockId::ThreadCPUTime)
}

fn used(who: UsageWho, clock: ClockId) -> ProcessUsage {
    let account = getrusage(who).expect("an account of one's own is always allowed");
    let microseconds =
        |t: nix::sys::time::TimeVal| (t.tv_sec() * 1_000_000 + t.tv_usec()).cast_unsigned();
    let (user, system) = (
        microseconds(account.user_time()),
        microseconds(account.system_time()),
    );
    // The clock is exact to the nanosecond; rusage knows how it splits.
    let clock = clock_gettime(clock);
    let total_ns = clock.tv_sec.cast_unsigned() * 1_000_000_000 + clock.tv_nsec.cast_unsigned();
    let cpu_system_ns = share(total_ns, system, user + system);
    ProcessUsage {
        cpu_user_ns: total_ns - cpu_system_ns,
        cpu_system_ns,
        peak_memory_bytes: peak_memory_bytes().unwrap_or(0),
        voluntary_switches: account.voluntary_context_switches().cast_unsigned(),
        involuntary_switches: account.involuntary_context_switches().cast_unsigned(),
    }
}

/// Returns what was used between two readings; the peak is the later one's.
pub fn since(before: &ProcessUsage, after: &ProcessUsage) -> ProcessUsage {
    ProcessUsage {
        cpu_user_ns: after.cpu_user_ns.saturating_sub(before.cpu_user_ns),
        cpu_system_ns: after.cpu_system_ns.saturating_sub(before.cpu_system_ns),
        peak_memory_bytes: after.peak_memory_bytes,
        voluntary_switches: after
            .voluntary_switches
            .saturating_sub(before.voluntary_switches),
        involuntary_switches: after
            .involuntary_switches
            .saturating_sub(before.involuntary_switches),
    }
}

/// Adds what another thread of the same process used.
pub fn add(all: &mut ProcessUsage, other: &ProcessUsage) {
    all.cpu_user_ns += other.cpu_user_ns;
    all.cpu_system_ns += other.cpu_system_ns;
    all.peak_memory_bytes = all.peak_memory_bytes.max(other.peak_memory_bytes);
    all.voluntary_switches += other.voluntary_switches;
    all.involuntary_switches += other.involuntary_switches;
}

/// Has the kernel end this process when its parent ends, however that happens. Where the parent is known, it is an error
/// that it has ended before the kernel was told.
pub fn die_with_parent(parent: Option<u32>) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    match parent {
        Some(pid) if pid != getppid().as_raw().cast_unsigned() => {
            Err(io::Error::other("the parent has ended"))
        }
        _ => Ok(()),
    }
}

/// Returns whether this process was started with a signal ignored, as `nohup` does. What the kernel does not say is no.
pub fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1 (proc(5)).
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

/// Asks for timer wake-ups without the usual 50 µs of slack, for this thread.
pub fn sharpen_timers() -> io::Result<()> {
    Ok(prctl::set_timerslack(1)?)
}

/// `VmHWM`, which starts anew at exec; `ru_maxrss` would count what the parent held before it.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn share(total: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(total) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).expect("a share of a u64 is a u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_ignores_broken_pipes_and_nothing_else() {
        assert!(is_ignored(Signal::SIGPIPE) && !is_ignored(Signal::SIGTERM));
    }

    #[test]
    fn work_shows_in_usage() {
        let before = usage();
        let end = crate::clock::monotonic_ns() + 5_000_000;
        while crate::clock::monotonic_ns() < end {}
        let used = since(&before, &usage());
        assert!(used.cpu_ns() > 0 && used.peak_memory_bytes > 0);
    }

    #[test]
    fn what_other_threads_do_is_on_the_process_alone() {
        let work = |ns: u64| {
            let end = thread_usage().cpu_ns() + ns;
            while thread_usage().cpu_ns() < end {}
        };
        let (own, all) = (thread_usage(), usage());
        work(1_000_000);
        std::thread::spawn(move || work(50_000_000)).join().unwrap();
        let (own, all) = (since(&own, &thread_usage()), since(&all, &usage()));
        assert!((1_000_000..50_000_000).contains(&own.cpu_ns()), "{own:?}");
        assert!(all.cpu_ns() >= own.cpu_ns() + 50_000_000, "{all:?}");
    }
}
