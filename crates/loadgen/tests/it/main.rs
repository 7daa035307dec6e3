//! The load generator against a real server in the same process, over loopback.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod conformance;
mod faulty;
mod foreign;
mod news;
mod proxy;
mod said;
#[expect(
    unreachable_pub,
    unnameable_types,
    reason = "the fuzz targets share this file"
)]
mod script;
mod support;
mod trials;
mod ways;
