//! The files of the journal. libsystemd reads those that it can open and says nothing of the
//! others: who may read a user's journal but not the system's would take this for an idle one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::config::JournalPath;
use crate::runtime::bounded_file;
use crate::source::journal::seam::{Journal, JournalLibrary, Seek};

/// Where the journal is, volatile or persistent.
const FOLDERS: [&str; 2] = ["/run/log/journal", "/var/log/journal"];

/// The file that journald writes what is not of a user to.
const SYSTEM: &str = "system.journal";

/// Names that are listed of a folder.
const MOST_FILES: usize = 10_000;

/// The option says so.
pub(super) fn off() -> io::Error {
    io::Error::other("Journal_Path is off")
}

/// Opens the journal.
pub(super) fn open(
    library: &dyn JournalLibrary,
    path: &JournalPath,
) -> io::Result<Box<dyn Journal>> {
    match path {
        JournalPath::Off => Err(off()),
        JournalPath::Auto => library.open(None),
        JournalPath::Folder(folder) => library.open(Some(folder)),
    }
}

/// Fails, and says why, unless there is a journal that can be read.
pub fn probe(library: &dyn JournalLibrary, path: &JournalPath) -> io::Result<()> {
    if *path == JournalPath::Off {
        return Err(off());
    }
    let probed = || {
        // It may be empty: all others were removed when it was begun.
        if look(library, path)?.has_system {
            return Ok(());
        }
        let mut journal = open(library, path)?;
        // Opens the files.
        journal.seek(Seek::Head)?;
        match journal.step()? {
            true => Ok(()),
            false => Err(io::Error::other("it has no entries")),
        }
    };
    probed().map_err(|error: io::Error| {
        let reason = format!("systemd's journal cannot be read: {error}");
        io::Error::new(error.kind(), reason)
    })
}

/// What files there are. Fails if that of the system cannot be read, or if there are none.
pub(super) fn look(library: &dyn JournalLibrary, path: &JournalPath) -> io::Result<Found> {
    let folders = match path {
        JournalPath::Off => return Ok(Found::default()),
        JournalPath::Auto => FOLDERS.map(PathBuf::from).to_vec(),
        JournalPath::Folder(folder) => vec![folder.clone()],
    };
    let (mut failure, mut found) = (None, Found::default());
    for folder in &folders {
        match look_into(library, folder, &mut found) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error),
        None if !found.folders.is_empty() => Ok(found),
        None => {
            let folders: Vec<String> = folders.iter().map(|it| it.display().to_string()).collect();
            let reason = format!("there is none in {}", folders.join(" or "));
            Err(io::Error::new(io::ErrorKind::NotFound, reason))
        }
    }
}

/// What files there are.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that have some.
    pub folders: BTreeSet<PathBuf>,
    /// That of the system is among them, and can be read.
    pub has_system: bool,
}

/// Looks at the files in a folder, and in the folders of machines in it.
fn look_into(library: &dyn JournalLibrary, folder: &Path, found: &mut Found) -> io::Result<()> {
    for path in paths(folder)? {
        if path.is_dir() {
            for file in paths(&path)? {
                look_at(library, &file, found)?;
            }
        }
        look_at(library, &path, found)?;
    }
    Ok(())
}

fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let explained = |error: io::Error| at(folder, &error);
    let listing = bounded_file::list(folder, MOST_FILES).map_err(explained)?;
    let paths = listing.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(explained)
}

/// Looks at what may be a file of the journal.
fn look_at(library: &dyn JournalLibrary, path: &Path, found: &mut Found) -> io::Result<()> {
    // The other one is of a journald that did not end in order.
    let is_one = |extension| extension == "journal" || extension == "journal~";
    if !path.extension().is_some_and(is_one) {
        return Ok(());
    }
    found.folders.extend(path.parent().map(Path::to_owned));
    if path.file_name().is_some_and(|name| name == SYSTEM) {
        match library.check(path) {
            Ok(()) => found.has_system = true,
            // It is being rotated: there is none, or one without a header.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(Errno::NODATA.raw_os_error()) => {}
            Err(error) => return Err(at(path, &error)),
        }
    }
    Ok(())
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
