//! All options in one table. The host's option map and its `-h` text, the README and the
//! example configuration are made from it (tests keep them in step).

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
}

/// The definition of one option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The name as users write it; the host ignores case.
    pub name: &'static str,
    /// The kind of value.
    pub kind: Kind,
    /// The value if the option is not set.
    pub default: Option<&'static str>,
    /// One or two sentences for `-h` and the README.
    pub text: &'static str,
}

/// Which runtimes' containers are read.
pub const RUNTIME: OptionSpec = OptionSpec {
    name: "Runtime",
    kind: Kind::Text,
    default: Some("auto"),
    text: "Which runtimes' containers to read: docker, cri (a Kubernetes node with containerd or CRI-O), podman, or auto: every runtime that is found.",
};

impl OptionSpec {
    /// An example value for the documentation: the default or, if there is none, a typical
    /// value.
    pub fn example(&self) -> &'static str {
        self.default.unwrap_or(match self.name {
            "DB" => "/var/lib/fluent-bit/container_logs.db",
            "Tag_Template" => "docker.{name}",
            "Podman_Users" => "ada",
            "Include" => "compose_project=shop",
            "Exclude" => "name=*-debug",
            "Labels" => "team",
            "Merge_Log_Key" => "fields",
            "Env" => "STAGE",
            "Multiline" => "java",
            _ => "",
        })
    }
}

/// Docker's data root.
pub const DOCKER_ROOT: OptionSpec = OptionSpec {
    name: "Docker_Root",
    kind: Kind::Text,
    default: Some("/var/lib/docker"),
    text: "Docker's data root (`docker info -f '{{.DockerRootDir}}'`). Containers are found in its folder containers/.",
};

/// The kubelet's log directory.
pub const POD_LOGS: OptionSpec = OptionSpec {
    name: "Pod_Logs",
    kind: Kind::Text,
    default: Some("/var/log/pods"),
    text: "The folder where a Kubernetes node keeps the logs of its pods. Container ids are read from the folder containers/ next to it.",
};

/// Root's Podman storage.
pub const PODMAN_ROOT: OptionSpec = OptionSpec {
    name: "Podman_Root",
    kind: Kind::Text,
    default: Some("/var/lib/containers/storage"),
    text: "Root's Podman storage (`podman info -f '{{.Store.GraphRoot}}'`). The storage of other users is read only if Podman_Users names them.",
};

/// The users whose Podman storages are read in addition to root's.
pub const PODMAN_USERS: OptionSpec = OptionSpec {
    name: "Podman_Users",
    kind: Kind::List,
    default: None,
    text: "Users in /etc/passwd whose Podman containers are read from their home directories: names, globs, or all. Unset: none, and no home directory is accessed. These users control the names and log contents of their containers; each record has the user's name under user.",
};

/// The checkpoint file.
pub const DB: OptionSpec = OptionSpec {
    name: "DB",
    kind: Kind::Text,
    default: None,
    text: "File that stores how far Fluent Bit has accepted each log. Without it, positions are kept in memory and a restart reads every log again.",
};

/// Whether to read existing containers from the beginning.
pub const READ_FROM_HEAD: OptionSpec = OptionSpec {
    name: "Read_From_Head",
    kind: Kind::Bool,
    default: Some("on"),
    text: "Whether containers that exist before the very first start are read from the beginning. Containers started later are always read from the beginning.",
};

/// The template for tags.
pub const TAG_TEMPLATE: OptionSpec = OptionSpec {
    name: "Tag_Template",
    kind: Kind::Text,
    default: None,
    text: "A tag for each container, e.g. docker.{name}. Placeholders: {name} {id} {short_id} {image} {stream}, for pods {namespace} {pod} {pod_uid}, for users' containers {user}. Unset: the input's Tag.",
};

/// Limit of the queue.
pub const QUEUE_LIMIT: OptionSpec = OptionSpec {
    name: "Queue_Limit",
    kind: Kind::Size,
    default: Some("8M"),
    text: "Maximum size of the records that wait for Fluent Bit. Once it is reached, reading pauses: the log files are the buffer.",
};

/// Limit on deleted files held open.
pub const HELD_FILES_LIMIT: OptionSpec = OptionSpec {
    name: "Held_Files_Limit",
    kind: Kind::Size,
    default: Some("1G"),
    text: "Maximum disk space of deleted log files that are held open because Fluent Bit has not accepted their contents yet. Beyond it, the container that holds the most loses its oldest file, and the loss is counted.",
};

/// How long to retry a record that the host refuses.
pub const REFUSED_RECORD_TIMEOUT: OptionSpec = OptionSpec {
    name: "Refused_Record_Timeout",
    kind: Kind::Time,
    default: Some("1m"),
    text: "How long Fluent Bit may refuse a single record while it has room and accepts others, for example because the record is larger than an output's storage.total_limit_size. After that, the record is dropped, counted and logged. A record refused for lack of room is never dropped.",
};

/// Longest joined line.
pub const PARTIAL_MAX_SIZE: OptionSpec = OptionSpec {
    name: "Partial_Max_Size",
    kind: Kind::Size,
    default: Some("1M"),
    text: "Maximum length of a line joined from Docker's 16 KiB pieces. A longer line is cut there and its record has truncated: true.",
};

/// Time between rescans.
pub const RESCAN_INTERVAL: OptionSpec = OptionSpec {
    name: "Rescan_Interval",
    kind: Kind::Time,
    default: Some("2s"),
    text: "Time between rescans for containers and files that no change notification reported. Folders that are not watched are checked at every rescan, watched ones at every 30th (units: ms, s, m, h, d).",
};

/// Files, API, or both.
pub const MODE: OptionSpec = OptionSpec {
    name: "Mode",
    kind: Kind::Text,
    default: Some("hybrid"),
    text: "hybrid: read files where they exist, and use the API of Docker or Podman only where none does. file: never use the API. stream: read everything through the API.",
};

/// The socket of Docker's API.
pub const DOCKER_SOCKET: OptionSpec = OptionSpec {
    name: "Docker_Socket",
    kind: Kind::Text,
    default: Some("unix:///var/run/docker.sock"),
    text: "Socket of Docker's API, for containers that have no log file. It is not accessed unless there is such a container. off: never.",
};

/// The socket of Podman's API.
pub const PODMAN_SOCKET: OptionSpec = OptionSpec {
    name: "Podman_Socket",
    kind: Kind::Text,
    default: Some("unix:///run/podman/podman.sock"),
    text: "Socket of Podman's Docker-compatible API, for containers that have no log file (log driver journald). It is not accessed unless there is such a container. off: never.",
};

/// Rules that include containers.
pub const INCLUDE: OptionSpec = OptionSpec {
    name: "Include",
    kind: Kind::List,
    default: None,
    text: "Read only containers that match one of these rules: name=GLOB, image=GLOB, driver=GLOB, namespace=GLOB, pod=GLOB, user=GLOB, compose_project=GLOB, compose_service=GLOB, label=KEY or label=KEY=GLOB.",
};

/// Rules that exclude containers.
pub const EXCLUDE: OptionSpec = OptionSpec {
    name: "Exclude",
    kind: Kind::List,
    default: None,
    text: "Do not read containers that match one of these rules, written as for Include; Exclude wins over Include. The label fluentbit.io/exclude=true does the same for one container, if Label_Hints allows exclude.",
};

/// Whether to exclude the plugin's own container.
pub const EXCLUDE_SELF: OptionSpec = OptionSpec {
    name: "Exclude_Self",
    kind: Kind::Bool,
    default: Some("on"),
    text: "Do not read the container that Fluent Bit itself runs in.",
};

/// Where records carry container metadata.
pub const METADATA: OptionSpec = OptionSpec {
    name: "Metadata",
    kind: Kind::Text,
    default: Some("flat"),
    text: "Where to put container metadata in a record. flat: container_id, container_name, image and so on at the top level. nested: under Metadata_Key. off: nowhere. otel: with OpenTelemetry's names in a group, for the opentelemetry output (Fluent Bit 3.2 or later).",
};

/// The key of nested metadata.
pub const METADATA_KEY: OptionSpec = OptionSpec {
    name: "Metadata_Key",
    kind: Kind::Text,
    default: Some("docker"),
    text: "The key under which Metadata nested puts all metadata.",
};

/// Labels to add to records.
pub const LABELS: OptionSpec = OptionSpec {
    name: "Labels",
    kind: Kind::List,
    default: None,
    text: "Globs of container labels to add to records, under labels. Labels of Compose and Swarm always have keys of their own: compose_project, compose_service, swarm_service, swarm_task, swarm_node.",
};

/// Which container labels are honoured.
pub const LABEL_HINTS: OptionSpec = OptionSpec {
    name: "Label_Hints",
    kind: Kind::List,
    default: Some("multiline"),
    text: "Which container labels fluentbit.io/... take effect: exclude, merge_log, multiline (names of languages, or off), multiline_regex (regular expressions as well), parser, rate_limit, tag; all; or none. An image can set its own labels. By default only multiline with names is allowed, which changes only how the container's own lines are grouped. With the others, an image can hide its log, send it where other containers' logs are expected, set the keys of its records, or slow down reading; with parser, one line can block all of Fluent Bit. Allow them only if you trust the authors of the images.",
};

/// Environment variables to add to records.
pub const ENV: OptionSpec = OptionSpec {
    name: "Env",
    kind: Kind::List,
    default: None,
    text: "Globs of container environment variables to add to records, under env. Do not expose secrets.",
};

/// Whether to merge lines that are JSON objects.
pub const MERGE_LOG: OptionSpec = OptionSpec {
    name: "Merge_Log",
    kind: Kind::Bool,
    default: Some("off"),
    text: "Whether a line that is a JSON object becomes fields of its record. The label fluentbit.io/merge_log (true or false) overrides this for one container, if Label_Hints allows merge_log.",
};

/// Where to put the merged fields.
pub const MERGE_LOG_KEY: OptionSpec = OptionSpec {
    name: "Merge_Log_Key",
    kind: Kind::Text,
    default: None,
    text: "The key under which Merge_Log puts the fields. Unset: at the top level, where the record's own keys win.",
};

/// Whether to keep the merged line.
pub const KEEP_LOG: OptionSpec = OptionSpec {
    name: "Keep_Log",
    kind: Kind::Bool,
    default: Some("off"),
    text: "Whether to keep the original line under log when Merge_Log makes fields of it. It is always kept if one of its fields could not be added to the record.",
};

/// Which lines to join.
pub const MULTILINE: OptionSpec = OptionSpec {
    name: "Multiline",
    kind: Kind::Text,
    default: None,
    text: "Which lines to join into one record: stack traces of java, go, python, or several of them (java,python); or a regular expression that matches the first line of each record. The label fluentbit.io/multiline overrides this for one container, also with off (see Label_Hints).",
};

/// How long a joined line waits for its next part.
pub const MULTILINE_FLUSH: OptionSpec = OptionSpec {
    name: "Multiline_Flush",
    kind: Kind::Time,
    default: Some("1s"),
    text: "How long Multiline waits for the next line of the same stream before it completes a record.",
};

/// Limit on the read rate of a container.
pub const RATE_LIMIT: OptionSpec = OptionSpec {
    name: "Rate_Limit",
    kind: Kind::Size,
    default: Some("0"),
    text: "Average bytes per second read from each container's log files; 0 for no limit. Nothing is dropped: unread data stays in the files, and deleted ones are held up to Held_Files_Limit. The label fluentbit.io/rate_limit overrides this for one container, if Label_Hints allows rate_limit.",
};

/// Limit on containers with their own metrics.
pub const METRICS_PER_CONTAINER: OptionSpec = OptionSpec {
    name: "Metrics_Per_Container",
    kind: Kind::Number,
    default: Some("100"),
    text: "Maximum number of containers that have metrics of their own at a time, and as many again that lost data; the totals include all containers. Fluent Bit keeps the series of removed containers, so up to ten times as many get series until it is restarted or reloaded. 0: none.",
};

/// All options, in the order of the documentation.
pub const OPTIONS: [OptionSpec; 31] = [
    RUNTIME,
    DOCKER_ROOT,
    POD_LOGS,
    PODMAN_ROOT,
    PODMAN_USERS,
    MODE,
    DOCKER_SOCKET,
    PODMAN_SOCKET,
    INCLUDE,
    EXCLUDE,
    EXCLUDE_SELF,
    DB,
    READ_FROM_HEAD,
    TAG_TEMPLATE,
    METADATA,
    METADATA_KEY,
    LABELS,
    LABEL_HINTS,
    ENV,
    MERGE_LOG,
    MERGE_LOG_KEY,
    KEEP_LOG,
    MULTILINE,
    MULTILINE_FLUSH,
    RATE_LIMIT,
    QUEUE_LIMIT,
    HELD_FILES_LIMIT,
    REFUSED_RECORD_TIMEOUT,
    PARTIAL_MAX_SIZE,
    RESCAN_INTERVAL,
    METRICS_PER_CONTAINER,
];
