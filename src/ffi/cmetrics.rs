//! Metrics in the host's own endpoint, through the cmetrics functions that it exports (the
//! same signatures in every release from 2.1 to 5.1).
//!
//! Other threads of the host read the metrics while we set them: `in_fluentbit_metrics` with
//! `Threaded on` copies the whole context with `cmt_cat`. It walks the lists in the context
//! without a lock (in 5.1 too, whose lock covers only the lookup of a series). Therefore:
//!
//! - Nothing is ever destroyed, neither a metric nor a series. The host destroys the context
//!   with the instance, after `cb_exit`.
//! - Metrics are created in `cb_init` and never later. `cmt_counter_create` adds a metric to
//!   the list before it has a name or a map, so a concurrent reader would dereference NULL.
//!   There is no reader during `cb_init`: the host starts collectors, including those of
//!   threaded inputs, after every input is initialized (`flb_input_collectors_start`).
//! - The histogram's only series is also set there: 3.0 copies its buckets without checking
//!   that they exist.
//! - Values are atomic in cmetrics. A reader may see one series with the value of this update
//!   and the next with that of the previous one, which does no harm.
//! - What remains is a series added while another thread reads. cmetrics creates it with all
//!   its labels, then appends it to the list; the store to its neighbor's `next` comes last.
//!   If stores are seen in order (x86-64), a reader sees the list either without it or with it
//!   complete. If they need not be (arm64), a failure requires a reader within the very
//!   nanoseconds between. The host adds the series of its own metrics in the same way all the
//!   time (`cmt_counter_inc` with labels), and it exports no function that would do better.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::time::{SystemTime, UNIX_EPOCH};

use once_cell::sync::OnceCell;

use crate::ffi::host_api::find_symbol;
use crate::ffi::sys;
use crate::telemetry::metrics::{all_families, Family, Kind, Labels, Reading, Value};

/// First parts of each metric's name, as in Fluent Bit's own inputs.
const NAMESPACE: &CStr = c"fluentbit";
const SUBSYSTEM: &CStr = c"container_logs";

type Create = unsafe extern "C" fn(
    *mut libc::c_void,
    *mut libc::c_char,
    *mut libc::c_char,
    *mut libc::c_char,
    *mut libc::c_char,
    libc::c_int,
    *mut *mut libc::c_char,
) -> *mut libc::c_void;
type Set = unsafe extern "C" fn(
    *mut libc::c_void,
    u64,
    f64,
    libc::c_int,
    *mut *mut libc::c_char,
) -> libc::c_int;
type CreateHistogram = unsafe extern "C" fn(
    *mut libc::c_void,
    *mut libc::c_char,
    *mut libc::c_char,
    *mut libc::c_char,
    *mut libc::c_char,
    *mut libc::c_void,
    libc::c_int,
    *mut *mut libc::c_char,
) -> *mut libc::c_void;
type SetHistogram = unsafe extern "C" fn(
    *mut libc::c_void,
    u64,
    *mut u64,
    f64,
    u64,
    libc::c_int,
    *mut *mut libc::c_char,
) -> libc::c_int;

/// The cmetrics functions that the plugin calls.
#[derive(Debug)]
struct CmetricsApi {
    context: unsafe extern "C" fn(*mut sys::flb_input_instance) -> *mut libc::c_void,
    counter_create: Create,
    counter_set: Set,
    counter_allow_reset: unsafe extern "C" fn(*mut libc::c_void),
    gauge_create: Create,
    gauge_set: Set,
    buckets_create: unsafe extern "C" fn(*mut f64, usize) -> *mut libc::c_void,
    histogram_create: CreateHistogram,
    histogram_set: SetHistogram,
}

static CMETRICS_API: OnceCell<Option<CmetricsApi>> = OnceCell::new();

/// The functions, or `None` if the host was built without metrics.
fn cmetrics_api() -> Option<&'static CmetricsApi> {
    CMETRICS_API.get_or_init(resolve).as_ref()
}

fn resolve() -> Option<CmetricsApi> {
    macro_rules! function {
        ($name:literal, $type:ty) => {{
            let address = find_symbol($name)?;
            // SAFETY: the exported function has the signature that the header gives, the same
            // in all releases it names; not NULL.
            unsafe { std::mem::transmute::<*mut libc::c_void, $type>(address) }?
        }};
    }
    Some(CmetricsApi {
        context: function!(c"flb_input_get_cmt_instance", sys::clogs_get_cmt_fn),
        counter_create: function!(c"cmt_counter_create", sys::clogs_cmt_create_fn),
        counter_set: function!(c"cmt_counter_set", sys::clogs_cmt_set_fn),
        counter_allow_reset: function!(c"cmt_counter_allow_reset", sys::clogs_cmt_allow_reset_fn),
        gauge_create: function!(c"cmt_gauge_create", sys::clogs_cmt_create_fn),
        gauge_set: function!(c"cmt_gauge_set", sys::clogs_cmt_set_fn),
        buckets_create: function!(
            c"cmt_histogram_buckets_create_size",
            sys::clogs_cmt_buckets_create_fn
        ),
        histogram_create: function!(c"cmt_histogram_create", sys::clogs_cmt_histogram_create_fn),
        histogram_set: function!(
            c"cmt_histogram_set_default",
            sys::clogs_cmt_histogram_set_fn
        ),
    })
}

/// The metrics of one instance: addresses in the host, stored as numbers and only used as
/// pointers on its thread. They stay valid until the host destroys the instance.
#[derive(Debug, Default)]
pub struct Cmetrics {
    metrics: HashMap<&'static str, usize>,
}

impl Cmetrics {
    /// Creates all metrics. Call it in `cb_init` only (see above); `ins` is the instance that
    /// was passed to `cb_init`.
    pub fn create(ins: *mut sys::flb_input_instance) -> Cmetrics {
        let Some(api) = cmetrics_api() else {
            return Cmetrics::default();
        };
        // SAFETY: `ins` is live (see above).
        let context = unsafe { (api.context)(ins) };
        if context.is_null() {
            return Cmetrics::default();
        }
        let made =
            all_families().filter_map(|family| Some((family.name, create(api, context, family)?)));
        Cmetrics {
            metrics: made.collect(),
        }
    }

    /// Sets the series in `readings`. Call it on the host's thread, between `cb_init` and the
    /// end of `cb_exit`.
    pub fn publish(&self, name: &str, readings: &[Reading]) {
        let Some(api) = cmetrics_api() else { return };
        let (now, name) = (timestamp(), Labels::new([name]));
        let mut values = Vec::new();
        for Reading { family, samples } in readings {
            let Some(metric) = self.metrics.get(family.name) else {
                continue;
            };
            for sample in samples {
                values.clear();
                values.extend(pointers(&name).chain(pointers(&sample.labels)));
                set(api, *metric, family, &sample.value, &mut values, now);
            }
        }
    }
}

fn create(api: &CmetricsApi, context: *mut libc::c_void, family: &Family) -> Option<usize> {
    let (name, help) = (
        CString::new(family.name).ok()?,
        CString::new(family.help).ok()?,
    );
    let keys = Labels::new(std::iter::once("name").chain(family.labels.iter().copied()));
    let mut keys: Vec<_> = pointers(&keys).collect();
    let [namespace, subsystem, name, help] =
        [NAMESPACE, SUBSYSTEM, &name, &help].map(|text| text.as_ptr().cast_mut());
    let (count, keys) = (length(&keys), keys.as_mut_ptr());
    let metric = match family.kind {
        Kind::Counter => {
            // SAFETY: `context` is the live context of the instance; all texts are
            // NUL-terminated, `keys` has `count` of them, and the host copies all.
            let counter = unsafe {
                (api.counter_create)(context, namespace, subsystem, name, help, count, keys)
            };
            if !counter.is_null() {
                // A container that comes back counts from 0, which is refused otherwise.
                // SAFETY: the counter was just created.
                unsafe { (api.counter_allow_reset)(counter) };
            }
            counter
        }
        // SAFETY: as above.
        Kind::Gauge => unsafe {
            (api.gauge_create)(context, namespace, subsystem, name, help, count, keys)
        },
        Kind::Histogram(bounds) => {
            let mut bounds = bounds.to_vec();
            // SAFETY: the host copies the bounds.
            let buckets = unsafe { (api.buckets_create)(bounds.as_mut_ptr(), bounds.len()) };
            if buckets.is_null() {
                return None;
            }
            // SAFETY: as above; the histogram takes ownership of the buckets.
            unsafe {
                (api.histogram_create)(
                    context, namespace, subsystem, name, help, buckets, count, keys,
                )
            }
        }
    };
    (!metric.is_null()).then_some(metric as usize)
}

/// Sets the series with these label values.
fn set(
    api: &CmetricsApi,
    metric: usize,
    family: &Family,
    value: &Value,
    labels: &mut [*mut libc::c_char],
    now: u64,
) {
    let metric = metric as *mut libc::c_void;
    let (count, values) = (length(labels), labels.as_mut_ptr());
    // Fails only if the host is out of memory; the next call sets the value again.
    let _ = match (family.kind, value) {
        // SAFETY: `metric` was created by `create` for this kind and is not destroyed while
        // the instance lives; `values` has `count` NUL-terminated texts, which the host
        // copies.
        (Kind::Counter, Value::Number(value)) => unsafe {
            (api.counter_set)(metric, now, *value, count, values)
        },
        // SAFETY: as above.
        (Kind::Gauge, Value::Number(value)) => unsafe {
            (api.gauge_set)(metric, now, *value, count, values)
        },
        (Kind::Histogram(bounds), Value::Distribution { counts, sum })
            if counts.len() == bounds.len() + 1 =>
        {
            let mut counts = counts.clone();
            let all = counts.last().copied().unwrap_or(0);
            // SAFETY: as above; `counts` has one element more than the bounds that the
            // histogram was created with, which is how many the host reads.
            unsafe {
                (api.histogram_set)(metric, now, counts.as_mut_ptr(), *sum, all, count, values)
            }
        }
        _ => 0,
    };
}

/// Valid as long as the labels are; mutable only because the host's signatures lack `const`.
fn pointers(labels: &Labels) -> impl Iterator<Item = *mut libc::c_char> + '_ {
    labels.values().map(|value| value.as_ptr().cast_mut())
}

fn length(texts: &[*mut libc::c_char]) -> libc::c_int {
    libc::c_int::try_from(texts.len()).unwrap_or(0)
}

/// Nanoseconds since 1970, the unit of cmetrics.
fn timestamp() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
