//! A terminal for a program under test: a pseudo-terminal that is the program's
//! controlling one, and a screen that does what an xterm does.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZeroU16;
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

/// A program that ends with its owner, whatever ends that.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is to be seen.
pub struct Screen {
    terminal: vt100::Parser,
    /// All that was written.
    pub raw: Vec<u8>,
}

/// Rows above the screen that are kept.
const SCROLLBACK: usize = 10_000;

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
        let screen = Arc::new(Mutex::new(Screen::new(columns, rows)));
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
        screen.resize(columns, rows);
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
    fn new(columns: u16, rows: u16) -> Screen {
        let (rows, columns) = (at_least_1(rows), at_least_1(columns));
        Screen {
            terminal: vt100::Parser::new(rows, columns, SCROLLBACK),
            raw: Vec::new(),
        }
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        let (rows, columns) = (at_least_1(rows), at_least_1(columns));
        self.terminal.set_size(rows, columns);
        self.terminal.process(b"\x1b[2J\x1b[H");
    }

    /// How many rows have gone up above the screen, and how many on it are too long for it.
    pub fn misfits(&self) -> (usize, usize) {
        let screen = self.terminal.screen();
        let (rows, _) = screen.size();
        let is_wrapped = |row: &u16| screen.row_wrapped(*row);
        let wrapped = (0..rows.get()).filter(is_wrapped).count();
        (screen.scrollback_len(), wrapped)
    }

    /// Whether it is the alternate screen, which a program takes for itself and gives back.
    pub fn is_alternate(&self) -> bool {
        self.terminal.screen().alternate_screen()
    }

    /// The rows that are not empty, down to the last of them.
    pub fn lines(&self) -> Vec<String> {
        let screen = self.terminal.screen();
        let (_, columns) = screen.size();
        let rows = screen.rows(0, columns.get());
        let mut lines: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn show(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.terminal.process(bytes);
    }
}

fn at_least_1(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).unwrap_or(NonZeroU16::MIN)
}
