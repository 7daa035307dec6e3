//! The result as plain text, at most 100 columns wide: what is printed after a run.

use std::fmt::Write;

use sockrates_core::summary::Summary;

use crate::dataset::Dataset;
use crate::finding;
use crate::numbers::{self, Row, Table};
use crate::story;
use crate::text::{COLUMNS, paragraph};
use crate::view::View;

/// Tells a run in plain text: the finding, what to know about it, and the key numbers.
pub fn terminal(dataset: &Dataset, summary: &Summary) -> String {
    let view = View::new(dataset);
    let mut text = String::new();
    paragraph(&mut text, &finding::sentence(&view), "");
    for sentence in finding::judgement(&view) {
        paragraph(&mut text, &sentence, "  ");
    }
    paragraph(&mut text, finding::RANGES, "");
    for notice in story::notices(&view) {
        paragraph(&mut text, &format!("! {notice}"), "  ");
    }
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
    let ratio = if table.reference.is_empty() {
        ""
    } else {
        "ratio"
    };
    if table.has_ways {
        write_ways(text, table, ratio);
        return;
    }
    let p50 = format!("{} p50", table.time);
    let rate = format!("{}/s", table.operations);
    line(text, ["lane", &rate, "", &p50, "", "p99", ratio]);
    for row in &table.rows {
        line(text, cells(row));
    }
    write_reference(text, table);
}

/// Ways have long names, and are to be compared by what they cost as much as by their times.
fn write_ways(text: &mut String, table: &Table, ratio: &str) {
    let mut line = |cells: [&str; 5]| {
        let [way, p50, p99, cpu, ratio] = cells;
        let way: String = way.chars().take(38).collect();
        writeln!(text, "  {way:<38}{p50:>15}{p99:>11}{cpu:>18}{ratio:>14}")
            .expect("writing to a string cannot fail");
    };
    let p50 = format!("{} p50", table.time);
    line(["way", &p50, "p99", "CPU/client/s", ratio]);
    for row in &table.rows {
        let (p50, p99, cpu) = (&row.p50.value, &row.p99.value, &row.cpu.value);
        line([&row.lane, p50, p99, cpu, &row.ratio.value]);
    }
    write_reference(text, table);
}

fn write_reference(text: &mut String, table: &Table) {
    if !table.reference.is_empty() {
        writeln!(
            text,
            "  ratio: p50 against {}, median over blocks",
            table.reference
        )
        .expect("writing to a string cannot fail");
    }
}

/// Ranges only where there is room: those of throughput and ratio are in the reports.
fn cells(row: &Row) -> [&str; 7] {
    let [p50, p99] = [&row.p50, &row.p99];
    [
        &row.lane,
        &row.throughput.value,
        &p50.value,
        &p50.range,
        &p99.value,
        &p99.range,
        &row.ratio.value,
    ]
}

/// Lane names to the left, values to the right, ranges beside their values; headings stand above the ranges.
fn line(text: &mut String, cells: [&str; 7]) {
    let [lane, rate, p50, p50_range, p99, p99_range, ratio] = cells;
    let lane: String = lane.chars().take(23).collect();
    let wide = if p50.is_empty() {
        format!("  {lane:<23}{rate:>12}   {p50_range:<25}{p99_range:>4}{ratio:>31}")
    } else {
        format!(
            "  {lane:<23}{rate:>12}{p50:>10} {p50_range:<17}{p99:>10} {p99_range:<17}{ratio:>7}"
        )
    };
    let wide: String = wide.trim_end().chars().take(COLUMNS).collect();
    writeln!(text, "{wide}").expect("writing to a string cannot fail");
}
