//! The manifest of a run (`run.json`): what was asked, on what, and whether it is all there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calibration::Calibration;
use crate::document::{self, Document};
use crate::fingerprint::Fingerprint;
use crate::plan::{Placement, Plan, Target};
use crate::record::MAX_UNIX_MS;

/// One run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RunManifest {
    /// Always [`RunManifest::VERSION`].
    pub schema_version: u32,
    /// UTC start and short revision; the folder's name.
    pub run_id: String,
    /// The command that made it.
    pub command: String,
    /// Wall-clock start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Wall-clock end, milliseconds since 1970; null while the run goes on or when it was killed.
    pub finished_unix_ms: Option<u64>,
    /// When it was taken up again after it had been interrupted or killed, each time, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_unix_ms: Vec<u64>,
    /// Whether all planned trials were measured.
    pub status: RunStatus,
    /// What it ran on and with.
    pub fingerprint: Fingerprint,
    /// Where the processes of each trial ran.
    pub placement: Placement,
    /// Further arguments of every target server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_arguments: Vec<String>,
    /// The server that was running already; absent where each trial had a fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Target>,
    /// What machine and instrument were like, when the run began and when it ended.
    #[serde(default)]
    pub calibrations: Vec<Calibration>,
    /// The trials and their order.
    pub plan: Plan,
}

impl Document for RunManifest {
    const KIND: &'static str = "run-manifest";
    const VERSION: u32 = 5;

    /// Version 2 adds calibrations, the server's arguments and the primary comparisons, version 3 kinds of workload,
    /// version 4 running servers, version 5 when a run was resumed; all may be absent.
    fn upgrade(from: u32, json: Value) -> Option<Value> {
        document::with_additions(from, from + 1, json)
    }

    fn check(&self) -> Result<(), String> {
        let times = std::iter::once(&self.started_unix_ms)
            .chain(&self.finished_unix_ms)
            .chain(&self.resumed_unix_ms);
        if times.max() > Some(&MAX_UNIX_MS) {
            return Err("it began or ended after the year 9999".to_owned());
        }
        self.plan.check()
    }
}

impl RunManifest {
    /// Returns the server that was measured.
    pub fn target(&self) -> Target {
        let fresh = || Target::Fresh {
            arguments: self.server_arguments.clone(),
        };
        self.running.clone().unwrap_or_else(fresh)
    }
}

/// Whether a run is all there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Every planned trial has a record.
    Complete,
    /// It goes on still, was interrupted, or was killed.
    Partial,
}
