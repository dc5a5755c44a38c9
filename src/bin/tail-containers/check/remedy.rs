//! How to fix an error, depending on the user and the environment.

use std::io;
use std::path::Path;

use fluent_bit_container_logs::config::{socket_option, Config};
use fluent_bit_container_logs::runtime::bounded_file::FileKind;
use fluent_bit_container_logs::runtime::docker::configured_data_root;
use fluent_bit_container_logs::runtime::file::{is_permanent, is_shortage};
use fluent_bit_container_logs::runtime::{bounded_file, Api, Runtime};
use fluent_bit_container_logs::telemetry::metrics::Unread;
use rustix::process::geteuid;
use rustix::thread::{capabilities, CapabilitySet};

/// Files by which runtimes mark a container.
const MARKS_OF_CONTAINERS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// The user and the environment that this process runs as and in.
pub struct Place {
    is_root: bool,
    may_read_all: bool,
    is_in_container: bool,
    is_in_user_namespace: bool,
}

impl Place {
    /// Detects them.
    pub fn find() -> Place {
        let needed = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE;
        let uid_map = bounded_file::read_text(Path::new("/proc/self/uid_map"), FileKind::Proc)
            .unwrap_or_default();
        let uid_map: Vec<&str> = uid_map.split_whitespace().collect();
        Place {
            is_root: geteuid().is_root(),
            may_read_all: capabilities(None).is_ok_and(|sets| sets.effective.intersects(needed)),
            is_in_container: MARKS_OF_CONTAINERS
                .iter()
                .any(|mark| Path::new(mark).exists()),
            is_in_user_namespace: uid_map != ["0", "0", "4294967295"],
        }
    }

    /// The fix for a file or folder that cannot be read.
    pub fn for_error(&self, error: &io::Error) -> String {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return self.for_denial().to_owned();
        }
        if is_shortage(error) {
            return "raise the limit of open files (see below)".to_owned();
        }
        if error.kind() == io::ErrorKind::NotFound {
            return "mount or restore what it leads to, or remove it".to_owned();
        }
        if error.kind() == io::ErrorKind::Unsupported {
            return "let it write to a folder that only root can write to (podman run --log-opt path=), or allow Podman's API (Mode hybrid, Podman_Socket)".to_owned();
        }
        if error.kind() == io::ErrorKind::InvalidData {
            return "find out whether Podman itself can read it (podman ps)".to_owned();
        }
        if is_permanent(error) {
            return "no runtime creates a link, pipe or folder there, and only a link of root's in the place of a container's folder is followed (docker, nerdctl): find out who did, and remove it, or mount in its place what a link leads to".to_owned();
        }
        "check the file system (dmesg)".to_owned()
    }

    fn for_denial(&self) -> &'static str {
        if self.may_read_all && self.is_in_user_namespace {
            "run outside of this user namespace (docker run --userns=host), whose root cannot read files of the machine's root"
        } else if self.may_read_all {
            "a security module forbids it (see journalctl -k); for SELinux: docker run --security-opt label=disable"
        } else if self.is_root {
            "add the capability that root lacks here: docker run --cap-add DAC_READ_SEARCH"
        } else {
            "run as root (sudo), or with the capability CAP_DAC_READ_SEARCH: AmbientCapabilities=CAP_DAC_READ_SEARCH in Fluent Bit's unit (docs/least-privilege.md)"
        }
    }

    /// The fix for a runtime's folder that does not exist.
    pub fn for_missing_root(&self, runtime: &dyn Runtime, root: &Path, config: &Config) -> String {
        if self.is_in_container {
            return format!(
                "mount it: docker run -v {0}:{0}:ro, or set {1} to where it is mounted",
                root.display(),
                runtime.root_option()
            );
        }
        if runtime.api() != Some(Api::Docker) {
            let (title, option) = (runtime.title(), runtime.root_option());
            return format!("start {title}, or set where it keeps its logs ({option})");
        }
        let configured = configured_data_root(&config.runtimes.machine);
        if let Some(path) = configured.filter(|path| !root.starts_with(path)) {
            return format!(
                "dockerd uses {0}: set --docker-root {0} or Docker_Root {0}, or remove the option",
                path.display()
            );
        }
        "set --docker-root or Docker_Root to the folder that docker info -f '{{.DockerRootDir}}' prints; for rootless Docker set Docker_Users".to_owned()
    }

    /// The fix for a folder with the kubelet's links that does not exist.
    pub fn for_missing_links(&self, links: &Path) -> String {
        let links = links.display();
        match self.is_in_container {
            true => format!("mount it: volume and mountPath {links}, readOnly; or set Pod_Links"),
            false => "set Pod_Links to the folder in which the kubelet keeps its links".to_owned(),
        }
    }

    /// The fix for a database of containerd's that has no images and labels for us.
    pub fn for_containerds_database(&self, database: &Path, error: &io::Error) -> String {
        let root = database.ancestors().nth(2).unwrap_or(database).display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => self.for_denial().to_owned(),
            io::ErrorKind::NotFound if self.is_in_container => {
                format!("mount the root of containerd: docker run -v {root}:{root}:ro")
            }
            io::ErrorKind::NotFound => "start a container: its files in /run/containerd tell where the root of containerd is; or set root in containerd's config.toml, or keep it beside nerdctl's data root".to_owned(),
            _ => "find out whether containerd itself knows these containers (nerdctl ps -a), or remove those that are left over".to_owned(),
        }
    }

    /// The fix for links of pods that lead to a data root of Docker that is not here.
    pub fn for_linked_logs(&self) -> String {
        "mount Docker's data root (docker info -f '{{.DockerRootDir}}' prints it), and set Docker_Root to where it is mounted".to_owned()
    }

    /// The fix for an API socket that cannot be used.
    pub fn for_socket(&self, api: Api, socket: &Path) -> String {
        let shown = socket.display();
        let (service, start) = match api {
            Api::Docker => ("docker", "start dockerd (systemctl start docker)"),
            Api::Podman => (
                "podman",
                "start Podman's service (systemctl enable --now podman.socket)",
            ),
        };
        match std::os::unix::net::UnixStream::connect(socket).map_err(|error| error.kind()) {
            Err(io::ErrorKind::NotFound) if self.is_in_container => {
                format!("mount it: docker run -v {shown}:{shown}")
            }
            Err(io::ErrorKind::PermissionDenied) => {
                format!("run as root, or as a member of the group that owns {shown} (usermod -aG GROUP USER)")
            }
            Err(io::ErrorKind::NotFound) => {
                format!(
                    "{start}, or set where its socket is: -o {}=unix:///path",
                    socket_option(api)
                )
            }
            Err(io::ErrorKind::ConnectionRefused) => {
                format!("no process listens on it: {start}")
            }
            _ => format!(
                "find out why it does not answer: systemctl status {service}, journalctl -u {service}"
            ),
        }
    }
}

/// The fix for a container that is read nowhere. nerdctl has no API, and none is used for a
/// container of a user.
pub fn fix_for_nowhere(unread: Unread, has_api: bool) -> &'static str {
    match (unread, has_api) {
        (Unread::DriverNone, _) => "start it with another log driver (docker run --log-driver json-file), or exclude it (Exclude)",
        (_, false) => "create it with a log driver that keeps a file (docker or nerdctl run --log-driver json-file; podman run --log-driver k8s-file, or log_driver = \"k8s-file\" in the user's containers.conf), or exclude it (Exclude)",
        (_, true) => "allow the API (Mode hybrid, and Docker_Socket or Podman_Socket not off), start it with another log driver, or exclude it (Exclude)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluent_bit_container_logs::runtime::docker::Docker;
    use fluent_bit_container_logs::runtime::users::UserChoice;

    #[test]
    fn a_denial_is_mended_by_who_one_is() {
        let fix = |is_root, may_read_all, is_in_user_namespace| {
            let place = Place {
                is_root,
                may_read_all,
                is_in_container: false,
                is_in_user_namespace,
            };
            place.for_error(&io::ErrorKind::PermissionDenied.into())
        };
        assert!(fix(false, false, false).contains("CAP_DAC_READ_SEARCH"));
        assert!(fix(true, false, false).contains("--cap-add DAC_READ_SEARCH"));
        assert!(fix(true, true, true).contains("--userns=host"));
        assert!(fix(true, true, false).contains("--security-opt label=disable"));
    }

    #[test]
    fn a_container_without_an_api_is_not_helped_by_one() {
        let fix = |has_api| fix_for_nowhere(Unread::ApiUnavailable, has_api);
        assert!(fix(false).contains("--log-driver k8s-file") && !fix(false).contains("API"));
        assert!(fix(true).starts_with("allow the API"));
    }

    #[test]
    fn in_a_container_what_is_missing_is_to_be_mounted() {
        let config = Config::from_lookup(|_| None).unwrap();
        let root = Path::new("/var/lib/docker/containers");
        let in_a_container = |is_in_container| Place {
            is_root: true,
            may_read_all: true,
            is_in_container,
            is_in_user_namespace: false,
        };
        let fix = |is_in_container| {
            let place = in_a_container(is_in_container);
            (
                place.for_missing_root(&Docker::new(root), root, &config),
                place.for_socket(Api::Docker, Path::new("/nowhere/d.sock")),
            )
        };
        let (mount, socket) = fix(true);
        assert_eq!(
            mount,
            "mount it: docker run -v /var/lib/docker/containers:/var/lib/docker/containers:ro, or set Docker_Root to where it is mounted"
        );
        assert_eq!(
            socket,
            "mount it: docker run -v /nowhere/d.sock:/nowhere/d.sock"
        );
        let users = Docker::of_users(&UserChoice::default(), Path::new("/nowhere"));
        let fix_for_users = in_a_container(true).for_missing_root(&users, root, &config);
        assert!(
            fix_for_users.contains("set Docker_Users to"),
            "{fix_for_users}"
        );
        let (_, socket) = fix(false);
        assert!(socket.contains("systemctl start docker"), "{socket}");
    }
}
