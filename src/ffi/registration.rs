//! Counts the host's copies of our descriptor and reads the instance's tag; no function of the host
//! returns either.
//!
//! The host copies the descriptor each time a file of the plugin is named, by `-e` or in
//! `Plugins_File`, and puts the copy into a list. For each input section it then creates one
//! instance per copy of that name, and gives the options of the section to the last one: all
//! others run with the defaults.
//!
//! The structures differ between releases, so nothing here knows an offset. An instance points
//! to its copy, which is recognised by the descriptor's own bytes; what the copy has in
//! addition is its place in the list. All memory is read through `/proc/self/mem`, where an
//! address that is none is an error and not a crash.

use std::fs::File;
use std::mem::size_of;
use std::os::unix::fs::FileExt;

/// Words of the part of the descriptor that is the same in every release.
pub const HEAD_WORDS: usize = 9;
/// The word of it that points to the plugin's name.
const NAME_WORD: usize = 3;
/// More words than the descriptor of any release has.
const MOST_WORDS: usize = 128;
/// More plugins than any host has.
const MOST_PLUGINS: usize = 10_000;
/// Longest tag that is read, in bytes.
const LONGEST_TAG: usize = 256;
const WORD: usize = size_of::<usize>();

/// The memory of this process.
struct Memory(File);

impl Memory {
    fn open() -> Option<Memory> {
        File::open("/proc/self/mem").ok().map(Memory)
    }

    fn bytes<const N: usize>(&self, address: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact_at(&mut bytes, address as u64).ok()?;
        Some(bytes)
    }

    fn word(&self, address: usize) -> Option<usize> {
        self.bytes(address).map(usize::from_ne_bytes)
    }

    fn words(&self, address: usize, count: usize) -> Option<Vec<usize>> {
        (0..count)
            .map(|index| self.word(address.checked_add(index * WORD)?))
            .collect()
    }

    /// Whether the text at `address` is `text`, with its NUL.
    fn has_text(&self, address: usize, text: &[u8]) -> bool {
        let mut found = vec![0; text.len()];
        self.0.read_exact_at(&mut found, address as u64).is_ok() && found == text
    }
}

/// The host's copy of the descriptor that an instance was created from.
pub struct Registration {
    memory: Memory,
    /// Address of the copy.
    copy: usize,
    /// Address of the word in the instance that points to it.
    pointer: usize,
    name: Vec<u8>,
}

impl Registration {
    /// Finds the copy that the instance at `instance` points to in its first `length` bytes.
    /// `descriptor` is the address of our own, and `name` the text of its name with its NUL.
    /// `None` if that memory cannot be read, or the instance has no such pointer.
    pub fn find(
        instance: usize,
        length: usize,
        descriptor: usize,
        name: &[u8],
    ) -> Option<Registration> {
        let memory = Memory::open()?;
        let head = memory.words(descriptor, HEAD_WORDS)?;
        let is_copy = |address: usize| {
            let is_elsewhere = address != descriptor && address.is_multiple_of(WORD);
            is_elsewhere && memory.words(address, HEAD_WORDS).as_ref() == Some(&head)
        };
        let (pointer, copy) = (0..length / WORD).find_map(|index| {
            let pointer = instance + index * WORD;
            let address = memory.word(pointer)?;
            is_copy(address).then_some((pointer, address))
        })?;
        Some(Registration {
            memory,
            copy,
            pointer,
            name: name.to_owned(),
        })
    }

    /// Address of the copy: what all instances of the plugin point to.
    pub fn copy(&self) -> usize {
        self.copy
    }

    /// How many plugins of our name are registered in the configuration; `None` if the list
    /// cannot be followed.
    pub fn count(&self) -> Option<usize> {
        let offset = self.link_offset()?;
        let start = self.copy + offset;
        let (mut node, mut count) = (start, 0);
        for _ in 0..MOST_PLUGINS {
            let plugin = node.checked_sub(offset)?;
            // The head of the list is no plugin; there is any word in its place.
            let name = self.memory.word(plugin.checked_add(NAME_WORD * WORD)?);
            count += usize::from(name.is_some_and(|name| self.memory.has_text(name, &self.name)));
            node = self.next(node)?;
            if node == start {
                return Some(count);
            }
        }
        None
    }

    /// Offset of the list node in the copy: the words that its two neighbours point back to.
    fn link_offset(&self) -> Option<usize> {
        (HEAD_WORDS..MOST_WORDS)
            .map(|index| index * WORD)
            .find(|offset| {
                let node = self.copy + offset;
                let is_linked = || {
                    let (before, after) = (self.memory.word(node)?, self.next(node)?);
                    Some(
                        before != node
                            && self.next(before)? == node
                            && self.memory.word(after)? == node,
                    )
                };
                is_linked() == Some(true)
            })
    }

    /// The node after `node`, whose first word points to the one before it.
    fn next(&self, node: usize) -> Option<usize> {
        self.memory.word(node.checked_add(WORD)?)
    }

    /// The instance's tag, which every release keeps right behind the pointer to the copy;
    /// `None` if it is not printable.
    pub fn tag(&self) -> Option<String> {
        let address = self.memory.word(self.pointer + WORD)?;
        let mut tag = String::new();
        for index in 0..LONGEST_TAG {
            let [byte] = self.memory.bytes(address.checked_add(index)?)?;
            match byte {
                0 => return (!tag.is_empty()).then_some(tag),
                b' '..=b'~' => tag.push(byte.into()),
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"container_logs\0";
    /// Words of the descriptor that is played: the head, three callbacks, the node.
    const NODE: usize = HEAD_WORDS + 3;
    const WORDS: usize = NODE + 2;

    /// Plugins of these names in a list with its head, as the host keeps them; the first word of
    /// the result is that head's.
    fn registered(names: &[&'static [u8]], descriptor: &[usize]) -> Vec<Vec<usize>> {
        let mut blocks = vec![vec![7; WORDS]];
        for name in names {
            let mut block = descriptor.to_vec();
            block[NAME_WORD] = name.as_ptr().addr();
            blocks.push(block);
        }
        let nodes: Vec<usize> = blocks
            .iter()
            .map(|block| block.as_ptr().addr() + NODE * WORD)
            .collect();
        for (index, block) in blocks.iter_mut().enumerate() {
            block[NODE] = nodes[(index + nodes.len() - 1) % nodes.len()];
            block[NODE + 1] = nodes[(index + 1) % nodes.len()];
        }
        blocks
    }

    fn descriptor() -> Vec<usize> {
        let mut descriptor: Vec<usize> = (0..WORDS).map(|word| word * 1_000).collect();
        descriptor[NAME_WORD] = NAME.as_ptr().addr();
        descriptor
    }

    fn find(instance: &[usize], descriptor: &[usize]) -> Option<Registration> {
        Registration::find(
            instance.as_ptr().addr(),
            instance.len() * WORD,
            descriptor.as_ptr().addr(),
            NAME,
        )
    }

    #[test]
    fn every_registration_of_our_name_is_counted() {
        let descriptor = descriptor();
        let other = b"cpu\0";
        // The name of another file of the plugin is at another address.
        let copied: &'static [u8] = Box::leak(NAME.to_vec().into_boxed_slice());
        for (names, count) in [
            (&[NAME][..], 1),
            (&[other, NAME, other], 1),
            (&[NAME, other, NAME], 2),
            (&[copied, NAME], 2),
            (&[NAME, NAME, NAME], 3),
        ] {
            let plugins = registered(names, &descriptor);
            let ours = names.iter().position(|name| name.as_ptr() == NAME.as_ptr());
            let copy = plugins[1 + ours.unwrap()].as_ptr().addr();
            let tag = c"docker.*";
            let instance = [1, 0, usize::MAX - 7, 8, copy, tag.as_ptr().addr()];
            let found = find(&instance, &descriptor).unwrap();
            assert_eq!(found.count(), Some(count), "{names:?}");
            assert_eq!(found.tag().as_deref(), Some("docker.*"));
        }
    }

    #[test]
    fn an_instance_of_another_layout_tells_nothing() {
        let descriptor = descriptor();
        assert!(find(&[0, 8, usize::MAX - 7, 4_096, 1], &descriptor).is_none());
        // A copy that is in no list, and an address that is no tag.
        let mut copy = descriptor.clone();
        copy[0] = 0;
        let instance = [copy.as_ptr().addr(), 16];
        let found = find(&instance, &descriptor).unwrap();
        assert_eq!((found.count(), found.tag()), (None, None));
    }
}
