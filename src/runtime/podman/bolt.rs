//! The containers in the BoltDB database of Podman before 4.8, `libpod/bolt_state.db`, which
//! later releases go on using where it exists.
//!
//! A Bolt file is a tree of pages that never changes: a transaction writes its pages to free
//! places, and then one of the two meta pages, in turn, which lead to the root. So a copy is
//! whole if no transaction ended while it was made, and no lock is needed.
//!
//! ```text
//! page     id u64, flags u16, count u16, overflow u32; then `count` elements
//! branch   pos u32, key size u32, page u64
//! leaf     flags u32, pos u32, key size u32, value size u32; the key is `pos` behind the element
//! bucket   root page u64, sequence u64; with root 0, a page follows
//! ```
//!
//! The format has been the same since 2014 (`go.etcd.io/bbolt`). Numbers have the byte order of
//! the machine. A user can write anything into such a file: each page is checked as it is read,
//! and no more is read than a tree of this size has.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::runtime::bounded_file::read_up_to;
use crate::runtime::podman::database::Failure;
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

/// How often a byte is visited: a container's value is in its bucket, which is in that of all
/// containers, which may be in the root's.
const MOST_VISITS: usize = 3;

/// The bucket with a bucket for each container, and the key of its configuration.
const CONTAINERS: &[u8] = b"ctr";
const CONFIG: &[u8] = b"config";

/// Calls `take` with id and configuration of each container in the database at `path`.
pub(super) fn read(
    path: &SafePath,
    most_bytes: u64,
    mut take: impl FnMut(&str, &str),
) -> Result<(), Failure> {
    let file = path.open_file()?;
    let before = newest(&file);
    let bytes =
        read_up_to(&file, path, most_bytes).map_err(|error| Failure::Unreadable(error.reason()))?;
    let Some(meta) = before.filter(|_| newest(&file) == before) else {
        return match before.or(newest(&file)) {
            // Also an empty file, which is about to become one.
            Some(_) => Err(Failure::Busy),
            None if bytes.is_empty() => Ok(()),
            None => Err(Failure::Unreadable("it is not a Bolt database".to_owned())),
        };
    };
    let mut tree = Tree {
        bytes: &bytes,
        page_size: meta.page_size,
        left: bytes.len().saturating_mul(MOST_VISITS),
    };
    containers(&mut tree, meta.root, &mut take)
        .ok_or_else(|| Failure::Unreadable("it is damaged".to_owned()))
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

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

/// A tree of pages.
struct Tree<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// Bytes of elements, keys and values that may still be visited.
    left: usize,
}

/// An element of a leaf.
struct Entry<'a> {
    key: &'a [u8],
    value: &'a [u8],
    is_bucket: bool,
}

impl<'a> Tree<'a> {
    fn page(&self, id: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(id).ok()?.checked_mul(self.page_size)?;
        let overflow = u32_at(self.bytes, start.checked_add(12)?)? as usize;
        let length = overflow.checked_add(1)?.checked_mul(self.page_size)?;
        self.bytes.get(start..start.checked_add(length)?)
    }

    /// The first page of a bucket, which may be in its value.
    fn bucket(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        match u64_at(value, 0)? {
            0 => value.get(BUCKET..),
            root => self.page(root),
        }
    }

    /// Calls `take` with each entry below `page`; `None` if the tree is damaged.
    fn each(
        &mut self,
        page: &'a [u8],
        depth: usize,
        take: &mut dyn FnMut(&mut Tree<'a>, Entry<'a>) -> Option<()>,
    ) -> Option<()> {
        let flags = u16::from_ne_bytes(page.get(8..10)?.try_into().ok()?);
        let count = u16::from_ne_bytes(page.get(10..12)?.try_into().ok()?);
        for number in 0..usize::from(count) {
            let start = PAGE_HEADER + number * ELEMENT;
            if flags & BRANCH != 0 {
                self.left = self.left.checked_sub(ELEMENT)?;
                let below = self.page(u64_at(page, start + 8)?)?;
                self.each(below, depth.checked_sub(1)?, take)?;
            } else if flags & LEAF != 0 {
                let size = |at: usize| Some(u32_at(page, start + at)? as usize);
                let key = start.checked_add(size(4)?)?;
                let value = key.checked_add(size(8)?)?;
                let end = value.checked_add(size(12)?)?;
                self.left = self.left.checked_sub(ELEMENT + (end - key))?;
                let entry = Entry {
                    key: page.get(key..value)?,
                    value: page.get(value..end)?,
                    is_bucket: u32_at(page, start)? & IS_BUCKET != 0,
                };
                take(self, entry)?;
            } else {
                return None;
            }
        }
        Some(())
    }
}

/// Calls `take` with each container; `None` if the tree is damaged.
fn containers(tree: &mut Tree<'_>, root: u64, take: &mut dyn FnMut(&str, &str)) -> Option<()> {
    let root = tree.page(root)?;
    tree.each(root, MOST_DEPTH, &mut |tree, top| {
        if top.key != CONTAINERS || !top.is_bucket {
            return Some(());
        }
        let all = tree.bucket(top.value)?;
        tree.each(all, MOST_DEPTH, &mut |tree, container| {
            if !container.is_bucket {
                return Some(());
            }
            let of_container = tree.bucket(container.value)?;
            tree.each(of_container, MOST_DEPTH, &mut |_, entry| {
                if entry.key == CONFIG && !entry.is_bucket {
                    let texts = (
                        std::str::from_utf8(container.key),
                        std::str::from_utf8(entry.value),
                    );
                    if let (Ok(id), Ok(config)) = texts {
                        take(id, config);
                    }
                }
                Some(())
            })
        })
    })
}
