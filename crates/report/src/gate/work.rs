//! The gate over work: instructions and system calls of an operation, in both directions.
//!
//! Fewer is a change, too: the reference then no longer says what the program does.

use std::fmt::Write;

use serde::Serialize;
use sockrates_core::lane::Lane;
use sockrates_core::work::{Work, WorkCount};

use super::{CheckError, Outcome, word};
use crate::dataset::{Dataset, WORK_FILE};
use crate::text;

/// How far a count of instructions may lie from the reference's, as a share of it.
const INSTRUCTIONS: f64 = 0.01;
/// The same where the C library is another: its own instructions are a part of the count.
const INSTRUCTIONS_OTHER_LIBRARY: f64 = 0.03;
/// The same where an end could preempt the other, and now and then looked in vain for what had not come.
const INSTRUCTIONS_DISTURBED: f64 = 0.02;
/// How far a count of system calls may lie from the reference's, as a share of it: whether a reply is there before the
/// client waits for it depends on the machine.
const SYSTEM_CALLS: f64 = 0.02;
/// And the distance, in system calls per operation, that never matters.
const SYSTEM_CALLS_EACH: f64 = 0.05;
/// What the reference's own repetitions spread over is no difference, so many times: their half range is the least that
/// chance does.
const SPREADS: f64 = 3.0;

/// One count of work of one lane.
#[derive(Clone, Debug, Serialize)]
pub struct WorkRow {
    /// The lane.
    pub lane: Lane,
    /// What is counted, per operation.
    pub count: &'static str,
    /// The reference's count.
    pub baseline: f64,
    /// The run's count; null when it lacks the lane or the count.
    pub run: Option<f64>,
    /// The largest distance that is no difference, in the count's unit.
    pub tolerance: f64,
    /// What it comes to.
    pub outcome: Outcome,
}

/// Says why work cannot be compared, where it was asked for: a run without it is no failure otherwise.
pub fn demand_work(run: &Dataset, baseline: &Dataset) -> Result<(), CheckError> {
    for dataset in [run, baseline] {
        if dataset.work.is_some() {
            continue;
        }
        let run = text::line(&dataset.manifest.run_id);
        let mut damaged = dataset.damaged.iter();
        return Err(
            match damaged.find(|(path, _)| path.as_os_str() == WORK_FILE) {
                Some((_, reason)) => CheckError::DamagedWork {
                    run,
                    reason: text::line(reason),
                },
                None => CheckError::NoWork(run),
            },
        );
    }
    Ok(())
}

/// Compares every count that the reference has.
pub(super) fn rows(ours: &Work, theirs: &Work, notes: &mut Vec<String>) -> Vec<WorkRow> {
    let incomparable = incomparable(ours, theirs);
    if let Some(why) = &incomparable {
        notes.push(format!(
            "instructions and system calls are not comparable, and shown beside the reference's: {why}"
        ));
    }
    let (share, why) = share_of_instructions(ours, theirs);
    if let (Some(why), None) = (why, &incomparable) {
        notes.push(format!(
            "{why}: instructions may differ by {:.0} % instead of 1 %",
            share * 100.0
        ));
    }
    let mut rows = Vec::new();
    for reference in &theirs.lanes {
        let mine = ours.lanes.iter().find(|lane| lane.lane == reference.lane);
        for (index, (count, expected)) in reference.counts().into_iter().enumerate() {
            let Some(expected) = expected else { continue };
            let found = mine.and_then(|lane| lane.counts()[index].1);
            let tolerance = tolerance(count, expected, share);
            let outcome = if incomparable.is_some() {
                Outcome::Beside
            } else {
                judge(expected, found, tolerance)
            };
            rows.push(WorkRow {
                lane: reference.lane.clone(),
                count,
                baseline: expected.per_operation,
                run: found.map(|found| found.per_operation),
                tolerance,
                outcome,
            });
        }
    }
    rows
}

/// Another compiler, profile, architecture, tool or measurement gives other counts of the same program.
fn incomparable(ours: &Work, theirs: &Work) -> Option<String> {
    let tool = |by: &str| by.split_whitespace().next().unwrap_or(by).to_owned();
    let facts = |work: &Work| {
        [
            ("compiler", work.rustc.clone()),
            ("build profile", work.build_profile.clone()),
            ("architecture", work.architecture.clone()),
            ("counter of instructions", tool(&work.instructions_by)),
            ("counter of system calls", tool(&work.system_calls_by)),
            ("length of messages", work.payload_bytes.to_string()),
        ]
    };
    let mut both = facts(ours).into_iter().zip(facts(theirs));
    let ((name, mine), (_, other)) = both.find(|((_, mine), (_, other))| mine != other)?;
    let (mine, other) = (text::line(&mine), text::line(&other));
    Some(format!("the {name} is {mine}, the reference's {other}"))
}

/// Returns how far instructions may lie apart, as a share, and why that is more than usual.
fn share_of_instructions(ours: &Work, theirs: &Work) -> (f64, Option<String>) {
    if ours.c_library != theirs.c_library {
        let why = format!(
            "another C library than the reference's ({} against {})",
            text::line(&ours.c_library),
            text::line(&theirs.c_library)
        );
        (INSTRUCTIONS_OTHER_LIBRARY, Some(why))
    } else if ours.is_undisturbed && theirs.is_undisturbed {
        (INSTRUCTIONS, None)
    } else {
        let why = "counted without real-time priority, which root has";
        (INSTRUCTIONS_DISTURBED, Some(why.to_owned()))
    }
}

fn tolerance(count: &str, expected: WorkCount, instructions: f64) -> f64 {
    let share = |share: f64| expected.per_operation * share;
    let least = if count.ends_with("system_calls") {
        share(SYSTEM_CALLS).max(SYSTEM_CALLS_EACH)
    } else {
        share(instructions)
    };
    least.max(expected.spread * SPREADS)
}

/// What the reference counted and the run did not is a difference: a gate does not pass by leaving out.
fn judge(expected: WorkCount, found: Option<WorkCount>, tolerance: f64) -> Outcome {
    let distance = found.map(|found| (found.per_operation - expected.per_operation).abs());
    if distance.is_some_and(|distance| distance <= tolerance) {
        Outcome::Agrees
    } else {
        Outcome::Differs
    }
}

/// Returns how many rows agree.
pub(super) fn agreeing(rows: &[WorkRow]) -> usize {
    let agrees = |row: &&WorkRow| row.outcome == Outcome::Agrees;
    rows.iter().filter(agrees).count()
}

/// Writes the rows: what, reference, run, change, outcome.
pub(super) fn lines(rows: &[WorkRow]) -> impl Iterator<Item = [String; 4]> {
    rows.iter().map(|row| {
        let run = row.run.map_or_else(
            || text::NONE.to_owned(),
            |run| {
                let change = (run / row.baseline - 1.0) * 100.0;
                format!("{} ({change:+.1} %)", written(run))
            },
        );
        [
            format!("{} {}", text::line(&row.lane.to_string()), row.count),
            written(row.baseline),
            run,
            word(row.outcome).to_owned(),
        ]
    })
}

fn written(count: f64) -> String {
    if count >= 100.0 {
        format!("{count:.0}")
    } else {
        format!("{count:.2}")
    }
}

/// Writes the rows as plain text, at most 100 columns wide.
pub(super) fn text(rows: &[WorkRow]) -> String {
    let mut text = String::new();
    for [what, baseline, run, outcome] in lines(rows) {
        writeln!(text, "  {what:<46}{baseline:>12}{run:>24}  {outcome}")
            .expect("writing to a string cannot fail");
    }
    text
}

/// Writes the rows as a table of a Markdown page.
pub(super) fn markdown(rows: &[WorkRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut page = "\n\n| per operation | reference | run | |\n|---|---:|---:|---|\n".to_owned();
    for line in lines(rows) {
        let [what, baseline, run, outcome] = line.map(|part| text::escaped_markdown(&part));
        writeln!(page, "| {what} | {baseline} | {run} | {outcome} |")
            .expect("writing to a string cannot fail");
    }
    page
}

#[cfg(test)]
mod tests {
    use sockrates_core::work::LaneWork;

    use super::*;

    const fn count(per_operation: f64) -> WorkCount {
        WorkCount {
            per_operation,
            spread: 0.0,
        }
    }

    fn lane(name: &str, instructions: f64, calls: f64) -> LaneWork {
        LaneWork {
            lane: name.parse().unwrap(),
            operations: (1000, 3000),
            client_instructions: Some(count(instructions)),
            server_instructions: Some(count(instructions * 1.5)),
            client_system_calls: Some(count(calls)),
            server_system_calls: Some(count(calls)),
        }
    }

    fn work(lanes: Vec<LaneWork>) -> Work {
        Work {
            schema_version: 1,
            command: "scripts/work".to_owned(),
            rustc: "rustc 1.95.0".to_owned(),
            build_profile: "release".to_owned(),
            architecture: "x86_64".to_owned(),
            c_library: "glibc 2.36".to_owned(),
            instructions_by: "valgrind 3.19.0".to_owned(),
            system_calls_by: "valgrind 3.19.0".to_owned(),
            payload_bytes: 64,
            is_undisturbed: true,
            repetitions: 1,
            lanes,
        }
    }

    fn reference() -> Work {
        work(vec![
            lane("http1-persistent", 2000.0, 3.0),
            lane("http1-per-request", 6000.0, 20.0),
        ])
    }

    fn outcomes(ours: &Work) -> (Vec<Outcome>, String) {
        let mut notes = Vec::new();
        let rows = rows(ours, &reference(), &mut notes);
        let outcomes = rows.iter().map(|row| row.outcome).collect();
        (outcomes, notes.join("; "))
    }

    #[test]
    fn work_within_its_tolerance_agrees_and_beyond_it_is_red_in_both_directions() {
        for (factor, expected) in [
            (0.95, Outcome::Differs),
            (0.992, Outcome::Agrees),
            (1.008, Outcome::Agrees),
            (1.05, Outcome::Differs),
        ] {
            let ours = work(vec![
                lane("http1-persistent", 2000.0 * factor, 3.0),
                lane("http1-per-request", 6000.0 * factor, 20.0),
            ]);
            let (outcomes, notes) = outcomes(&ours);
            assert_eq!(outcomes[..2], [expected; 2], "{factor}");
            assert_eq!(outcomes[4..6], [expected; 2], "{factor}");
            assert_eq!(outcomes[2..4], [Outcome::Agrees; 2]);
            assert_eq!(notes, "");
        }
    }

    #[test]
    fn what_the_reference_itself_spreads_over_is_no_difference() {
        let expected = |spread| WorkCount {
            per_operation: 1000.0,
            spread,
        };
        let found = |expected| {
            let tolerance = tolerance("client_instructions", expected, INSTRUCTIONS);
            judge(expected, Some(count(1050.0)), tolerance)
        };
        assert_eq!(found(expected(0.0)), Outcome::Differs);
        assert_eq!(found(expected(20.0)), Outcome::Agrees);
    }

    #[test]
    fn a_tenth_of_a_system_call_is_red_where_there_are_few() {
        let calls = |calls| {
            let ours = work(vec![
                lane("http1-persistent", 2000.0, calls),
                lane("http1-per-request", 6000.0, 20.0),
            ]);
            outcomes(&ours).0[2]
        };
        assert_eq!(calls(3.04), Outcome::Agrees);
        assert_eq!(calls(3.1), Outcome::Differs);
        assert_eq!(calls(2.9), Outcome::Differs);
    }

    #[test]
    fn what_the_reference_counted_and_the_run_did_not_is_red() {
        let (found, _) = outcomes(&work(vec![lane("http1-persistent", 2000.0, 3.0)]));
        assert_eq!(found[..4], [Outcome::Agrees; 4]);
        assert_eq!(found[4..], [Outcome::Differs; 4]);
        let mut ours = reference();
        ours.lanes[0].server_instructions = None;
        assert_eq!(outcomes(&ours).0[1], Outcome::Differs);
        let mut notes = Vec::new();
        let text = text(&rows(&ours, &reference(), &mut notes));
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }

    #[test]
    fn another_compiler_is_said_and_not_judged() {
        let mut ours = work(vec![lane("http1-persistent", 9000.0, 30.0)]);
        ours.rustc = "rustc 1.99.0".to_owned();
        let (outcomes, notes) = outcomes(&ours);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Beside));
        assert!(
            notes.contains("the compiler is rustc 1.99.0, the reference's rustc 1.95.0"),
            "{notes}"
        );
    }

    #[test]
    fn another_c_library_widens_the_tolerance_of_instructions() {
        let mut ours = work(vec![
            lane("http1-persistent", 2000.0 * 1.02, 3.0),
            lane("http1-per-request", 6000.0 * 1.05, 20.0),
        ]);
        ours.c_library = "glibc 2.39".to_owned();
        let (outcomes, notes) = outcomes(&ours);
        assert_eq!(outcomes[..2], [Outcome::Agrees; 2]);
        assert_eq!(outcomes[4..6], [Outcome::Differs; 2]);
        assert!(notes.contains("another C library"), "{notes}");
    }

    #[test]
    fn ends_that_could_preempt_each_other_widen_the_tolerance_of_instructions() {
        let mut ours = work(vec![
            lane("http1-persistent", 2000.0 * 1.015, 3.0),
            lane("http1-per-request", 6000.0 * 1.03, 20.0),
        ]);
        ours.is_undisturbed = false;
        let (outcomes, notes) = outcomes(&ours);
        assert_eq!(outcomes[..2], [Outcome::Agrees; 2]);
        assert_eq!(outcomes[4..6], [Outcome::Differs; 2]);
        assert!(
            notes.contains("without real-time priority") && notes.contains("by 2 % instead"),
            "{notes}"
        );
    }
}
