//! The panic boundary: no panic may cross into Fluent Bit, since that would abort it.

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::ffi::flb_host::log_without_instance;
use crate::ffi::instances::Instance;
use crate::telemetry::event::Level;
use crate::threads::panic_text;

/// Runs a callback's body. A panic is logged and becomes `failure`.
pub fn guard<T>(callback: &str, failure: T, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(panic) => {
            let text = panic_text(&*panic);
            log_without_instance(Level::Error, &format!("{callback} panicked: {text}"));
            failure
        }
    }
}

/// Runs a callback's body for one instance. A panic stops that instance permanently: its later
/// callbacks do nothing.
pub fn guard_instance<T>(
    callback: &str,
    instance: &Instance,
    failure: T,
    body: impl FnOnce() -> T,
) -> T {
    if instance.is_poisoned() {
        // The host polls our descriptor as long as the instance exists, so stop waking it.
        instance.plugin().abandon();
        return failure;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(panic) => {
            instance.poison();
            instance.plugin().abandon();
            let text = panic_text(&*panic);
            log_without_instance(
                Level::Error,
                &format!(
                    "{}: {callback} panicked: {text}; this input is stopped",
                    instance.name()
                ),
            );
            failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::cmetrics::Cmetrics;
    use crate::ffi::collector_fd::CollectorFd;
    use rustix::event::{poll, PollFd, PollFlags, Timespec};

    #[test]
    fn miri_a_panic_becomes_the_failure_value() {
        assert_eq!(guard("test", -1, || panic!("on purpose")), -1);
        assert_eq!(guard("test", -1, || 7), 7);
    }

    #[test]
    fn an_instance_that_panicked_is_left_alone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let config = crate::config::Config::from_lookup(|name| {
            (name == "Docker_Root").then(|| dir.path().display().to_string())
        })
        .unwrap();
        let plugin = crate::plugin::Plugin::start(config).unwrap();
        let collector_fd = CollectorFd::new(plugin.host_fd()).unwrap();
        let instance = Instance::new(
            plugin,
            std::ptr::null_mut(),
            "container_logs.0".to_owned(),
            collector_fd,
            Cmetrics::default(),
        );
        assert_eq!(guard_instance("collect", &instance, 0, || 5), 5);
        assert_eq!(
            guard_instance("collect", &instance, 0, || panic!("on purpose")),
            0
        );
        assert_eq!(guard_instance("collect", &instance, 0, || 5), 0, "poisoned");
        let is_readable = |instance: &Instance| {
            let mut fds = [PollFd::from_borrowed_fd(
                instance.plugin().host_fd(),
                PollFlags::IN,
            )];
            poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        };
        // The reader may still wake the host once more at its end; a callback clears that too.
        while is_readable(&instance) {
            guard_instance("collect", &instance, 0, || 5);
        }
        instance.plugin().stop(&crate::ffi::flb_host::NoHost);
    }
}
