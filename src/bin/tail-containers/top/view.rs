//! What `top` shows on a terminal, and what its keys do. Draws into a buffer and knows no
//! terminal.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table as Grid, Widget};
use ratatui::Frame;

use super::table::{Column, Order, Row, Table, GAP};
use crate::shorten::{shorten, wide};

/// Names are shortened down to this width before columns are dropped.
const GOOD_NAME: usize = 20;
/// And down to this one where there are no columns to drop.
const LEAST_NAME: usize = 12;
/// The most rows for what concerns no single container.
const MOST_TROUBLES: usize = 3;
const KEYS: &str = "q quit  ↑↓ PgUp PgDn Home End scroll  s sort  / filter";

/// What is to be done after a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    None,
    /// The picture is another one.
    Draw,
    /// The end.
    Quit,
}

/// What somebody has chosen by keys.
pub struct View {
    is_colored: bool,
    /// What is looked at, on the left of the first line.
    title: String,
    order: Order,
    /// Only containers whose names contain it, in any case.
    filter: String,
    /// Whether keys go into the filter.
    is_typing: bool,
    /// Rows above the first one that is shown.
    offset: usize,
    /// Rows that fit and rows that there are, in the last picture.
    page: usize,
    rows: usize,
}

impl View {
    /// As it is in the beginning.
    pub fn new(title: String, is_colored: bool) -> View {
        View {
            is_colored,
            title,
            order: Order::default(),
            filter: String::new(),
            is_typing: false,
            offset: 0,
            page: 0,
            rows: 0,
        }
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Reaction {
        if key.kind == KeyEventKind::Release {
            return Reaction::None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Reaction::Quit,
                _ => Reaction::None,
            };
        }
        if self.is_typing {
            return self.type_key(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Reaction::Quit,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.offset = 0;
            }
            KeyCode::Char('/') => {
                self.is_typing = true;
                self.offset = 0;
            }
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.offset += 1,
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(self.page.max(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => self.offset += self.page.max(1),
            KeyCode::Home | KeyCode::Char('g') => self.offset = 0,
            KeyCode::End | KeyCode::Char('G') => self.offset = self.rows,
            _ => return Reaction::None,
        }
        self.offset = self.offset.min(self.rows.saturating_sub(self.page));
        Reaction::Draw
    }

    fn type_key(&mut self, code: KeyCode) -> Reaction {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) => self.filter.push(character),
            _ => return Reaction::None,
        }
        Reaction::Draw
    }

    /// Draws the table, which it sorts, and the last message.
    pub fn draw(&mut self, frame: &mut Frame<'_>, table: &mut Table, message: Option<&str>) {
        table.sort(self.order);
        let filter = self.filter.to_lowercase();
        let rows = table.rows.iter();
        let rows: Vec<&Row> = rows
            .filter(|row| row.name.to_lowercase().contains(&filter))
            .collect();
        let mut rest = frame.area();
        let mut take = |count: usize, from_top: bool| {
            // Of a low terminal, the rows of the table are the last to go.
            let count = u16::try_from(count).unwrap_or(u16::MAX).min(rest.height);
            let part = match from_top {
                true => Rect {
                    height: count,
                    ..rest
                },
                false => Rect {
                    y: rest.y + rest.height - count,
                    height: count,
                    ..rest
                },
            };
            rest = Rect {
                y: rest.y + if from_top { count } else { 0 },
                height: rest.height - count,
                ..rest
            };
            part
        };
        let is_high = frame.area().height >= 8;
        let title = take(usize::from(is_high), true);
        let troubles = take(table.troubles.len().min(MOST_TROUBLES), true);
        let keys = take(usize::from(is_high || self.is_typing), false);
        let said = take(usize::from(message.is_some() && is_high), false);
        // One for the heads and one for the sum.
        self.page = usize::from(rest.height).saturating_sub(2);
        self.rows = rows.len();
        self.offset = self.offset.min(self.rows.saturating_sub(self.page));

        self.draw_title(frame, title, table.rows.len());
        let red = self.style(|style| style.fg(Color::Red));
        let lines = table.troubles.iter().take(usize::from(troubles.height));
        let lines = lines.map(|text| cut(text, troubles.width));
        frame.render_widget(
            Paragraph::new(lines.collect::<Vec<_>>()).style(red),
            troubles,
        );
        self.draw_rows(frame, rest, table, &rows);
        if let Some(message) = message {
            frame.render_widget(cut(message, said.width), said);
        }
        self.draw_keys(frame, keys);
    }

    fn draw_title(&self, frame: &mut Frame<'_>, area: Rect, containers: usize) {
        let bold = self.style(|style| style.add_modifier(Modifier::BOLD));
        let shown = match self.filter.is_empty() {
            true => String::new(),
            false => format!("  {} of {containers} contain {:?}", self.rows, self.filter),
        };
        let last = (self.offset + self.page).min(self.rows);
        let place = match self.rows > self.page && self.page > 0 {
            true => format!("  rows {}-{last} of {}", self.offset + 1, self.rows),
            false => String::new(),
        };
        let text = format!("{}  by {}{shown}{place}", self.title, self.order.as_str());
        frame.render_widget(Paragraph::new(cut(&text, area.width)).style(bold), area);
    }

    fn draw_keys(&self, frame: &mut Frame<'_>, area: Rect) {
        let dim = self.style(|style| style.add_modifier(Modifier::DIM));
        let (text, style) = match self.is_typing {
            true => (
                format!("/{}▏  Enter keeps, Esc clears", self.filter),
                Style::new(),
            ),
            false => (KEYS.to_owned(), dim),
        };
        frame.render_widget(Paragraph::new(cut(&text, area.width)).style(style), area);
    }

    fn draw_rows(&self, frame: &mut Frame<'_>, area: Rect, table: &Table, rows: &[&Row]) {
        let width = usize::from(area.width);
        // The widths are those of all rows, so that scrolling moves no column.
        let all = || table.rows.iter().chain([&table.total]);
        let name = all()
            .map(|row| wide(&row.name))
            .max()
            .unwrap_or(0)
            .max("CONTAINER".len());
        let fits =
            |columns: &Vec<Column>| name.min(GOOD_NAME) + room(&widths(columns, all())) <= width;
        let origin = table.origin;
        let layouts = [origin.columns(), origin.fewer_columns()];
        let columns = layouts.into_iter().find(fits);
        let columns = columns.unwrap_or_else(|| origin.fewest_columns());
        let widths = widths(&columns, all());
        let name = name
            .min(width.saturating_sub(room(&widths)).max(LEAST_NAME))
            .min(width);
        let bold = self.style(|style| style.add_modifier(Modifier::BOLD));
        let red = self.style(|style| style.fg(Color::Red));
        let cells = |row: &Row, style: Style| {
            let style = if row.has_losses() { red } else { style };
            let first = Cell::new(shorten(&row.name, name));
            let others = columns.iter().map(|(_, text)| text(row)).enumerate();
            Cells::new([first].into_iter().chain(others.map(aligned))).style(style)
        };
        let heads = columns
            .iter()
            .map(|(head, _)| (*head).to_owned())
            .enumerate();
        let heads = [Cell::new("CONTAINER")]
            .into_iter()
            .chain(heads.map(aligned));
        let shown = rows.iter().skip(self.offset).take(self.page);
        let mut lines: Vec<Cells<'_>> = shown.map(|row| cells(row, Style::new())).collect();
        lines.push(cells(&table.total, bold));
        let widths = [name].into_iter().chain(widths);
        let widths =
            widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
        let grid = Grid::new(lines, widths)
            .header(Cells::new(heads).style(bold))
            .column_spacing(GAP)
            .flex(ratatui::layout::Flex::Start);
        Widget::render(grid, area, frame.buffer_mut());
    }

    fn style(&self, style: fn(Style) -> Style) -> Style {
        match self.is_colored {
            true => style(Style::new()),
            false => Style::new(),
        }
    }
}

/// Only the first column after the name is text.
fn aligned((index, text): (usize, String)) -> Cell<'static> {
    let alignment = if index == 0 {
        Alignment::Left
    } else {
        Alignment::Right
    };
    Cell::new(Text::from(text).alignment(alignment))
}

/// The widths of these columns.
fn widths<'r>(columns: &[Column], rows: impl Iterator<Item = &'r Row>) -> Vec<usize> {
    let mut widths: Vec<usize> = columns.iter().map(|(head, _)| head.len()).collect();
    for row in rows {
        for (width, (_, text)) in widths.iter_mut().zip(columns) {
            *width = (*width).max(wide(&text(row)));
        }
    }
    widths
}

/// Their sum with the blanks before them.
fn room(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + usize::from(GAP)).sum()
}

fn cut(text: &str, width: u16) -> Line<'static> {
    Line::from(Span::raw(shorten(text, usize::from(width))))
}

#[cfg(test)]
mod tests;
