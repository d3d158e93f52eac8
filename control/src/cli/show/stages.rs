//! What the stages of the workers' loops take for each packet: the port's part, and the router's.

use carpool_dataplane::worker::Stage;

use super::show;
use crate::api::stages::{Stages, WorkerStages};
use crate::cli::table::{Align, Table};

show!(Stages, |stages| {
    let text: Vec<String> = stages.workers.iter().map(|worker| of_worker(worker, stages.ticks_per_second)).collect();
    text.join("\n")
});

fn of_worker(worker: &WorkerStages, ticks_per_second: u64) -> String {
    let ticks = |stage: Stage| worker.ticks.get(stage.name()).unwrap_or(0);
    let total: u64 = worker.ticks.iter().map(|(_, ticks)| ticks).sum();
    let seconds = total as f64 / ticks_per_second.max(1) as f64;
    if worker.iterations == 0 {
        return format!(
            "worker {}: it did not come by in this time: it is blocked, for want of anything to do\n",
            worker.index
        );
    }
    let mut text = format!(
        "worker {}: {} packets in, {} out in {seconds:.3} s of {:.3} GHz, {} iterations\n",
        worker.index,
        worker.received,
        worker.out,
        ticks_per_second as f64 / 1e9,
        worker.iterations
    );
    let mut table = Table::new(&[
        ("stage", Align::Left),
        ("ticks/packet in", Align::Right),
        ("% of the time", Align::Right),
        ("what it is", Align::Left),
    ]);
    let mut row = |name: &str, ticks: u64, meaning: &str, each: bool| {
        let share = 100.0 * ticks as f64 / total.max(1) as f64;
        let each = if each && worker.received > 0 {
            format!("{:.1}", ticks as f64 / worker.received as f64)
        } else {
            String::new()
        };
        table.row([name.to_owned(), each, format!("{share:.1}"), meaning.to_owned()]);
    };
    let is_work = |stage: Stage| !matches!(stage, Stage::Idle | Stage::Timing);
    for stage in Stage::ALL.iter().copied().filter(|stage| is_work(*stage)) {
        row(stage.name(), ticks(stage), stage.meaning(), true);
    }
    let sum = |of_port: bool| {
        Stage::ALL.iter().copied().filter(|stage| is_work(*stage) && stage.is_port() == of_port).map(ticks).sum()
    };
    row("= port", sum(true), "rx and tx", true);
    row("= router", sum(false), "all else that packets took", true);
    for stage in [Stage::Idle, Stage::Timing] {
        row(stage.name(), ticks(stage), stage.meaning(), false);
    }
    text.push_str(&table.text());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::show::Show;

    fn stages(received: u64, ticks: &[(&'static str, u64)]) -> Stages {
        let ticks = ticks.iter().map(|(name, ticks)| ((*name).into(), *ticks)).collect();
        let worker = WorkerStages { index: 0, iterations: 10, received, out: 32, ticks };
        Stages { ticks_per_second: 2_000_000_000, workers: vec![worker] }
    }

    #[test]
    fn the_budget_is_split_between_port_and_router_and_idle_is_of_neither() {
        let stages = stages(10, &[("rx", 200), ("lookup", 500), ("tx", 100), ("idle", 1100), ("timing", 100)]);
        let text = stages.text();
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
            line.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(text.starts_with("worker 0: 10 packets in, 32 out in 0.000 s of 2.000 GHz, 10 iterations\n"), "{text}");
        assert_eq!(row("lookup")[..3], ["lookup", "50.0", "25.0"]);
        assert_eq!(row("= port"), ["=", "port", "30.0", "15.0"]);
        assert_eq!(row("= router"), ["=", "router", "50.0", "25.0"]);
        assert_eq!(row("idle")[..3], ["idle", "-", "55.0"]);
    }

    #[test]
    fn where_no_packet_came_no_stage_has_a_share_of_one() {
        let text = stages(0, &[("idle", 1000)]).text();
        let rx = text.lines().find(|line| line.starts_with("rx")).expect("a row");
        assert_eq!(rx.split_whitespace().take(3).collect::<Vec<_>>(), ["rx", "-", "0.0"]);
    }

    #[test]
    fn two_answers_tell_what_was_measured_between_them() {
        let (before, after) = (stages(10, &[("rx", 200), ("lookup", 5)]), stages(15, &[("rx", 260), ("lookup", 5)]));
        let since = after.since(&before);
        assert_eq!((since.workers[0].received, since.workers[0].iterations), (5, 0));
        assert_eq!(since.workers[0].ticks.iter().collect::<Vec<_>>(), [("rx", 60), ("lookup", 0)]);
    }
}
