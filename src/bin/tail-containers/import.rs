//! `tail-containers import`: the positions of Fluent Bit's `tail` become those of the plugin, so that a
//! change from one to the other neither repeats nor skips lines.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::checkpoint::CheckpointStore;
use fluent_bit_container_logs::runtime::{self, Found, Runtime};
use fluent_bit_container_logs::source::choose::find_logs;
use fluent_bit_container_logs::source::file::listing;
use fluent_bit_container_logs::source::file::tail_position::{find, Known, TailPosition};
use rusqlite::{Connection, OpenFlags};

use crate::terminal::harmless;

/// Those of an earlier release of `tail` have the same first columns.
const ROWS: &str = "SELECT name, inode, offset FROM in_tail_files";

/// Reads the positions in `tail_db` and writes those of containers to the checkpoint at `db`.
pub fn run(config: &Config, tail_db: &Path, db: &Path) -> io::Result<ExitCode> {
    let rows = read(tail_db).map_err(|error| at(tail_db, &error))?;
    let opened = CheckpointStore::open(db).map_err(|error| io::Error::other(error.to_string()))?;
    let mut store = opened.store;
    let (mut imported, mut without) = (0, 0);
    let mut out = io::stdout().lock();
    for runtime in runtime::all(&config.runtimes) {
        let Ok(listing) = runtime.list(&runtime.root()) else {
            continue;
        };
        for found in listing.containers {
            let name = runtime
                .metadata(&found, 0)
                .map_or_else(|_| found.id.to_string(), |metadata| metadata.title());
            let name = harmless(&name);
            if store.saved(&found.id).is_some() {
                writeln!(out, "{name}: kept, it has a position already")?;
                continue;
            }
            let known = known(&*runtime, &found, &rows);
            if let Ok(Known::Resumed(resumed)) = &known {
                let checkpoint = Some(resumed.checkpoint);
                store.advance(found.id, &[checkpoint, checkpoint])?;
                imported += 1;
            } else {
                without += 1;
            }
            match known {
                Ok(Known::Resumed(resumed)) => writeln!(
                    out,
                    "{name}: at byte {} of {}, {} bytes unread",
                    resumed.checkpoint.offset,
                    harmless(&resumed.path.to_string_lossy()),
                    resumed.unread
                )?,
                Ok(Known::Gone) => writeln!(
                    out,
                    "{name}: its file has been deleted, compressed or shortened; lines may be repeated"
                )?,
                Ok(Known::Nothing) => writeln!(out, "{name}: not in {}", tail_db.display())?,
                Err(error) => writeln!(out, "{name}: {}", harmless(&error.to_string()))?,
            }
        }
    }
    store.sync()?;
    writeln!(
        out,
        "{}: {imported} imported; {without} without a position, which are read like new containers",
        db.display()
    )?;
    Ok(match imported {
        0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// The rows of the table of `tail`, which must be stopped: it may hold newer ones in memory.
fn read(path: &Path) -> rusqlite::Result<Vec<TailPosition>> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = database.prepare(ROWS)?;
    let rows = statement.query_map([], |row| {
        let number = |column| row.get::<_, i64>(column).map(|number| number.max(0) as u64);
        let name = row.get::<_, String>(0)?;
        Ok(TailPosition::new(Path::new(&name), number(1)?, number(2)?))
    })?;
    rows.collect()
}

fn at(path: &Path, error: &rusqlite::Error) -> io::Error {
    io::Error::other(format!(
        "cannot read positions of tail from {}: {error}",
        path.display()
    ))
}

/// What `tail` knows of the log of a container.
fn known(runtime: &dyn Runtime, found: &Found, rows: &[TailPosition]) -> io::Result<Known> {
    let driver = runtime.log_driver(found).unwrap_or_default();
    let logs = find_logs(runtime, found, driver.as_ref());
    let mut known = Known::Nothing;
    for log in logs.map_err(|(_, error)| error)? {
        match find(&listing::list(&log)?.files, rows)? {
            Known::Nothing => {}
            Known::Gone => known = Known::Gone,
            Known::Resumed(resumed) => return Ok(Known::Resumed(resumed)),
        }
    }
    Ok(known)
}
