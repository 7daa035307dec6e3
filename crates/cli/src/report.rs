//! `sockrates report`: every derived file of a run, anew from its records.

use std::path::{Path, PathBuf};

use clap::Args;
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
    /// Print the summary as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = locate(&arguments.run, &arguments.results);
    let written = write(&folder)?;
    print(&folder, &written, arguments.json)
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
fn locate(run: &str, results: &Path) -> PathBuf {
    let as_path = Path::new(run);
    if as_path.join("run.json").exists() {
        as_path.to_owned()
    } else {
        results.join(run)
    }
}

fn load_failure(error: LoadError) -> Failure {
    Failure {
        exit: Exit::Results,
        error: error.into(),
    }
}
