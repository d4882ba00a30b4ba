//! The mail node's command line. It does not know what a verb does; `commands` does.

use std::process::ExitCode;

use clap::Parser;
use mailnode::commands::{CommandLine, obey};

#[tokio::main]
async fn main() -> ExitCode {
    match obey(CommandLine::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mailnode: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
