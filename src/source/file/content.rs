//! The bytes of a file of a log, whether dockerd compressed it or not. It may be closed while it is not
//! read, to free its descriptor.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::SeekFrom;

use crate::delivery::checkpoint::fingerprint::HEAD_BYTES;
use crate::runtime::file::{open_regular, read_exact_at, read_up_to, stat_file, FileId};
use crate::runtime::safe_path::SafePath;
use crate::source::file::gzip;
use crate::source::file::gzip::GzipContent;

/// Bytes compared at the end of what two files may have in common. Entries have times in
/// nanoseconds, so equal ones at equal offsets are the same.
pub const TAIL_BYTES: u64 = 64 * 1024;

thread_local! {
    /// The reader's thread opens and closes all files of its logs.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// How many files of logs this thread has open.
pub fn open_files() -> usize {
    OPEN.get()
}

/// Counts an open file.
pub struct Count(());

impl Count {
    fn new() -> Count {
        OPEN.set(OPEN.get() + 1);
        Count(())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // An instance that ends may drop its files in another thread.
        OPEN.set(OPEN.get().saturating_sub(1));
    }
}

/// A file of a log.
pub enum Content {
    /// It may still be written.
    Plain(Option<(File, Count)>),
    /// It is complete, and read as a stream.
    Gzip(Box<GzipContent>, Option<Count>),
}

impl Content {
    /// Reads `file` from its start.
    pub fn new(file: File, is_gzip: bool) -> Content {
        match is_gzip {
            true => Content::Gzip(Box::new(GzipContent::new(file)), Some(Count::new())),
            false => Content::Plain(Some((file, Count::new()))),
        }
    }

    /// Closes the file.
    pub fn close(&mut self) {
        match self {
            Content::Plain(file) => *file = None,
            Content::Gzip(gzip, count) => {
                gzip.set_file(None);
                *count = None;
            }
        }
    }

    /// Goes on with `file`, which is the one that was closed.
    pub fn open_again(&mut self, file: File) {
        match self {
            Content::Plain(closed) => *closed = Some((file, Count::new())),
            Content::Gzip(gzip, count) => {
                gzip.set_file(Some(file));
                *count = Some(Count::new());
            }
        }
    }

    /// The same open file, read from its start.
    pub fn restarted(&self) -> io::Result<Content> {
        let is_gzip = matches!(self, Content::Gzip(..));
        Ok(Content::new(self.file()?.try_clone()?, is_gzip))
    }

    /// The open file.
    pub fn file(&self) -> io::Result<&File> {
        let file = match self {
            Content::Plain(file) => file.as_ref().map(|(file, _)| file),
            Content::Gzip(gzip, _) => gzip.file().map(|file| &**file),
        };
        file.ok_or_else(|| io::Error::other("it is closed"))
    }

    /// The open file if it is not compressed.
    pub fn plain(&self) -> Option<&File> {
        match self {
            Content::Plain(file) => file.as_ref().map(|(file, _)| file),
            Content::Gzip(..) => None,
        }
    }

    /// Reads its current head, wherever reading is: up to [`HEAD_BYTES`].
    pub fn head(&self) -> io::Result<Vec<u8>> {
        match self {
            Content::Plain(_) => read_plain_head(self.file()?),
            Content::Gzip(gzip, _) => Ok(gzip.file().map(gzip::read_head).unwrap_or_default()),
        }
    }

    /// Fills the buffer with the bytes from offset `from` on, which for a compressed file must
    /// be those carried over. Fewer bytes than the buffer's length mean the end of the file.
    pub fn fill(&mut self, buffer: &mut [u8], from: u64) -> io::Result<usize> {
        match self {
            Content::Plain(_) => read_up_to(self.file()?, buffer, from),
            Content::Gzip(gzip, _) => Ok(gzip.fill(buffer)),
        }
    }

    /// Keeps what was not handled for the next read: a decompressed stream cannot be read
    /// twice.
    pub fn carry(&mut self, bytes: &[u8]) {
        if let Content::Gzip(gzip, _) = self {
            gzip.carried.clear();
            gzip.carried.extend_from_slice(bytes);
        }
    }

    /// Bytes carried over.
    pub fn carried(&self) -> usize {
        match self {
            Content::Plain(_) => 0,
            Content::Gzip(gzip, _) => gzip.carried.len(),
        }
    }

    /// What is wrong with a compressed file, once its end has been reached.
    pub fn damage(&self) -> Option<&str> {
        match self {
            Content::Plain(_) => None,
            Content::Gzip(gzip, _) => gzip.damage.as_deref(),
        }
    }

    /// Where data begins after a hole of a sparse file at `offset`; `None` if there is no hole
    /// or the kernel cannot tell.
    pub fn data_after(&self, offset: u64) -> Option<u64> {
        let next = rustix::fs::seek(self.plain()?, SeekFrom::Data(offset)).ok();
        next.filter(|next| *next > offset)
    }
}

/// Whether two files have the same bytes in this range.
pub fn have_same(one: &File, other: &File, from: u64, to: u64) -> io::Result<bool> {
    have_same_at([(one, from), (other, from)], to - from)
}

/// Whether two files have the same bytes at these offsets, this many.
pub fn have_same_at(places: [(&File, u64); 2], length: u64) -> io::Result<bool> {
    let mut bytes = [vec![0; length as usize], vec![0; length as usize]];
    for (bytes, (file, from)) in bytes.iter_mut().zip(places) {
        if !read_exact_at(file, bytes, from)? {
            return Ok(false);
        }
    }
    Ok(bytes[0] == bytes[1])
}

/// Whether two files have the same bytes directly before this offset.
pub fn have_same_before(one: &File, other: &File, end: u64) -> io::Result<bool> {
    have_same(one, other, end.saturating_sub(TAIL_BYTES), end)
}

/// Reads the head of the file at `path`: up to [`HEAD_BYTES`], decompressed. Returns its identity as
/// well.
pub fn read_head(path: &SafePath, is_gzip: bool) -> io::Result<(FileId, Vec<u8>)> {
    let file = open_regular(path)?;
    let (id, _) = stat_file(&file)?;
    let head = match is_gzip {
        true => gzip::read_head(&Arc::new(file)),
        false => read_plain_head(&file)?,
    };
    Ok((id, head))
}

fn read_plain_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let length = read_up_to(file, &mut head, 0)?;
    head.truncate(length);
    Ok(head)
}
