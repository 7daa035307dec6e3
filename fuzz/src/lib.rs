//! What the fuzz targets share with the tests of the load generator: a server that says given bytes, in given pieces.

#[path = "../../crates/loadgen/tests/it/script.rs"]
pub mod script;
