//! The values of a series' labels, as the host takes them.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use crate::telemetry::plain_text::one_line;

/// One value for each label of a family. The host takes C strings once a second, and they hardly
/// ever change, so they are made once and shared by all series of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[CString]>);

impl Labels {
    /// In these values, `?` takes the place of control characters and marks of direction: a
    /// container's name may contain any.
    pub fn new<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Labels {
        let c_string = |value: T| CString::new(one_line(value.as_ref()).as_ref());
        let values = values.into_iter();
        Labels(
            values
                .map(|value| c_string(value).unwrap_or_default())
                .collect(),
        )
    }

    /// The values in the order of the labels.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &CStr> {
        self.0.iter().map(CString::as_c_str)
    }
}
