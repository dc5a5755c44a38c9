//! What to do about the containers and files of one runtime, in the words of that runtime alone.

use std::io;
use std::path::Path;

use fluent_bit_container_logs::config::{socket_option, Config};
use fluent_bit_container_logs::runtime::docker::{configured_data_root, HOST_CONFIG_FILE};
use fluent_bit_container_logs::runtime::file::{is_permanent, is_shortage};
use fluent_bit_container_logs::runtime::{Api, Runtime};
use fluent_bit_container_logs::telemetry::metrics::Unread;
use rustix::io::Errno;

use super::remedy::Place;

/// The tool with which containers are managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Docker,
    Podman,
    Nerdctl,
    Kubernetes,
}

/// Advice about the containers of one runtime.
#[derive(Clone, Copy)]
pub struct Advice<'a> {
    place: &'a Place,
    tool: Tool,
    is_of_users: bool,
    api: Option<Api>,
    root_option: &'static str,
}

impl<'a> Advice<'a> {
    /// About those of `runtime`, for a process in this place.
    pub fn of(place: &'a Place, runtime: &dyn Runtime) -> Advice<'a> {
        let root_option = runtime.root_option();
        let tool = match root_option.split('_').next() {
            Some("Docker") => Tool::Docker,
            Some("Podman") => Tool::Podman,
            Some("Nerdctl") => Tool::Nerdctl,
            _ => Tool::Kubernetes,
        };
        Advice {
            place,
            tool,
            is_of_users: root_option.ends_with("_Users"),
            api: runtime.api(),
            root_option,
        }
    }

    /// The command of the tool; of pods `crictl`.
    fn command(self) -> &'static str {
        match self.tool {
            Tool::Docker => "docker",
            Tool::Podman => "podman",
            Tool::Nerdctl => "nerdctl",
            Tool::Kubernetes => "crictl",
        }
    }

    /// Whose command it is, if that matters.
    fn as_whom(self) -> &'static str {
        match self.is_of_users {
            true => ", as that user",
            false => "",
        }
    }

    /// The fix for a file or folder that cannot be read.
    pub fn for_error(self, error: &io::Error) -> String {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return self.place.for_denial();
        }
        if is_shortage(error) {
            return "raise the limit of open files (see below)".to_owned();
        }
        if error.kind() == io::ErrorKind::NotFound {
            return "mount or restore its target, or remove it".to_owned();
        }
        if error.kind() == io::ErrorKind::Unsupported {
            return self.for_log_elsewhere();
        }
        let is_of_disk = [Errno::IO, Errno::STALE].map(|errno| Some(errno.raw_os_error()));
        if !is_permanent(error) || is_of_disk.contains(&error.raw_os_error()) {
            return "check the file system (dmesg)".to_owned();
        }
        // Every limit is reported with these words.
        if error.to_string().contains("more than") {
            return match self.tool {
                Tool::Kubernetes => "remove what is no longer needed there".to_owned(),
                _ => format!(
                    "remove what is no longer needed there ({} container prune{})",
                    self.command(),
                    self.as_whom()
                ),
            };
        }
        self.for_intruder().to_owned()
    }

    /// The fix for settings that may have moved containers.
    pub fn for_settings(self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::InvalidData if self.is_of_users => {
                "its user must correct it; until then, only the usual place is read".to_owned()
            }
            io::ErrorKind::InvalidData => format!(
                "correct it, or set {}, if {} keeps its containers elsewhere",
                self.root_option,
                self.command()
            ),
            _ => self.for_error(error),
        }
    }

    /// The fix for something that is there in place of a file or folder.
    fn for_intruder(self) -> &'static str {
        match (self.is_of_users, self.tool) {
            (true, _) => "below a home directory, nothing is read through a link or a mount, or from another owner: its user must put the file or folder itself there",
            (_, Tool::Docker | Tool::Nerdctl) => "no runtime creates a link, pipe or folder there, and only a link that root owns, in place of a container's folder, is followed: find out who created it and remove it, or mount a link's target in its place",
            (_, Tool::Podman | Tool::Kubernetes) => "no runtime creates a link, pipe or folder there, and no link is followed: find out who created it and remove it, or mount a link's target in its place (mount --bind)",
        }
    }

    /// The fix for a log that was put where it is not read.
    fn for_log_elsewhere(self) -> String {
        let Some(option) = self.log_option() else {
            return self.for_intruder().to_owned();
        };
        if self.is_of_users {
            return format!(
                "its user must create it again with the log in its usual place (without {option})"
            );
        }
        let file = format!("have it write to a folder that only root can write to ({option})");
        match self.api {
            Some(api) => format!(
                "{file}, or allow {}'s API (Mode hybrid, {})",
                api.title(),
                socket_option(api)
            ),
            None => file,
        }
    }

    /// The fix for a log whose folder, outside of its container's, does not exist here.
    pub fn for_missing_folder(self, folder: &Path) -> String {
        let how = match self.place.mount(folder) {
            Some(mount) => mount,
            None => "restore it".to_owned(),
        };
        match self.log_option() {
            Some(option) => format!("{how}, or create the container again without {option}"),
            None => how,
        }
    }

    /// The option that puts a log elsewhere.
    fn log_option(self) -> Option<&'static str> {
        match self.tool {
            Tool::Podman => Some("podman run --log-opt path="),
            Tool::Nerdctl => Some("nerdctl run --log-opt log-path="),
            Tool::Docker | Tool::Kubernetes => None,
        }
    }

    /// The fix for a user who is not in `/etc/passwd`.
    pub fn for_unknown_user(self) -> String {
        let option = self.root_option;
        match self.place.mount(Path::new("/etc/passwd")) {
            Some(mount) => format!(
                "correct the name; in a container, {mount}; or name the home directory in {option}"
            ),
            None => format!("correct the name, or name the home directory in {option}"),
        }
    }

    /// The fix for a container that is read nowhere.
    pub fn for_nowhere(self, unread: Unread) -> String {
        let exclude = "or exclude it (Exclude)";
        let file = match (self.tool, self.is_of_users) {
            (Tool::Docker, _) => "docker run --log-driver json-file",
            (Tool::Podman, false) => "podman run --log-driver k8s-file",
            (Tool::Podman, true) => "podman run --log-driver k8s-file, or log_driver = \"k8s-file\" in the user's containers.conf",
            (Tool::Nerdctl, _) => "nerdctl run --log-driver json-file",
            (Tool::Kubernetes, _) => return format!("find out why the kubelet has no log for it (crictl logs), {exclude}"),
        };
        let other =
            format!("create it again with a log driver that keeps a file ({file}), {exclude}");
        match self.api {
            Some(api) if unread != Unread::DriverNone => format!(
                "allow the API (Mode hybrid, and {} not off), {other}",
                socket_option(api)
            ),
            _ => other,
        }
    }

    /// The fix for a file with a container's metadata that has an unexpected content.
    pub fn for_damage(self, file: &Path) -> String {
        let is_host_config = file.ends_with(HOST_CONFIG_FILE);
        match self.tool {
            Tool::Docker if is_host_config => format!(
                "it is damaged; Docker rewrites it when the container is updated (docker update --restart=no NAME{})",
                self.as_whom()
            ),
            Tool::Docker => {
                "it is damaged; Docker rewrites it when the container is renamed or started"
                    .to_owned()
            }
            Tool::Podman => self.for_database(),
            Tool::Nerdctl | Tool::Kubernetes => {
                "it is damaged; create the container again".to_owned()
            }
        }
    }

    /// The fix for a list or a database of all containers.
    fn for_database(self) -> String {
        let (command, whom) = (self.command(), self.as_whom());
        format!("find out whether {command} itself can read it ({command} ps -a{whom})")
    }

    /// The fix for a database that does not tell the labels.
    pub fn for_labels(self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::InvalidData => self.for_database(),
            _ => self.for_error(error),
        }
    }

    /// The fix for an option that names the folder `containers` in Docker's data root in place of
    /// the data root.
    pub fn for_root_below(self, root: &Path) -> Option<String> {
        let given = root.parent()?;
        let is_below = self.tool == Tool::Docker && root.ends_with("containers/containers");
        let above = given.parent().filter(|_| is_below && given.is_dir())?;
        let above = above.display();
        Some(format!(
            "give the folder above: --docker-root {above} or Docker_Root {above}"
        ))
    }

    /// The fix for a runtime's folder that does not exist.
    pub fn for_missing_root(self, root: &Path, config: &Config) -> String {
        let option = self.root_option;
        if self.is_of_users {
            // The root is the file with the users.
            return match self.place.mount(root) {
                Some(mount) => {
                    format!("{mount}, and the home directories of the users in {option}")
                }
                None => format!("name the users' home directories in {option} (/home/ada)"),
            };
        }
        if let Some(mount) = self.place.mount(root) {
            return format!("{mount}, or set {option} to where it is mounted");
        }
        match self.tool {
            Tool::Docker => {
                let configured = configured_data_root(&config.runtimes.machine);
                match configured.filter(|path| !root.starts_with(path)) {
                    Some(path) => format!(
                        "dockerd uses {0}: set --docker-root {0} or Docker_Root {0}, or remove the option",
                        path.display()
                    ),
                    None => "set --docker-root or Docker_Root to the folder that docker info -f '{{.DockerRootDir}}' prints; for rootless Docker set Docker_Users".to_owned(),
                }
            }
            Tool::Podman => "set Podman_Root to the folder that podman info -f '{{.Store.GraphRoot}}' prints; for users' containers set Podman_Users".to_owned(),
            Tool::Nerdctl => "set Nerdctl_Root to the data_root of nerdctl (/etc/nerdctl/nerdctl.toml, nerdctl --data-root); for users' containers set Nerdctl_Users".to_owned(),
            Tool::Kubernetes => "set Pod_Logs to the kubelet's podLogsDir (/var/log/pods by default), or start the kubelet".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
