//! The values of an option that may be given more than once.
//!
//! The host's function for values returns only the first one, and the list that it searches is
//! a field of the instance, at a different offset in each release. That offset can be
//! determined without guessing: [`list_offset`] passes the same function a block of memory in
//! place of an instance. Wherever in the block the host expects the list's head, it finds a
//! list of one property, whose value identifies that offset. The result also proves the
//! assumed layout of list and property, since the host found the value through it.
//!
//! If this fails, repeatable options are not announced as such, and the host itself refuses a
//! second value.

use std::ffi::CStr;

use once_cell::sync::OnceCell;

use crate::ffi::host_api::find_symbol;
use crate::ffi::sys;

/// Larger than the instance of any release, which is around 2 KB.
const BLOCK_BYTES: usize = 32 * 1024;
const WORDS: usize = BLOCK_BYTES / 8;
const KEY: &CStr = c"container_logs_probe";
/// Words of a property and of padding around it. Every word in it points to a valid text, so
/// that a host that reads another word than assumed finds no match.
const PROPERTY_WORDS: usize = 16;
/// Index of the list node; key and value precede it.
const NODE_WORD: usize = 8;
/// Words of a text: its length, its capacity, and up to 24 bytes.
const TEXT_WORDS: usize = 5;
/// Bytes before the text itself.
const TEXT_HEAD: usize = 16;
/// More properties than any configuration section has.
const MOST_PROPERTIES: usize = 10_000;

/// The offset of the property list in the host's instance, or `None` if it cannot be
/// determined.
pub fn list_offset() -> Option<usize> {
    static OFFSET: OnceCell<Option<usize>> = OnceCell::new();
    *OFFSET.get_or_init(probe)
}

fn probe() -> Option<usize> {
    let get_property = find_symbol(c"flb_input_get_property")?;
    // SAFETY: every release since 2.1 exports this function with the signature that the header
    // gives.
    let get_property = unsafe {
        std::mem::transmute::<*mut libc::c_void, sys::clogs_get_property_fn>(get_property)
    }?;
    let block = Block::new();
    // SAFETY: the function reads a list head somewhere in the block, the one property that
    // each possible head leads to, and nothing else.
    let value = unsafe { get_property(KEY.as_ptr(), block.instance()) };
    block.offset_of(value)
}

/// The stand-in for an instance, and what its words point to.
struct Block {
    /// Each word points to the node of its own property.
    words: Vec<*const u8>,
    properties: Vec<[*const u8; PROPERTY_WORDS]>,
    /// The key, followed by the value of each property.
    texts: Vec<[usize; TEXT_WORDS]>,
}

impl Block {
    fn new() -> Block {
        let mut block = Block {
            words: vec![std::ptr::null(); WORDS],
            properties: vec![[std::ptr::null(); PROPERTY_WORDS]; WORDS],
            texts: vec![[0; TEXT_WORDS]; WORDS + 1],
        };
        let key = KEY.to_bytes_with_nul();
        block.texts[0][0] = key.len() - 1;
        block.texts[0][1] = key.len() - 1;
        for (word, bytes) in block.texts[0][2..].iter_mut().zip(key.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = usize::from_ne_bytes(padded);
        }
        let texts = block.texts.as_ptr().cast::<u8>();
        let words = block.words.as_ptr().cast::<u8>();
        let properties = block.properties.as_ptr();
        let key_text = texts.wrapping_add(TEXT_HEAD);
        for (word, property) in block.properties.iter_mut().enumerate() {
            property.fill(texts.wrapping_add((word + 1) * TEXT_WORDS * 8 + TEXT_HEAD));
            property[NODE_WORD - 2] = key_text;
            // The list ends here: its head begins one word before the word that leads to this
            // property.
            let head = words.wrapping_add(8 * word).wrapping_sub(8);
            property[NODE_WORD] = head;
            property[NODE_WORD + 1] = head;
        }
        for (word, leads_to) in block.words.iter_mut().enumerate() {
            *leads_to = properties
                .wrapping_add(word)
                .cast::<u8>()
                .wrapping_add(8 * NODE_WORD);
        }
        block
    }

    fn instance(&self) -> *mut sys::flb_input_instance {
        self.words.as_ptr().cast_mut().cast()
    }

    /// Offset of the head that led to the property with this value.
    fn offset_of(&self, value: *const libc::c_char) -> Option<usize> {
        let first = self.texts.as_ptr() as usize + TEXT_HEAD;
        let distance = (value as usize).checked_sub(first)?;
        let text = TEXT_WORDS * 8;
        // The first text is the key, and a head begins one word before the word that leads on.
        let word = (distance / text).checked_sub(2)?;
        (distance.is_multiple_of(text) && word < WORDS - 1).then_some(word * 8)
    }
}

/// The values of all properties called `name`, in configuration order, as pointers to the
/// host's texts.
///
/// # Safety
///
/// `ins` is the live instance that the running callback was called with, and `offset` came
/// from [`list_offset`].
pub unsafe fn values(
    ins: *mut sys::flb_input_instance,
    offset: usize,
    name: &CStr,
) -> Vec<*const libc::c_char> {
    // SAFETY: the host keeps its list at this offset in every instance.
    let head = unsafe { ins.byte_add(offset) }.cast::<sys::clogs_list_node>();
    let mut values = Vec::new();
    let mut node = head;
    for _ in 0..MOST_PROPERTIES {
        // SAFETY: the host's lists are circular, and nobody changes this one while the
        // callback runs.
        node = unsafe { (*node).next };
        if node == head || node.is_null() {
            break;
        }
        let offset = std::mem::offset_of!(sys::clogs_property, node);
        // SAFETY: every node but the head is that of a property; the probe has proven the
        // layout.
        let property = unsafe { node.byte_sub(offset) }.cast::<sys::clogs_property>();
        // SAFETY: as above.
        let property = unsafe { property.read() };
        if property.key.is_null() || property.value.is_null() {
            continue;
        }
        // SAFETY: the host's texts are NUL-terminated.
        let key = unsafe { CStr::from_ptr(property.key) };
        if key.to_bytes().eq_ignore_ascii_case(name.to_bytes()) {
            values.push(property.value.cast_const());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks the key up as the host does, with the list at `offset` in the instance and the
    /// key `key_at` words before a node; the value is right after the key.
    fn look_up(
        ins: *mut sys::flb_input_instance,
        offset: usize,
        key_at: usize,
    ) -> *const libc::c_char {
        let head = ins.cast::<sys::clogs_list_node>().wrapping_byte_add(offset);
        let mut node = head;
        loop {
            // SAFETY: heads and nodes lie in the block.
            node = unsafe { (*node).next };
            if node == head {
                return std::ptr::null();
            }
            let words = node.cast::<*const libc::c_char>().wrapping_sub(key_at);
            // SAFETY: there are as many words before a node.
            let key = unsafe { words.read() };
            // SAFETY: every word around a node is a text.
            let key = unsafe { CStr::from_ptr(key) };
            if key == KEY {
                // SAFETY: as above.
                return unsafe { words.wrapping_add(1).read() };
            }
        }
    }

    #[test]
    fn miri_the_value_that_is_found_tells_where_the_list_was_looked_for() {
        let block = Block::new();
        for offset in [0, 8, 512, 1016, BLOCK_BYTES - 16] {
            assert_eq!(
                block.offset_of(look_up(block.instance(), offset, 2)),
                Some(offset)
            );
        }
    }

    #[test]
    fn miri_a_host_with_another_layout_finds_nothing() {
        let block = Block::new();
        for key_at in [1, 3, 5] {
            assert_eq!(
                block.offset_of(look_up(block.instance(), 512, key_at)),
                None
            );
        }
    }

    #[test]
    fn miri_all_values_of_a_list_are_given_in_order() {
        let texts = [
            (c"include", c"a"),
            (c"tag", c"x"),
            (c"INCLUDE", c"b"),
            (c"includes", c"y"),
        ];
        let mut properties: Vec<sys::clogs_property> = texts
            .iter()
            .map(|(key, value)| sys::clogs_property {
                key: key.as_ptr().cast_mut(),
                value: value.as_ptr().cast_mut(),
                node: sys::clogs_list_node {
                    prev: std::ptr::null_mut(),
                    next: std::ptr::null_mut(),
                },
            })
            .collect();
        let mut instance = [sys::clogs_list_node {
            prev: std::ptr::null_mut(),
            next: std::ptr::null_mut(),
        }; 2];
        let base = instance.as_mut_ptr();
        let first = properties.as_mut_ptr();
        let mut before = base.wrapping_add(1);
        let head = before;
        for index in 0..texts.len() {
            // SAFETY: inside the vector.
            let node = unsafe { &raw mut (*first.wrapping_add(index)).node };
            // SAFETY: the head or a node of the vector.
            unsafe { (*before).next = node };
            before = node;
        }
        // SAFETY: the last node.
        unsafe { (*before).next = head };
        let offset = std::mem::size_of::<sys::clogs_list_node>();
        // SAFETY: a list of properties is at this offset.
        let found = unsafe { values(base.cast(), offset, c"Include") };
        assert_eq!(found, [texts[0].1.as_ptr(), texts[2].1.as_ptr()]);
    }

    #[test]
    fn miri_no_value_and_a_foreign_one_tell_nothing() {
        let block = Block::new();
        let foreign = c"x";
        assert_eq!(block.offset_of(std::ptr::null()), None);
        assert_eq!(block.offset_of(foreign.as_ptr()), None);
        assert_eq!(list_offset(), None, "this process is no host");
    }
}
