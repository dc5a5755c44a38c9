//! A real conmon, called as CRI-O calls it: the log is where the kubelet says, and is
//! opened anew when conmon is told so after each of the kubelet's renames.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{json, Value};
use tempfile::TempDir;

use test_kit::collector::{Collector, PATIENCE};
use test_kit::pod_root::{PodRoot, PodWriter};
use test_kit::writer::{assert_lines, numbered_slowly, of_lengths, Script, Stream, EDGE_LENGTHS};
use test_kit::{programs, run, skip, wait_until};

const ROTATIONS: usize = 6;

/// A container of runc's with its conmon, created and not yet started.
struct Conmon {
    dir: TempDir,
    id: String,
}

impl Conmon {
    fn create(script: &Script, log: &PodWriter) -> Result<Conmon, String> {
        let program = |name: &str| programs(name).next().ok_or(format!("no {name}"));
        let (conmon, runc) = (program("conmon")?, program("runc")?);
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let container = Conmon { dir, id: log.id() };
        let pack =
            "mkdir -p rootfs/bin exits sockets state && cp \"$(command -v busybox)\" rootfs/bin/busybox && \
                    for name in sh seq sed echo sleep head printf; do ln -s busybox rootfs/bin/$name; done";
        run(Command::new("sh")
            .args(["-c", pack])
            .current_dir(container.path()))?;
        run(Command::new(&runc)
            .arg("spec")
            .current_dir(container.path()))?;
        container.adapt_spec(&script.sh)?;
        let in_dir = |name: &str| container.path().join(name);
        let mut command = Command::new(conmon);
        command.args([
            "--cid",
            &container.id,
            "--cuuid",
            &container.id,
            "--name",
            "app",
        ]);
        command.arg("--runtime").arg(runc);
        command.arg(format!("--runtime-arg=--root={}", in_dir("runc").display()));
        command
            .arg("--bundle")
            .arg(container.path())
            .arg("--container-pidfile")
            .arg(in_dir("pid"));
        command
            .arg("--exit-dir")
            .arg(in_dir("exits"))
            .arg("--socket-dir-path")
            .arg(in_dir("sockets"));
        command.arg("--persist-dir").arg(in_dir("state"));
        command
            .arg("--log-path")
            .arg(format!("k8s-file:{}", log.log().display()));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = command.status().map_err(|error| error.to_string())?;
        // It goes into the background, and says of a failure only there.
        if !status.success() || !test_kit::holds_within(PATIENCE, || in_dir("pid").exists()) {
            return Err("conmon and runc make no container here".to_owned());
        }
        Ok(container)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What `runc spec` gives, without a terminal and with this to run.
    fn adapt_spec(&self, sh: &str) -> Result<(), String> {
        let file = self.path().join("config.json");
        let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let mut spec: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["sh", "-c", sh]);
        spec["process"]["rlimits"] = json!([]);
        spec["linux"]["cgroupsPath"] = json!(format!("/fbcl-conmon-{}", std::process::id()));
        fs::write(file, spec.to_string()).map_err(|error| error.to_string())
    }

    fn runc(&self, arguments: &[&str]) -> Result<String, String> {
        let root: PathBuf = self.path().join("runc");
        run(Command::new("runc")
            .arg("--root")
            .arg(root)
            .args(arguments)
            .arg(&self.id))
    }

    /// As CRI-O does for `ReopenContainerLog`.
    fn reopen_log(&self) {
        let mut control = fs::OpenOptions::new()
            .write(true)
            .open(self.path().join("ctl"))
            .expect("a pipe");
        control.write_all(b"2 0 0\n").expect("conmon reads it");
    }
}

impl Drop for Conmon {
    fn drop(&mut self) {
        let _ = self.runc(&["delete", "--force"]);
    }
}

#[test]
fn what_conmon_writes_over_the_kubelets_rotations_comes_once() {
    let test = "conmon::what_conmon_writes_over_the_kubelets_rotations_comes_once";
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    let script = numbered_slowly(Stream::Stdout, "line", 1500, "0.002")
        .then(of_lengths(Stream::Stdout, &EDGE_LENGTHS))
        .then(numbered_slowly(Stream::Stdout, "more", 100, "0.002"));
    let container = match Conmon::create(&script, &log) {
        Ok(container) => container,
        Err(reason) => return skip(test, &reason),
    };
    let collector = Collector::start(root.path(), &[("Runtime", "cri")]);
    container.runc(&["start"]).expect("runc start");
    for rotation in 1..=ROTATIONS {
        collector.wait("more lines", |collector| collector.count() > rotation * 200);
        log.rotate();
        container.reopen_log();
        wait_until(PATIENCE, "the new file", || log.log().exists());
    }
    let expected = script.of(Stream::Stdout);
    collector.wait("all lines", |collector| collector.count() >= expected.len());
    let (records, messages) = collector.stop();
    let got: Vec<&str> = records.iter().map(|record| record.text("log")).collect();
    assert_lines(&format!("{messages:?}"), &got, &expected);
    assert!(records
        .iter()
        .all(|record| record.text("container_id") == container.id));
    assert!(records.iter().all(|record| record.text("pod") == "web-1"));
}
