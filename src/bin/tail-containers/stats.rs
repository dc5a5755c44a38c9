//! `--stats`: a table of the containers instead of their lines.
//!
//! On a terminal it is redrawn in place. That changes no mode of the terminal, so nothing
//! has to be restored at exit, however the process ends. The previous contents of the
//! screen are scrolled up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use fluent_bit_container_logs::delivery::host::{AppendRefused, Host};
use fluent_bit_container_logs::plugin::Plugin;
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::telemetry::account::{wall_clock, Account, Figures};
use fluent_bit_container_logs::telemetry::event::Level;
use fluent_bit_container_logs::telemetry::metrics::SourceKind;

use crate::arguments::Arguments;
use crate::table::{Row, Table};
use crate::terminal::{harmless, is_colored, size};

/// Maximum number of messages kept while the table is on the terminal, printed at exit.
const KEPT_MESSAGES: usize = 100;

/// Draws tables until everything is read or a signal arrives.
pub fn run(arguments: &Arguments, interval: Duration) -> io::Result<()> {
    let host = NullHost::new();
    let mut rates = Rates::default();
    let mut screen = Screen::new(arguments);
    let begun = Instant::now();
    let mut due = begun + interval;
    let result = crate::follow(arguments, &host, |plugin, is_last| {
        let now = Instant::now();
        if now < due && !is_last {
            return Ok(Some(due - now));
        }
        // A late table does not delay the next ones.
        while due <= now {
            due += interval;
        }
        if is_last && arguments.follows() && rates.drawn.is_some() {
            // The time since the last table is too short for a rate.
            return screen.leave().map(|()| None);
        }
        // For logs that are read once, only the average rate is of interest.
        if is_last && !arguments.follows() {
            rates = Rates::default();
        }
        if is_last || screen.is_live || arguments.follows() {
            let since = rates.drawn.unwrap_or(begun);
            let table = rates.table(plugin, now.duration_since(since), now);
            screen.show(&table, host.messages.borrow().last())?;
        }
        Ok(Some(due - now))
    });
    for message in host.messages.take() {
        eprintln!("tail-containers: {message}");
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
    fn new() -> NullHost {
        let holds_messages = io::stdout().is_terminal() && io::stderr().is_terminal();
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
        let message = harmless(message);
        let mut messages = self.messages.borrow_mut();
        if self.holds_messages && messages.len() < KEPT_MESSAGES {
            messages.push(message.into_owned());
        } else if !self.holds_messages {
            eprintln!("tail-containers: {message}");
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
        let name = match rows.len() {
            1 => "total of 1 container".to_owned(),
            count => format!("total of {count} containers"),
        };
        let table = Table::new(rows, row(name, String::new(), &total, rate));
        *self = Rates {
            drawn: Some(now),
            lines,
            total: total.delivered.records,
        };
        table
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

/// The output for tables.
struct Screen {
    is_live: bool,
    is_colored: bool,
    /// Columns and rows at the last table.
    size: Option<(usize, usize)>,
}

impl Screen {
    fn new(arguments: &Arguments) -> Screen {
        let is_live = io::stdout().is_terminal();
        Screen {
            is_live,
            is_colored: is_colored(arguments.color),
            size: None,
        }
    }

    fn show(&mut self, table: &Table, message: Option<&String>) -> io::Result<()> {
        let mut text = String::new();
        if self.is_live {
            self.draw(table, message, &mut text);
        } else {
            // A file has no width or height.
            for line in table.lines(usize::MAX, usize::MAX) {
                text.push_str(&line.text);
                text.push('\n');
            }
            text.push('\n');
        }
        // One write, so that no half of a table is visible.
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Clears the `^C` that the terminal echoes below the table.
    fn leave(&self) -> io::Result<()> {
        if !self.is_live {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(b"\r\x1b[K")?;
        out.flush()
    }

    fn draw(&mut self, table: &Table, message: Option<&String>, text: &mut String) {
        let size = size().unwrap_or((80, 24));
        let (columns, rows) = size;
        match self.size.replace(size) {
            None => text.push_str(&"\n".repeat(rows)),
            // The terminal has wrapped the old table at another width.
            Some(before) if before != size => text.push_str("\x1b[2J"),
            Some(_) => {}
        }
        text.push_str("\x1b[H");
        // The cursor is in the last row. A terminal may swallow output after a full line.
        let message_rows = usize::from(message.is_some());
        let mut lines = table.lines(
            columns.saturating_sub(1),
            rows.saturating_sub(1 + message_rows),
        );
        if let Some(message) = message {
            lines.push(crate::table::Line::plain(message.clone()).cut(columns.saturating_sub(1)));
        }
        for line in lines {
            match line.style.filter(|_| self.is_colored) {
                Some(style) => text.push_str(&format!("\x1b[{style}m{}\x1b[0m", line.text)),
                None => text.push_str(&line.text),
            }
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
    }
}
