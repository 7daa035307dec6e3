//! Facts from the kernel: clocks, CPUs, processes, limits, network namespaces and the machine's fingerprint.
//!
//! Everything here asks or tells the kernel something and returns what it said; nothing here judges. This is the only
//! crate that may hold `unsafe` code.

pub mod clock;
pub mod cpu;
pub mod limits;
pub mod machine;
pub mod namespace;
pub mod process;
