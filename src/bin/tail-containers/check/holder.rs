//! The process that holds the lock on a DB.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fluent_bit_container_logs::runtime::bounded_file::{read_text, FileKind};
use rustix::fs::{major, minor};

/// A process.
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

impl Holder {
    /// The process that has a lock on the file at `path`; `None` if it is in another pid namespace,
    /// or if the kernel shows another device than the file system.
    pub fn of(path: &Path) -> Option<Holder> {
        let file = fs::metadata(path).ok()?;
        let (device, inode) = (file.dev(), file.ino());
        let id = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
        let locks = read_text(Path::new("/proc/locks"), FileKind::Proc).ok()?;
        let pid = locks.lines().find_map(|line| pid_of(line, &id))?;
        let name = read_text(Path::new(&format!("/proc/{pid}/comm")), FileKind::Proc).ok()?;
        Some(Holder {
            pid,
            name: name.trim().to_owned(),
        })
    }

    /// Whether it is a Fluent Bit.
    pub fn is_fluent_bit(&self) -> bool {
        self.name.starts_with("fluent-bit") || self.name.starts_with("flb-")
    }
}

/// `1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF`
fn pid_of(line: &str, id: &str) -> Option<u32> {
    let mut words = line.split_whitespace().skip(4);
    let pid = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
    (words.next() == Some(id)).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_found_by_the_file_that_it_locks() {
        let line = "3: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF";
        assert_eq!(pid_of(line, "fd:01:5678"), Some(1234));
        assert_eq!(pid_of(line, "fd:01:567"), None);
        assert_eq!(pid_of("3: -> FLOCK  ADVISORY", "fd:01:5678"), None);
        assert_eq!(pid_of("", ""), None);
        let of = |name: &str| Holder {
            pid: 1,
            name: name.into(),
        };
        assert!(of("fluent-bit").is_fluent_bit() && !of("tail-containers").is_fluent_bit());
    }
}
