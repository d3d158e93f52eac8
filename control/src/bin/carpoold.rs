//! carpoold, the router.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    carpool_control::daemon::main()
}
