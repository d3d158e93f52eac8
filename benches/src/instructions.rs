//! Instructions per packet, counted by callgrind: the same in every run, so a change of a percent shows.
//!
//! The router runs twice, with a different number of iterations; the difference of the instructions over the difference
//! of the packets leaves out what it takes to start and stop.

use std::path::Path;

use crate::case::{Case, Work};
use crate::child;
use crate::error::BenchError;

const PROGRAM: &str = "valgrind";
/// Iterations of the two runs; a run of the worker under callgrind takes a few seconds.
const ITERATIONS: [u64; 2] = [1_000, 5_000];
/// The same where each frame holds many packets.
const ITERATIONS_POOLED: [u64; 2] = [200, 1_200];

/// Instructions per packet that the case counts, of the router that is run with these arguments.
pub fn count(case: &Case, arguments: &[String], directory: &Path) -> Result<f64, BenchError> {
    let iterations = match case.work {
        Work::Forward | Work::Pool => ITERATIONS,
        Work::Depool | Work::Transit | Work::Extract => ITERATIONS_POOLED,
    };
    let [short, long] = iterations.map(|iterations| run(case, arguments, directory, iterations));
    let ((instructions, packets), (more_instructions, more_packets)) = (short?, long?);
    Ok((more_instructions - instructions) / (more_packets - packets))
}

/// Instructions and packets of one run.
fn run(case: &Case, arguments: &[String], directory: &Path, iterations: u64) -> Result<(f64, f64), BenchError> {
    let failed = |problem: String| BenchError::Run { program: PROGRAM, problem };
    let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let profile = directory.join(format!("{}-{iterations}.callgrind", case.name));
    let mut command = child::command(PROGRAM);
    command.args(["--tool=callgrind", "--quiet", "--collect-atstart=no", "--toggle-collect=*lcore*run*"]);
    command.arg(format!("--callgrind-out-file={}", profile.display())).arg(own);
    command.arg("step").args(arguments).args(["--iterations", &iterations.to_string()]);
    let output = child::output(&mut command, PROGRAM, PROGRAM)?;
    let packets = output.trim().parse();
    let packets = packets.map_err(|_| failed("the router under it did not say how many packets it had".into()))?;
    let profile = std::fs::read_to_string(&profile).map_err(|error| failed(error.to_string()))?;
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    let instructions = total.filter(|total| *total > 0.0);
    Ok((instructions.ok_or_else(|| failed("it counted no instructions".into()))?, packets))
}
