//! Fabricated runs: plans from the embedded profiles, records with chosen times, on disk or in memory.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "fabricated times are positive and small"
)]

use std::collections::BTreeMap;
use std::path::Path;

use sockrates_core::document::{self, Document};
use sockrates_core::files::write_whole;
use sockrates_core::fingerprint::Fingerprint;
use sockrates_core::histogram::Histogram;
use sockrates_core::lane::Lifecycle;
use sockrates_core::manifest::{RunManifest, RunStatus};
use sockrates_core::plan::{Cell, Placement, Plan, Target, TrialSpec};
use sockrates_core::profile;
use sockrates_core::record::{
    Isolation, LoadCost, Measurement, Metric, NetworkCost, Operations, Outcome, Slices,
    SocketFacts, Spans, TrialRecord, UpdateCounts,
};
use sockrates_core::scenario::{Scenario, Workload};
use sockrates_core::schedule::Load;
use sockrates_core::target::{ProcessUsage, ServerUsage};
use sockrates_report::Dataset;

pub(crate) const STARTED_MS: u64 = 1_790_000_000_000;
const SLICE_NS: u64 = 50_000_000;

/// Makes the dataset of a plan, each record by `record`.
pub(crate) fn dataset(plan: Plan, record: impl Fn(TrialSpec) -> TrialRecord) -> Dataset {
    let placement = Placement::split(&[0, 1]);
    let fresh = Target::Fresh {
        arguments: Vec::new(),
    };
    let records: Vec<_> = plan.trials(&placement, &fresh).map(record).collect();
    Dataset::new(manifest(plan, placement), records, Vec::new())
}

/// Writes a run's folder as the harness leaves it.
pub(crate) fn save(dataset: &Dataset, run: &Path) {
    write_whole(&run.join("run.json"), &document::to_json(&dataset.manifest)).unwrap();
    for record in &dataset.records {
        let path = run.join("trials").join(record.spec.file_name());
        write_whole(&path, &document::to_json(record)).unwrap();
    }
}

pub(crate) fn quick(blocks: u32) -> Plan {
    let profiles = profile::profiles();
    let quick = profiles
        .iter()
        .find(|profile| profile.name == "quick")
        .unwrap();
    Plan::new(
        "quick",
        &quick.resolve(&profile::scenarios()).unwrap(),
        blocks,
        42,
    )
}

/// Makes a plan of one closed echo scenario, of exactly these lanes.
pub(crate) fn echo_plan(lanes: &[&str], connections: &[u32], blocks: u32) -> Plan {
    let plan = planned_echo(lanes, connections, blocks);
    let cells = plan.cells.into_iter().filter(|cell| !cell.is_null());
    Plan::of_cells("tiny", cells.collect(), blocks, 7)
}

/// Makes a plan of one closed echo scenario as it would be measured: with the null lane.
pub(crate) fn planned_echo(lanes: &[&str], connections: &[u32], blocks: u32) -> Plan {
    let toml = format!(
        r#"
        name = "tiny"
        question = "How long?"
        analysis = "None."
        lanes = {lanes:?}
        connections = {connections:?}
        workload = {{ kind = "echo", payload = "binary", payload_bytes = 64 }}
        load = {{ model = "closed" }}
        timing = {{ warm_up_ms = 100, window_ms = 500 }}
        "#
    );
    Plan::new("tiny", &[Scenario::parse(&toml).unwrap()], blocks, 7)
}

fn manifest(plan: Plan, placement: Placement) -> RunManifest {
    RunManifest {
        schema_version: RunManifest::VERSION,
        run_id: "20260921T132640Z-6f8eec1".to_owned(),
        command: format!("sockrates bench {}", plan.name),
        started_unix_ms: STARTED_MS,
        finished_unix_ms: Some(STARTED_MS + 151_200),
        resumed_unix_ms: Vec::new(),
        status: RunStatus::Complete,
        fingerprint: Fingerprint {
            id: "3fa9c2d1".to_owned(),
            kernel: "Linux 6.12.8 x86_64".to_owned(),
            cpu_model: "AMD EPYC 7B13".to_owned(),
            cpus: 2,
            memory_gib: 23,
            hypervisor: "kvm".to_owned(),
            clocksource: "kvm-clock".to_owned(),
            network_settings: vec!["net.ipv4.tcp_congestion_control=cubic".to_owned()],
            descriptor_limit: 20_000,
            rustc: "rustc 1.92.0".to_owned(),
            build_profile: "release".to_owned(),
            version: "0.1.0".to_owned(),
        },
        placement,
        server_arguments: Vec::new(),
        running: None,
        calibrations: Vec::new(),
        plan,
    }
}

/// Makes a record whose window holds exactly these histograms, and as many verified operations as service times.
pub(crate) fn record(mut spec: TrialSpec, histograms: BTreeMap<Metric, Histogram>) -> TrialRecord {
    // Ended by count, not by the clock: fabricated times need not fill their window.
    spec.stop_after_operations.get_or_insert(u64::MAX);
    let timing = spec.cell.timing;
    let ns = |ms: u32| u64::from(ms) * 1_000_000;
    let start_ns = 1_000 + u64::from(spec.index) * 700_000_000 + u64::from(spec.attempt);
    let spans = Spans {
        start_ns,
        window_start_ns: start_ns + ns(timing.warm_up_ms),
        window_end_ns: start_ns + ns(timing.warm_up_ms + timing.window_ms),
        end_ns: start_ns + ns(timing.warm_up_ms + timing.window_ms) + 50_000,
    };
    let verified = histograms
        .get(&Metric::ServiceTime)
        .map_or(0, Histogram::count);
    let operations = |verified: u64| Operations {
        issued: verified,
        verified,
        ..Operations::default()
    };
    let cpu = |per_operation: u64| ProcessUsage {
        cpu_user_ns: verified * per_operation / 4,
        cpu_system_ns: verified * per_operation * 3 / 4,
        ..ProcessUsage::default()
    };
    let mut measurement = Measurement {
        pacing: None,
        isolation: Isolation::NetworkNamespace,
        socket: SocketFacts {
            nodelay: true,
            congestion_control: "cubic".to_owned(),
            source_addresses: 1,
        },
        spans,
        operations: operations(verified),
        warm_up: operations(verified / 3),
        connections_opened: 0,
        histograms,
        slices: Slices {
            width_ns: SLICE_NS,
            metric: Metric::ServiceTime,
            histograms: Vec::new(),
            condensed: Vec::new(),
        },
        updates: None,
        fanout: None,
        duplex: None,
        answers: None,
        silence: None,
        cost: None,
        window_cost: None,
        cpu_idle: None,
        surroundings: None,
        wire: None,
        client: cpu(6_000),
        server: Some(ServerUsage {
            schema_version: ServerUsage::VERSION,
            process: cpu(8_000),
            ..ServerUsage::default()
        }),
    };
    measurement.connections_opened = opened(&spec.cell, &measurement);
    TrialRecord {
        schema_version: TrialRecord::VERSION,
        started_unix_ms: STARTED_MS + u64::from(spec.index) * 700,
        spec,
        outcome: Outcome::Completed,
        measurement: Some(measurement),
        search: None,
    }
}

/// Returns how many connections a lane opens for what was measured.
fn opened(cell: &Cell, measured: &Measurement) -> u64 {
    let done = measured.operations.verified + measured.warm_up.verified;
    match cell.exchanges_per_connection() {
        Some(count) => done.div_ceil(count.into()),
        None => cell.connections.into(),
    }
}

/// Makes a histogram of `count` operations that all took `ns`.
pub(crate) fn constant(ns: u64, count: u64) -> Histogram {
    let mut histogram = Histogram::new();
    for _ in 0..count {
        histogram.record(ns);
    }
    histogram
}

/// Makes a record that could have been measured: log-normal bodies with a heavy tail, one operation in `thinning` kept.
pub(crate) fn realistic(spec: TrialSpec, thinning: u64) -> TrialRecord {
    let mut random = Random::new(spec.seed ^ (u64::from(spec.index) << 20));
    let shape = Shape::of(&spec, &mut random);
    let timing = spec.cell.timing;
    let total_ns = u64::from(timing.warm_up_ms + timing.window_ms) * 1_000_000;
    let mut histograms: BTreeMap<Metric, Histogram> = BTreeMap::new();
    let mut slices: Vec<Histogram> = Vec::new();
    slices.resize_with(
        usize::try_from(total_ns.div_ceil(SLICE_NS)).unwrap(),
        Histogram::new,
    );
    let warm_up_ns = u64::from(timing.warm_up_ms) * 1_000_000;
    let step_ns = (1e9 / shape.rate_per_second) * thinning as f64;
    let operations = (total_ns as f64 / step_ns) as u64;
    for index in 0..operations {
        let at_ns = (index as f64 * step_ns) as u64;
        let is_cold = at_ns < warm_up_ns / 2;
        let sample = shape.sample(&mut random, is_cold);
        let main = sample
            .iter()
            .find(|(metric, _)| *metric == shape.main)
            .unwrap()
            .1;
        slices[usize::try_from(at_ns / SLICE_NS).unwrap()].record(main);
        if at_ns >= warm_up_ns {
            for (metric, ns) in sample {
                histograms.entry(metric).or_default().record(ns);
            }
        }
    }
    let mut record = record(spec, histograms);
    let measurement = record.measurement.as_mut().unwrap();
    let timed: u64 = slices.iter().map(Histogram::count).sum();
    measurement.warm_up.verified = timed - measurement.operations.verified;
    measurement.warm_up.issued = measurement.warm_up.verified;
    measurement.connections_opened = opened(&record.spec.cell, measurement);
    measurement.slices.histograms = slices;
    measurement.slices.metric = shape.main;
    if let Workload::Updates { .. } = record.spec.cell.workload {
        measurement.updates = Some(UpdateCounts {
            requests: measurement.operations.verified,
            ..UpdateCounts::default()
        });
        measurement.cost = Some(LoadCost {
            wall_ns: 2_000_000_000,
            client_cpu_ns: None,
            server_cpu_ns: Some(8_000 * measurement.operations.verified),
            network: Some(NetworkCost {
                ip_bytes: 400 * measurement.operations.verified,
                ip_packets: 4 * measurement.operations.verified,
            }),
        });
    }
    if let Workload::Fanout { .. } | Workload::Duplex { .. } = record.spec.cell.workload {
        let done = measurement.operations.verified;
        measurement.window_cost = Some(LoadCost {
            wall_ns: 2_000_000_000,
            client_cpu_ns: Some(9_000 * done),
            server_cpu_ns: Some(8_000 * done),
            network: Some(NetworkCost {
                ip_bytes: 400 * done,
                ip_packets: 4 * done,
            }),
        });
    }
    if record.spec.cell.workload.listens() {
        // Whoever listens sends nothing that could take its time.
        let heard = [Metric::Staleness, Metric::Delivery, Metric::DeliverySpread];
        measurement
            .histograms
            .retain(|metric, _| heard.contains(metric));
    }
    record
}

/// What a lane's operations are like.
struct Shape {
    p50_ns: f64,
    rate_per_second: f64,
    is_fresh: bool,
    main: Metric,
    interval_ns: Option<f64>,
    /// What a chat or a game records besides, with its typical time.
    others: Vec<(Metric, f64)>,
}

fn others(cell: &Cell) -> Vec<(Metric, f64)> {
    let members = f64::from(cell.workload.room_members(cell.connections).unwrap_or(0));
    match cell.workload {
        Workload::Fanout { .. } => vec![
            (Metric::Delivery, 3e5 + 4e3 * members),
            (Metric::DeliverySpread, 8e3 * members),
        ],
        Workload::Duplex {
            ticks_per_second, ..
        } => vec![
            (Metric::InputToSnapshot, 6e8 / ticks_per_second),
            (Metric::Staleness, 2e5),
            (Metric::TickJitter, 3e4),
            (Metric::TickLag, 2e4),
        ],
        _ => Vec::new(),
    }
}

impl Shape {
    fn of(spec: &TrialSpec, random: &mut Random) -> Self {
        let lane = spec.cell.lane.to_string();
        let p50_ns = match lane.as_str() {
            "tcp-persistent" => 15e3,
            "websocket-persistent" => 18e3,
            "http1-persistent" | "http1-persistent@null" => 22e3,
            "http1-persistent@hyper" => 30e3,
            "tcp-per-request" => 60e3,
            "http1-per-request" => 75e3,
            _ => 110e3,
        };
        let trial = (random.normal() * 0.03).exp();
        let connections = f64::from(spec.cell.connections);
        let is_closed = spec.cell.load == Load::Closed {};
        let queueing = if is_closed {
            (connections / 1.9).max(1.0)
        } else {
            1.7
        };
        let offered = spec.cell.load.offered_per_second(spec.cell.connections);
        Self {
            p50_ns: p50_ns * trial * queueing,
            rate_per_second: offered
                .unwrap_or(connections * 1e9 / (p50_ns * trial * queueing * 1.08)),
            is_fresh: spec.cell.lane.lifecycle == Lifecycle::PerRequest,
            main: match spec.cell.load {
                Load::Closed {} => Metric::ServiceTime,
                _ => Metric::ResponseTime,
            },
            others: others(&spec.cell),
            interval_ns: match spec.cell.load {
                Load::Interval { interval_ms } => Some(interval_ms as f64 * 1e6),
                _ => None,
            },
        }
    }

    fn sample(&self, random: &mut Random, is_cold: bool) -> Vec<(Metric, u64)> {
        let tail = if random.uniform() < 0.004 {
            4.0 + 20.0 * random.uniform().powi(4)
        } else {
            1.0
        };
        let cold = if is_cold { 1.6 } else { 1.0 };
        let service_ns = self.p50_ns * (random.normal() * 0.16).exp() * tail * cold;
        let whole = |ns: f64| ns as u64;
        let mut sample = vec![(Metric::ServiceTime, whole(service_ns))];
        if self.is_fresh {
            let parts = [
                (Metric::Connect, 0.42),
                (Metric::Handshake, 0.16),
                (Metric::Exchange, 0.4),
            ];
            sample.extend(parts.map(|(metric, share)| {
                (
                    metric,
                    whole(service_ns * share * (random.normal() * 0.05).exp()),
                )
            }));
            sample.push((Metric::Close, whole(service_ns * 0.3)));
        }
        if self.main == Metric::ResponseTime {
            let lag_ns = 9e3 * (random.normal() * 0.5).exp();
            sample.push((Metric::ScheduleLag, whole(lag_ns)));
            sample.push((Metric::ConnectionWait, whole(400.0)));
            sample.push((Metric::ResponseTime, whole(lag_ns + service_ns)));
        }
        for (metric, ns) in &self.others {
            sample.push((*metric, whole(ns * random.uniform() * 2.0)));
        }
        if let Some(interval_ns) = self.interval_ns {
            for _ in 0..10 {
                sample.push((
                    Metric::Staleness,
                    whole(random.uniform() * interval_ns + service_ns),
                ));
            }
        }
        sample
    }
}

/// `SplitMix64`: enough for shapes, and no dependency.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(1e-12).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
