//! Follows the logs of every container of this machine in a terminal, with the
//! plugin's own library and no Fluent Bit.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)
)]

mod arguments;
mod check;
mod generate;
mod import;
mod near;
mod prefix;
mod pretty;
mod printer;
mod since;
mod start;
mod stats;
mod styled;
mod table;
mod terminal;

use std::cell::{Cell, RefCell};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use fluent_bit_container_logs::delivery::host::embedded::EmbeddedHost;
use fluent_bit_container_logs::delivery::host::Host;
use fluent_bit_container_logs::delivery::waker::Waker;
use fluent_bit_container_logs::ffi::signals::with_signals_blocked;
use fluent_bit_container_logs::plugin::Plugin;
use fluent_bit_container_logs::telemetry::event::Level;
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use arguments::{Arguments, Command};
use printer::Printer;
use start::Outlook;
use terminal::harmless;

/// The exit code of clap, too.
const WRONG_COMMAND_LINE: u8 = 2;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        // The process that read our output is gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    if let Some(what) = arguments.generate {
        generate::write(what)?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = match arguments.config() {
        Ok(config) => config,
        Err(mistake) => {
            say(&mistake);
            return Ok(ExitCode::from(WRONG_COMMAND_LINE));
        }
    };
    match &arguments.command {
        Some(Command::Check { json }) => return check::run(&config, *json || arguments.json),
        Some(Command::Import { tail_db, db }) => return import::run(&config, tail_db, db),
        None => {}
    }
    let complaints = match start::look(&config) {
        Outlook::Go { complaints } => complaints,
        Outlook::Nothing(reason) => return Err(io::Error::other(reason)),
    };
    for complaint in &complaints {
        say(complaint);
    }
    match arguments.stats {
        Some(interval) => stats::run(arguments, interval)?,
        None => print_records(arguments)?,
    }
    Ok(match complaints.is_empty() || arguments.follows() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Prints a message of ours.
fn say(message: &str) {
    eprintln!("tail-containers: {}", harmless(message));
}

fn print_records(arguments: &Arguments) -> io::Result<()> {
    let printer = RefCell::new(Printer::new(arguments));
    let failure: Cell<Option<io::Error>> = Cell::new(None);
    let host = EmbeddedHost::new(
        |_tag, record| {
            if let Err(error) = printer.borrow_mut().take(record) {
                failure.set(Some(error));
            }
        },
        |level, message| {
            if level <= Level::Warn {
                say(message);
            }
        },
    )
    .since(arguments.since);
    follow(arguments, &host, |_plugin, is_last| {
        failure.take().map_or(Ok(()), Err)?;
        let mut printer = printer.borrow_mut();
        match is_last {
            true => printer.finish()?,
            false => printer.flush()?,
        }
        Ok(None)
    })
}

/// Reads for `host` until everything is read or a signal arrives. `look` is called after
/// each hand-over and returns the longest time until its next call.
fn follow(
    arguments: &Arguments,
    host: &dyn Host,
    mut look: impl FnMut(&Plugin, bool) -> io::Result<Option<Duration>>,
) -> io::Result<()> {
    let config = arguments.config().map_err(io::Error::other)?;
    let (stop, interrupted) = stop_at_signal()?;
    let plugin = with_signals_blocked(|| Plugin::start(config)).map_err(io::Error::other)?;
    let result = loop {
        plugin.drain(host);
        let is_last = plugin.is_done() || interrupted.load(Ordering::Acquire);
        let wait = match look(&plugin, is_last) {
            Ok(_) if is_last => break Ok(()),
            Ok(wait) => wait.and_then(|wait| Timespec::try_from(wait).ok()),
            Err(error) => break Err(error),
        };
        let host_fd = plugin.host_fd();
        let mut fds = [
            PollFd::from_borrowed_fd(host_fd, PollFlags::IN),
            PollFd::new(&*stop, PollFlags::IN),
        ];
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => break Err(error.into()),
        }
    };
    plugin.stop(host);
    result
}

/// A waker that is woken, and a flag that is set, by Ctrl-C or SIGTERM.
fn stop_at_signal() -> io::Result<(Arc<Waker>, Arc<AtomicBool>)> {
    let waker = Arc::new(Waker::new()?);
    let flag = Arc::new(AtomicBool::new(false));
    let (wake, set) = (Arc::clone(&waker), Arc::clone(&flag));
    ctrlc::set_handler(move || {
        set.store(true, Ordering::Release);
        wake.wake();
    })
    .map_err(io::Error::other)?;
    Ok((waker, flag))
}
