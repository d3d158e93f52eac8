//! The contender: DPDK's example l3fwd, which routes by rte_lpm or rte_fib. It is built from Debian's source package.
//!
//! It does what a router's fast path cannot do without and little more: it looks up the destination, writes both Ethernet
//! addresses, and decrements the TTL.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cache::Cache;
use crate::case::Case;
use crate::child::{self, last_lines};
use crate::dpdk_source::DpdkSource;
use crate::error::BenchError;
use crate::router::Rates;
use crate::routes;
use crate::testpmd::{Place, eal_arguments, forwarded, rate};

const PROGRAM: &str = "l3fwd";
/// Its tables take a fixed 64 MB here and there, whatever is in them.
pub const MEMORY_MB: usize = 512;

/// What is changed before it is built: its rte_lpm takes 1024 routes as it comes, and its mempool has half the cache that the others
/// have.
const CHANGES: [(&str, &str, &str); 2] = [
    ("l3fwd_lpm.c", "#define IPV4_L3FWD_LPM_MAX_RULES         1024", "#define IPV4_L3FWD_LPM_MAX_RULES 65536"),
    ("l3fwd.h", "#define MEMPOOL_CACHE_SIZE 256", "#define MEMPOOL_CACHE_SIZE 512"),
];

/// The table it looks destinations up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Lpm,
    Fib,
}

impl Lookup {
    fn argument(self) -> &'static str {
        match self {
            Lookup::Lpm => "--lookup=lpm",
            Lookup::Fib => "--lookup=fib",
        }
    }
}

/// The program; it is built where the cache has not got it yet.
pub fn program(cache: &Cache, source: &DpdkSource) -> Result<PathBuf, BenchError> {
    cache.get(&format!("l3fwd-{}", source.version()), |work| {
        let failed = |error: std::io::Error| BenchError::System(format!("l3fwd cannot be built: {error}"));
        for directory in ["common", "l3fwd"] {
            copy(&source.directory("examples").join(directory), &work.join(directory)).map_err(failed)?;
        }
        for (file, from, to) in CHANGES {
            let path = work.join("l3fwd").join(file);
            let text = fs::read_to_string(&path).map_err(failed)?;
            if !text.contains(from) {
                return Err(BenchError::System(format!("l3fwd cannot be built: its {file} has no line {from:?}")));
            }
            fs::write(&path, text.replace(from, to)).map_err(failed)?;
        }
        let mut command = Command::new("make");
        command.arg("--silent").arg("--directory").arg(work.join("l3fwd")).arg("shared");
        child::output(&mut command, "make", "build-essential")?;
        Ok(work.join("l3fwd/build/l3fwd-shared"))
    })
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Packets a second that it forwards, by what net_lean counts.
pub fn measure(case: &Case, lookup: Lookup, program: &Path, place: &Place<'_>) -> Result<Rates, BenchError> {
    let failed = |problem: String| BenchError::Run { program: PROGRAM, problem };
    let [rules4, rules6] = ["l3fwd.v4", "l3fwd.v6"].map(|name| place.directory.join(name));
    fs::write(&rules4, routes::l3fwd_rules(case)?).map_err(|error| failed(error.to_string()))?;
    // It takes both files or none. In this network are all destinations of IPv6.
    fs::write(&rules6, "R2001:db8::/32 1\n").map_err(|error| failed(error.to_string()))?;
    let path = place.directory.join("l3fwd.log");
    let log = File::create(&path).map_err(|error| failed(error.to_string()))?;
    let errors = log.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut command = child::command(program);
    // rte_fib looks up sixteen at a time where it may: DPDK uses no vectors of 512 bits unless it is told to.
    command.args(eal_arguments(place, MEMORY_MB)).arg("--force-max-simd-bitwidth=512");
    command.args(["--", "-p", "3", lookup.argument()]);
    command.args(["--config", "(0,0,1)"]);
    command.arg(format!("--rule_ipv4={}", rules4.display())).arg(format!("--rule_ipv6={}", rules6.display()));
    command.stdin(Stdio::null()).stdout(log).stderr(errors);

    let mut child = child::spawn(&mut command, PROGRAM, PROGRAM)?;
    let measured = rate(&mut child, place);
    // It ends in good order; where it has ended there is nobody to tell.
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
    let status = child::wait(child, PROGRAM)?;
    match measured {
        Some(rates) if status.success() => forwarded(rates.packets_in, rates.packets_out)
            .map(|()| rates)
            .map_err(|problem| BenchError::WrongWork { case: case.name, contender: PROGRAM, problem }),
        _ => {
            let output = fs::read(&path).map_err(|error| failed(error.to_string()))?;
            Err(failed(format!("{status}: {}", last_lines(&String::from_utf8_lossy(&output)))))
        }
    }
}
