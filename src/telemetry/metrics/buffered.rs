//! What the host holds of the plugin's records.

use std::time::Duration;

/// The memory that records take in the host until its outputs have taken them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buffered {
    /// Bytes in memory; `None` if the host does not say.
    pub bytes: Option<usize>,
    /// `Buffered_Limit`; `None` if it is off.
    pub limit: Option<usize>,
    /// How long records were held back because that much was in memory.
    pub held_back: Duration,
}
