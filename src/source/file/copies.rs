//! Files that hold what another one held: copies that logrotate's `copytruncate` leaves before
//! it truncates the log, and the archive that dockerd makes of a rotated file.

use std::io;

use crate::delivery::checkpoint::fingerprint::Fingerprint;
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::source::file::generation::Generation;
use crate::source::file::gzip::unpacked_size;
use crate::source::file::known::{is_later_copy, is_same, Head, KnownFile};
use crate::source::file::listing::ListedFile;
use crate::source::file::open_files::OpenFiles;
use crate::source::file::search::{Search, Sought};
use crate::source::file::successor::is_extract;

/// What copytruncate left of a file that was truncated.
#[derive(Default)]
pub struct Copies {
    /// The one that has what was read, open where reading stopped.
    pub rest: Option<Generation>,
    /// Those that hold only what was read.
    pub read: Vec<KnownFile>,
}

/// The copies of a file of which nothing has been read.
#[derive(Default)]
pub struct UnreadCopies {
    /// Copies of its content before a truncation, oldest first.
    pub files: Vec<Generation>,
    /// Whether there is a copy of its current content.
    pub is_under_way: bool,
}

/// Finds the listed files that were created after `held`, of which nothing has been read yet.
pub fn unread_copies(
    held: &Generation,
    listed: &[ListedFile],
    files: &OpenFiles,
) -> io::Result<UnreadCopies> {
    let mut copies = UnreadCopies::default();
    let place = listed.iter().position(|file| is_same(file.id, held.id));
    let Some(place) = place.filter(|_| held.read_offset() == 0) else {
        return Ok(copies);
    };
    let Some(head) = held.head_now()? else {
        return Ok(copies);
    };
    for (index, file) in listed[..place].iter().enumerate().rev() {
        let of_copy = Head::of(file);
        let Some(copy) = of_copy.read()? else {
            continue;
        };
        if files.knows(file, &of_copy)? {
            break;
        }
        if is_extract(listed, index)? {
            continue;
        }
        // While the copy matches the start of the file, the file has not been truncated yet.
        if copies.files.is_empty() && head.starts_with(copy) {
            copies.is_under_way = true;
            continue;
        }
        // One that was made by hand of what is in the one after it.
        if let Some(later) = copies.files.last() {
            if later.begins_with(copy)? {
                continue;
            }
        }
        let mut opened = Generation::open_listed(file)?;
        opened.number = held.number;
        copies.files.push(opened);
    }
    copies.files.reverse();
    Ok(copies)
}

/// Finds what is left of `front`, which was truncated after it had been read up to `checkpoint`:
/// the file that continues there. Unknown ones besides are copies of what was written since.
/// `None` if a file must be decompressed further to tell.
pub fn copies_of(
    front: &Generation,
    checkpoint: &StreamCheckpoint,
    listed: &[ListedFile],
    files: &OpenFiles,
    search: &mut Search,
) -> io::Result<Option<Copies>> {
    let mut copies = Copies::default();
    for file in listed.iter().filter(|file| !file.is_current()) {
        if files.is_open(file) {
            continue;
        }
        let head = Head::of(file);
        match search.seek(file, checkpoint)? {
            Sought::Unfinished => return Ok(None),
            Sought::Here(mut candidate) => {
                candidate.number = front.number;
                let has_more = match &copies.rest {
                    Some(rest) => has_more(&candidate, rest, front.unread()),
                    None => true,
                };
                let other = match has_more {
                    true => copies.rest.replace(*candidate),
                    false => Some(*candidate),
                };
                copies.read.extend(other.as_ref().map(KnownFile::of));
            }
            Sought::Elsewhere if copies.rest.is_some() || files.knows(file, &head)? => {}
            Sought::Elsewhere if is_later_copy(&head, front)? => {}
            Sought::Elsewhere => copies.read.push(KnownFile::skipped(&head)?),
        }
    }
    Ok(Some(copies))
}

/// Whether one copy of a truncated file has more of its rest than another; `seen` is how much there
/// was. Somebody may have made one before the last lines were written.
fn has_more(one: &Generation, other: &Generation, seen: u64) -> bool {
    // How much is in an archive shows at its end only, so it comes after a file that has all.
    let rest_of = |copy: &Generation| match copy.plain_file() {
        Some(_) if copy.unread() >= seen => (2, copy.unread()),
        Some(_) => (0, copy.unread()),
        None => (1, copy.unread()),
    };
    rest_of(one) > rest_of(other)
}

/// How many unread bytes of a deleted file are not in the archive that was made of it, as its writer went
/// on: none that can be told of files that are longer than an archive says.
pub fn bytes_behind_archive(deleted: &Generation, archive: &Generation) -> io::Result<u64> {
    let size = deleted.read_offset() + deleted.unread();
    let archived = u64::from(unpacked_size(archive.file()?)?).max(deleted.read_offset());
    let is_known = u32::try_from(size).is_ok();
    Ok(size.saturating_sub(archived) * u64::from(is_known))
}

/// Searches the listed archives for the content of a deleted file, up to the offset read.
pub fn archive_of(
    deleted: &Generation,
    listed: &[ListedFile],
    files: &OpenFiles,
    search: &mut Search,
) -> io::Result<Sought> {
    let Some(head) = deleted.head_now()? else {
        return Ok(Sought::Elsewhere);
    };
    let checkpoint = match deleted.read_offset() {
        0 => StreamCheckpoint {
            fingerprint: Fingerprint::of(&head),
            ..deleted.resume_here()
        },
        _ => deleted.resume_here(),
    };
    for file in listed.iter().filter(|file| file.rank.is_gzip) {
        if files.is_open(file) {
            continue;
        }
        match search.seek(file, &checkpoint) {
            Ok(Sought::Here(mut archive)) => {
                (archive.number, archive.run) = (deleted.number, deleted.run);
                return Ok(Sought::Here(archive));
            }
            Ok(Sought::Unfinished) => return Ok(Sought::Unfinished),
            Ok(Sought::Elsewhere) | Err(_) => {}
        }
    }
    Ok(Sought::Elsewhere)
}
