//! The table of `--stats` as text: what is in each column, how numbers are
//! shortened, and what is left away where there is no room. Pure.

use fluent_bit_container_logs::telemetry::account::Abandoned;

/// What is said of one container, or of all.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its driver and source.
    pub source: String,
    /// Lines a second.
    pub rate: f64,
    /// Lines since the start.
    pub lines: u64,
    /// Bytes that are not read.
    pub lag_bytes: u64,
    /// How old the oldest line in them is.
    pub lag_seconds: f64,
    /// Bytes that were no record.
    pub skipped: u64,
    /// Bytes that were cut off lines.
    pub cut: u64,
    /// What was not to be read.
    pub abandoned: Abandoned,
}

impl Row {
    fn has_losses(&self) -> bool {
        self.skipped > 0 || self.cut > 0 || self.abandoned != Abandoned::default()
    }
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// The number of a style of the terminal's, for the whole line.
    pub style: Option<u8>,
}

const BOLD: u8 = 1;
const RED: u8 = 31;

impl Line {
    /// A line without a style.
    pub fn plain(text: String) -> Line {
        Line { text, style: None }
    }

    /// So wide at the most.
    pub fn cut(self, width: usize) -> Line {
        Line {
            text: shorten(&self.text, width),
            ..self
        }
    }
}

/// A name is shortened to this width before columns are left away.
const LEAST_NAME: usize = 12;
const GAP: &str = "  ";

/// A column, its head and what it says of a row.
type Column = (&'static str, fn(&Row) -> String);

/// Behind the name. Only the second is text.
const COLUMNS: [Column; 8] = [
    ("SOURCE", |row| row.source.clone()),
    ("LINES/S", |row| rate(row.rate)),
    ("LINES", |row| row.lines.to_string()),
    ("LAG", |row| size(row.lag_bytes)),
    ("BEHIND", |row| age(row.lag_seconds)),
    ("SKIPPED", |row| size(row.skipped)),
    ("CUT", |row| size(row.cut)),
    ("ABANDONED", |row| abandoned(row.abandoned)),
];

/// Where all of them do not fit.
const FEW_COLUMNS: [Column; 4] = [
    ("SOURCE", |row| row.source.clone()),
    ("LINES/S", |row| rate(row.rate)),
    ("LAG", |row| size(row.lag_bytes)),
    ("LOST", lost),
];

/// The containers, in the order in which they are shown, and their sum.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    total: Row,
}

impl Table {
    /// Those that lost something first, then those that write most.
    pub fn new(mut rows: Vec<Row>, total: Row) -> Table {
        rows.sort_by(|one, other| {
            let losses = other.has_losses().cmp(&one.has_losses());
            losses
                .then(other.rate.total_cmp(&one.rate))
                .then_with(|| one.name.cmp(&other.name))
        });
        Table { rows, total }
    }

    /// At most so many lines, none wider than that.
    pub fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let cells = Cells::new(self, &COLUMNS);
        let cells = if cells.least_width() <= width {
            cells
        } else {
            Cells::new(self, &FEW_COLUMNS)
        };
        let name_width = cells
            .name_width
            .min(width.saturating_sub(cells.others_width).max(LEAST_NAME));
        let mut lines: Vec<Line> = cells
            .rows
            .iter()
            .map(|row| cells.line(row, name_width).cut(width))
            .collect();
        let room = height.saturating_sub(2);
        let hidden = if self.rows.len() > room {
            self.rows.len() - room.saturating_sub(1)
        } else {
            0
        };
        if hidden > 0 {
            // Behind the head and those that are shown.
            let shown = 1 + self.rows.len() - hidden;
            let text = format!("and {hidden} more, which do not fit here");
            lines.splice(shown..=self.rows.len(), [Line::plain(text).cut(width)]);
        }
        lines.truncate(height);
        lines
    }
}

/// The texts of a table.
struct Cells {
    /// The head, the containers, and the sum.
    rows: Vec<(Option<u8>, String, Vec<String>)>,
    name_width: usize,
    widths: Vec<usize>,
    /// Of all columns but the name, with the gaps before them.
    others_width: usize,
}

impl Cells {
    fn new(table: &Table, columns: &[Column]) -> Cells {
        let heads: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let mut rows = vec![(Some(BOLD), "CONTAINER".to_owned(), heads)];
        for (row, style) in table
            .rows
            .iter()
            .map(|row| (row, None))
            .chain([(&table.total, Some(BOLD))])
        {
            let style = if row.has_losses() { Some(RED) } else { style };
            rows.push((
                style,
                row.name.clone(),
                columns.iter().map(|(_, text)| text(row)).collect(),
            ));
        }
        let name_width = rows
            .iter()
            .map(|(_, name, _)| wide(name))
            .max()
            .unwrap_or(0);
        let widest = |column: usize| {
            rows.iter()
                .map(|(_, _, cells)| wide(&cells[column]))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(widest).collect();
        let others_width = widths.iter().map(|width| width + GAP.len()).sum();
        Cells {
            rows,
            name_width,
            widths,
            others_width,
        }
    }

    fn least_width(&self) -> usize {
        self.name_width.min(LEAST_NAME) + self.others_width
    }

    fn line(
        &self,
        (style, name, cells): &(Option<u8>, String, Vec<String>),
        name_width: usize,
    ) -> Line {
        let mut text = pad(&shorten(name, name_width), name_width);
        for (index, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
            text.push_str(GAP);
            match index {
                0 => text.push_str(&pad(cell, *width)),
                _ => text.push_str(&format!("{cell:>width$}")),
            }
        }
        text.truncate(text.trim_end().len());
        Line {
            text,
            style: *style,
        }
    }
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(wide(text))))
}

/// How many columns a text may take. Names of containers are ASCII; of what a damaged
/// file may have instead no more is known than that no character takes more than two.
fn wide(text: &str) -> usize {
    text.chars()
        .map(|character| if character.is_ascii() { 1 } else { 2 })
        .sum()
}

/// A text of at most that width, with `~` where the rest was.
fn shorten(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        short.push(character);
        if wide(&short) >= width {
            short.pop();
            break;
        }
    }
    if width > 0 {
        short.push('~');
    }
    short
}

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

/// Bytes; of files nobody knows how long they were, how many.
fn abandoned(abandoned: Abandoned) -> String {
    match abandoned {
        Abandoned {
            bytes: 0,
            generations: 0,
        } => "-".to_owned(),
        Abandoned {
            bytes: 0,
            generations: 1,
        } => "1 file".to_owned(),
        Abandoned {
            bytes: 0,
            generations,
        } => format!("{generations} files"),
        Abandoned { bytes, .. } => size(bytes),
    }
}

fn lost(row: &Row) -> String {
    let bytes = row.skipped + row.cut + row.abandoned.bytes;
    abandoned(Abandoned {
        bytes,
        ..row.abandoned
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
