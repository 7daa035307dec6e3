//! The pages: complete, in order, harmless whatever a record holds, and there for runs of any shape.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sockrates_core::manifest::RunStatus;
use sockrates_core::plan::Plan;
use sockrates_core::record::{FailedTrial, Metric, TrialRecord};
use sockrates_report::{Dataset, charts};

use crate::synthetic::{self, constant, dataset, echo_plan, realistic, record};

const HOSTILE: &str = "<script>alert(1)</script>--> & \"x\" 'y' | `z` [a](b) \u{202e}\n=1+1 {{7*7}} ../../x \0 \
    \x1b]0;title\x07 \u{9b}2J \u{200b} <img src=x onerror=alert(2)>";

/// Says whether a character acts on whoever shows it.
fn acts(c: char) -> bool {
    c != '\n' && sockrates_core::harmless::acts(c)
}

/// Writes everything, and returns all texts by their file's name.
fn texts(dataset: &Dataset) -> BTreeMap<String, String> {
    let run = tempfile::tempdir().unwrap();
    sockrates_report::write(run.path(), dataset).unwrap();
    let folders = [run.path().to_owned(), run.path().join("charts")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|end| end != "png"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn is_picture(name: &str) -> bool {
    name.contains(".svg")
}

#[test]
fn every_document_names_the_command_that_rebuilds_it() {
    let texts = texts(&dataset(synthetic::quick(1), |spec| realistic(spec, 50)));
    for (name, text) in &texts {
        assert!(
            text.contains("sockrates report 20260921T132640Z-6f8eec1"),
            "{name}"
        );
    }
    assert!(
        texts["report.md"]
            .starts_with("<!-- rebuild: sockrates report 20260921T132640Z-6f8eec1 -->\n")
    );
    let stems: Vec<_> = charts()
        .map(|(stem, question)| {
            assert!(question.ends_with('?'));
            stem
        })
        .collect();
    for name in texts.keys().filter(|name| is_picture(name)) {
        assert!(stems.iter().any(|stem| name.starts_with(stem)), "{name}");
    }
}

#[test]
fn the_pages_tell_in_order_and_need_nothing_else() {
    let texts = texts(&dataset(synthetic::quick(1), |spec| realistic(spec, 50)));
    let order = |page: &str, parts: &[&str]| {
        let places: Vec<_> = parts
            .iter()
            .map(|part| page.find(part).unwrap_or_else(|| panic!("{part}")))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
    };
    let parts = [
        "Holds everywhere",
        "Holds on this machine, over loopback",
        "Could not be told",
        "How many messages",
        "Key numbers",
        "What to know before quoting",
        "Environment",
        "seed",
    ];
    order(&texts["report.html"], &parts);
    order(&texts["report.md"], &parts);
    let html = &texts["report.html"];
    for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
        let own = html.matches(outside).count();
        let namespaces = if outside == "http://" {
            html.matches("http://www.w3.org/2000/svg").count()
        } else {
            0
        };
        assert_eq!(own, namespaces, "{outside}");
    }
    let charts = texts.keys().filter(|name| is_picture(name)).count();
    assert_eq!(html.matches("<svg ").count(), charts);
}

#[test]
fn everything_on_the_page_can_be_linked_and_reached() {
    let texts = texts(&dataset(synthetic::quick(6), |spec| realistic(spec, 200)));
    let html = &texts["report.html"];
    let attribute = |name: &str| -> Vec<&str> {
        let start = format!(" {name}=\"");
        html.split(start.as_str())
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect()
    };
    let ids = attribute("id");
    let links: Vec<_> = attribute("href")
        .into_iter()
        .filter_map(|link| link.strip_prefix('#'))
        .collect();
    assert!(links.len() > 15, "{links:?}");
    for link in links {
        let named = ids.iter().filter(|id| **id == link).count();
        assert_eq!(named, 1, "{link}");
    }
    for name in texts.keys().filter(|name| is_picture(name)) {
        let stem = name.trim_end_matches(".svg");
        assert!(ids.contains(&stem), "{stem}");
    }
    let tables = html.find("id=\"numbers\"").unwrap();
    let first = html.find("<svg ").unwrap();
    let contents = html.find("id=\"contents\"").unwrap();
    assert!(first < contents && html.rfind("<svg ").unwrap() < tables);
    assert_eq!(html.matches("<th>").count(), 0, "each head has its scope");
    let regions = html.matches("class=\"scroll\"").count();
    assert_eq!(
        html.matches("class=\"scroll\" role=\"region\" tabindex=\"0\"")
            .count(),
        regions
    );
}

#[test]
fn hostile_text_stays_text_everywhere() {
    let mut plan = echo_plan(&["http1-persistent", "http1-per-request"], &[1, 4], 2);
    for cell in &mut plan.cells {
        cell.scenario = HOSTILE.to_owned();
        cell.id = format!("{HOSTILE}{}", cell.id);
        cell.lane.client = Some(HOSTILE.to_owned());
    }
    plan.name = HOSTILE.to_owned();
    let mut made = dataset(plan, |spec| match spec.block {
        0 => realistic(spec, 50),
        _ => TrialRecord::failed(spec, 0, FailedTrial::Harness, HOSTILE.to_owned()),
    });
    let manifest = &mut made.manifest;
    manifest.run_id = HOSTILE.to_owned();
    manifest.command = HOSTILE.to_owned();
    manifest.fingerprint.cpu_model = HOSTILE.to_owned();
    manifest.fingerprint.version = HOSTILE.to_owned();
    made.damaged
        .push((PathBuf::from(HOSTILE), HOSTILE.to_owned()));
    for (name, text) in texts(&made) {
        if name == "summary.json" {
            continue;
        }
        assert!(!text.contains(acts), "{name}");
        if name == "summary.csv" {
            let mut table = csv::Reader::from_reader(text.as_bytes());
            for row in table.records() {
                assert!(
                    row.unwrap()
                        .iter()
                        .all(|field| !field.starts_with(['=', '+', '-', '@']))
                );
            }
            continue;
        }
        assert!(
            !text.contains("<script") && !text.contains("<img"),
            "{name}"
        );
        assert!(!name.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.@".contains(c)));
        assert_eq!(
            text.matches("-->").count(),
            text.matches("<!--").count(),
            "{name}"
        );
        if name == "report.md" {
            assert!(!text.contains("[a](b)"), "{name}");
        }
    }
}

/// A spreadsheet would compute what begins like a formula, also behind blanks.
#[test]
fn no_field_of_a_table_is_a_formula() {
    for formula in [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r@x",
        " \u{202e} =1",
    ] {
        let mut plan = echo_plan(&["http1-persistent"], &[1], 1);
        for cell in &mut plan.cells {
            cell.scenario = formula.to_owned();
        }
        let made = dataset(plan, |spec| realistic(spec, 50));
        let run = tempfile::tempdir().unwrap();
        sockrates_report::write(run.path(), &made).unwrap();
        let mut table = csv::Reader::from_path(run.path().join("summary.csv")).unwrap();
        let mut heads = table.headers().unwrap().iter();
        let scenario = heads.position(|head| head == "scenario").unwrap();
        for row in table.records() {
            let row = row.unwrap();
            assert!(
                row[scenario].starts_with('\''),
                "{formula:?}: {}",
                &row[scenario]
            );
        }
    }
}

/// Every chart's file is named after what it shows, and stays where charts are.
#[test]
fn hostile_names_of_scenarios_make_no_paths() {
    let known = sockrates_core::profile::scenarios();
    let several_ways = known.iter().find(|scenario| scenario.name == "updates");
    let ways = Plan::new("updates", &[several_ways.unwrap().clone()], 1, 1);
    let mut plan = synthetic::quick(1);
    plan.cells.extend(ways.cells);
    let count = u32::try_from(plan.cells.len()).unwrap();
    plan.blocks = vec![(0..count).collect()];
    for cell in &mut plan.cells {
        cell.scenario = format!("../../{}/\0{}", cell.scenario, "x".repeat(100_000));
    }
    let drawn = texts(&dataset(plan, |spec| realistic(spec, 50)));
    for stem in ["percentiles", "time-series", "news-cost"] {
        assert!(drawn.keys().any(|name| name.starts_with(stem)), "{stem}");
    }
    for name in drawn.keys() {
        assert!(name.len() < 128 && !name.starts_with('.'), "{name}");
    }
}

/// Text as it is printed, and as Markdown for the summary of a job.
#[test]
fn hostile_text_stays_text_where_runs_are_compared() {
    let hostile = |luck: u64| {
        let mut plan = echo_plan(&["http1-persistent", "http1-per-request"], &[1], 6);
        plan.seed = luck;
        for cell in &mut plan.cells {
            cell.scenario = HOSTILE.to_owned();
            // Its second part is taken for the lane.
            cell.id = format!("tiny.{}{}", HOSTILE.replace('.', ""), cell.lane);
        }
        let mut made = dataset(plan, |spec| realistic(spec, 50));
        made.manifest.run_id = format!("{HOSTILE}{luck}");
        made.manifest.fingerprint.cpu_model = format!("{HOSTILE}{luck}");
        made
    };
    let (a, b) = (hostile(1), hostile(2));
    let compared = sockrates_report::compare_runs(&a, &b).unwrap();
    let checked = sockrates_report::gate::check(&a, &b, false).unwrap();
    for text in [compared.text(), checked.text()] {
        assert!(text.contains("alert") && !text.contains(acts), "{text:?}");
    }
    for page in [compared.markdown(), checked.markdown()] {
        assert!(page.contains("alert") && !page.contains(acts), "{page:?}");
        for markup in ["<script", "<img", "`z`", " [a](b)"] {
            assert!(!page.contains(markup), "{markup}: {page}");
        }
    }
    let folder = compared.folder_name();
    assert!(
        !folder.contains(['/', '\0', '<']) && folder.len() < 255,
        "{folder}"
    );
}

#[test]
fn what_is_missing_stands_at_the_top() {
    let plan = echo_plan(&["http1-persistent", "websocket-persistent"], &[1], 3);
    let mut made = dataset(plan, |spec| {
        match (spec.cell.lane.transport.as_str(), spec.block) {
            ("http1", 0) => realistic(spec, 50),
            _ => TrialRecord::failed(spec, 0, FailedTrial::ServerLost, "it ended".to_owned()),
        }
    });
    made.manifest.status = RunStatus::Partial;
    made.records.retain(|record| record.spec.block < 2);
    let (manifest, records) = (made.manifest, made.records);
    let texts = texts(&Dataset::new(manifest, records, Vec::new()));
    for name in ["report.html", "report.md"] {
        let page = &texts[name];
        let top = &page[..page.find("Key numbers").unwrap()];
        assert!(
            top.contains("This run is partial: 4 of 6 planned trials have a record."),
            "{name}"
        );
        assert!(
            top.contains("3 of 4 trials failed and are in no number."),
            "{name}"
        );
        assert!(top.contains("1 of 2 cells have no valid trial."), "{name}");
        assert!(page.contains("it ended"), "{name}");
    }
}

/// One trial, one lane, times without any spread, times of zero, nothing at all.
#[test]
fn runs_of_any_shape_are_drawn() {
    let of = |ns: u64, count: u64| {
        move |spec| {
            let metrics = [
                Metric::ServiceTime,
                Metric::Connect,
                Metric::Handshake,
                Metric::Exchange,
            ];
            record(
                spec,
                metrics.map(|metric| (metric, constant(ns, count))).into(),
            )
        }
    };
    let plan = |connections: &[u32]| echo_plan(&["http1-per-request"], connections, 1);
    let shapes: [(Plan, u64, u64); 5] = [
        (plan(&[1]), 20_000, 1),
        (plan(&[1]), 20_000, 100),
        (plan(&[1, 8]), 20_000, 5000),
        (plan(&[1]), 0, 5000),
        (plan(&[1, 65_536]), 60_000_000_000, 5000),
    ];
    for (plan, ns, count) in shapes {
        let texts = texts(&dataset(plan, of(ns, count)));
        assert!(texts.contains_key("throughput.svg"), "{ns} {count}");
    }
    let made = dataset(plan(&[1]), of(1, 1));
    let texts = texts(&Dataset::new(made.manifest, Vec::new(), Vec::new()));
    assert!(texts["report.html"].contains("No trial of this run counts"));
    assert!(!texts.keys().any(|name| is_picture(name)));
}

#[test]
fn rows_have_as_many_cells_as_their_tables_heads() {
    let dataset = dataset(synthetic::quick(6), |spec| realistic(spec, 200));
    let report = &texts(&dataset)["report.md"];
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let (mut tables, mut heads) = (0, None);
    for line in report.lines() {
        if !line.starts_with('|') {
            heads = None;
            continue;
        }
        tables += usize::from(heads.is_none());
        let wanted = *heads.get_or_insert(cells(line));
        assert_eq!(cells(line), wanted, "{line}");
        assert!(wanted > 2, "{line}");
    }
    assert!(tables > 8, "{tables}");
}
