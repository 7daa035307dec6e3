//! `-` where a flag takes a file: standard input or output.

use std::io;
use std::path::Path;

use sockrates_core::files::{read_bounded, read_to_limit};

/// Says whether a path stands for standard input or output. A file of that name is `./-`.
pub(crate) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads a file, or standard input, of at most so many bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if is_standard(path) {
        read_to_limit(io::stdin(), limit)
    } else {
        read_bounded(path, limit)
    }
}
