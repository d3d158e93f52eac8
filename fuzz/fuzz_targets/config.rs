//! The configuration file: a sound one or errors that say where, never a panic.
#![no_main]

use carpool_control::config::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = parse(text, "carpool.toml") {
        assert!(errors.to_string().lines().all(|line| line.starts_with("carpool.toml")), "{errors}");
    }
});
