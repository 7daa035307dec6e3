//! The result as plain text, at most 100 columns wide: what is printed after a run.

use std::fmt::Write;

use sockrates_core::summary::Summary;

use crate::dataset::Dataset;
use crate::findings;
use crate::numbers::{self, Row, Table};
use crate::story;
use crate::text::{COLUMNS, paragraph};
use crate::view::View;

/// Tells a run in plain text: the finding, what to know about it, and the key numbers.
pub fn terminal(dataset: &Dataset, summary: &Summary) -> String {
    let view = View::new(dataset);
    let mut text = String::new();
    for sentence in findings::judgement(summary) {
        paragraph(&mut text, &sentence, "  ");
    }
    for notice in story::notices(&view, summary) {
        paragraph(&mut text, &format!("! {notice}"), "  ");
    }
    for part in findings::told(&summary.findings, &findings::network(&view)) {
        findings::words::write_text(&mut text, &part, "in the report");
    }
    paragraph(&mut text, findings::RANGES, "");
    for table in numbers::tables(&view, summary) {
        text.push('\n');
        write_table(&mut text, &table);
    }
    let flags = story::flags(summary);
    if !flags.is_empty() {
        text.push('\n');
    }
    for flag in flags {
        paragraph(
            &mut text,
            &format!("{}: {} - {}", flag.name, flag.meaning, flag.cells),
            "  ",
        );
    }
    text
}

fn write_table(text: &mut String, table: &Table) {
    paragraph(text, &format!("{} ({})", table.title, table.detail), "  ");
    if table.has_ways {
        write_ways(text, table);
        return;
    }
    let p50 = format!("{} p50", table.time);
    let rate = format!("{}/s", table.operations);
    line(text, ["lane", &rate, "", &p50, "", "p99"]);
    for row in &table.rows {
        line(text, cells(row));
    }
}

/// Ways have long names, and are to be compared by what they cost as much as by their times.
fn write_ways(text: &mut String, table: &Table) {
    let mut line = |cells: [&str; 4]| {
        let [way, p50, p99, cpu] = cells;
        let way: String = way.chars().take(38).collect();
        writeln!(text, "  {way:<38}{p50:>15}{p99:>11}{cpu:>18}")
            .expect("writing to a string cannot fail");
    };
    let p50 = format!("{} p50", table.time);
    line(["way", &p50, "p99", "CPU/client/s"]);
    for row in &table.rows {
        let (p50, p99, cpu) = (&row.p50.value, &row.p99.value, &row.cpu.value);
        line([&row.lane, p50, p99, cpu]);
    }
}

/// Ranges only where there is room: those of throughput are in the reports.
fn cells(row: &Row) -> [&str; 6] {
    let [p50, p99] = [&row.p50, &row.p99];
    [
        &row.lane,
        &row.throughput.value,
        &p50.value,
        &p50.range,
        &p99.value,
        &p99.range,
    ]
}

/// Lane names to the left, values to the right, ranges beside their values; headings stand above the ranges.
fn line(text: &mut String, cells: [&str; 6]) {
    let [lane, rate, p50, p50_range, p99, p99_range] = cells;
    let lane: String = lane.chars().take(23).collect();
    let wide = if p50.is_empty() {
        format!("  {lane:<23}{rate:>12}   {p50_range:<25}{p99_range:>4}")
    } else {
        format!("  {lane:<23}{rate:>12}{p50:>10} {p50_range:<17}{p99:>10} {p99_range:<17}")
    };
    let wide: String = wide.trim_end().chars().take(COLUMNS).collect();
    writeln!(text, "{wide}").expect("writing to a string cannot fail");
}
