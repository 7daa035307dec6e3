//! Tests of the crate's documents against the committed schemas and fixtures.

mod schemas;
