//! Prints records, one per line: the container's name and the log line, or a JSON object.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufWriter, Write};

use fluent_bit_container_logs::delivery::host::embedded::Record;
use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::format::rfc3339;
use regex::Regex;
use serde_json::Value;

use crate::arguments::{Arguments, Color};
use crate::prefix::{name_of, Prefix};
use crate::pretty::pretty;
use crate::styled::Styled;
use crate::terminal::{harmless, harmless_json, is_colored, width};

/// Name and id of a container: several may have one name, and those of different users one id.
type Container = (String, String);

/// Writes records as text or as JSON.
pub struct Printer {
    out: BufWriter<io::Stdout>,
    is_json: bool,
    is_raw: bool,
    is_colored: bool,
    /// Whether lines that are JSON are formatted.
    is_pretty: bool,
    has_times: bool,
    until: Option<Timestamp>,
    /// Lines in which none of these matches are not printed, if there is any.
    grep: Vec<Regex>,
    /// What is highlighted: the same and more.
    highlight: Vec<Regex>,
    prefix: Prefix,
    /// With a limit of lines before a time: the last ones of each container so far.
    last: Option<(usize, HashMap<Container, VecDeque<Record>>)>,
}

impl Printer {
    /// Creates a printer for standard output.
    pub fn new(arguments: &Arguments) -> Printer {
        let limit = arguments.tail().filter(|_| arguments.until.is_some());
        Printer {
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            is_json: arguments.json,
            is_raw: arguments.raw,
            is_colored: is_colored(arguments.color),
            is_pretty: !arguments.raw && (width().is_some() || arguments.color == Color::Always),
            has_times: arguments.timestamps,
            until: arguments.until,
            grep: arguments.grep.clone(),
            highlight: [&arguments.grep[..], &arguments.highlight].concat(),
            prefix: Prefix::new(),
            last: limit.map(|limit| (limit, HashMap::new())),
        }
    }

    /// Makes room for the names of these containers, if they have a column of their own.
    pub fn expect(&mut self, names: &[String]) {
        self.prefix.expect(names);
    }

    /// Takes a record; it is visible after [`Printer::flush`] at the latest, if it is wanted.
    pub fn take(&mut self, record: Record) -> io::Result<()> {
        if self.until.is_some_and(|until| record.time >= until) || !self.is_match(&record) {
            return Ok(());
        }
        let Some((limit, last)) = &mut self.last else {
            return self.print(&record);
        };
        let name = name_of(&record).into_owned();
        let container = (name, record.text("container_id").to_owned());
        let last = last.entry(container).or_default();
        last.push_back(record);
        if last.len() > *limit {
            last.pop_front();
        }
        Ok(())
    }

    /// Nothing follows: prints what waited for that.
    pub fn finish(&mut self) -> io::Result<()> {
        let last = self.last.take().map(|(_, last)| last).unwrap_or_default();
        let mut records: Vec<Record> = last.into_values().flatten().collect();
        records.sort_by_key(|record| record.time);
        records.iter().try_for_each(|record| self.print(record))?;
        self.flush()
    }

    /// Writes out what was printed.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn is_match(&self, record: &Record) -> bool {
        let text = record.text("log");
        self.grep.is_empty() || self.grep.iter().any(|it| it.is_match(text))
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
            let pair = format!("{}:{value}", Value::String(key.clone()));
            write!(
                self.out,
                ",{}",
                if self.is_raw {
                    Cow::Borrowed(&*pair)
                } else {
                    harmless_json(&pair)
                }
            )?;
        }
        self.out.write_all(b"}\n")
    }

    fn print_line(&mut self, record: &Record) -> io::Result<()> {
        let (name, padding, color) = self.prefix.of(record);
        let is_error = record.text("stream") == "stderr";
        let bar = if is_error { '!' } else { '|' };
        if self.is_colored {
            let style = if is_error { "\x1b[31m" } else { "" };
            write!(
                self.out,
                "\x1b[{color}m{name}{:padding$} {style}{bar}\x1b[0m ",
                ""
            )?;
        } else {
            write!(self.out, "{name}{:padding$} {bar} ", "")?;
        }
        let time = match self.has_times {
            true => format!("{} ", rfc3339::format(record.time)),
            false => String::new(),
        };
        self.out.write_all(time.as_bytes())?;
        // The lines of a multiline record are aligned.
        for (number, line) in record.text("log").split('\n').enumerate() {
            if number > 0 {
                let (name, time) = (self.prefix.width(), time.len());
                write!(self.out, "{:name$} {bar} {:time$}", "", "")?;
            }
            let shown = self.shown(line);
            self.out.write_all(shown.as_bytes())?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn shown<'l>(&self, line: &'l str) -> Cow<'l, str> {
        let is_highlighted = self.is_colored && !self.highlight.is_empty();
        let formatted = Some(line).filter(|_| self.is_pretty).and_then(pretty);
        let text = match formatted {
            Some(formatted) => {
                return formatted
                    .render_highlighted(self.is_colored, &self.highlight)
                    .into()
            }
            None if self.is_raw => Cow::Borrowed(line),
            None => harmless(line),
        };
        match is_highlighted {
            true => Styled::plain(&text)
                .render_highlighted(true, &self.highlight)
                .into(),
            false => text,
        }
    }
}
