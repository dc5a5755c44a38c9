//! A private containerd, asked as the kubelet asks it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::collector::PATIENCE;
use super::cri::{
    call, ContainerConfig, ContainerMetadata, ContainerSecurity, CreateContainer, Id, ImageSpec,
    LinuxContainer, LinuxPod, NamespaceOption, PodConfig, PodMetadata, PodSecurity, RunPodSandbox,
    NODE,
};
use super::pod_root::uid_of;
use super::{holds_within, programs, run};

/// The one image there is.
pub const IMAGE: &str = "localhost/busybox:test";

/// A containerd with its shims and containers in namespaces of their own, all of which
/// end with it.
pub struct Containerd {
    dir: TempDir,
    process: Child,
}

/// A running pod.
pub struct Pod {
    sandbox: String,
    config: PodConfig,
}

impl Containerd {
    /// Starts one and gives it the image [`IMAGE`].
    pub fn start() -> Result<Containerd, String> {
        for name in ["containerd", "ctr", "runc"] {
            programs(name).next().ok_or(format!("no {name}"))?;
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\n  address = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = {IMAGE:?}\n  restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  snapshotter = \"native\"\n",
            at("containerd"),
            at("state"),
            at("state/containerd.sock"),
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

    /// A folder for it all.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The image as `docker save` writes it.
    pub fn image(&self) -> PathBuf {
        self.path().join("image.tar")
    }

    /// Options of `nsenter` for the namespaces that it runs in.
    pub fn namespaces(&self) -> Result<[String; 3], String> {
        let parent = self.process.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(children).map_err(|error| error.to_string())?;
        let process = children.trim();
        Ok([
            format!("--mount=/proc/{process}/ns/mnt"),
            format!("--pid=/proc/{process}/ns/pid"),
            "--".to_owned(),
        ])
    }

    /// Where its API listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("state/containerd.sock")
    }

    fn ctr(&self) -> Command {
        self.ctr_of("k8s.io")
    }

    /// `ctr` for a namespace.
    pub fn ctr_of(&self, namespace: &str) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace]);
        command
    }

    /// Creates a container in a namespace, with labels, and does not start it. The namespace gets
    /// the image.
    pub fn create(&self, namespace: &str, id: &str, labels: &[&str]) -> Result<(), String> {
        let mut import = self.ctr_of(namespace);
        import.args(["images", "import", "--snapshotter", "native"]);
        run(import.arg(self.image()))?;
        let mut create = self.ctr_of(namespace);
        create.args(["containers", "create", "--snapshotter", "native"]);
        for label in labels {
            create.args(["--label", label]);
        }
        run(create.args([IMAGE, id, "/bin/sh"])).map(drop)
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
        run(self.ctr().args(["images", "import"]).arg(self.image())).map(drop)
    }

    /// Runs a pod of the namespace `shop` whose containers log below `log_directory`.
    pub fn pod(&self, name: &str, log_directory: &Path) -> Result<Pod, String> {
        let config = PodConfig {
            metadata: Some(PodMetadata {
                name: name.to_owned(),
                uid: uid_of(name),
                namespace: "shop".to_owned(),
            }),
            log_directory: log_directory.display().to_string(),
            linux: Some(LinuxPod {
                cgroup_parent: control_group(),
                security: Some(PodSecurity {
                    namespaces: Some(NamespaceOption { network: NODE }),
                }),
            }),
        };
        let request = RunPodSandbox {
            config: Some(config.clone()),
        };
        let sandbox = self.call("RunPodSandbox", &request)?;
        Ok(Pod { sandbox, config })
    }

    /// Starts the pod's container `app`, for the `run`th time from 0; its id. The log is
    /// `app/<run>.log`.
    pub fn start_container(
        &self,
        pod: &Pod,
        run: u32,
        is_terminal: bool,
        sh: &str,
    ) -> Result<String, String> {
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "app".to_owned(),
                attempt: run,
            }),
            image: Some(ImageSpec {
                image: IMAGE.to_owned(),
            }),
            command: ["/bin/sh", "-c", sh].map(str::to_owned).to_vec(),
            log_path: format!("app/{run}.log"),
            is_terminal,
            linux: Some(LinuxContainer {
                security: Some(ContainerSecurity {
                    namespaces: Some(NamespaceOption { network: NODE }),
                }),
            }),
        };
        let request = CreateContainer {
            pod_sandbox_id: pod.sandbox.clone(),
            config: Some(container),
            sandbox_config: Some(pod.config.clone()),
        };
        let id = self.call("CreateContainer", &request)?;
        self.call("StartContainer", &Id { id: id.clone() })?;
        Ok(id)
    }

    /// Has it open the log of a container anew, which the kubelet has renamed.
    pub fn reopen_log(&self, id: &str) -> Result<(), String> {
        self.call("ReopenContainerLog", &Id { id: id.to_owned() })
            .map(drop)
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
