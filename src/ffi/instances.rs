//! The live instances. The `context` pointer that the host keeps for us is only a key into
//! this map: it is looked up, never dereferenced, so a pointer that is not ours is not found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::ffi::cmetrics::Cmetrics;
use crate::ffi::collector_fd::{Closed, CollectorFd};
use crate::ffi::sys;
use crate::lock::lock;
use crate::plugin::Plugin;

/// One input section of the host's configuration.
#[derive(Debug)]
pub struct Instance {
    plugin: Plugin,
    /// The host's instance as a number; only used as a pointer on its thread.
    ins: usize,
    /// Address of the host's copy of our descriptor; 0 if it is not known.
    registered: usize,
    name: String,
    metrics: Cmetrics,
    collector_fd: CollectorFd,
    is_poisoned: AtomicBool,
}

impl Instance {
    /// An instance around a started plugin.
    pub fn new(
        plugin: Plugin,
        ins: *mut sys::flb_input_instance,
        name: String,
        collector_fd: CollectorFd,
        metrics: Cmetrics,
    ) -> Instance {
        Instance {
            plugin,
            ins: ins as usize,
            registered: 0,
            name,
            metrics,
            collector_fd,
            is_poisoned: AtomicBool::new(false),
        }
    }

    /// Notes the address of the host's copy of our descriptor.
    pub fn with_registered(self, registered: usize) -> Instance {
        Instance { registered, ..self }
    }

    /// Address of the host's copy of our descriptor; 0 if it is not known.
    pub fn registered(&self) -> usize {
        self.registered
    }

    /// The plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The host's instance, for calls on the host's thread.
    pub fn ins(&self) -> *mut sys::flb_input_instance {
        self.ins as *mut sys::flb_input_instance
    }

    /// The name shown by the host: `container_logs.0`, or its alias.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its metrics in the host.
    pub fn metrics(&self) -> &Cmetrics {
        &self.metrics
    }

    /// Closes the descriptor that the host polls, unless the host has done so.
    pub fn close_collector_fd(&self) -> Closed {
        self.collector_fd.close(self.plugin.host_fd())
    }

    /// Whether one of its callbacks has panicked.
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Acquire)
    }

    /// Marks the instance after one of its callbacks has panicked.
    pub fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Release);
    }
}

static LIVE: Mutex<BTreeMap<usize, Arc<Instance>>> = Mutex::new(BTreeMap::new());

/// Adds an instance; returns the context for the host.
pub fn add(instance: Arc<Instance>) -> *mut libc::c_void {
    let address = Arc::as_ptr(&instance).addr();
    lock(&LIVE).insert(address, instance);
    std::ptr::without_provenance_mut(address)
}

/// The live instance of a context.
pub fn find(context: *mut libc::c_void) -> Option<Arc<Instance>> {
    lock(&LIVE).get(&context.addr()).cloned()
}

/// Removes the instance of a context from the live ones.
pub fn remove(context: *mut libc::c_void) -> Option<Arc<Instance>> {
    lock(&LIVE).remove(&context.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miri_a_pointer_that_is_not_ours_is_not_found() {
        let other = 0u64;
        assert!(find(std::ptr::null_mut()).is_none());
        assert!(find((&raw const other).cast_mut().cast()).is_none());
        assert!(remove(std::ptr::without_provenance_mut(0x1000)).is_none());
    }
}
