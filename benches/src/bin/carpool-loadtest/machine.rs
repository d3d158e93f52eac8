//! What the machine is that figures were measured on.

use std::collections::BTreeSet;
use std::fs;

use carpool_benches::cpu;
use serde::Serialize;

use crate::error::{LoadError, Result};

/// A machine, as far as it bears on packets a second.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    /// CPUs that this process may run on.
    pub cpus: Vec<usize>,
    /// Whether it runs under a hypervisor.
    pub virtual_machine: bool,
    pub kernel: String,
    pub memory_mb: u64,
    /// Hugepages of each size in kB: how many there are, how many are free.
    pub hugepages: Vec<Hugepages>,
    /// CPUs that the scheduler leaves alone.
    pub isolated: String,
    /// How many processes ran or waited on average over the last minute before the run.
    pub load_before: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Hugepages {
    pub size_kb: u64,
    pub total: u64,
    pub free: u64,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value of `key` in a file of lines `key : value`.
fn value(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == key).then(|| value.trim().to_owned())
    })
}

impl Machine {
    pub fn look() -> Result<Machine> {
        let cpuinfo = read("/proc/cpuinfo");
        let meminfo = read("/proc/meminfo");
        let kilobytes = |key| value(&meminfo, key).and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let mut hugepages: Vec<_> = fs::read_dir("/sys/kernel/mm/hugepages")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let size_kb = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
                let pages = |file: &str| read(&entry.path().join(file).display().to_string()).parse().unwrap_or(0);
                Some(Hugepages { size_kb, total: pages("nr_hugepages"), free: pages("free_hugepages") })
            })
            .collect();
        hugepages.sort_by_key(|pages| pages.size_kb);
        Ok(Machine {
            cpu: value(&cpuinfo, "model name").unwrap_or_else(|| "unknown".into()),
            cpus: cpu::allowed()?,
            virtual_machine: value(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: read("/proc/sys/kernel/osrelease"),
            memory_mb: kilobytes("MemTotal").unwrap_or(0) / 1024,
            hugepages,
            isolated: read("/sys/devices/system/cpu/isolated"),
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        })
    }

    /// Lines for a person.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let kind = if self.virtual_machine { ", a virtual machine" } else { "" };
        let pages =
            self.hugepages.iter().map(|pages| format!("{} of {} kB, {} free", pages.total, pages.size_kb, pages.free));
        let isolated = if self.isolated.is_empty() { String::new() } else { format!(", {} isolated", self.isolated) };
        vec![
            ("CPU", format!("{}, {} CPUs{isolated}{kind}", self.cpu, self.cpus.len())),
            ("kernel", format!("Linux {}", self.kernel)),
            ("memory", format!("{} MB; hugepages: {}", self.memory_mb, pages.collect::<Vec<_>>().join("; "))),
            ("load before", self.load_before.clone()),
        ]
    }

    /// The CPU for the router and the one for the generator: those asked for, else the last two.
    pub fn cores(&self, router: Option<usize>, generator: Option<usize>) -> Result<(usize, usize)> {
        let allowed: BTreeSet<usize> = self.cpus.iter().copied().collect();
        for (option, core) in [("--router-core", router), ("--core", generator)] {
            if let Some(core) = core.filter(|core| !allowed.contains(core)) {
                return Err(LoadError::Option {
                    option,
                    problem: format!("CPU {core} is not one this process may run on"),
                });
            }
        }
        if router.is_some() && router == generator {
            let problem = "the router and the generator need a CPU each".into();
            return Err(LoadError::Option { option: "--core", problem });
        }
        let free = |taken: Option<usize>| allowed.iter().rev().copied().find(|cpu| Some(*cpu) != taken);
        let only = self.cpus.first().copied().unwrap_or(0);
        let router = router.or_else(|| free(generator)).unwrap_or(only);
        let generator = generator.or_else(|| free(Some(router))).unwrap_or(only);
        Ok((router, generator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cpus: &[usize]) -> Machine {
        Machine { cpus: cpus.to_vec(), ..Machine::look().expect("every machine can be looked at") }
    }

    #[test]
    fn router_and_generator_have_a_cpu_each_where_there_are_two() {
        assert_eq!(with(&[0, 1]).cores(None, None).expect("there are two"), (1, 0));
        assert_eq!(with(&[0, 1, 2, 3]).cores(None, Some(3)).expect("there are four"), (2, 3));
        assert_eq!(with(&[5]).cores(None, None).expect("there is one"), (5, 5));
        let error = with(&[0, 1]).cores(Some(7), None).expect_err("there is no such CPU");
        assert!(error.to_string().contains("CPU 7"), "{error}");
    }
}
