//! A run folder in memory: the manifest and every trial record that can be read.
//!
//! One unreadable trial does not take the others with it: it is listed, with the reason, and shown in every report.
//! Nothing is judged here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use sockrates_core::demands::{self, Demands};
use sockrates_core::document::{self, DocumentError};
use sockrates_core::files::{MAX_DOCUMENT_BYTES, inflate, read_regular};
use sockrates_core::manifest::RunManifest;
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
    /// Reads a run's folder. Records that are not what the plan asked for are listed as damaged.
    pub fn load(run: &Path) -> Result<Self, LoadError> {
        let manifest = load_manifest(&run.join("run.json"))?;
        let files = trial_files(&run.join("trials"))?;
        // Inflating the histograms is most of the work of a report.
        let parsed = spread::map(&files, |path| parse(path));
        let names = files.iter().map(|path| relative(path, run));
        let parsed = names.zip(parsed).flat_map(|(name, records)| {
            let several = records.len() > 1;
            (1..).zip(records).map(move |(number, record)| {
                let name = if several {
                    PathBuf::from(format!("{}, record {number}", name.display()))
                } else {
                    name.clone()
                };
                (name, record)
            })
        });
        let (trials, damaged) = accepted(&manifest, parsed);
        if trials.len() > MAX_FILES {
            return Err(LoadError::TooMany(run.join("trials")));
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
        let name = entry_name(&path);
        let is_record = [".json", ".json.gz"]
            .iter()
            .any(|ending| name.ends_with(ending));
        if !name.starts_with('.') && is_record {
            files.push(path);
        }
    }
    if files.len() > MAX_FILES {
        return Err(LoadError::TooMany(folder.to_owned()));
    }
    files.sort();
    Ok(files)
}

fn entry_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// More records than the longest run leaves; their sums overflow nothing.
const MAX_FILES: usize = 10_000;

type Trial = (TrialRecord, Course);
type Parsed = Result<Trial, String>;

/// Reads a record, or all records of a packed file: one on each line.
fn parse(path: &Path) -> Vec<Parsed> {
    let bytes = match read_regular(path, MAX_DOCUMENT_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return vec![Err(error.to_string())],
    };
    if !is_packed(path) {
        return vec![parsed(&bytes)];
    }
    match inflate(&bytes, MAX_DOCUMENT_BYTES) {
        Err(error) => vec![Err(format!("it does not inflate: {error}"))],
        Ok(lines) => {
            let lines = lines.split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.is_empty());
            // A line has two bytes at least: too many of them are refused before all are looked at.
            lines.take(MAX_FILES + 1).map(parsed).collect()
        }
    }
}

fn parsed(json: &[u8]) -> Parsed {
    let record: TrialRecord = document::parse(json).map_err(|error| error.to_string())?;
    record.check_books()?;
    Ok(condensed(record))
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

fn condensed(mut record: TrialRecord) -> (TrialRecord, Course) {
    let course = Course::take(&mut record);
    (record, course)
}

/// Parts the records that are what the plan asked for, and fit to each other, from the others.
fn accepted(
    manifest: &RunManifest,
    parsed: impl Iterator<Item = (PathBuf, Parsed)>,
) -> (Vec<Trial>, Vec<(PathBuf, String)>) {
    let demands = Demands::of(manifest);
    let mut seen = HashSet::new();
    let (mut trials, mut damaged) = (Vec::new(), Vec::new());
    for (name, trial) in parsed {
        let belonging = trial.and_then(|trial| {
            demands.check(&trial.0)?;
            let spec = &trial.0.spec;
            if !seen.insert((spec.index, spec.attempt)) {
                return Err("another file holds the same cell of the same block".to_owned());
            }
            Ok(trial)
        });
        match belonging {
            Ok(trial) => trials.push((name, trial)),
            Err(reason) => damaged.push((name, reason)),
        }
    }
    let records: Vec<_> = trials.iter().map(|(_, (record, _))| record).collect();
    let refused: HashMap<_, _> = demands::contradictions(manifest, &records)
        .into_iter()
        .collect();
    let mut kept = Vec::with_capacity(trials.len());
    for (place, (name, trial)) in trials.into_iter().enumerate() {
        match refused.get(&place) {
            Some(reason) => damaged.push((name, reason.clone())),
            None => kept.push(trial),
        }
    }
    damaged.sort();
    (kept, damaged)
}

fn relative(path: &Path, run: &Path) -> PathBuf {
    path.strip_prefix(run).unwrap_or(path).to_owned()
}
