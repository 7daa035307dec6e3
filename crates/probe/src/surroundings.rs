//! What the machine and its network did around a load: counters of the kernel read before and after it, and a thread
//! that watches in between.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::{io, process};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use rustix::param::clock_ticks_per_second;
use sockrates_core::histogram::Histogram;
use sockrates_core::record::NetworkCost;
use sockrates_core::surroundings::{CpuTimes, NetworkCounters, Stalls, Surroundings, TaskTimes};
use sockrates_core::verdict::STALL_NS;

use crate::clock::monotonic_ns;
use crate::cpu;
use crate::process::sharpen_timers;

const WAKE_NS: u64 = 10_000_000;
const STEAL_STEP_NS: u64 = 200_000_000;
const STAT: &str = "/proc/stat";

/// Watches the machine from [`Watch::start`] to [`Watch::stop`].
///
/// The kernel forgets how long a thread waited when the thread ends. The watch looks at the calling process's threads
/// five times a second, so of one that ended before [`Watch::stop`], up to the last 200 ms are missing. The watch's own
/// thread is not counted.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    sampler: Option<JoinHandle<Samples>>,
    sampler_task: i32,
    others: Others,
    cpus: Vec<u32>,
    softirq_tasks: Vec<u32>,
    first: Readings,
}

/// The processes beside this one that belong to a trial.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others {
    /// The server.
    pub server: Option<u32>,
    /// What keeps CPUs awake.
    pub spinners: Option<u32>,
}

impl Watch {
    /// Takes the first readings and starts the thread that samples. It may run where the calling thread may, so does the
    /// list of CPUs: call this from a thread that is not pinned.
    pub fn start(others: Others) -> io::Result<Self> {
        let cpus = cpu::usable()?;
        let softirq_tasks = softirq_tasks();
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = sync_channel(1);
        let sampler = Builder::new().name("watch".into()).spawn({
            let (cpus, stop) = (cpus.clone(), stop.clone());
            move || {
                let mut sampler = Sampler::new(&cpus);
                // The receiver waits for this one message.
                let _ = ready.send(nix::unistd::gettid().as_raw());
                sampler.run(&stop);
                sampler.samples
            }
        })?;
        let sampler_task = is_ready
            .recv()
            .expect("the sampler sends before anything else");
        let first = Readings::take(&cpus, &softirq_tasks, others);
        Ok(Self {
            stop,
            sampler: Some(sampler),
            sampler_task,
            others,
            cpus,
            softirq_tasks,
            first,
        })
    }

    /// Takes the last readings, ends the thread and returns what happened in between.
    pub fn stop(mut self) -> Surroundings {
        let last = Readings::take(&self.cpus, &self.softirq_tasks, self.others);
        self.stop.store(true, Ordering::Relaxed);
        let samples = self
            .sampler
            .take()
            .map(|sampler| sampler.join().expect("the sampler does not panic"))
            .unwrap_or_default();
        let mut surroundings = self.first.until(&last);
        let mut tasks = samples.tasks;
        tasks.extend(last.client);
        tasks.remove(&self.sampler_task);
        surroundings.client = tasks_until(&self.first.client, &tasks);
        surroundings.steal_worst_share = samples.steal_worst_share;
        surroundings.hiccup_max_ns = samples.lateness.max_ns().unwrap_or(0);
        surroundings.hiccup_p99_ns = samples.lateness.quantile_unchecked_ns(0.99);
        surroundings.stalls = Some(samples.stalls);
        surroundings.clock_steps_back = samples.clock_steps_back;
        surroundings
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Samples {
    lateness: Histogram,
    steal_worst_share: f64,
    clock_steps_back: u64,
    stalls: Stalls,
    /// The calling process's threads as last seen, ended ones included.
    tasks: HashMap<i32, TaskTimes>,
}

impl Samples {
    /// Notes how long the thread had not run.
    fn note_gap(&mut self, gap_ns: u64) {
        if gap_ns > WAKE_NS + STALL_NS {
            self.stalls.count += 1;
            self.stalls.ns += gap_ns;
        }
    }
}

/// The state of the sampling thread. Its wake-ups allocate nothing; only the look at the threads does.
struct Sampler {
    samples: Samples,
    cpus: Vec<u32>,
    stat: Option<File>,
    text: Vec<u8>,
    stolen_ns: Vec<u64>,
    stolen_at_ns: u64,
}

impl Sampler {
    fn new(cpus: &[u32]) -> Self {
        // The CPUs' lines come first, one for each CPU of the machine, each shorter than this.
        let machine_cpus = fs::read_to_string(STAT).map_or(0, |text| {
            text.lines().filter(|line| line.starts_with("cpu")).count()
        });
        let mut sampler = Self {
            samples: Samples::default(),
            cpus: cpus.to_vec(),
            stat: File::open(STAT).ok(),
            text: vec![0; 256 * machine_cpus],
            stolen_ns: vec![0; cpus.len()],
            stolen_at_ns: 0,
        };
        sampler.sample_steal(monotonic_ns());
        sampler.samples.steal_worst_share = 0.0;
        sampler
    }

    fn run(&mut self, stop: &AtomicBool) {
        // Without it, wake-ups are 50 µs later: still facts.
        let _ = sharpen_timers();
        let mut before = monotonic_ns();
        let mut deadline = before;
        while !stop.load(Ordering::Relaxed) {
            // Deadlines that passed during a stall are not skipped: each is late by what was left of the stall.
            deadline += WAKE_NS;
            sleep_until(deadline);
            let now = monotonic_ns();
            self.samples.clock_steps_back += u64::from(now < before);
            self.samples.note_gap(now.saturating_sub(before));
            before = now;
            self.samples.lateness.record(now.saturating_sub(deadline));
            // Half a wake-up early, lest each step be one wake-up too long.
            if now.saturating_sub(self.stolen_at_ns) >= STEAL_STEP_NS - WAKE_NS / 2 {
                self.sample_steal(now);
                let tasks = task_times(process::id());
                self.samples.tasks.extend(tasks.into_iter().flatten());
            }
        }
        self.sample_steal(before);
    }

    /// The last step may be short; it counts as a whole one, because one tick would be a large share of it.
    fn sample_steal(&mut self, now: u64) {
        let Some(read) = self
            .stat
            .as_ref()
            .and_then(|stat| stat.read_at(&mut self.text, 0).ok())
        else {
            return;
        };
        let step_ns = now.saturating_sub(self.stolen_at_ns).max(STEAL_STEP_NS);
        for times in cpu_lines(&self.text[..read], clock_ticks_per_second()) {
            let Ok(at) = self.cpus.binary_search(&times.cpu) else {
                continue;
            };
            let stolen_ns = times.steal_ns.saturating_sub(self.stolen_ns[at]);
            let share = (stolen_ns as f64 / step_ns as f64).min(1.0);
            self.samples.steal_worst_share = self.samples.steal_worst_share.max(share);
            self.stolen_ns[at] = times.steal_ns;
        }
        self.stolen_at_ns = now;
    }
}

fn sleep_until(deadline_ns: u64) {
    let seconds = (deadline_ns / 1_000_000_000).cast_signed();
    let nanoseconds = (deadline_ns % 1_000_000_000).cast_signed();
    let deadline = TimeSpec::new(seconds, nanoseconds);
    let flags = ClockNanosleepFlags::TIMER_ABSTIME;
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &deadline) == Err(nix::Error::EINTR) {}
}

/// Everything that is read at both ends of the span.
#[derive(Debug)]
struct Readings {
    clocks: Clocks,
    cpus: Vec<CpuTimes>,
    client: HashMap<i32, TaskTimes>,
    server: Option<HashMap<i32, TaskTimes>>,
    spinner_cpu_ns: u64,
    ksoftirqd_ns: u64,
    major_faults: u64,
    throttled: u64,
    network: NetworkCounters,
}

impl Readings {
    fn take(cpus: &[u32], softirq_tasks: &[u32], others: Others) -> Self {
        let stat = fs::read(STAT).unwrap_or_default();
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        Self {
            clocks: Clocks::take(),
            cpus: cpu_lines(&stat, clock_ticks_per_second())
                .filter(|times| cpus.contains(&times.cpu))
                .collect(),
            client: task_times(process::id()).unwrap_or_default(),
            server: others.server.and_then(task_times),
            spinner_cpu_ns: others.spinners.and_then(cpu_ns).unwrap_or(0),
            ksoftirqd_ns: softirq_tasks
                .iter()
                .filter_map(|pid| schedstat(&format!("/proc/{pid}/schedstat")))
                .map(|times| times.cpu_ns)
                .sum(),
            major_faults: usage.map_or(0, |usage| usage.major_page_faults().cast_unsigned()),
            throttled: throttled(),
            network: network_counters(
                &text("/proc/thread-self/net/snmp"),
                &text("/proc/thread-self/net/netstat"),
                &text("/proc/thread-self/net/sockstat"),
            ),
        }
    }

    fn until(&self, last: &Self) -> Surroundings {
        let (wall_ns, clock_drift_ppm) = self.clocks.until(&last.clocks);
        Surroundings {
            wall_ns,
            cpus: cpus_until(&self.cpus, &last.cpus),
            server: self
                .server
                .as_ref()
                .zip(last.server.as_ref())
                .map(|(first, last)| tasks_until(first, last)),
            spinner_cpu_ns: last.spinner_cpu_ns.saturating_sub(self.spinner_cpu_ns),
            ksoftirqd_ns: last.ksoftirqd_ns.saturating_sub(self.ksoftirqd_ns),
            major_faults: last.major_faults.saturating_sub(self.major_faults),
            throttled: last.throttled.saturating_sub(self.throttled),
            clock_drift_ppm,
            network: network_until(&self.network, &last.network),
            ..Surroundings::default()
        }
    }
}

/// The steered and the raw clock at one instant.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    monotonic_ns: u64,
    raw_ns: u64,
}

impl Clocks {
    /// Reads one clock between two readings of the other; of some tries the quickest is the best.
    fn take() -> Self {
        let attempt = || {
            let before = monotonic_ns();
            let raw = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicRaw);
            let took = monotonic_ns().saturating_sub(before);
            let clocks = Self {
                monotonic_ns: before + took / 2,
                raw_ns: raw.tv_sec.cast_unsigned() * 1_000_000_000 + raw.tv_nsec.cast_unsigned(),
            };
            (took, clocks)
        };
        let mut best = attempt();
        for _ in 0..7 {
            let next = attempt();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }

    /// Returns the time between two readings and by how many parts per million the steered clock ran faster.
    fn until(self, last: &Self) -> (u64, f64) {
        let wall_ns = last.monotonic_ns.saturating_sub(self.monotonic_ns);
        let raw_ns = last.raw_ns.saturating_sub(self.raw_ns);
        let ahead_ns = wall_ns.cast_signed() - raw_ns.cast_signed();
        (wall_ns, ahead_ns as f64 / raw_ns.max(1) as f64 * 1e6)
    }
}

/// Reads the `cpuN` lines of `/proc/stat`, which are in ascending order; the sum over all CPUs is not among them.
fn cpu_lines(stat: &[u8], ticks_per_second: u64) -> impl Iterator<Item = CpuTimes> {
    let tick_ns = 1_000_000_000 / ticks_per_second.max(1);
    stat.split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| str::from_utf8(line.strip_suffix(b"\n")?).ok())
        .take_while(|line| line.starts_with("cpu"))
        .filter_map(move |line| {
            let mut words = line.split_ascii_whitespace();
            let cpu = words.next()?.strip_prefix("cpu")?.parse().ok()?;
            let mut times = [0; 8];
            for (time, word) in times.iter_mut().zip(words) {
                *time = word.parse::<u64>().ok()? * tick_ns;
            }
            let [user, nice, system, _idle, _iowait, irq, softirq, steal] = times;
            Some(CpuTimes {
                cpu,
                busy_ns: user + nice + system + irq + softirq,
                softirq_ns: softirq,
                steal_ns: steal,
            })
        })
}

fn cpus_until(first: &[CpuTimes], last: &[CpuTimes]) -> Vec<CpuTimes> {
    let pairs = last.iter().filter_map(|after| {
        let before = first.iter().find(|before| before.cpu == after.cpu)?;
        Some((before, after))
    });
    pairs
        .map(|(before, after)| CpuTimes {
            cpu: after.cpu,
            busy_ns: after.busy_ns.saturating_sub(before.busy_ns),
            softirq_ns: after.softirq_ns.saturating_sub(before.softirq_ns),
            steal_ns: after.steal_ns.saturating_sub(before.steal_ns),
        })
        .collect()
}

/// Returns what each thread of a process has used, or nothing if there is no such process.
fn task_times(pid: u32) -> Option<HashMap<i32, TaskTimes>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let times = tasks.filter_map(|task| {
        let task = task.ok()?.file_name().to_str()?.parse().ok()?;
        Some((
            task,
            schedstat(&format!("/proc/{pid}/task/{task}/schedstat"))?,
        ))
    });
    Some(times.collect())
}

fn schedstat(path: &str) -> Option<TaskTimes> {
    parse_schedstat(&fs::read_to_string(path).ok()?)
}

fn parse_schedstat(text: &str) -> Option<TaskTimes> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(TaskTimes {
        cpu_ns: numbers.next()?.ok()?,
        queued_ns: numbers.next()?.ok()?,
    })
}

/// A thread that was not there at the start began at 0.
fn tasks_until(first: &HashMap<i32, TaskTimes>, last: &HashMap<i32, TaskTimes>) -> TaskTimes {
    let mut sum = TaskTimes::default();
    for (task, after) in last {
        let before = first.get(task).copied().unwrap_or_default();
        sum.cpu_ns += after.cpu_ns.saturating_sub(before.cpu_ns);
        sum.queued_ns += after.queued_ns.saturating_sub(before.queued_ns);
    }
    sum
}

/// Returns the process ids of the `ksoftirqd` threads, as far as this process sees them.
fn softirq_tasks() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| text(&format!("/proc/{pid}/comm")).starts_with("ksoftirqd/"))
        .collect()
}

/// `nr_throttled` of this process's control group, wherever the second hierarchy is mounted.
fn throttled() -> u64 {
    let groups = text("/proc/self/cgroup");
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::")) else {
        return 0;
    };
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .find_map(|mount| parse_throttled(&text(&format!("{mount}{group}/cpu.stat"))))
        .unwrap_or(0)
}

fn parse_throttled(cpu_stat: &str) -> Option<u64> {
    let mut lines = cpu_stat.lines();
    lines
        .find_map(|line| line.strip_prefix("nr_throttled "))?
        .parse()
        .ok()
}

/// Returns the CPU time of a process so far, threads that have ended left out; `None` when there is no such process.
pub fn cpu_ns(pid: u32) -> Option<u64> {
    Some(task_times(pid)?.values().map(|task| task.cpu_ns).sum())
}

/// Returns what the network namespace of this thread has received so far. On a loopback that is all there is: each
/// packet is sent once and received once.
pub fn network_cost() -> NetworkCost {
    let netstat = text("/proc/thread-self/net/netstat");
    let received = |name| counter(&netstat, "IpExt:", name);
    NetworkCost {
        ip_bytes: received("InOctets"),
        ip_packets: received("InNoECTPkts") + received("InECT0Pkts") + received("InECT1Pkts"),
    }
}

/// Reads the counters since the namespace's start, and the number of connections in `TIME_WAIT` now.
fn network_counters(snmp: &str, netstat: &str, sockstat: &str) -> NetworkCounters {
    let tcp = |name| counter(snmp, "Tcp:", name);
    let extended = |name| counter(netstat, "TcpExt:", name);
    NetworkCounters {
        segments_sent: tcp("OutSegs"),
        segments_retransmitted: tcp("RetransSegs"),
        listen_overflows: extended("ListenOverflows"),
        listen_drops: extended("ListenDrops"),
        request_queue_full_drops: extended("TCPReqQFullDrop"),
        backlog_drops: extended("TCPBacklogDrop"),
        syn_retransmits: extended("TCPSynRetrans"),
        loss_probes: extended("TCPLossProbes"),
        spurious_timeouts: extended("TCPSpuriousRTOs"),
        delayed_acks: extended("DelayedACKs"),
        time_wait_overflows: extended("TCPTimeWaitOverflow"),
        time_wait_at_start: time_wait(sockstat),
    }
}

/// A table is two lines that begin with the same word: the names, then the values.
fn counter(text: &str, table: &str, name: &str) -> u64 {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(table))
        .map(str::split_ascii_whitespace);
    lines
        .next()
        .zip(lines.next())
        .and_then(|(names, values)| names.zip(values).find(|(found, _)| *found == name))
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0)
}

fn time_wait(sockstat: &str) -> u64 {
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut words = tcp.unwrap_or_default().split_ascii_whitespace();
    words
        .find(|word| *word == "tw")
        .and_then(|_| words.next()?.parse().ok())
        .unwrap_or(0)
}

const fn network_until(first: &NetworkCounters, last: &NetworkCounters) -> NetworkCounters {
    macro_rules! differences {
        ($($field:ident),*) => {
            NetworkCounters {
                $($field: last.$field.saturating_sub(first.$field),)*
                time_wait_at_start: first.time_wait_at_start,
            }
        };
    }
    differences!(
        segments_sent,
        segments_retransmitted,
        listen_overflows,
        listen_drops,
        request_queue_full_drops,
        backlog_drops,
        syn_retransmits,
        loss_probes,
        spurious_timeouts,
        delayed_acks,
        time_wait_overflows
    )
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT_TEXT: &str = "\
cpu  300 2 60 4000 10 2 20 6 0 0
cpu0 100 1 20 2000 5 1 10 2 7 0
cpu1 200 1 40 2000 5 1 10 4 0 0
cpu11 1 1 1 1 1 1 1
intr 123 0 0 5
ctxt 9";

    const SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens InSegs OutSegs RetransSegs InErrs
Tcp: 1 200 120000 -1 58275 50484549 50481253 171 0
Udp: InDatagrams OutSegs
Udp: 0 1
";

    const NETSTAT: &str = "\
TcpExt: SyncookiesSent DelayedACKs ListenOverflows ListenDrops TCPLossProbes TCPSpuriousRTOs TCPBacklogDrop \
TCPTimeWaitOverflow TCPReqQFullDoCookies TCPReqQFullDrop TCPSynRetrans
TcpExt: 1 1487 2 3 176 4 5 6 7 8 9
IpExt: InNoRoutes ListenDrops
IpExt: 0 77
";

    const SOCKSTAT: &str = "\
sockets: used 10
TCP: inuse 1 orphan 0 tw 42 alloc 1 mem 57
UDP: inuse 0 mem 0
";

    fn of(server: u32) -> Others {
        Others {
            server: Some(server),
            spinners: None,
        }
    }

    #[test]
    fn network_counters_are_found_by_name() {
        let counters = NetworkCounters {
            segments_sent: 50_481_253,
            segments_retransmitted: 171,
            listen_overflows: 2,
            listen_drops: 3,
            request_queue_full_drops: 8,
            backlog_drops: 5,
            syn_retransmits: 9,
            loss_probes: 176,
            spurious_timeouts: 4,
            delayed_acks: 1487,
            time_wait_overflows: 6,
            time_wait_at_start: 42,
        };
        assert_eq!(network_counters(SNMP, NETSTAT, SOCKSTAT), counters);
        assert_eq!(
            network_counters("", "Tcp", "TCP: tw"),
            NetworkCounters::default()
        );
    }

    #[test]
    fn differences_keep_the_first_time_wait() {
        let first = network_counters(SNMP, NETSTAT, SOCKSTAT);
        let last = NetworkCounters {
            segments_sent: first.segments_sent + 5,
            time_wait_at_start: 99,
            ..first
        };
        let between = NetworkCounters {
            segments_sent: 5,
            time_wait_at_start: 42,
            ..NetworkCounters::default()
        };
        assert_eq!(network_until(&first, &last), between);
    }

    #[test]
    fn cpu_lines_are_read_in_ticks_and_an_old_kernel_knows_no_steal() {
        let times = |cpu, busy: u64, softirq: u64, steal: u64| CpuTimes {
            cpu,
            busy_ns: busy * 10_000_000,
            softirq_ns: softirq * 10_000_000,
            steal_ns: steal * 10_000_000,
        };
        let expected = [
            times(0, 132, 10, 2),
            times(1, 252, 10, 4),
            times(11, 5, 1, 0),
        ];
        assert!(cpu_lines(STAT_TEXT.as_bytes(), 100).eq(expected));
        // A line that the buffer cut off is no line.
        assert!(cpu_lines(&STAT_TEXT.as_bytes()[..70], 100).eq(expected[..1].iter().copied()));
    }

    #[test]
    fn other_files_are_read() {
        let times = TaskTimes {
            cpu_ns: 110_640_906,
            queued_ns: 776_455,
        };
        assert_eq!(parse_schedstat("110640906 776455 30\n"), Some(times));
        assert_eq!(parse_schedstat(""), None);
        let cpu_stat = "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 70\n";
        assert_eq!(parse_throttled(cpu_stat), Some(3));
        assert_eq!(parse_throttled("usage_usec 5\n"), None);
    }

    #[test]
    fn only_what_is_late_is_a_stall() {
        let mut samples = Samples::default();
        samples.note_gap(WAKE_NS + STALL_NS);
        assert_eq!(samples.stalls, Stalls::default());
        samples.note_gap(45_000_000);
        samples.note_gap(20_000_000);
        let stalls = Stalls {
            count: 2,
            ns: 65_000_000,
        };
        assert_eq!(samples.stalls, stalls);
    }

    #[test]
    fn threads_that_came_count_whole() {
        let times = |cpu_ns| TaskTimes {
            cpu_ns,
            queued_ns: cpu_ns / 10,
        };
        let first = HashMap::from([(1, times(100)), (2, times(500))]);
        let last = HashMap::from([(1, times(150)), (3, times(30))]);
        let between = TaskTimes {
            cpu_ns: 80,
            queued_ns: 8,
        };
        assert_eq!(tasks_until(&first, &last), between);
    }

    #[test]
    fn a_thread_that_ended_counts_too() {
        let watch = Watch::start(Others::default()).unwrap();
        let task = std::thread::spawn(|| {
            let end = monotonic_ns() + 600_000_000;
            while monotonic_ns() < end {}
            nix::unistd::gettid().as_raw()
        })
        .join()
        .unwrap();
        assert!(!task_times(process::id()).unwrap().contains_key(&task));
        // Alone on a quiet machine it has 400 ms and more.
        assert!(watch.stop().client.cpu_ns > 10_000_000);
    }

    #[test]
    fn work_shows_in_the_surroundings() {
        let watch = Watch::start(of(process::id())).unwrap();
        let end = monotonic_ns() + 100_000_000;
        while monotonic_ns() < end {}
        let around = watch.stop();
        assert!(around.wall_ns >= 100_000_000);
        assert!(around.client.cpu_ns > 0 && around.server.unwrap().cpu_ns > 0);
        assert_eq!(around.cpus.len(), cpu::usable().unwrap().len());
        assert!(around.cpus.iter().map(|cpu| cpu.busy_ns).sum::<u64>() > 0);
        assert!(around.hiccup_max_ns > 0 && around.hiccup_max_ns >= around.hiccup_p99_ns);
        assert!((0.0..=1.0).contains(&around.steal_worst_share));
        assert_eq!(around.clock_steps_back, 0);
    }

    #[test]
    fn a_process_has_used_cpu_time() {
        assert!(cpu_ns(process::id()).unwrap() > 0);
        assert_eq!(cpu_ns(u32::MAX), None);
    }

    #[test]
    fn what_the_loopback_carries_is_counted() {
        let before = network_cost();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        for _ in 0..10 {
            socket.send_to(&[0; 100], address).unwrap();
            socket.recv(&mut [0; 100]).unwrap();
        }
        let after = network_cost();
        // Others may use the network as well.
        assert!(after.ip_bytes - before.ip_bytes >= 10 * 128);
        assert!(after.ip_packets - before.ip_packets >= 10);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_times() {
        for others in [Others::default(), of(u32::MAX)] {
            assert_eq!(Watch::start(others).unwrap().stop().server, None);
        }
    }
}
