//! A Kubernetes node's logs on disk, written the way containerd or conmon writes
//! them and rotated step by step as the kubelet does (kubernetes
//! `pkg/kubelet/logs/container_log_manager.go`).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The default of `containerLogMaxFiles`, the current one among them.
const MAX_FILES: usize = 5;

/// `/var/log` of a node, and a folder for Docker's root.
pub struct PodRoot {
    dir: TempDir,
}

impl PodRoot {
    pub fn new() -> PodRoot {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for folder in ["pods", "containers"] {
            std::fs::create_dir(dir.path().join(folder)).expect(folder);
        }
        PodRoot { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `/var/log/pods`.
    pub fn pods(&self) -> PathBuf {
        self.path().join("pods")
    }

    /// A container of a pod, running for the first time, with an empty log and the
    /// link to it.
    pub fn container(&self, namespace: &str, pod: &str, container: &str) -> PodWriter {
        let uid = uid_of(pod);
        let dir = self
            .pods()
            .join(format!("{namespace}_{pod}_{uid}"))
            .join(container);
        std::fs::create_dir_all(&dir).expect("a container's folder");
        let mut writer = PodWriter {
            links: self.path().join("containers"),
            link_begins: format!("{pod}_{namespace}_{container}-"),
            dir,
            run: 0,
            ticks: 0,
            rotations: 0,
            style: Style::Containerd,
            max_files: MAX_FILES,
            file: None,
        };
        writer.start_run();
        writer
    }
}

/// A uid that goes with a pod's name.
pub fn uid_of(pod: &str) -> String {
    let number: u64 = pod.bytes().fold(7, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    format!(
        "{:08x}-0d2c-4f9a-8a55-{:012x}",
        number as u32,
        number & 0xffff_ffff_ffff
    )
}

/// How a runtime writes times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without trailing zeros, in the local zone.
    Containerd,
    /// Nine digits, and an offset even at UTC.
    Conmon,
}

/// Plays the runtime, and the kubelet, for one container.
pub struct PodWriter {
    pub dir: PathBuf,
    pub run: u32,
    pub style: Style,
    pub max_files: usize,
    links: PathBuf,
    link_begins: String,
    ticks: u64,
    rotations: u64,
    file: Option<File>,
}

impl PodWriter {
    /// `<run>.log`.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.run))
    }

    /// The id of the container in this run.
    pub fn id(&self) -> String {
        let text = format!("{}{}", self.link_begins, self.run);
        let number = text.bytes().fold(5u64, |sum, byte| {
            sum.wrapping_mul(131).wrapping_add(byte.into())
        });
        format!("{number:016x}").repeat(4)
    }

    /// The container starts: its log first, then the link to it.
    fn start_run(&mut self) {
        self.reopen();
        let link = self
            .links
            .join(format!("{}{}.log", self.link_begins, self.id()));
        symlink(self.log(), link).expect("the link");
    }

    /// The container ends and is started anew.
    pub fn restart(&mut self) {
        self.run += 1;
        self.start_run();
    }

    /// The runtime opens its log anew, under the name that it knows.
    pub fn reopen(&mut self) {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log())
            .expect("the log");
        self.file = Some(file);
    }

    /// What `ReopenContainerLog` of containerd does while a line is half read: the
    /// new file is there, perhaps written, when the old writer puts the half line
    /// behind its file. The rest of the line follows in the new file.
    pub fn reopen_in_mid_line(&mut self, half: &str) {
        let mut old = self.file.take().expect("an open log");
        self.reopen();
        self.entry("stderr", "F", "written at once after the reopening");
        let entry = self.format("stdout", "P", half);
        old.write_all(entry.as_bytes()).expect("a write");
    }

    /// Bytes as they are, in one write.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.file
            .as_mut()
            .expect("an open log")
            .write_all(bytes)
            .expect("a write");
    }

    /// A whole line of standard output.
    pub fn line(&mut self, text: &str) {
        self.entry("stdout", "F", text);
    }

    /// One entry with a time of its own.
    pub fn entry(&mut self, stream: &str, tags: &str, text: &str) {
        let entry = self.format(stream, tags, text);
        self.raw(entry.as_bytes());
    }

    /// A long line in pieces of so many bytes, each with a time of its own.
    pub fn pieces(&mut self, stream: &str, text: &str, bytes: usize) {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(bytes).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let tag = if index + 1 == pieces.len() { "F" } else { "P" };
            self.entry(stream, tag, std::str::from_utf8(piece).expect("ASCII"));
        }
    }

    fn format(&mut self, stream: &str, tags: &str, text: &str) -> String {
        self.ticks += 1;
        let (second, nanos) = (
            20 + self.ticks / 1_000_000,
            (self.ticks % 1_000_000).max(1) * 1000,
        );
        let time = match self.style {
            Style::Conmon => format!("2023-11-14T22:13:{second:02}.{nanos:09}+00:00"),
            Style::Containerd => {
                let time = format!("2023-11-14T23:13:{second:02}.{nanos:09}");
                format!("{}+01:00", time.trim_end_matches('0'))
            }
        };
        format!("{time} {stream} {tags} {text}\n")
    }

    /// The kubelet's steps 1 to 4: clears up, deletes the oldest, compresses what
    /// was rotated the last time, and renames the current log. Until the runtime
    /// opens its log anew it writes on into the renamed file.
    pub fn rotate(&mut self) {
        let log = self.log();
        let name = log
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned()
            + ".";
        let entries = std::fs::read_dir(&self.dir)
            .expect("the folder")
            .map(|entry| entry.expect("an entry"));
        let mut rotated: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
            .map(|entry| entry.path())
            .collect();
        rotated.sort();
        while rotated.len() > self.max_files - 2 {
            std::fs::remove_file(rotated.remove(0)).expect("unlink the oldest");
        }
        for plain in rotated
            .iter()
            .filter(|path| path.extension().is_none_or(|end| end != "gz"))
        {
            let packed = format!("{}.gz", plain.display());
            let temporary = format!("{packed}.tmp");
            let file = File::create(&temporary).expect("a temporary file");
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            std::io::copy(&mut File::open(plain).expect("a rotated log"), &mut encoder)
                .expect("compress");
            encoder.finish().expect("compress");
            std::fs::rename(&temporary, packed).expect("rename the archive");
            std::fs::remove_file(plain).expect("unlink the plain file");
        }
        self.rotations += 1;
        let count = self.rotations;
        let stamp = format!(
            "20231114-{:02}{:02}{:02}",
            count / 3600,
            count / 60 % 60,
            count % 60
        );
        std::fs::rename(&log, format!("{}.{stamp}", log.display())).expect("rename the log");
    }
}
