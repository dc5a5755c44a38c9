//! The command line, and the plugin options that it sets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use fluent_bit_container_logs::config::options::OPTIONS;
use fluent_bit_container_logs::config::{Config, ConfigError};
use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::runtime::RUNTIMES;

use crate::generate::Generate;
use crate::since;

/// Follow the logs of all containers on this machine, read directly from the files
/// that the container runtime writes: no daemon, no socket, no Fluent Bit. The code
/// is the same as in the Fluent Bit plugin.
///
/// Reading Docker's folder requires root.
#[derive(Parser)]
#[command(version, max_term_width = 90, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Arguments {
    /// Command to run instead of following the logs.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Container runtime, or auto: all that are found
    #[arg(
        long,
        value_name = "RUNTIME",
        default_value = "auto",
        value_parser = PossibleValuesParser::new(runtime_names()),
        global = true
    )]
    runtime: String,

    /// Folder with the pod logs of a Kubernetes node
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/log/pods",
        global = true
    )]
    pod_logs: PathBuf,

    /// Docker's data root (repeatable), or auto: where Docker's own files say
    #[arg(long, value_name = "DIR", default_value = "auto", global = true)]
    docker_root: Vec<PathBuf>,

    /// Read only containers that match one of these rules (repeatable): name=GLOB,
    /// image=GLOB, label=KEY[=GLOB], compose_project=GLOB and so on, as in the
    /// option Include
    #[arg(long, value_name = "RULE", global = true)]
    include: Vec<String>,

    /// Do not read containers that match one of these rules (repeatable); wins over
    /// --include
    #[arg(long, value_name = "RULE", global = true)]
    exclude: Vec<String>,

    /// Print one JSON object per line: each record as Fluent Bit would receive it,
    /// with its time in nanosecond precision under `date`
    #[arg(long)]
    pub json: bool,

    /// Print what has been logged so far and exit
    // Inverted: the field holds `true` unless the switch is given.
    #[arg(long = "no-follow", action = ArgAction::SetFalse)]
    pub follow: bool,

    /// Print only lines written from now on, skip existing ones
    #[arg(long, conflicts_with = "follow")]
    new: bool,

    /// Print only lines written since WHEN: 10m or 1h30m ago, 2026-11-25T18:30:00Z,
    /// 2026-11-25 (in the time zone of this machine unless one is given), or
    /// seconds since 1970
    #[arg(long, value_name = "WHEN", value_parser = since::parse)]
    pub since: Option<Timestamp>,

    /// Instead of the lines, print a table of the containers every second or every
    /// TIME: lines per second, how far reading lags behind, and losses. With
    /// --no-follow, print it once at the end
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

    /// Save the positions in the file given with -o DB=FILE, so that the next run continues
    /// from there; without this switch, that file is only read. Do not use it with the DB of
    /// a Fluent Bit: Fluent Bit would skip what was printed here
    #[arg(long = "save-position")]
    save_position: bool,

    /// When to color container names; NO_COLOR is respected
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,

    /// Print control characters in logs unchanged. By default they are shown as ^[
    /// and so on, because a log could otherwise send commands to the terminal
    #[arg(long)]
    pub raw: bool,

    /// Set any option of the plugin (repeatable), e.g. -o Multiline=java. A DB is only read,
    /// even while a Fluent Bit has it open (see --save-position)
    #[arg(
        short,
        long = "option",
        value_name = "NAME=VALUE",
        value_parser = parse_option,
        global = true
    )]
    options: Vec<(String, String)>,

    /// Write the manual page or a shell's completions to the standard output
    #[arg(long, value_name = "WHAT", value_enum, hide = true, exclusive = true)]
    pub generate: Option<Generate>,
}

/// Commands other than following the logs.
#[derive(Clone, Copy, Subcommand)]
pub enum Command {
    /// List the containers, where the log of each would be read from, and what
    /// cannot be read, with the fix; reads no log. Exits with 1 if something
    /// cannot be read
    Check,
}

/// When to use color.
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
  sudo tail-containers                          follow everything, colored by container
  sudo tail-containers --since 10m --include compose_project=shop
                                                the shop's last ten minutes, then follow
  sudo tail-containers --stats --new            lines per second, lag and losses of each container
  sudo tail-containers check                    what can be read on this machine, and how to fix the rest
  sudo tail-containers --no-follow --json       dump all existing logs, one record per line
  sudo tail-containers -o DB=/tmp/seen.db --save-position
                                                continue where the last run stopped
  sudo tail-containers -o DB=/var/lib/fluent-bit/container_logs.db
                                                what Fluent Bit has not delivered yet, then follow";

/// The value of a root that is found by itself.
const AUTO: &str = "auto";

fn parse_option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    match OPTIONS
        .iter()
        .find(|option| option.name.eq_ignore_ascii_case(name))
    {
        Some(option) => Ok((option.name.to_owned(), value.to_owned())),
        None => {
            let names: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
            Err(format!(
                "no such option; available are {}",
                names.join(", ")
            ))
        }
    }
}

impl Arguments {
    /// The plugin configuration for these arguments.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::from_lookup(|name| self.option(name))?;
        config.follow = self.follow;
        config.saves_positions = self.save_position;
        Ok(config)
    }

    /// The values of a plugin option, last one first, from `-o` or from the option's own
    /// switch. Only a list option uses more than the first.
    fn option(&self, name: &str) -> Vec<String> {
        let given = self.options.iter().rev().filter(|(given, _)| given == name);
        let given: Vec<String> = given.map(|(_, value)| value.clone()).collect();
        match name {
            "Include" => [&self.include[..], &given].concat(),
            "Exclude" => [&self.exclude[..], &given].concat(),
            _ if !given.is_empty() => given,
            "Docker_Root" => self
                .docker_root
                .iter()
                .filter_map(|path| data_root(path))
                .collect(),
            "Pod_Logs" => absolute(&self.pod_logs).into_iter().collect(),
            "Runtime" => vec![self.runtime.clone()],
            "Read_From_Head" if self.new => vec!["off".to_owned()],
            // The printed text is the line, even if its fields were merged.
            "Keep_Log" if !self.json => vec!["on".to_owned()],
            _ => Vec::new(),
        }
    }
}

fn runtime_names() -> impl Iterator<Item = &'static str> {
    let names = RUNTIMES.iter().map(|(name, _)| *name);
    std::iter::once("auto").chain(names)
}

fn data_root(path: &Path) -> Option<String> {
    match path.to_str() {
        Some(AUTO) => Some(AUTO.to_owned()),
        _ => absolute(path),
    }
}

fn absolute(path: &Path) -> Option<String> {
    std::path::absolute(path).ok()?.to_str().map(str::to_owned)
}
