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
    text: "Whose containers are looked for: docker, cri (a Kubernetes node with containerd or CRI-O), podman, or auto: every runtime that is found.",
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
    text: "The folder in which a Kubernetes node keeps the logs of its pods. The ids of containers are in the folder containers/ beside it.",
};

/// Root's Podman storage.
pub const PODMAN_ROOT: OptionSpec = OptionSpec {
    name: "Podman_Root",
    kind: Kind::Text,
    default: Some("/var/lib/containers/storage"),
    text: "Root's storage of Podman (`podman info -f '{{.Store.GraphRoot}}'`). Those of other users are read only where Podman_Users names them.",
};

/// The users whose Podman storages are read in addition to root's.
pub const PODMAN_USERS: OptionSpec = OptionSpec {
    name: "Podman_Users",
    kind: Kind::List,
    default: None,
    text: "Users of /etc/passwd whose containers of Podman are read from their home directories: names, globs, or all. Unset: nobody's, and no home directory is touched. A user decides what these containers are called and what they log; their records have the user's name under user.",
};

/// The checkpoint file.
pub const DB: OptionSpec = OptionSpec {
    name: "DB",
    kind: Kind::Text,
    default: None,
    text: "File that remembers how far each log was accepted. Without it positions live in memory and a restart reads every log again.",
};

/// Whether to read existing containers from the beginning.
pub const READ_FROM_HEAD: OptionSpec = OptionSpec {
    name: "Read_From_Head",
    kind: Kind::Bool,
    default: Some("on"),
    text: "Whether containers that are older than the very first start are read from their first byte. What starts later always is.",
};

/// The template for tags.
pub const TAG_TEMPLATE: OptionSpec = OptionSpec {
    name: "Tag_Template",
    kind: Kind::Text,
    default: None,
    text: "A tag per container, e.g. docker.{name}; there are {name} {id} {short_id} {image} {stream}, of a pod {namespace} {pod} {pod_uid}, of a user's container {user}. Unset: the instance's Tag.",
};

/// Limit of the queue.
pub const QUEUE_LIMIT: OptionSpec = OptionSpec {
    name: "Queue_Limit",
    kind: Kind::Size,
    default: Some("8M"),
    text: "Bytes of records that may wait for Fluent Bit. When it is full nothing more is read: the log files are the buffer.",
};

/// Limit on deleted files held open.
pub const HELD_FILES_LIMIT: OptionSpec = OptionSpec {
    name: "Held_Files_Limit",
    kind: Kind::Size,
    default: Some("1G"),
    text: "Bytes on the disk of files that Docker has deleted and that are held open because Fluent Bit has not taken what is in them. Beyond it the container that holds the most loses its oldest, and the loss is counted.",
};

/// How long to retry a record that the host refuses.
pub const REFUSED_RECORD_TIMEOUT: OptionSpec = OptionSpec {
    name: "Refused_Record_Timeout",
    kind: Kind::Time,
    default: Some("1m"),
    text: "How long Fluent Bit may refuse a single record although it has room and takes others, as one that is larger than an output's storage.total_limit_size. Then the record is passed over, counted and logged. What is refused for want of room is never passed over.",
};

/// Longest joined line.
pub const PARTIAL_MAX_SIZE: OptionSpec = OptionSpec {
    name: "Partial_Max_Size",
    kind: Kind::Size,
    default: Some("1M"),
    text: "Longest line joined from Docker's 16 KiB pieces. A longer one is cut there and its record says truncated: true.",
};

/// Time between rescans.
pub const RESCAN_INTERVAL: OptionSpec = OptionSpec {
    name: "Rescan_Interval",
    kind: Kind::Time,
    default: Some("2s"),
    text: "Time between looks for containers and files that no change notification told of: all that is not watched, and a thirtieth of what is (units: ms, s, m, h, d).",
};

/// Files, API, or both.
pub const MODE: OptionSpec = OptionSpec {
    name: "Mode",
    kind: Kind::Text,
    default: Some("hybrid"),
    text: "hybrid: files where a file exists, the API of Docker or Podman only where none does. file: never the API. stream: everything through the API.",
};

/// The socket of Docker's API.
pub const DOCKER_SOCKET: OptionSpec = OptionSpec {
    name: "Docker_Socket",
    kind: Kind::Text,
    default: Some("unix:///var/run/docker.sock"),
    text: "Docker's API, for containers whose log is in no file. It is not touched as long as there is none. off: never.",
};

/// The socket of Podman's API.
pub const PODMAN_SOCKET: OptionSpec = OptionSpec {
    name: "Podman_Socket",
    kind: Kind::Text,
    default: Some("unix:///run/podman/podman.sock"),
    text: "Podman's Docker-compatible API, for containers whose log is in no file (log driver journald). It is not touched as long as there is none. off: never.",
};

/// Rules that include containers.
pub const INCLUDE: OptionSpec = OptionSpec {
    name: "Include",
    kind: Kind::List,
    default: None,
    text: "Read only containers that one of these rules fits: name=GLOB, image=GLOB, driver=GLOB, namespace=GLOB, pod=GLOB, user=GLOB, compose_project=GLOB, compose_service=GLOB, label=KEY or label=KEY=GLOB.",
};

/// Rules that exclude containers.
pub const EXCLUDE: OptionSpec = OptionSpec {
    name: "Exclude",
    kind: Kind::List,
    default: None,
    text: "Do not read containers that one of these rules fits, written as for Include; it wins over Include. The label fluentbit.io/exclude=true does the same for a container, where Label_Hints names exclude.",
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
    text: "Where records say whose they are. flat: container_id, container_name, image and the like at the top. nested: under Metadata_Key. off: nowhere. otel: OpenTelemetry's names in a group, for the opentelemetry output (Fluent Bit 3.2 or later).",
};

/// The key of nested metadata.
pub const METADATA_KEY: OptionSpec = OptionSpec {
    name: "Metadata_Key",
    kind: Kind::Text,
    default: Some("docker"),
    text: "The key under which Metadata nested puts all.",
};

/// Labels to add to records.
pub const LABELS: OptionSpec = OptionSpec {
    name: "Labels",
    kind: Kind::List,
    default: None,
    text: "Globs of the container's labels that its records have under labels. Those of Compose and Swarm have keys of their own in any case: compose_project, compose_service, swarm_service, swarm_task, swarm_node.",
};

/// Which container labels are honoured.
pub const LABEL_HINTS: OptionSpec = OptionSpec {
    name: "Label_Hints",
    kind: Kind::List,
    default: Some("multiline"),
    text: "Labels fluentbit.io/... that containers are obeyed in: exclude, merge_log, multiline (names of languages, or off), multiline_regex (expressions as well), parser, rate_limit, tag; all; or none. Whoever writes an image writes its labels. By default only multiline with names is obeyed, which changes nothing but how the container's own lines are grouped; with the others an image can hide its log, send it where the logs of others are expected, set the keys of its records, or take time: one line can hold up all of Fluent Bit in parser. Name them where you trust whoever writes the images.",
};

/// Environment variables to add to records.
pub const ENV: OptionSpec = OptionSpec {
    name: "Env",
    kind: Kind::List,
    default: None,
    text:
        "Globs of the container's environment variables that its records have under env. Mind what is secret.",
};

/// Whether to merge lines that are JSON objects.
pub const MERGE_LOG: OptionSpec = OptionSpec {
    name: "Merge_Log",
    kind: Kind::Bool,
    default: Some("off"),
    text: "Whether a line that is a JSON object becomes fields of its record. The label fluentbit.io/merge_log=true, or false, says it for one container, where Label_Hints names merge_log.",
};

/// Where to put the merged fields.
pub const MERGE_LOG_KEY: OptionSpec = OptionSpec {
    name: "Merge_Log_Key",
    kind: Kind::Text,
    default: None,
    text:
        "The key under which Merge_Log puts the fields. Unset: at the top, where the record's own keys win.",
};

/// Whether to keep the merged line.
pub const KEEP_LOG: OptionSpec = OptionSpec {
    name: "Keep_Log",
    kind: Kind::Bool,
    default: Some("off"),
    text: "Whether a line that Merge_Log made fields of is kept under log. It is in any case where one of its fields could not stand in the record.",
};

/// Which lines to join.
pub const MULTILINE: OptionSpec = OptionSpec {
    name: "Multiline",
    kind: Kind::Text,
    default: None,
    text: "Lines that become one record: stack traces of java, go, python, or several of them (java,python); or a regular expression that the first line of each record fits. The label fluentbit.io/multiline says it for one container, or off (see Label_Hints).",
};

/// How long a joined line waits for its next part.
pub const MULTILINE_FLUSH: OptionSpec = OptionSpec {
    name: "Multiline_Flush",
    kind: Kind::Time,
    default: Some("1s"),
    text: "How long a line that Multiline may go on with waits for the next one of its stream.",
};

/// Limit on the read rate of a container.
pub const RATE_LIMIT: OptionSpec = OptionSpec {
    name: "Rate_Limit",
    kind: Kind::Size,
    default: Some("0"),
    text: "Bytes per second that each container's files are read at, over time; 0 for no limit. Nothing is dropped: what waits stays in the files, which are held as Held_Files_Limit says. The label fluentbit.io/rate_limit says it for one container, where Label_Hints names rate_limit.",
};

/// Limit on containers with their own metrics.
pub const METRICS_PER_CONTAINER: OptionSpec = OptionSpec {
    name: "Metrics_Per_Container",
    kind: Kind::Number,
    default: Some("100"),
    text:
        "Containers that have metrics of their own at a time, and as many again where something was lost; all are in the totals. Fluent Bit keeps the series of a container that is gone, so ten times as many get them until it is restarted or reloaded. 0: none.",
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
