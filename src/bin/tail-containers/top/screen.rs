//! The output of `top`: a terminal of its own contents, or plain tables one after the other.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{channel, Receiver};
use std::thread;

use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::style::force_color_output;
use ratatui::DefaultTerminal;

use super::table::{Order, Table};
use super::view::{Reaction, View};
use crate::arguments::Arguments;
use crate::follow::Stop;
use crate::terminal::is_colored;

/// Where tables go.
pub enum Screen {
    /// A terminal, with keys.
    Live(Box<Live>),
    /// A file or a pipe.
    Plain,
}

/// The alternate screen of the terminal, which has what was there before again when this is
/// dropped.
pub struct Live {
    terminal: DefaultTerminal,
    events: Receiver<Event>,
    view: View,
    table: Table,
}

impl Screen {
    /// Takes the terminal if there is one and it is to be kept up to date. Keys wake `stop`.
    pub fn new(arguments: &Arguments, title: String, table: Table, stop: &Stop) -> Screen {
        if !arguments.follows() || !io::stdout().is_terminal() {
            return Screen::Plain;
        }
        let is_colored = is_colored(arguments.color);
        // The terminal library has an own opinion about NO_COLOR.
        force_color_output(is_colored);
        // Without a keyboard the table is printed as into a pipe.
        let Ok(terminal) = ratatui::try_init() else {
            return Screen::Plain;
        };
        let (sender, events) = channel();
        let wake = stop.clone();
        thread::spawn(move || {
            while let Ok(event) = event::read() {
                let is_over = sender.send(event).is_err();
                wake.wake();
                if is_over {
                    break;
                }
            }
        });
        Screen::Live(Box::new(Live {
            terminal,
            events,
            view: View::new(title, is_colored),
            table,
        }))
    }

    /// Whether it is a terminal.
    pub fn is_live(&self) -> bool {
        matches!(self, Screen::Live(_))
    }

    /// Shows a new table.
    pub fn show(&mut self, mut table: Table, message: Option<&str>) -> io::Result<()> {
        match self {
            Screen::Live(live) => {
                live.table = table;
                live.draw(message)
            }
            Screen::Plain => {
                table.sort(Order::default());
                // One write, so that no half of a table is visible.
                let mut out = io::stdout().lock();
                out.write_all((table.text() + "\n").as_bytes())?;
                out.flush()
            }
        }
    }

    /// Does what the keys say that were pressed, and ends `stop` if one of them says so.
    pub fn obey(&mut self, message: Option<&str>, stop: &Stop) -> io::Result<()> {
        let Screen::Live(live) = self else {
            return Ok(());
        };
        let mut is_old = false;
        while let Ok(event) = live.events.try_recv() {
            let reaction = match event {
                Event::Key(key) => live.view.key(key),
                Event::Resize(..) => Reaction::Draw,
                _ => Reaction::None,
            };
            match reaction {
                Reaction::Quit => stop.now(),
                Reaction::Draw => is_old = true,
                Reaction::None => {}
            }
        }
        match is_old {
            true => live.draw(message),
            false => Ok(()),
        }
    }
}

impl Live {
    fn draw(&mut self, message: Option<&str>) -> io::Result<()> {
        let (view, table) = (&mut self.view, &mut self.table);
        self.terminal
            .draw(|frame| view.draw(frame, table, message))
            .map(|_| ())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
