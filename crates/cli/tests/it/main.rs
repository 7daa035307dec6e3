//! The binary as a user meets it: commands, files, messages, exit codes.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod bad_input;
mod bench;
mod check;
mod compare;
mod dependencies;
mod disturbance;
mod interruption;
mod run;
mod support;
mod verbs;
