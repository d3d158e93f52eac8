//! Where things are kept that take minutes to get and are the same for every run: outside the tree, in the user's cache.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::BenchError;

/// A directory of ours, locked: nobody else makes anything in it meanwhile.
pub struct Cache {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Cache {
    /// The directory `name` in carpool's part of `$XDG_CACHE_HOME`, or of `~/.cache`; waits for whoever works there now.
    ///
    /// # Errors
    /// Where it cannot be made, and where others may change it: DPDK loads no driver from such a place.
    pub fn open(name: &str) -> Result<Cache, BenchError> {
        let of = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
        let base =
            base.ok_or_else(|| BenchError::System("neither XDG_CACHE_HOME nor HOME says where to keep things".into()))?;
        Cache::open_in(&base, name)
    }

    fn open_in(base: &Path, name: &str) -> Result<Cache, BenchError> {
        let path = base.join("carpool").join(name);
        let failed = |error: std::io::Error| BenchError::System(format!("{} cannot be used: {error}", path.display()));
        fs::create_dir_all(&path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        for directory in path.ancestors() {
            if fs::metadata(directory).map_err(failed)?.permissions().mode() & 0o002 != 0 {
                let problem = format!(
                    "everybody may write to {}, from below which DPDK loads no driver: set XDG_CACHE_HOME to another place",
                    directory.display()
                );
                return Err(BenchError::System(problem));
            }
        }
        let lock = File::create(path.join("lock")).map_err(failed)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| failed(error.into()))?;
        Ok(Cache { path, _lock: lock })
    }

    /// What is kept as `name`. If it is not there, `make` makes it in the directory it gets, and says which file or directory in
    /// there it is. What is half made is never kept.
    pub fn get(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<PathBuf, BenchError>,
    ) -> Result<PathBuf, BenchError> {
        let kept = self.path.join(name);
        if kept.exists() {
            return Ok(kept);
        }
        let failed = |error: std::io::Error| BenchError::System(format!("{} cannot be made: {error}", kept.display()));
        let work = Work(self.path.join("work"));
        // A run that was killed may have left it.
        let _ = fs::remove_dir_all(&work.0);
        fs::create_dir(&work.0).map_err(failed)?;
        let made = make(&work.0)?;
        fs::rename(made, &kept).map_err(failed)?;
        Ok(kept)
    }
}

/// A directory that goes with its owner.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        // The next to make something removes what is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place below the build directory, which only its owner may write to.
    fn base(name: &str) -> PathBuf {
        let own = std::env::current_exe().expect("a test runs from a file");
        own.with_file_name(format!("cache-test-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_failed_is_not_kept_and_what_was_made_is_not_made_again() {
        let path = std::env::temp_dir().join(format!("carpool-cache-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        let lock = Flock::lock(File::create(path.join("lock")).expect("writable"), FlockArg::LockExclusive);
        let cache = Cache { path: path.clone(), _lock: lock.map_err(|(_, error)| error).expect("nobody has it") };
        let fail = |work: &Path| {
            fs::write(work.join("half"), "").expect("writable");
            Err(BenchError::Interrupted)
        };
        assert!(cache.get("thing", fail).is_err());
        assert!(!path.join("thing").exists() && !path.join("work").exists());
        let make = |work: &Path| {
            fs::write(work.join("whole"), "made").expect("writable");
            Ok(work.join("whole"))
        };
        let kept = cache.get("thing", make).expect("it is made");
        assert_eq!(fs::read_to_string(&kept).expect("it is there"), "made");
        assert_eq!(cache.get("thing", |_| Err(BenchError::Interrupted)).expect("it is kept"), kept);
        drop(cache);
        fs::remove_dir_all(&path).expect("it is there");
    }

    #[test]
    fn a_place_that_everybody_may_write_to_is_refused_by_name() {
        let base = base("open");
        fs::create_dir_all(&base).expect("the build directory is writable");
        fs::set_permissions(&base, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let error = Cache::open_in(&base, "bench").map(|_| ()).expect_err("everybody may write there").to_string();
        fs::remove_dir_all(&base).expect("it is there");
        assert!(error.contains("everybody may write to") && error.contains("XDG_CACHE_HOME"), "{error}");
    }
}
