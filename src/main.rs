//! The `fleetotp` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(fleetotp::cli::app::main(std::env::args_os()))
}
