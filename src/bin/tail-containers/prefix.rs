//! The name before each line. Its column grows with the names, up to a limit.

use std::borrow::Cow;
use std::collections::HashMap;

use fluent_bit_container_logs::delivery::host::embedded::Record;
use unicode_width::UnicodeWidthStr;

use crate::shorten::shorten_middle;
use crate::terminal::{harmless, width};

/// Colors readable on dark and on light backgrounds.
const COLORS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];
/// The widest column; of a terminal's columns one part in `PART`, but at least `LEAST`.
const WIDEST: usize = 40;
const PART: usize = 3;
const LEAST: usize = 16;

/// Names, their colors and their width.
pub struct Prefix {
    /// Width of the widest name so far, up to the limit.
    width: usize,
    /// Columns of the terminal at the last name; `None` if there is no terminal.
    columns: Option<usize>,
    /// By container, in order of appearance.
    names: HashMap<String, Name>,
}

/// As it is shown.
struct Name {
    text: String,
    width: usize,
    color: u8,
}

impl Prefix {
    /// Without names yet.
    pub fn new() -> Prefix {
        Prefix {
            width: 0,
            columns: width(),
            names: HashMap::new(),
        }
    }

    /// Makes room for names that will come, so that the column need not grow between lines.
    pub fn expect(&mut self, names: &[String]) {
        names.iter().for_each(|name| self.add(name));
    }

    /// The name of the record's container, the spaces to the end of its column, and its color.
    pub fn of(&mut self, record: &Record) -> (&str, usize, u8) {
        let columns = self.columns.and_then(|_| width()).or(self.columns);
        if columns != self.columns {
            // The terminal has become narrower or wider.
            (self.columns, self.width) = (columns, 0);
            for (name, shown) in &mut self.names {
                shown.lay_out(name, columns);
                self.width = self.width.max(shown.width.min(most(columns)));
            }
        }
        let name = name_of(record);
        self.add(&name);
        self.names.get(&*name).map_or(("", self.width, 0), |shown| {
            let padding = self.width.saturating_sub(shown.width);
            (&*shown.text, padding, shown.color)
        })
    }

    fn add(&mut self, name: &str) {
        if !self.names.contains_key(name) {
            let mut new = Name {
                text: String::new(),
                width: 0,
                color: COLORS[self.names.len() % COLORS.len()],
            };
            new.lay_out(name, self.columns);
            self.width = self.width.max(new.width.min(most(self.columns)));
            self.names.insert(name.to_owned(), new);
        }
    }

    /// The column's width.
    pub fn width(&self) -> usize {
        self.width
    }
}

impl Name {
    fn lay_out(&mut self, name: &str, columns: Option<usize>) {
        let text = harmless(name);
        // Where nothing is cut off, names are whole.
        self.text = match columns {
            Some(_) => shorten_middle(&text, most(columns)),
            None => text.into_owned(),
        };
        self.width = self.text.width();
    }
}

/// The widest that the column may get.
fn most(columns: Option<usize>) -> usize {
    columns.map_or(WIDEST, |columns| (columns / PART).clamp(LEAST, WIDEST))
}

/// `namespace/pod/container`, `~user/container` or the container's name.
pub fn name_of(record: &Record) -> Cow<'_, str> {
    let name = record.text("container_name");
    let (user, pod) = (record.text("user"), record.text("pod"));
    if !user.is_empty() {
        format!("~{user}/{name}").into()
    } else if !pod.is_empty() {
        format!("{}/{pod}/{name}", record.text("namespace")).into()
    } else {
        name.into()
    }
}
