//! The files of the journal. libsystemd reads those that it can open and says nothing of the
//! others: who may read a user's journal but not the system's would take this for an idle one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::config::JournalPath;
use crate::runtime::bounded_file;
use crate::source::journal::seam::{Journal, JournalLibrary, Seek};

/// Where the journal is, volatile or persistent.
pub(super) const FOLDERS: [&str; 2] = ["/run/log/journal", "/var/log/journal"];

/// What a journald that runs has, wherever it stores what it receives.
const SOCKETS: &str = "/run/systemd/journal";

/// The file that journald writes what is not of a user to.
const SYSTEM: &str = "system.journal";

/// Of a file with a header only, the rest could not be allocated, or not yet.
const LEAST_BYTES: u64 = 4096;

/// What the names of its archived files begin with.
const ARCHIVED: &[u8] = b"system@";

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
        if look(library, path)?.has_current() {
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

/// Whether a journal cannot be read because the journald of this machine stores nothing.
pub fn lacks_all(error: &io::Error, path: &JournalPath) -> bool {
    let is_auto = *path == JournalPath::Auto;
    is_auto && error.kind() == io::ErrorKind::NotFound && Path::new(SOCKETS).is_dir()
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
        match look_into(library, folder, true, &mut found) {
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
    /// The folders that have some.
    pub folders: BTreeSet<PathBuf>,
    /// Those of the system, by the machine and namespace, after which their folder is named.
    pub systems: BTreeMap<OsString, System>,
}

/// The files of a system's journal.
#[derive(Debug)]
pub(super) struct System {
    /// Their folder.
    pub folder: PathBuf,
    /// The one that journald writes is among them, and can be read.
    pub has_current: bool,
}

impl Found {
    /// Whether there is a file that journald writes.
    fn has_current(&self) -> bool {
        self.systems.values().any(|it| it.has_current)
    }

    fn add_system(&mut self, folder: &Path, is_current: bool) {
        let name = folder.file_name().unwrap_or_default().to_owned();
        let system = self.systems.entry(name).or_insert_with(|| System {
            folder: folder.to_owned(),
            has_current: false,
        });
        system.has_current |= is_current;
    }
}

/// Looks at the files in a folder and, at the top, in the folders of machines in it.
fn look_into(
    library: &dyn JournalLibrary,
    folder: &Path,
    is_top: bool,
    found: &mut Found,
) -> io::Result<()> {
    let mut has_files = false;
    for path in paths(folder)? {
        if is_top && path.is_dir() {
            look_into(library, &path, false, found)?;
        } else if is_journal(&path) {
            has_files = true;
            look_at(library, folder, &path, found)?;
        }
    }
    if has_files {
        found.folders.insert(folder.to_owned());
    }
    Ok(())
}

fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let explained = |error: io::Error| at(folder, &error);
    let listing = bounded_file::list(folder, MOST_FILES).map_err(explained)?;
    let paths = listing.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(explained)
}

fn is_journal(path: &Path) -> bool {
    // The other one is of a journald that did not end in order.
    let is_one = |extension| extension == "journal" || extension == "journal~";
    path.extension().is_some_and(is_one)
}

/// Looks at a file of the journal.
fn look_at(
    library: &dyn JournalLibrary,
    folder: &Path,
    path: &Path,
    found: &mut Found,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    if name != SYSTEM {
        if name.as_encoded_bytes().starts_with(ARCHIVED) {
            found.add_system(folder, false);
        }
        return Ok(());
    }
    match library.check(path) {
        Ok(()) => {
            let is_begun = path.metadata().is_ok_and(|it| it.len() >= LEAST_BYTES);
            found.add_system(folder, is_begun);
        }
        Err(error) if is_being_made(&error) => {}
        Err(error) => return Err(at(path, &error)),
    }
    Ok(())
}

/// It is being rotated: there is none, or one without a header, or it was removed a moment ago,
/// because the disk is full.
fn is_being_made(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [Errno::NOENT, Errno::NODATA, Errno::IDRM]
        .map(Some)
        .contains(&errno)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
