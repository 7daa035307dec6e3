//! How long it takes to wake a thread that sleeps on another CPU: with nothing to do, that CPU halts.

use std::io::{self, Read, Write, pipe};
use std::thread;
use std::time::Duration;

use sockrates_core::calibration::{WakeTimes, WakeUp};
use sockrates_core::histogram::Histogram;

use crate::clock::monotonic_ns;
use crate::cpu;
use crate::spinners::Spinners;

const ROUNDS: u32 = 100;
/// Long enough for a CPU to halt.
const IDLE: Duration = Duration::from_millis(1);

/// Measures waking the second CPU from the first, as the machine is and with both kept awake; `None` where one of them is
/// missing. Where idle priority is refused, only the first is known.
pub fn measure(cpus: &[u32]) -> io::Result<Option<WakeUp>> {
    let [from, to, ..] = *cpus else {
        return Ok(None);
    };
    let as_is = times(&hand_over(from, to)?);
    let spinners = Spinners::start(&[from, to]).ok();
    let awake = spinners
        .is_some()
        .then(|| hand_over(from, to))
        .transpose()?;
    Ok(Some(WakeUp {
        as_is,
        awake: awake.as_ref().map(times),
    }))
}

fn times(found: &Histogram) -> WakeTimes {
    WakeTimes {
        p50_ns: found.quantile_unchecked_ns(0.5),
        p99_ns: found.quantile_unchecked_ns(0.99),
    }
}

/// Writes the time into a pipe on one CPU, on which a thread waits on another, and returns how much later that ran.
fn hand_over(from: u32, to: u32) -> io::Result<Histogram> {
    let (mut reader, mut writer) = pipe()?;
    thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            cpu::pin_thread(&[to])?;
            let mut late = Histogram::new();
            let mut sent = [0; 8];
            for _ in 0..ROUNDS {
                reader.read_exact(&mut sent)?;
                late.record(monotonic_ns().saturating_sub(u64::from_ne_bytes(sent)));
            }
            Ok(late)
        });
        // A thread of its own, lest the caller stay pinned. An end of the pipe that is closed ends the other's wait.
        let waking = scope.spawn(move || {
            cpu::pin_thread(&[from])?;
            for _ in 0..ROUNDS {
                thread::sleep(IDLE);
                writer.write_all(&monotonic_ns().to_ne_bytes())?;
            }
            Ok(())
        });
        let sent: io::Result<()> = waking.join().expect("the thread does not panic");
        let late = waiting.join().expect("the thread does not panic");
        sent.and(late)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cpus_have_times_and_one_has_none() {
        let cpus = cpu::usable().unwrap();
        let found = measure(&cpus).unwrap();
        assert_eq!(found.is_some(), cpus.len() > 1);
        if let Some(found) = found {
            let all = std::iter::once(found.as_is).chain(found.awake);
            assert!(
                all.into_iter()
                    .all(|times| 0 < times.p50_ns && times.p50_ns <= times.p99_ns)
            );
        }
        assert_eq!(measure(&cpus[..1]).unwrap(), None);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error_and_not_a_deadlock() {
        let first = cpu::usable().unwrap()[0];
        assert!(measure(&[first, 100_000]).is_err());
        assert!(measure(&[100_000, first]).is_err());
    }
}
