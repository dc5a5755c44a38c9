//! The functions that Fluent Bit exports, looked up by name once. If the host lacks one, the
//! error names it, whereas linking to it would fail in the dynamic linker.

use std::ffi::CStr;

use once_cell::sync::OnceCell;

use crate::ffi::sys;

/// The host functions that the plugin calls.
#[derive(Debug)]
pub struct HostApi {
    pub append: unsafe extern "C" fn(
        *mut sys::flb_input_instance,
        usize,
        *const libc::c_char,
        usize,
        *const libc::c_void,
        usize,
    ) -> libc::c_int,
    pub set_context: unsafe extern "C" fn(*mut sys::flb_input_instance, *mut libc::c_void),
    pub set_collector_event: unsafe extern "C" fn(
        *mut sys::flb_input_instance,
        sys::clogs_collect_cb,
        libc::c_int,
        *mut sys::flb_config,
    ) -> libc::c_int,
    pub get_property: unsafe extern "C" fn(
        *const libc::c_char,
        *mut sys::flb_input_instance,
    ) -> *const libc::c_char,
    pub input_name: unsafe extern "C" fn(*mut sys::flb_input_instance) -> *const libc::c_char,
    pub log_check: unsafe extern "C" fn(*mut sys::flb_input_instance, libc::c_int) -> libc::c_int,
    /// Returns the bytes of the instance's chunks in memory; not available in every host.
    pub total_size: Option<unsafe extern "C" fn(*mut sys::flb_input_instance) -> usize>,
    /// Sends the chunks that are ready to the outputs, as the host does at each `Flush`; not
    /// available in every host.
    pub engine_flush: Option<EngineFlush>,
}

/// The second argument restricts it to the instances of one input plugin, which point to the
/// host's copy of its descriptor; NULL stands for all.
pub type EngineFlush = unsafe extern "C" fn(*mut sys::flb_config, *mut libc::c_void) -> libc::c_int;

/// Names of functions that the host does not export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this Fluent Bit does not export {}; container_logs needs Fluent Bit 2.1 or later, built with --export-dynamic",
    .0.join(", ")
)]
pub struct MissingFunctions(Vec<&'static str>);

static HOST_API: OnceCell<Result<HostApi, MissingFunctions>> = OnceCell::new();

/// The host's functions, resolved on first use.
pub fn host_api() -> Result<&'static HostApi, &'static MissingFunctions> {
    HOST_API.get_or_init(resolve).as_ref()
}

/// The address of an exported symbol, or `None`.
pub fn find_symbol(name: &CStr) -> Option<*mut libc::c_void> {
    // SAFETY: `name` is NUL-terminated; RTLD_DEFAULT searches what the process has loaded and
    // changes nothing.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// The function `flb_log_print`. Separate because it is variadic, and because it must be
/// available to report that other functions are missing.
pub fn log_print() -> sys::clogs_log_print_fn {
    let address = find_symbol(c"flb_log_print")?;
    // SAFETY: every release since 2.1 exports this function with the signature that the header
    // gives.
    unsafe { std::mem::transmute::<*mut libc::c_void, sys::clogs_log_print_fn>(address) }
}

fn total_size() -> Option<unsafe extern "C" fn(*mut sys::flb_input_instance) -> usize> {
    let address = find_symbol(c"flb_input_chunk_total_size")?;
    // SAFETY: every release since 2.1 has this function with this signature
    // (include/fluent-bit/flb_input_chunk.h), and the address is not NULL.
    Some(unsafe {
        std::mem::transmute::<
            *mut libc::c_void,
            unsafe extern "C" fn(*mut sys::flb_input_instance) -> usize,
        >(address)
    })
}

fn engine_flush() -> Option<EngineFlush> {
    let address = find_symbol(c"flb_engine_flush")?;
    // SAFETY: every release since 2.1 has this function with this signature
    // (include/fluent-bit/flb_engine.h), and the address is not NULL.
    Some(unsafe { std::mem::transmute::<*mut libc::c_void, EngineFlush>(address) })
}

fn resolve() -> Result<HostApi, MissingFunctions> {
    let mut missing = Vec::new();
    macro_rules! function {
        ($name:literal, $type:ty) => {{
            let name = concat!($name, "\0");
            let found = CStr::from_bytes_with_nul(name.as_bytes())
                .ok()
                .and_then(find_symbol);
            if found.is_none() {
                missing.push($name);
            }
            // SAFETY: the exported function has the signature that the header gives (the same
            // in all releases it names), and an Option of a function pointer has NULL for
            // None.
            unsafe {
                std::mem::transmute::<*mut libc::c_void, $type>(
                    found.unwrap_or(std::ptr::null_mut()),
                )
            }
        }};
    }
    let append = function!("flb_input_log_append_records", sys::clogs_append_fn);
    let set_context = function!("flb_input_set_context", sys::clogs_set_context_fn);
    let set_collector_event = function!(
        "flb_input_set_collector_event",
        sys::clogs_set_collector_event_fn
    );
    let get_property = function!("flb_input_get_property", sys::clogs_get_property_fn);
    let input_name = function!("flb_input_name", sys::clogs_input_name_fn);
    let log_check = function!("flb_input_log_check", sys::clogs_log_check_fn);
    match (
        append,
        set_context,
        set_collector_event,
        get_property,
        input_name,
        log_check,
    ) {
        (
            Some(append),
            Some(set_context),
            Some(set_collector_event),
            Some(get_property),
            Some(input_name),
            Some(log_check),
        ) => Ok(HostApi {
            append,
            set_context,
            set_collector_event,
            get_property,
            input_name,
            log_check,
            total_size: total_size(),
            engine_flush: engine_flush(),
        }),
        _ => Err(MissingFunctions(missing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miri_a_process_that_is_no_host_is_told_what_is_missing() {
        let error = host_api().unwrap_err().to_string();
        assert!(
            error.contains("flb_input_log_append_records") && error.contains("flb_input_log_check"),
            "{error}"
        );
        assert!(log_print().is_none());
    }
}
