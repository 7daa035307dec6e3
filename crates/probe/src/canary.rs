//! A fixed piece of work whose duration tells how fast the machine is right now.

use std::hint::black_box;
use std::sync::Barrier;
use std::{io, thread};

use crate::clock::monotonic_ns;
use crate::cpu;

/// About 20 ms on a CPU of 3 GHz in a release build.
const ROUNDS: u64 = 10_000_000;
const TRIES: usize = 2;

/// Runs a fixed integer loop and returns how long it took. Each step needs the result of the one before, so that the
/// time is that of one CPU's clock and arithmetic: no memory, no system calls.
pub fn spin_ns() -> u64 {
    let start = monotonic_ns();
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for round in 0..black_box(ROUNDS) {
        state = (state ^ (state >> 29))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .wrapping_add(round);
    }
    black_box(state);
    monotonic_ns() - start
}

/// Runs the loop on each CPU alone, then on all of them at once, and returns both lists of times in nanoseconds (the
/// better of two, in the order of `cpus`). Where CPUs share a core, or a core is not there for the machine alone, the
/// second list is longer.
pub fn alone_and_together(cpus: &[u32]) -> io::Result<(Vec<u64>, Vec<u64>)> {
    let alone = cpus
        .iter()
        .map(|cpu| together(&[*cpu]).map(|times| times[0]))
        .collect::<io::Result<_>>()?;
    Ok((alone, together(cpus)?))
}

fn together(cpus: &[u32]) -> io::Result<Vec<u64>> {
    let start = Barrier::new(cpus.len());
    thread::scope(|scope| {
        let threads: Vec<_> = cpus
            .iter()
            .map(|cpu| scope.spawn(|| best_on(*cpu, &start)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the loop does not panic"))
            .collect()
    })
}

/// All threads come to the barrier each time, even one that could not be pinned: the others would wait for it.
fn best_on(cpu: u32, start: &Barrier) -> io::Result<u64> {
    let pinned = cpu::pin_thread(&[cpu]);
    let mut best = u64::MAX;
    for _ in 0..TRIES {
        start.wait();
        if pinned.is_ok() {
            best = best.min(spin_ns());
        }
    }
    pinned.map(|()| best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_a_time_alone_and_together() {
        let cpus = cpu::usable().unwrap();
        let (alone, together) = alone_and_together(&cpus).unwrap();
        assert_eq!((alone.len(), together.len()), (cpus.len(), cpus.len()));
        // No CPU does ten million dependent multiplications in a millisecond.
        assert!(
            alone.iter().chain(&together).all(|ns| *ns > 1_000_000),
            "{alone:?} {together:?}"
        );
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error_and_not_a_deadlock() {
        let first = cpu::usable().unwrap()[0];
        assert!(alone_and_together(&[first, 100_000]).is_err());
        assert!(together(&[first, 100_000]).is_err());
    }
}
