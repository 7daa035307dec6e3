//! The regression gate: a run against a committed reference.
//!
//! What is deterministic must match exactly, on any machine. What is timed is compared as ratios between lanes, on the
//! same environment only, and turns red only when it lies apart by more than a margin twice: in the run, and in a retest
//! of fresh blocks. What cannot be told is never red.

mod told;

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;
use sockrates_core::lane::Lane;
use sockrates_core::plan::Cell;
use sockrates_core::record::{TrialRecord, Wire};
use sockrates_core::summary::Estimate;

use crate::comparison::{Pairs, ratio};
use crate::counted;
use crate::dataset::Dataset;
use crate::findings;
use crate::metrics::{CPU, SERVER_CPU};
use crate::statistics;
use crate::text;
use crate::view::{CellView, View};
use crate::{completeness, judgement};

mod work;

pub use work::{WorkRow, demand_work};

/// At most one run in a hundred may be red by chance, over all ratios and both stages together.
const FALSE_ALARMS: f64 = 0.01;
/// Ratios are told apart by these numbers, each with the distance that does not matter. They must cover what a machine's
/// state does to a ratio between one day and another, which no number of blocks averages.
const GATED: [(&str, f64); 3] = [("service_time_p50", 0.07), (CPU, 0.07), (SERVER_CPU, 0.08)];
/// Which lanes are divided by which.
const RATIOS: [(&str, &str); 7] = [
    ("http1-per-request", "http1-persistent"),
    ("websocket-per-request", "websocket-persistent"),
    ("websocket-persistent", "http1-persistent"),
    ("http1-persistent", "tcp-persistent"),
    ("websocket-persistent", "tcp-persistent"),
    ("http1-per-request", "tcp-persistent"),
    ("websocket-per-request", "tcp-persistent"),
];

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The run that was checked.
    pub run: String,
    /// The reference.
    pub baseline: String,
    /// What the whole comes to.
    pub outcome: Outcome,
    /// What has to match exactly.
    pub counts: Vec<CountRow>,
    /// What has to agree.
    pub ratios: Vec<RatioRow>,
    /// Instructions and system calls of an operation; empty where one of the two runs lacks them.
    pub work: Vec<WorkRow>,
    /// What else is to be known; sentences.
    pub notes: Vec<String>,
    /// Whether the run holds all that its plan asked for: else it cannot be said to agree.
    pub is_whole: bool,
}

/// What a check, or a row of it, comes to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Shown beside the reference, not judged: another environment.
    Beside,
    /// It agrees.
    Agrees,
    /// It cannot be told.
    Inconclusive,
    /// It lies apart; a retest decides.
    Suspicious,
    /// It differs.
    Differs,
}

/// One exact count of one cell.
#[derive(Clone, Debug, Serialize)]
pub struct CountRow {
    /// The cell's id.
    pub cell: String,
    /// What is counted, per trial.
    pub count: &'static str,
    /// The reference's count.
    pub baseline: u64,
    /// The run's counts, each that occurred.
    pub run: Vec<u64>,
    /// How many operations the counts are for.
    pub operations: u32,
    /// What it comes to.
    pub outcome: Outcome,
}

/// One ratio of two lanes.
#[derive(Clone, Debug, Serialize)]
pub struct RatioRow {
    /// The id of the cell above the line.
    pub cell: String,
    /// The id of the cell below it.
    pub below: String,
    /// The number that is divided.
    pub metric: &'static str,
    /// The reference's ratio; null when it has too few blocks.
    pub baseline: Option<f64>,
    /// The run's ratio; null when it has too few blocks.
    pub run: Option<f64>,
    /// The run's ratio over the reference's, with the interval at the gate's level.
    pub change: Option<Estimate>,
    /// The change, less 1, that does not matter.
    pub margin: f64,
    /// What it comes to.
    pub outcome: Outcome,
}

/// Says why a check is impossible.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The runs measured nothing in common.
    #[error(
        "{run} and the baseline {baseline} share no cell that can be checked: measure the profile `reproduce`, or the \
         scenario `echo-counted` for counts only"
    )]
    NothingShared {
        /// The run.
        run: String,
        /// The reference.
        baseline: String,
    },
    /// One of the two has nothing that counts.
    #[error("{0} has no valid trial: see its report for the reasons, and measure again")]
    NoValidTrial(String),
    /// Work is to be compared, and one of the two lacks it.
    #[error(
        "{0} holds no work.json, which says what an operation takes: count it by `scripts/just reproduce --work`"
    )]
    NoWork(String),
    /// Work is to be compared, and one of the two has it damaged.
    #[error(
        "the work.json of {run} cannot be used: {reason}; count again by `scripts/just reproduce --work`"
    )]
    DamagedWork {
        /// The run.
        run: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Checks a run against a reference, by counts and, unless `counts_only`, by ratios.
pub fn check(run: &Dataset, baseline: &Dataset, counts_only: bool) -> Result<Check, CheckError> {
    let (ours, theirs) = (View::new(run), View::new(baseline));
    for view in [&ours, &theirs] {
        if !view.cells.iter().any(CellView::has_data) {
            return Err(CheckError::NoValidTrial(name(view)));
        }
    }
    let counts = counts(&ours, &theirs);
    let mut notes = Vec::new();
    let lacks = completeness::clauses(&completeness::of(&ours));
    notes.extend(
        lacks
            .iter()
            .map(|lack| format!("the run is not whole: {lack}")),
    );
    let ratios = if counts_only {
        Vec::new()
    } else {
        ratios(&ours, &theirs, &mut notes)
    };
    let work = match (&run.work, &baseline.work) {
        (Some(ours), Some(theirs)) => work::rows(ours, theirs, &mut notes),
        _ => Vec::new(),
    };
    if counts.is_empty() && ratios.is_empty() && work.is_empty() {
        return Err(CheckError::NothingShared {
            run: name(&ours),
            baseline: name(&theirs),
        });
    }
    let mut check = Check {
        run: name(&ours),
        baseline: name(&theirs),
        outcome: Outcome::Agrees,
        counts,
        ratios,
        work,
        notes,
        is_whole: lacks.is_empty(),
    };
    check.conclude();
    Ok(check)
}

impl Check {
    /// Returns the ids of the cells that a retest has to measure.
    pub fn suspicious_cells(&self) -> Vec<String> {
        let rows = self.ratios.iter();
        let suspicious = rows.filter(|row| row.outcome == Outcome::Suspicious);
        let ids: BTreeSet<_> = suspicious.flat_map(|row| [&row.cell, &row.below]).collect();
        ids.into_iter().cloned().collect()
    }

    /// Decides on what was suspicious by fresh blocks alone: it differs if they lie apart on the same side, too.
    pub fn retest(&mut self, again: &Dataset, baseline: &Dataset) {
        let (ours, theirs) = (View::new(again), View::new(baseline));
        let second = ratios(&ours, &theirs, &mut self.notes);
        for row in &mut self.ratios {
            if row.outcome != Outcome::Suspicious {
                continue;
            }
            let is_same = |other: &&RatioRow| {
                other.cell == row.cell && other.below == row.below && other.metric == row.metric
            };
            let again = second.iter().find(is_same);
            row.outcome = match again.map(|again| (again.outcome, is_above(row), is_above(again))) {
                Some((Outcome::Suspicious, before, now)) if before == now => Outcome::Differs,
                Some((Outcome::Agrees, ..)) => {
                    self.notes.push(format!(
                        "{} of {} : {} was suspicious and did not come out so again",
                        row.metric, row.cell, row.below
                    ));
                    Outcome::Agrees
                }
                _ => Outcome::Inconclusive,
            };
        }
        self.conclude();
    }

    /// What the rows come to together: the worst that was judged.
    fn conclude(&mut self) {
        let counts = self.counts.iter().map(|row| row.outcome);
        let ratios = self.ratios.iter().map(|row| row.outcome);
        let work = self.work.iter().map(|row| row.outcome);
        let all = counts.chain(ratios).chain(work);
        self.outcome = all.max().unwrap_or(Outcome::Inconclusive);
        if self.outcome == Outcome::Beside {
            self.outcome = Outcome::Agrees;
        }
        if !self.is_whole {
            // What is not there may have changed.
            self.outcome = self.outcome.max(Outcome::Inconclusive);
        }
    }
}

fn is_above(row: &RatioRow) -> bool {
    row.change.is_some_and(|change| change.value > 1.0)
}

fn name(view: &View<'_>) -> String {
    text::line(&view.dataset.manifest.run_id)
}

/// Finds the cell that measured exactly the same. Counts do not depend on what idle CPUs do, so
/// that counted cells may differ in it.
fn twin<'a>(view: &'a View<'_>, cell: &Cell) -> Option<&'a CellView<'a>> {
    let is_twin = |other: &&CellView<'_>| {
        let alike = Cell {
            cpu_idle: cell.cpu_idle,
            ..other.cell.clone()
        };
        other.cell == cell || (cell.operations.is_some() && alike == *cell)
    };
    view.cells.iter().find(is_twin)
}

/// Which counts are compared, and how each is read from a trial; `None` where it cannot be known exactly.
type Count = (&'static str, fn(&TrialRecord, &Wire) -> Option<u64>);

const COUNTS: [Count; 8] = [
    ("connections", |_, wire| Some(wire.connections)),
    ("handshakes", |_, wire| Some(wire.handshakes)),
    ("bytes_sent", |_, wire| Some(wire.bytes_sent)),
    ("bytes_received", |_, wire| Some(wire.bytes_received)),
    ("data_segments_sent", |_, wire| {
        Some(wire.data_segments_sent)
    }),
    ("data_segments_received", counted::data_segments_received),
    ("handshake_bytes_sent", |_, wire| {
        Some(wire.handshake?.bytes_sent)
    }),
    ("handshake_bytes_received", |_, wire| {
        Some(wire.handshake?.bytes_received)
    }),
];

fn counts(ours: &View<'_>, theirs: &View<'_>) -> Vec<CountRow> {
    let mut rows = Vec::new();
    for cell in &theirs.cells {
        let (Some(operations), Some(twin)) = (cell.cell.operations, twin(ours, cell.cell)) else {
            continue;
        };
        for (count, read) in COUNTS {
            let (expected, found) = (values(cell, read), values(twin, read));
            let Some(baseline) = expected.first().copied() else {
                continue;
            };
            let outcome = if found.is_empty() || expected.len() > 1 {
                Outcome::Inconclusive
            } else if found == expected {
                Outcome::Agrees
            } else if count.contains("segments") && found.contains(&baseline) {
                // The kernel may cut a stream otherwise once in a while; a change would show in every trial.
                Outcome::Inconclusive
            } else {
                Outcome::Differs
            };
            rows.push(CountRow {
                cell: cell.cell.id.clone(),
                count,
                baseline,
                run: found.into_iter().collect(),
                operations,
                outcome,
            });
        }
    }
    rows
}

/// Returns every count that occurred in a whole trial.
fn values(cell: &CellView<'_>, read: fn(&TrialRecord, &Wire) -> Option<u64>) -> BTreeSet<u64> {
    counted::whole(cell)
        .filter_map(|(record, wire)| read(record, wire))
        .collect()
}

fn ratios(ours: &View<'_>, theirs: &View<'_>, notes: &mut Vec<String>) -> Vec<RatioRow> {
    let differences = ours
        .dataset
        .manifest
        .fingerprint
        .environment_differences(&theirs.dataset.manifest.fingerprint);
    let is_same_place = differences.is_empty();
    if let Some((field, mine, other)) = differences.first() {
        notes.push(format!(
            "another environment than the reference's ({field}: {mine} against {other}): ratios are shown beside it, not judged",
        ));
    }
    let mut disturbed = Vec::new();
    for view in [ours, theirs] {
        let judged = judgement::of(view);
        if !judged.is_conclusive {
            let why = judged.reasons.join("; ");
            disturbed.push(format!("{} is inconclusive: {why}", name(view)));
        }
    }
    let is_quiet = disturbed.is_empty();
    notes.extend(disturbed);
    let level = (FALSE_ALARMS / (RATIOS.len() * GATED.len()) as f64).sqrt();
    let mut rows = Vec::new();
    for ((above, below), (metric, margin)) in pairs() {
        let both = |lane: &Lane| {
            let reference = leading(theirs, lane)?;
            Some((reference, twin(ours, reference.cell)?))
        };
        let (Some((top, our_top)), Some((bottom, our_bottom))) = (both(&above), both(&below))
        else {
            continue;
        };
        let reference = Pairs::of(top, bottom, metric).log_ratios();
        let found = Pairs::of(our_top, our_bottom, metric).log_ratios();
        let change = change(&found, &reference, level);
        let outcome = match change {
            _ if !is_same_place => Outcome::Beside,
            Some(change) if is_quiet => judge(change, margin),
            _ => Outcome::Inconclusive,
        };
        rows.push(RatioRow {
            cell: top.cell.id.clone(),
            below: bottom.cell.id.clone(),
            metric,
            baseline: ratio(&reference).map(|estimate| estimate.value),
            run: ratio(&found).map(|estimate| estimate.value),
            change,
            margin,
            outcome,
        });
    }
    rows
}

fn pairs() -> impl Iterator<Item = ((Lane, Lane), (&'static str, f64))> {
    let lane = |name: &str| name.parse().expect("a constant lane parses");
    RATIOS.into_iter().flat_map(move |(above, below)| {
        GATED
            .into_iter()
            .map(move |gated| ((lane(above), lane(below)), gated))
    })
}

/// Returns the lane's cell where nothing queues: the closed plain echo of one connection.
fn leading<'a>(view: &'a View<'_>, lane: &Lane) -> Option<&'a CellView<'a>> {
    view.cells.iter().find(|cell| {
        let one = cell.cell;
        one.lane == *lane && one.connections == 1 && one.is_plain_echo()
    })
}

/// Returns the run's ratio over the reference's, with a two-sided interval whose each side has this level.
fn change(found: &[f64], reference: &[f64], level: f64) -> Option<Estimate> {
    let shift = statistics::rank_sum_interval(found, reference, 1.0 - 2.0 * level)?;
    Some(Estimate {
        value: shift.value.exp(),
        low: shift.low.exp(),
        high: shift.high.exp(),
    })
}

/// Suspicious when the whole interval lies beyond the margin; it agrees only when the whole lies within.
fn judge(change: Estimate, margin: f64) -> Outcome {
    let limit = 1.0 + margin;
    if change.low > limit || change.high < 1.0 / limit {
        Outcome::Suspicious
    } else if change.low >= 1.0 / limit && change.high <= limit {
        Outcome::Agrees
    } else {
        Outcome::Inconclusive
    }
}

impl Check {
    /// Writes the check as plain text, at most 100 columns wide.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} against {}:\n{}\n",
            text::line(&self.run),
            text::line(&self.baseline),
            self.sentence()
        );
        for note in &self.notes {
            writeln!(text, "  {}", text::unbroken(note)).expect("writing to a string cannot fail");
        }
        for part in findings::told(&self.findings(), "loopback") {
            findings::words::write_text(&mut text, &part, "in the table below");
        }
        for row in self.count_lines() {
            writeln!(
                text,
                "  {:<58}{:>12}{:>12}  {}",
                row[0], row[1], row[2], row[3]
            )
            .expect("writing to a string cannot fail");
        }
        text += &work::text(&self.work);
        for row in self.ratio_lines() {
            writeln!(
                text,
                "  {:<44}{:>21}  {:<22} {}",
                row[0], row[1], row[2], row[3]
            )
            .expect("writing to a string cannot fail");
        }
        text
    }

    /// Writes the check as a Markdown page, for the summary of a job.
    pub fn markdown(&self) -> String {
        let mut page = format!(
            "## sockrates: {}\n\n`{}` against `{}`. {}\n",
            word(self.outcome),
            text::slug(&self.run),
            text::slug(&self.baseline),
            self.sentence()
        );
        for note in &self.notes {
            page += &format!("\n- {}", text::escaped_markdown(note));
        }
        for part in findings::told(&self.findings(), "loopback") {
            findings::words::write_markdown(&mut page, &part);
        }
        if !self.counts.is_empty() {
            page += "\n\n| count | reference | run | |\n|---|---:|---:|---|\n";
            for line in self.count_lines() {
                let [cell, baseline, run, outcome] = line.map(|part| text::escaped_markdown(&part));
                page += &format!("| {cell} | {baseline} | {run} | {outcome} |\n");
            }
        }
        page += &work::markdown(&self.work);
        if !self.ratios.is_empty() {
            page += "\n| ratio | reference → run | change | |\n|---|---:|---:|---|\n";
            for line in self.ratio_lines() {
                let [pair, both, change, outcome] = line.map(|part| text::escaped_markdown(&part));
                page += &format!("| {pair} | {both} | {change} | {outcome} |\n");
            }
        }
        page
    }

    fn sentence(&self) -> String {
        let counted = self
            .counts
            .iter()
            .filter(|row| row.outcome == Outcome::Agrees)
            .count();
        let agreeing = self
            .ratios
            .iter()
            .filter(|row| row.outcome == Outcome::Agrees)
            .count();
        let mut sentence = match self.outcome {
            Outcome::Differs => "something changed".to_owned(),
            Outcome::Suspicious => "something may have changed".to_owned(),
            Outcome::Inconclusive => "could not tell whether anything changed".to_owned(),
            Outcome::Agrees | Outcome::Beside => "nothing changed".to_owned(),
        };
        if !self.counts.is_empty() {
            sentence += &format!("; {counted} of {} counts match exactly", self.counts.len());
        }
        if !self.work.is_empty() {
            let agreeing = work::agreeing(&self.work);
            sentence += &format!("; {agreeing} of {} counts of work agree", self.work.len());
        }
        if !self.ratios.is_empty() {
            sentence += &format!("; {agreeing} of {} ratios agree", self.ratios.len());
        }
        let rows = (self.counts.iter().map(|row| row.outcome))
            .chain(self.ratios.iter().map(|row| row.outcome));
        let untold = rows.filter(|outcome| *outcome == Outcome::Inconclusive);
        let untold = untold.count();
        if untold > 0 {
            sentence += &format!("; {untold} could not be told");
        }
        text::sentence(&sentence)
    }

    fn count_lines(&self) -> impl Iterator<Item = [String; 4]> {
        self.counts.iter().map(|row| {
            let run: Vec<_> = row.run.iter().map(u64::to_string).collect();
            [
                format!("{} {}", text::line(&row.cell), row.count),
                row.baseline.to_string(),
                if run.is_empty() {
                    text::NONE.to_owned()
                } else {
                    run.join(", ")
                },
                word(row.outcome).to_owned(),
            ]
        })
    }

    fn ratio_lines(&self) -> impl Iterator<Item = [String; 4]> {
        let times = |ratio: Option<f64>| ratio.map_or_else(|| text::NONE.to_owned(), text::times);
        self.ratios.iter().map(move |row| {
            let lane = |id: &str| text::line(id.split('.').nth(1).unwrap_or(id));
            let change = row.change.map_or_else(
                || "too few blocks".to_owned(),
                |change| {
                    let percent = |ratio: f64| format!("{:+.1}", (ratio - 1.0) * 100.0);
                    let interval = format!("[{}, {}]", percent(change.low), percent(change.high));
                    match row.outcome {
                        Outcome::Agrees | Outcome::Differs => {
                            format!("{} % {interval}", percent(change.value))
                        }
                        _ => format!("not told {interval} %"),
                    }
                },
            );
            let (run, baseline) = match told::sides(row) {
                Some((run, baseline)) => (Some(run), Some(baseline)),
                None => (row.run, row.baseline),
            };
            [
                format!("{} : {}", lane(&row.cell), lane(&row.below)),
                format!("{} {} → {}", short(row.metric), times(baseline), times(run)),
                change,
                word(row.outcome).to_owned(),
            ]
        })
    }
}

/// Names a gated number in few letters.
fn short(metric: &str) -> &str {
    match metric {
        CPU => "CPU",
        SERVER_CPU => "server",
        _ => "p50",
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Beside => "not judged",
        Outcome::Agrees => "agrees",
        Outcome::Inconclusive => "could not tell",
        Outcome::Suspicious => "suspicious",
        Outcome::Differs => "DIFFERS",
    }
}
