//! A Fluent Bit, and the inputs that it can be run with.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::data::Format;
use crate::probe::Probe;
use crate::session::{Cost, CountedAt, Session};
use crate::{native, Failure};

/// What `tail` and `stdin` need; times are local to no zone.
const PARSERS: &str =
    "[PARSER]\n    Name docker\n    Format json\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L\n\
     [PARSER]\n    Name cri\n    Format regex\n    \
     Regex ^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<flag>[^ ]*) (?<log>.*)$\n    \
     Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L%z\n\
     [PARSER]\n    Name docker_logs\n    Format regex\n    Regex ^(?<time>[^ ]+) (?<log>.*)$\n    \
     Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L%z\n\
     [PARSER]\n    Name json\n    Format json\n";

/// What all rows need.
pub struct Lab {
    /// What is written in the rows over many containers.
    pub format: Format,
    pub fluent_bit: Option<PathBuf>,
    pub plugin: PathBuf,
    pub scratch: PathBuf,
    probe: PathBuf,
    ready_records: PathBuf,
    parsers: PathBuf,
}

/// What the filter in `native/probe.c` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// The time of an append.
    Appends,
    /// The text and time of each record.
    Texts,
    /// All its fields, too.
    Fields,
}

/// How one host is to be run.
pub struct Setup {
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    looks: Looks,
    counted_at: CountedAt,
    feeder: Option<Command>,
}

impl Setup {
    fn of_input(name: &str) -> Setup {
        Setup {
            arguments: vec!["-i".into(), name.into()],
            environment: Vec::new(),
            looks: Looks::Appends,
            counted_at: CountedAt::Input,
            feeder: None,
        }
    }

    /// Before the input: what it needs.
    fn after(mut self, flag: &str, file: &Path) -> Setup {
        self.arguments
            .splice(0..0, [flag.into(), file.to_owned().into()]);
        self
    }

    /// The text of each record is looked at by the filter.
    pub fn probed(mut self) -> Setup {
        self.looks = Looks::Texts;
        self
    }

    /// Each record is looked at with all its fields.
    pub fn probed_with_fields(mut self) -> Setup {
        self.looks = Looks::Fields;
        self
    }

    /// A further option of the input, or of the filter that was added last.
    pub fn with(mut self, option: &str) -> Setup {
        self.arguments.extend(["-p".into(), option.into()]);
        self
    }

    /// A filter over all records, in front of the one that looks at them.
    pub fn filter(mut self, name: &str) -> Setup {
        let arguments = ["-F", name, "-m", "*"].map(OsString::from);
        self.arguments.extend(arguments);
        self
    }

    /// Records are counted behind the filters, which may make fewer of them.
    pub fn counted_at_output(mut self) -> Setup {
        self.counted_at = CountedAt::Output;
        self
    }
}

impl Lab {
    pub fn new(scratch: &Path, fluent_bit: Option<PathBuf>) -> Result<Lab, Failure> {
        raise_descriptor_limit();
        let parsers = scratch.join("parsers.conf");
        std::fs::write(&parsers, PARSERS)?;
        Ok(Lab {
            format: Format::of_rows()?,
            fluent_bit,
            plugin: plugin()?,
            scratch: scratch.to_owned(),
            probe: native::probe()?,
            ready_records: native::ready_records()?,
            parsers,
        })
    }

    /// container_logs over a Docker root, with a fresh or given checkpoint.
    pub fn ours(&self, root: &Path, db: &Path) -> Setup {
        self.container_logs(db)
            .with("runtime=docker")
            .with(&format!("docker_root={}", root.display()))
    }

    /// container_logs over the logs of pods.
    pub fn ours_of_pods(&self, root: &Path, db: &Path) -> Setup {
        self.container_logs(db)
            .with("runtime=cri")
            .with(&format!("pod_logs={}", root.join("pods").display()))
    }

    /// container_logs over containers of the format of the rows.
    pub fn ours_of_rows(&self, root: &Path, db: &Path) -> Setup {
        match self.format {
            Format::Cri => self.ours_of_pods(root, db),
            Format::JsonFile | Format::Local => self.ours(root, db),
        }
    }

    fn container_logs(&self, db: &Path) -> Setup {
        Setup::of_input("container_logs")
            .after("-e", &self.plugin)
            .with(&format!("db={}", db.display()))
    }

    /// `tail` over all json-files of a Docker root.
    pub fn tail(&self, root: &Path) -> Setup {
        self.tail_of(&root.join("containers/*/*-json.log"))
    }

    /// `tail` over all logs of pods.
    pub fn tail_of_pods(&self, root: &Path) -> Setup {
        self.tail_of(&root.join("pods/*/*/*.log"))
    }

    /// `tail` over containers of the format of the rows, as most have it.
    pub fn tail_of_rows(&self, root: &Path) -> Setup {
        match self.format {
            Format::Cri => self.tail_of_pods(root).with("parser=cri"),
            Format::JsonFile | Format::Local => self.tail_docker(root),
        }
    }

    fn tail_of(&self, path: &Path) -> Setup {
        Setup::of_input("tail")
            .after("-R", &self.parsers)
            .with(&format!("path={}", path.display()))
            .with("read_from_head=on")
            .with("refresh_interval=2")
    }

    /// `tail` as most have it.
    pub fn tail_docker(&self, root: &Path) -> Setup {
        self.tail(root).with("parser=docker")
    }

    /// Fluent Bit's own input over a journal.
    pub fn systemd(&self, folder: &Path) -> Setup {
        Setup::of_input("systemd").with(&format!("path={}", folder.display()))
    }

    /// `stdin`, to which `feeder` writes what `docker logs -t` prints.
    pub fn stdin(&self, feeder: Command) -> Setup {
        let setup = Setup::of_input("stdin").after("-R", &self.parsers);
        Setup {
            feeder: Some(feeder),
            ..setup.with("parser=docker_logs")
        }
    }

    /// The floor: `records` in batches of `file`.
    pub fn ready(&self, file: &Path, records: u64) -> Setup {
        Setup {
            environment: vec![
                ("CLOGS_READY_FILE", file.into()),
                ("CLOGS_READY_TOTAL", records.to_string().into()),
            ],
            ..Setup::of_input("ready_records").after("-e", &self.ready_records)
        }
    }

    /// The input of the floor, for another host.
    pub fn ready_plugin(&self) -> &Path {
        &self.ready_records
    }

    /// A name in the scratch folder that is not taken yet.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let path = self.scratch.join(name);
        // Whatever an earlier run left; usually nothing.
        let _ = std::fs::remove_file(&path);
        path
    }

    /// A new folder in it, which goes with what is returned.
    pub fn folder(&self) -> Result<TempDir, Failure> {
        Ok(tempfile::tempdir_in(&self.scratch)?)
    }

    pub fn start(&self, setup: Setup) -> Result<Session, Failure> {
        let host = self
            .fluent_bit
            .as_ref()
            .ok_or("no Fluent Bit: set FLUENT_BIT")?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let probe = Probe::new(&self.scratch.join("probe"))?;
        let log = self.scratch.join("host.log");
        let mut command = Command::new(host);
        command.args(["-f", "1", "-H", "-L", "127.0.0.1", "-P", &port.to_string()]);
        command.arg("-e").arg(&self.probe).args(&setup.arguments);
        command.args(["-F", "clogs_probe", "-m", "*", "-o", "null", "-m", "*"]);
        command
            .envs(setup.environment)
            .env("CLOGS_PROBE", &probe.path);
        match setup.looks {
            Looks::Appends => {}
            Looks::Texts => {
                command.env("CLOGS_PROBE_LOOKS", "texts");
            }
            Looks::Fields => {
                command.env("CLOGS_PROBE_LOOKS", "fields");
            }
        }
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let began = since_1970();
        let mut feeder = match setup.feeder {
            Some(mut feeder) => Some(feeder.stdout(Stdio::piped()).spawn()?),
            None => None,
        };
        let input = feeder.as_mut().and_then(|feeder| feeder.stdout.take());
        command.stdin(input.map_or_else(Stdio::null, Stdio::from));
        Ok(Session {
            child: command.spawn()?,
            feeder,
            port,
            probe,
            log,
            counted_at: setup.counted_at,
            began,
        })
    }

    /// Runs until `records` have come, and no more.
    pub fn measure(&self, setup: Setup, records: u64) -> Result<Cost, Failure> {
        let session = self.start(setup)?;
        session.wait_for(records)?;
        let wall = session.probe.last_append()?.saturating_sub(session.began);
        Ok(Cost {
            cpu: session.cpu()?,
            wall,
            peak_kib: session.kib("VmHWM:")?,
        })
    }
}

pub fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A container is an open file.
fn raise_descriptor_limit() {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it stays low the rows with many containers will say so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// The release build of the plugin, which `make bench` made just before.
fn plugin() -> Result<PathBuf, Failure> {
    let bench = std::env::current_exe()?;
    let release = bench.ancestors().nth(2).ok_or("a target folder")?;
    let plugin = release.join("flb-in_container_logs.so");
    if plugin.is_file() {
        Ok(plugin)
    } else {
        Err(format!("{} is missing: run make", plugin.display()).into())
    }
}
