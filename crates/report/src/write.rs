//! Writes every derived file of a run. The slow part, pictures, is spread over the CPUs.

use std::fs;
use std::path::Path;

use anyhow::Context;
use sockrates_core::document;
use sockrates_core::files::replace_whole;
use sockrates_core::summary::Summary;

use crate::charts::render;
use crate::charts::{self, Drawn};
use crate::dataset::Dataset;
use crate::view::View;
use crate::{analysis, interval_log, pages, spread, story, text, tidy};

/// Writes `summary.json`, `summary.csv`, `histograms.hlog`, `charts/`, `report.md` and `report.html` into the run's folder.
/// What was there is replaced, file by file, each whole or not at all.
pub fn write(run: &Path, dataset: &Dataset) -> anyhow::Result<Summary> {
    let view = View::new(dataset);
    let summary = analysis::of_view(&view);
    let drawn = charts::draw(&view);
    let story = story::tell(&view, &summary, &drawn);
    let file = |name: &str, contents: &[u8]| save(&run.join(name), contents);
    file("summary.json", &document::to_json(&summary))?;
    file(
        "summary.csv",
        &tidy::csv(&summary).context("write summary.csv")?,
    )?;
    file("histograms.hlog", &interval_log::hlog(&view)?)?;
    let pictures = write_charts(
        &run.join("charts"),
        &drawn,
        &text::comment(&summary.command),
    )?;
    file("report.md", pages::markdown(&story)?.as_bytes())?;
    file("report.html", pages::html(&story, &pictures)?.as_bytes())?;
    Ok(summary)
}

/// A run's folder may come from elsewhere: a link in it is replaced, and not followed to what it names.
fn save(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    replace_whole(path, contents).with_context(|| format!("write {}", path.display()))
}

/// Writes all pictures, and returns them as SVG.
fn write_charts(folder: &Path, drawn: &[Drawn], command: &str) -> anyhow::Result<Vec<String>> {
    let making = || format!("make {}", folder.display());
    if fs::symlink_metadata(folder).is_ok_and(|there| there.is_symlink()) {
        fs::remove_file(folder).with_context(making)?;
    }
    fs::create_dir_all(folder).with_context(making)?;
    spread::map(drawn, |chart| write_chart(folder, chart, command))
        .into_iter()
        .collect()
}

fn write_chart(folder: &Path, chart: &Drawn, command: &str) -> anyhow::Result<String> {
    let comment = format!("{}; rebuild: {command}", chart.question);
    let svg = render::svg(&chart.scene, &comment)?;
    save(&folder.join(format!("{}.svg", chart.stem)), svg.as_bytes())?;
    let path = folder.join(format!("{}.png", chart.stem));
    save(&path, &render::png(&chart.scene, &path)?)?;
    Ok(svg)
}
