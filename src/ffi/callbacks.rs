//! The callbacks: guard, look up the instance, make one safe call, return a code. No logic.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use crate::config::inert::Inert;
use crate::config::{BufferedLimit, Config};
use crate::delivery::host::Host;
use crate::ffi::cmetrics::Cmetrics;
use crate::ffi::collector_fd::{Closed, CollectorFd};
use crate::ffi::flb_host::{log_without_instance, FlbHost};
use crate::ffi::guard::{guard, guard_instance};
use crate::ffi::host_api::{find_symbol, host_api, HostApi};
use crate::ffi::instances::Instance;
use crate::ffi::registration::Registration;
use crate::ffi::signals::with_signals_blocked;
use crate::ffi::{descriptor, instances, journal, properties, storage, sys};
use crate::pipeline::fields::Shape;
use crate::plugin::{Plugin, Stopped};
use crate::telemetry::event::{Event, Level};

/// At start the host logs that it could not watch the descriptor, but not what that means.
const NOT_WATCHED: &str = "Fluent Bit could not watch this input's file descriptor at startup and closed it: nothing was delivered; the next start continues from the same position";

/// Exported by hosts that support record groups.
const GROUPS: &CStr = c"flb_log_event_encoder_group_init";

const OK: libc::c_int = 0;
const FAILED: libc::c_int = -1;

/// Prefix of the thread name that Fluent Bit gives to an input with its own thread
/// (`flb-in-NAME-wN`, cut by the kernel after 15 bytes).
const INPUT_THREAD: &[u8] = b"flb-in-";

/// `cb_init`: reads the options and starts the instance.
pub extern "C" fn init(
    ins: *mut sys::flb_input_instance,
    config: *mut sys::flb_config,
    _data: *mut libc::c_void,
) -> libc::c_int {
    guard("init", FAILED, || {
        let api = match host_api() {
            Ok(api) => api,
            Err(missing) => {
                log_without_instance(Level::Error, &missing.to_string());
                return FAILED;
            }
        };
        match start(api, ins, config) {
            Ok(()) => OK,
            Err(problem) => {
                let name = instance_name(api, ins);
                FlbHost::new(api, ins, &name).log(Level::Error, &problem);
                FAILED
            }
        }
    })
}

fn start(
    api: &'static HostApi,
    ins: *mut sys::flb_input_instance,
    config: *mut sys::flb_config,
) -> Result<(), String> {
    if is_input_thread() {
        return Err("`Threaded on` is not supported: records that its ring buffer drops at shutdown would count \
                    as delivered; remove the option, reading already has its own thread"
            .to_owned());
    }
    let registration = registration_of(ins);
    if let Some(count @ 2..) = registration.as_ref().and_then(Registration::count) {
        return Err(format!("the plugin is loaded {count} times: Fluent Bit would also run inputs with default options, and every line would come again; name its file only once, with -e or in Plugins_File"));
    }
    let mut options =
        Config::from_lookup(|name| property(api, ins, name)).map_err(|error| error.to_string())?;
    if options.metadata.shape == Shape::Otel && find_symbol(GROUPS).is_none() {
        return Err(
            "option Metadata: otel needs groups of records, which this Fluent Bit does not \
                    support; use Fluent Bit 3.2 or later"
                .to_owned(),
        );
    }
    let name = instance_name(api, ins);
    options.input_name.clone_from(&name);
    let host = FlbHost::new(api, ins, &name);
    let registered = registration.as_ref().map_or(0, Registration::copy);
    let tag = registration.and_then(|registration| registration.tag());
    let unknown = limit_memory(&mut options, api, ins);
    let literal = options.literal_tag(tag);
    let literal = literal.map(|(option, tag)| Event::TagLiteral { option, tag });
    let without_db = options.without_db();
    let without_db = without_db.map(|effect| Event::NoCheckpoint { effect });
    let inert = options.inert().into_iter();
    let inert = inert.map(|Inert { option, reason }| Event::OptionInert { option, reason });
    let warnings = without_db.into_iter().chain(unknown).chain(literal);
    for event in warnings.chain(inert) {
        host.log(event.level(), &event.to_string());
    }
    let plugin = with_signals_blocked(|| Plugin::start_with(options, Some(journal::library())))
        .map_err(|error| error.to_string())?;
    let collector_fd = match CollectorFd::new(plugin.host_fd()) {
        Ok(collector_fd) => collector_fd,
        Err(error) => {
            plugin.stop(&FlbHost::new(api, ins, &name));
            return Err(format!(
                "cannot create the file descriptor that Fluent Bit watches: {error}"
            ));
        }
    };
    let fd = collector_fd.number();
    let metrics = Cmetrics::create(ins);
    plugin.publish(&FlbHost::new(api, ins, &name).with_metrics(&metrics));
    let instance = Instance::new(plugin, ins, name, collector_fd, metrics);
    let context = instances::add(Arc::new(instance.with_registered(registered)));
    // SAFETY: `ins` is the live instance that cb_init was called with; the host only hands the
    // context address back.
    unsafe { (api.set_context)(ins, context) };
    // SAFETY: as above; `fd` stays open until cb_exit, after which the host does not poll it
    // any more, or until the host itself closes it.
    if unsafe { (api.set_collector_event)(ins, Some(collect), fd, config) } < 0 {
        finish(context);
        return Err("Fluent Bit cannot watch this input's file descriptor".to_owned());
    }
    Ok(())
}

/// Leaves the memory of the input to the host if the host bounds it and no limit is set here.
/// Returns what the host does not tell of it and would have to.
fn limit_memory(
    options: &mut Config,
    api: &HostApi,
    ins: *mut sys::flb_input_instance,
) -> Option<Event> {
    let mut unknown = None;
    if options.buffered_limit == BufferedLimit::Auto {
        // SAFETY: `ins` is the live instance that cb_init was called with.
        match unsafe { storage::of(ins) } {
            Some(it) if it.is_filesystem || it.has_limit => {
                options.buffered_limit = BufferedLimit::Off;
            }
            Some(_) => {}
            None => unknown = Some(Event::BoundUnknown),
        }
    }
    let has_limit = options.buffered_limit != BufferedLimit::Off;
    if has_limit && api.total_size.is_none() {
        unknown = Some(Event::MemoryUnknown);
    }
    unknown
}

/// What the host has registered, if that can be told.
fn registration_of(ins: *mut sys::flb_input_instance) -> Option<Registration> {
    let name = descriptor::NAME.to_bytes_with_nul();
    // The pointer to the plugin stands before the options.
    Registration::find(
        ins.addr(),
        properties::list_offset()?,
        descriptor::address(),
        name,
    )
}

/// Whether this is a thread that the host created for one input.
fn is_input_thread() -> bool {
    rustix::thread::name().is_ok_and(|name| name.as_bytes().starts_with(INPUT_THREAD))
}

/// The values that the user gave for an option, in order.
fn property(api: &HostApi, ins: *mut sys::flb_input_instance, name: &str) -> Vec<String> {
    let Ok(name) = CString::new(name) else {
        return Vec::new();
    };
    if let Some(offset) = properties::list_offset() {
        // SAFETY: `ins` is the live instance that cb_init was called with, and the offset is
        // the one that `list_offset` determined.
        let values = unsafe { properties::values(ins, offset, &name) };
        return values.into_iter().filter_map(copy_text).collect();
    }
    // SAFETY: `ins` is the live instance that cb_init was called with, `name` is
    // NUL-terminated.
    let value = unsafe { (api.get_property)(name.as_ptr(), ins) };
    copy_text(value).into_iter().collect()
}

fn instance_name(api: &HostApi, ins: *mut sys::flb_input_instance) -> String {
    // SAFETY: `ins` is the live instance that cb_init was called with.
    let name = unsafe { (api.input_name)(ins) };
    copy_text(name).unwrap_or_default()
}

/// A copy of the host's text; `None` for NULL.
fn copy_text(text: *const libc::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, and the host's strings are NUL-terminated and stay valid for the
    // duration of the callback.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

/// `cb_collect`: our descriptor is readable.
pub extern "C" fn collect(
    _ins: *mut sys::flb_input_instance,
    config: *mut sys::flb_config,
    context: *mut libc::c_void,
) -> libc::c_int {
    with_instance("collect", context, OK, |instance, host| {
        let host = host.with_config(config, instance.registered());
        instance.plugin().drain(&host);
        OK
    })
}

/// `cb_pause`: stops handing over until `cb_resume`. The host also calls this from within our
/// append.
pub extern "C" fn pause(context: *mut libc::c_void, _config: *mut sys::flb_config) {
    with_instance("pause", context, (), |instance, _| {
        instance.plugin().pause()
    });
}

/// `cb_resume`.
pub extern "C" fn resume(context: *mut libc::c_void, _config: *mut sys::flb_config) {
    with_instance("resume", context, (), |instance, _| {
        instance.plugin().resume()
    });
}

/// `cb_exit`: afterwards no thread of the instance is alive (I5), or the library stays loaded.
pub extern "C" fn exit(context: *mut libc::c_void, _config: *mut sys::flb_config) -> libc::c_int {
    guard("exit", FAILED, || {
        finish(context);
        OK
    })
}

fn finish(context: *mut libc::c_void) {
    let Some(instance) = instances::remove(context) else {
        return;
    };
    let Ok(api) = host_api() else { return };
    let host = FlbHost::new(api, instance.ins(), instance.name());
    if instance.plugin().stop(&host) == Stopped::WithoutReader {
        keep_loaded();
    }
    // A reader that is left behind keeps its wakers but not what the host watches: once both
    // of our numbers for that are closed, the open file is gone, and with it its entry in the
    // host's event loop.
    if instance.close_collector_fd() == Closed::ByHost {
        host.log(Level::Error, NOT_WATCHED);
    }
}

/// A thread that was left behind will return into our code, so the host's dlclose must not
/// unload it. The next dlopen finds the library that stayed loaded.
fn keep_loaded() {
    let ours = finish as *const libc::c_void;
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr may be called with any address, and `found` has room for the result.
    if unsafe { libc::dladdr(ours, found.as_mut_ptr()) } == 0 {
        return;
    }
    // SAFETY: zero is a valid value for each of its fields, and dladdr may have set them.
    let found = unsafe { found.assume_init() };
    // SAFETY: dladdr returned a NUL-terminated name that stays valid while the library is
    // loaded. It is loaded already, so no initializer runs. The handle is never closed.
    unsafe {
        libc::dlopen(
            found.dli_fname,
            libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE,
        )
    };
}

/// Looks up the instance of `context` and runs `body` for it, guarded.
fn with_instance<T: Copy>(
    callback: &str,
    context: *mut libc::c_void,
    failure: T,
    body: impl FnOnce(&Instance, FlbHost<'_>) -> T,
) -> T {
    guard(callback, failure, || {
        let (Some(instance), Ok(api)) = (instances::find(context), host_api()) else {
            return failure;
        };
        let host =
            FlbHost::new(api, instance.ins(), instance.name()).with_metrics(instance.metrics());
        guard_instance(callback, &instance, failure, || body(&instance, host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::flb_host::tests::{PlayedInstance, PLAYED_API};
    use std::ptr::null_mut;

    #[test]
    fn miri_options_are_read_as_the_host_holds_them() {
        let ins = PlayedInstance::with_properties(vec![
            (c"Docker_Root", c"/data"),
            (c"Queue_Limit", c"1M"),
            (c"Tag_Template", c"logs.{name}"),
        ]);
        let config =
            Config::from_lookup(|name| property(&PLAYED_API, ins.pointer(), name)).unwrap();
        assert_eq!(
            config.runtimes.docker_roots,
            [std::path::PathBuf::from("/data")]
        );
        assert_eq!(config.queue_limit, 1_000_000);
        assert_eq!(config.tag_template.unwrap().to_string(), "logs.{name}");
        assert_eq!(property(&PLAYED_API, ins.pointer(), "no\0name"), [""; 0]);
        assert_eq!(
            instance_name(&PLAYED_API, ins.pointer()),
            "container_logs.7"
        );
    }

    #[test]
    fn miri_texts_of_the_host_are_copied_whatever_they_hold() {
        for (text, want) in [
            (c"", ""),
            (c"\xff\xfe", "\u{fffd}\u{fffd}"),
            (c"a\nb", "a\nb"),
        ] {
            assert_eq!(copy_text(text.as_ptr()).as_deref(), Some(want));
        }
        assert_eq!(copy_text(std::ptr::null()), None);
    }

    #[test]
    fn miri_a_callback_with_a_context_that_is_not_ours_does_nothing() {
        let mut other = [0u64; 4];
        for context in [
            null_mut(),
            other.as_mut_ptr().cast(),
            std::ptr::dangling_mut::<u64>().cast(),
        ] {
            assert_eq!(collect(null_mut(), null_mut(), context), OK);
            pause(context, null_mut());
            resume(context, null_mut());
            assert_eq!(exit(context, null_mut()), OK);
        }
        assert_eq!(other, [0; 4]);
    }

    #[test]
    fn miri_a_start_without_the_hosts_functions_fails() {
        assert_eq!(init(null_mut(), null_mut(), null_mut()), FAILED);
    }
}
