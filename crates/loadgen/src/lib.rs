//! The load generator: pacing, the one driver loop, transports, workloads and the recorder.
//!
//! A [`trial`] deals its connections out to one worker per CPU. A worker is a current-thread runtime in which each
//! connection is a task running the driver loop of `drive`; an `agenda` says what is due, a [`transport`] carries
//! messages, a [`workload`] says which, and a [`recorder`] keeps what happened. Nothing is shared between workers while
//! the load is on. Drawing and judging are not done here.

mod agenda;
mod alarm;
mod ask;
pub mod calibrate;
mod control;
mod converse;
pub mod dial;
mod drive;
mod environment;
mod listen;
pub mod live;
mod meter;
mod parts;
mod post;
pub mod preflight;
mod receive;
pub mod recorder;
pub mod registry;
pub mod transport;
pub mod trial;
mod watch;
mod worker;
pub mod workload;
