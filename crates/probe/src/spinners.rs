//! Threads of idle priority that keep CPUs from halting: they run only while nothing else wants to.

use std::hint::spin_loop;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use crate::cpu;

/// Keeps CPUs awake until it is dropped.
#[derive(Debug)]
pub struct Spinners {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spinners {
    /// Starts one thread on each CPU. It is an error when one of them is not given idle priority (`SCHED_IDLE`): any
    /// other priority would take CPU time from those that are measured.
    pub fn start(cpus: &[u32]) -> io::Result<Self> {
        let mut spinners = Self {
            stop: Arc::default(),
            threads: Vec::with_capacity(cpus.len()),
        };
        for cpu in cpus.iter().copied() {
            let (report, outcome) = sync_channel(1);
            let stop = Arc::clone(&spinners.stop);
            let spin = move || {
                let ready = cpu::pin_thread(&[cpu]).and_then(|()| take_idle_priority());
                let is_ready = ready.is_ok();
                // The starter waits for this one message.
                let _ = report.send(ready);
                while is_ready && !stop.load(Ordering::Relaxed) {
                    spin_loop();
                }
            };
            let thread = Builder::new().name("awake".into()).spawn(spin)?;
            spinners.threads.push(thread);
            outcome
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("the thread ended")))?;
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Gives the calling thread idle priority, and reads it back: a sandbox may only pretend.
#[expect(unsafe_code, reason = "musl's wrapper refuses what the kernel allows")]
fn take_idle_priority() -> io::Result<()> {
    let priority: libc::c_int = 0;
    // SAFETY: 0 is the calling thread; `sched_param` is one int, which the kernel only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_IDLE,
            &raw const priority,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes a number, and touches no memory.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    if policy == libc::c_long::from(libc::SCHED_IDLE) {
        Ok(())
    } else {
        Err(io::Error::other("idle priority was not taken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process, surroundings};

    #[test]
    fn a_cpu_is_kept_awake_until_the_spinners_are_dropped() {
        let cpus = cpu::usable().unwrap();
        let before = surroundings::cpu_ns(std::process::id()).unwrap();
        let spinners = Spinners::start(&cpus).unwrap();
        assert_eq!(spinners.threads.len(), cpus.len());
        let policies = spinners_policies();
        assert!(policies.iter().filter(|policy| **policy == 5).count() >= cpus.len());
        // Something of a second is theirs on any machine, however busy it is with others.
        let end = crate::clock::monotonic_ns() + 10_000_000_000;
        while surroundings::cpu_ns(std::process::id()).unwrap() - before < 1_000_000 {
            assert!(crate::clock::monotonic_ns() < end, "they never ran");
        }
        drop(spinners);
        assert!(process::usage().cpu_ns() > 0);
    }

    /// The policies of this process's threads: field 41 of `stat`, behind the name in brackets.
    fn spinners_policies() -> Vec<u32> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| {
                let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
                let fields = stat.rsplit_once(") ")?.1;
                fields.split(' ').nth(38)?.parse().ok()
            })
            .collect()
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error() {
        assert!(Spinners::start(&[100_000]).is_err());
    }

    #[test]
    fn a_machine_that_refuses_idle_priority_is_an_error() {
        let refused = std::thread::spawn(|| {
            refuse_schedulers();
            Spinners::start(&cpu::usable().unwrap()).map(drop)
        });
        let error = refused.join().unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    /// Has the kernel refuse `sched_setscheduler` to the calling thread and those it starts.
    #[expect(unsafe_code, reason = "no safe wrapper installs a filter")]
    fn refuse_schedulers() {
        let number = u32::try_from(libc::SYS_sched_setscheduler).unwrap();
        let step = |code: u32, jt, jf, k| libc::sock_filter {
            code: u16::try_from(code).unwrap(),
            jt,
            jf,
            k,
        };
        let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        let mut steps = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, refusal),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: 4,
            filter: steps.as_mut_ptr(),
        };
        // SAFETY: `program` and what it points to outlive the calls, which only read them.
        let refused = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) == 0
        };
        assert!(refused);
    }
}
