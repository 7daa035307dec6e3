//! What reaches the terminal: results on stdout, everything else on stderr. What acts on a terminal instead of being shown
//! gets no further than here, whoever said it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use sockrates_core::files::folder_of;
use sockrates_core::harmless;

use crate::exit::{Exit, Failure, OrExit};

/// Prints a result. A reader that went away (a closed pipe) is no error; a result that cannot be written for another reason
/// ends the program.
pub(crate) fn result(text: &str) {
    if let Err(error) = print(text)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        note(&format!("sockrates: write the result: {error}"));
        std::process::exit(Exit::Results as i32);
    }
}

/// Prints what had a better place that failed; whoever calls this tells of that.
pub(crate) fn result_anyway(text: &str) {
    let _ = print(text);
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(harmless::printable(text).as_bytes())?;
    stdout.flush()
}

/// Prints a line that is not a result. Without a stderr there is nobody to tell.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless::printable(line));
}

/// Says whether a file could be written, before anything is measured for it.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    let writing = || format!("write {}", path.display());
    if path.is_dir() {
        return Err(Failure::new(
            Exit::Results,
            format!("{}: is a folder", writing()),
        ));
    }
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        // A device or a pipe is written to as it is.
        return Ok(());
    }
    let probe = folder_of(path).join(format!(".sockrates.{}.part", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .or_exit(Exit::Results, writing())
}

/// Prints a document as indented JSON.
pub(crate) fn json(document: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(document)?;
    result(&(harmless::json(json) + "\n"));
    Ok(())
}
