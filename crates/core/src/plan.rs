//! The plan: every trial of a run, in order. Pure and seeded: the same scenarios and seed give the same plan anywhere.

use std::net::SocketAddr;

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::lane::Lane;
use crate::scenario::{Scenario, Timing, Wait, Workload};
use crate::schedule::Load;
use crate::seed;

/// What is measured as one point: scenario x lane x load point.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Cell {
    /// Unique in a plan, and safe as a file name: `SCENARIO.LANE.cCONNECTIONS`.
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
    /// How long each trial lasts.
    pub timing: Timing,
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
    /// One row per block: indices into `cells`, each exactly once, in the order of measuring.
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
    /// The run's seed.
    pub seed: u64,
    /// What is measured.
    pub cell: Cell,
    /// Who is measured.
    pub target: Target,
    /// Where the processes run.
    pub placement: Placement,
    /// Ends the load after this many operations, if that comes before the window's end. Warm-up counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_operations: Option<u64>,
}

impl Document for TrialSpec {
    const KIND: &'static str = "trial-spec";
    const VERSION: u32 = 1;
}

/// Who is measured.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// A fresh `sockrates serve`, started for this trial alone.
    Fresh {},
    /// A server that is already running; nothing is known of its CPU time.
    Running {
        /// Where it serves HTTP and WebSocket.
        http: SocketAddr,
        /// Where it serves the floor, if it does.
        tcp: Option<SocketAddr>,
    },
}

/// The CPUs of the two ends. Both lists hold the same CPU on a machine with a single one.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
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
/// Descriptors a process needs besides its connections: standard streams, epoll, timers, listeners, libraries.
const SPARE_DESCRIPTORS: u64 = 64;

impl Plan {
    /// Lays out `blocks` repetitions of every cell, each block in its own random order.
    pub fn new(name: &str, scenarios: &[Scenario], blocks: u32, seed: u64) -> Self {
        let cells: Vec<_> = scenarios.iter().flat_map(cells).collect();
        let order = (0..u32::try_from(cells.len()).expect("cells are few")).collect::<Vec<_>>();
        let blocks = (0..u64::from(blocks))
            .map(|block| {
                let mut row = order.clone();
                row.shuffle(&mut seed::stream(seed, "order", block));
                row
            })
            .collect();
        Self {
            name: name.to_owned(),
            seed,
            cells,
            blocks,
        }
    }

    /// Returns the trials in the order of measuring.
    pub fn trials(&self, placement: &Placement) -> impl Iterator<Item = TrialSpec> {
        let rows = (0u32..)
            .zip(&self.blocks)
            .flat_map(|(block, row)| row.iter().map(move |cell| (block, *cell)));
        (0u32..).zip(rows).map(|(index, (block, cell))| TrialSpec {
            schema_version: TrialSpec::VERSION,
            index,
            block,
            seed: self.seed,
            cell: self.cells[cell as usize].clone(),
            target: Target::Fresh {},
            placement: placement.clone(),
            stop_after_operations: None,
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
    /// Returns how long one trial of this cell takes when nothing goes wrong.
    pub fn planned_seconds(&self) -> f64 {
        f64::from(self.timing.warm_up_ms + self.timing.window_ms) / 1e3 + OVERHEAD_SECONDS
    }

    /// Returns how many open files each of the two processes needs.
    pub fn descriptors_needed(&self) -> u64 {
        u64::from(self.connections) + SPARE_DESCRIPTORS
    }
}

impl TrialSpec {
    /// Returns the name of the trial's record file.
    pub fn file_name(&self) -> String {
        format!("{:04}-{}.b{}.json", self.index, self.cell.id, self.block)
    }
}

fn cells(scenario: &Scenario) -> impl Iterator<Item = Cell> {
    let points = scenario
        .connections
        .iter()
        .flat_map(|n| scenario.lanes.iter().map(move |lane| (*n, lane)));
    points.map(|(connections, lane)| Cell {
        id: format!("{}.{lane}.c{connections}", scenario.name),
        scenario: scenario.name.clone(),
        workload: scenario.workload.clone(),
        lane: lane.clone(),
        load: scenario.load.clone(),
        connections,
        wait: scenario.wait,
        timing: scenario.timing,
    })
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
    fn every_block_holds_each_cell_once_in_its_own_order() {
        let plan = quick();
        let all: BTreeSet<u32> = (0..u32::try_from(plan.cells.len()).unwrap()).collect();
        for row in &plan.blocks {
            assert_eq!(row.len(), all.len());
            assert_eq!(row.iter().copied().collect::<BTreeSet<_>>(), all);
        }
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
            .trials(&Placement::split(&[0, 1]))
            .map(|trial| trial.file_name())
            .collect();
        assert_eq!(names.len(), plan.trial_count());
        assert!(names[0].starts_with("0000-") && names[0].ends_with(".b0.json"));
        assert!(names.is_sorted());
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
}
