//! [`Host`] on top of the functions that Fluent Bit exports. Reads no field of the host's
//! structures.

use std::ffi::CString;

use crate::delivery::host::{AppendRefused, Host, NoParser, Parsed};
use crate::ffi::cmetrics::Cmetrics;
use crate::ffi::host_api::{log_print, HostApi};
use crate::ffi::{parsers, storage, sys};
use crate::telemetry::event::Level;
use crate::telemetry::metrics::Reading;
use crate::telemetry::plain_text::one_line;

/// Fluent Bit, as seen by one instance during one callback on the host's thread.
pub struct FlbHost<'a> {
    api: &'static HostApi,
    ins: *mut sys::flb_input_instance,
    name: &'a str,
    metrics: Option<&'a Cmetrics>,
    config: *mut sys::flb_config,
    /// What the host's instances of this plugin point to; NULL if it is not known.
    registered: *mut libc::c_void,
}

impl<'a> FlbHost<'a> {
    /// `ins` must be the live instance of the running callback: the one passed to it, or the
    /// one stored with its context. The value must not outlive the callback.
    pub fn new(
        api: &'static HostApi,
        ins: *mut sys::flb_input_instance,
        name: &'a str,
    ) -> FlbHost<'a> {
        FlbHost {
            api,
            ins,
            name,
            metrics: None,
            config: std::ptr::null_mut(),
            registered: std::ptr::null_mut(),
        }
    }

    /// Adds the instance's metrics.
    pub fn with_metrics(self, metrics: &'a Cmetrics) -> FlbHost<'a> {
        FlbHost {
            metrics: Some(metrics),
            ..self
        }
    }

    /// Adds the configuration, for parsers and flushes: `config` must be what the host passed to
    /// the running `cb_collect`. `registered` is the address of the host's copy of our
    /// descriptor ([`Registration::copy`]), 0 if it is not known.
    ///
    /// [`Registration::copy`]: crate::ffi::registration::Registration::copy
    pub fn with_config(self, config: *mut sys::flb_config, registered: usize) -> FlbHost<'a> {
        FlbHost {
            config,
            registered: std::ptr::without_provenance_mut(registered),
            ..self
        }
    }
}

impl Host for FlbHost<'_> {
    fn append(&self, tag: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused> {
        let (tag, tag_bytes) = tag.map_or((std::ptr::null(), 0), |tag| {
            (tag.as_ptr().cast(), tag.len())
        });
        let status =
            // SAFETY: `ins` is live (see `new`), tag and bytes are valid for the lengths
            // passed with them, and the host copies both.
            unsafe { (self.api.append)(self.ins, records, tag, tag_bytes, bytes.as_ptr().cast(), bytes.len()) };
        if status == 0 {
            Ok(())
        } else {
            Err(AppendRefused)
        }
    }

    fn holds(&self) -> Option<usize> {
        let total_size = self.api.total_size?;
        // SAFETY: `ins` is live (see `new`), and this is its thread.
        Some(unsafe { total_size(self.ins) })
    }

    fn keeps_in_files(&self) -> bool {
        // SAFETY: `ins` is live (see `new`).
        unsafe { storage::of(self.ins) }.is_some_and(|it| it.is_filesystem)
    }

    fn flush(&self) {
        if let Some(engine_flush) = self.api.engine_flush.filter(|_| !self.config.is_null()) {
            // SAFETY: the same function in every release from 2.1.0 to 5.1.1, and in main of
            // August 2026: it calls `flb_engine_dispatch` for each input whose plugin is the
            // second argument, which it only compares, or for all if that is NULL. The host's
            // event loop calls it at each `Flush`, and it called the callback that is running
            // with `config`. Nothing of ours is locked meanwhile (see `Plugin::drain`).
            unsafe { engine_flush(self.config, self.registered) };
        }
    }

    fn log(&self, level: Level, message: &str) {
        // SAFETY: `ins` is live (see `new`).
        let is_wanted = unsafe { (self.api.log_check)(self.ins, level_number(level)) } != 0;
        if is_wanted {
            print(
                level,
                &format!("[input:container_logs:{}] {message}", self.name),
            );
        }
    }

    fn parse(&self, parser: &str, text: &[u8]) -> Result<Option<Parsed>, NoParser> {
        let api = parsers::parser_api().ok_or(NoParser)?;
        parsers::parse(api, self.config, parser, text)
    }

    fn publish(&self, readings: &[Reading]) {
        if let Some(metrics) = self.metrics {
            metrics.publish(self.name, readings);
        }
    }
}

/// Logs when no instance is available.
pub fn log_without_instance(level: Level, message: &str) {
    print(level, &format!("[input:container_logs] {message}"));
}

fn print(level: Level, message: &str) {
    let Some(log_print) = log_print() else {
        // No host: a test, or a host too old to have the function. Write to standard error
        // instead.
        eprintln!("{}", one_line(message));
        return;
    };
    let text = clean(message);
    // SAFETY: the format is constant and takes the one string that follows; with a NULL file,
    // no source position is printed.
    unsafe {
        log_print(
            level_number(level),
            std::ptr::null(),
            0,
            c"%s".as_ptr(),
            text.as_ptr(),
        )
    };
}

/// The message as one line: a container's name or a damaged file must not be able to forge
/// further lines. Everything that reaches the host's log goes through here.
fn clean(message: &str) -> CString {
    // NUL is among the replaced characters, so this cannot fail.
    CString::new(one_line(message).as_ref()).unwrap_or_default()
}

fn level_number(level: Level) -> libc::c_int {
    let number = match level {
        Level::Error => sys::CLOGS_FLB_LOG_ERROR,
        Level::Warn => sys::CLOGS_FLB_LOG_WARN,
        Level::Info => sys::CLOGS_FLB_LOG_INFO,
        Level::Debug => sys::CLOGS_FLB_LOG_DEBUG,
    };
    number as libc::c_int
}

#[cfg(test)]
pub mod tests;

/// A host for testing this boundary in a process without one.
#[cfg(test)]
pub struct NoHost;

#[cfg(test)]
impl Host for NoHost {
    fn append(&self, _: Option<&str>, _: usize, _: &[u8]) -> Result<(), AppendRefused> {
        Err(AppendRefused)
    }

    fn log(&self, _: Level, _: &str) {}
}
