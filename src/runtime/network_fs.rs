//! File systems that another machine, or a kernel underneath this one, may write to: this
//! kernel sends no notification for such changes.

use std::fs::File;
use std::path::Path;

use rustix::fs::{fstatfs, statfs, FsWord};

/// By their `statfs(2)` magic number, from linux/magic.h or, where it has none, from the file
/// system's own source.
const NETWORK_FILE_SYSTEMS: [(i128, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x786f_4256, "VirtualBox"),
];

/// The name of the network file system that contains `path`; `None` if it is on a local one or
/// cannot be checked.
pub fn network_file_system(path: &Path) -> Option<&'static str> {
    name_of(statfs(path).ok()?.f_type)
}

/// Whether an open file is on a network file system.
pub fn is_on_network(file: &File) -> bool {
    fstatfs(file).is_ok_and(|answer| name_of(answer.f_type).is_some())
}

fn name_of(kind: FsWord) -> Option<&'static str> {
    // `f_type` has the machine's word size and is signed on some architectures.
    let kind = i128::from(kind) & 0xffff_ffff;
    NETWORK_FILE_SYSTEMS
        .iter()
        .find(|(number, _)| *number == kind)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_folder_is_on_no_network() {
        assert_eq!(
            network_file_system(tempfile::tempdir().unwrap().path()),
            None
        );
        assert!(!is_on_network(&tempfile::tempfile().unwrap()));
    }

    #[test]
    fn a_number_that_is_negative_as_a_word_is_known() {
        assert_eq!(name_of(0xff53_4d42_u32 as i32 as FsWord), Some("CIFS"));
    }
}
