//! A run folder in memory: the manifest and every trial record that can be read.
//!
//! One unreadable trial does not take the others with it: it is listed, with the reason, and shown in every report.
//! Nothing is judged here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use sockrates_core::document::{self, DocumentError};
use sockrates_core::files::{MAX_DOCUMENT_BYTES, read_regular};
use sockrates_core::manifest::RunManifest;
use sockrates_core::plan::Cell;
use sockrates_core::record::TrialRecord;
use sockrates_core::work::Work;

use crate::course::Course;
use crate::spread;

/// Everything known about one run.
#[derive(Debug)]
pub struct Dataset {
    /// What was asked, and on what it ran.
    pub manifest: RunManifest,
    /// The readable records, in the order of measuring; their slices are empty, since they are kept condensed.
    pub records: Vec<TrialRecord>,
    /// The trial files that could not be used (paths relative to the run), each with the reason.
    pub damaged: Vec<(PathBuf, String)>,
    /// What operations take of both ends, where that was counted beside the run.
    pub work: Option<Work>,
    /// The condensed slices of each record.
    pub(crate) courses: Vec<Course>,
}

/// Says why a run cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder holds no run.
    #[error(
        "{} is no run: it holds no run.json; name the folder of one run, as in bench-results/RUN-ID", .0.display()
    )]
    NotARun(PathBuf),
    /// The folder holds more records than any run leaves.
    #[error(
        "{} holds more than {MAX_FILES} records, the most that sockrates reads: check that it is the right folder",
        .0.display()
    )]
    TooMany(PathBuf),
    /// Something is there and cannot be read.
    #[error("cannot read {}: {cause}; check the path and its permissions", .path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The manifest was written by a newer program.
    #[error("{}: {cause}", .path.display())]
    TooNew {
        /// The manifest.
        path: PathBuf,
        /// Which version it has, and what to do.
        cause: DocumentError,
    },
    /// The manifest is not one.
    #[error("{} is damaged: {cause}; restore it from a copy, or measure again", .path.display())]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        cause: DocumentError,
    },
}

impl Dataset {
    /// Reads a run's folder.
    pub fn load(run: &Path) -> Result<Self, LoadError> {
        let manifest = load_manifest(&run.join("run.json"))?;
        let files = trial_files(&run.join("trials"))?;
        let cells = &manifest.plan.cells;
        let cells = cells.iter().map(|cell| (cell.id.as_str(), cell)).collect();
        let mut seen = HashSet::new();
        let (mut trials, mut damaged) = (Vec::with_capacity(files.len()), Vec::new());
        // Inflating the histograms is most of the work of a report.
        let parsed = spread::map(&files, |path| parse(path));
        for (path, parsed) in files.iter().zip(parsed) {
            match parsed.and_then(|trial| belonging(trial, &cells, &mut seen)) {
                Ok(trial) => trials.push(trial),
                Err(reason) => damaged.push((relative(path, run), reason)),
            }
        }
        let mut dataset = Self::of_trials(manifest, trials, damaged);
        match load_work(run) {
            Ok(work) => dataset.work = work,
            Err(reason) => dataset.damaged.push((WORK_FILE.into(), reason)),
        }
        Ok(dataset)
    }

    /// Makes a dataset of records that are already in memory.
    pub fn new(
        manifest: RunManifest,
        records: Vec<TrialRecord>,
        damaged: Vec<(PathBuf, String)>,
    ) -> Self {
        let trials = records.into_iter().map(condensed).collect();
        Self::of_trials(manifest, trials, damaged)
    }

    fn of_trials(
        manifest: RunManifest,
        mut trials: Vec<(TrialRecord, Course)>,
        damaged: Vec<(PathBuf, String)>,
    ) -> Self {
        trials.sort_by_key(|(record, _)| (record.spec.index, record.spec.attempt));
        let (records, courses) = trials.into_iter().unzip();
        Self {
            manifest,
            records,
            damaged,
            work: None,
            courses,
        }
    }
}

/// The name of the file in a run's folder that says what operations take.
pub const WORK_FILE: &str = "work.json";

/// Reads what operations take, where that was counted.
fn load_work(run: &Path) -> Result<Option<Work>, String> {
    match read_regular(&run.join(WORK_FILE), MAX_DOCUMENT_BYTES) {
        Ok(json) => document::parse(&json)
            .map(Some)
            .map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn load_manifest(path: &Path) -> Result<RunManifest, LoadError> {
    let owned = || path.to_owned();
    let json = read_regular(path, MAX_DOCUMENT_BYTES).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            LoadError::NotARun(path.parent().unwrap_or(path).to_owned())
        }
        _ => LoadError::Unreadable {
            path: owned(),
            cause,
        },
    })?;
    document::parse(&json).map_err(|cause| match cause {
        DocumentError::TooNew { .. } => LoadError::TooNew {
            path: owned(),
            cause,
        },
        _ => LoadError::Damaged {
            path: owned(),
            cause,
        },
    })
}

/// Lists the record files in the order of their names; a run interrupted before its first trial has none.
fn trial_files(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let unreadable = |cause| LoadError::Unreadable {
        path: folder.to_owned(),
        cause,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    if files.len() > MAX_FILES {
        return Err(LoadError::TooMany(folder.to_owned()));
    }
    files.sort();
    Ok(files)
}

/// More records than the longest run leaves; their sums overflow nothing.
const MAX_FILES: usize = 10_000;

fn parse(path: &Path) -> Result<(TrialRecord, Course), String> {
    let json = read_regular(path, MAX_DOCUMENT_BYTES).map_err(|error| error.to_string())?;
    let record: TrialRecord = document::parse(&json).map_err(|error| error.to_string())?;
    record.check_books()?;
    Ok(condensed(record))
}

fn condensed(mut record: TrialRecord) -> (TrialRecord, Course) {
    let course = Course::take(&mut record);
    (record, course)
}

/// Accepts a record that is one of this run's planned trials, and the first of its kind.
fn belonging(
    trial: (TrialRecord, Course),
    cells: &HashMap<&str, &Cell>,
    seen: &mut HashSet<(String, u32, u32)>,
) -> Result<(TrialRecord, Course), String> {
    let spec = &trial.0.spec;
    if cells.get(spec.cell.id.as_str()) != Some(&&spec.cell) {
        return Err("its cell is not one of the run's plan".to_owned());
    }
    if !seen.insert((spec.cell.id.clone(), spec.block, spec.attempt)) {
        return Err("another file holds the same cell of the same block".to_owned());
    }
    Ok(trial)
}

fn relative(path: &Path, run: &Path) -> PathBuf {
    path.strip_prefix(run).unwrap_or(path).to_owned()
}
