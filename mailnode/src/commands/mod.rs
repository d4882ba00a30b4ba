//! What the command line does: a file per verb.
//! It does not know how things are done; each verb asks the room that does.

mod accounts;
mod certificate;
mod check;
mod domains;
mod import;
mod run;
mod setup;
mod switch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use shared::config::Faults;

use crate::config::StoreConfig;
use crate::mail::{AddressFault, EmailAddress, canonical};
use crate::password::PasswordFault;
use crate::store::{Store, StoreError};

/// Mail node: one of N equal mail servers over one SQL database and one file store.
#[derive(Debug, Parser)]
#[command(name = "mailnode", version, max_term_width = 100)]
pub struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Config {
    /// The settings file.
    #[arg(long, value_name = "FILE", global = true, default_value = "/etc/mailnode/mailnode.yaml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a node until SIGTERM or SIGINT
    Run(Config),
    /// Test everything that has to be right for a node to run, and print every fault at once
    Check {
        #[command(flatten)]
        config: Config,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the cluster: tables, cluster id, the markers of the file store
    Setup {
        #[command(flatten)]
        config: Config,
        /// Give a database that knows a cluster a new store, or a store that has one a new database
        #[arg(long)]
        adopt: bool,
    },
    /// Move everything in the database to another one, while the nodes run
    Switch {
        #[command(flatten)]
        config: Config,
        /// Where to; several times for the servers of one replicated database
        #[arg(long, value_name = "URL", required = true)]
        to: Vec<String>,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take away files that belong to nobody, now
    Sweep(Config),
    /// Domains whose mail is taken
    Domain {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        action: DomainAction,
    },
    /// Users, each with a mailbox
    User {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        action: UserAction,
    },
    /// Add the users of a file, all or, if anything in it is wrong, none
    Import {
        #[command(flatten)]
        config: Config,
        /// .csv: the first line names the columns address, password or password_hash, quota,
        /// quota_messages, name; .jsonl: an object with these keys in each line
        file: PathBuf,
        /// Serve the domains that are not served yet
        #[arg(long)]
        create_domains: bool,
        /// Check all of it, write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Addresses whose mail goes to other addresses
    Alias {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        action: AliasAction,
    },
    /// The certificate that `tls` names
    Certificate {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        action: CertificateAction,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum DomainAction {
    /// Take mail for a domain
    Add { domain: String },
    /// List all domains
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take no more mail for a domain; it must be empty
    Remove { domain: String },
    /// Change where mail to nobody, postmaster and abuse goes
    Set {
        domain: String,
        /// Who gets the mail to nobody; `none`: it is refused
        #[arg(long, value_name = "ADDRESS")]
        catch_all: Option<String>,
        /// Who gets the mail to postmaster and abuse; `none`: the domain's oldest user
        #[arg(long, value_name = "ADDRESS")]
        postmaster: Option<String>,
    },
    /// Other names of a domain
    Alias {
        #[command(subcommand)]
        action: DomainAliasAction,
    },
}

#[derive(Debug, Subcommand)]
enum DomainAliasAction {
    /// Take mail for ALIAS as if it were for DOMAIN
    Add { alias: String, domain: String },
    /// Take it no longer
    Remove { alias: String },
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Add users; the password, the same for all of them, is one line of standard input
    Add {
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<String>,
        #[command(flatten)]
        traits: accounts::Traits,
    },
    /// Change what a user may do and have
    Set {
        address: String,
        #[command(flatten)]
        traits: accounts::Traits,
        #[command(flatten)]
        permits: accounts::PermitChanges,
    },
    /// List all users
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a password, which is one line of standard input
    Password { address: String },
    /// Remove a user and all mail
    Remove { address: String },
}

#[derive(Debug, Subcommand)]
enum CertificateAction {
    /// Make a key and a certificate that no authority has signed, where `tls` says they lie
    SelfSigned {
        /// Host names and addresses it is for
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// How long it is valid
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Put it in the place of the one that is there
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Subcommand)]
enum AliasAction {
    /// Send the mail of ALIAS to TARGET
    Add { alias: String, target: String },
    /// List all aliases
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send it there no longer
    Remove { alias: String, target: String },
}

/// Why a command failed; the kind decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The settings file is faulty: exit 64.
    #[error("{0}")]
    Config(#[from] Faults),
    /// Any other reason: exit 1.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 64,
            Self::Failed(_) => 1,
        }
    }

    fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<PasswordFault> for CommandError {
    fn from(fault: PasswordFault) -> Self {
        Self::Failed(fault.to_string())
    }
}

/// Does what the command line says.
///
/// # Errors
/// Why it could not be done.
pub async fn obey(line: CommandLine) -> Result<(), CommandError> {
    match line.verb {
        Verb::Run(Config { config }) => run::run(&config).await,
        Verb::Check { config: Config { config }, json } => check::check(&config, json).await,
        Verb::Setup { config: Config { config }, adopt } => setup::setup(&config, adopt).await,
        Verb::Switch { config: Config { config }, to, dry_run } => {
            switch::switch_to(&config, &to, dry_run).await
        }
        Verb::Sweep(Config { config }) => setup::sweep(&config).await,
        Verb::Domain { config, action } => obey_for_domain(&open(&config).await?, action).await,
        Verb::User { config, action } => obey_for_user(&open(&config).await?, action).await,
        Verb::Import { config, file, create_domains, dry_run } => {
            let options = import::Options { create_domains, dry_run };
            import::import(&open(&config).await?, &file, options).await
        }
        Verb::Alias { config, action } => {
            let store = open(&config).await?;
            match action {
                AliasAction::Add { alias, target } => {
                    accounts::add_alias(&store, &alias, &target).await
                }
                AliasAction::List { json } => accounts::list_aliases(&store, json).await,
                AliasAction::Remove { alias, target } => {
                    accounts::remove_alias(&store, &alias, &target).await
                }
            }
        }
        Verb::Certificate { config: Config { config }, action } => match action {
            CertificateAction::SelfSigned { names, days, replace } => {
                certificate::self_signed(&config, &names, days, replace)
            }
        },
        Verb::Completions { shell } => {
            let mut command = <CommandLine as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "mailnode", &mut std::io::stdout());
            Ok(())
        }
    }
}

async fn obey_for_domain(store: &Store, action: DomainAction) -> Result<(), CommandError> {
    match action {
        DomainAction::Add { domain } => domains::add(store, &domain).await,
        DomainAction::List { json } => domains::list(store, json).await,
        DomainAction::Remove { domain } => domains::remove(store, &domain).await,
        DomainAction::Set { domain, catch_all, postmaster } => {
            domains::set(store, &domain, catch_all, postmaster).await
        }
        DomainAction::Alias { action: DomainAliasAction::Add { alias, domain } } => {
            domains::add_alias(store, &alias, &domain).await
        }
        DomainAction::Alias { action: DomainAliasAction::Remove { alias } } => {
            domains::remove_alias(store, &alias).await
        }
    }
}

async fn obey_for_user(store: &Store, action: UserAction) -> Result<(), CommandError> {
    match action {
        UserAction::Add { addresses, traits } => {
            accounts::add_users(store, &addresses, traits).await
        }
        UserAction::Set { address, traits, permits } => {
            accounts::set_user(store, &address, traits, permits).await
        }
        UserAction::List { json } => accounts::list_users(store, json).await,
        UserAction::Password { address } => accounts::set_password(store, &address).await,
        UserAction::Remove { address } => accounts::remove_user(store, &address).await,
    }
}

async fn open(config: &Config) -> Result<Store, CommandError> {
    let config = StoreConfig::read(&config.config)?;
    Ok(Store::open(&config.database, &config.mail, config.sweep.orphan_age).await?)
}

fn address(text: &str) -> Result<EmailAddress, CommandError> {
    let wrong = |fault: AddressFault| CommandError::failed(&format!("`{text}`"), fault);
    canonical::address(text).map_err(wrong)
}
