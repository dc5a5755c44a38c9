//! Where a service of the machine keeps its containers: where the option says or, with `auto`,
//! where root's files say, as the service itself reads them:
//!
//! ```text
//! the running daemon's command line    --data-root, -g, --graph; --config-file
//! its settings                         data-root in /etc/docker/daemon.json and the like
//! its default                          /var/lib/docker
//! ```
//!
//! Nothing is remembered: an administrator may move the containers at any time.

use std::path::{Path, PathBuf};

use crate::runtime::bounded_file::{read_text, FileKind};

/// A service that keeps containers. Paths are relative to the root of the machine's files.
#[derive(Debug)]
pub struct Service {
    /// Its pid file and the name of its program, if it is a daemon whose command line may say
    /// where its containers are.
    pub daemon: Option<(&'static str, &'static str)>,
    /// Its settings; the first file that exists is the one that it reads.
    pub settings: &'static [&'static str],
    /// Takes the folder with the containers from the text of the settings.
    pub configured: fn(&str) -> Option<PathBuf>,
    /// Where the containers are unless configured.
    pub default: &'static str,
}

/// Options of dockerd that set its data root; `graph` is the old name.
const ROOT_FLAGS: [&str; 3] = ["--data-root", "--graph", "-g"];
/// The option of dockerd that sets the file with its settings.
const SETTINGS_FLAG: [&str; 1] = ["--config-file"];

/// The folder in which a service keeps its containers.
#[derive(Debug, Clone)]
pub struct DataRoot {
    /// Where the option says; `None` stands for `auto`.
    given: Option<PathBuf>,
    service: &'static Service,
    /// The root of the machine's files.
    machine: PathBuf,
}

impl DataRoot {
    /// Where the option says; `None` stands for `auto`.
    pub fn new(given: Option<&Path>, service: &'static Service, machine: &Path) -> DataRoot {
        DataRoot {
            given: given.map(Path::to_owned),
            service,
            machine: machine.to_owned(),
        }
    }

    /// The path, with symlinks resolved if it exists.
    pub fn path(&self) -> PathBuf {
        let path = self.unresolved();
        path.canonicalize().unwrap_or(path)
    }

    /// Whether it is in the place where the service keeps it unless configured.
    pub fn is_default(&self) -> bool {
        self.unresolved() == self.machine.join(self.service.default)
    }

    fn unresolved(&self) -> PathBuf {
        let found = || self.service.root(&self.machine);
        self.given.clone().unwrap_or_else(found)
    }
}

impl Service {
    /// The folder in which this service keeps its containers on the machine.
    fn root(&self, machine: &Path) -> PathBuf {
        let arguments = self.arguments(machine);
        if let Some(path) = absolute(flag(&arguments, &ROOT_FLAGS)) {
            return path;
        }
        let settings = match absolute(flag(&arguments, &SETTINGS_FLAG)) {
            Some(path) => vec![path],
            None => self
                .settings
                .iter()
                .map(|path| machine.join(path))
                .collect(),
        };
        let text = settings
            .iter()
            .find_map(|path| read_text(path, FileKind::Setting).ok());
        text.and_then(|text| (self.configured)(&text))
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| machine.join(self.default))
    }

    /// The arguments of the running daemon; none if it does not run or is not visible.
    fn arguments(&self, machine: &Path) -> Vec<String> {
        let Some((pid_file, program)) = self.daemon else {
            return Vec::new();
        };
        let pid = read_text(&machine.join(pid_file), FileKind::Proc).unwrap_or_default();
        let Ok(pid) = pid.trim().parse::<u32>() else {
            return Vec::new();
        };
        let command = machine.join(format!("proc/{pid}/cmdline"));
        let text = read_text(&command, FileKind::Proc).unwrap_or_default();
        let mut arguments = text.split('\0').map(str::to_owned);
        // The number may have been given to another process since.
        let is_it = arguments
            .next()
            .is_some_and(|name| Path::new(&name).file_name() == Some(program.as_ref()));
        match is_it {
            true => arguments.collect(),
            false => Vec::new(),
        }
    }
}

fn absolute(path: Option<&str>) -> Option<PathBuf> {
    path.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The value of an option, written as `--name=value` or `--name value`; the last one counts.
fn flag<'a>(arguments: &'a [String], names: &[&str]) -> Option<&'a str> {
    let mut given = arguments
        .iter()
        .enumerate()
        .filter_map(|(index, argument)| {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            let next = || arguments.get(index + 1).map(String::as_str);
            names.contains(&name).then(|| value.or_else(next)).flatten()
        });
    given.next_back()
}

/// The value of `key` in a table of a TOML file, or at its top if `table` is empty: the one
/// kind of line that the settings of container tools need, `key = "text"`.
pub fn toml_text(text: &str, table: &str, key: &str) -> Option<String> {
    let mut current = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            current = name.split(']').next().unwrap_or_default().trim();
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| current == table) else {
            continue;
        };
        if name.trim().trim_matches('"') != key {
            continue;
        }
        let value = value.trim();
        let quote = value
            .chars()
            .next()
            .filter(|first| "\"'".contains(*first))?;
        let (value, _) = value[1..].split_once(quote)?;
        // An escape, which no path needs.
        let is_plain = quote == '\'' || !value.contains('\\');
        return (is_plain && !value.is_empty()).then(|| value.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SERVICE: Service = Service {
        daemon: Some(("var/run/d.pid", "d")),
        settings: &["etc/d.toml", "usr/share/d.toml"],
        configured: |text| toml_text(text, "storage", "root").map(PathBuf::from),
        default: "var/lib/d",
    };

    /// Writes the files of a machine; returns where its service keeps its containers.
    fn found(files: &[(&str, &str)]) -> PathBuf {
        static STATIC: Service = SERVICE;
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = DataRoot::new(None, &STATIC, dir.path());
        let path = root.path();
        assert_eq!(root.is_default(), path.starts_with(dir.path()));
        match path.strip_prefix(dir.path()) {
            Ok(below) => below.to_owned(),
            Err(_) => path,
        }
    }

    #[test]
    fn the_first_settings_that_exist_say_where_and_the_default_holds_without() {
        let root = "[storage]\nroot = \"/data\"";
        for (files, want) in [
            (&[] as &[(&str, &str)], "var/lib/d"),
            (&[("etc/d.toml", root)], "/data"),
            (&[("usr/share/d.toml", root)], "/data"),
            (
                &[("etc/d.toml", "x"), ("usr/share/d.toml", root)],
                "var/lib/d",
            ),
            (&[("etc/d.toml", "[storage]\nroot = \"data\"")], "var/lib/d"),
        ] {
            assert_eq!(found(files), Path::new(want), "{files:?}");
        }
    }

    #[test]
    fn the_command_line_of_the_running_daemon_wins() {
        let settings = ("etc/d.toml", "[storage]\nroot = \"/data\"");
        for (command, want) in [
            ("/usr/bin/d\0--data-root\0/run\0-H\0fd://\0", "/run"),
            ("d\0--data-root=/run\0", "/run"),
            ("d\0-g\0/run\0", "/run"),
            ("d\0--graph=/old\0--graph=/run\0", "/run"),
            ("d\0--data-root\0run\0", "/data"),
            ("d\0--data-root", "/data"),
            ("d\0--config-file=/nowhere/d.toml\0", "var/lib/d"),
            ("other\0--data-root\0/run\0", "/data"),
            ("", "/data"),
        ] {
            let files = [
                settings,
                ("var/run/d.pid", "7\n"),
                ("proc/7/cmdline", command),
            ];
            assert_eq!(found(&files), Path::new(want), "{command:?}");
        }
        assert_eq!(
            found(&[("var/run/d.pid", "?"), settings]),
            Path::new("/data")
        );
    }

    #[test]
    fn a_value_is_read_from_its_table_alone() {
        let text = |text: &str| toml_text(text, "storage", "root");
        for (given, want) in [
            ("[storage]\nroot = \"/a b\" # there", Some("/a b")),
            ("[storage]\n\"root\"='/a\\b'", Some("/a\\b")),
            (
                "root = \"/a\"\n[storage]\ndriver = \"x\"\n  root=\"/b\"",
                Some("/b"),
            ),
            (
                "[storage]\n#root = \"/a\"\n[storage.options]\nroot = \"/c\"",
                None,
            ),
            ("[storage]\nroot = \"/a\\u0041\"", None),
            ("[storage]\nroot = \"\"", None),
            ("[storage]\nroot = /a", None),
            ("[storage]\nroot = \"", None),
            ("[storage]\nroot = ü\"/a\"", None),
        ] {
            assert_eq!(text(given).as_deref(), want, "{given}");
        }
        assert_eq!(
            toml_text("root = \"/a\"", "", "root").as_deref(),
            Some("/a")
        );
    }
}
