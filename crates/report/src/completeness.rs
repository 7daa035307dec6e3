//! Whether a run holds what its plan asked for: what is missing is told before anything that was found.

use std::collections::{BTreeMap, BTreeSet};

use sockrates_core::demands::Demands;
use sockrates_core::plan::Contrast;
use sockrates_core::summary::{Completeness, MissingTrial};

use crate::text;
use crate::view::View;

/// So many cells or blocks are named in a sentence, and the others counted.
const NAMED: usize = 3;

/// Says what a run lacks.
pub(crate) fn of(view: &View<'_>) -> Completeness {
    let manifest = &view.dataset.manifest;
    let plan = &manifest.plan;
    let mut by_block: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (block, cell) in Demands::of(manifest).missing(&view.dataset.records) {
        by_block.entry(block).or_default().push(cell);
    }
    let is_whole_block = |(block, cells): &(u32, Vec<&str>)| {
        plan.blocks
            .get(*block as usize)
            .is_some_and(|row| row.len() == cells.len())
    };
    let (whole, some): (Vec<_>, Vec<_>) = by_block.into_iter().partition(is_whole_block);
    let missing = |(block, cells): (u32, Vec<&str>)| {
        let trial = |cell: &str| MissingTrial {
            cell: cell.to_owned(),
            block,
        };
        cells.into_iter().map(trial).collect::<Vec<_>>()
    };
    let has_data = |id: &str| {
        let mut cells = view.cells.iter();
        cells.any(|cell| cell.cell.id == id && cell.has_data())
    };
    let is_missing =
        |contrast: &&Contrast| !(has_data(&contrast.cell) && has_data(&contrast.reference));
    let broken = view
        .cells
        .iter()
        .filter(|cell| !cell.has_data() && !cell.trials.is_empty());
    Completeness {
        planned_trials: u32::try_from(plan.trial_count()).unwrap_or(u32::MAX),
        missing_blocks: whole.into_iter().map(|(block, _)| block).collect(),
        missing_trials: some.into_iter().flat_map(missing).collect(),
        broken_cells: broken.map(|cell| cell.cell.id.clone()).collect(),
        missing_primary: plan.primary.iter().filter(is_missing).cloned().collect(),
    }
}

/// Says in clauses what is missing; none of a run that is whole.
pub(crate) fn clauses(lack: &Completeness) -> Vec<String> {
    let mut clauses = Vec::new();
    if !lack.missing_blocks.is_empty() {
        let blocks = lack
            .missing_blocks
            .iter()
            .map(|block| (block + 1).to_string());
        clauses.push(format!(
            "it lacks {}",
            counted("block", &blocks.collect::<Vec<_>>())
        ));
    }
    if !lack.missing_trials.is_empty() {
        let name = |trial: &MissingTrial| {
            format!("{} of block {}", text::line(&trial.cell), trial.block + 1)
        };
        let trials: Vec<_> = lack.missing_trials.iter().map(name).collect();
        clauses.push(format!("it lacks {}", counted("trial", &trials)));
    }
    if !lack.missing_primary.is_empty() {
        let sides = lack.missing_primary.iter().map(|contrast| {
            format!(
                "{} : {}",
                text::line(&contrast.cell),
                text::line(&contrast.reference)
            )
        });
        let sides: BTreeSet<_> = sides.collect();
        let sides: Vec<_> = sides.into_iter().collect();
        clauses.push(format!(
            "no trial counts on a side of {}",
            counted("primary contrast", &sides)
        ));
    }
    clauses
}

/// Writes `2 blocks (3, 7)`.
fn counted(what: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    let mut list = names
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMED {
        list += ", …";
    }
    format!("{} {what}{plural} ({list})", names.len())
}
