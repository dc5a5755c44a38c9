//! The log drivers of Docker and Podman, and where each keeps a log.

/// The driver assumed when the type is empty, as it may be in containers created before Docker
/// 1.12.
pub const JSON_FILE_DRIVER: &str = "json-file";
/// Podman's name for the driver that writes files.
pub const PODMANS_FILE_DRIVER: &str = "k8s-file";
/// The driver that writes to the journal: no file, and no cache either.
pub const JOURNALD_DRIVER: &str = "journald";

/// Docker's own drivers that send logs elsewhere.
const SENDING_DRIVERS: [&str; 8] = [
    "awslogs",
    "etwlogs",
    "fluentd",
    "gcplogs",
    "gelf",
    "logentries",
    "splunk",
    "syslog",
];

/// The program that writes what a container logs to systemd's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalWriter {
    /// Docker's daemon, or one derived from it.
    Dockerd,
    /// Podman's monitor, one per container.
    Conmon,
}

/// A container's log driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDriver {
    /// `json-file`, `local`, `journald`, `syslog` …
    pub name: String,
    /// Whether log-opt `cache-disabled` turns off Docker's local cache for drivers that cannot
    /// be read back.
    pub has_cache_disabled: bool,
}

impl LogDriver {
    /// Whether the driver stores logs nowhere.
    pub fn keeps_nothing(&self) -> bool {
        // `passthrough` writes to the standard streams with which Podman was started.
        self.name == "none" || self.name.starts_with("passthrough")
    }

    /// Whether it writes a file of its own as soon as there is a line.
    pub fn has_own_file(&self) -> bool {
        [JSON_FILE_DRIVER, "local", PODMANS_FILE_DRIVER].contains(&self.name.as_str())
    }

    /// Whether it is one of Docker's own drivers that send logs elsewhere. All that can be read of
    /// them is Docker's cache, which there is since 20.10.
    pub fn sends(&self) -> bool {
        SENDING_DRIVERS.contains(&self.name.as_str())
    }

    /// Whether Docker may keep a cache of its log.
    pub fn may_have_cache(&self) -> bool {
        let is_elsewhere = self.has_own_file() || self.name == JOURNALD_DRIVER;
        !is_elsewhere && !self.keeps_nothing() && !self.has_cache_disabled
    }

    /// Whether Docker is certain to write a file once the container has started: the driver's own
    /// or the cache. A plugin may keep the log itself, and then there is no cache.
    pub fn writes_file(&self) -> bool {
        match self.name.as_str() {
            JSON_FILE_DRIVER | "local" => true,
            _ => self.sends() && !self.has_cache_disabled,
        }
    }
}
