//! Prints records, one per line: the container's name and the log line, or a JSON object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use fluent_bit_container_logs::delivery::host::embedded::Record;
use fluent_bit_container_logs::format::rfc3339;
use serde_json::Value;

use crate::arguments::Arguments;
use crate::terminal::{harmless, harmless_json, is_colored};

/// Writes records as text or as JSON.
pub struct Printer {
    out: BufWriter<io::Stdout>,
    is_json: bool,
    is_raw: bool,
    is_colored: bool,
    /// Width of the longest name so far.
    width: usize,
    /// Color of each container, in order of appearance.
    colors: HashMap<String, usize>,
}

/// Colors readable on dark and on light backgrounds.
const COLORS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

impl Printer {
    /// Creates a printer for standard output.
    pub fn new(arguments: &Arguments) -> Printer {
        Printer {
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            is_json: arguments.json,
            is_raw: arguments.raw,
            is_colored: is_colored(arguments.color),
            width: 0,
            colors: HashMap::new(),
        }
    }

    /// Prints a record; it is visible after [`Printer::flush`] at the latest.
    pub fn print(&mut self, record: &Record) -> io::Result<()> {
        if self.is_json {
            self.print_json(record)
        } else {
            self.print_line(record)
        }
    }

    /// Writes out what was printed.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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
        let name = match record.text("user") {
            "" => record.text("container_name").to_owned(),
            user => format!("~{user}/{}", record.text("container_name")),
        };
        let name = &*harmless(&name);
        self.width = self.width.max(name.chars().count());
        let width = self.width;
        if self.is_colored {
            let next = self.colors.len();
            let color = *self.colors.entry(name.to_owned()).or_insert(next) % COLORS.len();
            write!(self.out, "\x1b[{}m{name:width$} |\x1b[0m ", COLORS[color])?;
        } else {
            write!(self.out, "{name:width$} | ")?;
        }
        // The lines of a multiline record are aligned.
        for (number, line) in record.text("log").split('\n').enumerate() {
            if number > 0 {
                write!(self.out, "{:width$} | ", "")?;
            }
            let shown = if self.is_raw {
                Cow::Borrowed(line)
            } else {
                harmless(line)
            };
            self.out.write_all(shown.as_bytes())?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}
