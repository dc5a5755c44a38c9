//! A Podman storage in a user's home directory, and the list of users.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// A container in a user's storage, as the user wants it to look.
pub struct UsersContainer {
    pub folder: PathBuf,
    pub file: File,
}

/// Adds a user whose files are those of whoever runs the test.
pub fn user(root: &Path, name: &str, home: &Path) {
    fs::create_dir_all(root.join("etc")).expect("a folder");
    let mut passwd = OpenOptions::new()
        .append(true)
        .create(true)
        .open(root.join("etc/passwd"))
        .expect("passwd");
    let uid = geteuid().as_raw();
    writeln!(passwd, "{name}:x:{uid}:{uid}::{}:/bin/sh", home.display()).expect("it is ours");
}

impl UsersContainer {
    /// In the storage of the user with this home.
    pub fn new(home: &Path, digit: char, name: &str) -> UsersContainer {
        let id = digit.to_string().repeat(64);
        let containers = home.join(".local/share/containers/storage/overlay-containers");
        let folder = containers.join(&id).join("userdata");
        fs::create_dir_all(&folder).expect("folders");
        let list = serde_json::json!([{"id": id, "names": [name], "metadata": "{\"image-name\":\"img\"}"}]);
        fs::write(containers.join("containers.json"), list.to_string()).expect("a file");
        let file = File::create(folder.join("ctr.log")).expect("a log");
        UsersContainer { folder, file }
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("ctr.log")
    }

    pub fn line(&mut self, text: &str) {
        self.file.write_all(line(text).as_bytes()).expect("a log");
    }
}

pub fn line(text: &str) -> String {
    format!("2024-01-01T00:00:00.000000001+00:00 stdout F {text}\n")
}
