//! What the machine and its network did around a load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the machine and its network did around a load: facts, to be judged in [`crate::verdict`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Surroundings {
    /// How long the span was.
    pub wall_ns: u64,
    /// Each CPU of the machine that this process may use, in ascending order.
    pub cpus: Vec<CpuTimes>,
    /// All threads of the calling process, over the span.
    pub client: TaskTimes,
    /// All threads of the server process, over the span; none where there is no such process.
    pub server: Option<TaskTimes>,
    /// CPU time of all `ksoftirqd` threads: network work that the kernel put off because there was too much of it.
    pub ksoftirqd_ns: u64,
    /// CPU time of the process that kept CPUs awake; 0 where there was none.
    #[serde(default)]
    pub spinner_cpu_ns: u64,
    /// The largest share of a 200 ms step that the hypervisor took from one CPU, 0 to 1.
    pub steal_worst_share: f64,
    /// How late a thread that wakes every 10 ms was, at worst.
    pub hiccup_max_ns: u64,
    /// How late it was at the 99th percentile.
    pub hiccup_p99_ns: u64,
    /// What held it up altogether; absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalls: Option<Stalls>,
    /// Page faults of this process that had to read from a disk.
    pub major_faults: u64,
    /// How often the CPU limit of this process's control group stopped it; 0 where there is no limit.
    pub throttled: u64,
    /// How much faster `CLOCK_MONOTONIC` ran than `CLOCK_MONOTONIC_RAW`, in parts per million: the steering of NTP.
    pub clock_drift_ppm: f64,
    /// How often a reading of the monotonic clock was smaller than the one before.
    pub clock_steps_back: u64,
    /// What the network namespace's counters say.
    pub network: NetworkCounters,
}

/// When a thread that only sleeps woke up more than a millisecond late.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Stalls {
    /// How often.
    pub count: u32,
    /// How long it had not run, altogether: at most its sleep of 10 ms too much for each.
    pub ns: u64,
}

/// How one CPU spent the span. The kernel counts in ticks, mostly of 10 ms.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct CpuTimes {
    /// The CPU's number.
    pub cpu: u32,
    /// Time it worked: for processes, for the kernel, and in interrupts.
    pub busy_ns: u64,
    /// The part of it in soft interrupts, where packets are received.
    pub softirq_ns: u64,
    /// Time it wanted to work while the hypervisor ran something else.
    pub steal_ns: u64,
}

/// What the scheduler says about a process's threads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TaskTimes {
    /// Time they ran.
    pub cpu_ns: u64,
    /// Time they were ready to run and waited for a CPU.
    pub queued_ns: u64,
}

/// What the TCP counters of a network namespace did over a span. A counter that the kernel lacks is 0.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct NetworkCounters {
    /// Segments sent, without retransmitted ones (`OutSegs`).
    pub segments_sent: u64,
    /// Segments sent again (`RetransSegs`).
    pub segments_retransmitted: u64,
    /// Connections that found the accept queue full (`ListenOverflows`).
    pub listen_overflows: u64,
    /// Connection attempts that a listener dropped for whatever reason (`ListenDrops`).
    pub listen_drops: u64,
    /// Connection attempts dropped because the queue of half-open connections was full (`TCPReqQFullDrop`).
    pub request_queue_full_drops: u64,
    /// Segments dropped because a socket's backlog was full (`TCPBacklogDrop`).
    pub backlog_drops: u64,
    /// SYN and SYN-ACK segments sent again (`TCPSynRetrans`).
    pub syn_retransmits: u64,
    /// Probes for a lost last segment (`TCPLossProbes`).
    pub loss_probes: u64,
    /// Retransmission time-outs that proved needless (`TCPSpuriousRTOs`).
    pub spurious_timeouts: u64,
    /// Acknowledgements sent by the delay timer, without data to ride on (`DelayedACKs`).
    pub delayed_acks: u64,
    /// Closed connections that found no place in the `TIME_WAIT` table (`TCPTimeWaitOverflow`).
    pub time_wait_overflows: u64,
    /// Connections in `TIME_WAIT` when the span began (`tw`): a number, not a difference.
    pub time_wait_at_start: u64,
}
