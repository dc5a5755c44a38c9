//! A real containerd, asked as the kubelet asks it: what its CRI plugin writes, over the
//! kubelet's rotations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use test_kit::collector::{Collector, PATIENCE};
use test_kit::cri::{
    call, ContainerConfig, ContainerMetadata, ContainerSecurity, CreateContainer, Id, ImageSpec,
    LinuxContainer, LinuxPod, NamespaceOption, PodConfig, PodMetadata, PodSecurity, RunPodSandbox,
    NODE,
};
use test_kit::pod_root::{uid_of, PodRoot, PodWriter};
use test_kit::writer::{
    assert_lines, interleaved, numbered_slowly, of_lengths, Script, Stream, EDGE_LENGTHS,
};
use test_kit::{holds_within, programs, run, skip, wait_until};

const ROTATIONS: usize = 6;
const IMAGE: &str = "localhost/busybox:test";

/// A containerd with its shims and containers in namespaces of their own, all of which
/// end with it.
struct Containerd {
    dir: TempDir,
    process: Child,
}

impl Containerd {
    fn start() -> Result<Containerd, String> {
        for name in ["containerd", "ctr", "runc"] {
            programs(name).next().ok_or(format!("no {name}"))?;
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\n  address = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = {IMAGE:?}\n  restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = \"native\"\n",
            at("root"),
            at("state"),
            at("socket"),
        );
        fs::write(at("config.toml"), config).map_err(|error| error.to_string())?;
        let log = fs::File::create(at("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.args(["--mount-proc", "--propagation", "private", "sh", "-c"]);
        // The shims' sockets have a fixed place.
        command
            .arg("mount -t tmpfs none /run && exec containerd --config \"$0\"")
            .arg(at("config.toml"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = command.spawn().map_err(|error| error.to_string())?;
        let containerd = Containerd { dir, process };
        let version = || run(containerd.ctr().arg("version")).is_ok();
        if !holds_within(PATIENCE, version) {
            return Err(format!(
                "containerd does not answer: {}",
                containerd.end_of_log()
            ));
        }
        containerd.import_image()?;
        Ok(containerd)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"]);
        command
    }

    /// busybox, which also is what keeps a pod's namespaces: it sleeps.
    fn import_image(&self) -> Result<(), String> {
        let pack = r#"
            mkdir -p layer/bin image && cp "$(command -v busybox)" layer/bin/busybox &&
            for name in sh seq sed echo sleep head printf; do ln -s busybox layer/bin/$name; done &&
            tar -C layer -cf image/layer.tar . &&
            printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sleep","100000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
                "$(sha256sum image/layer.tar | cut -d' ' -f1)" >image/config.json &&
            printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$0" >image/manifest.json &&
            tar -C image -cf image.tar manifest.json config.json layer.tar"#;
        run(Command::new("sh")
            .args(["-c", pack, IMAGE])
            .current_dir(self.dir.path()))?;
        run(self
            .ctr()
            .args(["images", "import"])
            .arg(self.dir.path().join("image.tar")))
        .map(drop)
    }

    /// Runs a pod with one container whose log is at `log`; the container's id.
    fn run(&self, script: &Script, log: &PodWriter, pod: &str) -> Result<String, String> {
        let namespaces = NamespaceOption { network: NODE };
        let metadata = PodMetadata {
            name: pod.to_owned(),
            uid: uid_of(pod),
            namespace: "shop".to_owned(),
        };
        let folder = log
            .dir
            .parent()
            .unwrap_or(Path::new("/"))
            .display()
            .to_string();
        let config = PodConfig {
            metadata: Some(metadata),
            log_directory: folder,
            linux: Some(LinuxPod {
                cgroup_parent: control_group(),
                security: Some(PodSecurity {
                    namespaces: Some(namespaces.clone()),
                }),
            }),
        };
        let sandbox = self.call(
            "RunPodSandbox",
            &RunPodSandbox {
                config: Some(config.clone()),
            },
        )?;
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "app".to_owned(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
            command: ["/bin/sh", "-c", &script.sh].map(str::to_owned).to_vec(),
            log_path: "app/0.log".to_owned(),
            linux: Some(LinuxContainer {
                security: Some(ContainerSecurity {
                    namespaces: Some(namespaces),
                }),
            }),
        };
        let create = CreateContainer {
            pod_sandbox_id: sandbox,
            config: Some(container),
            sandbox_config: Some(config),
        };
        let id = self.call("CreateContainer", &create)?;
        self.call("StartContainer", &Id { id: id.clone() })?;
        Ok(id)
    }

    fn call(&self, method: &str, request: &impl prost::Message) -> Result<String, String> {
        let answer = call(&self.socket(), method, request);
        answer
            .map(|answer| answer.id)
            .map_err(|error| format!("{error}: {}", self.end_of_log()))
    }

    fn end_of_log(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Processes that are killed leave their control groups a little later.
        let remove = format!(
            "find /sys/fs/cgroup -depth -type d -path '*{0}*' -exec rmdir {{}} \\; ; \
             test -z \"$(find /sys/fs/cgroup -type d -path '*{0}*')\"",
            control_group()
        );
        holds_within(PATIENCE, || {
            run(Command::new("sh").args(["-c", &remove])).is_ok()
        });
    }
}

/// The control group of the pods.
fn control_group() -> String {
    format!("/fbcl-containerd-{}", std::process::id())
}

#[test]
fn what_containerd_writes_over_the_kubelets_rotations_comes_once() {
    let test = "containerd::what_containerd_writes_over_the_kubelets_rotations_comes_once";
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    let script = numbered_slowly(Stream::Stdout, "line", 1500, "0.002")
        .then(of_lengths(Stream::Stdout, &EDGE_LENGTHS))
        .then(interleaved(200));
    let started = Containerd::start().and_then(|containerd| {
        let id = containerd.run(&script, &log, "web-1")?;
        Ok((containerd, id))
    });
    let (containerd, id) = match started {
        Ok(started) => started,
        Err(reason) => return skip(test, &reason),
    };
    let collector = Collector::start(root.path(), &[("Runtime", "cri")]);
    for rotation in 1..=ROTATIONS {
        collector.wait("more lines", |collector| collector.count() > rotation * 200);
        log.rotate();
        containerd
            .call("ReopenContainerLog", &Id { id: id.clone() })
            .expect("it is opened anew");
        wait_until(PATIENCE, "the new file", || log.log().exists());
    }
    let all = script.of(Stream::Stdout).len() + script.of(Stream::Stderr).len();
    collector.wait("all lines", |collector| collector.count() >= all);
    let (records, messages) = collector.stop();
    for stream in [Stream::Stdout, Stream::Stderr] {
        let expected = script.of(stream);
        let ours = records
            .iter()
            .filter(|record| record.text("stream") == stream.name());
        let got: Vec<&str> = ours.map(|record| record.text("log")).collect();
        assert_lines(&format!("{}: {messages:?}", stream.name()), &got, &expected);
    }
}
