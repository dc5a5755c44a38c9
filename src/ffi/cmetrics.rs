//! Metrics in the host's own endpoint, through the cmetrics functions that it
//! exports (the same signatures in every release from 3.0.7 to 5.1.1).
//!
//! cmetrics cannot take one series out of a metric: what was set once is
//! exported for ever. A metric of which a series has ended (its container is
//! gone) is therefore destroyed and made anew with the others.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use once_cell::sync::OnceCell;

use super::host_api::find_symbol;
use super::sys;
use crate::lock::lock;
use crate::metrics::{Family, Kind, Reading, Sample, Value};
use crate::plain_text::one_line;

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
type Set =
    unsafe extern "C" fn(*mut libc::c_void, u64, f64, libc::c_int, *mut *mut libc::c_char) -> libc::c_int;
type Destroy = unsafe extern "C" fn(*mut libc::c_void) -> libc::c_int;
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
    counter_destroy: Destroy,
    gauge_create: Create,
    gauge_set: Set,
    gauge_destroy: Destroy,
    buckets_create: unsafe extern "C" fn(*mut f64, usize) -> *mut libc::c_void,
    histogram_create: CreateHistogram,
    histogram_set: SetHistogram,
    histogram_destroy: Destroy,
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
        counter_destroy: function!(c"cmt_counter_destroy", sys::clogs_cmt_destroy_fn),
        gauge_create: function!(c"cmt_gauge_create", sys::clogs_cmt_create_fn),
        gauge_set: function!(c"cmt_gauge_set", sys::clogs_cmt_set_fn),
        gauge_destroy: function!(c"cmt_gauge_destroy", sys::clogs_cmt_destroy_fn),
        buckets_create: function!(c"cmt_histogram_buckets_create_size", sys::clogs_cmt_buckets_create_fn),
        histogram_create: function!(c"cmt_histogram_create", sys::clogs_cmt_histogram_create_fn),
        histogram_set: function!(c"cmt_histogram_set_default", sys::clogs_cmt_histogram_set_fn),
        histogram_destroy: function!(c"cmt_histogram_destroy", sys::clogs_cmt_destroy_fn),
    })
}

/// A metric that the host keeps for us, and which series it has.
#[derive(Debug)]
struct Kept {
    /// Its address as a number; made a pointer again on the host's thread only.
    metric: usize,
    series: HashSet<Vec<String>>,
}

/// The metrics of one instance.
#[derive(Debug, Default)]
pub struct Cmetrics {
    kept: Mutex<HashMap<&'static str, Kept>>,
}

impl Cmetrics {
    /// Sets every metric to what was read. To be called on the host's thread
    /// between `cb_init` and the end of `cb_exit`; `ins` is the live instance.
    pub fn publish(&self, ins: *mut sys::flb_input_instance, name: &str, readings: &[Reading]) {
        let Some(api) = cmetrics_api() else { return };
        // SAFETY: `ins` is live (see above).
        let context = unsafe { (api.context)(ins) };
        if context.is_null() {
            return;
        }
        let mut kept = lock(&self.kept);
        let now = timestamp();
        for reading in readings {
            publish_one(api, context, &mut kept, name, reading, now);
        }
    }
}

fn publish_one(
    api: &CmetricsApi,
    context: *mut libc::c_void,
    kept: &mut HashMap<&'static str, Kept>,
    name: &str,
    reading: &Reading,
    now: u64,
) {
    let family = reading.family;
    let series: HashSet<Vec<String>> = reading.samples.iter().map(|sample| sample.labels.clone()).collect();
    let has_ended = kept.get(family.name).is_some_and(|kept| !kept.series.is_subset(&series));
    if has_ended {
        if let Some(ended) = kept.remove(family.name) {
            destroy(api, family.kind, ended.metric);
        }
    }
    let metric = match kept.get_mut(family.name) {
        Some(kept) => {
            kept.series = series;
            kept.metric
        }
        None => {
            let Some(metric) = create(api, context, family) else { return };
            kept.insert(family.name, Kept { metric, series });
            metric
        }
    };
    for sample in &reading.samples {
        set(api, metric, family, name, sample, now);
    }
}

fn create(api: &CmetricsApi, context: *mut libc::c_void, family: &Family) -> Option<usize> {
    let (name, help) = (CString::new(family.name).ok()?, CString::new(family.help).ok()?);
    let keys = TextArray::new(std::iter::once("name").chain(family.labels.iter().copied()));
    let mut key_pointers = keys.pointers();
    let [namespace, subsystem, name, help] =
        [NAMESPACE, SUBSYSTEM, &name, &help].map(|text| text.as_ptr().cast_mut());
    let (count, keys) = (keys.count(), key_pointers.as_mut_ptr());
    let metric = match family.kind {
        // SAFETY: `context` is the live context of the instance; all texts are
        // NUL-terminated, `keys` has `count` of them, and the host copies all.
        Kind::Counter => unsafe {
            (api.counter_create)(context, namespace, subsystem, name, help, count, keys)
        },
        // SAFETY: as above.
        Kind::Gauge => unsafe { (api.gauge_create)(context, namespace, subsystem, name, help, count, keys) },
        Kind::Histogram(bounds) => {
            let mut bounds = bounds.to_vec();
            // SAFETY: the host copies the bounds.
            let buckets = unsafe { (api.buckets_create)(bounds.as_mut_ptr(), bounds.len()) };
            if buckets.is_null() {
                return None;
            }
            // SAFETY: as above; the histogram takes the buckets over.
            unsafe { (api.histogram_create)(context, namespace, subsystem, name, help, buckets, count, keys) }
        }
    };
    (!metric.is_null()).then_some(metric as usize)
}

fn set(api: &CmetricsApi, metric: usize, family: &Family, name: &str, sample: &Sample, now: u64) {
    let values = TextArray::new(std::iter::once(name).chain(sample.labels.iter().map(String::as_str)));
    let mut value_pointers = values.pointers();
    let (metric, count, values) = (metric as *mut libc::c_void, values.count(), value_pointers.as_mut_ptr());
    // The only failure is that the host has no memory; the next call sets anew.
    let _ = match (family.kind, &sample.value) {
        // SAFETY: `metric` was made by `create` for this kind and was not
        // destroyed; `values` has `count` NUL-terminated texts, which the host
        // copies.
        (Kind::Counter, Value::Number(value)) => unsafe {
            (api.counter_set)(metric, now, *value, count, values)
        },
        // SAFETY: as above.
        (Kind::Gauge, Value::Number(value)) => unsafe { (api.gauge_set)(metric, now, *value, count, values) },
        (Kind::Histogram(bounds), Value::Distribution { counts, sum })
            if counts.len() == bounds.len() + 1 =>
        {
            let mut counts = counts.clone();
            let all = counts.last().copied().unwrap_or(0);
            // SAFETY: as above; `counts` has one more than the bounds that the
            // histogram was made with, as the host reads it.
            unsafe { (api.histogram_set)(metric, now, counts.as_mut_ptr(), *sum, all, count, values) }
        }
        _ => 0,
    };
}

fn destroy(api: &CmetricsApi, kind: Kind, metric: usize) {
    let destroy = match kind {
        Kind::Counter => api.counter_destroy,
        Kind::Gauge => api.gauge_destroy,
        Kind::Histogram(_) => api.histogram_destroy,
    };
    // SAFETY: `metric` was made by `create` for this kind and is forgotten by
    // the caller.
    unsafe { destroy(metric as *mut libc::c_void) };
}

/// Texts for the host: owned here, NUL-terminated, and without characters that are not
/// what they seem (a container's name may bring any).
struct TextArray(Vec<CString>);

impl TextArray {
    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> TextArray {
        TextArray(texts.map(|text| CString::new(one_line(text).as_ref()).unwrap_or_default()).collect())
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
