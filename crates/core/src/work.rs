//! The work of a message (`work.json`): user-space instructions and system calls of both ends, per operation.
//!
//! Counted by `scripts/work` beside a run, since counting slows programs down; never timed. What is compared with what
//! is the gate's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::lane::Lane;

/// What was counted, and by what.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Work {
    /// Always [`Work::VERSION`].
    pub schema_version: u32,
    /// The command that made it.
    pub command: String,
    /// The compiler of the binary, `rustc -V`.
    pub rustc: String,
    /// `release` or `debug`.
    pub build_profile: String,
    /// The machine's architecture, as `x86_64`.
    pub architecture: String,
    /// The C library, by name and version: its string functions are part of what is counted.
    pub c_library: String,
    /// What counted instructions: `valgrind` or `perf`, with its version.
    pub instructions_by: String,
    /// What counted system calls: `valgrind` or `strace`, with its version.
    pub system_calls_by: String,
    /// The length of a message, in bytes.
    pub payload_bytes: u32,
    /// Whether both ends had a real-time priority, so that neither ever preempted the other: else an end now and then looks
    /// in vain for what has not come, which takes work.
    #[serde(default)]
    pub is_undisturbed: bool,
    /// How often each number was counted.
    pub repetitions: u32,
    /// The lanes.
    pub lanes: Vec<LaneWork>,
}

impl Document for Work {
    const KIND: &'static str = "work";
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        for lane in &self.lanes {
            for count in lane.counts().into_iter().filter_map(|(_, count)| count) {
                let is_plain =
                    |number: f64| number.is_finite() && (0.0..=MAX_COUNT).contains(&number);
                if !is_plain(count.per_operation) || !is_plain(count.spread) {
                    return Err(format!("a count of {} is no count", lane.lane));
                }
            }
        }
        Ok(())
    }
}

/// No operation takes more instructions.
const MAX_COUNT: f64 = 1e12;

/// What one operation of a lane takes.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct LaneWork {
    /// The lane.
    pub lane: Lane,
    /// The two numbers of operations whose difference was taken, so that start and end cancel.
    pub operations: (u64, u64),
    /// User-space instructions of the client; null where they were not counted.
    pub client_instructions: Option<WorkCount>,
    /// User-space instructions of the server; null where they were not counted.
    pub server_instructions: Option<WorkCount>,
    /// System calls of the client; null where they were not counted.
    pub client_system_calls: Option<WorkCount>,
    /// System calls of the server; null where they were not counted.
    pub server_system_calls: Option<WorkCount>,
}

impl LaneWork {
    /// Returns all counts with their names.
    pub const fn counts(&self) -> [(&'static str, Option<WorkCount>); 4] {
        [
            ("client_instructions", self.client_instructions),
            ("server_instructions", self.server_instructions),
            ("client_system_calls", self.client_system_calls),
            ("server_system_calls", self.server_system_calls),
        ]
    }
}

/// One count per operation.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct WorkCount {
    /// The median over the repetitions.
    pub per_operation: f64,
    /// Half of the distance between the smallest and the largest repetition, in the same unit; 0 for a single one.
    pub spread: f64,
}
