//! The plan: every trial of a run, in order. Pure and seeded: the same scenarios and seed give the same plan anywhere.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cpu_idle::CpuIdle;
use crate::document::{self, Document};
use crate::harmless;
use crate::lane::Lane;
use crate::order;
use crate::payload::PayloadKind;
use crate::record::Metric;
use crate::scenario::{Delivery, Scenario, Timing, Wait, Workload};
use crate::schedule::{self, Arrival, Load};

/// What is measured as one point: scenario x lane x load point.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Cell {
    /// Unique in a plan, and safe as a file name: `SCENARIO.LANE.cCONNECTIONS`, with the delivery before the connections
    /// where a scenario has several: `.short-poll-100ms` or `.push`. What CPUs do when idle comes last before the
    /// connections, where a scenario measures both and it is not the one named first: `.as-is`.
    pub id: String,
    /// The scenario's name.
    pub scenario: String,
    /// What the clients do.
    pub workload: Workload,
    /// Over which lane.
    pub lane: Lane,
    /// When they do it.
    pub load: Load,
    /// How many connections (slots, in per-request lanes) are used.
    pub connections: u32,
    /// How the client waits for the network.
    pub wait: Wait,
    /// What CPUs do while there is nothing to do.
    #[serde(default)]
    pub cpu_idle: CpuIdle,
    /// How long each trial lasts.
    pub timing: Timing,
    /// Exactly so many operations, then a trial ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<u32>,
}

/// A comparison that the run is for, named before anything is measured.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Contrast {
    /// The id of the cell that is compared.
    pub cell: String,
    /// The id of the cell it is compared with.
    pub reference: String,
    /// The number that is compared, by its name in summaries.
    pub metric: String,
}

/// The order of a whole run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Plan {
    /// What was asked for: a profile's or scenario's name.
    pub name: String,
    /// Draws the order, the arrivals and the payloads. Below 2^53, so that any JSON reader keeps it.
    pub seed: u64,
    /// All cells.
    pub cells: Vec<Cell>,
    /// The few comparisons that the run is for; all others are descriptive.
    #[serde(default)]
    pub primary: Vec<Contrast>,
    /// One row per block: indices into `cells`, each at most once, in the order of measuring. What is only counted is
    /// missing in later blocks.
    pub blocks: Vec<Vec<u32>>,
}

/// Everything one trial needs: `sockrates trial` takes it as JSON on stdin.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrialSpec {
    /// Always [`TrialSpec::VERSION`].
    pub schema_version: u32,
    /// Where the trial stands in its run, from 0 on.
    pub index: u32,
    /// The block it belongs to, from 0 on.
    pub block: u32,
    /// How often it was tried before, because something outside disturbed it.
    #[serde(default)]
    pub attempt: u32,
    /// The run's seed.
    pub seed: u64,
    /// What is measured.
    pub cell: Cell,
    /// The server that is measured.
    pub target: Target,
    /// Where the processes run.
    pub placement: Placement,
    /// Ends the load after this many operations, if that comes before the window's end. Warm-up counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_operations: Option<u64>,
}

impl Document for TrialSpec {
    const KIND: &'static str = "trial-spec";
    const VERSION: u32 = 5;

    /// Version 2 adds attempts, arguments for the server and counted operations, version 3 topics and kinds of
    /// workload, version 4 ramps, names of servers and custom workloads, version 5 what CPUs do when idle; all may be
    /// absent.
    fn upgrade(from: u32, json: Value) -> Option<Value> {
        document::with_additions(from, from + 1, json)
    }

    fn check(&self) -> Result<(), String> {
        self.cell.check().map_err(|error| format!("cell: {error}"))
    }
}

/// The server that is measured.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// A fresh `sockrates serve`, started for this trial alone.
    Fresh {
        /// Further arguments for it, to measure it with a known fault or other limits.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arguments: Vec<String>,
    },
    /// A server that is already running; nothing is known of its CPU time.
    Running {
        /// Where it serves HTTP and WebSocket.
        http: SocketAddr,
        /// Where it serves the floor, if it does.
        tcp: Option<SocketAddr>,
        /// What it is called in requests; absent, its address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
}

/// The CPUs of the two ends. Both lists hold the same CPU on a machine with a single one.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// The server's CPUs, one worker thread each.
    pub server_cpus: Vec<u32>,
    /// The client's CPUs, one worker thread each.
    pub client_cpus: Vec<u32>,
}

impl Placement {
    /// Splits the usable CPUs: the first half (rounded down) to the client, the rest to the server. With one CPU both
    /// ends share it, and the records say so.
    pub fn split(cpus: &[u32]) -> Self {
        match cpus.len() {
            0 | 1 => Self {
                server_cpus: cpus.to_vec(),
                client_cpus: cpus.to_vec(),
            },
            n => Self {
                client_cpus: cpus[..n / 2].to_vec(),
                server_cpus: cpus[n / 2..].to_vec(),
            },
        }
    }

    /// Says whether the two ends contend for a CPU.
    pub fn is_shared(&self) -> bool {
        self.server_cpus
            .iter()
            .any(|cpu| self.client_cpus.contains(cpu))
    }
}

/// What starting, connecting, draining and stopping take besides the planned times, as seen on a 2-core virtual machine.
const OVERHEAD_SECONDS: f64 = 0.1;
/// What one counted operation takes in the slowest lane, generously.
const COUNTED_SECONDS: f64 = 200e-6;
/// How many probes a search for capacity takes, about.
const PROBES_PLANNED: f64 = 16.0;
/// Descriptors a process needs besides its connections: standard streams, epoll, timers, listeners, libraries.
const SPARE_DESCRIPTORS: u64 = 64;

impl Plan {
    /// Lays out `blocks` repetitions of every cell, each block in its own order (a Williams square), and names the
    /// comparisons that the run is for. Scenarios that need fewer blocks are left out of the later ones.
    pub fn new(name: &str, scenarios: &[Scenario], blocks: u32, seed: u64) -> Self {
        let (limits, cells): (Vec<_>, Vec<_>) = scenarios
            .iter()
            .flat_map(|scenario| cells(scenario).map(|cell| (scenario.blocks, cell)))
            .unzip();
        let mut plan = Self::of_cells(name, cells, blocks, seed);
        for (block, row) in (0..).zip(&mut plan.blocks) {
            row.retain(|cell| limits[*cell as usize].is_none_or(|limit| block < limit));
        }
        plan
    }

    /// Lays out repetitions of these very cells.
    pub fn of_cells(name: &str, cells: Vec<Cell>, blocks: u32, seed: u64) -> Self {
        let items = u32::try_from(cells.len()).expect("cells are few");
        Self {
            name: name.to_owned(),
            seed,
            primary: primary(&cells),
            blocks: order::williams(items, blocks, seed),
            cells,
        }
    }

    /// Returns the trials against this server, or fresh ones like it, in the order of measuring.
    pub fn trials(
        &self,
        placement: &Placement,
        target: &Target,
    ) -> impl Iterator<Item = TrialSpec> {
        let rows = (0u32..)
            .zip(&self.blocks)
            .flat_map(|(block, row)| row.iter().map(move |cell| (block, *cell)));
        (0u32..).zip(rows).map(|(index, (block, cell))| TrialSpec {
            schema_version: TrialSpec::VERSION,
            index,
            block,
            attempt: 0,
            seed: self.seed,
            cell: self.cells[cell as usize].clone(),
            target: target.clone(),
            placement: placement.clone(),
            stop_after_operations: self.cells[cell as usize].operations.map(u64::from),
        })
    }

    /// Returns how many trials there are.
    pub fn trial_count(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// Returns how long all trials take when nothing goes wrong.
    pub fn planned_seconds(&self) -> f64 {
        self.blocks
            .iter()
            .flatten()
            .map(|cell| self.cells[*cell as usize].planned_seconds())
            .sum()
    }

    /// Says what in a plan from a file cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        for cell in &self.cells {
            cell.check()
                .map_err(|error| format!("cell {:.100}: {error}", cell.id))?;
        }
        let is_cell = |index: &u32| (*index as usize) < self.cells.len();
        if self.blocks.iter().flatten().all(is_cell) {
            Ok(())
        } else {
            Err("`plan.blocks` name cells that there are not".to_owned())
        }
    }

    /// Returns how many open files each of the two processes of a trial needs.
    pub fn descriptors_needed(&self) -> u64 {
        self.cells
            .iter()
            .map(Cell::descriptors_needed)
            .max()
            .unwrap_or(0)
    }
}

impl Cell {
    /// Makes a cell that belongs to no scenario: a closed loop of one connection that echoes binary messages.
    pub fn echo(lane: Lane, payload_bytes: u32, timing: Timing) -> Self {
        Self {
            id: "echo".to_owned(),
            scenario: "echo".to_owned(),
            workload: Workload::Echo {
                payload: PayloadKind::Binary,
                payload_bytes,
                exchanges_per_connection: None,
            },
            lane,
            load: Load::Closed {},
            connections: 1,
            wait: Wait::Blocking,
            cpu_idle: CpuIdle::AsIs,
            timing,
            operations: None,
        }
    }

    /// Returns how long one trial of this cell takes when nothing goes wrong.
    pub fn planned_seconds(&self) -> f64 {
        let mut load = f64::from(self.timing.warm_up_ms + self.timing.window_ms) / 1e3;
        let is_game = matches!(self.workload, Workload::Duplex { .. });
        if self.workload.listens() || is_game && !self.draws_twice() {
            // Whoever listens does not know that nothing more will come.
            load += f64::from(self.timing.drain_ms) / 1e3;
        }
        match (&self.load, self.operations) {
            (Load::Capacity { .. }, _) => PROBES_PLANNED * (load + OVERHEAD_SECONDS),
            (_, Some(count)) => load.min(f64::from(count) * COUNTED_SECONDS) + OVERHEAD_SECONDS,
            _ => load + OVERHEAD_SECONDS,
        }
    }

    /// Returns the time it is about: what a user of such a client would wait for.
    pub fn main_metric(&self) -> Metric {
        match (&self.workload, &self.load) {
            (Workload::Updates { .. }, _) => Metric::Staleness,
            (Workload::Fanout { .. }, _) => Metric::Delivery,
            (Workload::Duplex { .. }, _) => Metric::InputToSnapshot,
            (Workload::Custom(custom), _) if custom.listens() => Metric::InterArrival,
            (_, Load::Closed {}) => Metric::ServiceTime,
            _ => Metric::ResponseTime,
        }
    }

    /// Says whether every operation pays for a connection of its own, or for a share of one, so that opening is part
    /// of what is measured.
    pub const fn opens_while_measured(&self) -> bool {
        self.exchanges_per_connection().is_some()
    }

    /// Returns after how many exchanges a connection is closed; `None` for never.
    pub const fn exchanges_per_connection(&self) -> Option<u32> {
        self.workload.exchanges_per_connection(self.lane.lifecycle)
    }

    /// Says whether it is a closed echo, or exchange of one's own, that neither counts its operations nor limits its
    /// connections' lives, with CPUs idle as its scenario wants it first of all.
    pub fn is_plain_echo(&self) -> bool {
        self.exchanges_freely()
            && self.load == Load::Closed {}
            && self.operations.is_none()
            && !self.is_idle_factor()
    }

    /// Says whether it is measured only to show what idle CPUs change: beside the same cell in the state of CPUs that its
    /// scenario names first.
    pub fn is_idle_factor(&self) -> bool {
        let end = format!(".{}.c{}", self.cpu_idle, self.connections);
        self.id.ends_with(&end)
    }

    /// Says whether it sends and waits for replies, over connections that live as their lane says.
    fn exchanges_freely(&self) -> bool {
        exchanges_freely(&self.workload)
    }

    /// Says whether the cell is the second copy of another lane, which shows what the run's noise does.
    pub fn is_null(&self) -> bool {
        self.lane.is_null()
    }

    /// Draws when the client is due to begin something within `[0, length_ns)`; empty where it offers no load. Over HTTP a
    /// player posts and polls in turn, each at a random phase of its own.
    pub fn arrivals(&self, length_ns: u64, seed: u64, block: u32) -> Vec<Arrival> {
        let mut all = Vec::new();
        self.draw(length_ns, seed, block, &mut |arrival| all.push(arrival));
        all.sort_by_key(|arrival| arrival.at_ns);
        all
    }

    /// Draws when members of rooms ask for what is new within `[0, length_ns)`; empty where they do not ask at intervals.
    pub fn polls(&self, length_ns: u64, seed: u64, block: u32) -> Vec<Arrival> {
        match self.workload {
            Workload::Fanout {
                delivery: Some(Delivery::ShortPoll),
                poll_interval_ms: Some(interval_ms),
                ..
            } => {
                let load = Load::Interval { interval_ms };
                schedule::arrivals(&load, self.connections, length_ns, !seed, block)
            }
            _ => Vec::new(),
        }
    }

    /// Draws as [`Self::arrivals`], in any order and keeping none; returns how many there are and how many are due before
    /// an instant.
    pub(crate) fn count_arrivals(
        &self,
        length_ns: u64,
        before_ns: u64,
        seed: u64,
        block: u32,
    ) -> (u64, u64) {
        let (mut all, mut early) = (0, 0);
        self.draw(length_ns, seed, block, &mut |arrival| {
            all += 1;
            early += u64::from(arrival.at_ns < before_ns);
        });
        (all, early)
    }

    /// Returns about how many arrivals there are.
    pub(crate) fn arrivals_expected(&self, length_ns: u64) -> f64 {
        let steady_ns = length_ns as f64 - f64::from(self.timing.ramp_ms) * 0.5e6;
        let rate = self.load.offered_per_second(self.connections);
        let draws = if self.draws_twice() { 2.0 } else { 1.0 };
        rate.unwrap_or(0.0) * draws * steady_ns.max(0.0) / 1e9
    }

    fn draws_twice(&self) -> bool {
        matches!(self.workload, Workload::Duplex { .. })
            && self.workload.delivery(&self.lane) == Some(Delivery::ShortPoll)
    }

    fn draw(&self, length_ns: u64, seed: u64, block: u32, take: &mut impl FnMut(Arrival)) {
        let ramp_ns = u64::from(self.timing.ramp_ms) * 1_000_000;
        let steady_ns = length_ns.saturating_sub(ramp_ns / 2);
        let mut later = |arrival: Arrival| {
            take(Arrival {
                at_ns: schedule::ramped(arrival.at_ns, ramp_ns),
                ..arrival
            });
        };
        let mut draw = |seed| {
            let connections = self.connections;
            schedule::draw(&self.load, connections, steady_ns, seed, block, &mut later);
        };
        draw(seed);
        if self.draws_twice() {
            draw(!seed);
        }
    }

    /// Returns how many operations each arrival of the load stands for: a message in a room is one copy per member.
    pub fn operations_per_arrival(&self) -> u64 {
        let members = self.workload.room_members(self.connections);
        u64::from(members.unwrap_or(1))
    }

    /// Returns how many open files each of the two processes needs.
    pub fn descriptors_needed(&self) -> u64 {
        let each = 1 + u64::from(self.workload.speaks_apart(&self.lane));
        u64::from(self.connections) * each + SPARE_DESCRIPTORS
    }
}

impl TrialSpec {
    /// Makes a trial that belongs to no run, against a fresh server.
    pub fn alone(cell: Cell, placement: Placement) -> Self {
        Self {
            schema_version: Self::VERSION,
            index: 0,
            block: 0,
            attempt: 0,
            seed: 1,
            stop_after_operations: cell.operations.map(u64::from),
            cell,
            target: Target::Fresh {
                arguments: Vec::new(),
            },
            placement,
        }
    }

    /// Returns the name of the trial's record file.
    pub fn file_name(&self) -> String {
        let attempt = match self.attempt {
            0 => String::new(),
            again => format!(".a{again}"),
        };
        format!(
            "{:04}-{}.b{}{attempt}.json",
            self.index,
            harmless::slug(&self.cell.id),
            self.block
        )
    }
}

/// The lane that is measured twice, so that every run shows how far two equal lanes come out apart.
const TWICE: &str = "http1-persistent";

/// Returns a scenario's cells: its lanes at each number of connections, and at the smallest the null lane.
fn cells(scenario: &Scenario) -> impl Iterator<Item = Cell> {
    let has_several = !scenario.deliveries.is_empty();
    let variants = scenario.variants().into_iter();
    variants.flat_map(move |variant| cells_of(&variant, has_several))
}

fn cells_of(scenario: &Scenario, names_delivery: bool) -> Vec<Cell> {
    let smallest = scenario.connections.iter().min().copied();
    let lane: Lane = TWICE.parse().expect("a constant lane parses");
    let null = lane.null();
    let has_null = scenario.lanes.contains(&lane)
        && !scenario.lanes.contains(&null)
        && scenario.operations.is_none()
        && !matches!(scenario.load, Load::Capacity { .. })
        && exchanges_freely(&scenario.workload);
    let points = scenario.connections.iter().flat_map(|count| {
        let null = (has_null && Some(*count) == smallest).then_some(&null);
        let states = scenario.cpu_idle_of(*count);
        states.iter().flat_map(move |cpu_idle| {
            let is_named = *cpu_idle != states[0];
            // What a state beside the first changes is judged by its own lanes.
            let null = null.filter(|_| !is_named);
            let lanes = scenario.lanes.iter().chain(null);
            lanes.map(move |lane| (*count, *cpu_idle, is_named, lane.clone()))
        })
    });
    let delivery = match (&scenario.workload, &scenario.load) {
        _ if !names_delivery => String::new(),
        (Workload::Updates { delivery, .. }, Load::Interval { interval_ms }) => {
            format!(".{}-{interval_ms}ms", delivery.name())
        }
        (
            Workload::Fanout {
                delivery: Some(delivery),
                poll_interval_ms: Some(interval_ms),
                ..
            },
            _,
        ) => format!(".{}-{interval_ms}ms", delivery.name()),
        (
            Workload::Updates { delivery, .. }
            | Workload::Fanout {
                delivery: Some(delivery),
                ..
            }
            | Workload::Duplex {
                delivery: Some(delivery),
                ..
            },
            _,
        ) => format!(".{}", delivery.name()),
        _ => String::new(),
    };
    let state = |cpu_idle: CpuIdle, is_named| {
        if is_named {
            format!(".{cpu_idle}")
        } else {
            String::new()
        }
    };
    let cell = |(connections, cpu_idle, is_named, lane): (u32, CpuIdle, bool, Lane)| Cell {
        id: format!(
            "{}.{lane}{delivery}{}.c{connections}",
            scenario.name,
            state(cpu_idle, is_named)
        ),
        scenario: scenario.name.clone(),
        workload: scenario.workload.clone(),
        lane,
        load: scenario.load.clone(),
        connections,
        wait: scenario.wait,
        cpu_idle,
        timing: scenario.timing,
        operations: scenario.operations,
    };
    points.map(cell).collect()
}

fn exchanges_freely(workload: &Workload) -> bool {
    match workload {
        Workload::Echo {
            exchanges_per_connection,
            ..
        } => exchanges_per_connection.is_none(),
        Workload::Custom(custom) => !custom.listens(),
        _ => false,
    }
}

/// The questions every run is asked first: what does a connection per request cost, over HTTP/1.1 and over WebSocket;
/// and what does the protocol cost once the connection is kept?
const PRIMARY: [(&str, &str); 3] = [
    ("http1-per-request", "http1-persistent"),
    ("websocket-per-request", "websocket-persistent"),
    ("http1-persistent", "websocket-persistent"),
];
/// The number they are asked of.
pub const PRIMARY_METRIC: &str = "service_time_p50";

/// Names the primary contrasts: at the closed echo with the fewest connections, where nothing queues. Few on purpose:
/// each further one makes all of them harder to tell from noise.
fn primary(cells: &[Cell]) -> Vec<Contrast> {
    let Some(leading) = cells
        .iter()
        .filter(|cell| cell.is_plain_echo())
        .min_by_key(|cell| cell.connections)
    else {
        return Vec::new();
    };
    let id = |lane: &str| {
        let is_it = |cell: &&Cell| {
            cell.scenario == leading.scenario
                && cell.connections == leading.connections
                && cell.cpu_idle == leading.cpu_idle
                && cell.lane.to_string() == lane
        };
        cells.iter().find(is_it).map(|cell| cell.id.clone())
    };
    PRIMARY
        .iter()
        .filter_map(|(lane, reference)| {
            Some(Contrast {
                cell: id(lane)?,
                reference: id(reference)?,
                metric: PRIMARY_METRIC.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::profile;

    fn quick() -> Plan {
        let profile = profile::profiles()
            .into_iter()
            .find(|profile| profile.name == "quick")
            .unwrap();
        Plan::new(
            "quick",
            &profile.resolve(&profile::scenarios()).unwrap(),
            profile.blocks,
            42,
        )
    }

    #[test]
    fn every_block_holds_its_cells_once_in_its_own_order_and_later_ones_lack_what_needs_fewer() {
        let plan = quick();
        let profiles = profile::profiles();
        let quick = profiles.iter().find(|profile| profile.name == "quick");
        let scenarios = quick.unwrap().resolve(&profile::scenarios()).unwrap();
        let limit = |index: &u32| {
            let cell = &plan.cells[*index as usize];
            let own = scenarios.iter().find(|one| one.name == cell.scenario);
            own.unwrap().blocks.unwrap_or(u32::MAX)
        };
        let all: BTreeSet<u32> = (0..u32::try_from(plan.cells.len()).unwrap()).collect();
        for (block, row) in (0..).zip(&plan.blocks) {
            let expected: BTreeSet<u32> = all
                .iter()
                .copied()
                .filter(|cell| block < limit(cell))
                .collect();
            assert_eq!(row.len(), expected.len());
            assert_eq!(row.iter().copied().collect::<BTreeSet<_>>(), expected);
        }
        assert!(plan.blocks[0].len() > plan.blocks[7].len());
        assert_eq!(
            plan.blocks.iter().collect::<BTreeSet<_>>().len(),
            plan.blocks.len()
        );
    }

    /// Changes whenever the meaning of a seed changes: then earlier runs cannot be repeated, and that must be wanted.
    #[test]
    fn the_plan_for_a_seed_is_fixed() {
        insta::assert_snapshot!(
            quick()
                .blocks
                .iter()
                .map(|row| format!("{row:?}"))
                .collect::<Vec<_>>()
                .join("\n")
        );
    }

    #[test]
    fn cell_ids_are_unique_and_trials_are_numbered() {
        let plan = quick();
        assert_eq!(
            plan.cells
                .iter()
                .map(|cell| &cell.id)
                .collect::<BTreeSet<_>>()
                .len(),
            plan.cells.len()
        );
        let names: Vec<_> = plan
            .trials(
                &Placement::split(&[0, 1]),
                &Target::Fresh {
                    arguments: Vec::new(),
                },
            )
            .map(|trial| trial.file_name())
            .collect();
        assert_eq!(names.len(), plan.trial_count());
        assert!(names[0].starts_with("0000-") && names[0].ends_with(".b0.json"));
        assert!(names.is_sorted());
    }

    #[test]
    fn a_second_copy_of_a_lane_shows_the_noise_of_every_run() {
        let plan = quick();
        let nulls: Vec<_> = plan.cells.iter().filter(|cell| cell.is_null()).collect();
        assert!(
            nulls
                .iter()
                .any(|cell| cell.id == "echo-closed.http1-persistent@null.c1")
        );
        for null in nulls {
            let twin = null.id.replace("@null", "");
            assert!(plan.cells.iter().any(|cell| cell.id == twin));
        }
    }

    #[test]
    fn three_comparisons_are_named_beforehand() {
        let names: Vec<_> = quick()
            .primary
            .into_iter()
            .map(|contrast| format!("{} : {}", contrast.cell, contrast.reference))
            .collect();
        assert_eq!(
            names,
            [
                "echo-closed.http1-per-request.c1 : echo-closed.http1-persistent.c1",
                "echo-closed.websocket-per-request.c1 : echo-closed.websocket-persistent.c1",
                "echo-closed.http1-persistent.c1 : echo-closed.websocket-persistent.c1",
            ]
        );
    }

    #[test]
    fn a_scenario_can_measure_halting_cpus_and_awake_ones_side_by_side() {
        let all = profile::scenarios();
        let closed = all.iter().find(|one| one.name == "echo-closed").unwrap();
        let both = Scenario {
            lanes: vec!["http1-persistent".parse().unwrap()],
            connections: vec![1, 32],
            cpu_idle: vec![CpuIdle::Awake, CpuIdle::AsIs],
            ..closed.clone()
        };
        let plan = Plan::new("both", std::slice::from_ref(&both), 1, 1);
        let cells: Vec<_> = plan
            .cells
            .iter()
            .map(|cell| (cell.id.as_str(), cell.cpu_idle))
            .collect();
        assert_eq!(
            cells,
            [
                ("echo-closed.http1-persistent.c1", CpuIdle::Awake),
                ("echo-closed.http1-persistent@null.c1", CpuIdle::Awake),
                ("echo-closed.http1-persistent.as-is.c1", CpuIdle::AsIs),
                ("echo-closed.http1-persistent.c32", CpuIdle::AsIs),
            ]
        );
        let again = Scenario::parse(&both.to_toml()).unwrap();
        assert_eq!(again, both);
    }

    #[test]
    fn every_profile_keeps_cpus_awake_where_few_connections_leave_them_idle() {
        for profile in profile::profiles() {
            let scenarios = profile.resolve(&profile::scenarios()).unwrap();
            let plan = Plan::new(&profile.name, &scenarios, profile.blocks, 1);
            let leaves_idle = |cell: &&Cell| {
                cell.load == Load::Closed {} && cell.connections == 1 && !cell.id.contains(".as-is")
            };
            for cell in plan.cells.iter().filter(leaves_idle) {
                assert_eq!(cell.cpu_idle, CpuIdle::Awake, "{}", cell.id);
            }
        }
    }

    #[test]
    fn cpus_are_split_and_a_single_one_is_shared() {
        let split = Placement::split(&[0, 1]);
        assert_eq!(
            (split.client_cpus.as_slice(), split.server_cpus.as_slice()),
            (&[0][..], &[1][..])
        );
        assert!(!split.is_shared());
        assert!(Placement::split(&[3]).is_shared());
        assert_eq!(Placement::split(&[0, 1, 2]).server_cpus, [1, 2]);
    }

    #[test]
    fn a_ramp_raises_the_rate_in_a_straight_line() {
        let timing = Timing {
            warm_up_ms: 2000,
            ramp_ms: 2000,
            ..Timing::default()
        };
        let rate_per_second = 1000.0;
        for load in [
            Load::OpenConstant { rate_per_second },
            Load::OpenPoisson { rate_per_second },
        ] {
            let cell = Cell {
                load,
                ..Cell::echo("http1-persistent".parse().unwrap(), 64, timing)
            };
            let second = 1_000_000_000;
            let all = cell.arrivals(4 * second, 1, 0);
            assert!(all.is_sorted_by_key(|arrival| arrival.at_ns));
            assert!(all.iter().all(|arrival| arrival.at_ns < 4 * second));
            let until = |ns: u64| all.iter().filter(|arrival| arrival.at_ns < ns).count();
            // A quarter of the ramp's 1000 by its middle, all of them by its end, and then 1000 a second.
            for (ns, expected) in [(second, 250u32), (2 * second, 1000), (4 * second, 3000)] {
                let expected = f64::from(expected);
                let deviation = (until(ns) as f64 - expected).abs();
                // Five standard deviations of a Poisson count.
                assert!(deviation <= 5.0 * expected.sqrt(), "{ns}: {}", until(ns));
            }
        }
    }

    #[test]
    fn a_player_over_http_posts_and_polls_at_phases_of_their_own() {
        let timing = Timing::default();
        let game = |lane: &str| Cell {
            workload: Workload::Duplex {
                ticks_per_second: 20.0,
                snapshot_bytes: 40,
                input_bytes: 10,
                delivery: None,
            },
            load: Load::PerClient {
                rate_per_second: 20.0,
            },
            connections: 50,
            ..Cell::echo(lane.parse().unwrap(), 64, timing)
        };
        let second = 1_000_000_000;
        assert_eq!(
            game("websocket-persistent").arrivals(second, 1, 0).len(),
            50 * 20
        );
        let all = game("http1-persistent").arrivals(second, 1, 0);
        assert_eq!(all.len(), 50 * 40);
        assert!(all.is_sorted_by_key(|arrival| arrival.at_ns));
        let mut gaps = Vec::new();
        for slot in 0..50 {
            let own = all.iter().filter(|arrival| arrival.slot == Some(slot));
            let own: Vec<_> = own.map(|arrival| arrival.at_ns).collect();
            let distances: Vec<_> = own.windows(2).map(|pair| pair[1] - pair[0]).collect();
            for pair in distances.windows(2) {
                assert!((pair[0] + pair[1]).abs_diff(50_000_000) <= 2);
            }
            gaps.push(distances[0] as f64 / 5e7);
        }
        // Even over the interval: the mean of 50 is within four standard errors of a half.
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((mean - 0.5).abs() < 4.0 * 0.29 / 50f64.sqrt(), "{mean}");
    }
}
