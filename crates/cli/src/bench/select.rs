//! From a name on the command line to a plan.

use std::path::Path;

use sockrates_core::files::{MAX_SCENARIO_BYTES, read_bounded};
use sockrates_core::lane::Lane;
use sockrates_core::plan::Plan;
use sockrates_core::profile::{self, DEFAULT_BLOCKS, Profile};
use sockrates_core::scenario::{Delivery, Scenario, Workload};
use sockrates_loadgen::registry;

use crate::exit::{Exit, Failure, OrExit};

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
    restrict(&mut selected.scenarios, choice.lanes)?;
    if !choice.has_floor || selected.target()?.is_some() {
        for scenario in &mut selected.scenarios {
            scenario.lanes.retain(|lane| lane.transport != FLOOR);
            if selected.is_profile {
                leave_out_optional(scenario);
            }
        }
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

/// Leaves out the ways for which servers of one's own need endpoints that they may lack; who names a scenario of such ways
/// wants them.
fn leave_out_optional(scenario: &mut Scenario) {
    let is_required = |delivery| match scenario.workload {
        Workload::Fanout { .. } => delivery == Delivery::Push,
        Workload::Duplex { .. } => matches!(delivery, Delivery::Push | Delivery::ShortPoll),
        _ => true,
    };
    scenario.deliveries.retain(|way| is_required(way.delivery));
}

/// A server of one's own has no port for it.
const FLOOR: &str = "tcp";

/// The scenarios that a name stands for.
pub(super) struct Selected {
    name: String,
    blocks: u32,
    is_profile: bool,
    scenarios: Vec<Scenario>,
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
    if name.contains('/') || is_toml {
        return from_file(Path::new(name));
    }
    let profiles = profile::profiles().into_iter().map(|profile| profile.name);
    let names: Vec<_> = profiles
        .chain(known.into_iter().map(|scenario| scenario.name))
        .collect();
    let message = format!(
        "`{name}` is neither a profile nor a scenario; known: {}; or give the path of a .toml file",
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
    })
}

fn from_file(path: &Path) -> Result<Selected, Failure> {
    let reading = format!("read scenario {}", path.display());
    let bytes = read_bounded(path, MAX_SCENARIO_BYTES).or_exit(Exit::Usage, &reading)?;
    let text = String::from_utf8(bytes).or_exit(Exit::Usage, &reading)?;
    let scenario = Scenario::parse(&text).or_exit(Exit::Usage, &reading)?;
    let name = scenario.name.clone();
    Ok(Selected {
        name,
        blocks: DEFAULT_BLOCKS,
        is_profile: false,
        scenarios: vec![scenario],
    })
}

/// Keeps only the lanes asked for; scenarios without any of them fall away.
fn restrict(scenarios: &mut Vec<Scenario>, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let lanes: Vec<Lane> = names
        .iter()
        .map(|name| name.parse().or_exit(Exit::Usage, "--lanes"))
        .collect::<Result<_, _>>()?;
    for lane in &lanes {
        if !registry::lanes().any(|(known, _)| known == *lane) {
            let known: Vec<_> = registry::lanes()
                .map(|(known, _)| known.to_string())
                .collect();
            let message = format!(
                "--lanes: unknown lane `{lane}`; known: {}",
                known.join(", ")
            );
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    for scenario in scenarios.iter_mut() {
        scenario.lanes.retain(|lane| lanes.contains(lane));
        for way in &mut scenario.deliveries {
            way.lanes.retain(|lane| lanes.contains(lane));
        }
        scenario.deliveries.retain(|way| !way.lanes.is_empty());
    }
    scenarios.retain(|scenario| !scenario.lanes.is_empty() || !scenario.deliveries.is_empty());
    if scenarios.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "--lanes: no scenario measures any of these lanes",
        ));
    }
    Ok(())
}
