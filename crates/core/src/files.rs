//! The only place that writes files: a file appears whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Writes `contents` to `path`: temporary file beside it, fsync, rename. Missing folders are made. On an error the
/// previous file, if any, is untouched and no temporary file stays behind.
///
/// A link is followed; what is no file but a device or a pipe is written to as it is, since replacing it would break it.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let resolved = fs::canonicalize(path);
    let path = resolved.as_deref().unwrap_or(path);
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(contents);
    }
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy();
    // The process id keeps two writers of one folder apart.
    let temporary = folder.join(format!(".{name}.{}{UNFINISHED}", std::process::id()));
    let result = write_synced(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // Nothing can be done about a failing clean-up; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    // Without this the rename itself may not survive a power cut.
    File::open(folder)?.sync_all()
}

/// The end of the names of files that are being written.
const UNFINISHED: &str = ".part";

/// Returns whether a file of this name was being written, by a process that may have been killed meanwhile.
pub fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.ends_with(UNFINISHED)
}

/// Returns the folder a file is in, the current one for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn write_synced(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/summary.json");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_is_written_to_and_a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write_whole(&file, b"first").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_whole(&link, b"second").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"second");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write_whole(&null, b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(write_whole(Path::new("/dev/full"), b"x").is_err());
    }

    #[test]
    fn only_files_under_way_are_unfinished() {
        for (name, unfinished) in [
            (".0001-echo.b0.json.4711.part", true),
            ("0001-echo.b0.json", false),
            (".gitignore", false),
            ("a.part", false),
        ] {
            assert_eq!(is_unfinished(name.as_ref()), unfinished, "{name}");
        }
    }

    #[test]
    fn a_bare_name_is_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("result.json")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/result.json")), Path::new("a"));
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("taken");
        fs::create_dir_all(occupied.join("by-a-folder")).unwrap();
        assert!(write_whole(&occupied, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// `/dev/full` answers every write with ENOSPC, as a full disk does.
    #[test]
    fn a_full_disk_is_an_error() {
        let error = write_synced(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
