//! Follows the logs of every container of this machine in a terminal, with the
//! plugin's own library and no Fluent Bit.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use clap::{ArgAction, Parser, ValueEnum};
use fluent_bit_container_logs::config::options::OPTIONS;
use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::exchange::Bell;
use fluent_bit_container_logs::ffi::signals::with_all_blocked;
use fluent_bit_container_logs::format::rfc3339;
use fluent_bit_container_logs::host::embedded::{EmbeddedHost, Record};
use fluent_bit_container_logs::host::Level;
use fluent_bit_container_logs::plugin::Plugin;
use rustix::event::{poll, PollFd, PollFlags};
use serde_json::Value;

/// Follow the logs of all containers of this machine, straight from the files
/// that the runtime writes: no daemon, no socket, no Fluent Bit. What is printed
/// went through the same code as in the Fluent Bit plugin.
///
/// Reading Docker's folder takes root.
#[derive(Parser)]
#[command(version, max_term_width = 90, after_help = AFTER_HELP)]
struct Arguments {
    /// Whose containers: docker, cri (a Kubernetes node), podman, or auto: all
    /// that are found
    #[arg(long, value_name = "RUNTIME", default_value = "auto")]
    runtime: String,

    /// The folder of a Kubernetes node's logs
    #[arg(long, value_name = "DIR", default_value = "/var/log/pods")]
    pod_logs: PathBuf,

    /// Docker's data root
    #[arg(long, value_name = "DIR", default_value = "/var/lib/docker")]
    docker_root: PathBuf,

    /// One JSON object a line: each record as Fluent Bit would get it, with its
    /// time to the nanosecond under `date`
    #[arg(long)]
    json: bool,

    /// Print what is there and end
    #[arg(long, action = ArgAction::SetFalse)]
    no_follow: bool,

    /// Only what is written from now on (not what is there already)
    #[arg(long, conflicts_with = "no_follow")]
    new: bool,

    /// When to colour container names; NO_COLOR is respected
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    color: Color,

    /// Print control characters of logs as they are; else ^[ is shown for an
    /// escape, and so on, since a log could otherwise steer the terminal
    #[arg(long)]
    raw: bool,

    /// Set any option of the plugin (repeatable), e.g. -o DB=/tmp/positions.db
    #[arg(short, long = "option", value_name = "NAME=VALUE", value_parser = parse_option)]
    options: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
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
  sudo tail-containers --no-follow --json       dump what is there, one record a line
  sudo tail-containers -o DB=/tmp/seen.db       go on where the last run left off";

fn parse_option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    match OPTIONS.iter().find(|option| option.name.eq_ignore_ascii_case(name)) {
        Some(option) => Ok((option.name.to_owned(), value.to_owned())),
        None => {
            let names: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
            Err(format!("no such option; there are {}", names.join(", ")))
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe went away: nobody to print for.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tail-containers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut config = Config::from_lookup(|name| option(arguments, name)).map_err(io::Error::other)?;
    // clap stores what "--no-follow" leaves, not what it says.
    config.follow = arguments.no_follow;
    let (stop, interrupted) = stop_at_signal()?;
    let plugin = with_all_blocked(|| Plugin::start(config)).map_err(io::Error::other)?;

    let printer = RefCell::new(Printer::new(arguments));
    let failure: Cell<Option<io::Error>> = Cell::new(None);
    let host = EmbeddedHost::new(
        |_tag, record| {
            if let Err(error) = printer.borrow_mut().print(&record) {
                failure.set(Some(error));
            }
        },
        |level, message| {
            if level <= Level::Warn {
                eprintln!("tail-containers: {}", harmless(message));
            }
        },
    );
    let result = loop {
        plugin.drain(&host);
        if let Some(error) = failure.take() {
            break Err(error);
        }
        if let Err(error) = printer.borrow_mut().out.flush() {
            break Err(error);
        }
        if plugin.is_done() || interrupted.load(Ordering::Acquire) {
            break Ok(());
        }
        let host_fd = plugin.host_fd();
        let mut fds = [PollFd::from_borrowed_fd(host_fd, PollFlags::IN), PollFd::new(&*stop, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => break Err(error.into()),
        }
    };
    plugin.stop(&host);
    result
}

/// The texts for an option of the plugin; what has a switch of its own is set
/// by that. Of one that is no list the last counts.
fn option(arguments: &Arguments, name: &str) -> Vec<String> {
    let given = arguments.options.iter().rev().filter(|(given, _)| given == name);
    let given: Vec<String> = given.map(|(_, value)| value.clone()).collect();
    match name {
        _ if !given.is_empty() => given,
        "Docker_Root" => absolute(&arguments.docker_root).into_iter().collect(),
        "Pod_Logs" => absolute(&arguments.pod_logs).into_iter().collect(),
        "Runtime" => vec![arguments.runtime.clone()],
        "Read_From_Head" if arguments.new => vec!["off".to_owned()],
        _ => Vec::new(),
    }
}

fn absolute(path: &Path) -> Option<String> {
    std::path::absolute(path).ok()?.to_str().map(str::to_owned)
}

/// A bell that rings, and a flag that is set, at Ctrl-C or a termination.
fn stop_at_signal() -> io::Result<(Arc<Bell>, Arc<AtomicBool>)> {
    let bell = Arc::new(Bell::new()?);
    let flag = Arc::new(AtomicBool::new(false));
    let (ring, set) = (Arc::clone(&bell), Arc::clone(&flag));
    ctrlc::set_handler(move || {
        set.store(true, Ordering::Release);
        ring.ring();
    })
    .map_err(io::Error::other)?;
    Ok((bell, flag))
}

/// Writes records as people or programs want them.
struct Printer {
    out: BufWriter<io::Stdout>,
    is_json: bool,
    is_raw: bool,
    is_colored: bool,
    /// Width of the longest name so far.
    width: usize,
    /// Colour of each container, in the order of appearance.
    colors: HashMap<String, usize>,
}

/// Bright colours first; all readable on a dark and on a light ground.
const COLORS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

impl Printer {
    fn new(arguments: &Arguments) -> Printer {
        let is_colored = match arguments.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Printer {
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            is_json: arguments.json,
            is_raw: arguments.raw,
            is_colored,
            width: 0,
            colors: HashMap::new(),
        }
    }

    fn print(&mut self, record: &Record) -> io::Result<()> {
        if self.is_json {
            self.print_json(record)
        } else {
            self.print_line(record)
        }
    }

    fn print_json(&mut self, record: &Record) -> io::Result<()> {
        let date = Value::String(rfc3339::format(record.time));
        write!(self.out, "{{\"date\":{date}")?;
        for (key, value) in &record.body {
            write!(self.out, ",{}:{value}", Value::String(key.clone()))?;
        }
        self.out.write_all(b"}\n")
    }

    fn print_line(&mut self, record: &Record) -> io::Result<()> {
        let name = &*harmless(record.text("container_name"));
        self.width = self.width.max(name.chars().count());
        let width = self.width;
        if self.is_colored {
            let next = self.colors.len();
            let color = *self.colors.entry(name.to_owned()).or_insert(next) % COLORS.len();
            write!(self.out, "\x1b[{}m{name:width$} |\x1b[0m ", COLORS[color])?;
        } else {
            write!(self.out, "{name:width$} | ")?;
        }
        let log = record.text("log");
        let shown = if self.is_raw { Cow::Borrowed(log) } else { harmless(log) };
        self.out.write_all(shown.as_bytes())?;
        self.out.write_all(b"\n")
    }
}

/// Text that steers no terminal: control characters but the tab in caret
/// notation, those beyond ASCII as U+FFFD.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| character.is_control() && character != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if is_harmful(character) && byte.is_ascii() => {
                shown.extend(['^', char::from(byte ^ 0x40)]);
            }
            _ if is_harmful(character) => shown.push('\u{fffd}'),
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}
