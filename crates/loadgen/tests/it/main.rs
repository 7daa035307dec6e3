//! The load generator against a real server in the same process, over loopback.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod conformance;
mod foreign;
mod news;
mod proxy;
mod support;
mod trials;
