//! Which CPUs there are, and where a thread runs.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Returns the CPUs this thread may use, in ascending order.
pub fn usable() -> io::Result<Vec<u32>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let all = (0..u32::try_from(CpuSet::count()).expect("a CPU set is small"))
        .filter(|cpu| is_in(&set, *cpu));
    Ok(all.collect())
}

/// Binds the calling thread (and threads it starts later) to these CPUs; an empty list changes nothing.
pub fn pin_thread(cpus: &[u32]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu as usize)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

fn is_in(set: &CpuSet, cpu: u32) -> bool {
    set.is_set(cpu as usize).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_only_its_cpu() {
        let last = *usable().unwrap().last().unwrap();
        std::thread::spawn(move || {
            pin_thread(&[last]).unwrap();
            assert_eq!(usable().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert!(pin_thread(&[100_000]).is_err());
    }
}
