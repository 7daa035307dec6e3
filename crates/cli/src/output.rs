//! What reaches the terminal: results on stdout, everything else on stderr.

use std::io::{self, Write};

/// Prints a result. A reader that went away (a closed pipe) is no error.
pub(crate) fn result(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Prints a line that is not a result. Without a stderr there is nobody to tell.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a document as indented JSON.
pub(crate) fn json(document: &impl serde::Serialize) -> Result<(), crate::exit::Failure> {
    result(&(serde_json::to_string_pretty(document)? + "\n"));
    Ok(())
}
