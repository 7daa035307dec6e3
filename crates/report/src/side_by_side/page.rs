//! What is compared as text: for the terminal, and as a page of Markdown with pictures.

use std::path::Path;

use anyhow::Context;
use sockrates_core::files::write_whole;
use sockrates_core::units;

use super::points::{Compared, Counted, Point};
use super::{FieldDifference, Kind, SideBySide};
use crate::charts::{Drawn, overlay, render};
use crate::dataset::Dataset;
use crate::findings;
use crate::sheets;
use crate::text;
use crate::view::View;

/// How ratios and the values beside them are to be read.
const LEGEND: &str = "B/A is the estimated ratio of B to A with its 95 % interval, beside values from the same estimate; above \
     1, B's number is the larger.";

/// A table for the terminal and for Markdown.
struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A table's column. On the terminal those without a width are left out.
struct Column {
    heading: &'static str,
    width: usize,
    is_number: bool,
}

const fn words(heading: &'static str, width: usize) -> Column {
    Column {
        heading,
        width,
        is_number: false,
    }
}

const fn number(heading: &'static str, width: usize) -> Column {
    Column {
        heading,
        width,
        is_number: true,
    }
}

impl SideBySide {
    /// Replaces the command that is told to make this again, where ids alone do not find the runs.
    #[must_use]
    pub fn with_command(mut self, command: &str) -> Self {
        self.command = text::line(command);
        self
    }

    /// Returns a folder's name for what is written: `A--B`.
    pub fn folder_name(&self) -> String {
        format!("{}--{}", text::slug(&self.a.name), text::slug(&self.b.name))
    }

    /// Draws A and B over each other, from the same datasets (lanes: the same one twice) that were compared. Nothing is
    /// drawn where only ratios may be compared.
    pub fn charts(&self, a: &Dataset, b: &Dataset) -> Charts {
        if !self.is_absolute {
            return Charts::default();
        }
        Charts(overlay::draw(self, &View::new(a), &View::new(b)))
    }

    /// Writes `compare.md` and the pictures.
    pub fn write(&self, folder: &Path, charts: &Charts) -> anyhow::Result<()> {
        let save = |name: &str, contents: &[u8]| {
            let path = folder.join(name);
            write_whole(&path, contents).with_context(|| format!("write {}", path.display()))
        };
        save("compare.md", self.page(&charts.0).as_bytes())?;
        for chart in &charts.0 {
            let comment = format!(
                "{}; made by: {}",
                chart.question,
                text::comment(&self.command)
            );
            let svg = render::svg(&chart.scene, &comment)?;
            save(&format!("{}.svg", chart.stem), svg.as_bytes())?;
            let name = format!("{}.png", chart.stem);
            save(&name, &render::png(&chart.scene, &folder.join(&name))?)?;
        }
        Ok(())
    }

    /// Says whether two lanes of one run are compared, and not two runs.
    pub(crate) fn is_of_lanes(&self) -> bool {
        self.kind == Kind::Lanes
    }

    /// Names both sides as pictures do.
    pub(crate) fn sides(&self) -> String {
        let sides = format!("A: {} · B: {}", self.a.name, self.b.name);
        match self.kind {
            Kind::Runs => sides,
            Kind::Lanes => format!("{sides} · run {}", self.a.run_id),
        }
    }

    /// Names the versions that measured.
    pub(crate) fn versions(&self) -> String {
        if self.a.version == self.b.version {
            format!("sockrates {}", self.a.version)
        } else {
            format!("sockrates {} and {}", self.a.version, self.b.version)
        }
    }

    fn heading(&self) -> String {
        match self.kind {
            Kind::Runs => format!("A is run {}, B is run {}", self.a.name, self.b.name),
            Kind::Lanes => format!(
                "A is {}, B is {}, both of run {}",
                self.a.name, self.b.name, self.a.run_id
            ),
        }
    }

    /// Tells it in plain text, at most 100 columns wide.
    pub fn text(&self) -> String {
        let mut text = String::new();
        text::paragraph(&mut text, &format!("{}. {}", self.heading(), LEGEND), "  ");
        for notice in &self.notices {
            text::paragraph(&mut text, &format!("! {notice}"), "  ");
        }
        for field in &self.fingerprint_differences {
            let FieldDifference { field, a, b } = field;
            text::paragraph(&mut text, &format!("- {field}: A: {a} | B: {b}"), "  ");
        }
        text.push('\n');
        for part in findings::told(&self.findings(), "loopback") {
            findings::words::write_text(&mut text, &part, "in the tables");
        }
        for table in self.tables(!self.is_absolute) {
            text.push('\n');
            table.write_text(&mut text);
        }
        if !self.not_compared.is_empty() {
            text.push_str("\nNot compared\n");
        }
        for cell in &self.not_compared {
            text::paragraph(
                &mut text,
                &format!("- {}: {}", cell.what, cell.reason),
                "  ",
            );
        }
        text
    }

    /// Tells it as Markdown, all of it, without pictures.
    pub fn markdown(&self) -> String {
        self.page(&[])
    }

    fn page(&self, charts: &[Drawn]) -> String {
        let mut page = format!(
            "Made by: `{}`\n\n# {}\n\n{}\n",
            self.command.replace('`', "'"),
            escaped(&self.heading()),
            escaped(LEGEND)
        );
        let mut list = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                page.push_str(&format!("\n## {title}\n\n"));
                for line in lines {
                    page.push_str(&format!("- {}\n", escaped(&line)));
                }
            }
        };
        list("To know", self.notices.clone());
        for part in findings::told(&self.findings(), "loopback") {
            findings::words::write_markdown(&mut page, &part);
        }
        let mut list = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                page.push_str(&format!("\n## {title}\n\n"));
                for line in lines {
                    page.push_str(&format!("- {}\n", escaped(&line)));
                }
            }
        };
        let differing = self.fingerprint_differences.iter();
        let differing =
            differing.map(|field| format!("{}: A: {} | B: {}", field.field, field.a, field.b));
        list("Differing fingerprints", differing.collect());
        let left_out = self.not_compared.iter();
        let left_out = left_out.map(|cell| format!("{}: {}", cell.what, cell.reason));
        list("Not compared", left_out.collect());
        for table in self.tables(true) {
            table.write_markdown(&mut page);
        }
        for chart in charts {
            let (alt, stem) = (
                escaped(&format!("{} {}", chart.question, chart.caption)),
                &chart.stem,
            );
            page.push_str(&format!(
                "\n![{alt}]({stem}.svg)\n\n{}\n",
                escaped(chart.reading)
            ));
        }
        page
    }

    /// Makes the tables; a short list keeps only the main number of the ratios between lanes.
    fn tables(&self, is_full: bool) -> Vec<Table> {
        let mut tables = Vec::new();
        for point in &self.load_points {
            tables.extend(self.numbers(point));
            for reference in point.references() {
                tables.extend(ratios(point, reference, is_full));
            }
            tables.extend(self.count_table(point));
        }
        tables
    }

    fn numbers(&self, point: &Point) -> Option<Table> {
        let is_of_lanes = self.is_of_lanes();
        let first = |row: &Compared| {
            if is_of_lanes {
                Vec::new()
            } else {
                vec![row.name.clone()]
            }
        };
        let last = |row: &Compared| {
            if is_of_lanes {
                vec![row.difference_text()]
            } else {
                Vec::new()
            }
        };
        let rows: Vec<_> = point
            .rows(None)
            .map(|row| [first(row), middle(row), last(row), ending(row)].concat())
            .collect();
        let columns = if is_of_lanes {
            vec![
                words("number", 13),
                number("A", 12),
                number("B", 12),
                number("B/A", 25),
                number("B - A", 13),
                words("verdict", 18),
                number("trials", 0),
            ]
        } else {
            run_columns(point)
        };
        let title = format!("{} ({}; {})", point.title(), point.payload, point.time);
        Table::of(title, columns, rows)
    }

    fn count_table(&self, point: &Point) -> Option<Table> {
        let lane = |row: &Counted| {
            if self.is_of_lanes() {
                Vec::new()
            } else {
                vec![row.lane_b.to_string()]
            }
        };
        let rows = point
            .counts
            .iter()
            .map(|row| {
                let rest = [
                    row.count.replace('_', " "),
                    count_text(row.a_per_operation),
                    count_text(row.b_per_operation),
                    sheets::verdict(row.verdict).to_owned(),
                ];
                [lane(row), rest.to_vec()].concat()
            })
            .collect();
        let mut columns = vec![
            words("per operation", 24),
            number("A", 12),
            number("B", 12),
            words("verdict", 18),
        ];
        if !self.is_of_lanes() {
            columns.insert(0, words("lane", 24));
        }
        let title = format!("{} ({}; counted)", point.title(), point.payload);
        Table::of(title, columns, rows)
    }
}

/// Names of ways of learning of events are long: on the terminal they take the place of A.
fn run_columns(point: &Point) -> Vec<Column> {
    let names = point.comparisons.iter().map(|row| row.name.chars().count());
    let (name, a) = match names.max() {
        Some(longest) if longest > 23 => (34, 0),
        _ => (23, 10),
    };
    vec![
        words("lane", name),
        words("number", 11),
        number("A", a),
        number("B", 10),
        number("B/A", 22),
        words("verdict", 18),
        number("trials", 0),
    ]
}

fn ratios(point: &Point, reference: &str, is_full: bool) -> Option<Table> {
    let rows = point
        .rows(Some(reference))
        .filter(|row| is_full || row.is_main())
        .map(|row| [vec![row.name.clone()], middle(row), ending(row)].concat())
        .collect();
    let title = format!(
        "{} (as multiples of {reference}; {})",
        point.title(),
        point.time
    );
    Table::of(title, run_columns(point), rows)
}

fn middle(row: &Compared) -> Vec<String> {
    vec![
        row.number().to_owned(),
        row.median_text(row.sides().0),
        row.median_text(row.sides().1),
        row.ratio_text(),
    ]
}

fn ending(row: &Compared) -> Vec<String> {
    vec![row.verdict_text().to_owned(), row.trials_text()]
}

/// Writes a count per operation: whole where it is, else with three decimals.
fn count_text(count: f64) -> String {
    if count >= 999.5 {
        return units::count(count);
    }
    let text = format!("{count:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Table {
    /// Returns the table; `None` without rows.
    fn of(title: String, columns: Vec<Column>, rows: Vec<Vec<String>>) -> Option<Self> {
        (!rows.is_empty()).then_some(Self {
            title,
            columns,
            rows,
        })
    }

    fn write_text(&self, text: &mut String) {
        text::paragraph(text, &self.title, "  ");
        let headings: Vec<_> = self.columns.iter().map(|column| column.heading).collect();
        self.write_line(text, &headings);
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(String::as_str).collect();
            self.write_line(text, &cells);
        }
    }

    fn write_line(&self, text: &mut String, cells: &[&str]) {
        let mut line = "  ".to_owned();
        for (column, cell) in self.columns.iter().zip(cells) {
            let (width, cell): (_, String) =
                (column.width, cell.chars().take(column.width).collect());
            if column.is_number {
                line.push_str(&format!("{cell:>width$}"));
            } else {
                // Words after a number keep their distance.
                let gap = if line.trim().is_empty() || line.ends_with(' ') {
                    ""
                } else {
                    "  "
                };
                line.push_str(&format!("{gap}{cell:<width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }

    fn write_markdown(&self, page: &mut String) {
        page.push_str(&format!("\n### {}\n\n", escaped(&self.title)));
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let columns = || self.columns.iter();
        page.push_str(&line(
            columns().map(|column| column.heading.to_owned()).collect(),
        ));
        let ruler = |column: &Column| if column.is_number { "---:" } else { "---" }.to_owned();
        page.push_str(&line(columns().map(ruler).collect()));
        for row in &self.rows {
            page.push_str(&line(row.iter().map(|cell| escaped(cell)).collect()));
        }
    }
}

/// Pictures of A and B over each other.
#[derive(Default)]
pub struct Charts(Vec<Drawn>);

impl Charts {
    /// Returns how many pictures there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Keeps a text on its line, and from being markup.
fn escaped(text: &str) -> String {
    text::escaped_markdown(&text::line(text))
}
