//! Limits of this process that a plan can run into.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Returns the hard limit of open files.
pub fn descriptors() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.1)
}

/// Raises the soft limit of open files to the hard one, which children inherit, and returns it.
pub fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}
