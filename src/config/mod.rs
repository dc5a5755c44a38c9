//! The validated configuration. No I/O.

pub mod labels;
pub mod options;
pub mod socket;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::labels::{Hint, LabelHints};
use crate::config::options::{
    DB, DOCKER_ROOT, DOCKER_SOCKET, ENV, EXCLUDE, EXCLUDE_SELF, HELD_FILES_LIMIT, INCLUDE,
    KEEP_LOG, LABELS, LABEL_HINTS, MERGE_LOG, MERGE_LOG_KEY, METADATA, METADATA_KEY,
    METRICS_PER_CONTAINER, MODE, MULTILINE, MULTILINE_FLUSH, PARTIAL_MAX_SIZE, PODMAN_ROOT,
    PODMAN_SOCKET, PODMAN_USERS, POD_LOGS, QUEUE_LIMIT, RATE_LIMIT, READ_FROM_HEAD,
    REFUSED_RECORD_TIMEOUT, RESCAN_INTERVAL, RUNTIME, TAG_TEMPLATE,
};
use crate::config::socket::{DockerSocket, NoSocket};
use crate::pipeline::fields::{is_own_key, MetadataOptions, Shape, RECORD_KEYS};
use crate::pipeline::merge::MergeOptions;
use crate::pipeline::multiline::{MultilineOptions, NoPattern, Pattern};
use crate::pipeline::tag::TagTemplate;
use crate::runtime::docker::containers_dir;
use crate::runtime::globs::Globs;
use crate::runtime::select::{Rule, Selection};
use crate::runtime::users::UserChoice;
use crate::runtime::{Api, RuntimeChoice, RuntimeOptions};

/// Least `Queue_Limit`, in bytes: a batch of one slice must fit.
const LEAST_QUEUE_LIMIT: usize = 64_000;
/// Least `Partial_Max_Size`, in bytes: one piece as dockerd splits lines.
const LEAST_PARTIAL_MAX_SIZE: usize = 16_384;

/// The file that lists the machine's users.
const PASSWD: &str = "/etc/passwd";

/// Where logs are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Files where they exist, otherwise the API.
    Hybrid,
    /// Only files.
    File,
    /// Only the API.
    Stream,
}

/// The option with the socket of an API.
pub fn socket_option(api: Api) -> &'static str {
    match api {
        Api::Docker => DOCKER_SOCKET.name,
        Api::Podman => PODMAN_SOCKET.name,
    }
}

/// A validated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which runtimes' containers are read.
    pub runtime: RuntimeChoice,
    /// Docker's data root.
    pub docker_root: PathBuf,
    /// The directory with the pod logs of a Kubernetes node.
    pub pod_logs: PathBuf,
    /// Root's Podman storage.
    pub podman_root: PathBuf,
    /// The users whose Podman storages are read as well.
    pub podman_users: UserChoice,
    /// The file that lists the machine's users. Not an option; tests replace it.
    pub passwd: PathBuf,
    /// Files, API, or both.
    pub mode: Mode,
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
    /// Most bytes on disk of deleted files that are not read yet.
    pub held_files_limit: usize,
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
    /// The options that concern runtimes.
    pub fn runtimes(&self) -> RuntimeOptions<'_> {
        RuntimeOptions {
            choice: self.runtime,
            docker_root: &self.docker_root,
            pod_logs: &self.pod_logs,
            podman_root: &self.podman_root,
            podman_users: &self.podman_users,
            passwd: &self.passwd,
        }
    }

    /// The socket of an API; `None` if it is off.
    pub fn socket(&self, api: Api) -> Option<&Path> {
        match api {
            Api::Docker => self.docker_socket.as_deref(),
            Api::Podman => self.podman_socket.as_deref(),
        }
    }

    /// Whether `dir` is Docker's default directory of containers, so that the user has not
    /// said that it contains any.
    pub fn is_default_docker_root(dir: &Path) -> bool {
        DOCKER_ROOT
            .default
            .is_some_and(|root| containers_dir(Path::new(root)) == dir)
    }

    /// Reads every option through `lookup`, which returns the values the user wrote: at most
    /// one, except for a list.
    pub fn from_lookup<T: IntoIterator<Item = String>>(
        lookup: impl Fn(&str) -> T,
    ) -> Result<Config, ConfigError> {
        let text = |option: &options::OptionSpec| {
            lookup(option.name)
                .into_iter()
                .next()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .or_else(|| option.default.map(str::to_owned))
        };
        let wrong = |option: &options::OptionSpec, problem: String| ConfigError {
            name: option.name,
            problem,
        };

        let runtime = text(&RUNTIME).unwrap_or_default();
        let runtime = parse_runtime(&runtime).map_err(|problem| wrong(&RUNTIME, problem))?;
        let folder = |option| {
            let path = PathBuf::from(text(option).unwrap_or_default());
            match path.is_absolute() {
                true => Ok(path),
                false => Err(wrong(
                    option,
                    format!("`{}` is not an absolute path", path.display()),
                )),
            }
        };
        let time = |option| {
            parse_time(&text(option).unwrap_or_default()).map_err(|problem| wrong(option, problem))
        };
        let is_on = |option| {
            parse_bool(&text(option).unwrap_or_default()).map_err(|problem| wrong(option, problem))
        };
        let list = |option: &options::OptionSpec| -> Vec<String> {
            lookup(option.name)
                .into_iter()
                .flat_map(|text| split_list(&text))
                .collect()
        };
        let rules = |option| {
            let rules: Result<Vec<Rule>, String> =
                list(option).iter().map(|text| Rule::parse(text)).collect();
            rules.map_err(|problem| wrong(option, problem))
        };
        let size = |option, least| {
            let bytes = parse_size(&text(option).unwrap_or_default())
                .map_err(|problem| wrong(option, problem))?;
            if bytes < least {
                return Err(wrong(
                    option,
                    format!("{bytes} bytes is too small, the minimum is {least}"),
                ));
            }
            Ok(bytes)
        };
        let tag_template = text(&TAG_TEMPLATE)
            .map(|text| {
                TagTemplate::parse(&text).map_err(|error| wrong(&TAG_TEMPLATE, error.to_string()))
            })
            .transpose()?;
        let mode = text(&MODE).unwrap_or_default();
        let mode = parse_mode(&mode).map_err(|problem| wrong(&MODE, problem))?;
        let socket = text(&DOCKER_SOCKET).unwrap_or_default();
        let docker_socket =
            parse_socket(&socket).map_err(|problem| wrong(&DOCKER_SOCKET, problem))?;
        let socket = text(&PODMAN_SOCKET).unwrap_or_default();
        let podman_socket =
            parse_socket(&socket).map_err(|problem| wrong(&PODMAN_SOCKET, problem))?;
        let (asked, option) = match runtime {
            RuntimeChoice::Podman => (&podman_socket, &PODMAN_SOCKET),
            _ => (&docker_socket, &DOCKER_SOCKET),
        };
        if mode == Mode::Stream && asked.is_none() {
            return Err(wrong(
                option,
                "it is off, but Mode stream reads only through it".to_owned(),
            ));
        }
        let metadata_key = text(&METADATA_KEY).unwrap_or_default();
        if RECORD_KEYS.contains(&metadata_key.as_str()) {
            return Err(wrong(
                &METADATA_KEY,
                format!("`{metadata_key}` is a key that records already have; choose another"),
            ));
        }
        let merge_key = text(&MERGE_LOG_KEY);
        if let Some(key) = merge_key
            .as_ref()
            .filter(|key| is_own_key(key) || **key == metadata_key)
        {
            return Err(wrong(
                &MERGE_LOG_KEY,
                format!("`{key}` is a key that records already have; choose another"),
            ));
        }
        let pattern = text(&MULTILINE)
            .map(|text| parse_multiline(&text))
            .transpose();
        let pattern = pattern
            .map_err(|problem| wrong(&MULTILINE, problem.to_string()))?
            .flatten();
        let partial_max_size = size(&PARTIAL_MAX_SIZE, LEAST_PARTIAL_MAX_SIZE)?;
        let multiline = MultilineOptions {
            pattern,
            flush: time(&MULTILINE_FLUSH)?,
            max_bytes: partial_max_size,
        };
        let hints = match list(&LABEL_HINTS) {
            hints if hints.is_empty() => split_list(LABEL_HINTS.default.unwrap_or_default()),
            hints => hints,
        };
        let label_hints = LabelHints::parse(hints.iter().map(String::as_str))
            .map_err(|problem| wrong(&LABEL_HINTS, problem))?;
        let globs = |option| Globs::parse(&list(option)).map_err(|problem| wrong(option, problem));
        let series = text(&METRICS_PER_CONTAINER).unwrap_or_default();
        let metrics_per_container = series.parse().map_err(|_| {
            wrong(
                &METRICS_PER_CONTAINER,
                format!("`{series}` is not a number of containers"),
            )
        })?;
        Ok(Config {
            runtime,
            docker_root: folder(&DOCKER_ROOT)?,
            pod_logs: folder(&POD_LOGS)?,
            podman_root: folder(&PODMAN_ROOT)?,
            podman_users: UserChoice::parse(&list(&PODMAN_USERS))
                .map_err(|problem| wrong(&PODMAN_USERS, problem))?,
            passwd: PathBuf::from(PASSWD),
            mode,
            docker_socket,
            podman_socket,
            rescan_interval: time(&RESCAN_INTERVAL)?,
            selection: Selection {
                include: rules(&INCLUDE)?,
                exclude: rules(&EXCLUDE)?,
                allows_label: label_hints.allows(Hint::Exclude),
            },
            label_hints,
            exclude_self: is_on(&EXCLUDE_SELF)?,
            read_from_head: is_on(&READ_FROM_HEAD)?,
            db: text(&DB).map(PathBuf::from),
            queue_limit: size(&QUEUE_LIMIT, LEAST_QUEUE_LIMIT)?,
            held_files_limit: size(&HELD_FILES_LIMIT, 0)?,
            refused_record_timeout: time(&REFUSED_RECORD_TIMEOUT)?,
            partial_max_size,
            tag_template,
            metadata: MetadataOptions {
                shape: parse_shape(&text(&METADATA).unwrap_or_default())
                    .map_err(|problem| wrong(&METADATA, problem))?,
                key: metadata_key,
                labels: globs(&LABELS)?,
                env: globs(&ENV)?,
            },
            merge: MergeOptions {
                is_on: is_on(&MERGE_LOG)?,
                key: merge_key,
                keep_log: is_on(&KEEP_LOG)?,
            },
            multiline,
            rate_limit: size(&RATE_LIMIT, 0)? as u64,
            metrics_per_container,
            follow: true,
            saves_positions: true,
        })
    }
}

fn parse_runtime(text: &str) -> Result<RuntimeChoice, String> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(RuntimeChoice::Auto),
        "docker" => Ok(RuntimeChoice::Docker),
        "cri" => Ok(RuntimeChoice::Cri),
        "podman" => Ok(RuntimeChoice::Podman),
        _ => Err(format!("`{text}` is not one of auto, docker, cri, podman")),
    }
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    match text.to_ascii_lowercase().as_str() {
        "flat" => Ok(Shape::Flat),
        "nested" => Ok(Shape::Nested),
        "off" => Ok(Shape::Off),
        "otel" => Ok(Shape::Otel),
        _ => Err(format!("`{text}` is not one of flat, nested, off, otel")),
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text.to_ascii_lowercase().as_str() {
        "hybrid" => Ok(Mode::Hybrid),
        "file" => Ok(Mode::File),
        "stream" => Ok(Mode::Stream),
        _ => Err(format!("`{text}` is not one of hybrid, file, stream")),
    }
}

/// Parses `unix:///path`, an absolute path, or `off`.
fn parse_socket(text: &str) -> Result<Option<PathBuf>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let DockerSocket::Unix(path) = text
        .parse()
        .map_err(|error: NoSocket| format!("{error}, or off"))?;
    Ok(Some(path))
}

/// Parses a size in bytes as Fluent Bit does: a number with an optional `k`, `M` or `G`
/// (powers of 1000, as in the host's own `flb_utils_size_to_bytes`) and an optional `B`.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is not a size; use e.g. 512k, 8M or 1G");
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, unit) = match number.as_bytes().last() {
        Some(b'K') => (&number[..number.len() - 1], 1_000.0),
        Some(b'M') => (&number[..number.len() - 1], 1_000_000.0),
        Some(b'G') => (&number[..number.len() - 1], 1_000_000_000.0),
        _ => (number, 1.0),
    };
    let value = parse_number(digits).ok_or_else(wrong)? * unit;
    // Above 2^53 a float cannot represent every byte count; no machine has that much memory.
    if value > 9e15 {
        return Err(wrong());
    }
    Ok(value as usize)
}

/// Parses a time as Fluent Bit does: seconds, or a number with `s`, `m`, `h` or `d`; also
/// `ms`, which Fluent Bit lacks. Between 10 ms and one day.
fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time between 10ms and 1d; use e.g. 500ms, 2s or 1m");
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = if let Some(digits) = lower.strip_suffix("ms") {
        (digits, 0.001)
    } else {
        match lower.as_bytes().last() {
            Some(b's') => (&lower[..lower.len() - 1], 1.0),
            Some(b'm') => (&lower[..lower.len() - 1], 60.0),
            Some(b'h') => (&lower[..lower.len() - 1], 3_600.0),
            Some(b'd') => (&lower[..lower.len() - 1], 86_400.0),
            _ => (lower.as_str(), 1.0),
        }
    };
    let seconds = parse_number(digits).ok_or_else(wrong)? * unit;
    if !(0.01..=86_400.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses digits with an optional decimal point, and nothing else that `f64` accepts (`inf`,
/// `1e9`, a sign).
fn parse_number(text: &str) -> Option<f64> {
    let is_number = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        text.parse().ok()
    } else {
        None
    }
}

/// Parses a pattern or `off`.
pub(crate) fn parse_multiline(text: &str) -> Result<Option<Arc<Pattern>>, NoPattern> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    Pattern::shared(text).map(Some)
}

/// Splits a list at its commas, except those inside a glob's `{a,b}` or `[,]`.
fn split_list(text: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut depth = 0;
    for character in text.chars() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth <= 0 => {
                values.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(value) = values.last_mut() {
            value.push(character);
        }
    }
    values
        .iter()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

/// Parses a boolean as Fluent Bit does.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Ok(true),
        "false" | "off" | "no" => Ok(false),
        _ => Err(format!("`{text}` is neither on nor off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                runtime: RuntimeChoice::Auto,
                docker_root: "/var/lib/docker".into(),
                pod_logs: "/var/log/pods".into(),
                podman_root: "/var/lib/containers/storage".into(),
                podman_users: UserChoice::default(),
                passwd: "/etc/passwd".into(),
                mode: Mode::Hybrid,
                docker_socket: Some("/var/run/docker.sock".into()),
                podman_socket: Some("/run/podman/podman.sock".into()),
                selection: Selection::default(),
                label_hints: LabelHints::NONE.with(Hint::Multiline),
                exclude_self: true,
                rescan_interval: Duration::from_secs(2),
                read_from_head: true,
                db: None,
                queue_limit: 8_000_000,
                held_files_limit: 1_000_000_000,
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
    fn times_have_units() {
        for (text, seconds) in [
            ("2", 2),
            ("3s", 3),
            ("2m", 120),
            ("1h", 3600),
            ("1d", 86_400),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn errors_name_the_option_and_quote_the_value() {
        for (name, value) in [
            ("Docker_Root", "relative/path"),
            ("Pod_Logs", "log/pods"),
            ("Podman_Root", "storage"),
            ("Podman_Users", "a[b"),
            ("Rescan_Interval", "soon"),
            ("Rescan_Interval", "0"),
            ("Rescan_Interval", "-1"),
            ("Rescan_Interval", "inf"),
            ("Read_From_Head", "maybe"),
            ("Queue_Limit", "8X"),
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
        let error = config(&[("Partial_Max_Size", "1k")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("Partial_Max_Size") && error.contains("1000"),
            "{error}"
        );
    }
}
