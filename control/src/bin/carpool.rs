//! carpool, the command line of the router: see [`carpool_control::cli`].
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    carpool_control::cli::run()
}
