//! Debian's source package of DPDK, in the version that is installed: what drivers need to be built, and l3fwd.
//!
//! apt gets it with a list of sources, an index and a directory of its own, so that nothing of the machine's changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Cache;
use crate::child;
use crate::error::BenchError;

/// What is kept of it: 17 of 103 MB.
const KEPT: [&str; 4] = ["lib", "drivers/bus/vdev", "examples/common", "examples/l3fwd"];

/// The sources, in the cache.
pub struct DpdkSource {
    path: PathBuf,
    version: String,
}

impl DpdkSource {
    /// Takes them from the cache, or from Debian's mirror: that takes half a minute, and `say` hears of it.
    pub fn get(cache: &Cache, say: impl FnOnce(&str)) -> Result<DpdkSource, BenchError> {
        let version = installed_version()?;
        let path = cache.get(&format!("dpdk-{version}"), |work| {
            say(&format!("getting Debian's source package of dpdk {version} (20 MB, once) ..."));
            download(work, &version)
        })?;
        Ok(DpdkSource { path, version })
    }

    /// Debian's version of the package.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A directory of it.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The version of the source package that the installed headers were built from.
fn installed_version() -> Result<String, BenchError> {
    let mut command = Command::new("dpkg-query");
    command.args(["--show", "--showformat=${source:Version}", "libdpdk-dev"]);
    let version = child::output(&mut command, "dpkg-query", "dpkg")?.trim().to_owned();
    // It becomes part of a path and of a command line.
    let known = |c: char| c.is_ascii_alphanumeric() || ".+~-:".contains(c);
    if version.is_empty() || !version.chars().all(known) {
        let problem = format!("{version:?} is no version of libdpdk-dev");
        return Err(BenchError::Run { program: "dpkg-query", problem });
    }
    Ok(version)
}

/// Debian's name for the installed release, if this is Debian.
fn codename(os_release: &str) -> Option<&str> {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"'))
    };
    let name = value("VERSION_CODENAME").filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()))?;
    (value("ID") == Some("debian")).then_some(name)
}

/// Unpacks the source package below `work` and returns where what is needed of it is.
fn download(work: &Path, version: &str) -> Result<PathBuf, BenchError> {
    let failed = |error: std::io::Error| BenchError::System(format!("{} cannot be used: {error}", work.display()));
    let os_release = fs::read_to_string("/etc/os-release").map_err(failed)?;
    let codename = codename(&os_release)
        .ok_or_else(|| BenchError::System("this is no Debian, whose source package of dpdk is needed".into()))?;
    const KEYS: &str = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
    let sources = format!(
        "deb-src [{KEYS}] http://deb.debian.org/debian {codename} main\n\
         deb-src [{KEYS}] http://deb.debian.org/debian {codename}-updates main\n\
         deb-src [{KEYS}] http://deb.debian.org/debian-security {codename}-security main\n"
    );
    let (list, lists, files) = (work.join("sources.list"), work.join("lists"), work.join("files"));
    fs::write(&list, sources).map_err(failed)?;
    for directory in [&lists, &files] {
        fs::create_dir_all(directory.join("partial")).map_err(failed)?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        let set = |name: &str, path: &Path| format!("{name}={}", path.display());
        for option in [
            set("Dir::Etc::SourceList", &list),
            "Dir::Etc::SourceParts=-".into(),
            set("Dir::State::Lists", &lists),
            set("Dir::Cache", &files),
            // Its own user may not write here.
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::http::Timeout=20".into(),
        ] {
            command.args(["-o", &option]);
        }
        command.arg("-qq").args(arguments).current_dir(work).env("LC_ALL", "C");
        child::output(&mut command, "apt-get", "apt")
    };
    apt(&["update", "--error-on=any"])?;
    apt(&["source", &format!("dpdk={version}")])?;
    let unpacked = fs::read_dir(work).map_err(failed)?.flatten().map(|entry| entry.path());
    let unpacked = { unpacked }.find(|path| path.join("examples/l3fwd").is_dir());
    let unpacked = unpacked.ok_or_else(|| BenchError::Run {
        program: "apt-get",
        problem: format!("its source package of dpdk {version} has no examples/l3fwd"),
    })?;
    let kept = work.join("kept");
    for name in KEPT {
        let to = kept.join(name);
        fs::create_dir_all(to.parent().unwrap_or(&kept)).map_err(failed)?;
        fs::rename(unpacked.join(name), to).map_err(failed)?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_has_a_codename() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\nID=\"ubuntu\"\n"), None);
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=a b\n"), None);
        assert_eq!(codename("ID=debian\n"), None);
    }
}
