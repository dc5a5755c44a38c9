//! Generates Rust types from our own header of the host's ABI, and sets the
//! link options of the plugin and of the tests that play the host.

use std::env;
use std::path::PathBuf;

const HEADER: &str = "include/fluent_bit_abi.h";

fn main() {
    println!("cargo:rerun-if-changed={HEADER}");
    println!("cargo:rerun-if-changed=build.rs");

    // A hot reload closes the library while a new context may already use it;
    // unmapping code that owns threads and TLS destructors is not survivable.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,nodelete");

    let bindings = bindgen::Builder::default()
        .header(HEADER)
        .allowlist_type("clogs_.*")
        .allowlist_var("CLOGS_.*")
        .layout_tests(false)
        .merge_extern_blocks(true)
        .generate();
    let bindings = match bindings {
        Ok(bindings) => bindings,
        Err(error) => {
            eprintln!("bindgen cannot read {HEADER}: {error}");
            eprintln!("It needs libclang: `make deps` installs it (Debian: libclang-dev).");
            std::process::exit(1);
        }
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(error) = bindings.write_to_file(out.join("fluent_bit_abi.rs")) {
        eprintln!("cannot write the bindings to {}: {error}", out.display());
        std::process::exit(1);
    }
}
