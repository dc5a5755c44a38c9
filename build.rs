//! Generates Rust types from our own header of the host's ABI, and sets the
//! link options of the plugin and of the tests that play the host.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const HEADER: &str = "include/fluent_bit_abi.h";

fn main() {
    println!("cargo:rerun-if-changed={HEADER}");
    println!("cargo:rerun-if-changed=build.rs");

    // A hot reload closes the library while a new context may already use it;
    // unmapping code that owns threads and TLS destructors is not survivable.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,nodelete");

    println!("cargo:rustc-env=CLOGS_COMMIT={}", commit());

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

/// The commit that is built: what the environment says (a package is built without `.git`), or
/// git. Only releases ask git, for otherwise each commit would compile everything anew.
fn commit() -> String {
    println!("cargo:rerun-if-env-changed=CLOGS_COMMIT");
    if let Ok(commit) = env::var("CLOGS_COMMIT") {
        return commit;
    }
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let asked = is_release.then(|| {
        // It changes with each commit and each checkout.
        if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo:rerun-if-changed={log}");
        }
        git(&[
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
    });
    asked.flatten().unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
