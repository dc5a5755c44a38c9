//! Docker's containers, and its files about each: `config.v2.json` (name, image, labels,
//! environment) and `hostconfig.json` (log driver). dockerd replaces both by rename, so a reader
//! sees either the whole old file or the whole new one; the pair is not replaced atomically.
//! `docker_roots` has the folders in which containers are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::format::rfc3339::TimeParser;
use crate::runtime::bounded_file::FileKind;
use crate::runtime::bounded_json::TextMap;
use crate::runtime::bounded_reason::reason_of;
use crate::runtime::bounds::{Env, Labels};
use crate::runtime::docker_mounts::{mounted, MountPoints};
use crate::runtime::docker_pod::pod_of;
use crate::runtime::docker_roots::{self, Roots};
use crate::runtime::last_run::LastRun;
use crate::runtime::log_driver::{JournalWriter, LogDriver, JSON_FILE_DRIVER};
use crate::runtime::log_files::LogFiles;
use crate::runtime::metadata::{ContainerMetadata, MetadataError};
use crate::runtime::own_container::Mounted;
use crate::runtime::safe_path::SafePath;
use crate::runtime::seam::{Api, Found, Listing, Runtime};
use crate::runtime::storages::Storages;
use crate::runtime::users::UserChoice;
use crate::runtime::RuntimeOptions;

/// File with a container's name, image, labels and environment.
pub const CONFIG_FILE: &str = "config.v2.json";
/// File with the log driver.
pub const HOST_CONFIG_FILE: &str = "hostconfig.json";
/// The file of the driver `local`.
pub const LOCAL_LOG: &str = "container.log";
/// The file in which Docker caches the log of a driver that cannot be read back.
pub const CACHED_LOG: &str = "container-cached.log";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Creation {
    created: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigV2 {
    name: Option<String>,
    config: Option<ImageConfig>,
    state: Option<State>,
    hosts_path: Option<PathBuf>,
    mount_points: Option<MountPoints>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    image: Option<String>,
    labels: Option<Labels>,
    env: Option<Env>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    running: bool,
    /// It has ended and will be started again; dockerd says that it runs.
    #[serde(default)]
    restarting: bool,
}

impl State {
    fn is_running(&self) -> bool {
        self.running && !self.restarting
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    state: Option<RunState>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunState {
    #[serde(flatten)]
    state: State,
    started_at: Option<String>,
    finished_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    log_config: Option<LogConfig>,
    network_mode: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct LogConfig {
    r#type: Option<String>,
    config: Option<TextMap>,
}

/// Reads name, image, labels and environment of a container.
pub fn read_metadata(found: &Found) -> Result<ContainerMetadata, MetadataError> {
    let path = found.dir.join(CONFIG_FILE);
    let config: ConfigV2 = read_json(&path, found)?;
    let Some(name) = config.name.as_ref() else {
        return Err(MetadataError::Unreadable {
            path: path.to_path_buf(),
            reason: "it has no Name".to_owned(),
        });
    };
    // A user may write anything there, and is no part of the machine's pods.
    let is_roots = found.owner.is_none();
    let mounted = match is_roots {
        true => mounted(&found.dir, &config.mount_points, &config.hosts_path, || {
            let config: HostConfig = read_json(&found.dir.join(HOST_CONFIG_FILE), found).ok()?;
            config.network_mode
        }),
        false => Mounted::Unknown,
    };
    let image = config.config.unwrap_or_default();
    let (labels, env) = (
        image.labels.unwrap_or_default(),
        image.env.unwrap_or_default(),
    );
    let name = name.strip_prefix('/').unwrap_or(name);
    let id = Some(found.runtime_id());
    let pod = is_roots.then(|| pod_of(name, &labels.pairs, id)).flatten();
    let (name, pod) = match pod {
        Some((name, pod)) => (name, Some(pod)),
        None => (name.to_owned(), None),
    };
    let metadata = ContainerMetadata {
        name,
        image: image.image.unwrap_or_default(),
        labels: labels.pairs,
        env: env.pairs,
        runtime: Api::Docker.runtime_name(),
        is_running: config.state.is_some_and(|state| state.is_running()),
        pod: pod.map(Box::new),
        owner: found.owner.clone(),
        mounted,
        is_cut: labels.is_cut || env.is_cut,
        is_partial: false,
    };
    Ok(metadata.bounded())
}

/// Splits each `NAME=value` string of an environment.
pub fn split_env(env: Vec<String>) -> Vec<(String, String)> {
    let pairs = env.iter().filter_map(|variable| variable.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Reads when a container ran last.
pub(super) fn read_last_run(found: &Found) -> LastRun {
    let run = read_json::<Run>(&found.dir.join(CONFIG_FILE), found);
    let Some(state) = run.ok().and_then(|run| run.state) else {
        return LastRun::default();
    };
    // One that has not ended yet is said to have in the year 1.
    let time = |text: Option<String>| {
        let time = TimeParser::default().parse(text?.as_bytes())?;
        Some(time.since_epoch()).filter(|time| *time > 0)
    };
    LastRun {
        is_running: Some(state.state.is_running()),
        started: time(state.started_at),
        ended: time(state.finished_at),
    }
}

/// Reads the log driver of a container.
pub fn read_log_driver(found: &Found) -> Result<LogDriver, MetadataError> {
    let config: HostConfig = read_json(&found.dir.join(HOST_CONFIG_FILE), found)?;
    let log = config.log_config.unwrap_or_default();
    let name = log
        .r#type
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| JSON_FILE_DRIVER.to_owned());
    let options = log.config.unwrap_or_default().0;
    let has_cache_disabled = options
        .get("cache-disabled")
        .is_some_and(|value| value == "true");
    Ok(LogDriver {
        name,
        has_cache_disabled,
    })
}

/// The data root that root's files give to Docker's daemon; `None` if it is the usual one.
/// `machine` is the root of the machine's files.
pub fn configured_data_root(machine: &Path) -> Option<PathBuf> {
    docker_roots::configured(machine)
}

/// The Docker containers below one data root, or in users' data roots.
#[derive(Debug)]
pub struct Docker {
    roots: Roots,
}

impl Docker {
    /// Finds the containers below `data_root`.
    pub fn new(data_root: &Path) -> Docker {
        Docker {
            roots: Roots::of_root(Some(data_root), Path::new("/")),
        }
    }

    /// Finds the containers of the chosen users' rootless Docker. `machine` is the root of the
    /// machine's files.
    pub fn of_users(choice: &UserChoice, machine: &Path) -> Docker {
        Docker {
            roots: Roots::of_users(choice, machine),
        }
    }
}

pub(super) fn open(options: &RuntimeOptions) -> Vec<Arc<dyn Runtime>> {
    let roots = docker_roots::open(options).into_iter();
    roots
        .map(|roots| Arc::new(Docker { roots }) as Arc<dyn Runtime>)
        .collect()
}

impl Runtime for Docker {
    fn title(&self) -> &'static str {
        match self.roots.storages {
            Storages::Root(_) => "Docker",
            Storages::Users(_) => "Docker of users",
        }
    }

    fn root_option(&self) -> &'static str {
        match self.roots.storages {
            Storages::Root(_) => "Docker_Root",
            Storages::Users(_) => "Docker_Users",
        }
    }

    fn root(&self) -> PathBuf {
        self.roots.root()
    }

    fn places(&self, root: &Path) -> Vec<PathBuf> {
        self.roots.places(root)
    }

    /// Entries not named like a container id are ignored.
    fn list(&self, root: &Path) -> io::Result<Listing> {
        let listed = self.roots.list(root);
        self.roots.storages.with_problem(listed)
    }

    /// One candidate per driver: json-file's log, local's log, and the cache for all others.
    fn logs(&self, found: &Found) -> Vec<LogFiles> {
        let paths = [
            found.dir.join(format!("{}-json.log", found.runtime_id())),
            found.dir.join("local-logs").join(LOCAL_LOG),
            found.dir.join(CACHED_LOG),
        ];
        let logs = paths.into_iter().map(LogFiles::numbered);
        logs.map(|log| log.usually_in(&found.dir)).collect()
    }

    fn metadata(&self, found: &Found, _run: u32) -> Result<ContainerMetadata, MetadataError> {
        read_metadata(found)
    }

    fn metadata_file(&self, found: &Found) -> Option<SafePath> {
        Some(found.dir.join(CONFIG_FILE))
    }

    fn log_driver(&self, found: &Found) -> Result<Option<LogDriver>, MetadataError> {
        match read_log_driver(found) {
            Err(MetadataError::Missing { .. }) => Ok(None),
            read => read.map(Some),
        }
    }

    fn created(&self, found: &Found) -> Option<u64> {
        let path = found.dir.join(CONFIG_FILE);
        let creation: Creation = read_json(&path, found).ok()?;
        let time = TimeParser::default().parse(creation.created?.as_bytes())?;
        Some(time.since_epoch())
    }

    fn last_run(&self, found: &Found) -> LastRun {
        read_last_run(found)
    }

    fn driver_file(&self, found: &Found) -> Option<SafePath> {
        Some(found.dir.join(HOST_CONFIG_FILE))
    }

    /// The driver of a stopped container can be changed in its `hostconfig.json`, and its earlier
    /// logs stay.
    fn writes(&self, driver: &LogDriver, files: &LogFiles) -> Option<bool> {
        let is_of_driver = match files.prefix() {
            LOCAL_LOG => driver.name == "local",
            CACHED_LOG => driver.may_have_cache(),
            _ => driver.name == JSON_FILE_DRIVER,
        };
        Some(is_of_driver)
    }

    /// It is the runtime to expect if there is none, and a configured data root is expected in
    /// any case.
    fn is_missed(&self, is_any_there: bool) -> bool {
        let is_usual = match &self.roots.storages {
            Storages::Root(root) => root.is_default() && root.problem().is_none(),
            Storages::Users(_) => return false,
        };
        self.roots.is_expected && !(is_any_there && is_usual)
    }

    fn is_configured(&self) -> bool {
        self.roots.storages.is_configured()
    }

    fn is_optional(&self) -> bool {
        !self.roots.is_expected && !self.is_configured()
    }

    /// Only for the machine's own daemon: the plugin queries no API of a user.
    fn api(&self) -> Option<Api> {
        matches!(self.roots.storages, Storages::Root(_)).then_some(Api::Docker)
    }

    fn journal_writer(&self) -> Option<JournalWriter> {
        Some(JournalWriter::Dockerd)
    }
}

/// Reads a JSON file about a container.
pub(super) fn read_json<T: for<'a> Deserialize<'a>>(
    path: &SafePath,
    found: &Found,
) -> Result<T, MetadataError> {
    let kind = match found.owner {
        Some(_) => FileKind::UsersContainerConfig,
        None => FileKind::ContainerConfig,
    };
    let bytes = path.read(kind.limit()).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            MetadataError::Missing {
                path: path.to_path_buf(),
            }
        } else {
            MetadataError::Unreadable {
                path: path.to_path_buf(),
                reason: error.to_string(),
            }
        }
    })?;
    serde_json::from_slice(&bytes).map_err(|error| MetadataError::Unreadable {
        path: path.to_path_buf(),
        reason: reason_of(&error),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fuzz_seeds::keep;
    use crate::runtime::id::ContainerId;
    use crate::runtime::Owner;

    fn found(dir: &Path) -> Found {
        Found::new(ContainerId::from_bytes([7; 32]), dir.into(), dir.to_owned())
    }

    fn dir_with(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        keep("metadata", config);
        std::fs::write(dir.path().join(CONFIG_FILE), config).unwrap();
        dir
    }

    #[test]
    fn name_and_image_are_read_as_docker_writes_them() {
        let dir = dir_with(
            r#"{"StreamConfig":{},"State":{"Running":true,"Pid":12},"ID":"x","Config":{"Image":"nginx:1.27","Labels":{"team":"front"},"Env":["A=b=c","x"]},"Image":"sha256:ab","Name":"/web","Driver":"overlay2"}"#,
        );
        let metadata = read_metadata(&found(dir.path())).unwrap();
        assert_eq!(
            metadata,
            ContainerMetadata {
                name: "web".into(),
                image: "nginx:1.27".into(),
                labels: BTreeMap::from([("team".to_owned(), "front".to_owned())]),
                env: vec![("A".to_owned(), "b=c".to_owned())],
                runtime: "docker",
                is_running: true,
                pod: None,
                is_cut: false,
                is_partial: false,
                owner: None,
                mounted: Mounted::Unknown,
            }
        );
    }

    #[test]
    fn what_is_missing_inside_is_empty_but_a_name_must_be() {
        for config in [
            r#"{"Name":"web"}"#,
            r#"{"Name":"web","Config":{"Labels":null}}"#,
        ] {
            let metadata = read_metadata(&found(dir_with(config).path())).unwrap();
            let runtime = "docker";
            assert_eq!(
                metadata,
                ContainerMetadata {
                    name: "web".into(),
                    runtime,
                    ..ContainerMetadata::default()
                }
            );
        }
        let error = read_metadata(&found(dir_with("{}").path()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(CONFIG_FILE) && error.contains("Name"),
            "{error}"
        );
    }

    #[test]
    fn the_mounts_tell_whether_the_logs_are_seen_in_the_container_and_whose_network_it_has() {
        let (own, app) = (
            ContainerId::from_bytes([7; 32]),
            ContainerId::from_bytes([9; 32]),
        );
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(own.to_string());
        std::fs::create_dir(&folder).unwrap();
        let of_app = format!("container:{app}");
        let with_logs = |hosts_of| Mounted::WithLogs {
            hosts_of,
            places: vec![dir.path().to_owned()],
        };
        for (place, hosts_path, network, mounted) in [
            (
                dir.path(),
                format!("/x/{own}/hosts"),
                "bridge",
                with_logs(own),
            ),
            (dir.path(), String::new(), of_app.as_str(), with_logs(app)),
            (dir.path(), String::new(), "none", Mounted::Unknown),
            (
                Path::new("/data"),
                format!("/x/{own}/hosts"),
                "bridge",
                Mounted::WithoutLogs,
            ),
        ] {
            let config = serde_json::json!({
                "Name": "/web", "HostsPath": hosts_path,
                "MountPoints": {place.display().to_string(): {"Type": "bind", "RW": false}},
            });
            std::fs::write(folder.join(CONFIG_FILE), config.to_string()).unwrap();
            let config = serde_json::json!({"NetworkMode": network});
            std::fs::write(folder.join(HOST_CONFIG_FILE), config.to_string()).unwrap();
            assert_eq!(
                read_metadata(&found(&folder)).unwrap().mounted,
                mounted,
                "{network}"
            );
        }
    }

    /// Labels and name agree, and the mounts say that the plugin runs there: all of it is the
    /// user's own word.
    #[test]
    fn a_users_container_is_in_no_pod_of_the_machine_and_is_not_the_plugins_own() {
        let labels = r#""io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web","io.kubernetes.pod.namespace":"shop""#;
        let hosts = ContainerId::from_bytes([9; 32]);
        let dir = dir_with(&format!(
            r#"{{"Name":"/k8s_app_web_shop_","Config":{{"Labels":{{{labels}}}}},"HostsPath":"/x/{hosts}/hosts","MountPoints":{{"/":{{}}}}}}"#
        ));
        let of_root = read_metadata(&found(dir.path())).unwrap();
        let mounted = Mounted::WithLogs {
            hosts_of: hosts,
            places: vec!["/".into()],
        };
        assert!(of_root.pod.is_some() && of_root.mounted == mounted);
        let owner = Owner {
            user: "ada".to_owned(),
            container_id: hosts,
        };
        let of_user = Found {
            owner: Some(Box::new(owner)),
            ..found(dir.path())
        };
        let of_user = read_metadata(&of_user).unwrap();
        assert_eq!((&*of_user.name, of_user.pod), ("k8s_app_web_shop_", None));
        assert_eq!(of_user.mounted, Mounted::Unknown);
        assert_eq!(of_user.owner.unwrap().user, "ada");
    }

    #[test]
    fn only_folders_named_by_a_container_id_are_containers() {
        let data_root = tempfile::tempdir().unwrap();
        let docker = Docker::new(data_root.path());
        let root = docker.root();
        let id = "ab".repeat(32);
        for name in [
            id.as_str(),
            ".tmp-config",
            "lost+found",
            &id[1..],
            &"AB".repeat(32),
            &"zz".repeat(32),
        ] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let found: Vec<String> = docker
            .list(&root)
            .unwrap()
            .containers
            .iter()
            .map(|found| found.id.to_string())
            .collect();
        assert_eq!(found, [id]);
    }

    #[test]
    fn a_missing_root_is_an_error_not_an_empty_machine() {
        let data_root = tempfile::tempdir().unwrap();
        let docker = Docker::new(data_root.path());
        assert_eq!(
            docker.list(&docker.root()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn half_a_file_is_an_error_at_every_length() {
        let whole = r#"{"Name":"/web","Config":{"Image":"i"},"State":{"Running":true}}"#;
        for cut in 0..whole.len() {
            let dir = dir_with(&whole[..cut]);
            assert!(
                matches!(
                    read_metadata(&found(dir.path())),
                    Err(MetadataError::Unreadable { .. })
                ),
                "cut at {cut}"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_metadata(&found(dir.path())),
            Err(MetadataError::Missing { .. })
        ));
    }

    #[test]
    fn the_log_driver_is_in_the_host_configuration() {
        for (config, driver, writes_file) in [
            (
                r#"{"LogConfig":{"Type":"local","Config":{}}}"#,
                "local",
                true,
            ),
            (
                r#"{"LogConfig":{"Type":"","Config":null}}"#,
                "json-file",
                true,
            ),
            (
                r#"{"LogConfig":{"Type":"syslog","Config":{"syslog-address":"udp://x"}}}"#,
                "syslog",
                true,
            ),
            (
                r#"{"LogConfig":{"Type":"syslog","Config":{"cache-disabled":"true"}}}"#,
                "syslog",
                false,
            ),
            (
                r#"{"LogConfig":{"Type":"journald","Config":{}}}"#,
                "journald",
                false,
            ),
            (r#"{"LogConfig":{"Type":"none"}}"#, "none", false),
            (r#"{}"#, "json-file", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            keep("metadata", format!("\0{config}"));
            std::fs::write(dir.path().join(HOST_CONFIG_FILE), config).unwrap();
            let driver_of = read_log_driver(&found(dir.path())).unwrap();
            assert_eq!(
                (driver_of.name.as_str(), driver_of.writes_file()),
                (driver, writes_file)
            );
        }
    }
}
