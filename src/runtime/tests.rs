//! Memory used while reading metadata files at their size limit, in the most expensive forms.
//! Each is read in a separate process that reads nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::runtime::bounded_file::FileKind;
use crate::runtime::docker::{read_log_driver, read_metadata, CONFIG_FILE, HOST_CONFIG_FILE};
use crate::runtime::id::ContainerId;
use crate::runtime::podman::Podman;
use crate::runtime::safe_path::SafePath;
use crate::runtime::{Found, Runtime};

const ID: &str = "abababababababababababababababababababababababababababababababab";
/// Set for the child process that reads the files.
const READ: &str = "CONTAINER_LOGS_TEST_READ";
/// Set for the child process that writes them.
const WRITE: &str = "CONTAINER_LOGS_TEST_WRITE";
const MOST_KIB: u64 = 64 * 1024;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("runtime::tests::{test}"), "--nocapture"]);
    command
}

/// Memory in KiB used by a separate process to read the files in `dir`.
fn taken(test: &str, dir: &Path) -> u64 {
    let child = child(test).env(READ, dir).output().unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    let taken = said
        .lines()
        .find_map(|line| line.split_once("taken=")?.1.parse().ok());
    taken.unwrap_or_else(|| panic!("{said} {}", String::from_utf8_lossy(&child.stderr)))
}

fn fill(head: &str, unit: &str, tail: &str) -> String {
    let units = (FileKind::ContainerConfig.limit() as usize - head.len() - tail.len()) / unit.len();
    [head, &unit.repeat(units), tail].concat()
}

/// Pairs with the shortest distinct names.
fn many_pairs(head: &str, tail: &str) -> String {
    let mut text = head.to_owned();
    let mut number = 0;
    while text.len() + 16 + tail.len() < FileKind::ContainerConfig.limit() as usize {
        text.push_str(&format!("\"{number:x}\":\"\","));
        number += 1;
    }
    text + "\"\":\"\"" + tail
}

#[test]
fn no_list_of_podmans_takes_more_than_64_mib() {
    if let Some(dir) = std::env::var_os(READ) {
        let origin = Path::new(&dir).join(ID);
        let found = Found::new(
            ContainerId::parse(ID).unwrap(),
            SafePath::from(origin.join("userdata")),
            origin,
        );
        let podman = Podman::new(Path::new(&dir));
        let before = peak_kib();
        let _ = podman.metadata(&found, 0);
        println!("\ntaken={}", peak_kib() - before);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for text in [
        fill("[", r#"{"id":""},"#, r#"{"id":""}]"#),
        fill(&format!(r#"[{{"id":"{ID}","names":["a""#), r#","""#, "]}]"),
        fill(&format!(r#"[{{"id":"{ID}","names":[""#), "x", r#""]}]"#),
        fill(&format!(r#"[{{"id":"{ID}","names":["\n"#), "x", r#""]}]"#),
        fill(&format!(r#"[{{"id":"{ID}","z":"#), "[", "]"),
        fill(
            &format!(r#"[{{"id":"{ID}","metadata":"{{\"z\":"#),
            "[",
            r#""}]"#,
        ),
        fill(
            &format!(r#"[{{"id":"{ID}","metadata":"{{\"name\":\"\\n"#),
            "x",
            r#"\"}"}]"#,
        ),
    ] {
        std::fs::write(dir.path().join("containers.json"), &text).unwrap();
        let taken = taken("no_list_of_podmans_takes_more_than_64_mib", dir.path());
        assert!(taken < MOST_KIB, "{taken} KiB for {}", &text[..100]);
    }
}

/// One container with all that fits, and as many containers as fit.
#[test]
fn no_database_of_podmans_takes_more_than_64_mib() {
    if let Some(dir) = std::env::var_os(READ) {
        let origin = Path::new(&dir).join("overlay-containers").join(ID);
        let found = Found::new(
            ContainerId::parse(ID).unwrap(),
            SafePath::from(origin.join("userdata")),
            origin,
        );
        let podman = Podman::new(Path::new(&dir));
        let before = peak_kib();
        let driver = podman.log_driver(&found).unwrap().map(|driver| driver.name);
        println!("\ntaken={}", peak_kib() - before);
        assert_eq!(driver.as_deref(), Some("k8s-file"));
        return;
    }
    let most = FileKind::PodmanDatabase.limit() as usize;
    let test = "no_database_of_podmans_takes_more_than_64_mib";
    // What reads limits the memory of SQLite in all of its process.
    if let Some(file) = std::env::var_os(WRITE) {
        return write_database(Path::new(&file), most);
    }
    for name in ["one", "many"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("db.sql");
        let written = child(test)
            .env(WRITE, dir.path().join(name))
            .output()
            .unwrap();
        assert!(written.status.success(), "{written:?}");
        std::fs::rename(dir.path().join(name), &file).unwrap();
        let size = std::fs::metadata(&file).unwrap().len() as usize;
        assert!(size <= most && size > most / 2, "{size}");
        let taken = taken(test, dir.path());
        assert!(taken < MOST_KIB, "{taken} KiB for {name}");
    }
}

/// A database of `most` bytes: of one container if the file is named so, else of many.
fn write_database(file: &Path, most: usize) {
    let labels = "\"k\":\"v\",".repeat((most - (1 << 20)) / 8);
    let large = format!(r#"{{"labels":{{{labels}"k":"v"}}}}"#);
    let (count, config) = match file.ends_with("one") {
        true => (1, large.as_str()),
        false => (most / 240, "{}"),
    };
    let mut database = rusqlite::Connection::open(file).unwrap();
    let rows = database.transaction().unwrap();
    rows.execute_batch("CREATE TABLE ContainerConfig(ID TEXT PRIMARY KEY, JSON TEXT)")
        .unwrap();
    for number in 0..count {
        let id = match number {
            0 => ID.to_owned(),
            _ => format!("{number:064x}"),
        };
        let insert = "INSERT INTO ContainerConfig VALUES (?1, ?2)";
        rows.execute(insert, (id, config)).unwrap();
    }
    rows.commit().unwrap();
}

#[test]
fn no_configuration_of_a_container_takes_more_than_64_mib() {
    if let Some(dir) = std::env::var_os(READ) {
        let dir = PathBuf::from(dir);
        let found = Found::new(ContainerId::from_bytes([7; 32]), (&dir).into(), dir);
        let before = peak_kib();
        let read = read_metadata(&found).map(|metadata| metadata.name);
        println!("\ntaken={}", peak_kib() - before);
        assert_eq!(read.unwrap(), "web");
        read_log_driver(&found).unwrap();
        println!("\ntaken={}", peak_kib() - before);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = r#"{"Name":"/web","Config":{"#;
    for text in [
        many_pairs(&format!("{config}\"Labels\":{{"), "}}}"),
        fill(&format!("{config}\"Labels\":{{\"a\":\""), "x", "\"}}}"),
        fill(&format!("{config}\"Labels\":{{\"a\":\"\\n"), "x", "\"}}}"),
        fill(&format!("{config}\"Env\":[\"\""), ",\"\"", "]}}"),
        fill(&format!("{config}\"Env\":[\"A=\\n"), "x", "\"]}}"),
        fill(&format!("{config}\"Z\":[\"\""), ",\"\"", "]}}"),
    ] {
        std::fs::write(dir.path().join(CONFIG_FILE), &text).unwrap();
        let host_config = many_pairs("{\"LogConfig\":{\"Type\":\"local\",\"Config\":{", "}}}");
        std::fs::write(dir.path().join(HOST_CONFIG_FILE), host_config).unwrap();
        let taken = taken(
            "no_configuration_of_a_container_takes_more_than_64_mib",
            dir.path(),
        );
        assert!(taken < MOST_KIB, "{taken} KiB for {}", &text[..100]);
    }
}
