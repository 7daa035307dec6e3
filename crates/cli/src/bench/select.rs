//! From a name on the command line to a plan.

use std::path::Path;

use sockrates_core::files::MAX_SCENARIO_BYTES;
use sockrates_core::lane::Lane;
use sockrates_core::plan::Plan;
use sockrates_core::profile::{self, DEFAULT_BLOCKS, Profile};
use sockrates_core::scenario::{Delivery, Scenario, Workload};
use sockrates_core::suggest;
use sockrates_loadgen::registry;

use crate::exit::{Exit, Failure, OrExit};
use crate::streams;

/// What was chosen on the command line.
pub(super) struct Choice<'a> {
    pub(super) name: &'a str,
    pub(super) lanes: &'a [String],
    pub(super) blocks: Option<u32>,
    pub(super) seed: u64,
    /// Whether the server has a tcp floor; without one, its lanes are left out.
    pub(super) has_floor: bool,
}

/// Makes the plan for a profile, a scenario or a scenario file.
pub(super) fn plan(choice: &Choice<'_>) -> Result<(Plan, Selected), Failure> {
    let mut selected = select(choice.name)?;
    selected.restrict(choice.lanes)?;
    if !choice.has_floor || selected.target()?.is_some() {
        selected.leave_out_what_servers_lack()?;
    }
    let Selected {
        name,
        blocks,
        scenarios,
        ..
    } = &selected;
    let blocks = choice.blocks.unwrap_or(*blocks);
    let plan = Plan::new(name, scenarios, blocks, choice.seed);
    for cell in &plan.cells {
        registry::find(&cell.lane, &cell.workload)
            .or_exit(Exit::Usage, format!("scenario {}", cell.scenario))?;
    }
    Ok((plan, selected))
}

/// Says whether servers of one's own must have the endpoints for a way.
const fn is_required(workload: &Workload, delivery: Delivery) -> bool {
    match workload {
        Workload::Fanout { .. } => matches!(delivery, Delivery::Push),
        Workload::Duplex { .. } => matches!(delivery, Delivery::Push | Delivery::ShortPoll),
        _ => true,
    }
}

/// Returns the lanes that a scenario measures, those of its ways included.
fn lanes_of(scenario: &Scenario) -> impl Iterator<Item = &Lane> {
    let of_ways = scenario.deliveries.iter().flat_map(|way| &way.lanes);
    scenario.lanes.iter().chain(of_ways)
}

/// A server of one's own has no port for it.
const FLOOR: &str = "tcp";

/// The scenarios that a name stands for.
pub(super) struct Selected {
    name: String,
    blocks: u32,
    is_profile: bool,
    scenarios: Vec<Scenario>,
    /// What is not measured of all that the name stands for, and why, in sentences.
    pub(super) left_out: Vec<String>,
}

impl Selected {
    /// Returns the server that the scenarios name, if they do.
    pub(super) fn target(&self) -> Result<Option<&str>, Failure> {
        let mut named = self
            .scenarios
            .iter()
            .map(|scenario| scenario.target.as_deref());
        let first = named.next().flatten();
        if named.all(|other| other == first) {
            return Ok(first);
        }
        Err(Failure::new(
            Exit::Usage,
            "the scenarios name different servers (`target`): measure them one by one",
        ))
    }
}

fn select(name: &str) -> Result<Selected, Failure> {
    let known = profile::scenarios();
    if let Some(profile) = profile::profiles()
        .into_iter()
        .find(|profile| profile.name == name)
    {
        return resolve(&profile, true, &known);
    }
    if let Some(scenario) = known.iter().find(|scenario| scenario.name == name) {
        return resolve(&Profile::of_scenario(scenario), false, &known);
    }
    let is_toml = Path::new(name).extension().is_some_and(|end| end == "toml");
    let path = Path::new(name);
    if name.contains('/') || is_toml || streams::is_standard(path) {
        return from_file(path);
    }
    let profiles = profile::profiles().into_iter().map(|profile| profile.name);
    let names: Vec<_> = profiles
        .chain(known.into_iter().map(|scenario| scenario.name))
        .collect();
    let near = suggest::hint(name, names.iter().map(String::as_str));
    let message = format!(
        "`{name}` is neither a profile nor a scenario{near}; known: {}; or give the path of a .toml file, or `-` for standard input",
        names.join(", ")
    );
    Err(Failure::new(Exit::Usage, message))
}

fn resolve(profile: &Profile, is_profile: bool, known: &[Scenario]) -> Result<Selected, Failure> {
    let scenarios = profile.resolve(known)?;
    Ok(Selected {
        name: profile.name.clone(),
        blocks: profile.blocks,
        is_profile,
        scenarios,
        left_out: Vec::new(),
    })
}

fn from_file(path: &Path) -> Result<Selected, Failure> {
    let reading = format!("read scenario {}", path.display());
    let bytes = streams::read(path, MAX_SCENARIO_BYTES).or_exit(Exit::Usage, &reading)?;
    let text = String::from_utf8(bytes).or_exit(Exit::Usage, &reading)?;
    let scenario = Scenario::parse(&text).or_exit(Exit::Usage, &reading)?;
    let name = scenario.name.clone();
    Ok(Selected {
        name,
        blocks: DEFAULT_BLOCKS,
        is_profile: false,
        scenarios: vec![scenario],
        left_out: Vec::new(),
    })
}

impl Selected {
    /// Keeps only the lanes asked for; scenarios without any of them fall away.
    fn restrict(&mut self, names: &[String]) -> Result<(), Failure> {
        if names.is_empty() {
            return Ok(());
        }
        let lanes = known_lanes(names)?;
        let before: Vec<Lane> = self.scenarios.iter().flat_map(lanes_of).cloned().collect();
        self.retain(|lane| lanes.contains(lane), |_, _| true);
        let gone = self.drop_empty();
        if self.scenarios.is_empty() {
            let message = format!(
                "--lanes: no scenario of `{}` measures any of these lanes; it has: {}",
                self.name,
                list(before.iter())
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let unmeasured: Vec<_> = lanes.iter().filter(|lane| !before.contains(lane)).collect();
        if !unmeasured.is_empty() {
            self.left_out.push(format!(
                "--lanes: no scenario of `{}` measures {}",
                self.name,
                list(unmeasured.into_iter())
            ));
        }
        if !gone.is_empty() {
            self.left_out.push(format!(
                "--lanes: left out, since they measure none of these lanes: {}",
                gone.join(", ")
            ));
        }
        Ok(())
    }

    /// Leaves out the floor, for which a server of one's own has no port, and of profiles the ways for which it may lack the
    /// endpoints; who names a scenario of such ways wants them.
    fn leave_out_what_servers_lack(&mut self) -> Result<(), Failure> {
        let is_floor = |lane: &&Lane| lane.transport == FLOOR;
        let floor: Vec<Lane> = self.scenarios.iter().flat_map(lanes_of).cloned().collect();
        let floor = list(floor.iter().filter(is_floor));
        let mut ways = Vec::new();
        let is_profile = self.is_profile;
        self.retain(
            |lane| lane.transport != FLOOR,
            |scenario, delivery| {
                let stays = !is_profile || is_required(&scenario.workload, delivery);
                if !stays {
                    ways.push(format!("{} by {}", scenario.name, delivery.name()));
                }
                stays
            },
        );
        let gone = self.drop_empty();
        if self.scenarios.is_empty() {
            return Err(Failure::new(
                Exit::Usage,
                "--lanes: a server of one's own need not have any of these lanes and ways, so that nothing is left to measure",
            ));
        }
        if !floor.is_empty() {
            self.left_out.push(format!(
                "left out, since a server of one's own has no port for it: {floor}"
            ));
        }
        if !ways.is_empty() {
            ways.dedup();
            self.left_out.push(format!(
                "left out, since a server of one's own may lack the endpoints (name the scenario to measure it all): {}",
                ways.join(", ")
            ));
        }
        if !gone.is_empty() {
            self.left_out.push(format!(
                "left out, since nothing is left of them: {}",
                gone.join(", ")
            ));
        }
        Ok(())
    }

    /// Keeps the lanes and ways that are wanted.
    fn retain(
        &mut self,
        wants_lane: impl Fn(&Lane) -> bool,
        mut wants_way: impl FnMut(&Scenario, Delivery) -> bool,
    ) {
        for scenario in &mut self.scenarios {
            let whole = scenario.clone();
            scenario.lanes.retain(|lane| wants_lane(lane));
            for way in &mut scenario.deliveries {
                way.lanes.retain(|lane| wants_lane(lane));
            }
            scenario
                .deliveries
                .retain(|way| !way.lanes.is_empty() && wants_way(&whole, way.delivery));
        }
    }

    /// Drops scenarios of which nothing is left, and returns their names.
    fn drop_empty(&mut self) -> Vec<String> {
        let is_empty = |scenario: &Scenario| lanes_of(scenario).next().is_none();
        let gone = self.scenarios.iter().filter(|scenario| is_empty(scenario));
        let gone = gone.map(|scenario| scenario.name.clone()).collect();
        self.scenarios.retain(|scenario| !is_empty(scenario));
        gone
    }
}

fn known_lanes(names: &[String]) -> Result<Vec<Lane>, Failure> {
    let known: Vec<_> = registry::lanes().map(|(known, _)| known).collect();
    let lane = |name: &String| {
        let lane = name.parse().ok().filter(|lane| known.contains(lane));
        lane.ok_or_else(|| {
            let known: Vec<_> = known.iter().map(ToString::to_string).collect();
            let near = suggest::hint(name, known.iter().map(String::as_str));
            let message = format!(
                "--lanes: unknown lane `{}`{near}; known: {}",
                name.escape_debug(),
                known.join(", ")
            );
            Failure::new(Exit::Usage, message)
        })
    };
    names.iter().map(lane).collect()
}

/// Names lanes, each once.
fn list<'a>(lanes: impl Iterator<Item = &'a Lane>) -> String {
    let mut names: Vec<_> = lanes.map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names.join(", ")
}
