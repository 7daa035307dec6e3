//! What the machine and the instrument were like when a run began and when it ended: facts, taken in two seconds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One short calibration.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Calibration {
    /// What reading the clock costs.
    pub clock_read_ns: f64,
    /// How late a sleep of 200 µs ended, at the median.
    pub sleep_late_p50_ns: u64,
    /// How late a sleep of 200 µs ended, at the 99th percentile.
    pub sleep_late_p99_ns: u64,
    /// The median service time of the persistent tcp floor with one connection; null when it could not be measured.
    pub floor_p50_ns: Option<u64>,
    /// How long a fixed amount of integer work took on each CPU, the others idle.
    pub spin_alone_ns: Vec<u64>,
    /// How long it took on each CPU, all of them busy: longer when they share a core.
    pub spin_together_ns: Vec<u64>,
    /// What it takes to wake a CPU that has nothing to do; null with a single CPU, and in older runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_up: Option<WakeUp>,
}

/// How long it took until a thread ran that waited on another CPU, after that had been idle for 1 ms.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct WakeUp {
    /// As the machine is: the CPU may have halted.
    pub as_is: WakeTimes,
    /// With the CPUs kept awake; null where idle priority was refused.
    pub awake: Option<WakeTimes>,
}

/// Times of a hundred wake-ups.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct WakeTimes {
    /// The median.
    pub p50_ns: u64,
    /// The 99th percentile.
    pub p99_ns: u64,
}
