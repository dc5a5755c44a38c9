//! Which plugin this is, and which host has loaded it.

use once_cell::sync::OnceCell;

/// The plugin's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from; `unknown` where the build could not tell.
pub const COMMIT: &str = env!("CLOGS_COMMIT");

static ABI: OnceCell<&str> = OnceCell::new();

/// The layout of plugins that this host's release has: that of 3.0, 3.2 or 5.1.
/// `none` in a process that is no Fluent Bit.
pub fn abi() -> &'static str {
    ABI.get().copied().unwrap_or("none")
}

/// Said once, when the library is loaded.
pub fn set_abi(layout: &'static str) {
    // A second call has nothing else to say.
    let _ = ABI.set(layout);
}
