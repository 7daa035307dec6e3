//! From a run's records to everything that is read by people and other programs: the summary, tables, charts and pages.
//!
//! Last in the flow: records → [`Dataset`] → [`summarize`] → files. All of it is derived and can be rebuilt from
//! `run.json` and `trials/` at any time. Nothing here measures, and no network is known here.

// The tests of charts fabricate runs with the same code as the integration tests.
#[cfg(test)]
extern crate self as sockrates_report;

mod analysis;
mod attribution;
mod basis;
mod break_even;
mod charts;
mod comparison;
mod completeness;
mod counted;
mod course;
mod dataset;
mod design;
pub mod detection;
mod findings;
pub mod gate;
mod interval_log;
pub mod joint;
mod judgement;
mod metrics;
mod numbers;
mod pack;
mod pages;
mod polling;
mod ratio;
mod rooms;
mod sheets;
mod side_by_side;
pub mod single;
mod spread;
pub mod statistics;
mod story;
mod terminal;
mod text;
mod tidy;
mod view;
mod write;

pub use analysis::summarize;
pub use charts::charts;
pub use dataset::{Dataset, LoadError, WORK_FILE};
pub use pack::pack;
pub use side_by_side::{Charts, CompareError, SideBySide, compare_lanes, compare_runs};
pub use terminal::terminal;
pub use write::write;
