//! Whole runs, fabricated with known numbers: what is computed from them, and what is written.

#![allow(
    clippy::unwrap_used,
    reason = "helpers outside of #[test] functions are tests too"
)]

mod claims;
mod demands;
mod files;
mod gate;
mod judgement;
mod news;
mod numbers;
mod pages;
mod side_by_side;
mod simulation;
mod single;
mod statistics;
mod synthetic;
