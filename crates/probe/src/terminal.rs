//! The terminal that results are shown on.

use std::io;

use rustix::termios::tcgetwinsize;

/// Returns how many columns standard output has; `None` where it is no terminal, or one that does not say.
pub fn columns() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}
