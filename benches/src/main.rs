//! Millions of packets per second on one core: carpool beside DPDK's l3fwd and testpmd, on the same ports, in the same run.
//!
//! Or forwarding tables side by side: [`fib`]; or what an ordinary router on the way saves: [`saving`].
//!
//! [`case`] says what is measured, [`contender`] with whom; [`traffic`], [`peer`] and [`routes`] make what comes in, [`ports`] what it
//! comes through, [`router`], [`testpmd`] and [`l3fwd`] run the contenders, one after the other in turn, as [`campaign`] says,
//! and [`figure`] prints what they did. `scripts/bench` builds and runs this.
#![deny(unsafe_code)]

mod budget;
mod cache;
mod campaign;
mod carriage;
mod case;
mod contender;
mod dpdk_source;
mod fib;
mod figure;
mod growth;
mod guard;
mod idle;
mod instructions;
mod l3fwd;
mod lean;
mod memory;
mod network;
mod peer;
mod ports;
mod router;
mod routes;
mod saving;
mod target;
mod testpmd;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use carpool_benches::{child, cpu, error, interrupt, turn};
use carpool_dataplane::dpdk::Memory;
use clap::{Args, Parser, Subcommand};

use crate::budget::BudgetOptions;
use crate::campaign::{Campaign, RunOptions};
use crate::case::Case;
use crate::contender::Contender;
use crate::error::BenchError;
use crate::fib::FibOptions;
use crate::growth::{Dimension, Growth};
use crate::guard::Verdict;
use crate::idle::IdleOptions;
use crate::saving::SavingOptions;

/// Millions of packets per second on one core: carpool beside DPDK's l3fwd and testpmd, on the same virtual ports.
#[derive(Parser)]
#[command(
    name = "scripts/bench",
    bin_name = "scripts/bench",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// Measure this case only; can be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<Case>,
    /// Measure this contender only; can be given several times
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<Contender>,
    #[command(flatten)]
    run: RunOptions,
    /// Count carpool's instructions per packet with callgrind instead of measuring time [default ports: pcap]
    #[arg(long)]
    instructions: bool,
    /// With --instructions: fail where a case takes 2% more than benches/instructions.toml says
    #[arg(long, requires = "instructions")]
    check: bool,
    /// With --instructions: write what is counted to benches/instructions.toml
    #[arg(long, requires = "instructions", conflicts_with = "check")]
    record: bool,
    /// List the cases
    #[arg(long)]
    list: bool,
}

/// Measurements of something else; and what the benchmark runs itself for, as DPDK starts once per process.
#[derive(Subcommand)]
enum Part {
    /// Millions of look-ups a second: carpool's forwarding tables beside DPDK's and others', with a full Internet table.
    ///
    /// Bursts of 32 destinations, as a worker looks them up; contenders take turns on one CPU; every answer is compared
    /// before time counts. carpool's tables enter a section of their reclamation scheme for every burst.
    Fib(FibOptions),
    /// What carpool is to reach beside l3fwd and beside itself, and what of it is reached here.
    Targets(TargetOptions),
    /// How carpool's rate changes as routes, paths, open pools, rules or streams with learned headers grow
    Growth(GrowthOptions),
    /// Where the ticks of a packet go, stage by stage: what the ports cost, and what carpool adds
    Budget(BudgetOptions),
    /// What carpoold takes of a core while nothing comes, and how soon it is there when something does. Needs root.
    Idle(IdleOptions),
    /// What an ordinary Linux router on the way spends for the same streams, unpooled and pooled.
    ///
    /// Needs root, two CPUs, and Debian's packages iproute2 and ethtool. Three network namespaces: a sender replays the streams as
    /// they are, or the pooled packets that carpool's packet pooler makes of them; the kernel of the second forwards them,
    /// on a CPU that does nothing else; the third throws them away.
    Saving(SavingOptions),
    /// Measures carpool once
    #[command(hide = true)]
    Measure {
        #[command(flatten)]
        place: PlaceArgs,
        #[arg(long)]
        seconds: f64,
        #[arg(long)]
        hugepages: bool,
        #[arg(long)]
        stages: bool,
    },
    /// Runs carpool for a number of iterations
    #[command(hide = true)]
    Step {
        #[command(flatten)]
        place: PlaceArgs,
        #[arg(long)]
        iterations: u64,
    },
}

#[derive(Args)]
struct TargetOptions {
    #[command(flatten)]
    run: RunOptions,
    /// Fail where a target is not reached
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
struct GrowthOptions {
    #[command(flatten)]
    run: RunOptions,
    /// Let only this grow; can be given several times: routes, paths, open-pools, rules,
    /// mixed-rules, learned-streams
    #[arg(long = "of", value_name = "WHAT")]
    dimensions: Vec<Dimension>,
    /// Draw what was measured into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Args)]
struct PlaceArgs {
    #[arg(long)]
    growth: Option<Growth>,
    #[arg(long)]
    case: Case,
    #[arg(long = "core", required = true)]
    cores: Vec<usize>,
    /// Where packets come from, and where they go
    #[arg(long = "device", required = true)]
    devices: Vec<String>,
    #[arg(long)]
    driver: Option<PathBuf>,
}

impl PlaceArgs {
    fn case(&self) -> Case {
        Case { growth: self.growth, ..self.case }
    }

    fn place(&self, memory: Memory) -> Result<router::Place, BenchError> {
        let devices = self.devices.clone().try_into();
        let devices = devices.map_err(|_| BenchError::Usage("expected two devices".into()))?;
        Ok(router::Place { cores: self.cores.clone(), memory, devices, driver: self.driver.clone() })
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.part {
        None => campaign(&options),
        Some(Part::Fib(options)) => fib::run(options),
        Some(Part::Targets(options)) => targets(options),
        Some(Part::Growth(options)) => growth(options),
        Some(Part::Budget(options)) => budgets(options),
        Some(Part::Idle(options)) => idle::run(options),
        Some(Part::Saving(options)) => saving::run(options),
        Some(Part::Measure { place, seconds, hugepages, stages }) => measure(place, *seconds, *hugepages, *stages),
        Some(Part::Step { place, iterations }) => step(place, *iterations),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scripts/bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn measure(place: &PlaceArgs, seconds: f64, hugepages: bool, stages: bool) -> Result<(), BenchError> {
    let memory = if hugepages { Memory::Hugepages } else { Memory::NoHuge };
    let measured = router::measure(&place.case(), &place.place(memory)?, Duration::from_secs_f64(seconds), stages)?;
    println!("{}", serde_json::to_string(&measured).map_err(|error| BenchError::System(error.to_string()))?);
    Ok(())
}

fn step(place: &PlaceArgs, iterations: u64) -> Result<(), BenchError> {
    println!("{}", router::step(&place.case(), &place.place(Memory::NoHuge)?, iterations)?);
    Ok(())
}

const NEEDS_LEAN: &str = "net_pcap cannot give frames random destinations: it needs --ports lean";

/// A case cannot be measured as it was asked for.
fn refuse(case: &Case, problem: &str) -> Result<(), BenchError> {
    Err(BenchError::Usage(format!("{}: {problem}", case.name)))
}

/// Measures the cases asked for and prints the figures as they come.
fn campaign(options: &Options) -> Result<(), BenchError> {
    if options.list {
        for case in Case::ALL {
            println!("{:<24}  {}", case.name, case.counts());
        }
        return Ok(());
    }
    if let Some(case) = options.cases.iter().find(|case| !options.instructions && case.workers() > 1) {
        return refuse(case, "its workers share one core, so it says nothing about time: give --instructions as well");
    }
    let campaign = Campaign::new(&options.run, options.instructions)?;
    if let Some(case) = options.cases.iter().find(|case| case.needs_lean() && !campaign.is_lean()) {
        return refuse(case, NEEDS_LEAN);
    }
    let mut cases = options.cases.clone();
    if cases.is_empty() {
        let fits =
            |case: &&Case| (options.instructions || case.workers() == 1) && (campaign.is_lean() || !case.needs_lean());
        cases = Case::ALL.iter().filter(fits).copied().collect();
    }
    if options.instructions {
        return instructions(options, &campaign, &cases);
    }
    campaign.print_heading();
    for case in &cases {
        let contenders = campaign.contenders(case, &options.contenders);
        if contenders.is_empty() {
            return refuse(case, "no contender that was asked for can do that");
        }
        campaign.rates(case, &contenders)?;
    }
    campaign.finish()
}

/// Counts instructions, and holds them against what was recorded or records them.
fn instructions(options: &Options, campaign: &Campaign, cases: &[Case]) -> Result<(), BenchError> {
    let recorded = if options.check || options.record { Some(guard::Recorded::load()?) } else { None };
    if let Some(recorded) = &recorded
        && let Some(why) = recorded.mismatch()
    {
        if options.check {
            eprintln!("scripts/bench: the recorded instructions are no measure, and nothing is counted: {why}");
            return Ok(());
        }
        if !options.cases.is_empty() {
            return Err(BenchError::Usage(format!("--record needs all cases, without --case: {why}")));
        }
    }
    let mut chosen = cases.to_vec();
    if let (Some(recorded), []) = (&recorded, options.cases.as_slice()) {
        chosen = recorded.cases()?;
    } else if let (true, Some(recorded)) = (options.check, &recorded)
        && let Some(case) = chosen.iter().find(|case| !recorded.has(case))
    {
        return Err(BenchError::Usage(format!("{}: nothing is recorded to check it against", case.name)));
    }
    let count = |case: &Case| Ok((*case, campaign.instructions(case)?));
    let counted = chosen.iter().map(count).collect::<Result<Vec<_>, BenchError>>()?;
    let Some(recorded) = recorded else { return Ok(()) };
    if options.record {
        return recorded.with(&counted).save();
    }
    let mut more = Vec::new();
    for (case, counted) in &counted {
        match recorded.judge(case, *counted) {
            Verdict::Kept => {}
            Verdict::Less(sentence) => eprintln!("scripts/bench: {sentence}: --record writes that down"),
            Verdict::More(sentence) => more.push(sentence),
        }
    }
    if more.is_empty() { Ok(()) } else { Err(BenchError::Missed(more.join("; "))) }
}

/// Measures what there are targets for, and prints what became of them.
fn targets(options: &TargetOptions) -> Result<(), BenchError> {
    let campaign = Campaign::new(&options.run, false)?;
    campaign.print_heading();
    let mut figures = Vec::new();
    for (case, contenders) in target::cases() {
        if !case.needs_lean() || campaign.is_lean() {
            figures.extend(campaign.rates(&case, &campaign.contenders(&case, &contenders))?);
        }
    }
    let outcomes = target::outcomes(&figures);
    if options.run.json {
        for outcome in &outcomes {
            println!("{}", serde_json::to_string(outcome).map_err(|error| BenchError::System(error.to_string()))?);
        }
    } else {
        print!("\n{}", target::table(&outcomes));
    }
    // A target that was missed says more than one that could not be measured, which is why it was.
    if options.check {
        target::check(&outcomes)?;
    }
    campaign.finish()
}

/// Measures where the ticks of a packet go, in one case after the other.
fn budgets(options: &BudgetOptions) -> Result<(), BenchError> {
    if let Some(case) = options.cases.iter().find(|case| case.workers() > 1) {
        return refuse(case, "its workers share one core, so it says nothing about time");
    }
    let campaign = Campaign::new(&options.run, false)?;
    if let Some(case) = options.cases.iter().find(|case| case.needs_lean() && !campaign.is_lean()) {
        return refuse(case, NEEDS_LEAN);
    }
    let mut cases = options.cases.clone();
    if cases.is_empty() {
        let usual = |case: &&Case| budget::CASES.contains(&case.name) && (campaign.is_lean() || !case.needs_lean());
        cases = Case::ALL.iter().filter(usual).copied().collect();
    }
    let mut figures = Vec::new();
    for case in &cases {
        let turns = campaign.budget(case)?;
        let found = if turns.is_empty() { vec![] } else { budget::figures(case, &turns) };
        if options.run.json {
            for figure in &found {
                println!("{}", serde_json::to_string(figure).map_err(|error| BenchError::System(error.to_string()))?);
            }
        }
        figures.extend(found);
    }
    if !options.run.json {
        print!("{}", budget::table(&cases, &figures));
    }
    campaign.finish()
}

/// Measures the rate as one thing after the other grows.
fn growth(options: &GrowthOptions) -> Result<(), BenchError> {
    let written = |path: &Path, done: std::io::Result<()>| {
        done.map_err(|error| BenchError::System(format!("{} cannot be written: {error}", path.display())))
    };
    if let Some(path) = &options.plot {
        // Before it takes minutes.
        written(path, std::fs::write(path, ""))?;
    }
    let campaign = Campaign::new(&options.run, false)?;
    if !campaign.is_lean() {
        return Err(BenchError::Usage("net_pcap cannot give frames other destinations: it needs --ports lean".into()));
    }
    if !options.run.json {
        println!("{}", growth::heading());
    }
    let all = Dimension::ALL.to_vec();
    let chosen = if options.dimensions.is_empty() { &all } else { &options.dimensions };
    let mut points = Vec::new();
    for dimension in chosen {
        points.extend(campaign.growth(*dimension)?);
    }
    if let Some(path) = &options.plot {
        let svg = growth::plot(&points).map_err(BenchError::System)?;
        written(path, std::fs::write(path, svg))?;
    }
    campaign.finish()
}
