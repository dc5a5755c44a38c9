//! The reasons why a container that should be read is not.

use std::io;

use crate::runtime::file::is_shortage;

/// The reason, as shown in the metric's label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// No permission to read the log.
    Permission,
    /// The container runs but has no log, or its API does not know it.
    Missing,
    /// The process or machine is out of file descriptors or memory.
    NoDescriptors,
    /// Another error while reading the log.
    IoError,
    /// The log is available only through the API, which does not answer or may not be used.
    ApiUnavailable,
    /// The metadata cannot be read, so the location of the log is unknown.
    Metadata,
    /// The log driver stores nothing (`none`).
    DriverNone,
    /// The API cannot read what the log driver writes.
    DriverUnreadable,
    /// The log contains the container's own records, as Fluent Bit prints them.
    OwnOutput,
    /// It is written in two folders at once, of which one is read.
    Copy,
}

impl Unread {
    /// All variants, in the order of their series.
    pub const ALL: [Unread; 10] = [
        Unread::Permission,
        Unread::Missing,
        Unread::NoDescriptors,
        Unread::IoError,
        Unread::ApiUnavailable,
        Unread::Metadata,
        Unread::DriverNone,
        Unread::DriverUnreadable,
        Unread::OwnOutput,
        Unread::Copy,
    ];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Unread::Permission => "permission",
            Unread::Missing => "missing",
            Unread::NoDescriptors => "no_descriptors",
            Unread::IoError => "io_error",
            Unread::ApiUnavailable => "api_unavailable",
            Unread::Metadata => "metadata",
            Unread::DriverNone => "driver_none",
            Unread::DriverUnreadable => "driver_unreadable",
            Unread::OwnOutput => "own_output",
            Unread::Copy => "copy",
        }
    }

    /// Classifies an error from reading a log.
    pub fn of_error(error: &io::Error) -> Unread {
        match error.kind() {
            _ if is_shortage(error) => Unread::NoDescriptors,
            io::ErrorKind::PermissionDenied => Unread::Permission,
            io::ErrorKind::NotFound => Unread::Missing,
            _ => Unread::IoError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn an_error_has_the_reason_that_an_operator_can_mend() {
        for (errno, reason) in [
            (Errno::ACCESS, "permission"),
            (Errno::PERM, "permission"),
            (Errno::NOENT, "missing"),
            (Errno::MFILE, "no_descriptors"),
            (Errno::NFILE, "no_descriptors"),
            (Errno::NOMEM, "no_descriptors"),
            (Errno::IO, "io_error"),
            (Errno::STALE, "io_error"),
            (Errno::LOOP, "io_error"),
        ] {
            assert_eq!(Unread::of_error(&errno.into()).as_str(), reason, "{errno}");
        }
    }

    #[test]
    fn each_reason_has_its_own_place_and_name() {
        let names: std::collections::HashSet<&str> =
            Unread::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Unread::ALL.len());
        for (index, reason) in Unread::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
