//! A terminal for a program under test: a pseudo-terminal that is the program's
//! controlling one, and a screen that obeys the few things that are said to it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{tcgetattr, tcsetwinsize, Termios, Winsize};

/// A program and its terminal.
pub struct OnTerminal {
    master: OwnedFd,
    /// Held so that the terminal outlives the program.
    slave: File,
    before: Termios,
    child: Killed,
    screen: Arc<Mutex<Screen>>,
    reader: Option<JoinHandle<()>>,
}

/// Ends with its owner, whatever ends that.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is to be seen.
pub struct Screen {
    columns: usize,
    rows: usize,
    cells: Vec<Vec<char>>,
    /// Where the cursor is: row and column.
    at: (usize, usize),
    /// Rows that have gone up since it had this size.
    scrolled: usize,
    /// Lines that were longer than the screen is wide.
    broken: usize,
    /// All that was written.
    pub raw: Vec<u8>,
    pending: Vec<u8>,
}

impl OnTerminal {
    /// Starts `command` on a terminal of this size, as the leader of its session.
    pub fn start(command: &Command, columns: u16, rows: u16) -> OnTerminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let name = std::ffi::OsStr::from_bytes(name.as_bytes()).to_owned();
        let slave = {
            use std::os::unix::fs::OpenOptionsExt;
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32);
            options.open(name).expect("a terminal")
        };
        let screen = Arc::new(Mutex::new(Screen::new(columns.into(), rows.into())));
        set_size(&master, columns, rows);
        let before = tcgetattr(&slave).expect("a terminal");
        let end = || slave.try_clone().expect("a descriptor");
        let mut starter = Command::new("setsid");
        starter
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        starter.env_remove("NO_COLOR");
        let child = Killed(
            starter
                .stdin(end())
                .stdout(end())
                .stderr(end())
                .spawn()
                .expect("setsid runs"),
        );
        // It has descriptors of the terminal, too.
        drop(starter);
        let mut output = File::from(master.try_clone().expect("a descriptor"));
        let shown = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                lock(&shown).show(&bytes[..count]);
            }
        });
        OnTerminal {
            master,
            slave,
            before,
            child,
            screen,
            reader: Some(reader),
        }
    }

    /// The screen as it is now.
    pub fn screen(&self) -> MutexGuard<'_, Screen> {
        lock(&self.screen)
    }

    /// Another size; the program is told by a signal, and the screen is as empty as
    /// if the terminal had forgotten it.
    pub fn resize(&self, columns: u16, rows: u16) {
        let mut screen = self.screen();
        screen.resize(columns.into(), rows.into());
        set_size(&self.master, columns, rows);
    }

    /// Types.
    pub fn type_text(&self, text: &str) {
        let mut keyboard = File::from(self.master.try_clone().expect("a descriptor"));
        keyboard.write_all(text.as_bytes()).expect("a terminal");
    }

    /// Waits for the program's end: its status, whether the modes of the terminal are
    /// what they were, and all that is on the screen.
    pub fn end(mut self) -> (ExitStatus, bool, Screen) {
        let status = self.child.0.wait().expect("it ends");
        let after = tcgetattr(&self.slave).expect("a terminal");
        let is_whole = format!("{after:?}") == format!("{:?}", self.before);
        // Without the last one who may write, the reader is told of the end.
        drop(self.slave);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it reads");
        }
        let screen = std::mem::replace(&mut *lock(&self.screen), Screen::new(1, 1));
        (status, is_whole, screen)
    }
}

fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_size(master: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).expect("a terminal");
}

impl Screen {
    fn new(columns: usize, rows: usize) -> Screen {
        Screen {
            columns,
            rows,
            cells: vec![vec![' '; columns]; rows],
            at: (0, 0),
            scrolled: 0,
            broken: 0,
            raw: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn resize(&mut self, columns: usize, rows: usize) {
        let raw = std::mem::take(&mut self.raw);
        *self = Screen {
            raw,
            ..Screen::new(columns, rows)
        };
    }

    /// How many rows have gone up, and how many lines were too wide, since it has this
    /// size.
    pub fn misfits(&self) -> (usize, usize) {
        (self.scrolled, self.broken)
    }

    /// The rows that are not empty, down to the last of them.
    pub fn lines(&self) -> Vec<String> {
        let text = |row: &Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        let mut lines: Vec<String> = self.cells.iter().map(text).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn show(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let text = match std::str::from_utf8(&pending) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&pending[..error.valid_up_to()]).expect("checked"),
        };
        let mut taken = 0;
        while let Some(character) = text[taken..].chars().next() {
            if character == '\u{1b}' {
                let Some(length) = text[taken..].find(|found: char| found.is_ascii_alphabetic())
                else {
                    break;
                };
                self.obey(&text[taken + 1..=taken + length]);
                taken += length + 1;
                continue;
            }
            self.put(character);
            taken += character.len_utf8();
        }
        self.pending = pending[taken..].to_vec();
    }

    fn obey(&mut self, sequence: &str) {
        match sequence {
            "[H" => self.at = (0, 0),
            "[2J" => {
                self.cells = vec![vec![' '; self.columns]; self.rows];
            }
            "[K" => {
                let (row, column) = self.at;
                self.cells[row][column.min(self.columns)..].fill(' ');
            }
            "[J" => {
                let (row, column) = self.at;
                self.cells[row][column.min(self.columns)..].fill(' ');
                self.cells[row + 1..]
                    .iter_mut()
                    .for_each(|row| row.fill(' '));
            }
            style if style.ends_with('m') => {}
            other => panic!("the terminal was told {other:?}"),
        }
    }

    fn put(&mut self, character: char) {
        match character {
            '\r' => self.at.1 = 0,
            '\n' if self.at.0 + 1 < self.rows => self.at.0 += 1,
            '\n' => {
                self.cells.remove(0);
                self.cells.push(vec![' '; self.columns]);
                self.scrolled += 1;
            }
            _ => {
                if self.at.1 >= self.columns {
                    self.broken += 1;
                    self.at.1 = 0;
                    self.put('\n');
                }
                let (row, column) = self.at;
                self.cells[row][column] = character;
                self.at.1 += 1;
            }
        }
    }
}
