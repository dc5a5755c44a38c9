//! The table of `--stats` as text: its columns, number formats, and the columns dropped
//! for lack of room. Pure.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, Row as Cells, Table as Layout, Width};
use fluent_bit_container_logs::telemetry::account::Abandoned;
use unicode_width::UnicodeWidthChar;

/// The values of one container, or the sum of all.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its driver and source.
    pub source: String,
    /// Lines per second.
    pub rate: f64,
    /// Lines since the start.
    pub lines: u64,
    /// Unread bytes.
    pub lag_bytes: u64,
    /// Age of the oldest unread line.
    pub lag_seconds: f64,
    /// Bytes that were not a valid record.
    pub skipped: u64,
    /// Bytes cut off lines.
    pub cut: u64,
    /// Files and bytes lost before they were read.
    pub abandoned: Abandoned,
}

impl Row {
    fn has_losses(&self) -> bool {
        self.skipped > 0 || self.cut > 0 || self.abandoned != Abandoned::default()
    }
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The text, without style.
    pub text: String,
    /// The number of the terminal style for the whole line.
    pub style: Option<u8>,
}

const BOLD: u8 = 1;
const RED: u8 = 31;

impl Line {
    /// A line without a style.
    pub fn plain(text: String) -> Line {
        Line { text, style: None }
    }

    /// Cuts it to `width` columns.
    pub fn cut(self, width: usize) -> Line {
        Line {
            text: shorten(&self.text, width),
            ..self
        }
    }
}

/// Names are shortened down to this width before columns are dropped.
const LEAST_NAME: usize = 12;
const GAP: u16 = 2;

/// A column: its head and its cell for a row.
type Column = (&'static str, fn(&Row) -> String);

/// The columns after the name. Only the first is text.
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

/// The columns if not all of them fit.
const FEW_COLUMNS: [Column; 4] = [
    ("SOURCE", |row| row.source.clone()),
    ("LINES/S", |row| rate(row.rate)),
    ("LAG", |row| size(row.lag_bytes)),
    ("LOST", lost),
];

/// The containers in display order, and their sum.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    total: Row,
}

impl Table {
    /// Containers with losses come first, then those with the highest rate.
    pub fn new(mut rows: Vec<Row>, total: Row) -> Table {
        rows.sort_by(|one, other| {
            let losses = other.has_losses().cmp(&one.has_losses());
            losses
                .then(other.rate.total_cmp(&one.rate))
                .then_with(|| one.name.cmp(&other.name))
        });
        Table { rows, total }
    }

    /// The table in at most `height` lines of at most `width` columns.
    pub fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let mut layout = self.layout(&COLUMNS);
        let (name, others) = widths(&layout);
        if name.min(LEAST_NAME) + others > width {
            layout = self.layout(&FEW_COLUMNS);
        }
        let most = width.saturating_sub(widths(&layout).1).max(LEAST_NAME);
        if let Some(name) = layout.column_mut(0) {
            let most = u16::try_from(most).unwrap_or(u16::MAX);
            name.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(most)));
        }
        let mut lines: Vec<Line> = layout
            .lines()
            .zip(self.styles())
            .map(|(line, style)| {
                let text = line.trim_end().to_owned();
                Line { text, style }.cut(width)
            })
            .collect();
        let room = height.saturating_sub(2);
        let hidden = if self.rows.len() > room {
            self.rows.len() - room.saturating_sub(1)
        } else {
            0
        };
        if hidden > 0 {
            // After the head and the rows that fit.
            let shown = 1 + self.rows.len() - hidden;
            let text = format!("and {hidden} more that do not fit");
            lines.splice(shown..=self.rows.len(), [Line::plain(text).cut(width)]);
        }
        lines.truncate(height);
        lines
    }

    /// The styles of the head, the containers, and the sum.
    fn styles(&self) -> impl Iterator<Item = Option<u8>> + '_ {
        let style = |row: &Row, style| if row.has_losses() { Some(RED) } else { style };
        let rows = self.rows.iter().map(move |row| style(row, None));
        let total = style(&self.total, Some(BOLD));
        [Some(BOLD)].into_iter().chain(rows).chain([total])
    }

    fn layout(&self, columns: &[Column]) -> Layout {
        let heads = columns.iter().map(|(head, _)| *head);
        let row = |row: &Row| {
            let cells = columns.iter().map(|(_, text)| text(row));
            let mut cells = Cells::from([row.name.clone()].into_iter().chain(cells));
            cells.max_height(1);
            cells
        };
        let mut layout = Layout::new();
        layout
            .load_style(NOTHING)
            // Occurs in no name, so names are cut at the width and not at a space.
            .set_delimiter('\0')
            .set_truncation_indicator("~")
            .set_header(["CONTAINER"].into_iter().chain(heads))
            .add_rows(self.rows.iter().chain([&self.total]).map(row));
        for (index, column) in layout.column_iter_mut().enumerate() {
            column.set_padding((if index == 0 { 0 } else { GAP }, 0));
            if index > 1 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        layout
    }
}

/// The widths of the name, and of all other columns including their gaps.
fn widths(layout: &Layout) -> (usize, usize) {
    let mut widths = layout.column_max_content_widths().into_iter();
    let name = widths.next().map_or(0, usize::from);
    let others = widths.map(|width| usize::from(width.saturating_add(GAP)));
    (name, others.sum())
}

/// The most columns that a text may take: for characters that combine into one sign, as some
/// emoji do, the width on a terminal that does not combine them.
fn wide(text: &str) -> usize {
    // The only control characters here are tabs, which have no width of their own.
    text.chars()
        .map(|character| character.width().unwrap_or(1))
        .sum()
}

/// The text, cut to `width` columns with a trailing `~`.
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

/// The text, cut to `width` columns with a `~` in its middle: both ends of a name tell.
pub fn shorten_middle(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let end: String = text.chars().rev().collect();
    let end = shorten(&end, room / 2 + 1);
    let end = end.strip_suffix('~').unwrap_or(&end);
    let start = shorten(text, room - room / 2 + 1);
    start + &end.chars().rev().collect::<String>()
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

/// Bytes, or the number of files if their lengths are unknown.
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
mod tests;
