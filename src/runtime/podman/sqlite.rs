//! The containers in Podman's SQLite database, `db.sql`, read from a copy in memory.
//!
//! SQLite itself opens no file: a lock of ours would hold up a Podman that wants to write, and a
//! user's file may be a pipe or grow without end. So the bytes are copied (`read`), and the copy
//! counts only if it is what one transaction left, in either way that SQLite has to write one:
//!
//! ```text
//! rollback journal                      write-ahead log (`wal`)
//! change counter, time      c0          header of the log           h0
//! journal                   absent      copy
//! copy                                  transactions in the log     their pages replace older ones
//! journal                   absent      header of the log           h0
//! change counter, time      c0
//! ```
//!
//! While there is no journal, nobody is writing to the file; and a transaction that began and ended in
//! between has incremented the counter. With a log, transactions may go on: they are appended to it.
//! What a checkpoint has copied into the file by then is in the log that is read afterwards, as long as
//! that was not restarted, which changes its header.
//!
//! A user can write anything into such a file. Nothing in it is executed: views, virtual tables
//! and functions are refused, and size, memory and time are limited.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::Connection;
use rustix::fs::fstat;

use crate::runtime::bounded_file::read_up_to;
use crate::runtime::bounded_reason::reason_of;
use crate::runtime::podman::database::Failure;
use crate::runtime::podman::wal::{self, Wal};
use crate::runtime::safe_path::SafePath;
use crate::threads::processor_time;

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
    let log = beside(path, LOG);
    let (before, of_log) = (stamp(&file)?, wal::header(&log)?);
    if has_journal(path)? {
        return Err(Failure::Busy);
    }
    let mut bytes = read_up_to(&file, path, most_bytes).map_err(io::Error::from)?;
    let wal = Wal::read(&log)?;
    let is_whole = !has_journal(path)?
        && wal::header(&log)? == of_log
        && (of_log.is_some() || stamp(&file)? == before);
    if !is_whole {
        return Err(Failure::Busy);
    }
    let size = wal.database_size(bytes.len() as u64);
    if size > most_bytes {
        return Err(Failure::too_large(size, most_bytes));
    }
    if size == 0 {
        return Err(Failure::Unreadable("it is empty".to_owned()));
    }
    wal.apply(&mut bytes, usize::try_from(size).unwrap_or(usize::MAX));
    if let Some(flags) = bytes.get_mut(WAL_FLAGS) {
        flags.fill(NO_WAL);
    }
    let mut left = size;
    let mut take = |id: &str, config: &str| {
        // Rows that exist once in the file are not longer than it.
        left = left.checked_sub((id.len() + config.len()) as u64)?;
        take(id, config);
        Some(())
    };
    open(bytes)
        .and_then(|database| each_row(&database, &mut take))
        .map_err(|error| Failure::Unreadable(reason_of(&error)))
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

/// A database in memory with these bytes, of which it takes a copy.
fn open(bytes: Vec<u8>) -> rusqlite::Result<Connection> {
    let mut database = Connection::open_in_memory()?;
    database.execute_batch(&format!("PRAGMA hard_heap_limit = {MOST_MEMORY}"))?;
    database.deserialize_read_exact("main", bytes.as_slice(), bytes.len(), true)?;
    confine(&mut database, bytes.len())?;
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
