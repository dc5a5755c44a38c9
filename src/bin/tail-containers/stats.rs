//! `--stats`: a table of the containers in place of their lines.
//!
//! On a terminal it is drawn again in the same place. No mode of the terminal is
//! changed for that, neither its cursor nor its screen, so there is nothing to put
//! back at the end, whatever ends us. What was on the screen before is scrolled up.

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
use rustix::termios::tcgetwinsize;

use crate::arguments::Arguments;
use crate::table::{Row, Table};
use crate::terminal::{harmless, is_colored};

/// Messages that are kept while the table has the terminal, for its end.
const KEPT_MESSAGES: usize = 100;

/// Draws tables until all is read or a signal comes.
pub fn run(arguments: &Arguments, interval: Duration) -> io::Result<()> {
    let host = Taker::new();
    let mut rates = Rates::default();
    let mut screen = Screen::new(arguments);
    let begun = Instant::now();
    let mut due = begun + interval;
    let result = crate::follow(arguments, &host, |plugin, is_last| {
        let now = Instant::now();
        if now < due && !is_last {
            return Ok(Some(due - now));
        }
        // From one table to the next; a late one does not make the others late.
        while due <= now {
            due += interval;
        }
        if is_last && arguments.follow && rates.drawn.is_some() {
            // The moment since the last table says nothing about rates.
            return screen.leave().map(|()| None);
        }
        // Of a log that is read once, only the whole is of interest.
        if is_last && !arguments.follow {
            rates = Rates::default();
        }
        if is_last || screen.is_live || arguments.follow {
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

/// A host that takes all records and looks at none.
struct Taker {
    /// Whether messages would be written into the table.
    holds_messages: bool,
    messages: RefCell<Vec<String>>,
}

impl Taker {
    fn new() -> Taker {
        let holds_messages = io::stdout().is_terminal() && io::stderr().is_terminal();
        Taker {
            holds_messages,
            messages: RefCell::default(),
        }
    }
}

impl Host for Taker {
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

/// The lines of each container at the last table, to see how many came since.
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

/// Its driver and, where the name of that does not tell, what is read; `None` of a
/// container that is not.
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

/// Where tables go.
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
            // Nothing is known of the width, and a file has all the height there is.
            for line in table.lines(usize::MAX, usize::MAX) {
                text.push_str(&line.text);
                text.push('\n');
            }
            text.push('\n');
        }
        // In one piece, so that no half of it is seen.
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Clears what the terminal shows of a Ctrl-C, below the table.
    fn leave(&self) -> io::Result<()> {
        if !self.is_live {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(b"\r\x1b[K")?;
        out.flush()
    }

    fn draw(&mut self, table: &Table, message: Option<&String>, text: &mut String) {
        let size = terminal_size();
        let (columns, rows) = size;
        match self.size.replace(size) {
            None => text.push_str(&"\n".repeat(rows)),
            // What is there was broken into lines of another width.
            Some(before) if before != size => text.push_str("\x1b[2J"),
            Some(_) => {}
        }
        text.push_str("\x1b[H");
        // The last row is the cursor's. A terminal may not show what follows a line
        // that is full.
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

/// Columns and rows, as far as the terminal knows.
fn terminal_size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}
