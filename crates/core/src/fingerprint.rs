//! What a run ran on and with. Absolute times are comparable only between equal fingerprints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The facts that can change a measurement, as strings the kernel or the build gave.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Fingerprint {
    /// A short hash over all other fields.
    pub id: String,
    /// `uname -sr` and machine.
    pub kernel: String,
    /// The CPU's model name.
    pub cpu_model: String,
    /// How many CPUs this process may use.
    pub cpus: u32,
    /// The machine's memory, rounded down to whole GiB.
    pub memory_gib: u64,
    /// The hypervisor, or `none`.
    pub hypervisor: String,
    /// The kernel's clock source.
    pub clocksource: String,
    /// `net.ipv4.tcp_*` and `net.core.*` settings that touch a loopback exchange, `name=value`.
    pub network_settings: Vec<String>,
    /// The hard limit of open files per process.
    pub descriptor_limit: u64,
    /// The compiler.
    pub rustc: String,
    /// `release` or `debug`.
    pub build_profile: String,
    /// sockrates' version.
    pub version: String,
}

impl Fingerprint {
    /// Lists the facts about machine and build in which two fingerprints differ: name, this one's value, the other's.
    /// The id follows from the others, and a version is what is compared, not where.
    pub fn environment_differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let facts = |print: &Self| {
            [
                ("kernel", print.kernel.clone()),
                ("cpu_model", print.cpu_model.clone()),
                ("cpus", print.cpus.to_string()),
                ("memory_gib", print.memory_gib.to_string()),
                ("hypervisor", print.hypervisor.clone()),
                ("clocksource", print.clocksource.clone()),
                ("network_settings", print.network_settings.join(" ")),
                ("descriptor_limit", print.descriptor_limit.to_string()),
                ("rustc", print.rustc.clone()),
                ("build_profile", print.build_profile.clone()),
            ]
        };
        facts(self)
            .into_iter()
            .zip(facts(other))
            .filter(|((_, mine), (_, theirs))| mine != theirs)
            .map(|((name, mine), (_, theirs))| (name, mine, theirs))
            .collect()
    }
}
