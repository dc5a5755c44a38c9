//! How to fix an error, depending on the user and the environment.

use std::io;
use std::path::Path;

use fluent_bit_container_logs::config::socket_option;
use fluent_bit_container_logs::runtime::bounded_file::FileKind;
use fluent_bit_container_logs::runtime::{bounded_file, Api};
use rustix::process::geteuid;
use rustix::thread::{capabilities, CapabilitySet};

/// Files by which runtimes mark a container.
const MARKS_OF_CONTAINERS: [(&str, Around); 2] = [
    ("/.dockerenv", Around::Docker),
    ("/run/.containerenv", Around::Podman),
];
/// The kubelet sets it in each container of a pod.
const MARK_OF_PODS: &str = "KUBERNETES_SERVICE_HOST";

/// What this process runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    Machine,
    Docker,
    Podman,
    Pod,
}

/// The user and the environment that this process runs as and in.
pub struct Place {
    is_root: bool,
    may_read_all: bool,
    around: Around,
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
            around: match std::env::var_os(MARK_OF_PODS) {
                Some(_) => Around::Pod,
                None => {
                    let marks = MARKS_OF_CONTAINERS.iter();
                    let mark = marks.clone().find(|(mark, _)| Path::new(mark).exists());
                    mark.map_or(Around::Machine, |(_, around)| *around)
                }
            },
            is_in_user_namespace: uid_map != ["0", "0", "4294967295"],
        }
    }

    /// How to start this process with an option of the container that it runs in, or in a pod with
    /// a field of the security context; `None` outside of a container.
    fn run(&self, option: &str, field: &str) -> Option<String> {
        match self.around {
            Around::Machine => None,
            Around::Docker => Some(format!("docker run {option}")),
            Around::Podman => Some(format!("podman run {option}")),
            Around::Pod => Some(format!("{field} in the pod")),
        }
    }

    /// How to mount a folder of the machine; `None` outside of a container.
    pub fn mount(&self, path: &Path) -> Option<String> {
        let path = path.display();
        let volume = format!("-v {path}:{path}:ro");
        let field = format!("a volume with hostPath, and mountPath {path}, readOnly,");
        Some(format!("mount it: {}", self.run(&volume, &field)?))
    }

    /// The fix for a right that this process lacks.
    pub fn for_denial(&self) -> String {
        let with = |fix: &str, how: Option<String>| match how {
            Some(how) => format!("{fix}: {how}"),
            None => fix.to_owned(),
        };
        if self.may_read_all && self.is_in_user_namespace {
            let how = match self.around {
                Around::Podman => Some("start it as root (sudo podman run)".to_owned()),
                _ => self.run("--userns=host", "hostUsers: true"),
            };
            let fix = "run outside this user namespace, whose root cannot read the files of the machine's root";
            with(fix, how)
        } else if self.may_read_all {
            let how = self.run("--security-opt label=disable", "seLinuxOptions.type: spc_t");
            let how = how.map(|how| format!("for SELinux {how}"));
            with("a security module forbids it (see journalctl -k)", how)
        } else if self.is_root {
            let how = self.run(
                "--cap-add DAC_READ_SEARCH",
                "capabilities.add: [DAC_READ_SEARCH]",
            );
            let unit = || "CapabilityBoundingSet in Fluent Bit's unit".to_owned();
            let how = Some(how.unwrap_or_else(unit));
            with(
                "add the capability CAP_DAC_READ_SEARCH that root lacks here",
                how,
            )
        } else if let Some(how) = self.run("--user 0", "runAsUser: 0") {
            format!("run as root ({how}), or with the capability CAP_DAC_READ_SEARCH (docs/least-privilege.md)")
        } else {
            "run as root (sudo), or with the capability CAP_DAC_READ_SEARCH: AmbientCapabilities=CAP_DAC_READ_SEARCH in Fluent Bit's unit (docs/least-privilege.md)".to_owned()
        }
    }

    /// How to raise the limit of open files.
    pub fn for_open_files(&self, wanted: u64) -> String {
        let unit = format!("LimitNOFILE={wanted} in");
        let how = match self.around {
            Around::Machine => format!("{unit} Fluent Bit's unit"),
            Around::Pod => format!("{unit} the unit of the machine's container runtime"),
            Around::Docker => format!("docker run --ulimit nofile={wanted}"),
            Around::Podman => format!("podman run --ulimit nofile={wanted}"),
        };
        format!("ulimit -n {wanted}; {how}")
    }

    /// The fix for a folder with the kubelet's links that does not exist.
    pub fn for_missing_links(&self, links: &Path) -> String {
        match self.mount(links) {
            Some(mount) => format!("{mount}; or set Pod_Links"),
            None => "set Pod_Links to the folder in which the kubelet keeps its links".to_owned(),
        }
    }

    /// The fix for a database of containerd's that has no images and labels for us.
    pub fn for_containerds_database(&self, database: &Path, error: &io::Error) -> String {
        let root = database.ancestors().nth(2).unwrap_or(database);
        match error.kind() {
            io::ErrorKind::PermissionDenied => self.for_denial(),
            io::ErrorKind::NotFound => match self.mount(root) {
                Some(mount) => format!("it is in the root of containerd; {mount}"),
                None => "start a container, whose files in /run/containerd show where containerd's root is; or set root in containerd's config.toml, or keep it beside nerdctl's data root".to_owned(),
            },
            _ => "find out whether containerd itself lists these containers (nerdctl ps -a), or remove what is left of them".to_owned(),
        }
    }

    /// The fix for links of pods that lead to a data root of Docker that is not here.
    pub fn for_linked_logs(&self) -> String {
        "mount Docker's data root (docker info -f '{{.DockerRootDir}}' prints it), and set Docker_Root to where it is mounted".to_owned()
    }

    /// The fix for a journal of systemd that cannot be read.
    pub fn for_journal(&self, error: io::ErrorKind) -> String {
        let mount = "--mount type=bind,readonly,source=/var/log/journal,target=/var/log/journal (or /run/log/journal, whichever the machine has)";
        let field =
            "volumes with hostPath /var/log/journal or /run/log/journal, whichever the node has,";
        match (error, self.run(mount, field)) {
            (io::ErrorKind::Unsupported, _) => "install libsystemd (Debian: libsystemd0, RHEL: systemd-libs); for a container, in its image".to_owned(),
            (io::ErrorKind::PermissionDenied, _) => "run as root, as a member of the group systemd-journal (usermod -aG systemd-journal USER), or with CAP_DAC_READ_SEARCH".to_owned(),
            (io::ErrorKind::NotFound, Some(how)) => format!("mount it: {how}"),
            (io::ErrorKind::NotFound, None) => "set Journal_Path to its folder; with Storage=none in journald.conf, there is no journal".to_owned(),
            _ => "check it with journalctl; journalctl --verify finds damaged files".to_owned(),
        }
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
            Err(io::ErrorKind::NotFound) if self.around != Around::Machine => {
                let volume = format!("-v {shown}:{shown}");
                let field = format!("a volume with hostPath, and mountPath {shown},");
                format!("mount it: {}", self.run(&volume, &field).unwrap_or_default())
            }
            Err(io::ErrorKind::PermissionDenied) if api == Api::Docker => {
                format!("run as root, or as a member of the group that owns {shown} (usermod -aG GROUP USER)")
            }
            Err(io::ErrorKind::PermissionDenied) => "run as root".to_owned(),
            Err(io::ErrorKind::NotFound) => {
                format!(
                    "{start}, or name its socket: -o {}=unix:///path",
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

#[cfg(test)]
impl Place {
    /// Root's, with all rights.
    pub fn within(around: Around) -> Place {
        Place {
            is_root: true,
            may_read_all: true,
            around,
            is_in_user_namespace: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Around, &str); 4] = [
        (Around::Machine, "Fluent Bit's unit"),
        (Around::Docker, "docker run"),
        (Around::Podman, "podman run"),
        (Around::Pod, "in the pod"),
    ];

    #[test]
    fn a_denial_is_mended_by_who_one_is_and_where() {
        for (around, words) in ALL {
            let fix = |is_root, may_read_all, is_in_user_namespace| {
                let place = Place {
                    is_root,
                    may_read_all,
                    around,
                    is_in_user_namespace,
                };
                place.for_denial()
            };
            let is_in_container = around != Around::Machine;
            let of_user = fix(false, false, false);
            assert!(of_user.starts_with("run as root") && of_user.contains(words));
            let of_root = fix(true, false, false);
            assert!(of_root.contains("DAC_READ_SEARCH") && of_root.contains(words));
            let in_namespace = fix(true, true, true);
            assert!(in_namespace.contains("user namespace"));
            assert_eq!(
                in_namespace.contains(words),
                is_in_container,
                "{in_namespace}"
            );
            let forbidden = fix(true, true, false);
            assert!(forbidden.contains("security module"));
            assert_eq!(forbidden.contains(words), is_in_container, "{forbidden}");
        }
    }

    #[test]
    fn in_a_container_what_is_missing_is_to_be_mounted() {
        let folder = Path::new("/run/none");
        for (around, words) in ALL {
            let place = Place::within(around);
            let fixes = [
                place.mount(folder).unwrap_or_default(),
                place.for_missing_links(folder),
                place.for_socket(Api::Docker, folder),
                place.for_socket(Api::Podman, folder),
            ];
            for fix in fixes {
                let is_mount = fix.contains("mount it") && fix.contains(words);
                assert_eq!(is_mount, around != Around::Machine, "{fix}");
                assert_eq!(is_mount, fix.contains("/run/none"), "{fix}");
            }
        }
        let fix = |api| Place::within(Around::Machine).for_socket(api, folder);
        assert!(fix(Api::Docker).contains("systemctl start docker"));
        assert!(fix(Api::Podman).contains("podman.socket"));
    }
}
