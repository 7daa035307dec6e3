//! The results folder of a run: made once, filled trial by trial, and never used for another run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sockrates_core::document;
use sockrates_core::files::{is_unfinished, write_whole};
use sockrates_core::manifest::RunManifest;
use sockrates_core::plan::Cell;
use sockrates_core::record::TrialRecord;
use sockrates_core::scenario::Workload;
use sockrates_probe::clock;

use crate::exit::{Exit, Failure, OrExit};

/// The folder of one run.
#[derive(Debug)]
pub(crate) struct RunFolder {
    pub(crate) path: PathBuf,
    pub(crate) run_id: String,
    /// Held while trials are added, so that nobody else adds some; the kernel lets it go when the process ends.
    _lock: Flock<File>,
}

impl RunFolder {
    /// Makes a new folder named after the time and the revision.
    pub(crate) fn create(results: &Path, started_unix_ms: u64) -> Result<Self, Failure> {
        let stem = format!(
            "{}-{}",
            clock::compact_utc(started_unix_ms),
            env!("SOCKRATES_REVISION")
        );
        let cannot = || format!("make a results folder in {}", results.display());
        std::fs::create_dir_all(results).or_exit(Exit::Results, cannot())?;
        // Two runs may start within a second.
        for number in 1.. {
            let run_id = if number == 1 {
                stem.clone()
            } else {
                format!("{stem}-{number}")
            };
            let path = results.join(&run_id);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.or_exit(Exit::Results, cannot())?;
                    let lock = lock(&path)?;
                    return Ok(Self {
                        path,
                        run_id,
                        _lock: lock,
                    });
                }
            }
        }
        unreachable!("some number is free")
    }

    /// Opens the folder of a run that is to be finished.
    pub(crate) fn open(path: PathBuf, run_id: String) -> Result<Self, Failure> {
        let lock = lock(&path)?;
        Ok(Self {
            path,
            run_id,
            _lock: lock,
        })
    }

    /// Removes what a process left that was killed while it wrote.
    pub(crate) fn sweep(&self) -> Result<(), Failure> {
        for part in ["", "trials", "charts"] {
            let folder = self.path.join(part);
            let sweeping = || format!("remove unfinished files from {}", folder.display());
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.or_exit(Exit::Results, sweeping())?,
            };
            for entry in entries {
                let entry = entry.or_exit(Exit::Results, sweeping())?;
                if is_unfinished(&entry.file_name()) {
                    std::fs::remove_file(entry.path()).or_exit(Exit::Results, sweeping())?;
                }
            }
        }
        Ok(())
    }

    /// Begins or resumes a run: from here on it can be resumed, as `latest`. What cannot begin leaves no empty folder.
    pub(crate) fn begin(&self, manifest: &RunManifest) -> Result<(), Failure> {
        self.write_manifest(manifest).inspect_err(|_| {
            // Anything in it stays.
            let _ = std::fs::remove_dir(&self.path);
        })?;
        self.point_latest()
    }

    /// Writes `run.json`: as partial when the run begins, as it is when it ends.
    pub(crate) fn write_manifest(&self, manifest: &RunManifest) -> Result<(), Failure> {
        let mut kept = manifest.clone();
        kept.plan.cells.iter_mut().for_each(redact);
        write(&self.path.join("run.json"), &document::to_json(&kept))
    }

    /// Writes the record of one trial.
    pub(crate) fn write_record(&self, record: &TrialRecord) -> Result<(), Failure> {
        let path = self.path.join("trials").join(record.spec.file_name());
        let mut kept = record.clone();
        redact(&mut kept.spec.cell);
        write(&path, &document::to_json(&kept))
    }

    /// Points `latest` beside the folder to it.
    fn point_latest(&self) -> Result<(), Failure> {
        let link = self.path.with_file_name("latest");
        let temporary = self
            .path
            .with_file_name(format!(".latest.{}", std::process::id()));
        // Left by a process of the same id that was killed.
        let _ = std::fs::remove_file(&temporary);
        std::os::unix::fs::symlink(&self.run_id, &temporary)
            .and_then(|()| std::fs::rename(&temporary, &link))
            .or_exit(
                Exit::Results,
                format!("point {} to the run", link.display()),
            )
    }
}

/// Credentials are for the server that is measured, and not for whoever reads the results.
fn redact(cell: &mut Cell) {
    if let Workload::Custom(custom) = &mut cell.workload {
        custom.redact();
    }
}

fn lock(folder: &Path) -> Result<Flock<File>, Failure> {
    let opened = File::open(folder);
    let opened = opened.or_exit(Exit::Results, format!("open {}", folder.display()))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        let message = match error {
            Errno::EWOULDBLOCK => format!(
                "{} is being measured by another process: wait for its end, or end it",
                folder.display()
            ),
            other => format!("cannot lock {}: {other}", folder.display()),
        };
        Failure::new(Exit::Results, message)
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_whole(path, bytes).or_exit(Exit::Results, format!("write {}", path.display()))
}
