//! `sockrates compare`: two runs, or two lanes of one run, side by side.

use std::path::{Path, PathBuf};

use clap::Args;
use sockrates_core::lane::Lane;
use sockrates_report::{Charts, CompareError, Dataset, SideBySide, compare_lanes, compare_runs};

use crate::exit::{Exit, Failure, OrExit};
use crate::output;
use crate::report::{load_failure, locate};

const RESULTS: &str = "bench-results";

/// Compare two runs, or two lanes of one run: B relative to A.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A run (its id, its folder, or `latest`) or a lane, as in `http1-persistent`
    #[arg(value_name = "A")]
    a: String,
    /// Another of the same kind, which is compared with A
    #[arg(value_name = "B")]
    b: String,
    /// The run whose lanes are compared [default: latest]
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Where runs are looked up, and the comparison is written to (`compare/A--B`)
    #[arg(long, value_name = "DIR", default_value = RESULTS)]
    results: PathBuf,
    /// Print the comparison as JSON on stdout
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the comparison as Markdown on stdout
    #[arg(long)]
    markdown: bool,
    /// Draw no pictures
    #[arg(long)]
    no_charts: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (compared, charts) = match lanes(arguments)? {
        Some((a, b)) => of_lanes(arguments, &a, &b)?,
        None => of_runs(arguments)?,
    };
    let folder = arguments
        .results
        .join("compare")
        .join(compared.folder_name());
    let writing = format!("write the comparison to {}", folder.display());
    compared
        .write(&folder, &charts)
        .or_exit(Exit::Results, writing)?;
    print(arguments, &compared, &folder, &charts)
}

/// Returns the two lanes that were asked for; `None` when it is about runs.
fn lanes(arguments: &Arguments) -> Result<Option<(Lane, Lane)>, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let Arguments { a, b, .. } = arguments;
    match (as_lane(arguments, a), as_lane(arguments, b)) {
        (Some(one), Some(other)) if one == other => Err(usage(format!(
            "both lanes are {a}: name two different ones"
        ))),
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) if arguments.run.is_some() => Err(usage(format!(
            "--run says which run two lanes are of, but `{a}` and `{b}` are no lanes"
        ))),
        (None, None) => Ok(None),
        (one, _) => {
            let (lane, other) = if one.is_some() { (a, b) } else { (b, a) };
            Err(usage(format!(
                "`{lane}` is a lane and `{other}` is none: compare two lanes (of one run, with --run RUN) or two runs"
            )))
        }
    }
}

/// What is spelled like a lane is one, unless there is a run of that name.
fn as_lane(arguments: &Arguments, name: &str) -> Option<Lane> {
    let is_run = locate(name, &arguments.results).join("run.json").exists();
    name.parse().ok().filter(|_| !is_run)
}

fn of_lanes(arguments: &Arguments, a: &Lane, b: &Lane) -> Result<(SideBySide, Charts), Failure> {
    let (run, name) = load(arguments, arguments.run.as_deref().unwrap_or("latest"))?;
    let compared = compare_lanes(&run, a, b).map_err(nothing_to_compare)?;
    let compared = compared.with_command(&command(arguments, &format!("{a} {b} --run {name}")));
    let charts = charts(arguments, &compared, &run, &run);
    Ok((compared, charts))
}

fn of_runs(arguments: &Arguments) -> Result<(SideBySide, Charts), Failure> {
    let (a, name_of_a) = load(arguments, &arguments.a)?;
    let (b, name_of_b) = load(arguments, &arguments.b)?;
    let compared = compare_runs(&a, &b).map_err(nothing_to_compare)?;
    let compared = compared.with_command(&command(arguments, &format!("{name_of_a} {name_of_b}")));
    let charts = charts(arguments, &compared, &a, &b);
    Ok((compared, charts))
}

/// Reads a run; with it goes the name that still finds it when `latest` is another.
fn load(arguments: &Arguments, name: &str) -> Result<(Dataset, String), Failure> {
    let folder = locate(name, &arguments.results);
    let run = Dataset::load(&folder).map_err(load_failure)?;
    let is_path = folder == Path::new(name);
    let name = if is_path { name } else { &run.manifest.run_id }.to_owned();
    Ok((run, name))
}

fn nothing_to_compare(error: CompareError) -> Failure {
    Failure {
        exit: Exit::Usage,
        error: error.into(),
    }
}

/// Writes the command that makes the same comparison again.
fn command(arguments: &Arguments, what: &str) -> String {
    let results = if arguments.results == Path::new(RESULTS) {
        String::new()
    } else {
        format!(" --results {}", arguments.results.display())
    };
    format!("sockrates compare {what}{results}")
}

fn charts(arguments: &Arguments, compared: &SideBySide, a: &Dataset, b: &Dataset) -> Charts {
    if arguments.no_charts {
        Charts::default()
    } else {
        compared.charts(a, b)
    }
}

fn print(
    arguments: &Arguments,
    compared: &SideBySide,
    folder: &Path,
    charts: &Charts,
) -> Result<(), Failure> {
    let pictures = match charts.len() {
        0 => String::new(),
        1 => " and 1 picture beside it".to_owned(),
        count => format!(" and {count} pictures beside it"),
    };
    let place = format!(
        "Comparison: {}{pictures}",
        folder.join("compare.md").display()
    );
    if arguments.json {
        output::json(compared)?;
        output::note(&place);
    } else if arguments.markdown {
        output::result(&compared.markdown());
        output::note(&place);
    } else {
        output::result(&format!("{}\n{place}\n", compared.text()));
    }
    Ok(())
}
