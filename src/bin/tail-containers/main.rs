//! Follows the logs of every container of this machine in a terminal, with the
//! plugin's own library and no Fluent Bit.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)
)]

mod arguments;
mod check;
mod follow;
mod generate;
mod import;
mod near;
mod prefix;
mod pretty;
mod printer;
mod shorten;
mod since;
mod start;
mod styled;
mod terminal;
mod top;

use std::cell::{Cell, RefCell};
use std::io;
use std::process::ExitCode;

use clap::Parser;
use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::host::embedded::EmbeddedHost;
use fluent_bit_container_logs::telemetry::event::Level;

use arguments::{Arguments, Command};
use follow::{follow, Stop};
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
        Some(Command::Check { json, ask }) => {
            return check::run(&config, *json || arguments.json, *ask)
        }
        Some(Command::Import { tail_db, db }) => return import::run(&config, tail_db, db),
        Some(Command::Top(_)) | None => {}
    }
    let interval = arguments.interval();
    if let (Some(address), Some(interval)) = (arguments.url(), interval) {
        top::watch(arguments, address, interval)?;
        return Ok(ExitCode::SUCCESS);
    }
    let complaints = match start::look(&config) {
        Outlook::Go { complaints } => complaints,
        Outlook::Nothing(reason) => return Err(io::Error::other(reason)),
    };
    for complaint in &complaints {
        say(complaint);
    }
    match interval {
        Some(interval) => top::run(arguments, interval)?,
        None => print_records(arguments, &config)?,
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

fn print_records(arguments: &Arguments, config: &Config) -> io::Result<()> {
    let mut printer = Printer::new(arguments);
    if terminal::width().is_some() && !arguments.json {
        printer.expect(&start::names(config));
    }
    let printer = RefCell::new(printer);
    let failure: Cell<Option<io::Error>> = Cell::new(None);
    let host = EmbeddedHost::new(
        |_tag, record| {
            let mut printer = printer.borrow_mut();
            // Its position is saved next, which may be the last that this process does.
            let taken = printer
                .take(record)
                .and_then(|()| match config.saves_positions {
                    true => printer.flush(),
                    false => Ok(()),
                });
            if let Err(error) = taken {
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
    follow(arguments, &host, &Stop::at_signal()?, |_plugin, is_last| {
        failure.take().map_or(Ok(()), Err)?;
        let mut printer = printer.borrow_mut();
        match is_last {
            true => printer.finish()?,
            false => printer.flush()?,
        }
        Ok(None)
    })
}
