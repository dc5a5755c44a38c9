//! The log driver of one container, as far as it is known: read again when the file that names it
//! changes.

use crate::delivery::link::Link;
use crate::runtime::file::nanos_of;
use crate::runtime::log_driver::LogDriver;
use crate::runtime::metadata::MetadataError;
use crate::runtime::{Found, Runtime};
use crate::source::metadata_trouble::MetadataTrouble;
use crate::telemetry::account::Account;
use crate::telemetry::event::Event;

/// Inode, and the time of the last change.
type Version = (u64, u64);

/// What is known of a log driver.
#[derive(Debug)]
pub struct KnownDriver {
    /// The driver, if known.
    pub driver: Option<LogDriver>,
    /// The state of the file that named it.
    file: Option<Version>,
    /// It cannot be read.
    pub trouble: MetadataTrouble,
}

impl KnownDriver {
    /// Nothing is known.
    pub fn new() -> KnownDriver {
        KnownDriver {
            driver: None,
            file: None,
            trouble: MetadataTrouble::new(),
        }
    }

    /// Reads the driver if the file that names it changed. Returns whether it is another one.
    pub fn load(
        &mut self,
        runtime: &dyn Runtime,
        found: &Found,
        account: &Account,
        link: &Link,
    ) -> bool {
        let stat = runtime.driver_file(found).and_then(|file| file.stat().ok());
        let file = stat.map(|stat| (stat.stx_ino, nanos_of(stat.stx_ctime)));
        if self.driver.is_some() && file == self.file && !self.trouble.is_there() {
            return false;
        }
        match runtime.log_driver(found) {
            Ok(driver) => {
                self.trouble.end();
                let Some(driver) = driver else {
                    return false;
                };
                self.file = file;
                self.driver.replace(driver) != self.driver
            }
            Err(MetadataError::Unreadable { path, reason }) => {
                let (name, short_id) = account.names();
                let event = Event::DriverUnknown {
                    name,
                    short_id,
                    path: path.clone(),
                    reason,
                };
                let path = found.dir.at(path);
                self.trouble.begin(path, link, || link.report(event));
                false
            }
            Err(MetadataError::Missing { .. } | MetadataError::Busy { .. }) => false,
        }
    }
}
