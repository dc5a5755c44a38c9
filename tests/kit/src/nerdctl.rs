//! nerdctl over a private containerd, with a data root of its own.

use std::path::PathBuf;
use std::process::Command;

use super::containerd::{Containerd, IMAGE};
use super::{programs, run};

/// containerd's namespace of the containers.
pub const NAMESPACE: &str = "shop";

pub struct Nerdctl {
    containerd: Containerd,
}

impl Nerdctl {
    /// Starts a containerd and gives nerdctl's namespace the image [`IMAGE`].
    pub fn start() -> Result<Nerdctl, String> {
        programs("nerdctl").next().ok_or("no nerdctl")?;
        let nerdctl = Nerdctl {
            containerd: Containerd::start()?,
        };
        let image = nerdctl.containerd.image().display().to_string();
        nerdctl.nerdctl(&["load", "--input", &image])?;
        Ok(nerdctl)
    }

    /// Its data root, `/var/lib/nerdctl` by default.
    pub fn root(&self) -> PathBuf {
        self.containerd.path().join("nerdctl")
    }

    /// Runs it, where containerd runs, and gives what it printed on stdout.
    pub fn nerdctl(&self, arguments: &[&str]) -> Result<String, String> {
        let folder = |name: &str| self.containerd.path().join(name).display().to_string();
        let mut command = Command::new("nsenter");
        command.args(self.containerd.namespaces()?).arg("nerdctl");
        command.arg("--address").arg(self.containerd.socket());
        command.arg("--data-root").arg(self.root());
        command.args(["--namespace", NAMESPACE, "--snapshotter", "native"]);
        command.args(["--cgroup-manager", "cgroupfs"]);
        command.args([
            "--cni-path",
            &folder("cni"),
            "--cni-netconfpath",
            &folder("net.d"),
        ]);
        run(command.args(arguments))
    }

    /// Starts a container; `options` go to `nerdctl run`. Gives its id.
    pub fn run_detached(&self, name: &str, options: &[&str], sh: &str) -> Result<String, String> {
        let mut arguments = vec!["run", "--detach", "--name", name, "--network", "none"];
        arguments.extend(options);
        arguments.extend([IMAGE, "sh", "-c", sh]);
        self.nerdctl(&arguments).map(|id| id.trim().to_owned())
    }
}
