//! What both reports tell, in their order: finding, warnings, key numbers, charts, caveats, environment, how to repeat.
//!
//! Everything here is text that still has to be escaped for its page.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use sockrates_core::manifest::RunStatus;
use sockrates_core::record::{FailedTrial, Outcome, TrialRecord};
use sockrates_core::summary::{CellSummary, Summary};
use sockrates_core::units;
use sockrates_core::verdict::Flag;

use crate::charts::Drawn;
use crate::findings::{self, Told};
use crate::numbers::{self, Table};
use crate::sheets::{self, Sheet};
use crate::text;
use crate::view::View;

/// A report's content.
#[derive(Serialize)]
pub(crate) struct Story {
    /// The command that rebuilds the report.
    pub(crate) command: String,
    pub(crate) run_id: String,
    pub(crate) overview: String,
    /// What was found, in three parts.
    pub(crate) parts: [Told; 3],
    /// Whether the run may conclude.
    pub(crate) judgement: Vec<String>,
    pub(crate) ranges: &'static str,
    /// What is missing or went wrong, for the top of the page.
    pub(crate) notices: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) sheets: Vec<Sheet>,
    pub(crate) charts: Vec<Entry>,
    /// Which chart stands on the first screen.
    pub(crate) lead: Option<usize>,
    pub(crate) caveats: [&'static str; 4],
    pub(crate) flags: Vec<FlagEntry>,
    pub(crate) failures: Vec<Fact>,
    pub(crate) failed_trials: Vec<Fact>,
    pub(crate) damaged: Vec<Fact>,
    pub(crate) environment: Vec<Fact>,
    pub(crate) repeat: Vec<Fact>,
}

/// A chart on the page.
#[derive(Serialize)]
pub(crate) struct Entry {
    /// The file's name without its ending, and the chart's anchor on the page.
    pub(crate) stem: String,
    pub(crate) question: &'static str,
    pub(crate) caption: String,
    pub(crate) reading: &'static str,
    /// Whether the same question stands above the chart before.
    pub(crate) is_continued: bool,
}

/// A flag, what it means, and for which cells it holds.
#[derive(Serialize)]
pub(crate) struct FlagEntry {
    pub(crate) name: String,
    pub(crate) meaning: &'static str,
    pub(crate) cells: String,
}

/// A name and what is to be said about it.
#[derive(Serialize)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// What holds for every run.
const CAVEATS: [&str; 4] = [
    "The numbers hold for this machine and this network. Over loopback a packet neither travels nor gets lost: on a real \
     network every round trip of a handshake adds its delay.",
    "Client and server run on the same machine, on CPUs of their own where there are enough; they share caches and memory.",
    "A closed loop stops asking while the server stalls, so it shows less of a stall than a user would see. Open loads \
     count from the instant a message was due.",
    findings::RANGES,
];

/// Tells a run.
pub(crate) fn tell(view: &View<'_>, summary: &Summary, drawn: &[Drawn]) -> Story {
    let mut charts: Vec<Entry> = Vec::new();
    let lead = lead(drawn);
    let mut shown = None;
    for (index, chart) in drawn.iter().enumerate() {
        charts.push(Entry {
            stem: chart.stem.clone(),
            question: chart.question,
            caption: text::line(&chart.caption),
            reading: chart.reading,
            is_continued: shown == Some(chart.question),
        });
        if Some(index) != lead {
            shown = Some(chart.question);
        }
    }
    Story {
        command: summary.command.clone(),
        run_id: text::line(&summary.run_id),
        overview: overview(view),
        parts: findings::told(&summary.findings, &findings::network(view)),
        judgement: findings::judgement(summary),
        ranges: findings::RANGES,
        notices: notices(view, summary),
        tables: numbers::tables(view, summary),
        sheets: sheets::of(view, summary),
        charts,
        lead,
        caveats: CAVEATS,
        flags: flags(summary),
        failures: failures(summary),
        failed_trials: failed_trials(view),
        damaged: damaged(view),
        environment: environment(view),
        repeat: repeat(view),
    }
}

/// Finds the chart that shows what a reader comes for.
fn lead(drawn: &[Drawn]) -> Option<usize> {
    let of = |stem: &str| drawn.iter().position(|chart| chart.stem.starts_with(stem));
    of("attribution")
        .or_else(|| of("news-cost"))
        .or_else(|| (!drawn.is_empty()).then_some(0))
}

/// Says in a line what was run: `quick: 23 cells in 8 blocks, 184 trials`.
pub(crate) fn overview(view: &View<'_>) -> String {
    let manifest = &view.dataset.manifest;
    let plan = &manifest.plan;
    let seconds = manifest
        .finished_unix_ms
        .filter(|_| manifest.resumed_unix_ms.is_empty())
        .and_then(|end| end.checked_sub(manifest.started_unix_ms))
        .map(|ms| format!(", {}", units::seconds(ms as f64 / 1e3)));
    format!(
        "{}: {} cells in {} blocks, {} trials{}",
        text::line(&plan.name),
        plan.cells.len(),
        plan.blocks.len(),
        view.dataset.records.len(),
        seconds.unwrap_or_default()
    )
}

/// Says what is missing or went wrong.
pub(crate) fn notices(view: &View<'_>, summary: &Summary) -> Vec<String> {
    let dataset = view.dataset;
    let planned = dataset.manifest.plan.trial_count();
    let failed = failed(view).count();
    let empty = view.cells.iter().filter(|cell| !cell.has_data()).count();
    let mut notices = Vec::new();
    let place = |record: &'_ TrialRecord| (record.spec.cell.id.clone(), record.spec.block);
    let there: HashSet<_> = dataset.records.iter().map(place).collect();
    let there = there.len();
    if dataset.manifest.status == RunStatus::Partial {
        notices.push(format!(
            "This run is partial: {there} of {planned} planned trials have a record."
        ));
    } else if there < planned {
        notices.push(format!(
            "Records are missing: only {there} of {planned} planned trials have one."
        ));
    }
    match dataset.manifest.resumed_unix_ms.len() {
        0 => {}
        times => notices.push(format!(
            "It was measured in {} sittings; each block in one of them.",
            times + 1
        )),
    }
    let cut_short = dataset.records.iter().filter(|record| is_cut_short(record));
    match cut_short.count() {
        0 => {}
        1 => notices.push("A trial that a signal cut short is in no number.".to_owned()),
        some => notices.push(format!(
            "{some} trials that a signal cut short are in no number."
        )),
    }
    if failed > 0 {
        notices.push(format!(
            "{failed} of {} trials failed and are in no number.",
            dataset.records.len()
        ));
    }
    if !dataset.damaged.is_empty() {
        let count = dataset.damaged.len();
        notices.push(format!(
            "{count} trial files could not be used and are in no number."
        ));
    }
    if empty > 0 {
        notices.push(format!(
            "{empty} of {} cells have no valid trial.",
            view.cells.len()
        ));
    }
    notices.extend(two_modes(summary));
    notices
}

/// Names the cells of which a single number does not speak.
fn two_modes(summary: &Summary) -> Option<String> {
    let found = summary.cells.iter().filter_map(|cell| {
        let modes = cell.two_modes.as_ref()?;
        let (low, high) = (modes.low_ns, modes.high_ns);
        Some(format!(
            "{} ({} of {} near {}, {} near {})",
            text::line(&cell.id),
            modes.low_trials,
            modes.low_trials + modes.high_trials,
            units::time(low),
            modes.high_trials,
            units::time(high)
        ))
    });
    let found: Vec<_> = found.collect();
    (!found.is_empty()).then(|| {
        format!(
            "Trials' medians fall into two groups, so that one number describes neither: {}.",
            found.join("; ")
        )
    })
}

fn is_cut_short(record: &TrialRecord) -> bool {
    let Outcome::Failed { reason, .. } = &record.outcome else {
        return false;
    };
    *reason == FailedTrial::Interrupted
}

fn failed<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a TrialRecord, String)> {
    view.dataset
        .records
        .iter()
        .filter(|record| !is_cut_short(record))
        .filter_map(|record| match &record.outcome {
            Outcome::Completed => None,
            Outcome::Failed { reason, message } => Some((
                record,
                format!("{}: {}", text::name_on_disk(reason), text::line(message)),
            )),
        })
}

fn failed_trials(view: &View<'_>) -> Vec<Fact> {
    failed(view)
        .map(|(record, why)| fact(&record.spec.file_name(), &why))
        .collect()
}

fn damaged(view: &View<'_>) -> Vec<Fact> {
    let files = view.dataset.damaged.iter();
    files
        .map(|(path, reason)| fact(&path.display().to_string(), reason))
        .collect()
}

pub(crate) fn flags(summary: &Summary) -> Vec<FlagEntry> {
    let mut holders: BTreeMap<Flag, Vec<(&CellSummary, u32)>> = BTreeMap::new();
    for cell in &summary.cells {
        for (flag, count) in &cell.flags {
            holders.entry(*flag).or_default().push((cell, *count));
        }
    }
    let all: u32 = summary.cells.iter().map(|cell| cell.trials.total).sum();
    let entry = |(flag, cells): (Flag, Vec<(&CellSummary, u32)>)| FlagEntry {
        name: text::flag(flag),
        meaning: flag.meaning(),
        cells: if cells.iter().map(|(_, count)| count).sum::<u32>() == all {
            "all trials".to_owned()
        } else {
            let part = |(cell, count): &(&CellSummary, u32)| {
                format!(
                    "{} ({count} of {})",
                    text::line(&cell.id),
                    cell.trials.total
                )
            };
            cells.iter().map(part).collect::<Vec<_>>().join(", ")
        },
    };
    holders.into_iter().map(entry).collect()
}

fn failures(summary: &Summary) -> Vec<Fact> {
    summary
        .cells
        .iter()
        .filter(|cell| cell.operations.failed + cell.operations.unfinished > 0)
        .map(|cell| {
            let kinds = cell
                .failures
                .iter()
                .map(|(kind, count)| format!("{count} × {kind} ({})", text::failure(*kind)));
            let unfinished = (cell.operations.unfinished > 0)
                .then(|| format!("{} unfinished", cell.operations.unfinished));
            let parts: Vec<_> = kinds.chain(unfinished).collect();
            let verified = cell.operations.verified;
            fact(
                &cell.id,
                &format!("{}, beside {verified} verified", parts.join(", ")),
            )
        })
        .collect()
}

fn environment(view: &View<'_>) -> Vec<Fact> {
    let manifest = &view.dataset.manifest;
    let print = &manifest.fingerprint;
    let placement = &manifest.placement;
    let measurements = || {
        view.dataset
            .records
            .iter()
            .filter_map(|record| record.measurement.as_ref())
    };
    let isolation = distinct(measurements().map(|m| text::name_on_disk(&m.isolation)));
    let sockets = distinct(measurements().map(|m| {
        let nodelay = if m.socket.nodelay {
            "TCP_NODELAY"
        } else {
            "Nagle's algorithm"
        };
        format!("{}, {nodelay}", m.socket.congestion_control)
    }));
    [
        ("fingerprint", print.id.clone()),
        (
            "sockrates",
            format!(
                "{} ({} build, {})",
                print.version, print.build_profile, print.rustc
            ),
        ),
        ("kernel", print.kernel.clone()),
        (
            "CPU",
            format!("{} ({} usable)", print.cpu_model, print.cpus),
        ),
        ("memory", format!("{} GiB", print.memory_gib)),
        ("hypervisor", print.hypervisor.clone()),
        ("clock source", print.clocksource.clone()),
        ("client CPUs", format!("{:?}", placement.client_cpus)),
        ("server CPUs", format!("{:?}", placement.server_cpus)),
        ("isolation of trials", isolation),
        ("sockets", sockets),
        ("open files per process", print.descriptor_limit.to_string()),
        ("network settings", print.network_settings.join(" ")),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| fact(name, &value))
    .collect()
}

fn repeat(view: &View<'_>) -> Vec<Fact> {
    let manifest = &view.dataset.manifest;
    vec![
        fact("measure again", &manifest.command),
        fact("seed", &manifest.plan.seed.to_string()),
        fact("rebuild this report", &text::rebuild_command(manifest)),
    ]
}

fn distinct(values: impl Iterator<Item = String>) -> String {
    let values: std::collections::BTreeSet<_> = values.collect();
    values.into_iter().collect::<Vec<_>>().join("; ")
}

fn fact(name: &str, value: &str) -> Fact {
    Fact {
        name: text::line(name),
        value: text::line(value),
    }
}
