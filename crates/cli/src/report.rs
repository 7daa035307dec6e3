//! `sockrates report`: every derived file of a run, anew from its records.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use sockrates_core::files::read_regular;
use sockrates_core::summary::Summary;
use sockrates_report::{Dataset, LoadError};

use crate::exit::{Exit, Failure, OrExit};
use crate::output;

/// Rebuild summary, charts and report of a run from its records.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A run's id, its folder, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    /// Where runs are looked up
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    results: PathBuf,
    /// Rebuild nothing: say whether every derived file is what its records give (exit code 5 when not). Bitmaps and the
    /// interval log may be absent
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// Write a packed copy of the run, with its report, into a new folder: small enough for a repository
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "check"])]
    pack: Option<PathBuf>,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = locate(&arguments.run, &arguments.results);
    if arguments.check {
        return check(&folder);
    }
    if let Some(to) = &arguments.pack {
        return pack(&folder, to);
    }
    let written = write(&folder)?;
    print(&folder, &written, arguments.json)
}

/// Writes a packed copy of a run and, from the copy, its report.
fn pack(folder: &Path, to: &Path) -> Result<(), Failure> {
    let dataset = Dataset::load(folder).map_err(load_failure)?;
    let packing = format!("pack {} into {}", folder.display(), to.display());
    sockrates_report::pack(&dataset, to).or_exit(Exit::Results, packing)?;
    write(to)?;
    output::result(&format!(
        "{} records are packed in {}\n",
        dataset.records.len(),
        to.display()
    ));
    Ok(())
}

/// Makes every derived file of a run anew beside it, and compares.
fn check(folder: &Path) -> Result<(), Failure> {
    let dataset = Dataset::load(folder).map_err(load_failure)?;
    let other = Scratch::new(folder)?;
    sockrates_report::write(&other.0, &dataset)
        .or_exit(Exit::Results, format!("write to {}", other.0.display()))?;
    let names = files(&other.0)?;
    let comparing = format!("compare the files of {}", folder.display());
    let (mut changed, mut absent) = (Vec::new(), 0);
    for name in &names {
        let made = std::fs::read(other.0.join(name)).or_exit(Exit::Results, &comparing)?;
        match read_regular(&folder.join(name), made.len() as u64) {
            Ok(there) if there == made => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_absent(name) => {
                absent += 1;
            }
            Err(error) if error.kind() != io::ErrorKind::FileTooLarge => {
                changed.push(format!("{}: {error}", name.display()));
            }
            _ => changed.push(format!("{} differs", name.display())),
        }
    }
    let stale = stale_charts(folder, &names)?;
    changed.extend(
        stale
            .iter()
            .map(|name| format!("{} is of no chart", name.display())),
    );
    if changed.is_empty() {
        output::result(&checked(names.len(), absent));
        return Ok(());
    }
    let message = format!(
        "{} of {} derived files of {} are not what its records give: {}; rebuild them: sockrates report {}",
        changed.len(),
        names.len() + stale.len(),
        folder.display(),
        changed.join(", "),
        folder.display()
    );
    Err(Failure::new(Exit::Gate, message))
}

fn checked(files: usize, absent: usize) -> String {
    let there = files - absent;
    match absent {
        0 => format!("all {there} derived files are what their records give\n"),
        _ => format!(
            "all {there} derived files that are there are what their records give; \
             {absent} bitmaps and logs are left out\n"
        ),
    }
}

/// What a repository need not hold: it is large, and everything in it follows from files that are there.
fn may_be_absent(name: &Path) -> bool {
    name.extension()
        .is_some_and(|extension| extension == "png" || extension == "hlog")
}

/// Lists the pictures in a run's folder that its records no longer give.
fn stale_charts(folder: &Path, made: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if !folder.join("charts").is_dir() {
        return Ok(Vec::new());
    }
    let mut there = files(folder)?;
    there.retain(|name| name.starts_with("charts") && !made.contains(name));
    Ok(there)
}

/// A folder that is gone when it is no longer needed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("sockrates-check-{}", std::process::id()));
        let making = format!(
            "make {} to compare {} with",
            path.display(),
            folder.display()
        );
        std::fs::create_dir_all(&path).or_exit(Exit::Results, making)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is litter in a folder for litter.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Lists the files of a report, those of its charts included.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listing = format!("list {}", folder.display());
    let mut names = Vec::new();
    for part in ["", "charts"] {
        for entry in std::fs::read_dir(folder.join(part)).or_exit(Exit::Results, &listing)? {
            let entry = entry.or_exit(Exit::Results, &listing)?;
            if entry
                .file_type()
                .or_exit(Exit::Results, &listing)?
                .is_file()
            {
                names.push(Path::new(part).join(entry.file_name()));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Writes every derived file of a run.
pub(crate) fn write(folder: &Path) -> Result<(Dataset, Summary), Failure> {
    let dataset = Dataset::load(folder).map_err(load_failure)?;
    let writing = format!("write the report of {}", folder.display());
    let summary = sockrates_report::write(folder, &dataset).or_exit(Exit::Results, writing)?;
    Ok((dataset, summary))
}

/// Prints what a run found, and where the pictures are.
pub(crate) fn print(
    folder: &Path,
    (dataset, summary): &(Dataset, Summary),
    as_json: bool,
) -> Result<(), Failure> {
    if as_json {
        return output::json(summary);
    }
    output::result(&sockrates_report::terminal(dataset, summary));
    output::result(&format!(
        "\nReport: {}\n",
        folder.join("report.html").display()
    ));
    Ok(())
}

/// A path is a path; anything else is the name of a run in the results folder.
pub(crate) fn locate(run: &str, results: &Path) -> PathBuf {
    let as_path = Path::new(run);
    if as_path.components().count() > 1 || as_path.join("run.json").exists() {
        as_path.to_owned()
    } else {
        results.join(run)
    }
}

pub(crate) fn load_failure(error: LoadError) -> Failure {
    Failure {
        exit: Exit::Results,
        error: error.into(),
    }
}
