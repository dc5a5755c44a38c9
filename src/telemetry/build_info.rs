//! The plugin's version, and the ABI of the host that loaded it.

use once_cell::sync::OnceCell;

/// The plugin's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from; `unknown` if the build could not determine it.
pub const COMMIT: &str = env!("CLOGS_COMMIT");

/// The releases of Fluent Bit whose plugin ABI it has.
pub const ABIS: &str = "2.1 to 5.1";

static ABI: OnceCell<&str> = OnceCell::new();

/// The plugin ABI of the host's release: `3.0` (Fluent Bit 2.1 to 3.1), `3.2` (up to 5.0) or
/// `5.1`. `none` in a process other than Fluent Bit.
pub fn abi() -> &'static str {
    ABI.get().copied().unwrap_or("none")
}

/// Sets the ABI. Called once, when the library is loaded.
pub fn set_abi(layout: &'static str) {
    // A second call would set the same value.
    let _ = ABI.set(layout);
}
