//! Reports in files: a file that is written anew is the old one or the new one, whole, also where the disk is full or the run is killed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{LoadError, Result};

/// Makes the file, unless there is one, and tries what [`replace`] will do.
pub fn prepare(path: &Path) -> Result<()> {
    let tried = OpenOptions::new().append(true).create(true).open(path).and_then(|_| match beside(path)? {
        Some((_, new)) => make(&new).and_then(|_| fs::remove_file(new)),
        None => Ok(()),
    });
    tried.map_err(|source| failed(path, source))
}

/// Writes a file anew.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    replace_by(path, |file| file.write_all(text.as_bytes())).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> LoadError {
    LoadError::File { doing: "writing", path: path.to_owned(), source }
}

fn replace_by(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let Some((old, new)) = beside(path)? else { return write(&mut OpenOptions::new().write(true).open(path)?) };
    let written = make(&new).and_then(|mut file| {
        if let Ok(metadata) = fs::metadata(&old) {
            file.set_permissions(metadata.permissions())?;
        }
        write(&mut file)?;
        // Some file systems say only now that they are full.
        file.sync_all()?;
        fs::rename(&new, &old)
    });
    if written.is_err() {
        // It may not be there; the next run removes what is left.
        let _ = fs::remove_file(&new);
    }
    written
}

/// The file that a path leads to, and a name in its directory for the one to come; none for a pipe or a device, which stays what it is.
fn beside(path: &Path) -> io::Result<Option<(PathBuf, PathBuf)>> {
    let path = match fs::canonicalize(path) {
        Ok(path) if !path.is_file() => return Ok(None),
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
    name.push(".new");
    let new = path.with_file_name(name);
    Ok(Some((path, new)))
}

/// A file that nobody else has; what a run that was killed left of it is removed.
fn make(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("loadtest-keep-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("the temporary directory is writable");
            Directory(path)
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.0).expect("it is there").count()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_not_written_to_its_end_leaves_the_old_file_whole() {
        let directory = Directory::new("full");
        let path = directory.0.join("report.json");
        let read = || fs::read_to_string(&path).expect("it is there");
        prepare(&path).expect("it can be made");
        assert_eq!((read().as_str(), directory.files()), ("", 1));
        replace(&path, "the old one, which is long").expect("it can be written");
        let full = replace_by(&path, |file| {
            file.write_all(b"half of")?;
            assert_eq!(read(), "the old one, which is long", "nobody sees the new one before it is whole");
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(full.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull));
        assert_eq!((read().as_str(), directory.files()), ("the old one, which is long", 1));
        replace(&path, "new").expect("it can be written");
        assert_eq!((read().as_str(), directory.files()), ("new", 1));
    }

    #[test]
    fn links_permissions_and_what_is_no_file_stay() {
        let directory = Directory::new("kind");
        let (path, link) = (directory.0.join("report.json"), directory.0.join("latest.json"));
        fs::write(&path, "old").expect("it is writable");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
        symlink(&path, &link).expect("it can be made");
        prepare(&link).expect("it leads to a file");
        replace(&link, "new").expect("it leads to a file");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "new");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(beside(Path::new("/dev/null")), Ok(None)), "a device is not replaced");
    }

    #[test]
    fn what_a_killed_run_left_is_replaced_and_a_directory_that_is_missing_is_told_beforehand() {
        let directory = Directory::new("left");
        let path = directory.0.join("report.json");
        fs::write(directory.0.join(".report.json.new"), "half of").expect("it is writable");
        prepare(&path).expect("it can be made");
        assert_eq!(directory.files(), 1);
        let error = prepare(&directory.0.join("missing/report.json")).expect_err("there is no such directory");
        assert!(error.to_string().contains("missing/report.json"), "{error}");
    }
}
