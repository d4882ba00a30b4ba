//! The command line: `run`, `check`, `status`, orders to a running balancer, `completions`.
//! It does not know what a connection is. `main` calls it.

mod ask;
mod check;
mod drain;
mod run;
mod save;
mod status;
mod tell;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};
use shared::config::{Faults, Value as _};

use crate::backends::Duty;
use crate::settings::Mode;
use ask::Where;
use tell::Wish;

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
    /// Says whether a settings file and all around it (ports, nodes, rights) are good, or names
    /// every fault with its remedy.
    Check(check::How),
    /// Asks a running balancer how it and its nodes are.
    Status {
        #[command(flatten)]
        place: Where,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Again every second, until Ctrl-C.
        #[arg(long)]
        watch: bool,
    },
    /// Keeps new sessions away from a node; those it has go on.
    Drain {
        /// Its name; it is meant in every service.
        node: String,
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        wait: Wait,
    },
    /// Keeps new sessions away from a node and sends those it has away, within `drain_timeout`.
    Maintenance {
        /// Its name; it is meant in every service.
        node: String,
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        wait: Wait,
    },
    /// Lets a node have sessions again.
    Ready {
        /// Its name.
        node: String,
        #[command(flatten)]
        place: Where,
    },
    /// Gives a node another share, until somebody says otherwise.
    Weight {
        /// Its name; it is meant in every service.
        node: String,
        /// 1 to 256, or the word file: as the file says.
        #[arg(value_parser = tell::weight_of)]
        weight: Wish<u32>,
        #[command(flatten)]
        place: Where,
        /// Writes it into the file as well; everything else there stays as it is.
        #[arg(long, requires = "config")]
        save: bool,
    },
    /// Lets a service choose in another way, until somebody says otherwise.
    Mode {
        /// Its name.
        service: String,
        /// least-connections, round-robin, failover, or the word file: as the file says.
        #[arg(value_parser = tell::mode_of)]
        mode: Wish<Mode>,
        #[command(flatten)]
        place: Where,
        /// Writes it into the file as well; everything else there stays as it is.
        #[arg(long, requires = "config")]
        save: bool,
    },
    /// Writes the completions of a shell to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Whether to stay until a node is empty.
#[derive(Debug, clap::Args)]
struct Wait {
    /// Waits until it has no session left, and shows how many are.
    #[arg(long)]
    wait: bool,
    /// No longer than this, such as 10m (exit code 1 if sessions are left then).
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = time)]
    timeout: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, String> {
    Duration::parse(text).ok_or_else(|| format!("allowed: {}", Duration::ALLOWED))
}

/// A name as it may stand in a path.
fn name(text: &str) -> Result<&str, CommandError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(text);
    }
    Err(CommandError::Failed(format!("`{text}` is no name; allowed: letters, digits and - _ .")))
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
        Command::Check(how) => check::check(&how),
        Command::Status { place, json, watch } => status::status(&place, json, watch),
        Command::Drain { node, place, wait } => keep_away(&place, &node, Duty::Drain, &wait),
        Command::Maintenance { node, place, wait } => {
            keep_away(&place, &node, Duty::Maintenance, &wait)
        }
        Command::Ready { node, place } => drain::say(&place, &node, Duty::Ready),
        Command::Weight { node, weight, place, save } => tell::weight(&place, &node, weight, save),
        Command::Mode { service, mode, place, save } => tell::mode(&place, &service, mode, save),
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

fn keep_away(place: &Where, node: &str, duty: Duty, wait: &Wait) -> Result<(), CommandError> {
    if wait.wait {
        drain::say_and_wait(place, node, duty, wait.timeout)
    } else {
        drain::say(place, node, duty)
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
