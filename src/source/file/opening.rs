//! Opens the listed files of a log from one of them on.

use std::io;

use crate::delivery::link::Link;
use crate::runtime::file::{is_permanent, stat_path};
use crate::source::file::generation::Generation;
use crate::source::file::known::{begins_like_later, Head, KnownFile};
use crate::source::file::listing::ListedFile;
use crate::source::file::losses::Losses;
use crate::source::file::open_files::OpenFiles;
use crate::source::file::successor::{is_extract, successor_of, Successor};

/// Opens the listed files from `first` on, which gets this number, and notes those before it.
/// `front` is the first one, if it is open already. A copy of what is opened is not noted: it may
/// be all that is left of it in the next moment.
pub fn open_from(
    listed: &[ListedFile],
    first: usize,
    mut front: Option<Generation>,
    number: u32,
    losses: &Losses,
    link: &Link,
) -> io::Result<OpenFiles> {
    let mut files = OpenFiles::default();
    files.next_number = number;
    files.seen.keep_for(listed.len());
    let heads: Vec<Head> = listed.iter().map(Head::of).collect();
    let current = listed.len().saturating_sub(1);
    for (index, file) in listed.iter().enumerate() {
        let is_before = index < first;
        let later = &heads[if is_before { current } else { index + 1 }..];
        if (is_before || front.is_none()) && begins_like_later(&heads[index], later)? {
            // Left out.
        } else if !is_before && is_extract(listed, index)? {
            // Left out, too.
        } else if is_before {
            files.seen.remember(KnownFile::skipped(&heads[index])?);
        } else if let Some(successor) = successor_at(listed, index, &files)? {
            files.add_successor(successor);
            continue;
        } else {
            let opened = match front.take() {
                Some(front) => Some(front),
                None => open_or_pass(file, losses, link)?,
            };
            if let Some(mut opened) = opened {
                opened.number = files.next_number;
                files.add(opened);
            }
        }
        files.next_number += u32::from(!is_before);
    }
    Ok(files)
}

/// Whether a listed file has the content of the one before it, which somebody has renamed
/// (`sed -i.bak`, `mv LOG LOG.1; cp LOG.1 LOG`).
fn successor_at(
    listed: &[ListedFile],
    index: usize,
    files: &OpenFiles,
) -> io::Result<Option<Successor>> {
    let before = index.checked_sub(1).map(|before| &listed[before]);
    let held = files.open.back();
    match (before, held) {
        (Some(before), Some(held)) if before.id == held.id => successor_of(held, &listed[index]),
        _ => Ok(None),
    }
}

/// As [`Generation::open_listed`], but reports and skips a rotated file that can never be
/// opened.
pub fn open_or_pass(
    file: &ListedFile,
    losses: &Losses,
    link: &Link,
) -> io::Result<Option<Generation>> {
    match Generation::open_listed(file) {
        Err(error) if !file.is_current() && is_permanent(&error) => {
            let unread = stat_path(&file.path).map_or(0, |(_, size)| size);
            losses.unreadable(link, file.path.to_path_buf(), &error, unread);
            Ok(None)
        }
        opened => opened.map(Some),
    }
}
