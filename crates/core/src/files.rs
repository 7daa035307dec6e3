//! The only place that writes files: a file appears whole or not at all. And the limits within which files are read: who
//! wrote them is not known.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// A JSON document is smaller: the record of the longest trial has less than 1 MiB.
pub const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// A scenario file is smaller.
pub const MAX_SCENARIO_BYTES: u64 = 1 << 20;

/// Reads a file of at most so many bytes. A larger one is an error before anything of it is read; what has no size, as a
/// pipe or `/dev/zero`, is read up to the limit.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > limit {
        return Err(too_large(limit));
    }
    read_to_limit(file, limit)
}

/// Reads a file that somebody put into a folder: as [`read_bounded`], and no pipe, which would be waited for.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.is_file() {
        read_bounded(path, limit)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ))
    }
}

/// Reads to the end, which must come after at most so many bytes.
pub fn read_to_limit(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(bytes)
}

/// Inflates a gzip file's contents, which must not come to more than so many bytes.
pub fn inflate(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    read_to_limit(MultiGzDecoder::new(packed), limit)
}

/// Makes the contents of a gzip file: the same from the same bytes.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::best());
    let packed = packing.write_all(bytes).and_then(|()| packing.finish());
    packed.expect("memory takes every byte")
}

/// The error of an input that is larger than its limit.
pub fn too_large(limit: u64) -> io::Error {
    let message = format!(
        "it is larger than {} MiB, the most that sockrates reads: check that it is the right file",
        limit >> 20
    );
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

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
    replace_whole(path, contents)
}

/// As [`write_whole`], but whatever is at `path` is replaced, links and devices included: for folders that may come from
/// elsewhere.
pub fn replace_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    // Nothing panics while it holds this, and what is guarded is not in memory.
    let _writing = WRITING.read().unwrap_or_else(PoisonError::into_inner);
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    // A name need not be UTF-8.
    let mut temporary = OsString::from(".");
    temporary.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    // The process id keeps two writers of one folder apart.
    temporary.push(format!(".{}{UNFINISHED}", std::process::id()));
    let temporary = folder.join(temporary);
    let result = write_synced(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // Nothing can be done about a failing clean-up; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    // Without this the rename itself may not survive a power cut.
    File::open(folder)?.sync_all()
}

/// Held while a file is written.
static WRITING: RwLock<()> = RwLock::new(());

/// Waits until no file is being written, and lets none be begun any more: for a process that is about to end. Returns whether
/// that came about within a second; a disk may hang.
pub fn stop_writing() -> bool {
    for _ in 0..100 {
        if let Ok(held) = WRITING.try_write() {
            // Until the process ends.
            std::mem::forget(held);
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
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
    fn a_name_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let longest = [&[0xff; 200][..], b".json"].concat();
        let path = folder.path().join(OsStr::from_bytes(&longest));
        write_whole(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn only_so_much_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let limit = 1 << 20;
        let kind = |result: io::Result<Vec<u8>>| result.unwrap_err().kind();
        File::create_new(&path).unwrap().set_len(limit).unwrap();
        assert_eq!(read_bounded(&path, limit).unwrap().len() as u64, limit);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(limit + 1).unwrap();
        assert_eq!(
            kind(read_bounded(&path, limit)),
            io::ErrorKind::FileTooLarge
        );
        // What has no size says nothing of it beforehand.
        let zero = read_bounded(Path::new("/dev/zero"), limit).unwrap_err();
        assert!(zero.to_string().contains("larger than 1 MiB"), "{zero}");
        assert_eq!(
            kind(read_regular(Path::new("/dev/zero"), limit)),
            io::ErrorKind::InvalidInput
        );
        assert!(read_regular(folder.path(), limit).is_err());
        assert_eq!(
            read_regular(&folder.path().join("none"), limit)
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn what_was_deflated_inflates_within_the_limit_only() {
        let bytes = vec![7; 1 << 20];
        let packed = deflate(&bytes);
        assert!(packed.len() < 4096);
        assert_eq!(packed, deflate(&bytes));
        assert_eq!(inflate(&packed, 1 << 20).unwrap(), bytes);
        let error = inflate(&packed, (1 << 20) - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(inflate(&packed[..packed.len() / 2], 1 << 20).is_err());
        assert!(inflate(b"no gzip", 1 << 20).is_err());
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
    fn a_link_is_replaced_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write_whole(&file, b"theirs").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace_whole(&link, b"ours").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"theirs");
        assert_eq!(fs::read(&link).unwrap(), b"ours");
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
