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

use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::bounded_file::{read_text, FileKind};
use crate::runtime::bounds::cut;
use crate::runtime::seam::{Hides, Unreadable};

/// What a tool's settings say of the folder in which it keeps containers.
#[derive(Debug)]
pub struct Settings {
    /// The files, relative to the root of the machine's files or to a home directory; the first
    /// one that exists is the one that the tool reads.
    pub files: &'static [&'static str],
    /// Takes the folder from the text of the file; `None` if it sets none.
    pub folder: fn(&str) -> Result<Option<String>, String>,
}

/// A service that keeps containers. Paths are relative to the root of the machine's files or, of a
/// user's, to the home directory.
#[derive(Debug)]
pub struct Service {
    /// Its pid file and the name of its program, if it is a daemon whose command line may say
    /// where its containers are.
    pub daemon: Option<(&'static str, &'static str)>,
    /// Its settings.
    pub settings: Settings,
    /// Where the containers are unless configured.
    pub default: &'static str,
}

/// Options of dockerd that set its data root; `graph` is the old name.
const ROOT_FLAGS: [&str; 3] = ["--data-root", "--graph", "-g"];
/// The option of dockerd that sets the file with its settings.
const SETTINGS_FLAG: [&str; 1] = ["--config-file"];
/// Longest text about settings that are not valid, which may quote them.
const LONGEST_PROBLEM: usize = 160;

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

    /// Whether somebody says where it is: the option, or the service's command line or settings.
    pub fn is_configured(&self) -> bool {
        self.given.is_some() || !self.is_default() || self.problem().is_some()
    }

    /// Settings that cannot be read or are not valid: then the folder is taken for the usual one.
    pub fn problem(&self) -> Option<Unreadable> {
        match self.given {
            Some(_) => None,
            None => self.service.root(&self.machine).err(),
        }
    }

    /// What sets the folder, if that is neither an option nor a default.
    pub fn set_by(&self) -> Option<String> {
        match self.given {
            Some(_) => None,
            None => self.service.set_by(&self.machine),
        }
    }

    fn unresolved(&self) -> PathBuf {
        let found = || {
            let root = self.service.root(&self.machine);
            root.unwrap_or_else(|_| self.machine.join(self.service.default))
        };
        self.given.clone().unwrap_or_else(found)
    }
}

impl Settings {
    /// Those of a tool that has none.
    pub const NONE: Settings = Settings {
        files: &[],
        folder: |_| Ok(None),
    };

    /// The file that the tool reads, and the folder that it sets.
    pub fn read(&self, machine: &Path) -> Result<Option<(PathBuf, String)>, Unreadable> {
        self.read_first(self.files.iter().map(|file| machine.join(file)))
    }

    fn read_first(
        &self,
        files: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Option<(PathBuf, String)>, Unreadable> {
        for file in files {
            return match read_text(&file, FileKind::Setting) {
                Err(error) if error.is_missing() => continue,
                Err(error) => Err(moved(file, error.into())),
                Ok(text) => match self.folder_in(&text) {
                    Ok(folder) => Ok(folder.map(|folder| (file, folder))),
                    Err(error) => Err(moved(file, error)),
                },
            };
        }
        Ok(None)
    }

    /// The folder that a text sets.
    pub fn folder_in(&self, text: &str) -> io::Result<Option<String>> {
        let folder = (self.folder)(text);
        folder.map_err(|problem| invalid(&format!("it is not valid: {problem}")))
    }
}

/// The error for settings that set what cannot be.
pub fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cut(problem, LONGEST_PROBLEM))
}

/// The error for a folder that is relative to nobody knows what.
pub fn not_absolute(folder: &str) -> io::Error {
    invalid(&format!("`{folder}` is not an absolute path"))
}

fn moved(path: PathBuf, error: io::Error) -> Unreadable {
    Unreadable {
        path,
        error,
        hides: Hides::MovedContainers,
    }
}

impl Service {
    /// The folder in which this service keeps its containers on the machine.
    fn root(&self, machine: &Path) -> Result<PathBuf, Unreadable> {
        let arguments = self.arguments(machine);
        if let Some(path) = absolute(flag(&arguments, &ROOT_FLAGS)) {
            return Ok(path);
        }
        let configured = match absolute(flag(&arguments, &SETTINGS_FLAG)) {
            Some(path) => self.settings.read_first([path]),
            None => self.settings.read(machine),
        };
        match configured? {
            None => Ok(machine.join(self.default)),
            Some((file, folder)) => match absolute(Some(&folder)) {
                Some(path) => Ok(path),
                None => Err(moved(file, not_absolute(&folder))),
            },
        }
    }

    /// What sets the folder, if it is not the default: the command line, or a file.
    fn set_by(&self, machine: &Path) -> Option<String> {
        let arguments = self.arguments(machine);
        if absolute(flag(&arguments, &ROOT_FLAGS)).is_some() {
            let (_, program) = self.daemon?;
            return Some(format!("the command line of {program}"));
        }
        let configured = match absolute(flag(&arguments, &SETTINGS_FLAG)) {
            Some(path) => self.settings.read_first([path]),
            None => self.settings.read(machine),
        };
        let (file, _) = configured.ok().flatten()?;
        Some(file.display().to_string())
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

/// The value of `key` in a table of a TOML file, or at its top if `table` is empty; an empty text
/// stands for none, as container tools have it.
pub fn toml_text(text: &str, table: &str, key: &str) -> Result<Option<String>, String> {
    let all: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = text.get(..error.span().map_or(0, |span| span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        format!("line {line}: {}", error.message())
    })?;
    let table = match table {
        "" => Some(&all),
        name => all.get(name).and_then(toml::Value::as_table),
    };
    match table.and_then(|table| table.get(key)) {
        None => Ok(None),
        Some(toml::Value::String(value)) => Ok(Some(value.clone()).filter(|it| !it.is_empty())),
        Some(_) => Err(format!("{key} is not a text")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SERVICE: Service = Service {
        daemon: Some(("var/run/d.pid", "d")),
        settings: Settings {
            files: &["etc/d.toml", "usr/share/d.toml"],
            folder: |text| toml_text(text, "storage", "root"),
        },
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
                &[("etc/d.toml", ""), ("usr/share/d.toml", root)],
                "var/lib/d",
            ),
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
    fn settings_that_are_not_valid_are_a_problem_and_not_the_default_in_silence() {
        static STATIC: Service = SERVICE;
        for (text, problem) in [
            ("[storage]\nroot = \"/data\"", None),
            ("", None),
            ("[storage]\nroot = \"\"", None),
            ("\n[storage", Some("it is not valid: line 2")),
            ("[storage]\nroot = /data", Some("it is not valid: line 2")),
            (
                "[storage]\nroot = 7",
                Some("it is not valid: root is not a text"),
            ),
            (
                "[storage]\nroot = \"data\"",
                Some("`data` is not an absolute path"),
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("etc")).unwrap();
            fs::write(dir.path().join("etc/d.toml"), text).unwrap();
            let root = DataRoot::new(None, &STATIC, dir.path());
            let said = root.problem();
            let reason = said.as_ref().map(|said| said.error.to_string());
            match problem {
                None => assert!(reason.is_none(), "{text}: {reason:?}"),
                Some(problem) => assert!(reason.unwrap().starts_with(problem), "{said:?}"),
            }
            assert!(said.is_none_or(|it| it.path == dir.path().join("etc/d.toml")));
            let given = DataRoot::new(Some(Path::new("/given")), &STATIC, dir.path());
            assert!(given.problem().is_none() && given.is_configured());
        }
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
            ("storage.root = \"/a\"", Some("/a")),
            ("storage = { root = \"/a\" }", Some("/a")),
            ("[storage]\nroot = \"/a\\u0041\"", Some("/aA")),
            (
                "[storage]\n#root = \"/a\"\n[storage.options]\nroot = \"/c\"",
                None,
            ),
            ("[storage]\nroot = \"\"", None),
        ] {
            assert_eq!(
                text(given).as_ref().map(Option::as_deref),
                Ok(want),
                "{given}"
            );
        }
        for invalid in [
            "[storage]\nroot = /a",
            "[storage]\nroot = \"",
            "[storage]\nroot = ü\"/a\"",
        ] {
            assert!(text(invalid).is_err(), "{invalid}");
        }
        let top = toml_text("root = \"/a\"", "", "root");
        assert_eq!(top, Ok(Some("/a".to_owned())));
    }
}
