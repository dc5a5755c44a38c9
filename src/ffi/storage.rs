//! How the host stores the records of an input: whether it bounds their memory itself
//! (`Mem_Buf_Limit`, or `storage.type filesystem`), and whether it keeps them in files.
//!
//! No function of the host returns either: they are fields of the instance, at different offsets
//! in each release. The offsets can be determined without guessing: the host's own function for
//! setting a property is passed a block of memory in place of an instance, and what it has
//! written into the block shows where the field is and which value means what.
//!
//! What that function (`flb_input_set_property`) does with the two properties, read in each
//! release from 2.1.0 to 5.1.1 and in main of August 2026:
//!
//! - It reads `ins->config->env` and passes it on for the variables of the value; ours have
//!   none, so the environment is not looked at.
//! - Since 5.0 it reads `ins->p->flags` before `storage.type`. If they happen to have
//!   `FLB_INPUT_HTTP_SERVER`, it compares the name with those of that server, of which
//!   `storage.type` is none.
//! - It writes the one field, and frees its own copy of the value.
//!
//! `tests/abi` compares the function's type and the size of the instance with any source tree.

use std::ffi::CStr;

use once_cell::sync::OnceCell;

use crate::ffi::host_api::find_symbol;
use crate::ffi::sys;

/// Larger than the instance of any release, which is around 2 KB (asserted in tests/abi).
const WORDS: usize = 4 * 1024;
/// A limit that is nothing else by chance.
const LIMIT: (&CStr, usize) = (c"987654321", 987_654_321);

/// Fields of the host's instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields {
    /// Offset of the storage type, an `int`.
    storage_type: usize,
    /// The storage type that stands for files.
    filesystem: u32,
    /// Offset of `Mem_Buf_Limit`, a `size_t`.
    mem_buf_limit: usize,
}

type SetProperty = unsafe extern "C" fn(
    *mut sys::flb_input_instance,
    *const libc::c_char,
    *const libc::c_char,
) -> libc::c_int;

/// How the host stores the records of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// `storage.type filesystem`.
    pub is_filesystem: bool,
    /// `Mem_Buf_Limit`.
    pub has_limit: bool,
}

/// How the host stores the records of the input; `None` if that cannot be determined.
///
/// # Safety
///
/// `ins` is the live instance that the running callback was called with.
pub unsafe fn of(ins: *mut sys::flb_input_instance) -> Option<Storage> {
    static FIELDS: OnceCell<Option<Fields>> = OnceCell::new();
    let fields = (*FIELDS.get_or_init(find_fields))?;
    let storage_type = ins.wrapping_byte_add(fields.storage_type).cast::<u32>();
    let mem_buf_limit = ins.wrapping_byte_add(fields.mem_buf_limit).cast::<usize>();
    // SAFETY: the host has written an `int` to this offset of what stood for an instance.
    let storage_type = unsafe { storage_type.read() };
    // SAFETY: as above, a `size_t`.
    let mem_buf_limit = unsafe { mem_buf_limit.read() };
    Some(Storage {
        is_filesystem: storage_type == fields.filesystem,
        has_limit: mem_buf_limit > 0,
    })
}

fn find_fields() -> Option<Fields> {
    let set_property = find_symbol(c"flb_input_set_property")?;
    // SAFETY: every release since 2.1 has this function with this signature
    // (include/fluent-bit/flb_input.h, compared in tests/abi), and the address is not NULL.
    let set_property =
        unsafe { std::mem::transmute::<*mut libc::c_void, SetProperty>(set_property) };
    probe(set_property)
}

fn probe(set_property: SetProperty) -> Option<Fields> {
    let mut block = Block::new();
    let (storage_type, filesystem) =
        block.change_of(set_property, c"storage.type", c"filesystem")?;
    let (same, memory) = block.change_of(set_property, c"storage.type", c"memory")?;
    let (mem_buf_limit, limit) = block.change_of(set_property, c"mem_buf_limit", LIMIT.0)?;
    let is_sure = same == storage_type
        && memory != filesystem
        && limit as usize == LIMIT.1
        && mem_buf_limit.is_multiple_of(size_of::<usize>());
    is_sure.then_some(Fields {
        storage_type,
        filesystem,
        mem_buf_limit,
    })
}

/// The stand-in for an instance. Every word of it, and of what it points to, is a valid pointer,
/// so that the host may follow any of them: it looks up variables of its environment.
struct Block {
    words: Vec<usize>,
    /// Points to itself.
    _leaf: Vec<usize>,
    blank: Vec<usize>,
}

impl Block {
    fn new() -> Block {
        let mut leaf = vec![0; WORDS];
        let address = leaf.as_mut_ptr().expose_provenance();
        leaf.fill(address);
        Block {
            words: vec![address; WORDS],
            blank: vec![address; WORDS],
            _leaf: leaf,
        }
    }

    /// Offset and value of what the host sets for a property; `None` unless that is one field.
    fn change_of(
        &mut self,
        set_property: SetProperty,
        name: &CStr,
        value: &CStr,
    ) -> Option<(usize, u32)> {
        self.words.copy_from_slice(&self.blank);
        let instance = self.words.as_mut_ptr().cast();
        // SAFETY: the block is larger than an instance and writable. What the host reads of it
        // (see the module's documentation), and what that leads to, are valid pointers to memory
        // that lives as long as the block.
        let status = unsafe { set_property(instance, name.as_ptr(), value.as_ptr()) };
        let mut changes = (0..WORDS).filter(|word| self.words[*word] != self.blank[*word]);
        let word = changes.next().filter(|_| status == 0)?;
        if changes.next().is_some() {
            return None;
        }
        let (new, old) = (self.words[word], self.blank[word]);
        let halves = |word: usize| [word as u32, (word >> 32) as u32];
        let (new, old) = (halves(new), halves(old));
        // The high half of a small `size_t` changes as well.
        let half = usize::from(new[0] == old[0]);
        Some((word * size_of::<usize>() + half * 4, new[half]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of the host that is played.
    const TYPE: usize = 1_012;
    const MEMORY: usize = 1_136;

    /// Sets a property as the host does, after a look at `ins->config->env`.
    unsafe extern "C" fn set_property(
        ins: *mut sys::flb_input_instance,
        name: *const libc::c_char,
        value: *const libc::c_char,
    ) -> libc::c_int {
        // SAFETY: all words of an instance are pointers.
        let config = unsafe { ins.cast::<usize>().read() };
        let config = std::ptr::with_exposed_provenance::<usize>(config);
        // SAFETY: as above.
        let _env = unsafe { config.wrapping_add(1).read() };
        // SAFETY: the plugin passes texts.
        let name = unsafe { CStr::from_ptr(name) };
        // SAFETY: as above.
        let value = unsafe { CStr::from_ptr(value) };
        match (name.to_bytes(), value.to_bytes()) {
            (b"storage.type", kind) => {
                let kind = u32::from(kind == b"memory");
                // SAFETY: inside the instance.
                unsafe {
                    ins.cast::<u8>()
                        .wrapping_add(TYPE)
                        .cast::<u32>()
                        .write(kind)
                };
            }
            (b"mem_buf_limit", limit) => {
                let limit = std::str::from_utf8(limit).unwrap().parse().unwrap();
                // SAFETY: inside the instance.
                unsafe {
                    ins.cast::<u8>()
                        .wrapping_add(MEMORY)
                        .cast::<usize>()
                        .write(limit)
                };
            }
            _ => return -1,
        }
        0
    }

    /// A host that knows none of the properties, as one that gives them another name.
    unsafe extern "C" fn set_nothing(
        _: *mut sys::flb_input_instance,
        _: *const libc::c_char,
        _: *const libc::c_char,
    ) -> libc::c_int {
        0
    }

    #[test]
    fn miri_what_the_host_writes_shows_where_the_fields_are() {
        let fields = Fields {
            storage_type: TYPE,
            filesystem: 0,
            mem_buf_limit: MEMORY,
        };
        assert_eq!(probe(set_property), Some(fields));
    }

    #[test]
    fn miri_a_host_that_sets_nothing_tells_nothing() {
        assert_eq!(probe(set_nothing), None);
        assert_eq!(find_fields(), None, "this process is no host");
    }
}
