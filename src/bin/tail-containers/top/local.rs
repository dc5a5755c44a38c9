//! `top` over the library in this process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use fluent_bit_container_logs::delivery::host::{AppendRefused, Host};
use fluent_bit_container_logs::plugin::Plugin;
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::telemetry::account::{wall_clock, Account, Figures};
use fluent_bit_container_logs::telemetry::event::Level;
use fluent_bit_container_logs::telemetry::metrics::SourceKind;

use super::screen::Screen;
use super::table::{Origin, Row, Table};
use super::title;
use crate::arguments::Arguments;
use crate::follow::{follow, Stop};
use crate::terminal::harmless;

/// Maximum number of messages kept while the table is on the terminal, printed at exit.
const KEPT_MESSAGES: usize = 100;

/// Shows tables until everything is read or somebody ends it.
pub fn run(arguments: &Arguments, interval: Duration) -> io::Result<()> {
    let stop = Stop::at_signal()?;
    let title = title("tail-containers top", interval);
    let mut screen = Screen::new(arguments, title, Rates::nothing(), &stop);
    let host = NullHost::new(screen.is_live());
    let mut rates = Rates::default();
    let begun = Instant::now();
    let mut due = begun + interval;
    let result = follow(arguments, &host, &stop, |plugin, is_last| {
        let last_message = || host.messages.borrow().last().cloned();
        screen.obey(last_message().as_deref(), &stop)?;
        let now = Instant::now();
        if now < due && !is_last {
            return Ok(Some(due - now));
        }
        // A late table does not delay the next ones.
        while due <= now {
            due += interval;
        }
        if is_last && arguments.follows() && (screen.is_live() || rates.drawn.is_some()) {
            // The time since the last table is too short for a rate.
            return Ok(None);
        }
        // For logs that are read once, only the average rate is of interest.
        if is_last && !arguments.follows() {
            rates = Rates::default();
        }
        if is_last || arguments.follows() {
            let since = rates.drawn.unwrap_or(begun);
            let table = rates.table(plugin, now.duration_since(since), now);
            screen.show(table, last_message().as_deref())?;
        }
        Ok(Some(due - now))
    });
    // What is printed from here on is below what was there before.
    drop(screen);
    for message in host.messages.take() {
        crate::say(&message);
    }
    result
}

/// A host that accepts all records and ignores them.
struct NullHost {
    /// Whether a message would be printed over the table.
    holds_messages: bool,
    messages: RefCell<Vec<String>>,
}

impl NullHost {
    fn new(holds_messages: bool) -> NullHost {
        NullHost {
            holds_messages,
            messages: RefCell::default(),
        }
    }
}

impl Host for NullHost {
    fn append(
        &self,
        _tag: Option<&str>,
        _records: usize,
        _bytes: &[u8],
    ) -> Result<(), AppendRefused> {
        Ok(())
    }

    fn log(&self, level: Level, message: &str) {
        if level > Level::Warn {
            return;
        }
        let mut messages = self.messages.borrow_mut();
        if self.holds_messages && messages.len() < KEPT_MESSAGES {
            messages.push(harmless(message).into_owned());
        } else if !self.holds_messages {
            crate::say(message);
        }
    }
}

/// The number of lines of each container at the last table, for the rates.
#[derive(Default)]
struct Rates {
    drawn: Option<Instant>,
    lines: HashMap<ContainerId, u64>,
    total: u64,
}

impl Rates {
    /// Before the first figures.
    fn nothing() -> Table {
        Table {
            origin: Origin::Here,
            rows: Vec::new(),
            total: Row {
                name: Table::name_of_total(0),
                ..Row::default()
            },
            troubles: Vec::new(),
        }
    }

    fn table(&mut self, plugin: &Plugin, elapsed: Duration, now: Instant) -> Table {
        let accounts = plugin.accounts();
        let per_second = |lines: u64, before: u64| {
            lines.saturating_sub(before) as f64
                / elapsed.max(Duration::from_millis(1)).as_secs_f64()
        };
        let mut rows = Vec::new();
        let mut lines = HashMap::new();
        for account in accounts.all() {
            let Some(source) = source_of(&account) else {
                continue;
            };
            let figures = account.figures();
            let before = self.lines.get(account.id()).copied().unwrap_or(0);
            lines.insert(*account.id(), figures.delivered.records);
            let rate = per_second(figures.delivered.records, before);
            rows.push(row(account.name(), source, &figures, rate));
        }
        let total = accounts.total();
        let rate = per_second(total.delivered.records, self.total);
        *self = Rates {
            drawn: Some(now),
            lines,
            total: total.delivered.records,
        };
        let name = Table::name_of_total(rows.len() as u64);
        Table {
            rows,
            total: row(name, String::new(), &total, rate),
            ..Rates::nothing()
        }
    }
}

fn row(name: String, source: String, figures: &Figures, rate: f64) -> Row {
    Row {
        name: harmless(&name).into_owned(),
        source,
        rate,
        lines: figures.delivered.records,
        lag_bytes: figures.lag_bytes(),
        lag_seconds: figures.lag_seconds(wall_clock()),
        skipped: figures.skipped,
        cut: figures.cut.bytes,
        // A host that ignores records refuses none.
        refused: 0,
        abandoned: figures.abandoned,
    }
}

/// The driver of a container and, unless that implies it, its source; `None` if the
/// container is not read.
fn source_of(account: &Account) -> Option<String> {
    let origin = account.origin()?;
    let driver = harmless(&origin.driver).into_owned();
    let source = match origin.source {
        SourceKind::File | SourceKind::Local => "file",
        SourceKind::Cache => "cache",
        SourceKind::Stream => "api",
        SourceKind::Nowhere => "nowhere",
    };
    Some(match (driver.as_str(), origin.source) {
        ("", _) => source.to_owned(),
        (_, SourceKind::File | SourceKind::Local) => driver,
        _ => format!("{driver}/{source}"),
    })
}
