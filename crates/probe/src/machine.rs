//! The fingerprint: what the machine is, as the kernel tells it.

use std::fs;
use std::hash::{DefaultHasher, Hasher};

use sockrates_core::fingerprint::Fingerprint;

use crate::{cpu, limits};

/// What only the build knows.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The compiler, `rustc -V`.
    pub rustc: &'static str,
    /// `release` or `debug`.
    pub profile: &'static str,
    /// The package's version.
    pub version: &'static str,
}

/// Takes the machine's fingerprint. Facts the kernel does not give are empty.
pub fn fingerprint(build: &Build) -> Fingerprint {
    let mut fingerprint = Fingerprint {
        id: String::new(),
        kernel: format!(
            "Linux {} {}",
            line("/proc/sys/kernel/osrelease"),
            std::env::consts::ARCH
        ),
        cpu_model: proc_field("/proc/cpuinfo", "model name"),
        cpus: cpu::usable().map_or(0, |all| u32::try_from(all.len()).expect("CPUs are few")),
        memory_gib: kibibytes(&proc_field("/proc/meminfo", "MemTotal")) >> 20,
        hypervisor: hypervisor(),
        clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        network_settings: network_settings(),
        descriptor_limit: limits::descriptors().unwrap_or(0),
        rustc: build.rustc.to_owned(),
        build_profile: build.profile.to_owned(),
        version: build.version.to_owned(),
    };
    fingerprint.id = digest(&fingerprint);
    fingerprint
}

/// `DefaultHasher::new()` has fixed keys; a new hash in a later compiler would only start a new history.
fn digest(fingerprint: &Fingerprint) -> String {
    let json = serde_json::to_vec(fingerprint).expect("strings and numbers");
    let mut hasher = DefaultHasher::new();
    hasher.write(&json);
    format!("{:012x}", hasher.finish() >> 16)
}

fn network_settings() -> Vec<String> {
    const NAMES: [&str; 8] = [
        "core/somaxconn",
        "ipv4/ip_local_port_range",
        "ipv4/tcp_autocorking",
        "ipv4/tcp_available_congestion_control",
        "ipv4/tcp_congestion_control",
        "ipv4/tcp_fastopen",
        "ipv4/tcp_slow_start_after_idle",
        "ipv4/tcp_tw_reuse",
    ];
    NAMES
        .iter()
        .map(|name| {
            format!(
                "{}={}",
                name.replace('/', "."),
                line(&format!("/proc/sys/net/{name}"))
            )
        })
        .collect()
}

fn hypervisor() -> String {
    let flags = proc_field("/proc/cpuinfo", "flags");
    if flags.split(' ').any(|flag| flag == "hypervisor") {
        "virtual machine".into()
    } else {
        "none".into()
    }
}

fn kibibytes(field: &str) -> u64 {
    field
        .strip_suffix(" kB")
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// Returns the value of the first `name : value` line.
fn proc_field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    found.unwrap_or_default().trim().to_owned()
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_stable_and_knows_the_machine() {
        let build = Build {
            rustc: "rustc",
            profile: "debug",
            version: "0",
        };
        let fingerprint = fingerprint(&build);
        assert!(
            fingerprint.cpus > 0 && fingerprint.memory_gib > 0 && !fingerprint.kernel.is_empty()
        );
        assert_eq!(fingerprint, super::fingerprint(&build));
        assert_ne!(
            fingerprint.id,
            super::fingerprint(&Build {
                rustc: "other",
                ..build
            })
            .id
        );
    }
}
