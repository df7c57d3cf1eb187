//! Flags that every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags that every command takes; Ansible's words where Ansible has them.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Project file
    #[arg(
        long,
        global = true,
        env = "FLEETOTP_CONFIG",
        value_name = "FILE",
        help_heading = "Project"
    )]
    pub config: Option<PathBuf>,

    /// Inventory source: file, directory, executable or comma list; may be given several times
    #[arg(
        short = 'i',
        long = "inventory",
        global = true,
        env = "FLEETOTP_INVENTORY",
        value_name = "SOURCE",
        help_heading = "Project"
    )]
    pub inventory: Vec<String>,

    /// Ledger: a path or sqlite: URL
    #[arg(
        long,
        global = true,
        env = "FLEETOTP_STATE",
        value_name = "URL",
        help_heading = "Project"
    )]
    pub state: Option<String>,

    /// age identity file, for what must read a secret
    #[arg(
        long,
        global = true,
        env = "FLEETOTP_IDENTITY",
        value_name = "FILE",
        help_heading = "Project"
    )]
    pub identity: Option<PathBuf>,

    /// Who runs this, for the event log; else the CI job or the user. Marked as claimed
    #[arg(
        long,
        global = true,
        env = "FLEETOTP_ACTOR",
        value_name = "NAME",
        help_heading = "Project"
    )]
    pub actor: Option<String>,

    /// Only these hosts: a pattern, or @FILE with one per line
    #[arg(
        short = 'l',
        long,
        global = true,
        env = "FLEETOTP_LIMIT",
        value_name = "PATTERN",
        help_heading = "Selection"
    )]
    pub limit: Option<String>,

    /// The limit comes from the environment, not from a flag.
    #[arg(skip)]
    pub limit_from_environment: bool,

    /// Only these admins: names, groups, or patterns as for hosts
    #[arg(
        short = 'a',
        long,
        global = true,
        env = "FLEETOTP_ADMINS",
        value_name = "PATTERN",
        help_heading = "Selection"
    )]
    pub admins: Option<String>,

    /// The admins come from the environment, not from a flag.
    #[arg(skip)]
    pub admins_from_environment: bool,

    /// How many hosts are worked on at a time
    #[arg(short = 'f', long, global = true, env = "FLEETOTP_FORKS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Connection")]
    pub forks: u16,

    /// Remote user, where the inventory names none
    #[arg(
        short = 'u',
        long,
        global = true,
        env = "FLEETOTP_USER",
        value_name = "USER",
        help_heading = "Connection"
    )]
    pub user: Option<String>,

    /// Become root by sudo, where the inventory does not say
    #[arg(
        short = 'b',
        long,
        global = true,
        env = "FLEETOTP_BECOME",
        help_heading = "Connection"
    )]
    pub r#become: bool,

    /// SSH private key, where the inventory names none
    #[arg(
        long,
        global = true,
        env = "FLEETOTP_PRIVATE_KEY",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub private_key: Option<PathBuf>,

    /// How unknown host keys are treated
    #[arg(
        long,
        global = true,
        env = "FLEETOTP_HOST_KEY",
        value_enum,
        value_name = "HOW",
        help_heading = "Connection"
    )]
    pub host_key: Option<HostKeyArg>,

    /// Show what would be done; change nothing
    #[arg(
        short = 'C',
        long,
        global = true,
        env = "FLEETOTP_CHECK",
        help_heading = "Output"
    )]
    pub check: bool,

    /// Show changes to files as differences
    #[arg(
        short = 'D',
        long,
        global = true,
        env = "FLEETOTP_DIFF",
        help_heading = "Output"
    )]
    pub diff: bool,

    /// Output format of results
    #[arg(short = 'o', long, global = true, env = "FLEETOTP_OUTPUT", value_enum, default_value_t = Output::Text, help_heading = "Output")]
    pub output: Output,

    /// More messages on standard error; may be repeated
    #[arg(short = 'v', long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

/// How unknown host keys are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostKeyArg {
    /// A host whose key is not known is unreachable
    Strict,
    /// The first key seen is kept; a changed key is refused
    AcceptNew,
}

/// Output format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
}
