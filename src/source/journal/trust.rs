//! Who wrote an entry of the journal. Every process may write entries with any fields, except for
//! those that begin with `_`: journald sets these itself. Pure.
//!
//! ```text
//! a container's line <- _TRANSPORT=journal, _UID of the runtime, _COMM of the runtime,
//!                       and not of a process in a container (_SYSTEMD_CGROUP)
//! ```
//!
//! The user identifies the runtime: a local user cannot write an entry that journald attributes
//! to root. A process in a container may be root, too, if the journal's socket is mounted there;
//! its cgroup tells.

use crate::runtime::log_driver::JournalWriter;

/// Who may write a container's entries.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The program.
    pub program: JournalWriter,
    /// The user it runs as.
    pub uid: u32,
}

/// What journald says about the sender of an entry.
#[derive(Debug, Default)]
pub struct Sender {
    is_native: bool,
    /// It is journald itself.
    is_driver: bool,
    uid: Option<u32>,
    command: Vec<u8>,
    cgroup: Vec<u8>,
}

/// Longest name of a command, and of a cgroup, that matters.
const LONGEST: usize = 4096;

impl Sender {
    pub(super) fn clear(&mut self) {
        (self.is_native, self.is_driver, self.uid) = (false, false, None);
        self.command.clear();
        self.cgroup.clear();
    }

    /// Takes a field that journald set.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) {
        let value = value.get(..LONGEST).unwrap_or(value);
        match name {
            b"_TRANSPORT" => {
                (self.is_native, self.is_driver) = (value == b"journal", value == b"driver");
            }
            b"_UID" => {
                let text = std::str::from_utf8(value).ok();
                self.uid = text.and_then(|text| text.parse().ok());
            }
            b"_COMM" => value.clone_into(&mut self.command),
            b"_SYSTEMD_CGROUP" => value.clone_into(&mut self.cgroup),
            _ => {}
        }
    }

    /// Whether it is journald.
    pub fn is_journald(&self) -> bool {
        self.is_driver
    }

    /// Whether it may be this writer.
    pub fn is(&self, writer: &Writer) -> bool {
        let is_command = match writer.program {
            // dockerd runs on. Engines derived from it have other names: balenad.
            JournalWriter::Dockerd => {
                self.command.starts_with(b"docker") || self.command.starts_with(b"balena")
            }
            // conmon may end before journald has looked at it.
            JournalWriter::Conmon => self.command.is_empty() || self.command == b"conmon",
        };
        self.is_native
            && self.uid == Some(writer.uid)
            && is_command
            && !is_of_container(&self.cgroup)
    }
}

/// Whether a cgroup is that of a container, or below it. The names of all runtimes have its id:
/// `docker-<id>.scope`, `docker/<id>`, `libpod-<id>.scope`, `libpod-payload-<id>`,
/// `cri-containerd-<id>.scope`, `crio-<id>.scope`, `kubepods/…/<id>`. conmon's own is
/// `libpod-conmon-<id>.scope` or `crio-conmon-<id>.scope`.
fn is_of_container(cgroup: &[u8]) -> bool {
    cgroup.split(|byte| *byte == b'/').any(|name| {
        let digits = name.split(|byte| !byte.is_ascii_hexdigit());
        digits.into_iter().any(|run| run.len() == 64)
            && memchr::memmem::find(name, b"-conmon-").is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERD: Writer = Writer {
        program: JournalWriter::Dockerd,
        uid: 0,
    };

    fn sender(given: &[(&str, &str)]) -> Sender {
        let mut sender = Sender::default();
        for (name, value) in given {
            sender.take(name.as_bytes(), value.as_bytes());
        }
        sender
    }

    #[test]
    fn only_the_runtime_of_a_container_writes_its_lines() {
        let id = "3c".repeat(32);
        let cgroup = |text: &str| text.replace("ID", &id);
        let docker = |uid: &str, command: &str, group: &str| {
            let group = cgroup(group);
            let sender = sender(&[
                ("_TRANSPORT", "journal"),
                ("_UID", uid),
                ("_COMM", command),
                ("_SYSTEMD_CGROUP", &group),
            ]);
            sender.is(&DOCKERD)
        };
        assert!(docker("0", "dockerd", "/system.slice/docker.service"));
        assert!(docker("0", "balenad", "/system.slice/balena.service"));
        for (uid, command, group) in [
            (
                "1000",
                "dockerd",
                "/user.slice/user-1000.slice/session-1.scope",
            ),
            ("", "dockerd", "/system.slice/docker.service"),
            ("0", "logger", "/system.slice/cron.service"),
            ("0", "dockerd", "/system.slice/docker-ID.scope"),
            ("0", "dockerd", "/docker/ID"),
            ("0", "dockerd", "/kubepods/burstable/pod1/ID/sub"),
            ("0", "", "/system.slice/docker.service"),
        ] {
            assert!(!docker(uid, command, group), "{uid} {command} {group}");
        }
        let podman = |uid: &str, command: &str, group: &str| {
            let group = cgroup(group);
            let mut given = vec![("_TRANSPORT", "journal"), ("_UID", uid)];
            given.extend((!command.is_empty()).then_some(("_COMM", command)));
            given.push(("_SYSTEMD_CGROUP", &group));
            sender(&given).is(&Writer {
                program: JournalWriter::Conmon,
                uid: 1000,
            })
        };
        assert!(podman(
            "1000",
            "conmon",
            "/user.slice/libpod-conmon-ID.scope"
        ));
        assert!(podman("1000", "", ""), "it ended before it was looked at");
        for (uid, command, group) in [
            ("0", "conmon", "/machine.slice/libpod-conmon-ID.scope"),
            ("1001", "conmon", "/user.slice/libpod-conmon-ID.scope"),
            ("1000", "logger", "/user.slice/session-1.scope"),
            ("1000", "conmon", "/user.slice/libpod-ID.scope/container"),
            ("1000", "conmon", "/user.slice/x.service/libpod-payload-ID"),
        ] {
            assert!(!podman(uid, command, group), "{uid} {command} {group}");
        }
    }

    #[test]
    fn what_came_by_syslog_or_by_a_pipe_is_no_line_of_a_container() {
        for transport in ["syslog", "stdout", "kernel", ""] {
            let sender = sender(&[
                ("_TRANSPORT", transport),
                ("_UID", "0"),
                ("_COMM", "dockerd"),
            ]);
            assert!(!sender.is(&DOCKERD), "{transport}");
        }
    }
}
