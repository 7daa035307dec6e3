//! Tests of the crate's documents against the committed schemas and fixtures.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod fixtures;
mod hostile;
mod schemas;
