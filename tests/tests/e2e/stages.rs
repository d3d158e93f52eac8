//! A running router tells what its stages take, and measures it only while it is asked.

use std::{
    thread,
    time::{Duration, Instant},
};

use carpool_tests::{carpoold::Idle, idle::WakeUps};

use crate::network;

#[test]
fn the_stages_of_a_running_router_take_no_more_than_the_time_there_was() {
    let (_alone, mut network) = network(Duration::from_millis(5), Idle::Spin);
    let mut traffic = WakeUps::new(&network.lab).expect("both servers are there");
    let control = &network.pair().expect("carpools").a.control;
    let (mut received, mut answers) = (0, 0);
    while received == 0 {
        let begin = Instant::now();
        let answer = thread::scope(|scope| {
            let asked = scope.spawn(|| control.ask(&["stats", "--stages", "--seconds", "0.3"]));
            traffic.round(50).expect("all arrive as they were sent");
            asked.join().expect("no panic").expect("it answers")
        });
        let elapsed = begin.elapsed().as_secs_f64();
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or_else(|| panic!("{answer}"));
        let hertz = number(&answer["ticks_per_second"]) as f64;
        let [worker] = answer["workers"].as_array().expect("workers").as_slice() else { panic!("{answer}") };
        let ticks = worker["ticks"].as_object().expect("stages");
        for stage in ["rx", "input", "lookup", "forward", "pool", "depool", "flush", "tx", "control", "idle", "timing"]
        {
            assert!(ticks.contains_key(stage), "{stage}: {answer}");
        }
        let seconds = ticks.values().map(number).sum::<u64>() as f64 / hertz;
        // The rate of the time stamp counter is measured when the router starts, in 20 ms.
        assert!(seconds > 0.0 && seconds < elapsed * 1.05, "{seconds} of {elapsed} s: {answer}");
        assert!(number(&worker["iterations"]) > 0);
        received = number(&worker["in"]);
        answers += 1;
        assert!(answers < 20, "packets came, and none was measured: {answer}");
    }
    drop(traffic);
    network.close().expect("both routers end in order");
}
