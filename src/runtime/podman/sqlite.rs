//! The containers in Podman's SQLite database, `db.sql`, read from a copy in memory.
//!
//! SQLite itself opens no file: a lock of ours would hold up a Podman that wants to write, and a
//! user's file may be a pipe or grow without end. So the bytes are copied (`read`), and the copy
//! counts only if no transaction was written in the meantime, in either way that SQLite has:
//!
//! ```text
//! rollback journal                      write-ahead log (`wal`)
//! change counter, time      c0          transactions in the log     w
//! journal                   absent
//! copy                                  copy, with the pages of w instead of older ones
//! journal                   absent
//! change counter, time      c0          transactions in the log     w
//! ```
//!
//! While there is no journal, nobody is writing to the file; and a transaction that began and ended in
//! between has incremented the counter. Pages that a checkpoint copies into the file also remain in the
//! log until it restarts.
//!
//! A user can write anything into such a file. Nothing in it is executed: views, virtual tables
//! and functions are refused, and size, memory and time are limited.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::Connection;
use rustix::fs::fstat;
use rustix::time::{clock_gettime, ClockId};

use crate::runtime::podman::database::Failure;
use crate::runtime::podman::wal::Wal;
use crate::runtime::safe_path::SafePath;

/// Suffix of the file in which SQLite keeps what an unfinished transaction replaces.
const JOURNAL: &str = "-journal";
/// Suffix of the write-ahead log.
pub(super) const LOG: &str = "-wal";
/// Bytes of the header that say whether the file has a write-ahead log, and not.
const WAL_FLAGS: std::ops::Range<usize> = 18..20;
const NO_WAL: u8 = 1;
/// Where the header counts transactions.
const CHANGE_COUNTER: u64 = 24;

/// Most memory that SQLite takes, for all files together.
const MOST_MEMORY: u64 = 64 << 20;
/// Most time of the processor for one file. One at the limit of size takes a tenth of it.
const MOST_TIME: Duration = Duration::from_millis(200);
/// Instructions of SQLite's machine between two looks at the clock.
const STEPS: i32 = 100;

/// A table of that name: neither a view nor a virtual table, which have no page.
const IS_TABLE: &str =
    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ContainerConfig' AND rootpage > 0";
/// All containers.
const ROWS: &str = "SELECT ID, JSON FROM ContainerConfig";

/// What a transaction changes: the counter in the header, size and time of the file.
type Stamp = ([u8; 4], i64, i64, u64);

/// Calls `take` with id and configuration of each container in the database at `path`.
pub(super) fn read(
    path: &SafePath,
    most_bytes: u64,
    mut take: impl FnMut(&str, &str),
) -> Result<(), Failure> {
    let file = path.open_file()?;
    let before = stamp(&file)?;
    let wal = Wal::read(&beside(path, LOG))?;
    if has_journal(path)? {
        return Err(Failure::Busy);
    }
    let size = wal.database_size(fstat(&file)?.st_size as u64);
    if size > most_bytes {
        return Err(Failure::too_large(size, most_bytes));
    }
    let copied = copy(Image::new(&file, &wal, size));
    if has_journal(path)? || stamp(&file)? != before || Wal::read(&beside(path, LOG))? != wal {
        return Err(Failure::Busy);
    }
    let mut left = size;
    let mut take = |id: &str, config: &str| {
        // Rows that exist once in the file are not longer than it.
        left = left.checked_sub((id.len() + config.len()) as u64)?;
        take(id, config);
        Some(())
    };
    copied
        .and_then(|copy| each_row(&copy, &mut take))
        .map_err(|error| Failure::Unreadable(error.to_string()))
}

/// A file of SQLite beside a database.
pub(super) fn beside(path: &SafePath, suffix: &str) -> SafePath {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    path.at(name)
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let mut counter = [0; 4];
    // An empty file has no counter.
    let _ = file.read_at(&mut counter, CHANGE_COUNTER)?;
    let stat = fstat(file)?;
    #[allow(
        clippy::useless_conversion,
        reason = "the types differ by architecture"
    )]
    Ok((
        counter,
        stat.st_mtime.into(),
        stat.st_mtime_nsec as i64,
        stat.st_size as u64,
    ))
}

/// Whether a transaction is being written, or was left behind by a Podman that was killed.
fn has_journal(path: &SafePath) -> io::Result<bool> {
    match beside(path, JOURNAL).stat() {
        Ok(stat) => Ok(stat.stx_size > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The bytes of the database with the transactions of its log, as if it had none.
struct Image<'a> {
    file: &'a File,
    wal: &'a Wal,
    size: usize,
    /// How much of it was read.
    position: usize,
}

impl<'a> Image<'a> {
    fn new(file: &'a File, wal: &'a Wal, size: u64) -> Image<'a> {
        Image {
            file,
            wal,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            position: 0,
        }
    }
}

impl Read for Image<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let page_size = self.wal.page_size();
        let (page, offset) = (self.position / page_size, self.position % page_size);
        let rest = (page_size - offset).min(self.size - self.position);
        let most = buffer.len().min(rest);
        let buffer = &mut buffer[..most];
        let number = u32::try_from(page + 1).map_err(io::Error::other)?;
        let newest = self.wal.page(number);
        match newest.and_then(|page| page.get(offset..offset + most)) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => self.file.read_exact_at(buffer, self.position as u64)?,
        }
        for at in WAL_FLAGS {
            let flag = at
                .checked_sub(self.position)
                .and_then(|at| buffer.get_mut(at));
            flag.into_iter().for_each(|flag| *flag = NO_WAL);
        }
        self.position += most;
        Ok(most)
    }
}

/// A database in memory with these bytes.
fn copy(image: Image<'_>) -> rusqlite::Result<Connection> {
    let mut database = Connection::open_in_memory()?;
    database.execute_batch(&format!("PRAGMA hard_heap_limit = {MOST_MEMORY}"))?;
    let size = image.size;
    database.deserialize_read_exact("main", image, size, true)?;
    confine(&mut database, size)?;
    Ok(database)
}

/// Takes everything from the database but the reading of tables.
fn confine(database: &mut Connection, size: usize) -> rusqlite::Result<()> {
    for (option, is_on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        database.set_db_config(option, is_on)?;
    }
    let longest = i32::try_from(size).unwrap_or(i32::MAX);
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, longest.max(1 << 16)),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 16),
        (Limit::SQLITE_LIMIT_COLUMN, 64),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 32),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        database.set_limit(limit, most)?;
    }
    database.execute_batch("PRAGMA cell_size_check = ON")?;
    let end = processor_time() + MOST_TIME;
    database.progress_handler(STEPS, Some(move || processor_time() > end))?;
    database.authorizer(Some(|asked: AuthContext<'_>| match asked.action {
        AuthAction::Select | AuthAction::Read { .. } => Authorization::Allow,
        _ => Authorization::Deny,
    }))
}

/// Time that this thread has had. The clock on the wall goes on while others have the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Ends early, without an error, if `take` returns `None`.
fn each_row(
    database: &Connection,
    take: &mut dyn FnMut(&str, &str) -> Option<()>,
) -> rusqlite::Result<()> {
    // A database that was just created has no tables yet.
    if !database.prepare(IS_TABLE)?.exists([])? {
        return Ok(());
    }
    let mut statement = database.prepare(ROWS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // Podman writes the configuration as a blob.
        let text = |column| std::str::from_utf8(row.get_ref(column).ok()?.as_bytes().ok()?).ok();
        let (Some(id), Some(config)) = (text(0), text(1)) else {
            continue;
        };
        if take(id, config).is_none() {
            break;
        }
    }
    Ok(())
}
