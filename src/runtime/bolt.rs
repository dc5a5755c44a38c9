//! Reads Bolt databases (`go.etcd.io/bbolt`), in which Podman before 4.8 and containerd keep what
//! they know of containers.
//!
//! A Bolt file is a tree of pages that never changes: a transaction writes its pages to free
//! places, and then one of the two meta pages, in turn, which lead to the root. The pages of a
//! transaction are free only once the next one has ended. So what was read is whole if no
//! transaction ended meanwhile, and no lock is needed.
//!
//! ```text
//! page     id u64, flags u16, count u16, overflow u32; then `count` elements
//! branch   pos u32, key size u32, page u64
//! leaf     flags u32, pos u32, key size u32, value size u32; the key is `pos` behind the element
//! bucket   root page u64, sequence u64; with root 0, a page follows
//! ```
//!
//! The format has been the same since 2014. Numbers have the byte order of the machine. A user can
//! write anything into such a file: each page is checked as it is read, no more is read than the
//! caller allows, and a page only if something in it is looked for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::runtime::safe_path::SafePath;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Sizes of what begins a page, of a meta page's content, and of a bucket.
const PAGE_HEADER: usize = 16;
const META: usize = 64;
const BUCKET: usize = 16;
/// Size of an element of either kind.
const ELEMENT: usize = 16;
/// Flags of pages.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// Flag of a leaf's element whose value is a bucket.
const IS_BUCKET: u32 = 1;
/// Sizes of pages that a machine has.
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=1 << 16;
const COMMON_PAGE_SIZES: [usize; 2] = [1 << 12, 1 << 16];
/// Deepest tree; one of a billion containers is not as deep.
const MOST_DEPTH: usize = 16;

/// Why a database was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BoltError {
    /// It cannot be opened or read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A transaction ended while it was read.
    #[error("it changes faster than it can be read")]
    Changed,
    /// It is something else.
    #[error("it is not a Bolt database")]
    NotBolt,
    /// A page is not what it should be.
    #[error("it is damaged")]
    Damaged,
    /// More was to be read than is allowed.
    #[error("reading it takes more than {0} bytes, which is the limit")]
    TooLarge(usize),
}

/// Runs `walk` over the database at `path`, from the page of its root, and gives the result if it is
/// of one transaction. `walk` visits at most `most_bytes`, of which it holds no more in memory.
/// `None`: the file is empty, and about to become a database.
pub(crate) fn read<T>(
    path: &SafePath,
    most_bytes: usize,
    walk: impl FnOnce(&mut Tree<'_>, &Page) -> Result<T, BoltError>,
) -> Result<Option<T>, BoltError> {
    let file = path.open_file()?;
    let before = newest(&file);
    let walked = before.map(|meta| {
        let mut tree = Tree {
            file: &file,
            page_size: meta.page_size,
            most_bytes,
            left: most_bytes,
        };
        let root = tree.page(meta.root)?;
        walk(&mut tree, &root)
    });
    let after = newest(&file);
    if before != after {
        return Err(BoltError::Changed);
    }
    match walked {
        Some(walked) => walked.map(Some),
        None if file.metadata()?.len() == 0 => Ok(None),
        None => Err(BoltError::NotBolt),
    }
}

/// A meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meta {
    page_size: usize,
    root: u64,
    transaction: u64,
}

/// The valid meta page of the newer transaction.
fn newest(file: &File) -> Option<Meta> {
    let mut page = [0; PAGE_HEADER + META];
    let mut at = |offset: usize| {
        file.read_exact_at(&mut page, offset as u64).ok()?;
        Meta::parse(page.get(PAGE_HEADER..)?)
    };
    // If the first one is being written, the second one says where it is.
    let second = match at(0) {
        Some(first) => [Some(first), at(first.page_size)],
        None => COMMON_PAGE_SIZES.map(&mut at),
    };
    let mut valid: Vec<Meta> = second.into_iter().flatten().collect();
    valid.sort_by_key(|meta| meta.transaction);
    valid.pop()
}

impl Meta {
    fn parse(bytes: &[u8]) -> Option<Meta> {
        let meta = Meta {
            page_size: u32_at(bytes, 8)? as usize,
            root: u64_at(bytes, 16)?,
            transaction: u64_at(bytes, 48)?,
        };
        let is_valid = u32_at(bytes, 0)? == MAGIC
            && u32_at(bytes, 4)? == VERSION
            && PAGE_SIZES.contains(&meta.page_size)
            && u64_at(bytes, 56)? == fnv1a(bytes.get(..56)?);
        is_valid.then_some(meta)
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

/// A tree of pages.
pub(crate) struct Tree<'a> {
    file: &'a File,
    page_size: usize,
    most_bytes: usize,
    /// Bytes of pages, and of the elements in them, that may still be visited.
    left: usize,
}

/// A page with those that continue it.
pub(crate) struct Page(Vec<u8>);

/// An element of a leaf.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; of a bucket, what [`Tree::bucket`] takes.
    pub value: &'a [u8],
    /// Whether it is a bucket.
    pub is_bucket: bool,
}

/// Called with each entry of a bucket.
type Take<'t, 'a> = &'t mut dyn FnMut(&mut Tree<'a>, Entry<'_>) -> Result<(), BoltError>;

impl<'a> Tree<'a> {
    fn visit(&mut self, bytes: usize) -> Result<(), BoltError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(BoltError::TooLarge(self.most_bytes))?;
        Ok(())
    }

    fn page(&mut self, id: u64) -> Result<Page, BoltError> {
        let start = id.checked_mul(self.page_size as u64);
        let start = start.ok_or(BoltError::Damaged)?;
        let mut header = [0; PAGE_HEADER];
        self.fill(&mut header, start)?;
        let overflow = u32_at(&header, 12).ok_or(BoltError::Damaged)? as usize;
        let length = overflow.saturating_add(1).saturating_mul(self.page_size);
        self.visit(length)?;
        let mut page = vec![0; length];
        self.fill(&mut page, start)?;
        Ok(Page(page))
    }

    fn fill(&self, bytes: &mut [u8], start: u64) -> Result<(), BoltError> {
        let read = self.file.read_exact_at(bytes, start);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => BoltError::Damaged,
            _ => BoltError::Io(error),
        })
    }

    /// The first page of a bucket, which may be in its value.
    pub fn bucket(&mut self, value: &[u8]) -> Result<Page, BoltError> {
        match u64_at(value, 0).ok_or(BoltError::Damaged)? {
            0 => {
                let page = value.get(BUCKET..).ok_or(BoltError::Damaged)?;
                self.visit(page.len())?;
                Ok(Page(page.to_owned()))
            }
            root => self.page(root),
        }
    }

    /// The bucket with this key in the one that begins with `page`.
    pub fn bucket_in(&mut self, page: &Page, key: &[u8]) -> Result<Option<Page>, BoltError> {
        let mut found = None;
        self.find(page, key, MOST_DEPTH, &mut |tree, entry| {
            found = entry
                .is_bucket
                .then(|| tree.bucket(entry.value))
                .transpose()?;
            Ok(())
        })?;
        Ok(found)
    }

    /// The value that has this key in the bucket that begins with `page`.
    pub fn value_in(&mut self, page: &Page, key: &[u8]) -> Result<Option<Vec<u8>>, BoltError> {
        let mut found = None;
        self.find(page, key, MOST_DEPTH, &mut |tree, entry| {
            tree.visit(entry.value.len())?;
            found = (!entry.is_bucket).then(|| entry.value.to_owned());
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `take` with the entry that has this key, if there is one.
    fn find(
        &mut self,
        page: &Page,
        key: &[u8],
        depth: usize,
        take: Take<'_, 'a>,
    ) -> Result<(), BoltError> {
        let mut below = None;
        for number in 0..page.count()? {
            if page.is_branch()? {
                let (first, child) = page.branch(number)?;
                self.visit(ELEMENT + first.len())?;
                if first > key && below.is_some() {
                    break;
                }
                below = Some(child);
            } else {
                let entry = page.entry(number)?;
                self.visit(ELEMENT + entry.key.len())?;
                if entry.key == key {
                    return take(self, entry);
                }
            }
        }
        let Some(below) = below else {
            return Ok(());
        };
        let below = self.page(below)?;
        let depth = depth.checked_sub(1).ok_or(BoltError::Damaged)?;
        self.find(&below, key, depth, take)
    }

    /// Calls `take` with each entry of the bucket that begins with `page`.
    pub fn each(&mut self, page: &Page, take: Take<'_, 'a>) -> Result<(), BoltError> {
        self.each_below(page, MOST_DEPTH, take)
    }

    fn each_below(
        &mut self,
        page: &Page,
        depth: usize,
        take: Take<'_, 'a>,
    ) -> Result<(), BoltError> {
        for number in 0..page.count()? {
            if page.is_branch()? {
                let (_, child) = page.branch(number)?;
                self.visit(ELEMENT)?;
                let below = self.page(child)?;
                let depth = depth.checked_sub(1).ok_or(BoltError::Damaged)?;
                self.each_below(&below, depth, take)?;
            } else {
                let entry = page.entry(number)?;
                self.visit(ELEMENT + entry.key.len() + entry.value.len())?;
                take(self, entry)?;
            }
        }
        Ok(())
    }
}

impl Page {
    fn is_branch(&self) -> Result<bool, BoltError> {
        let flags = u16_at(&self.0, 8).ok_or(BoltError::Damaged)?;
        match (flags & BRANCH != 0, flags & LEAF != 0) {
            (true, _) => Ok(true),
            (false, true) => Ok(false),
            (false, false) => Err(BoltError::Damaged),
        }
    }

    fn count(&self) -> Result<usize, BoltError> {
        u16_at(&self.0, 10)
            .map(usize::from)
            .ok_or(BoltError::Damaged)
    }

    /// First key and page of an element of a branch.
    fn branch(&self, number: usize) -> Result<(&[u8], u64), BoltError> {
        let start = PAGE_HEADER + number * ELEMENT;
        let element = || {
            let key = start.checked_add(self.number(start)?)?;
            let end = key.checked_add(self.number(start + 4)?)?;
            Some((self.0.get(key..end)?, u64_at(&self.0, start + 8)?))
        };
        element().ok_or(BoltError::Damaged)
    }

    fn entry(&self, number: usize) -> Result<Entry<'_>, BoltError> {
        let start = PAGE_HEADER + number * ELEMENT;
        let element = || {
            let key = start.checked_add(self.number(start + 4)?)?;
            let value = key.checked_add(self.number(start + 8)?)?;
            let end = value.checked_add(self.number(start + 12)?)?;
            Some(Entry {
                key: self.0.get(key..value)?,
                value: self.0.get(value..end)?,
                is_bucket: u32_at(&self.0, start)? & IS_BUCKET != 0,
            })
        };
        element().ok_or(BoltError::Damaged)
    }

    fn number(&self, at: usize) -> Option<usize> {
        u32_at(&self.0, at).map(|number| number as usize)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::runtime) mod written;
