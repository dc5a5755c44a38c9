//! `scripts/check-release` finds what may not be published, and nothing of that in what
//! `make release` has built here, if it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use test_kit::{programs, run, skip};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/check-release");

/// What the script prints, and whether it is content.
fn check(dist: &Path) -> (String, bool) {
    let output = Command::new(SCRIPT).arg(dist).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&said).into_owned(),
        output.status.success(),
    )
}

/// Why the script cannot run here.
fn missing() -> Option<String> {
    let missing = ["readelf", "cc", "tar", "sha256sum"]
        .into_iter()
        .find(|program| programs(program).next().is_none());
    missing.map(|program| format!("there is no {program}"))
}

/// A folder as of `make release` whose plugin and program are compiled of this C.
fn dist_of(source: &str, flags: &[&str]) -> TempDir {
    let dist = tempfile::tempdir().expect("a folder");
    let built = tempfile::tempdir().expect("a folder");
    let file = built.path().join("source.c");
    fs::write(&file, source).expect("it is writable");
    for name in ["flb-in_container_logs.so", "tail-containers"] {
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-nostdlib"]).args(flags);
        run(cc.arg("-o").arg(built.path().join(name)).arg(&file)).expect("it compiles");
        fs::write(built.path().join(format!("{name}.debug")), "").expect("it is writable");
    }
    let archive = |name: &str, files: &[&str]| {
        let mut tar = Command::new("tar");
        tar.arg("czf").arg(dist.path().join(name));
        run(tar
            .arg("-C")
            .arg(built.path().parent().expect("a folder"))
            .args(files))
        .expect("tar");
    };
    let folder = built.path().file_name().expect("a name");
    let folder = folder.to_str().expect("text");
    let arch = std::env::consts::ARCH;
    archive(&format!("x-{arch}.tar.gz"), &[folder]);
    let debug = ["flb-in_container_logs.so.debug", "tail-containers.debug"];
    let mut tar = Command::new("tar");
    tar.arg("czf")
        .arg(dist.path().join(format!("x-{arch}-debug.tar.gz")));
    run(tar.arg("-C").arg(built.path()).args(debug)).expect("tar");
    run(Command::new("sh")
        .args(["-c", "sha256sum *.tar.gz >SHA256SUMS"])
        .current_dir(dist.path()))
    .expect("sha256sum");
    dist
}

#[test]
fn a_library_that_breaks_a_promise_is_named() {
    let name = "release::a_library_that_breaks_a_promise_is_named";
    if let Some(reason) = missing() {
        return skip(name, &reason);
    }
    let source = format!(
        "const char in_container_logs_plugin[] = \"{}/src/lib.rs\"; int another(void) {{ return 1; }}",
        env!("CARGO_MANIFEST_DIR")
    );
    let dist = dist_of(&source, &["-g"]);
    let (said, is_content) = check(dist.path());
    assert!(!is_content, "{said}");
    for complaint in [
        "flb-in_container_logs.so: it exports another in_container_logs_plugin",
        "flb-in_container_logs.so: it has no flag NODELETE",
        "flb-in_container_logs.so: it contains the path ",
        "flb-in_container_logs.so: it is not stripped",
        "flb-in_container_logs.so: it has no section .dep-v0",
        "there is no list of dependencies",
    ] {
        assert!(said.contains(complaint), "no `{complaint}` in {said}");
    }
}

#[test]
fn a_library_for_a_newer_glibc_or_with_another_library_is_named() {
    let name = "release::a_library_for_a_newer_glibc_or_with_another_library_is_named";
    if let Some(reason) = missing() {
        return skip(name, &reason);
    }
    // getrandom came with glibc 2.25.
    let source = "long getrandom(void *, unsigned long, unsigned); int in_container_logs_plugin;
        long x(void) { return getrandom(0, 0, 0); }";
    let flags = ["-Wl,--no-as-needed", "-lc", "-lgcc_s", "-Wl,-z,nodelete"];
    let dist = dist_of(source, &flags);
    let (said, is_content) = check(dist.path());
    assert!(!is_content, "{said}");
    assert!(
        said.contains("it needs glibc 2.25, 2.17 is promised"),
        "{said}"
    );
    assert!(
        said.contains("it needs libgcc_s.so.1, which is not of glibc"),
        "{said}"
    );
    assert!(!said.contains("no flag NODELETE"), "{said}");
}

#[test]
fn a_file_that_was_changed_is_named() {
    let name = "release::a_file_that_was_changed_is_named";
    if let Some(reason) = missing() {
        return skip(name, &reason);
    }
    let dist = dist_of("int in_container_logs_plugin;", &[]);
    fs::write(dist.path().join("BUILDINFO"), "added later").expect("it is writable");
    let (said, _) = check(dist.path());
    assert!(
        said.contains("BUILDINFO: it is not in SHA256SUMS"),
        "{said}"
    );
    let sums = dist.path().join("SHA256SUMS");
    let text = fs::read_to_string(&sums).expect("it is there");
    fs::write(
        &sums,
        text.replacen(|digit: char| digit.is_ascii_hexdigit(), "x", 1),
    )
    .expect("it is writable");
    let (said, is_content) = check(dist.path());
    assert!(
        !is_content && said.contains("SHA256SUMS: a file is not what it says"),
        "{said}"
    );
}

#[test]
fn what_make_release_has_built_may_be_published() {
    let name = "release::what_make_release_has_built_may_be_published";
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"),
        PathBuf::from,
    );
    let dist = target.join("dist");
    if !dist.join("SHA256SUMS").exists() {
        return skip(
            name,
            "nothing is in target/dist: make release has not run here",
        );
    }
    let (said, is_content) = check(&dist);
    assert!(is_content, "{said}");
}
