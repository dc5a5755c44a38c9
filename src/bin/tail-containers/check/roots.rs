//! What is wrong with the folders in which runtimes keep their containers.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::runtime;
use fluent_bit_container_logs::runtime::bounded_file::{read_text, FileKind};
use fluent_bit_container_logs::runtime::docker::configured_data_root;
use fluent_bit_container_logs::runtime::mounts::Mounts;
use fluent_bit_container_logs::runtime::safe_path::SafePath;
use fluent_bit_container_logs::runtime::{Api, Runtime, RuntimeChoice, RuntimeOptions};
use fluent_bit_container_logs::telemetry::metrics::Unread;

use super::advice::Advice;
use super::containers::{Containers, Group, State};
use super::remedy::Place;
use super::seen::Seen;
use super::Finding;

impl Containers {
    /// Leaves out the runtimes that this machine does not have.
    pub(super) fn hide_unused(&mut self, config: &Config) {
        let is_auto = config.runtimes.choice == RuntimeChoice::Auto;
        let is_listed = |group: &Group| matches!(group.state, State::Listed);
        let is_any_there = self.groups.iter().any(is_listed);
        for group in &mut self.groups {
            let runtime = &group.runtime;
            let is_wanted = !is_auto || runtime.is_configured() || runtime.is_missed(is_any_there);
            group.is_shown = !group.is_missing() || (is_wanted && !runtime.is_optional());
        }
    }

    /// Reports roots that cannot be listed. A missing one is not reported if another runtime
    /// is there.
    pub(super) fn report_roots(&self, config: &Config, place: &Place, findings: &mut Vec<Finding>) {
        let is_any_there = self
            .groups
            .iter()
            .any(|group| matches!(group.state, State::Listed));
        // Of the machine's storage and the users' storages one is enough.
        let is_auto = config.runtimes.choice == RuntimeChoice::Auto
            || (config.runtimes.reads_users() && is_any_there);
        for group in &self.groups {
            let about = group.root.display().to_string();
            let advice = Advice::of(place, &*group.runtime);
            match &group.state {
                State::Listed => {}
                State::Missing(_) if group.runtime.is_optional() => {}
                State::Missing(_) if is_auto && !group.runtime.is_missed(is_any_there) => {}
                State::Missing(error) => {
                    let is_given = !config.runtimes.docker_roots.is_empty();
                    let above = is_given
                        .then(|| advice.for_root_below(&group.root))
                        .flatten();
                    let fix = match (above, elsewhere(&*group.runtime, &config.runtimes)) {
                        (Some(fix), _) => fix,
                        (None, Some(root)) => {
                            let (title, option) = (group.title, group.runtime.root_option());
                            format!(
                                "{title} keeps its containers in {}: leave {option} out",
                                root.display()
                            )
                        }
                        (None, None) => advice.for_missing_root(&group.root, config),
                    };
                    // The kernel's own text says no more.
                    let problem = match error.get_ref() {
                        Some(reason) => reason.to_string(),
                        None => "the folder does not exist".to_owned(),
                    };
                    let finding = Finding::fatal(about, problem, fix);
                    findings.push(finding.because(Unread::Missing));
                }
                State::Unreadable(error) => {
                    let finding = match no_folder(&group.root, group.runtime.root_option()) {
                        Some((problem, fix)) => Finding::fatal(about, problem, fix),
                        None => Finding::fatal(about, error.to_string(), advice.for_error(error)),
                    };
                    findings.push(finding.because(Unread::of_error(error)));
                }
            }
        }
    }

    /// Reports that Docker's daemon is given another data root than the option: the one that is
    /// read may be left over.
    pub(super) fn report_other_root(&self, config: &Config, findings: &mut Vec<Finding>) {
        let Some(root) = configured_data_root(&config.runtimes.machine) else {
            return;
        };
        let is_of_docker = |group: &&Group| group.runtime.api() == Some(Api::Docker);
        let mut of_docker = self.groups.iter().filter(is_of_docker).peekable();
        let is_any_there = of_docker.peek().is_some();
        if is_any_there && !of_docker.any(|group| group.root.starts_with(&root)) {
            findings.push(Finding::minor(
                root.display().to_string(),
                "Docker's daemon keeps its containers there, but Docker_Root does not include it",
                "add it to Docker_Root, or leave Docker_Root out",
            ));
        }
    }

    /// Reports mounts that hide what was there before them: roots without a container, and the
    /// folder of a container of which nothing is there.
    pub(super) fn report_empty_mounts(&self, findings: &mut Vec<Finding>) {
        let mounts = read_text(Path::new("/proc/self/mountinfo"), FileKind::Proc);
        let mounts = Mounts::parse(&mounts.unwrap_or_default());
        for group in &self.groups {
            for point in mounts.points().filter(|point| group.is_hidden_by(point)) {
                let finding = Finding::fatal(
                    point.display().to_string(),
                    "it is a mount point, and the mount hides the container's folder",
                    "unmount it (umount), or mount it elsewhere",
                );
                findings.push(finding.because(Unread::Missing));
            }
            let is_empty = matches!(group.state, State::Listed) && group.seen.is_empty();
            let (root, mount) = (&group.root, mounts.point_of(&group.root));
            let is_mount = mount == *root || root.parent() == Some(&mount);
            if is_empty && is_mount && mount != Path::new("/") && !group.places.is_empty() {
                findings.push(Finding::minor(
                    root.display().to_string(),
                    format!("there is no container, and {} is a mount point: if containers ran before it was mounted, the mount hides their logs", mount.display()),
                    "if so, unmount it, or restart the runtime",
                ));
            }
        }
    }
}

impl Group {
    /// Whether something is mounted on the folder of a container, or on one in it, of which nothing
    /// can be seen.
    fn is_hidden_by(&self, point: &Path) -> bool {
        let Some(above) = point.parent() else {
            return false;
        };
        let mut folders = self.folders.iter().map(|folder| &**folder);
        let is_place = self.root == above
            || self.places.iter().any(|place| place == above)
            || folders.any(|folder| folder == above);
        let mut below = self
            .seen
            .iter()
            .filter(|it| it.dir.starts_with(point))
            .peekable();
        let is_known = |seen: &Seen| !seen.image.is_empty() || seen.files.is_some();
        let is_empty = || SafePath::from(point.to_owned()).is_empty_folder();
        is_place
            && matches!(self.state, State::Listed)
            && match below.peek() {
                Some(_) => !below.any(is_known),
                None => is_empty(),
            }
    }
}

/// What is there in place of a root or of a folder above it, and what to do about it.
fn no_folder(root: &Path, option: &str) -> Option<(String, String)> {
    // The root of users' containers is the file with the users.
    if option.ends_with("_Users") {
        return None;
    }
    let is_there = |path: &Path| Some((path.to_owned(), path.metadata().ok()?.file_type()));
    let (path, kind) = root.ancestors().find_map(is_there)?;
    let kind = match () {
        () if kind.is_dir() => return None,
        () if kind.is_file() => "file",
        () if kind.is_fifo() => "named pipe (FIFO)",
        () if kind.is_socket() => "socket",
        () => "device",
    };
    Some((
        format!("{} is a {kind}, not a folder", path.display()),
        format!("set {option} to the runtime's folder, or remove what is there instead of it"),
    ))
}

/// Where the containers of a runtime are if its root is not set.
fn elsewhere(runtime: &dyn Runtime, options: &RuntimeOptions) -> Option<PathBuf> {
    let defaults = Config::from_lookup(|_| None::<String>).ok()?.runtimes;
    let defaults = RuntimeOptions {
        machine: options.machine.clone(),
        ..defaults
    };
    let mut roots = runtime::all(&defaults)
        .into_iter()
        .filter(|other| other.title() == runtime.title())
        .map(|other| other.root());
    roots.find(|root| *root != runtime.root() && runtime.list(root).is_ok())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{mkfifoat, Mode, CWD};

    use super::*;

    #[test]
    fn what_is_there_in_place_of_a_root_is_named() {
        let machine = tempfile::tempdir().unwrap();
        let at = |name: &str| machine.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("folder")).unwrap();
        mkfifoat(CWD, at("folder/containers"), Mode::RUSR).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        for (root, is) in [
            ("file/containers", "file is a file, not a folder"),
            (
                "folder/containers",
                "folder/containers is a named pipe (FIFO), not a folder",
            ),
            ("socket/containers", "socket is a socket, not a folder"),
        ] {
            let (problem, fix) = no_folder(&at(root), "Docker_Root").unwrap();
            assert_eq!(problem, at(is).display().to_string());
            assert!(fix.starts_with("set Docker_Root to"), "{fix}");
        }
        assert_eq!(no_folder(&at("folder"), "Docker_Root"), None);
        assert_eq!(no_folder(&at("folder/none"), "Docker_Root"), None);
        assert_eq!(no_folder(&at("file"), "Docker_Users"), None);
    }

    #[test]
    fn a_root_that_was_set_and_is_missing_is_looked_for_where_it_usually_is() {
        let machine = tempfile::tempdir().unwrap();
        let options = |docker_root: &str| {
            let root = machine.path().join(docker_root).display().to_string();
            let lookup = |name: &str| (name == "Docker_Root").then(|| root.clone());
            RuntimeOptions {
                choice: RuntimeChoice::Only("docker"),
                machine: machine.path().to_owned(),
                ..Config::from_lookup(lookup).unwrap().runtimes
            }
        };
        let found = |options: &RuntimeOptions| elsewhere(&*runtime::all(options)[0], options);
        let wrong = options("wrong");
        assert_eq!(found(&wrong), None);
        let usual = machine.path().join("var/lib/docker/containers");
        fs::create_dir_all(&usual).unwrap();
        assert_eq!(found(&wrong), Some(usual.canonicalize().unwrap()));
        assert_eq!(found(&options("var/lib/docker")), None, "it is the same");
    }
}
