//! Nothing is stated that is not carried: every output of runs with clear, equal, noisy and divided lanes is searched for
//! effects, and each must be one whose verdict carries it, beside values that give it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use sockrates_core::calibration::{Calibration, WakeTimes, WakeUp};
use sockrates_core::finding::{Effect, Finding, Part};
use sockrates_core::plan::{Plan, TrialSpec};
use sockrates_core::record::{Metric, TrialRecord};
use sockrates_core::summary::{Estimate, Summary, Verdict};
use sockrates_report::{Dataset, compare_lanes, compare_runs, gate, summarize, terminal};

use crate::synthetic::{Random, constant, dataset, planned_echo, record};

const LANES: [&str; 5] = [
    "tcp-persistent",
    "http1-per-request",
    "http1-persistent",
    "websocket-per-request",
    "websocket-persistent",
];

/// What the lanes of a run are like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// All lie clearly apart.
    Clear,
    /// The kept lanes are the same.
    Equal,
    /// Single blocks lie so far apart that nothing can be told.
    Noisy,
    /// The kept WebSocket has two modes.
    Divided,
}

const SHAPES: [Shape; 4] = [Shape::Clear, Shape::Equal, Shape::Noisy, Shape::Divided];

fn trial(shape: Shape, luck: u64, spec: TrialSpec) -> TrialRecord {
    let lane = spec.cell.lane.to_string();
    let mut random = Random::new(luck ^ spec.seed ^ (u64::from(spec.index) << 24));
    for _ in 0..4 {
        random.uniform();
    }
    let micros = match (lane.as_str(), shape) {
        ("tcp-persistent", _) => 20.0,
        ("http1-per-request", _) => 80.0,
        ("websocket-per-request", _) => 120.0,
        ("websocket-persistent", Shape::Clear) => 30.0,
        ("websocket-persistent", Shape::Divided) if spec.block.is_multiple_of(3) => 58.0,
        _ => 40.0,
    };
    let noise = match shape {
        Shape::Noisy => 0.45,
        _ => 0.004,
    };
    let ns = micros * 1000.0 * (noise * random.normal()).exp();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let ns = ns as u64;
    let mut histograms = BTreeMap::from([(Metric::ServiceTime, constant(ns, 500_000_000 / ns))]);
    if lane.ends_with("per-request") {
        for metric in [Metric::Connect, Metric::Handshake, Metric::Close] {
            histograms.insert(metric, constant(ns / 4, 10));
        }
    }
    record(spec, histograms)
}

fn run(shape: Shape, luck: u64) -> Dataset {
    dataset(planned_echo(&LANES, &[1], 12), |spec| {
        trial(shape, luck, spec)
    })
}

/// Returns every rendering of a run, by name; pictures are part of the page.
fn outputs(dataset: &Dataset) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let summary = sockrates_report::write(folder.path(), dataset).unwrap();
    let mut texts = vec![("terminal".to_owned(), terminal(dataset, &summary))];
    for name in ["report.md", "report.html"] {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        texts.push((name.to_owned(), text));
    }
    texts
}

fn carries(verdict: Option<Verdict>) -> bool {
    verdict != Some(Verdict::Inconclusive)
}

/// An estimate as any output may write it.
fn written(estimate: &Estimate) -> [String; 2] {
    let plain = |ratio: f64| match ratio {
        r if r < 1.995 => format!("{r:.2}"),
        r if r < 9.95 => format!("{r:.1}"),
        r => format!("{r:.0}"),
    };
    let exact = |ratio: f64| format!("{ratio:.3}");
    let write = |number: &dyn Fn(f64) -> String| {
        let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(number);
        format!("{value}× [{low}–{high}]")
    };
    [write(&plain), write(&exact)]
}

fn allowed<'a>(estimates: impl Iterator<Item = &'a Estimate>) -> BTreeSet<String> {
    estimates.flat_map(written).collect()
}

/// Everything that the verdicts of a run carry.
fn carried(summary: &Summary) -> BTreeSet<String> {
    let compared = summary
        .comparisons
        .iter()
        .filter(|found| found.verdict != Verdict::Inconclusive)
        .filter_map(|found| found.ratio.as_ref());
    let findings = of_findings(&summary.findings);
    let mut all = allowed(compared.chain(findings));
    for found in &summary.attributions {
        let effects = [
            ("total", &found.total),
            ("reuse", &found.reuse),
            ("protocol", &found.protocol),
            ("protocol_per_request", &found.protocol_per_request),
            ("reuse_of_websocket", &found.reuse_of_websocket),
            ("reuse_main", &found.reuse_main),
            ("protocol_main", &found.protocol_main),
            ("interaction", &found.interaction),
        ];
        for (name, estimate) in effects {
            let verdict = found.verdicts.get(name);
            if verdict.is_some_and(|verdict| *verdict != Verdict::Inconclusive) {
                all.extend(written(estimate));
            }
        }
    }
    all
}

fn of_findings(findings: &[Finding]) -> impl Iterator<Item = &Estimate> {
    findings
        .iter()
        .filter(|found| found.part == Part::Here && carries(found.verdict))
        .filter_map(|found| found.estimate.as_ref())
}

/// Finds every ratio that a text states: `2.0× [1.9–2.1]`, with what follows.
fn stated(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\\[", "[").replace("\\]", "]");
    let text = text.replace("&#x2f;", "/");
    // A line may be broken anywhere between words.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (at, sign) in text.match_indices('×') {
        let head = &text[..at];
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let start = head.trim_end_matches(is_number).len();
        let rest = &text[at + sign.len()..];
        let Some(end) = rest.find(']').filter(|_| rest.starts_with(" [")) else {
            continue;
        };
        if start < at {
            let follows: String = rest[end + 1..].chars().take(60).collect();
            found.push((format!("{}×{}", &head[start..], &rest[..=end]), follows));
        }
    }
    found
}

/// Reads a time or a rate back: `24.3 µs`, `61.2 k/s`.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let unit = text[end..].trim();
    // CPU time in a second.
    let unit = match unit.strip_suffix("s/s") {
        Some(small) => format!("{small}s"),
        None => unit.to_owned(),
    };
    let scale = match unit.as_str() {
        "ns" | "/s" | "×" | "" => 1.0,
        "µs" | "k/s" => 1e3,
        "ms" | "M/s" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(text[..end].parse::<f64>().ok()? * scale)
}

/// Checks that the values behind a ratio, if any, give it, but for the rounding of all three.
fn check_values(name: &str, ratio: &str, follows: &str) -> bool {
    let Some(inside) = follows
        .strip_prefix(" (")
        .and_then(|rest| rest.split(')').next())
    else {
        return false;
    };
    let sides = inside
        .split_once(" against ")
        .or_else(|| inside.split_once(" after "));
    let Some((one, other)) = sides else {
        return false;
    };
    let read =
        |side: &str| number(side).unwrap_or_else(|| panic!("{name}: {side:?} in {inside:?}"));
    // Ratios of ratios are written with two digits.
    let coarse = if one.contains('×') { 0.04 } else { 0.0 };
    let (one, other) = (read(one), read(other));
    let value: f64 = ratio.split('×').next().unwrap().parse().unwrap();
    let coarseness = if value < 1.995 { 0.006 } else { 0.051 };
    let rounding = coarse + 0.011 + coarseness / value;
    assert!(
        (one / other / value - 1.0).abs() < rounding,
        "{name}: {one} over {other} is not {ratio}"
    );
    true
}

fn check(name: &str, text: &str, allowed: &BTreeSet<String>) -> (usize, usize) {
    let stated = stated(text);
    let mut with_values = 0;
    for (ratio, follows) in &stated {
        assert!(
            allowed.contains(ratio),
            "{name} states {ratio}, which no verdict carries:\n{text}"
        );
        with_values += usize::from(check_values(name, ratio, follows));
    }
    (stated.len(), with_values)
}

#[test]
fn no_output_states_what_its_verdict_does_not_carry() {
    for shape in SHAPES {
        let dataset = run(shape, 1);
        let summary = summarize(&dataset);
        let carried = carried(&summary);
        for (name, text) in outputs(&dataset) {
            let name = format!("{shape:?} {name}");
            let (all, with_values) = check(&name, &text, &carried);
            if !matches!(shape, Shape::Noisy) {
                assert!(all > 5 && with_values > 3, "{name}: {all} {with_values}");
            }
            let order = [
                "Holds everywhere",
                "Holds on this machine",
                "Could not be told",
            ];
            let places = order.map(|part| text.find(part).unwrap());
            assert!(places.is_sorted(), "{name}");
        }
    }
}

#[test]
fn findings_are_in_the_part_that_their_verdict_allows() {
    for shape in SHAPES {
        let summary = summarize(&run(shape, 1));
        assert!(summary.findings.iter().map(|found| found.part).is_sorted());
        for found in &summary.findings {
            let is_open = found.verdict == Some(Verdict::Inconclusive);
            assert_eq!(is_open, found.part == Part::NotTold, "{found:?}");
            if let Effect::Difference { .. } = found.effect
                && let (Some((one, other)), Some(ratio)) = (found.values, found.estimate)
            {
                assert!((one / other / ratio.value - 1.0).abs() < 1e-9, "{found:?}");
            }
        }
        let counts = |part| {
            let of = |found: &&Finding| found.part == part;
            summary.findings.iter().filter(of).count()
        };
        match shape {
            Shape::Noisy => assert!(counts(Part::NotTold) > 5),
            _ => assert!(counts(Part::Here) > counts(Part::NotTold), "{shape:?}"),
        }
    }
}

#[test]
fn what_was_not_told_stands_with_its_bound() {
    let dataset = run(Shape::Noisy, 1);
    let text = terminal(&dataset, &summarize(&dataset));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let open = &text[text.find("Could not be told").unwrap()..];
    assert!(
        open.contains("http1-persistent against websocket-persistent: service time p50")
            && open.contains("differ at most"),
        "{text}"
    );
}

#[test]
fn two_groups_of_trials_are_named() {
    let dataset = run(Shape::Divided, 1);
    let summary = summarize(&dataset);
    let divided: Vec<_> = summary
        .cells
        .iter()
        .filter_map(|cell| cell.two_modes.as_ref())
        .collect();
    assert_eq!(divided.len(), 1);
    assert_eq!((divided[0].low_trials, divided[0].high_trials), (8, 4));
    for (name, text) in outputs(&dataset) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "medians fall into two groups",
            "trials of websocket-persistent fall into two groups: 8 near 40",
        ] {
            assert!(text.contains(part), "{name} lacks {part:?}");
        }
    }
    for other in [Shape::Clear, Shape::Equal] {
        let summary = summarize(&run(other, 1));
        assert!(summary.cells.iter().all(|cell| cell.two_modes.is_none()));
    }
}

#[test]
fn comparisons_of_runs_and_lanes_state_nothing_else() {
    for (one, other) in [
        (Shape::Clear, Shape::Clear),
        (Shape::Equal, Shape::Clear),
        (Shape::Noisy, Shape::Equal),
        (Shape::Noisy, Shape::Noisy),
    ] {
        let (a, b) = (run(one, 1), run(other, 2));
        let compared = compare_runs(&a, &b).unwrap();
        let carried = allowed(of_findings(&compared.findings()));
        for text in [compared.text(), compared.markdown()] {
            check(&format!("compare {one:?} {other:?}"), &text, &carried);
        }
        let checked = gate::check(&b, &a, false).unwrap();
        let carried = allowed(of_findings(&checked.findings()));
        for text in [checked.text(), checked.markdown()] {
            check(&format!("check {one:?} {other:?}"), &text, &carried);
        }
        let lanes = ["websocket-persistent", "http1-persistent"].map(|lane| lane.parse().unwrap());
        let compared = compare_lanes(&b, &lanes[0], &lanes[1]).unwrap();
        let carried = allowed(of_findings(&compared.findings()));
        for text in [compared.text(), compared.markdown()] {
            check(&format!("lanes {other:?}"), &text, &carried);
        }
    }
}

/// As `run --compare-lifecycles` measures: one protocol, both lifecycles, no null lane.
#[test]
fn a_comparison_of_lifecycles_states_nothing_else() {
    for shape in SHAPES {
        let plan = planned_echo(&["http1-per-request", "http1-persistent"], &[1], 12);
        let cells = plan.cells.into_iter().filter(|cell| !cell.is_null());
        let plan = Plan::of_cells("lifecycles", cells.collect(), 12, 3);
        let dataset = dataset(plan, |spec| trial(shape, 3, spec));
        let carried = carried(&summarize(&dataset));
        for (name, text) in outputs(&dataset) {
            check(&format!("{shape:?} lifecycles {name}"), &text, &carried);
        }
    }
}

#[test]
fn the_scanner_finds_what_is_stated() {
    let text = "p50 2.0×\n  [1.9–2.1] (80.0 µs against 40.0 µs), 3 × 4, at most 1.39×";
    let found = stated(text);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "2.0× [1.9–2.1]");
    assert!(check_values("", &found[0].0, &found[0].1));
}

#[test]
fn what_waking_a_cpu_takes_is_told_where_it_was_measured() {
    let mut dataset = run(Shape::Clear, 1);
    let of_wake_up = |found: &&Finding| matches!(found.effect, Effect::WakeUp { .. });
    let none = summarize(&dataset);
    assert!(!none.findings.iter().any(|found| of_wake_up(&found)));

    let times = |p50_ns| WakeTimes {
        p50_ns,
        p99_ns: 90_000,
    };
    let calibration = |p50_ns| Calibration {
        wake_up: Some(WakeUp {
            as_is: times(p50_ns),
            awake: Some(times(3_000)),
        }),
        ..Calibration::default()
    };
    dataset.manifest.calibrations = [40_000, 44_000].map(calibration).to_vec();
    let summary = summarize(&dataset);
    let found = summary.findings.iter().find(of_wake_up).unwrap();
    assert_eq!(found.part, Part::Here);
    let estimate = found.estimate.unwrap();
    assert_eq!(
        (estimate.value, estimate.low, estimate.high),
        (42_000.0, 40_000.0, 44_000.0)
    );
    for (name, output) in outputs(&dataset) {
        let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_told = words.contains("took 42.0 µs") && words.contains("3 µs when it was kept");
        assert!(is_told, "{name}");
    }

    // A machine that refuses idle priority knows only the first.
    for one in &mut dataset.manifest.calibrations {
        one.wake_up.as_mut().unwrap().awake = None;
    }
    let text = terminal(&dataset, &summarize(&dataset));
    assert!(text.contains("idle priority was refused"), "{text}");
}
