//! The validated configuration. No I/O.

pub mod inert;
mod journal_path;
pub mod labels;
pub mod options;
pub mod socket;
pub mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::config::journal_path::JournalPath;
use crate::config::labels::LabelHints;
use crate::config::options::{DOCKER_SOCKET, OPTIONS, PODMAN_SOCKET, TAG_TEMPLATE};
use crate::config::values::Given;
use crate::pipeline::fields::MetadataOptions;
use crate::pipeline::merge::MergeOptions;
use crate::pipeline::multiline::MultilineOptions;
use crate::pipeline::tag::TagTemplate;
use crate::runtime::select::Selection;
use crate::runtime::{self, Api, RuntimeOptions};

/// The root of the machine's files.
const MACHINE: &str = "/";

/// Where logs are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Files where they exist, otherwise the API.
    #[default]
    Hybrid,
    /// Only files.
    File,
    /// Only the API.
    Stream,
}

/// The option with the socket of an API.
pub fn socket_option(api: Api) -> &'static str {
    match api {
        Api::Docker => DOCKER_SOCKET,
        Api::Podman => PODMAN_SOCKET,
    }
}

/// Most bytes of records that the host may hold in memory before it gets no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BufferedLimit {
    /// [`BufferedLimit::AUTO_BYTES`], unless the host itself bounds the memory of the input.
    #[default]
    Auto,
    /// No limit.
    Off,
    /// That many.
    Bytes(usize),
}

impl BufferedLimit {
    /// Twelve full chunks. An output that has formatted all of them and waits for its receiver
    /// holds twice as much in addition, and the process still takes less than 120 MB.
    pub const AUTO_BYTES: usize = 24_000_000;

    /// The limit; `None` if there is none.
    pub fn bytes(self) -> Option<usize> {
        match self {
            BufferedLimit::Auto => Some(BufferedLimit::AUTO_BYTES),
            BufferedLimit::Off => None,
            BufferedLimit::Bytes(bytes) => Some(bytes),
        }
    }
}

/// Descriptors that logs leave to the rest of the process where its limit allows that: its outputs, its other
/// inputs, its chunks on disk, and one for each container that is read through an API. It needs no more with
/// a higher limit.
const HOST_DESCRIPTORS: u64 = 4_096;

/// How many files of logs may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFilesLimit {
    /// Beyond that, those are closed that were read to their end.
    pub at_rest: usize,
    /// Beyond that, those with unread lines as well.
    pub unread: usize,
}

impl OpenFilesLimit {
    /// In a process that may open `limit` files: a quarter of them, and as many as a quarter of that with
    /// unread lines. With a high limit, all but 4,096, a fifth of them with unread lines.
    pub fn within(limit: Option<u64>) -> OpenFilesLimit {
        let most = usize::MAX / 2;
        let at_rest = limit.map_or(most, |limit| {
            let all_but_the_hosts = limit.saturating_sub(HOST_DESCRIPTORS) / 5 * 4;
            usize::try_from(all_but_the_hosts.max(limit / 4)).unwrap_or(most)
        });
        let at_rest = at_rest.min(most);
        OpenFilesLimit {
            at_rest,
            unread: at_rest + at_rest / 4,
        }
    }

    /// The share of each of `parts` inputs that divide it.
    pub fn divided_by(self, parts: usize) -> OpenFilesLimit {
        let parts = parts.max(1);
        OpenFilesLimit {
            at_rest: self.at_rest / parts,
            unread: self.unread / parts,
        }
    }
}

/// A validated configuration. [`Config::from_lookup`] makes one; in `Config::default()` nothing
/// is set, not even the defaults of the options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Which runtimes' containers are read, and where they are.
    pub runtimes: RuntimeOptions,
    /// Files, API, or both.
    pub mode: Mode,
    /// Where systemd's journal is.
    pub journal: JournalPath,
    /// The socket of Docker's API; `None` if it is off.
    pub docker_socket: Option<PathBuf>,
    /// The socket of Podman's API; `None` if it is off.
    pub podman_socket: Option<PathBuf>,
    /// Which containers are read.
    pub selection: Selection,
    /// Which container labels are honoured.
    pub label_hints: LabelHints,
    /// Whether the plugin's own container is excluded.
    pub exclude_self: bool,
    /// Time between full rescans.
    pub rescan_interval: Duration,
    /// Whether containers older than the very first start are read from the beginning.
    pub read_from_head: bool,
    /// The checkpoint file, if offsets are to survive a restart.
    pub db: Option<PathBuf>,
    /// Most bytes of records waiting for the host.
    pub queue_limit: usize,
    /// Most bytes of records that the host may hold in memory.
    pub buffered_limit: BufferedLimit,
    /// Most bytes on disk of deleted files that are not read yet.
    pub held_files_limit: usize,
    /// Most files of logs that may be open; `None` for a share of what the process may open.
    pub open_files: Option<OpenFilesLimit>,
    /// How long a record may be refused while others are accepted before it is given up.
    pub refused_record_timeout: Duration,
    /// Longest joined line, in bytes.
    pub partial_max_size: usize,
    /// The template for tags; `None` for the instance's own tag.
    pub tag_template: Option<TagTemplate>,
    /// Which metadata records carry.
    pub metadata: MetadataOptions,
    /// How lines that are JSON objects are merged.
    pub merge: MergeOptions,
    /// Which lines are joined.
    pub multiline: MultilineOptions,
    /// Bytes per second read of one container; 0 for no limit.
    pub rate_limit: u64,
    /// Most containers with metrics of their own at a time.
    pub metrics_per_container: usize,
    /// Whether to keep following after everything was read. Not an option of the plugin;
    /// `tail-containers --no-follow` turns it off.
    pub follow: bool,
    /// The input's name in the host, for messages of other inputs. Not an option.
    pub input_name: String,
    /// How many lines from the end of each log to begin with; `None` for all. Not an option of
    /// the plugin; `tail-containers --tail` sets it.
    pub tail: Option<usize>,
    /// Whether `db` is written. Always true in the plugin; `tail-containers` only reads it
    /// unless asked to save offsets.
    pub saves_positions: bool,
}

/// An invalid option value: the option's name and the problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option {name}: {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

impl Config {
    /// The socket of an API; `None` if it is off.
    pub fn socket(&self, api: Api) -> Option<&Path> {
        match api {
            Api::Docker => self.docker_socket.as_deref(),
            Api::Podman => self.podman_socket.as_deref(),
        }
    }

    /// What each start does if there is no checkpoint file; `None` if there is one.
    pub fn without_db(&self) -> Option<&'static str> {
        match (&self.db, self.read_from_head) {
            (Some(_), _) => None,
            (None, true) => Some("sends every log again from its beginning (Read_From_Head on)"),
            (None, false) => {
                Some("skips what was written while it did not run (Read_From_Head off)")
            }
        }
    }

    /// The option whose tag is taken literally although it looks as if it were not, and that tag.
    /// `tag` is that of the instance.
    pub fn literal_tag(&self, tag: Option<String>) -> Option<(&'static str, String)> {
        match &self.tag_template {
            Some(template) => Some((TAG_TEMPLATE, template.to_string()))
                .filter(|(_, template)| template.contains('*')),
            None => tag
                .filter(|tag| tag.contains(['*', '{']))
                .map(|tag| ("Tag", tag)),
        }
    }

    /// Reads every option through `lookup`, which returns the values the user wrote: at most
    /// one, except for a list.
    pub fn from_lookup<T: IntoIterator<Item = String>>(
        lookup: impl Fn(&str) -> T,
    ) -> Result<Config, ConfigError> {
        let mut config = Config {
            follow: true,
            saves_positions: true,
            ..Config::default()
        };
        config.runtimes.machine = PathBuf::from(MACHINE);
        for option in OPTIONS {
            let given = Given::new(option, lookup(option.name));
            let wrong = |problem| ConfigError {
                name: option.name,
                problem,
            };
            (option.set)(&mut config, &given).map_err(wrong)?;
        }
        let mut apis = runtime::all(&config.runtimes).into_iter();
        let api = apis
            .find_map(|runtime| runtime.api())
            .unwrap_or(Api::Docker);
        if config.mode == Mode::Stream && config.socket(api).is_none() {
            return Err(ConfigError {
                name: socket_option(api),
                problem: "it is off, but Mode stream reads only through it".to_owned(),
            });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::labels::Hint;
    use crate::runtime::select::Rule;
    use crate::runtime::users::UserChoice;
    use crate::runtime::RuntimeChoice;

    #[test]
    fn logs_take_a_part_of_few_descriptors_and_leave_a_number_of_many() {
        for (limit, at_rest, unread) in [
            (0, 0, 0),
            (1_024, 256, 320),
            (4_096, 1_024, 1_280),
            (20_000, 12_720, 15_900),
            (1_048_576, 835_584, 1_044_480),
        ] {
            let within = OpenFilesLimit::within(Some(limit));
            assert_eq!(
                (within.at_rest, within.unread),
                (at_rest, unread),
                "{limit}"
            );
        }
        let highest = OpenFilesLimit::within(Some(u64::MAX));
        assert!(highest.unread > highest.at_rest);
        assert!(OpenFilesLimit::within(None).at_rest >= highest.at_rest);
    }

    fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_lookup(|name| {
            pairs
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        assert_eq!(
            config(&[]).unwrap(),
            Config {
                runtimes: RuntimeOptions {
                    choice: RuntimeChoice::Auto,
                    docker_roots: Vec::new(),
                    docker_users: UserChoice::default(),
                    pod_logs: "/var/log/pods".into(),
                    pod_links: None,
                    podman_root: None,
                    podman_users: UserChoice::default(),
                    nerdctl_root: None,
                    nerdctl_users: UserChoice::default(),
                    machine: "/".into(),
                },
                mode: Mode::Hybrid,
                journal: JournalPath::Auto,
                docker_socket: Some("/var/run/docker.sock".into()),
                podman_socket: Some("/run/podman/podman.sock".into()),
                selection: Selection::default(),
                label_hints: LabelHints::NONE.with(Hint::Multiline),
                exclude_self: true,
                rescan_interval: Duration::from_secs(2),
                read_from_head: true,
                db: None,
                queue_limit: 8_000_000,
                buffered_limit: BufferedLimit::Auto,
                held_files_limit: 1_000_000_000,
                open_files: None,
                refused_record_timeout: Duration::from_secs(60),
                partial_max_size: 1_000_000,
                tag_template: None,
                metadata: MetadataOptions {
                    key: "docker".into(),
                    ..MetadataOptions::default()
                },
                merge: MergeOptions::default(),
                multiline: MultilineOptions {
                    pattern: None,
                    flush: Duration::from_secs(1),
                    max_bytes: 1_000_000,
                },
                rate_limit: 0,
                metrics_per_container: 100,
                follow: true,
                input_name: String::new(),
                tail: None,
                saves_positions: true,
            }
        );
    }

    #[test]
    fn values_are_read_as_fluent_bit_reads_them() {
        let config = config(&[
            ("Docker_Root", "/data/docker"),
            ("Rescan_Interval", "500ms"),
            ("Read_From_Head", "Off"),
            ("DB", "/var/lib/x.db"),
            ("Queue_Limit", "1.5mb"),
            ("Buffered_Limit", "48M"),
            ("Partial_Max_Size", "64k"),
            ("Tag_Template", "docker.{name}"),
        ])
        .unwrap();
        assert_eq!(config.rescan_interval, Duration::from_millis(500));
        assert!(!config.read_from_head);
        assert_eq!(
            (config.queue_limit, config.partial_max_size),
            (1_500_000, 64_000)
        );
        assert_eq!(config.buffered_limit.bytes(), Some(48_000_000));
        assert_eq!(config.db, Some("/var/lib/x.db".into()));
        assert_eq!(config.tag_template.unwrap().to_string(), "docker.{name}");
    }

    #[test]
    fn a_list_is_separated_by_commas_and_may_be_repeated() {
        let config = Config::from_lookup(|name| match name {
            "Include" => vec![
                "name=a, image=b{1,2}".to_owned(),
                "label=c".to_owned(),
                String::new(),
            ],
            _ => Vec::new(),
        })
        .unwrap();
        let rules: Vec<String> = config
            .selection
            .include
            .iter()
            .map(Rule::to_string)
            .collect();
        assert_eq!(rules, ["name=a", "image=b{1,2}", "label=c"]);
    }

    #[test]
    fn memory_has_a_limit_unless_that_is_turned_off() {
        for (value, bytes) in [
            ("auto", Some(24_000_000)),
            ("Off", None),
            ("1M", Some(1_000_000)),
        ] {
            let config = config(&[("Buffered_Limit", value)]).unwrap();
            assert_eq!(config.buffered_limit.bytes(), bytes, "{value}");
        }
    }

    #[test]
    fn languages_may_be_repeated_and_an_expression_stands_alone() {
        let multiline = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|it| (*it).to_owned()).collect();
            Config::from_lookup(|name| match name {
                "Multiline" => values.clone(),
                _ => Vec::new(),
            })
            .map(|config| config.multiline.pattern)
        };
        let one = multiline(&["java,python"]).unwrap();
        assert_eq!(multiline(&["java", " python "]).unwrap(), one);
        assert_eq!(multiline(&["java,python", ""]).unwrap(), one);
        assert!(multiline(&["^\\d{4},"]).unwrap().is_some());
        assert_eq!(multiline(&["off"]).unwrap(), None);
        for values in [&["java", "^\\d"][..], &["off", "java"]] {
            let error = multiline(values).unwrap_err().to_string();
            assert!(error.contains("must be the only value"), "{error}");
        }
        assert!(multiline(&["java", "jav"]).is_err());
    }

    #[test]
    fn data_roots_are_a_list_and_auto_stands_for_those_that_are_found() {
        let roots =
            |value: &str| config(&[("Docker_Root", value)]).map(|it| it.runtimes.docker_roots);
        assert!(roots("Auto").unwrap().is_empty());
        assert_eq!(roots("/a").unwrap(), [PathBuf::from("/a")]);
        assert_eq!(roots("/a, /b").unwrap(), [PathBuf::from("/a"), "/b".into()]);
        let error = roots("/a,auto").unwrap_err().to_string();
        assert!(error.contains("`auto` is not an absolute path"), "{error}");
    }

    #[test]
    fn a_tag_that_looks_like_a_template_is_told_from_one() {
        let literal = |template: &str, tag: &str| {
            let config = config(&[("Tag_Template", template)]).unwrap();
            config.literal_tag(Some(tag.to_owned()))
        };
        for (template, tag, option) in [
            ("", "docker.*", Some("Tag")),
            ("", "docker.{name}", Some("Tag")),
            ("", "docker", None),
            ("docker.{name}", "docker.*", None),
            ("docker.*", "docker", Some("Tag_Template")),
        ] {
            let found = literal(template, tag).map(|(option, _)| option);
            assert_eq!(found, option, "{template} {tag}");
        }
        assert_eq!(config(&[]).unwrap().literal_tag(None), None);
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("2", 2),
            ("3s", 3),
            ("2m", 120),
            ("1h", 3600),
            ("1d", 86_400),
        ] {
            assert_eq!(values::time(text), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn errors_name_the_option_and_quote_the_value() {
        for (name, value) in [
            ("Docker_Root", "relative/path"),
            ("Pod_Logs", "log/pods"),
            ("Pod_Links", "containers"),
            ("Podman_Root", "storage"),
            ("Docker_Users", "/home/*/ada"),
            ("Podman_Users", "a[b"),
            ("Rescan_Interval", "soon"),
            ("Rescan_Interval", "0"),
            ("Rescan_Interval", "-1"),
            ("Rescan_Interval", "inf"),
            ("Read_From_Head", "maybe"),
            ("Queue_Limit", "8X"),
            ("Buffered_Limit", "much"),
            ("Queue_Limit", "1e6"),
            ("Queue_Limit", "99999999999G"),
            ("Tag_Template", "{nam}"),
            ("Mode", "both"),
            ("Runtime", "rkt"),
            ("Docker_Socket", "tcp://127.0.0.1:2375"),
            ("Podman_Socket", "podman.sock"),
            ("Include", "nam=web"),
            ("Exclude", "image=[a"),
            ("Exclude_Self", "maybe"),
            ("Metadata", "deep"),
            ("Metadata_Key", "log"),
            ("Merge_Log", "maybe"),
            ("Merge_Log_Key", "image"),
            ("Rate_Limit", "fast"),
            ("Labels", "a[b"),
            ("Label_Hints", "tags"),
        ] {
            let error = config(&[(name, value)]).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains(value),
                "{name}={value}: {error}"
            );
        }
        for name in ["Partial_Max_Size", "Buffered_Limit"] {
            let error = config(&[(name, "1k")]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("1000"), "{error}");
        }
    }
}
