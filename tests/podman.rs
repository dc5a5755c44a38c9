//! Real containers of Podman, written by its conmon, in a storage of the test's own.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::collector::Collector;
use crate::support::skip;
use crate::support::writer::{interleaved, numbered, of_lengths, unterminated, Script, Stream, EDGE_LENGTHS};

struct Podman {
    dir: TempDir,
}

impl Podman {
    /// A storage with an image, or why there can be none.
    fn new() -> Result<Podman, String> {
        let podman = Podman { dir: tempfile::tempdir().map_err(|error| error.to_string())? };
        let image = podman.dir.path().join("image");
        let pack = "mkdir -p \"$0/bin\" && cp \"$(command -v busybox)\" \"$0/bin/busybox\" && \
                    for name in sh seq sed echo sleep head printf; do ln -s busybox \"$0/bin/$name\"; done && \
                    tar -C \"$0\" -cf \"$0.tar\" .";
        run(Command::new("sh").args(["-c", pack]).arg(&image))?;
        podman.podman(&["import", &image.with_extension("tar").display().to_string(), "busybox:test"])?;
        Ok(podman)
    }

    fn storage(&self) -> std::path::PathBuf {
        self.dir.path().join("storage")
    }

    fn podman(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("podman");
        let folder = |flag: &str, dir: &Path| format!("--{flag}={}", dir.display());
        command.arg(folder("root", &self.storage())).arg(folder("runroot", &self.dir.path().join("run")));
        // vfs and cgroupfs need nothing of the machine.
        command.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"]);
        command.args(["--runtime=runc"]).args(arguments);
        run(&mut command)
    }

    fn run_detached(&self, name: &str, driver: &str, script: &Script) -> Result<String, String> {
        let log = format!("--log-driver={driver}");
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        let place = ["--network=none", "--security-opt=seccomp=unconfined"];
        let mut arguments = vec!["run", "--detach", "--name", name, log.as_str()];
        arguments.extend(limits.iter().chain(&place));
        arguments.extend(["busybox:test", "sh", "-c", script.sh.as_str()]);
        self.podman(&arguments).map(|id| id.trim().to_owned())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--force", "--all", "--time=0"]);
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    // conmon keeps what it inherits: no pipe for it to hold open.
    let out = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let to =
        |file: &tempfile::NamedTempFile| file.reopen().map(Stdio::from).map_err(|error| error.to_string());
    let errors = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(to(&out)?).stderr(to(&errors)?);
    let status = command.status().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let read = |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap_or_default();
    match status.success() {
        true => Ok(read(&out)),
        false => Err(format!("{:?}: {}", command.get_program(), read(&errors))),
    }
}

#[test]
fn what_conmon_writes_arrives_line_by_line() {
    let script = numbered(Stream::Stdout, "line", 2000)
        .then(of_lengths(Stream::Stdout, &EDGE_LENGTHS))
        .then(of_lengths(Stream::Stderr, &EDGE_LENGTHS))
        .then(interleaved(300))
        .then(unterminated(Stream::Stdout, 1234));
    let started = Podman::new().and_then(|podman| {
        // `json-file` is but another name there.
        let ids = ["k8s-file", "json-file"]
            .into_iter()
            .map(|driver| podman.run_detached(driver, driver, &script))
            .collect::<Result<Vec<String>, String>>()?;
        Ok((podman, ids))
    });
    let (podman, ids) = match started {
        Ok(started) => started,
        Err(reason) => return skip("podman::what_conmon_writes_arrives_line_by_line", &reason),
    };
    let storage = podman.storage().display().to_string();
    let collector = Collector::start(podman.dir.path(), &[("Runtime", "podman"), ("Podman_Root", &storage)]);
    for (id, name) in ids.iter().zip(["k8s-file", "json-file"]) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let ours = || {
                let records = collector.records().into_iter();
                records.filter(|record| {
                    record.text("container_id") == id && record.text("stream") == stream.name()
                })
            };
            let expected = script.of(stream);
            // The unterminated end waits for its rest for half a minute.
            collector.wait("all lines", |_| ours().count() >= expected.len());
            let records: Vec<_> = ours().collect();
            let got: Vec<&str> = records.iter().map(|record| record.text("log")).collect();
            let differs = got.iter().zip(&expected).position(|(got, want)| got != want);
            assert_eq!((differs, got.len()), (None, expected.len()), "{name} {}", stream.name());
            assert!(records.iter().all(|record| record.text("container_name") == name));
            assert!(records.iter().all(|record| record.text("image") == "localhost/busybox:test"));
        }
    }
}
