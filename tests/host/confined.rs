//! Every hostile container at once, in a process that may have 256 MB: it ends in good
//! order and an innocent container's lines are all there.
//!
//! The limit is that of private writable memory (`RLIMIT_DATA`), where an allocation too
//! many fails and ends the program; a limit of the address space would count what is
//! reserved and never touched.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use flate2::write::GzEncoder;
use flate2::Compression;
use rustix::process::Signal;
use serde_json::json;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{record, DockerRoot};
use test_kit::exporter::{scrape, value};
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::skip;

const MIB: usize = 1 << 20;
const LIMIT: usize = 256 * MIB;

/// `tail-containers` over all logs of `root`, confined; `None` without `prlimit`.
fn confined(root: &DockerRoot, options: &[&str]) -> Option<Output> {
    let has_prlimit = Command::new("prlimit")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={LIMIT}")).arg("--");
    command.arg(env!("CARGO_BIN_EXE_tail-containers")).args([
        "--no-follow",
        "--tail",
        "all",
        "--json",
        "--runtime",
        "docker",
    ]);
    command
        .arg("--docker-root")
        .arg(root.path())
        .args(options)
        .stdin(Stdio::null());
    has_prlimit.then(|| command.output().expect("it runs"))
}

/// A root with one container of each kind, and `good` among them with 1,000 lines.
fn hostile_root() -> DockerRoot {
    let root = DockerRoot::new();
    let mut digits = ('0'..='9').chain('b'..='f');
    let mut hostile = |name: &str, labels: serde_json::Value| {
        let log = root.container(digits.next().expect("a digit"), name);
        log.write_config_with(name, true, labels, &[]);
        log
    };
    let project = "com.docker.compose.project";

    let mut log = hostile("large-label", json!({ project: "x".repeat(10 * MIB) }));
    log.raw(
        record("stdout", "\n", "2026-11-14T22:13:20.5Z")
            .repeat(20_000)
            .as_bytes(),
    );

    let many: serde_json::Map<String, serde_json::Value> = (0..200_000)
        .map(|number| (format!("{project}.{number}"), json!("x".repeat(40))))
        .collect();
    hostile("many-labels", json!(many)).line("with many labels");

    hostile(&"n".repeat(5 * MIB), json!({})).line("with a long name");

    let mut log = hostile("nested", json!({}));
    log.raw(b"{\"time\":\"a\",\"z\":[".repeat(16_000).as_slice());
    log.raw(b"\n");
    log.raw(b"{\"log\":\"{\\\"a\\\":".repeat(16_000).as_slice());
    log.raw(b"\n");

    let mut log = hostile("endless", json!({}));
    log.raw(&vec![b'x'; 40 * MIB]);

    let mut log = hostile("holes", json!({}));
    log.raw(&vec![0; MIB]);
    log.raw(b"\n");

    let mut log = hostile("merged", json!({ "fluentbit.io/merge_log": "true" }));
    let keys: Vec<String> = (0..40_000)
        .map(|number| format!("\\\"k{number}\\\":{number}"))
        .collect();
    log.raw(
        record(
            "stdout",
            &format!("{{{}}}\n", keys.join(",")),
            "2026-11-14T22:13:20.5Z",
        )
        .as_bytes(),
    );

    let expression = json!({ "fluentbit.io/multiline": "[ab]{0,40}a[ab]{40}c" });
    let mut log = hostile("expression", expression);
    (0..200).for_each(|_| log.line(&"ab".repeat(700)));

    // What a megabyte becomes when it is unpacked.
    let mut log = hostile("archive", json!({}));
    log.line("behind the archive");
    let archive = std::fs::File::create(log.log.with_extension("log.1.gz")).expect("a file");
    let mut archive = GzEncoder::new(archive, Compression::fast());
    let piece = vec![b' '; MIB];
    (0..128).for_each(|_| archive.write_all(&piece).expect("it is written"));
    archive.finish().expect("it is written");

    let sparse = hostile("sparse-config", json!({}));
    let config = sparse.log.with_file_name("config.v2.json");
    std::fs::File::create(config)
        .expect("a file")
        .set_len(3 << 30)
        .expect("a hole");

    let mut good = root.container('a', "good");
    (0..1_000).for_each(|number| good.line(&format!("good {number}")));
    root
}

#[test]
fn every_hostile_container_at_once_fits_into_256_mb() {
    let root = hostile_root();
    for options in [
        &[][..],
        &[
            "-o",
            "Label_Hints=all",
            "-o",
            "Merge_Log=on",
            "-o",
            "Labels=*",
        ],
    ] {
        let Some(output) = confined(&root, options) else {
            return skip(
                "confined::every_hostile_container_at_once_fits_into_256_mb",
                "no prlimit",
            );
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{options:?}: {}: {errors}",
            output.status
        );
        let lines = String::from_utf8_lossy(&output.stdout);
        let good: Vec<&str> = lines
            .lines()
            .filter(|line| line.contains("\"good "))
            .collect();
        assert_eq!(good.len(), 1_000, "{options:?}: {errors}");
        assert!(
            lines.contains("behind the archive") && lines.contains("with many labels"),
            "{errors}"
        );
    }
}

/// The limit would be noticed: what the test allows is less than these take unbounded.
#[test]
fn a_process_that_takes_more_than_256_mb_does_not_end_well() {
    let name = "confined::a_process_that_takes_more_than_256_mb_does_not_end_well";
    let command = format!(
        "head -c {} /dev/zero | tail -c {}",
        LIMIT + MIB,
        LIMIT + MIB
    );
    let mut confined = Command::new("prlimit");
    confined
        .arg(format!("--data={LIMIT}"))
        .args(["sh", "-c", &command]);
    match confined
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
    {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains("memory"), "{}: {errors}", output.status);
        }
        Err(_) => skip(name, "no prlimit"),
    }
}

/// Each line of 71 bytes becomes a record of 8 KiB, and without `Mem_Buf_Limit` Fluent Bit
/// takes all that it is given between two flushes.
#[test]
fn empty_lines_with_much_metadata_fit_into_256_mb_with_fluent_bit() {
    const LINES: usize = 120_000;
    with_each_host(
        "confined::empty_lines_with_much_metadata_fit_into_256_mb_with_fluent_bit",
        |program, plugin| {
            let root = DockerRoot::new();
            let mut log = root.container('a', "mallory");
            let labels: serde_json::Map<String, serde_json::Value> = (0..6)
                .map(|number| (format!("label.{number}"), json!("x".repeat(8 << 10))))
                .collect();
            log.write_config_with("mallory", true, json!(labels), &[]);
            log.raw(
                record("stdout", "\n", "2026-11-14T22:13:20.5Z")
                    .repeat(LINES)
                    .as_bytes(),
            );
            let confined = root.path().join("confined");
            let script = format!(
                "#!/bin/sh\nexec prlimit --data={LIMIT} -- {} \"$@\"\n",
                program.display()
            );
            std::fs::write(&confined, script).expect("a script");
            std::fs::set_permissions(&confined, std::fs::Permissions::from_mode(0o755))
                .expect("a program");
            let mut host = FluentBit::new(&confined, Some(plugin), "").with_http_server();
            let yaml = format!(
            "service:\n  flush: 0.2\n  http_server: on\n  http_listen: 127.0.0.1\n  http_port: {port}\n\
             pipeline:\n  inputs:\n    - name: container_logs\n      runtime: docker\n      docker_root: {root}\n      \
             docker_socket: off\n      read_from_head: on\n      labels: '*'\n  outputs:\n    - name: 'null'\n      match: '*'\n",
            port = host.http_port(),
            root = root.path().display(),
        );
            host = host.with_yaml(&yaml);
            host.start().expect("Fluent Bit starts");
            let all = Some(LINES as f64);
            host.wait_until(PATIENCE * 3, "all records", |host| {
                value(&scrape(host), "records_total", &[]) == all
            });
            host.signal(Signal::TERM);
            let end = host.wait_exit(PATIENCE).expect("an end");
            assert!(end.success(), "{end:?} {}", host.stderr());
        },
    );
}
