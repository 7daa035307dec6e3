//! Writes every derived file of a run. The slow parts (pictures, the interval log) are spread over the CPUs.

use std::path::Path;
use std::sync::Mutex;
use std::thread;

use anyhow::Context;
use sockrates_core::document;
use sockrates_core::files::write_whole;
use sockrates_core::summary::Summary;

use crate::charts::render;
use crate::charts::{self, Drawn};
use crate::dataset::{Dataset, workers};
use crate::view::View;
use crate::{analysis, interval_log, pages, story, text, tidy};

/// Writes `summary.json`, `summary.csv`, `histograms.hlog`, `charts/`, `report.md` and `report.html` into the run's folder.
/// What was there is replaced, file by file, each whole or not at all.
pub fn write(run: &Path, dataset: &Dataset) -> anyhow::Result<Summary> {
    let view = View::new(dataset);
    let summary = analysis::of_view(&view);
    let drawn = charts::draw(&view);
    let story = story::tell(&view, &summary, &drawn);
    let file = |name: &str, contents: &[u8]| save(&run.join(name), contents);
    let pictures = thread::scope(|scope| -> anyhow::Result<Vec<String>> {
        let log = scope.spawn(|| file("histograms.hlog", &interval_log::hlog(&view)?));
        file("summary.json", &document::to_json(&summary))?;
        file(
            "summary.csv",
            &tidy::csv(&summary).context("write summary.csv")?,
        )?;
        let pictures = write_charts(
            &run.join("charts"),
            &drawn,
            &text::comment(&summary.command),
        );
        log.join().expect("writing the log does not panic")?;
        pictures
    })?;
    file("report.md", pages::markdown(&story)?.as_bytes())?;
    file("report.html", pages::html(&story, &pictures)?.as_bytes())?;
    Ok(summary)
}

fn save(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    write_whole(path, contents).with_context(|| format!("write {}", path.display()))
}

/// Writes all pictures, and returns them as SVG.
fn write_charts(folder: &Path, drawn: &[Drawn], command: &str) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let next = Mutex::new(drawn.iter().enumerate());
    let take = || next.lock().expect("no holder panics").next();
    let work = || -> anyhow::Result<Vec<(usize, String)>> {
        let mut done = Vec::new();
        while let Some((index, chart)) = take() {
            done.push((index, write_chart(folder, chart, command)?));
        }
        Ok(done)
    };
    let mut pictures = thread::scope(|scope| -> anyhow::Result<Vec<(usize, String)>> {
        let threads: Vec<_> = (0..workers().min(drawn.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut pictures = Vec::with_capacity(drawn.len());
        for thread in threads {
            pictures.extend(thread.join().expect("drawing does not panic")?);
        }
        Ok(pictures)
    })?;
    pictures.sort_by_key(|(index, _)| *index);
    Ok(pictures.into_iter().map(|(_, svg)| svg).collect())
}

fn write_chart(folder: &Path, chart: &Drawn, command: &str) -> anyhow::Result<String> {
    let comment = format!("{}; rebuild: {command}", chart.question);
    let svg = render::svg(&chart.scene, &comment)?;
    save(&folder.join(format!("{}.svg", chart.stem)), svg.as_bytes())?;
    let path = folder.join(format!("{}.png", chart.stem));
    save(&path, &render::png(&chart.scene, &path)?)?;
    Ok(svg)
}
