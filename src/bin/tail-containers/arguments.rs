//! The command line, and the plugin options that it sets.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand, ValueEnum};
use fluent_bit_container_logs::config::options::OPTIONS;
use fluent_bit_container_logs::config::{Config, ConfigError};
use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::runtime::name_glob::Name;
use fluent_bit_container_logs::runtime::RUNTIMES;
use fluent_bit_container_logs::telemetry::build_info::{ABIS, COMMIT, VERSION};
use regex::Regex;

use crate::generate::Generate;
use crate::near::near;
use crate::since;
use crate::top::{Address, TopArguments};

/// Follow the logs of the containers on this machine, read directly from the files
/// that the container runtime writes: no daemon, no socket, no Fluent Bit. It runs
/// the code of the Fluent Bit plugin.
///
/// Prints the last 10 lines of each container and then new ones. Reading the
/// files of Docker, Podman or a Kubernetes node requires root.
#[derive(Parser)]
#[command(
    name = "tail-containers",
    version = VERSION_TEXT.as_str(),
    max_term_width = 100,
    after_help = AFTER_HELP,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// Command to run instead of following the logs.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Only these containers: names or globs, of containers (web, 'shop-*'), of Compose
    /// services (web, shop/web), of pods (shop/web-*, shop/web-*/app) or of a user's
    /// containers (~ada/*), or ids. Put -- before a container name that is also a command
    #[arg(value_name = "NAME", value_parser = Name::parse)]
    pub names: Vec<Name>,

    /// Keep printing what the containers write. This is the default
    #[arg(short, long, overrides_with_all = ["follow", "no_follow"])]
    follow: bool,

    /// Print what has been logged so far and exit
    #[arg(long = "no-follow", overrides_with_all = ["follow", "no_follow"])]
    no_follow: bool,

    /// Begin with the last N lines of each container, or with all of them. Without this
    /// option: 10, or all with --since, --until or -o DB=FILE
    #[arg(
        short = 'n',
        long,
        value_name = "N|all",
        value_parser = parse_tail,
        allow_hyphen_values = true,
        overrides_with = "tail"
    )]
    tail: Option<Tail>,

    /// Print the time of each line, in UTC
    #[arg(short, long)]
    pub timestamps: bool,

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

    /// Docker's data root (repeatable), or auto: as Docker's own configuration says
    #[arg(long, value_name = "DIR", default_value = "auto", global = true)]
    docker_root: Vec<PathBuf>,

    /// Root's Podman storage, or auto: as its storage.conf says
    #[arg(long, value_name = "DIR", default_value = "auto", global = true)]
    podman_root: PathBuf,

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

    /// Print only lines written from now on, skip existing ones: --tail 0
    #[arg(long, conflicts_with_all = ["no_follow", "tail"])]
    new: bool,

    /// Print only lines written since WHEN: 10m or 1h30m ago, 2026-11-25T18:30:00Z,
    /// 2026-11-25 (in the time zone of this machine unless one is given), or
    /// seconds since 1970
    #[arg(long, value_name = "WHEN", value_parser = since::parse)]
    pub since: Option<Timestamp>,

    /// Print only lines written before WHEN, and exit
    #[arg(long, value_name = "WHEN", value_parser = since::parse, conflicts_with_all = ["follow", "new"])]
    pub until: Option<Timestamp>,

    /// Of the lines that --tail selects, print only those that match this regular
    /// expression (repeatable: any of them), and highlight the match
    #[arg(long, value_name = "REGEX", value_parser = parse_regex)]
    pub grep: Vec<Regex>,

    /// Highlight matches of this regular expression (repeatable)
    #[arg(long, value_name = "REGEX", value_parser = parse_regex)]
    pub highlight: Vec<Regex>,

    /// What `top` shows, from the beginning of the logs
    #[arg(
        long,
        value_name = "TIME",
        value_parser = since::parse_interval,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1s",
        hide = true,
        conflicts_with_all = ["json", "raw", "since", "until", "grep", "highlight", "timestamps"]
    )]
    stats: Option<Duration>,

    /// Save the positions in the file given with -o DB=FILE, so that the next run continues
    /// from there; without this switch, that file is only read. Do not use it with the DB of
    /// a Fluent Bit: Fluent Bit would skip what was printed here
    #[arg(long = "save-position")]
    save_position: bool,

    /// When to use color. auto: on a terminal, unless NO_COLOR is set
    /// and not empty
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t = Color::Auto,
        global = true
    )]
    pub color: Color,

    /// Print lines as they were written: JSON is not formatted, and control characters
    /// are not shown as ^[ and so on, so that a log can send commands to the terminal
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
#[derive(Clone, Subcommand)]
pub enum Command {
    /// List the containers, where the log of each would be read from, and what
    /// cannot be read, with the fix; reads no log. Exits with 1 if something
    /// cannot be read
    Check {
        /// Print one JSON object (docs/tail-containers.md)
        #[arg(long)]
        json: bool,

        /// Compare with what the running daemons report: containers that are in none of the
        /// folders that are read, and other log drivers. Asks Docker_Socket and Podman_Socket
        #[arg(long)]
        ask: bool,
    },
    /// Show a live table of the containers: lines per second, how far reading lags behind,
    /// and losses. Keys: q quits, arrows scroll, s sorts, / filters. If the output is not a
    /// terminal, a table is printed at each interval
    Top(TopArguments),
    /// Import the positions of Fluent Bit's tail input into the plugin's DB, so that the
    /// change repeats and skips nothing. Stop Fluent Bit first
    Import {
        /// The DB of tail
        #[arg(long, value_name = "FILE")]
        tail_db: PathBuf,

        /// The DB of the plugin; positions that it already has are kept
        #[arg(long, value_name = "FILE")]
        db: PathBuf,
    },
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Check { .. } => "check",
            Command::Top(_) => "top",
            Command::Import { .. } => "import",
        }
    }
}

/// The names of the commands.
pub const COMMANDS: [&str; 3] = ["check", "top", "import"];

/// The value of `--tail`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// All lines.
    All,
    /// This many from the end.
    Last(usize),
}

/// The value of `--tail` if neither it nor another limit is given.
const DEFAULT_TAIL: usize = 10;

static VERSION_TEXT: LazyLock<String> = LazyLock::new(|| match COMMIT {
    "unknown" => format!("{VERSION} (plugin ABI: Fluent Bit {ABIS})"),
    commit => format!("{VERSION} (commit {commit}, plugin ABI: Fluent Bit {ABIS})"),
});

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
  sudo tail-containers
      the last 10 lines of every container, then follow
  sudo tail-containers web 'shop/*' -n 100 --grep 'error|warn'
      some of them, and only the matches in their last 100 lines
  sudo tail-containers --since 10m --include compose_project=shop
      the shop's last ten minutes, then follow
  sudo tail-containers top
      lines per second, lag and losses of each container
  tail-containers top --url http://localhost:2020
      what a running Fluent Bit has delivered and lost
  sudo tail-containers check
      what can be read on this machine, and how to fix the rest
  sudo tail-containers --no-follow --tail all --json
      all existing logs, one record per line
  sudo tail-containers -o DB=/tmp/seen.db --save-position
      continue where the last run stopped
  sudo tail-containers -o DB=/var/lib/fluent-bit/container_logs.db
      what Fluent Bit has not delivered yet, then follow

Exits with 1 if nothing can be read or, with --no-follow, if no container matches a NAME or
--include; with 2 if the command line is wrong.";

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
            let meant = match near(name, names.iter().copied()).first() {
                Some(meant) => format!("; did you mean {meant}?"),
                None => ".".to_owned(),
            };
            let names = names.join(", ");
            Err(format!("no such option{meant} Available options: {names}"))
        }
    }
}

/// Reads a number of lines.
pub fn parse_tail(text: &str) -> Result<Tail, String> {
    // `tail -n +N` means something else.
    match text.parse() {
        Ok(lines) if !text.starts_with('+') => Ok(Tail::Last(lines)),
        _ if text.eq_ignore_ascii_case("all") => Ok(Tail::All),
        _ => Err("give a number of lines, or all".to_owned()),
    }
}

fn parse_regex(text: &str) -> Result<Regex, String> {
    // Its own text has several lines, of which the last says what is wrong.
    Regex::new(text).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().to_owned()
    })
}

impl Arguments {
    /// The plugin configuration for these arguments, or what is wrong with them.
    pub fn config(&self) -> Result<Config, String> {
        let wrong = |error: ConfigError| error.to_string();
        let mut config = Config::from_lookup(|name| self.option(name)).map_err(wrong)?;
        if let Some(mistake) = self.mistake(config.db.is_some()) {
            return Err(mistake);
        }
        config.follow = self.follows();
        config.saves_positions = self.save_position;
        config.selection.names = match self.top() {
            Some(top) => top.names.clone(),
            None => self.names.clone(),
        };
        // Which lines are the last ones before that time is not known before they are read.
        config.tail = self.tail().filter(|_| self.until.is_none());
        Ok(config)
    }

    /// Switches that make no sense together.
    fn mistake(&self, has_db: bool) -> Option<String> {
        match (&self.command, self.unused_by_commands()) {
            (Some(Command::Top(_)), Some(switch @ ("--tail" | "--no-follow"))) => {
                return Some(format!("write {switch} after top"));
            }
            (Some(command), Some(switch)) => {
                return Some(format!("{} has no use for {switch}", command.name()));
            }
            (None, _) | (_, None) => {}
        }
        if self.save_position && !has_db {
            return Some("--save-position requires a file: -o DB=FILE".to_owned());
        }
        let (since, until) = (self.since?, self.until?);
        (since > until).then(|| "--since is after --until: no line is between them".to_owned())
    }

    /// A switch that a command would ignore, if one is given.
    fn unused_by_commands(&self) -> Option<&'static str> {
        let is_check = matches!(self.command, Some(Command::Check { .. }));
        let given = [
            (self.follow, "--follow"),
            (self.no_follow, "--no-follow"),
            (self.tail.is_some(), "--tail"),
            (self.new, "--new"),
            (self.since.is_some(), "--since"),
            (self.until.is_some(), "--until"),
            (self.timestamps, "--timestamps"),
            (!self.grep.is_empty(), "--grep"),
            (!self.highlight.is_empty(), "--highlight"),
            (self.stats.is_some(), "--stats"),
            (self.raw, "--raw"),
            (self.save_position, "--save-position"),
            (self.json && !is_check, "--json"),
        ];
        let mut given = given.into_iter();
        given.find_map(|(is_given, switch)| is_given.then_some(switch))
    }

    /// Whether it prints lines and not whole records.
    fn prints_lines(&self) -> bool {
        self.command.is_none() && !self.json
    }

    fn top(&self) -> Option<&TopArguments> {
        match &self.command {
            Some(Command::Top(top)) => Some(top),
            _ => None,
        }
    }

    /// Whether to go on after what exists.
    pub fn follows(&self) -> bool {
        match self.top() {
            Some(top) => !top.no_follow,
            None => !self.no_follow && self.until.is_none(),
        }
    }

    /// How often there is a table of the containers, if there is one instead of their lines.
    pub fn interval(&self) -> Option<Duration> {
        self.top().map(|top| top.interval).or(self.stats)
    }

    /// The Fluent Bit to watch.
    pub fn url(&self) -> Option<&Address> {
        self.top()?.url.as_ref()
    }

    /// How many lines from the end to begin with; `None` for all.
    pub fn tail(&self) -> Option<usize> {
        if let Some(top) = self.top() {
            return top.tail();
        }
        let is_limited = self.since.is_some() || self.until.is_some() || self.stats.is_some();
        let has_db = self.options.iter().any(|(name, _)| name == "DB");
        match self.tail {
            _ if self.new => Some(0),
            Some(Tail::All) => None,
            Some(Tail::Last(lines)) => Some(lines),
            None if is_limited || has_db => None,
            None => Some(DEFAULT_TAIL),
        }
    }

    /// The values of a plugin option, last one first, from `-o` or from the option's own
    /// switch. Only a list option uses more than the first.
    fn option(&self, name: &str) -> Vec<String> {
        let given = self.options.iter().rev().filter(|(given, _)| given == name);
        let given: Vec<String> = given.map(|(_, value)| value.clone()).collect();
        match name {
            "Include" => [&self.include[..], &given].concat(),
            "Exclude" => [&self.exclude[..], &given].concat(),
            // The name before a line is taken from the record.
            "Metadata" if self.prints_lines() => vec!["flat".to_owned()],
            _ if !given.is_empty() => given,
            "Docker_Root" => self
                .docker_root
                .iter()
                .filter_map(|path| data_root(path))
                .collect(),
            "Podman_Root" => data_root(&self.podman_root).into_iter().collect(),
            "Pod_Logs" => absolute(&self.pod_logs).into_iter().collect(),
            "Runtime" => vec![self.runtime.clone()],
            "Read_From_Head" if self.tail() == Some(0) => vec!["off".to_owned()],
            // The printed text is the line, even if its fields were merged.
            "Keep_Log" if self.prints_lines() => vec!["on".to_owned()],
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
