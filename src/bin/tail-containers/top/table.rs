//! The containers as rows, their order, columns and number formats, and the table as plain
//! text. Pure.

use std::cmp::Ordering;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as Layout};
use fluent_bit_container_logs::telemetry::account::Abandoned;

/// The values of one container, or the sum of all.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its driver and source, or the input of Fluent Bit that reads it.
    pub source: String,
    /// Lines per second.
    pub rate: f64,
    /// Lines since the start.
    pub lines: u64,
    /// Bytes that are not delivered yet.
    pub lag_bytes: u64,
    /// Age of the oldest line that is not delivered yet.
    pub lag_seconds: f64,
    /// Bytes that were not a valid record.
    pub skipped: u64,
    /// Bytes cut off lines.
    pub cut: u64,
    /// Bytes whose records Fluent Bit refused.
    pub refused: u64,
    /// Files and bytes lost before they were read.
    pub abandoned: Abandoned,
}

impl Row {
    /// Whether anything of its log is lost.
    pub fn has_losses(&self) -> bool {
        let bytes = self.skipped + self.cut + self.refused;
        bytes > 0 || self.abandoned != Abandoned::default()
    }
}

/// A column: its head and its cell for a row.
pub type Column = (&'static str, fn(&Row) -> String);

/// Where the figures come from, which decides the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The library in this process.
    Here,
    /// The metrics of a Fluent Bit.
    FluentBit,
}

impl Origin {
    /// The columns after the name. Only the first is text.
    pub fn columns(self) -> Vec<Column> {
        let mut columns: Vec<Column> = vec![
            (self.head(), |row| row.source.clone()),
            ("LINES/S", |row| rate(row.rate)),
            ("LINES", |row| row.lines.to_string()),
            ("LAG", |row| size(row.lag_bytes)),
            ("BEHIND", |row| age(row.lag_seconds)),
            ("SKIPPED", |row| size(row.skipped)),
            ("CUT", |row| size(row.cut)),
        ];
        if self == Origin::FluentBit {
            columns.push(("REFUSED", |row| size(row.refused)));
        }
        columns.push(("ABANDONED", |row| abandoned(row.abandoned)));
        columns
    }

    /// The columns where not all of them fit: all losses are one.
    pub fn fewer_columns(self) -> Vec<Column> {
        let mut columns = self.columns();
        columns.retain(|(head, _)| ["LINES", "BEHIND"].contains(head) || self.is_kept(head));
        columns.push(("LOST", lost));
        columns
    }

    /// Those where not even these fit.
    pub fn fewest_columns(self) -> Vec<Column> {
        let mut columns = self.columns();
        columns.retain(|(head, _)| self.is_kept(head));
        columns.push(("LOST", lost));
        columns
    }

    /// Whether it is shown at any width.
    fn is_kept(self, head: &str) -> bool {
        [self.head(), "LINES/S", "LAG"].contains(&head)
    }

    fn head(self) -> &'static str {
        match self {
            Origin::Here => "SOURCE",
            Origin::FluentBit => "INPUT",
        }
    }
}

/// Which rows come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those with losses, then those that write most.
    #[default]
    Losses,
    /// Those that write most.
    Rate,
    /// Those with the most lines.
    Lines,
    /// Those with the oldest line that is not delivered yet.
    Behind,
    /// By name.
    Name,
}

impl Order {
    /// The order after this one.
    pub fn next(self) -> Order {
        match self {
            Order::Losses => Order::Rate,
            Order::Rate => Order::Lines,
            Order::Lines => Order::Behind,
            Order::Behind => Order::Name,
            Order::Name => Order::Losses,
        }
    }

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Order::Losses => "losses",
            Order::Rate => "lines/s",
            Order::Lines => "lines",
            Order::Behind => "behind",
            Order::Name => "name",
        }
    }

    fn compare(self, one: &Row, other: &Row) -> Ordering {
        let by_rate = || other.rate.total_cmp(&one.rate);
        let order = match self {
            Order::Losses => other.has_losses().cmp(&one.has_losses()).then_with(by_rate),
            Order::Rate => by_rate(),
            Order::Lines => other.lines.cmp(&one.lines),
            Order::Behind => other
                .lag_seconds
                .total_cmp(&one.lag_seconds)
                .then(other.lag_bytes.cmp(&one.lag_bytes)),
            Order::Name => Ordering::Equal,
        };
        order
            .then_with(|| one.name.cmp(&other.name))
            .then_with(|| one.source.cmp(&other.source))
    }
}

/// The containers, their sum, and what is wrong beyond them.
#[derive(Debug)]
pub struct Table {
    /// Where the figures come from.
    pub origin: Origin,
    /// One of each container.
    pub rows: Vec<Row>,
    /// Their sum, and that of the containers that are gone.
    pub total: Row,
    /// What concerns no single row, the worst first.
    pub troubles: Vec<String>,
}

impl Table {
    /// Sorts the rows.
    pub fn sort(&mut self, order: Order) {
        self.rows.sort_by(|one, other| order.compare(one, other));
    }

    /// What the sum is called.
    pub fn name_of_total(containers: u64) -> String {
        match containers {
            1 => "total of 1 container".to_owned(),
            count => format!("total of {count} containers"),
        }
    }

    /// The table as plain text, as wide and as high as it is.
    pub fn text(&self) -> String {
        let columns = self.origin.columns();
        let heads = columns.iter().map(|(head, _)| *head);
        let cells = |row: &Row| {
            let cells = columns.iter().map(|(_, text)| text(row));
            [row.name.clone()]
                .into_iter()
                .chain(cells)
                .collect::<Vec<_>>()
        };
        let mut layout = Layout::new();
        layout
            .load_style(NOTHING)
            .set_header(["CONTAINER"].into_iter().chain(heads))
            .add_rows(self.rows.iter().chain([&self.total]).map(cells));
        for (index, column) in layout.column_iter_mut().enumerate() {
            column.set_padding((if index == 0 { 0 } else { GAP }, 0));
            if index > 1 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let troubles = self.troubles.iter().cloned();
        let lines = troubles.chain(layout.lines().map(|line| line.trim_end().to_owned()));
        lines.map(|line| line + "\n").collect()
    }
}

/// The blanks between two columns.
pub const GAP: u16 = 2;

fn rate(rate: f64) -> String {
    match rate {
        0.0 => "-".to_owned(),
        ..10.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

/// Bytes, in powers of 1000 as everywhere in Fluent Bit.
fn size(bytes: u64) -> String {
    let (value, unit) = match bytes {
        0 => return "-".to_owned(),
        1..1_000 => return bytes.to_string(),
        1_000..1_000_000 => (bytes as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => (bytes as f64 / 1e6, "M"),
        _ => (bytes as f64 / 1e9, "G"),
    };
    if value < 9.95 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

fn age(seconds: f64) -> String {
    match seconds {
        ..=0.0 => "-".to_owned(),
        ..10.0 => format!("{seconds:.1}s"),
        ..120.0 => format!("{seconds:.0}s"),
        ..7_200.0 => format!("{:.0}m", seconds / 60.0),
        ..172_800.0 => format!("{:.0}h", seconds / 3_600.0),
        _ => format!("{:.0}d", seconds / 86_400.0),
    }
}

/// Bytes, or the number of files or entries if their lengths are unknown.
fn abandoned(abandoned: Abandoned) -> String {
    let Abandoned {
        bytes,
        generations,
        entries,
    } = abandoned;
    match (bytes, generations, entries) {
        (0, 0, 0) => "-".to_owned(),
        (0, 0, 1) => "1 line".to_owned(),
        (0, 0, entries) => format!("{entries} lines"),
        (0, 1, _) => "1 file".to_owned(),
        (0, generations, _) => format!("{generations} files"),
        (bytes, ..) => size(bytes),
    }
}

fn lost(row: &Row) -> String {
    let bytes = row.skipped + row.cut + row.refused + row.abandoned.bytes;
    abandoned(Abandoned {
        bytes,
        ..row.abandoned
    })
}

#[cfg(test)]
mod tests;
