//! Metrics in the host's own endpoint, through the cmetrics functions that it
//! exports (the same signatures in every release from 3.0.7 to 5.1.1).
//!
//! Other threads of the host walk them while we set them: `in_fluentbit_metrics` with
//! `Threaded on` copies the whole context with `cmt_cat`. Lists in it are walked without
//! a lock (in 5.1, too, whose lock covers the lookup of a series alone). So:
//!
//! - Nothing is ever destroyed, neither a metric nor a series. The host destroys the
//!   context with the instance, after `cb_exit`.
//! - Metrics are made in `cb_init` and never later. `cmt_counter_create` puts a metric into
//!   the list before it has a name or a map, and a walker of that moment would follow NULL.
//!   In `cb_init` there is no walker: the host starts collectors, those of threaded inputs,
//!   too, when every input is initialised (`flb_input_collectors_start`).
//! - The one series of the histogram is set there, too: 3.0 copies its buckets without
//!   asking whether there are any.
//! - Values are atomic in cmetrics. That one series is of this scrape and the next of the
//!   last is seen by nobody.
//! - What remains is a series that is added while somebody walks. cmetrics makes it with
//!   all its labels, then links it in at the end of the list, by a store to its
//!   neighbour's `next` that comes last. A walker sees the list without it, or with it and
//!   whole, where stores are seen in their order (x86-64). Where they need not be (arm64) it
//!   takes a walker in the very nanoseconds between; the host adds the series of its own
//!   metrics (`cmt_counter_inc` with labels) in just this way, all the time, and there is no
//!   function by which it could be done better.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::time::{SystemTime, UNIX_EPOCH};

use once_cell::sync::OnceCell;

use crate::ffi::host_api::find_symbol;
use crate::ffi::sys;
use crate::telemetry::metrics::{all_families, Family, Kind, Reading, Sample, Value};
use crate::telemetry::plain_text::one_line;

/// First parts of each metric's name, as Fluent Bit's own inputs have them.
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

/// What the plugin calls in the host's cmetrics.
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

/// The functions, or `None` where the host was built without metrics.
fn cmetrics_api() -> Option<&'static CmetricsApi> {
    CMETRICS_API.get_or_init(resolve).as_ref()
}

fn resolve() -> Option<CmetricsApi> {
    macro_rules! function {
        ($name:literal, $type:ty) => {{
            let address = find_symbol($name)?;
            // SAFETY: the exported function has the signature that the header
            // gives, the same in all releases it names; not NULL.
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

/// The metrics of one instance: the host's addresses as numbers, made pointers again on
/// its thread only. They stay valid until the host destroys the instance.
#[derive(Debug, Default)]
pub struct Cmetrics {
    metrics: HashMap<&'static str, usize>,
}

impl Cmetrics {
    /// Makes every metric. To be called in `cb_init` and nowhere else (see above); `ins`
    /// is the instance that it was called with.
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

    /// Sets the series that were read. To be called on the host's thread between `cb_init`
    /// and the end of `cb_exit`.
    pub fn publish(&self, name: &str, readings: &[Reading]) {
        let Some(api) = cmetrics_api() else { return };
        let now = timestamp();
        for Reading { family, samples } in readings {
            let Some(metric) = self.metrics.get(family.name) else {
                continue;
            };
            for sample in samples {
                set(api, *metric, family, name, sample, now);
            }
        }
    }
}

fn create(api: &CmetricsApi, context: *mut libc::c_void, family: &Family) -> Option<usize> {
    let (name, help) = (
        CString::new(family.name).ok()?,
        CString::new(family.help).ok()?,
    );
    let keys = TextArray::new(std::iter::once("name").chain(family.labels.iter().copied()));
    let mut key_pointers = keys.pointers();
    let [namespace, subsystem, name, help] =
        [NAMESPACE, SUBSYSTEM, &name, &help].map(|text| text.as_ptr().cast_mut());
    let (count, keys) = (keys.count(), key_pointers.as_mut_ptr());
    let metric = match family.kind {
        Kind::Counter => {
            // SAFETY: `context` is the live context of the instance; all texts are
            // NUL-terminated, `keys` has `count` of them, and the host copies all.
            let counter = unsafe {
                (api.counter_create)(context, namespace, subsystem, name, help, count, keys)
            };
            if !counter.is_null() {
                // A container that comes back counts from 0, which is refused otherwise.
                // SAFETY: the counter was made just now.
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
            // SAFETY: as above; the histogram takes the buckets over.
            unsafe {
                (api.histogram_create)(
                    context, namespace, subsystem, name, help, buckets, count, keys,
                )
            }
        }
    };
    (!metric.is_null()).then_some(metric as usize)
}

fn set(api: &CmetricsApi, metric: usize, family: &Family, name: &str, sample: &Sample, now: u64) {
    let values =
        TextArray::new(std::iter::once(name).chain(sample.labels.iter().map(String::as_str)));
    let mut value_pointers = values.pointers();
    let (metric, count, values) = (
        metric as *mut libc::c_void,
        values.count(),
        value_pointers.as_mut_ptr(),
    );
    // The only failure is that the host has no memory; the next call sets anew.
    let _ = match (family.kind, &sample.value) {
        // SAFETY: `metric` was made by `create` for this kind and is never
        // destroyed while the instance lives; `values` has `count` NUL-terminated texts, which the host
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
            // SAFETY: as above; `counts` has one more than the bounds that the
            // histogram was made with, as the host reads it.
            unsafe {
                (api.histogram_set)(metric, now, counts.as_mut_ptr(), *sum, all, count, values)
            }
        }
        _ => 0,
    };
}

/// MultilineBuffer for the host: owned here, NUL-terminated, and without characters that are not
/// what they seem (a container's name may bring any).
struct TextArray(Vec<CString>);

impl TextArray {
    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> TextArray {
        TextArray(
            texts
                .map(|text| CString::new(one_line(text).as_ref()).unwrap_or_default())
                .collect(),
        )
    }

    /// Valid for as long as `self` is; the host's signatures lack a `const`.
    fn pointers(&self) -> Vec<*mut libc::c_char> {
        self.0.iter().map(|text| text.as_ptr().cast_mut()).collect()
    }

    fn count(&self) -> libc::c_int {
        libc::c_int::try_from(self.0.len()).unwrap_or(0)
    }
}

/// Nanoseconds since 1970, as cmetrics has its times.
fn timestamp() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
