//! `sockrates list`: what there is to measure.

use clap::{Args, ValueEnum};
use serde::Serialize;
use sockrates_core::plan::Plan;
use sockrates_core::profile;
use sockrates_core::scenario::Delivery;
use sockrates_core::units;
use sockrates_loadgen::registry;

use crate::exit::Failure;
use crate::output;

/// List profiles, scenarios, lanes, workloads, deliveries or charts.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// What to list; everything when left out
    what: Option<Kind>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Profiles,
    Scenarios,
    Lanes,
    Workloads,
    Deliveries,
    Charts,
}

#[derive(Debug, Serialize)]
struct Entry {
    kind: Kind,
    name: String,
    summary: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let kinds = match arguments.what {
        Some(kind) => vec![kind],
        None => Kind::value_variants().to_vec(),
    };
    let entries: Vec<_> = kinds.into_iter().flat_map(entries).collect();
    if arguments.json {
        return output::json(&entries);
    }
    output::result(&table(&entries, arguments.what.is_none()));
    Ok(())
}

fn table(entries: &[Entry], has_headings: bool) -> String {
    let width = entries
        .iter()
        .map(|entry| entry.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut heading = None;
    for Entry {
        kind,
        name,
        summary,
    } in entries
    {
        if has_headings && heading != Some(*kind) {
            text += if heading.is_some() { "\n" } else { "" };
            text += &format!("{}:\n", format!("{kind:?}").to_lowercase());
            heading = Some(*kind);
        }
        text += &format!("  {name:width$}  {summary}\n");
    }
    text
}

fn entries(kind: Kind) -> Vec<Entry> {
    let entry = |(name, summary)| Entry {
        kind,
        name,
        summary,
    };
    match kind {
        Kind::Profiles => profiles().into_iter().map(entry).collect(),
        Kind::Scenarios => {
            let all = profile::scenarios().into_iter();
            all.map(|scenario| entry((scenario.name, scenario.question)))
                .collect()
        }
        Kind::Lanes => registry::lanes()
            .map(|(lane, row)| entry((lane.to_string(), row.summary.to_owned())))
            .collect(),
        Kind::Workloads => {
            let all = [
                ("echo", "send a payload, expect the same bytes back"),
                (
                    "updates",
                    "learn of events that the server publishes, in one of the deliveries below",
                ),
                (
                    "fanout",
                    "chat: send to a room, and get a copy of what its members send; over HTTP by posts, and one of the \
                     deliveries below",
                ),
                (
                    "duplex",
                    "play: send inputs, and get the game's snapshots at each tick; over HTTP by posts, and one of the \
                     deliveries below",
                ),
            ];
            all.map(|(name, summary)| entry((name.to_owned(), summary.to_owned())))
                .into()
        }
        Kind::Deliveries => Delivery::ALL
            .map(|delivery| entry((delivery.name().to_owned(), delivery.summary().to_owned())))
            .into(),
        Kind::Charts => sockrates_report::charts()
            .map(|(name, question)| entry((name.to_owned(), question.to_owned())))
            .collect(),
    }
}

fn profiles() -> Vec<(String, String)> {
    let known = profile::scenarios();
    let all = profile::profiles().into_iter();
    all.map(|profile| {
        let scenarios = profile
            .resolve(&known)
            .expect("embedded profiles are tested");
        let plan = Plan::new(&profile.name, &scenarios, profile.blocks, 0);
        let time = units::seconds(plan.planned_seconds());
        (
            profile.name,
            format!("{} ({time} planned)", profile.summary),
        )
    })
    .collect()
}
