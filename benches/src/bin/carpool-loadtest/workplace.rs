//! A directory for sockets, configurations and logs, gone with its owner.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use carpool_tests::leftovers;

use crate::error::{LoadError, Result};

/// The directory.
#[derive(Debug)]
pub struct Workplace {
    path: PathBuf,
}

impl Workplace {
    /// Makes it, for this user only.
    pub fn new() -> Result<Workplace> {
        // Short: sockets in it have 107 bytes for their whole path.
        let path = std::env::temp_dir().join(format!("carpool-loadtest-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(|source| LoadError::File {
            doing: "making",
            path: path.clone(),
            source,
        })?;
        // Where there are namespaces, a signal ends this process without its destructors.
        leftovers::remember_directory(&path.to_string_lossy());
        Ok(Workplace { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("scripts/loadtest: {} could not be removed: {error}", self.path.display());
        }
    }
}
