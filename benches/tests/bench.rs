//! `scripts/bench` end to end, on ports that need no hugepages and as short as it goes: not to measure, but to see what becomes of a
//! run where something fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A directory with a dpdk-testpmd that fails.
struct Broken(PathBuf);

impl Broken {
    fn new() -> Broken {
        let path = std::env::temp_dir().join(format!("bench-broken-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it can be made");
        let program = path.join("dpdk-testpmd");
        fs::write(&program, "#!/bin/sh\necho no ports here\nexit 7\n").expect("it can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Broken(path)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_contender_that_fails_does_not_take_the_others_with_it() {
    let broken = Broken::new();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(env!("CARGO_BIN_EXE_carpool-bench"));
    command.args(["--case", "forward_64", "--ports", "pcap", "--no-huge", "--runs", "1", "--seconds", "0.1", "--json"]);
    let output = command.env("PATH", format!("{}:{path}", broken.0.display())).output().expect("it can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert_eq!(errors.matches("no ports here; once more").count(), 4, "two tries more of each mode: {errors}");
    assert!(errors.contains("scripts/bench: not all could be measured: dpdk-testpmd did not run"), "{errors}");
    let figures = String::from_utf8_lossy(&output.stdout);
    assert_eq!(figures.lines().count(), 1, "{figures}");
    assert!(figures.contains(r#""contender":"carpool","#), "{figures}");
}
