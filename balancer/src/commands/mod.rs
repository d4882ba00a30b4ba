//! The command line: `run`, `check`, `status`, `completions`, a file for each.
//! It does not know what a connection is. `main` calls it.

mod check;
mod run;
mod status;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use shared::config::Faults;

/// Spreads TCP connections over mail nodes, and moves them away from a dead one at once.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carries connections until SIGTERM; a second signal ends it at once. SIGHUP reads the file.
    Run {
        /// The settings file (configs/balancer.yaml shows every key).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Says whether a settings file is good, or every fault it has.
    Check {
        /// The settings file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Asks a running balancer how it and its nodes are.
    Status {
        /// Its settings file, for the address of its admin port.
        #[arg(long, value_name = "FILE", required_unless_present = "admin")]
        config: Option<PathBuf>,
        /// The address of its admin port.
        #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
        admin: Option<SocketAddr>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Again every second, until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// Writes the completions of a shell to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The settings file has faults.
    #[error("{0}")]
    Config(#[from] Faults),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(64),
            Self::Failed(_) => ExitCode::from(1),
        }
    }
}

/// Writes to standard output; says whether anybody still reads: who has seen enough (`| head`)
/// is no failure.
fn print(text: &str) -> Result<bool, CommandError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::Failed(format!("cannot write: {error}"))),
    }
}

/// Reads the command line and does what it says: 0 fine, 2 usage, 64 bad settings, 1 otherwise.
#[must_use]
pub fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Run { config } => run::run(config),
        Command::Check { config } => check::check(&config),
        Command::Status { config, admin, json, watch } => {
            status::status(config.as_deref(), admin, json, watch)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "balancer", &mut script);
            print(&String::from_utf8_lossy(&script)).map(drop)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
