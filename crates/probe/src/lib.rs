//! Facts from the kernel: clocks, CPUs, processes, connections, limits, network namespaces, the machine's fingerprint
//! and what it did around a load.
//!
//! Everything here asks or tells the kernel something and returns what it said; nothing here judges. This is the only
//! crate that may hold `unsafe` code.

pub mod canary;
pub mod clock;
pub mod connection;
pub mod cpu;
pub mod limits;
pub mod machine;
pub mod namespace;
pub mod process;
pub mod spinners;
pub mod surroundings;
pub mod terminal;
pub mod timer;
pub mod wake_up;
