//! What can be said on the command line, and the plugin's options that it makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use fluent_bit_container_logs::config::options::OPTIONS;
use fluent_bit_container_logs::config::{Config, ConfigError};
use fluent_bit_container_logs::format::position::Timestamp;

use crate::since;

/// Follow the logs of all containers of this machine, straight from the files
/// that the runtime writes: no daemon, no socket, no Fluent Bit. What is printed
/// went through the same code as in the Fluent Bit plugin.
///
/// Reading Docker's folder takes root.
#[derive(Parser)]
#[command(version, max_term_width = 90, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do instead of following.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Whose containers: docker, cri (a Kubernetes node), podman, or auto: all
    /// that are found
    #[arg(long, value_name = "RUNTIME", default_value = "auto", global = true)]
    runtime: String,

    /// The folder of a Kubernetes node's logs
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/log/pods",
        global = true
    )]
    pod_logs: PathBuf,

    /// Docker's data root
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/docker",
        global = true
    )]
    docker_root: PathBuf,

    /// Only containers that one of these rules fits (repeatable): name=GLOB,
    /// image=GLOB, label=KEY[=GLOB], compose_project=GLOB and so on, as the option
    /// Include has them
    #[arg(long, value_name = "RULE", global = true)]
    include: Vec<String>,

    /// Not the containers that one of these rules fits (repeatable); it wins over
    /// --include
    #[arg(long, value_name = "RULE", global = true)]
    exclude: Vec<String>,

    /// One JSON object a line: each record as Fluent Bit would get it, with its
    /// time to the nanosecond under `date`
    #[arg(long)]
    pub json: bool,

    /// Print what is there and end
    // clap stores what the switch leaves, not what it says.
    #[arg(long = "no-follow", action = ArgAction::SetFalse)]
    pub follow: bool,

    /// Only what is written from now on (not what is there already)
    #[arg(long, conflicts_with = "follow")]
    new: bool,

    /// Only what was written since then: 10m or 1h30m ago, 2026-11-25T18:30:00Z,
    /// 2026-11-25 (in the time zone of this machine unless one is given), or
    /// seconds since 1970
    #[arg(long, value_name = "WHEN", value_parser = since::parse)]
    pub since: Option<Timestamp>,

    /// In place of the lines a table of the containers, again every second or
    /// every TIME: lines a second, how far behind reading is, what was lost. With
    /// --no-follow once, at the end
    #[arg(
        long,
        value_name = "TIME",
        value_parser = since::parse_interval,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1s",
        conflicts_with_all = ["json", "raw", "since"]
    )]
    pub stats: Option<Duration>,

    /// Write the positions into the DB that -o DB=FILE names, so that the next run goes
    /// on from there; else that file is only read. Not with the DB of a Fluent Bit: what
    /// is printed here would count as delivered there
    #[arg(long = "save-position")]
    save_position: bool,

    /// When to colour container names; NO_COLOR is respected
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,

    /// Print control characters of logs as they are; else ^[ is shown for an
    /// escape, and so on, since a log could otherwise steer the terminal
    #[arg(long)]
    pub raw: bool,

    /// Set any option of the plugin (repeatable), e.g. -o Multiline=java. A DB is only read,
    /// also one that a Fluent Bit has open (see --save-position)
    #[arg(
        short,
        long = "option",
        value_name = "NAME=VALUE",
        value_parser = parse_option,
        global = true
    )]
    options: Vec<(String, String)>,
}

/// What there is to do beside following.
#[derive(Clone, Copy, Subcommand)]
pub enum Command {
    /// Say which containers there are, where the log of each would be read, and
    /// what cannot be read, with the fix; reads no log. Exits with 1 if something
    /// cannot be read
    Check,
}

/// When there is colour.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

const AFTER_HELP: &str = "\
Examples:
  sudo tail-containers                          follow everything, coloured by container
  sudo tail-containers --since 10m --include compose_project=shop
                                                what the shop said in the last ten minutes, and follow
  sudo tail-containers --stats --new            who writes how much, and whether all of it can be read
  sudo tail-containers check                    what can be read on this machine, and what to mend
  sudo tail-containers --no-follow --json       dump what is there, one record a line
  sudo tail-containers -o DB=/tmp/seen.db --save-position
                                                go on where the last run left off
  sudo tail-containers -o DB=/var/lib/fluent-bit/container_logs.db
                                                what Fluent Bit has not delivered yet, and follow";

fn parse_option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    match OPTIONS
        .iter()
        .find(|option| option.name.eq_ignore_ascii_case(name))
    {
        Some(option) => Ok((option.name.to_owned(), value.to_owned())),
        None => {
            let names: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
            Err(format!("no such option; there are {}", names.join(", ")))
        }
    }
}

impl Arguments {
    /// The configuration of the plugin that they ask for.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::from_lookup(|name| self.option(name))?;
        config.follow = self.follow;
        config.saves_positions = self.save_position;
        Ok(config)
    }

    /// The texts for an option of the plugin; what has a switch of its own is set
    /// by that. Of one that is no list the last counts.
    fn option(&self, name: &str) -> Vec<String> {
        let given = self.options.iter().rev().filter(|(given, _)| given == name);
        let given: Vec<String> = given.map(|(_, value)| value.clone()).collect();
        match name {
            "Include" => [&self.include[..], &given].concat(),
            "Exclude" => [&self.exclude[..], &given].concat(),
            _ if !given.is_empty() => given,
            "Docker_Root" => absolute(&self.docker_root).into_iter().collect(),
            "Pod_Logs" => absolute(&self.pod_logs).into_iter().collect(),
            "Runtime" => vec![self.runtime.clone()],
            "Read_From_Head" if self.new => vec!["off".to_owned()],
            // What is printed is the line, also where it became fields.
            "Keep_Log" if !self.json => vec!["on".to_owned()],
            _ => Vec::new(),
        }
    }
}

fn absolute(path: &Path) -> Option<String> {
    std::path::absolute(path).ok()?.to_str().map(str::to_owned)
}
