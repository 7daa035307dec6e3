//! The result as plain text, at most 100 columns wide: what is printed after a run.

use std::fmt::Write;

use sockrates_core::summary::Summary;

use crate::dataset::Dataset;
use crate::finding;
use crate::numbers::{self, Number, Row, Table};
use crate::story;
use crate::view::View;

const COLUMNS: usize = 100;

/// Tells a run in plain text: the finding, what to know about it, and the key numbers.
pub fn terminal(dataset: &Dataset, summary: &Summary) -> String {
    let view = View::new(dataset);
    let mut text = String::new();
    paragraph(&mut text, &finding::sentence(&view), "");
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
        paragraph(&mut text, &format!("{}: {} - {}", flag.name, flag.meaning, flag.cells), "  ");
    }
    text
}

fn write_table(text: &mut String, table: &Table) {
    paragraph(text, &format!("{} ({})", table.title, table.detail), "  ");
    let ratio = if table.reference.is_empty() { "" } else { "p50 ratio" };
    let (p50, p99) = (format!("{} p50", table.time), "p99");
    line(text, ["lane", "messages/s", &p50, "", p99, "", ratio, ""]);
    for row in &table.rows {
        line(text, cells(row));
    }
    if !table.reference.is_empty() {
        paragraph(text, &format!("ratio to {}, median over blocks", table.reference), "  ");
    }
}

fn cells(row: &Row) -> [&str; 8] {
    let Row {
        throughput,
        p50,
        p99,
        ratio,
        ..
    } = row;
    // Ranges only where there is room: throughput's is in the reports.
    let [a, b, c] = [p50, p99, ratio].map(|number: &Number| [number.value.as_str(), number.range.as_str()]);
    [&row.lane, &throughput.value, a[0], a[1], b[0], b[1], c[0], c[1]]
}

/// Lane names to the left, values to the right, ranges beside their values.
fn line(text: &mut String, cells: [&str; 8]) {
    let [lane, rate, p50, p50_range, p99, p99_range, ratio, ratio_range] = cells;
    let lane: String = lane.chars().take(24).collect();
    let line = if p50_range.is_empty() && p50.contains("p50") {
        format!("  {lane:<24}{rate:>11}{p50:>20}{:>6}{p99:>9}{:>17}{ratio:>11}", "", "")
    } else {
        format!(
            "  {lane:<24}{rate:>11}{p50:>9} {p50_range:<15}{p99:>10} {p99_range:<15}{ratio:>5} {ratio_range}"
        )
    };
    let line: String = line.trim_end().chars().take(COLUMNS).collect();
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}

/// Breaks a text into lines, the second and later ones indented.
fn paragraph(text: &mut String, words: &str, indent: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > COLUMNS {
            text.push('\n');
            text.push_str(indent);
            width = indent.len();
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text.push('\n');
}
