//! All options in one table: a row here and a field of [`Config`] make an option. The host's
//! option map and its `-h` text, the README and the example configuration are made from it
//! (tests keep them in step).

use crate::config::labels::{Hint, LabelHints};
use crate::config::values::{self, Given};
use crate::config::Config;
use crate::pipeline::fields::{is_own_key, RECORD_KEYS};
use crate::runtime::cri::DEFAULT_POD_LOGS;
use crate::runtime::globs::Globs;
use crate::runtime::users::UserChoice;

/// How Fluent Bit displays and validates an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `on` or `off`.
    Bool,
    /// A whole number.
    Number,
    /// Bytes, such as `8M`.
    Size,
    /// Seconds, or a number with a unit.
    Time,
    /// Comma-separated values; the option may be repeated.
    List,
    /// Any text; the option may be repeated, if each text is one of several values.
    Texts,
}

impl Kind {
    /// Whether the option may be given more than once: in YAML, as a list.
    pub fn is_repeatable(self) -> bool {
        matches!(self, Kind::List | Kind::Texts)
    }
}

/// What holds if an option is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// A default value.
    Default(&'static str),
    /// Nothing, also for an option that is empty by default (`given.optional`). The
    /// documentation shows this typical value.
    Example(&'static str),
}

/// The definition of one option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The name as users write it; the host ignores case.
    pub name: &'static str,
    /// The kind of value.
    pub kind: Kind,
    /// What holds if the option is not set.
    pub unset: Unset,
    /// One or two sentences for `-h` and the README.
    pub text: &'static str,
    /// Sets the value in a configuration, in which all options before it are set. The error
    /// says what is wrong with the value.
    pub set: fn(&mut Config, &Given<'_>) -> Result<(), String>,
}

impl OptionSpec {
    /// The value if the option is not set.
    pub fn default(&self) -> Option<&'static str> {
        match self.unset {
            Unset::Default(value) => Some(value),
            Unset::Example(_) => None,
        }
    }

    /// An example value for the documentation: the default or, if there is none, a typical
    /// value.
    pub fn example(&self) -> &'static str {
        let (Unset::Default(value) | Unset::Example(value)) = self.unset;
        value
    }
}

/// The option with the socket of Docker's API.
pub(super) const DOCKER_SOCKET: &str = "Docker_Socket";
/// The option with the socket of Podman's API.
pub(super) const PODMAN_SOCKET: &str = "Podman_Socket";
/// The option with the template of tags.
pub(super) const TAG_TEMPLATE: &str = "Tag_Template";

/// Least `Queue_Limit`, in bytes: a batch of one slice must fit.
const LEAST_QUEUE_LIMIT: usize = 64_000;
/// Least `Buffered_Limit`, in bytes: a batch.
const LEAST_BUFFERED_LIMIT: usize = 1_000_000;
/// Least `Partial_Max_Size`, in bytes: one piece as dockerd splits lines.
const LEAST_PARTIAL_MAX_SIZE: usize = 16_384;

/// The default of a root: found by itself.
const AUTO: &str = "auto";

/// All options, in the order of the documentation.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "Runtime",
        kind: Kind::Text,
        unset: Unset::Default("auto"),
        text: "Which runtimes' containers to read: docker, cri (a Kubernetes node with containerd or CRI-O), podman, nerdctl (containerd without Kubernetes), or auto: every runtime that is found.",
        set: |config, given| given.parsed(values::runtime).map(|choice| config.runtimes.choice = choice),
    },
    OptionSpec {
        name: "Docker_Root",
        kind: Kind::List,
        unset: Unset::Default(AUTO),
        text: "Docker's data root (`docker info -f '{{.DockerRootDir}}'`), or several. Containers are found in its folder containers/ and, with userns-remap, in <uid>.<gid>/containers/. auto: the one that the running daemon's command line or /etc/docker/daemon.json sets, otherwise /var/lib/docker; and the one of the snap package. In a container, these files are usually not visible: give the folder as it is mounted there.",
        set: |config, given| given.folders().map(|roots| config.runtimes.docker_roots = roots),
    },
    OptionSpec {
        name: "Docker_Users",
        kind: Kind::List,
        unset: Unset::Example("ada"),
        text: "Users whose rootless Docker is read from their home directories, written as for Podman_Users. Unset: none. There is no API for them, so only containers with log files are read.",
        set: |config, given| UserChoice::parse(&given.list()).map(|users| config.runtimes.docker_users = users),
    },
    OptionSpec {
        name: "Pod_Logs",
        kind: Kind::Text,
        unset: Unset::Default(DEFAULT_POD_LOGS),
        text: "The folder where a Kubernetes node keeps the logs of its pods: the kubelet's podLogsDir.",
        set: |config, given| given.folder().map(|root| config.runtimes.pod_logs = root),
    },
    OptionSpec {
        name: "Pod_Links",
        kind: Kind::Text,
        unset: Unset::Example("/host/var/log/containers"),
        text: "The folder with the kubelet's links to the logs of pods; their names contain the containers' ids. Unset: containers/ next to Pod_Logs, or else /var/log/containers.",
        set: |config, given| given.optional(|_| given.folder()).map(|links| config.runtimes.pod_links = links),
    },
    OptionSpec {
        name: "Podman_Root",
        kind: Kind::Text,
        unset: Unset::Default(AUTO),
        text: "Root's Podman storage (`podman info -f '{{.Store.GraphRoot}}'`). auto: the graphroot that /etc/containers/storage.conf sets, otherwise /var/lib/containers/storage. The storage of other users is read only if Podman_Users selects them.",
        set: |config, given| given.folder_unless_auto().map(|root| config.runtimes.podman_root = root),
    },
    OptionSpec {
        name: "Podman_Users",
        kind: Kind::List,
        unset: Unset::Example("ada"),
        text: "Users whose Podman containers are read from their home directories, or from where their storage.conf moves the storage: names or globs of users in /etc/passwd, or all; for users who are not in it (LDAP), paths of home directories, whose last part may be a glob. Unset: none, and no home directory is accessed. These users control the names and log contents of their containers; each record has the user's name under user.",
        set: |config, given| UserChoice::parse(&given.list()).map(|users| config.runtimes.podman_users = users),
    },
    OptionSpec {
        name: "Nerdctl_Root",
        kind: Kind::Text,
        unset: Unset::Default(AUTO),
        text: "The data root of nerdctl, for containerd without Kubernetes. auto: the data_root that /etc/nerdctl/nerdctl.toml sets, otherwise /var/lib/nerdctl. Images and labels are read from containerd's database, below the first of these that has it: the root of the running containers, the root that /etc/containerd/config.toml sets, /var/lib/containerd, or containerd beside this data root.",
        set: |config, given| given.folder_unless_auto().map(|root| config.runtimes.nerdctl_root = root),
    },
    OptionSpec {
        name: "Nerdctl_Users",
        kind: Kind::List,
        unset: Unset::Example("ada"),
        text: "Users whose rootless nerdctl is read from their home directories, written as for Podman_Users. Unset: none.",
        set: |config, given| UserChoice::parse(&given.list()).map(|users| config.runtimes.nerdctl_users = users),
    },
    OptionSpec {
        name: "Mode",
        kind: Kind::Text,
        unset: Unset::Default("hybrid"),
        text: "hybrid: read files and systemd's journal where they exist, and use the API of Docker or Podman only where a log is in neither. file: never use the API. stream: read everything through the API.",
        set: |config, given| given.parsed(values::mode).map(|mode| config.mode = mode),
    },
    OptionSpec {
        name: "Journal_Path",
        kind: Kind::Text,
        unset: Unset::Default(AUTO),
        text: "Folder of systemd's journal, for containers whose log driver is journald (Docker's, and Podman's default on many systems). auto: that of this machine, in /var/log/journal and /run/log/journal, with its namespaces. It is not read unless there is such a container. In a container, give the folder as it is mounted there; for a daemon whose unit has LogNamespace=, its subfolder <machine id>.<namespace>. off: the journal is not read, and such containers are read through the API.",
        set: |config, given| given.journal().map(|path| config.journal = path),
    },
    OptionSpec {
        name: DOCKER_SOCKET,
        kind: Kind::Text,
        unset: Unset::Default("unix:///var/run/docker.sock"),
        text: "Socket of Docker's API, for containers whose log is neither in a file nor in a journal that can be read. It is not accessed unless there is such a container. off: never.",
        set: |config, given| given.parsed(values::socket).map(|socket| config.docker_socket = socket),
    },
    OptionSpec {
        name: PODMAN_SOCKET,
        kind: Kind::Text,
        unset: Unset::Default("unix:///run/podman/podman.sock"),
        text: "Socket of Podman's Docker-compatible API, for containers whose log is neither in a file nor in a journal that can be read. It is not accessed unless there is such a container. off: never.",
        set: |config, given| given.parsed(values::socket).map(|socket| config.podman_socket = socket),
    },
    OptionSpec {
        name: "Include",
        kind: Kind::List,
        unset: Unset::Example("compose_project=shop"),
        text: "Read only containers that match one of these rules: name=GLOB, image=GLOB, driver=GLOB, namespace=GLOB, pod=GLOB, user=GLOB, compose_project=GLOB, compose_service=GLOB, swarm_service=GLOB, label=KEY or label=KEY=GLOB. A comma inside a value is written \\,.",
        set: |config, given| given.rules().map(|rules| config.selection.include = rules),
    },
    OptionSpec {
        name: "Exclude",
        kind: Kind::List,
        unset: Unset::Example("name=*-debug"),
        text: "Do not read containers that match one of these rules, written as for Include; Exclude wins over Include. The label fluentbit.io/exclude=true does the same for one container, if Label_Hints allows exclude.",
        set: |config, given| given.rules().map(|rules| config.selection.exclude = rules),
    },
    OptionSpec {
        name: "Exclude_Self",
        kind: Kind::Bool,
        unset: Unset::Default("on"),
        text: "Do not read the container that Fluent Bit itself runs in.",
        set: |config, given| given.parsed(values::boolean).map(|is_on| config.exclude_self = is_on),
    },
    OptionSpec {
        name: "DB",
        kind: Kind::Text,
        unset: Unset::Example("/var/lib/fluent-bit/container_logs.db"),
        text: "File that stores how far Fluent Bit has accepted each log. Without it, positions are kept in memory, and each start or reload sends every log again from its beginning (see Read_From_Head). There is no default path.",
        set: |config, given| given.optional(|path| Ok(path.into())).map(|path| config.db = path),
    },
    OptionSpec {
        name: "Read_From_Head",
        kind: Kind::Bool,
        unset: Unset::Default("on"),
        text: "Whether to deliver lines that were written before the very first start. With off, every line whose timestamp is older is left out, even if its container was excluded then or appears later, or if its log is restored from a backup. All later lines are delivered.",
        set: |config, given| given.parsed(values::boolean).map(|is_on| config.read_from_head = is_on),
    },
    OptionSpec {
        name: TAG_TEMPLATE,
        kind: Kind::Text,
        unset: Unset::Example("docker.{name}"),
        text: "A tag for each container, e.g. docker.{name}. Placeholders: {name} {id} {short_id} {image} {stream}; for Compose and Swarm {compose_project} {compose_service} {swarm_service} {swarm_task} {swarm_node}; for pods {namespace} {pod} {pod_uid}; for users' containers {user}; and {label:KEY} {env:NAME}. Unset: the input's Tag.",
        set: |config, given| given.optional(values::tag_template).map(|template| config.tag_template = template),
    },
    OptionSpec {
        name: "Metadata",
        kind: Kind::Text,
        unset: Unset::Default("flat"),
        text: "Where to put container metadata in a record. flat: container_id, container_name, image and so on at the top level. nested: under Metadata_Key. off: nowhere. otel: with OpenTelemetry's names in a group, for the opentelemetry output (Fluent Bit 3.2 or later).",
        set: |config, given| given.parsed(values::shape).map(|shape| config.metadata.shape = shape),
    },
    OptionSpec {
        name: "Metadata_Key",
        kind: Kind::Text,
        unset: Unset::Default("docker"),
        text: "The key under which Metadata nested puts all metadata.",
        set: |config, given| given.parsed(|key| values::key(key, RECORD_KEYS.contains(&key))).map(|key| config.metadata.key = key),
    },
    OptionSpec {
        name: "Labels",
        kind: Kind::List,
        unset: Unset::Example("team"),
        text: "Globs that select the container labels to add to records, under labels. The labels of Compose and Swarm always have keys of their own: compose_project, compose_service, swarm_service, swarm_task, swarm_node.",
        set: |config, given| Globs::parse(&given.list()).map(|globs| config.metadata.labels = globs),
    },
    OptionSpec {
        name: "Label_Hints",
        kind: Kind::List,
        unset: Unset::Default("multiline"),
        text: "Which of the container labels fluentbit.io/... take effect: exclude, merge_log, multiline (names of languages, or off), multiline_regex (regular expressions as well), parser, rate_limit, tag; all; or none. An image can set its own labels. By default only multiline with names is allowed, which changes only how the container's own lines are grouped. With the others, an image can hide its log, send it where other containers' logs are expected, set the keys of its records, or slow down reading; with parser, one line can block all of Fluent Bit. Allow them only if you trust the authors of the images.",
        set: |config, given| {
            config.label_hints = LabelHints::parse(given.list().iter().map(String::as_str))?;
            config.selection.allows_label = config.label_hints.allows(Hint::Exclude);
            Ok(())
        },
    },
    OptionSpec {
        name: "Env",
        kind: Kind::List,
        unset: Unset::Example("STAGE"),
        text: "Globs that select the container's environment variables to add to records, under env. Do not expose secrets.",
        set: |config, given| Globs::parse(&given.list()).map(|globs| config.metadata.env = globs),
    },
    OptionSpec {
        name: "Merge_Log",
        kind: Kind::Bool,
        unset: Unset::Default("off"),
        text: "Whether to turn a line that is a JSON object into fields of its record. The label fluentbit.io/merge_log (true or false) overrides this for one container, if Label_Hints allows merge_log.",
        set: |config, given| given.parsed(values::boolean).map(|is_on| config.merge.is_on = is_on),
    },
    OptionSpec {
        name: "Merge_Log_Key",
        kind: Kind::Text,
        unset: Unset::Example("fields"),
        text: "The key under which Merge_Log puts the fields. Unset: at the top level, where the record's own keys win.",
        set: |config, given| given.optional(|key| values::key(key, is_own_key(key) || key == config.metadata.key)).map(|key| config.merge.key = key),
    },
    OptionSpec {
        name: "Keep_Log",
        kind: Kind::Bool,
        unset: Unset::Default("off"),
        text: "Whether to keep the original line under log when Merge_Log turns it into fields. It is always kept if one of its fields could not be added to the record.",
        set: |config, given| given.parsed(values::boolean).map(|is_on| config.merge.keep_log = is_on),
    },
    OptionSpec {
        name: "Multiline",
        kind: Kind::Texts,
        unset: Unset::Example("java"),
        text: "Which lines to join into one record: stack traces of java, go, python, or several of them (java,python, or a list in YAML); or a regular expression that matches the first line of each record. The label fluentbit.io/multiline overrides this for one container, also with off (see Label_Hints).",
        set: |config, given| values::multiline(&given.texts()).map(|pattern| config.multiline.pattern = pattern),
    },
    OptionSpec {
        name: "Multiline_Flush",
        kind: Kind::Time,
        unset: Unset::Default("1s"),
        text: "How long Multiline waits for the next line of the same stream before it completes a record.",
        set: |config, given| given.parsed(values::time).map(|time| config.multiline.flush = time),
    },
    OptionSpec {
        name: "Rate_Limit",
        kind: Kind::Size,
        unset: Unset::Default("0"),
        text: "Average bytes per second read from each container's log files; 0 for no limit. Nothing is dropped: unread data stays in the files, and deleted ones are held up to Held_Files_Limit. The label fluentbit.io/rate_limit overrides this for one container, if Label_Hints allows rate_limit.",
        set: |config, given| given.parsed(values::size).map(|bytes| config.rate_limit = bytes as u64),
    },
    OptionSpec {
        name: "Queue_Limit",
        kind: Kind::Size,
        unset: Unset::Default("8M"),
        text: "Maximum size of the records that wait for Fluent Bit. Once it is reached, reading pauses: the log files are the buffer.",
        set: |config, given| given.size_from(LEAST_QUEUE_LIMIT).map(|bytes| config.queue_limit = bytes),
    },
    OptionSpec {
        name: "Buffered_Limit",
        kind: Kind::Text,
        unset: Unset::Default(AUTO),
        text: "Maximum size of the records that Fluent Bit holds in memory because its outputs have not sent them yet. Once it is reached, no more records are handed over until Fluent Bit holds less: the log files are the buffer. auto: 24M, unless Mem_Buf_Limit or storage.type filesystem of the input bounds that memory. off: no limit.",
        set: |config, given| given.buffered_limit(LEAST_BUFFERED_LIMIT).map(|limit| config.buffered_limit = limit),
    },
    OptionSpec {
        name: "Held_Files_Limit",
        kind: Kind::Size,
        unset: Unset::Default("1G"),
        text: "Maximum disk space of deleted log files that are held open because Fluent Bit has not accepted their contents yet. Beyond it, the container that holds the most loses its oldest file, and the loss is counted.",
        set: |config, given| given.parsed(values::size).map(|bytes| config.held_files_limit = bytes),
    },
    OptionSpec {
        name: "Refused_Record_Timeout",
        kind: Kind::Time,
        unset: Unset::Default("1m"),
        text: "How long Fluent Bit may refuse a single record while it has room and accepts others, for example because the record is larger than an output's storage.total_limit_size. After that, the record is dropped, counted and logged. A record refused for lack of room is never dropped.",
        set: |config, given| given.parsed(values::time).map(|time| config.refused_record_timeout = time),
    },
    OptionSpec {
        name: "Partial_Max_Size",
        kind: Kind::Size,
        unset: Unset::Default("1M"),
        text: "Maximum length of a line joined from Docker's 16 KiB pieces. A longer line is cut there and its record has truncated: true.",
        set: |config, given| {
            config.partial_max_size = given.size_from(LEAST_PARTIAL_MAX_SIZE)?;
            config.multiline.max_bytes = config.partial_max_size;
            Ok(())
        },
    },
    OptionSpec {
        name: "Rescan_Interval",
        kind: Kind::Time,
        unset: Unset::Default("2s"),
        text: "Time between rescans for containers and files that no change notification reported. Folders without notifications are checked at every rescan, those with them at every 30th. Units: ms, s, m, h, d.",
        set: |config, given| given.parsed(values::time).map(|time| config.rescan_interval = time),
    },
    OptionSpec {
        name: "Metrics_Per_Container",
        kind: Kind::Number,
        unset: Unset::Default("100"),
        text: "Maximum number of containers that have metrics of their own at a time, and again as many of those that lost data; the totals include all containers. Fluent Bit keeps the series of removed containers, so up to ten times as many containers get series before it is restarted or reloaded. 0: none.",
        set: |config, given| given.parsed(values::number).map(|most| config.metrics_per_container = most),
    },
];
