//! The vocabulary of sockrates: what is measured, how it is planned, and what a measurement looks like on disk.
//!
//! Data flows one way: [`scenario`] → [`plan`] → trial → [`record`] → [`summary`]. This crate holds the nouns of that
//! sentence and the pure functions between them. It opens no socket, reads no clock and knows no runtime, so that all of
//! it can be tested without time passing. The documents it defines (each with a `schema_version`) are described by the
//! JSON Schemas under `crates/core/schema/`.

pub mod calibration;
pub mod capacity;
pub mod cpu_idle;
pub mod custom;
pub mod demands;
pub mod document;
pub mod failure;
pub mod files;
pub mod finding;
pub mod fingerprint;
pub mod harmless;
pub mod histogram;
pub mod lane;
pub mod manifest;
mod order;
pub mod payload;
pub mod plan;
pub mod profile;
pub mod publishing;
pub mod record;
pub mod run_result;
pub mod scenario;
pub mod schedule;
pub mod seed;
pub mod snapshot;
pub mod suggest;
pub mod summary;
pub mod surroundings;
pub mod target;
pub mod threshold;
pub mod units;
pub mod update;
pub mod validity;
pub mod verdict;
pub mod work;
