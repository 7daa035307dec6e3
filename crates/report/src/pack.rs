//! A packed copy of a run: everything that its report is made of in a few small files, for a repository.
//!
//! Each block is one gzip file with a record on each line. Of the slices of a trial's course only what is shown of them is
//! kept; all else is as it was measured.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use sockrates_core::document;
use sockrates_core::files::{deflate, replace_whole};

use crate::dataset::Dataset;

/// Writes `run.json` and `trials/block-NN.json.gz` into a folder that is not there yet, or empty.
pub fn pack(dataset: &Dataset, to: &Path) -> anyhow::Result<()> {
    ensure!(
        dataset.damaged.is_empty(),
        "{} of its files cannot be used: see its report, and pack a run whose records are all whole",
        dataset.damaged.len()
    );
    let is_taken = std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        !is_taken,
        "{} is there already: name a new folder",
        to.display()
    );
    let mut blocks: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (record, course) in dataset.records.iter().zip(&dataset.courses) {
        let mut whole = record.clone();
        if let Some(measured) = &mut whole.measurement {
            measured.slices.condensed.clone_from(&course.slices);
        }
        let lines = blocks.entry(record.spec.block).or_default();
        serde_json::to_writer(&mut *lines, &whole).context("write a record as JSON")?;
        lines.push(b'\n');
    }
    let save = |name: &str, contents: &[u8]| {
        let path = to.join(name);
        replace_whole(&path, contents).with_context(|| format!("write {}", path.display()))
    };
    save("run.json", &document::to_json(&dataset.manifest))?;
    for (block, lines) in blocks {
        save(
            &format!("trials/block-{block:02}.json.gz"),
            &deflate(&lines),
        )?;
    }
    Ok(())
}
