//! The manifest of a run (`run.json`): what was asked, on what, and whether it is all there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::fingerprint::Fingerprint;
use crate::plan::{Placement, Plan};

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
    /// Whether all planned trials were measured.
    pub status: RunStatus,
    /// What it ran on and with.
    pub fingerprint: Fingerprint,
    /// Where the processes of each trial ran.
    pub placement: Placement,
    /// The trials and their order.
    pub plan: Plan,
}

impl Document for RunManifest {
    const KIND: &'static str = "run-manifest";
    const VERSION: u32 = 1;
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
