//! `tail-containers import` over tables as Fluent Bit's `tail` writes them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use test_kit::docker_root::DockerRoot;
use test_kit::pod_root::PodRoot;
use test_kit::tail_containers::{program, run};

/// A table with these names, inodes and offsets.
fn write_table(path: &Path, rows: &[(PathBuf, u64, u64)]) {
    let database = Connection::open(path).expect("a new file");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE in_tail_files (id INTEGER PRIMARY KEY, \
             name TEXT NOT NULL, offset INTEGER, inode INTEGER, created INTEGER, rotated INTEGER DEFAULT 0);",
        )
        .expect("a table");
    for (name, inode, offset) in rows {
        let row = (name.to_str().expect("UTF-8"), *inode as i64, *offset as i64);
        let insert = "INSERT INTO in_tail_files (name, inode, offset) VALUES (?1, ?2, ?3)";
        database.execute(insert, row).expect("a row");
    }
}

/// The row of a file of which `tail` has delivered this many bytes.
fn row(path: &Path, offset: u64) -> (PathBuf, u64, u64) {
    let inode = path.metadata().expect("a file").ino();
    (path.to_owned(), inode, offset)
}

fn size(path: &Path) -> u64 {
    path.metadata().expect("a file").len()
}

#[test]
fn a_position_is_taken_from_the_file_that_tail_read_whatever_its_name_is_now() {
    let root = DockerRoot::new();
    let folder = tempfile::tempdir().expect("a folder");
    let [tail_db, db] = ["tail.db", "ours.db"].map(|name| folder.path().join(name));

    let mut rotated = root.container('a', "rotated");
    rotated.line("old");
    let at_end = row(&rotated.log, size(&rotated.log));
    rotated.line("unread in the rotated file");
    rotated.rotate(3, false);
    rotated.line("unread in the new file");

    let mut unfinished = root.container('b', "unfinished");
    unfinished.line("old");
    // In the middle of the second line.
    let in_line = row(&unfinished.log, size(&unfinished.log) + 9);
    unfinished.line("unread");

    let mut packed = root.container('c', "packed");
    packed.line("read, and repeated");
    let of_packed = row(&packed.log, size(&packed.log));
    packed.rotate(3, true);

    let mut shorter = root.container('d', "shorter");
    shorter.line("new");
    let too_far = row(&shorter.log, 1_000_000);

    let mut unknown = root.container('e', "unknown");
    unknown.line("new");
    // Another file system may have the same inode number.
    let mut foreign = row(&unknown.log, 1);
    foreign.0 = "/elsewhere/web.log".into();

    write_table(&tail_db, &[at_end, in_line, of_packed, too_far, foreign]);
    let texts = [&tail_db, &db].map(|path| path.to_str().expect("UTF-8"));
    let imported = run(
        root.path(),
        &["import", "--tail-db", texts[0], "--db", texts[1]],
    );
    assert!(imported.status.success(), "{imported:?}");
    let page = String::from_utf8(imported.stdout).expect("UTF-8");
    let said = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {page}"))
    };
    assert!(said("rotated").contains("-json.log.1, "), "{page}");
    assert!(said("unfinished").contains(" bytes unread"), "{page}");
    for name in ["packed", "shorter"] {
        assert!(said(name).ends_with("lines may be repeated"), "{page}");
    }
    assert!(said("unknown").contains(": not in "), "{page}");
    let end = "2 imported; 3 without a position, which are read like new containers";
    assert!(page.trim_end().ends_with(end), "{page}");

    let shown = run(
        root.path(),
        &["--no-follow", "--json", "-o", &format!("DB={}", texts[1])],
    );
    let mut lines: Vec<(String, String)> = String::from_utf8(shown.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| record[key].as_str().expect("a text").to_owned();
            (text("container_name"), text("log"))
        })
        .collect();
    lines.sort();
    let lines: Vec<(&str, &str)> = lines.iter().map(|(a, b)| (&**a, &**b)).collect();
    assert_eq!(
        lines,
        [
            ("packed", "read, and repeated"),
            ("rotated", "unread in the new file"),
            ("rotated", "unread in the rotated file"),
            ("shorter", "new"),
            ("unfinished", "unread"),
            ("unknown", "new"),
        ]
    );
}

/// On a Kubernetes node `tail` follows the kubelet's links.
#[test]
fn a_position_of_a_kubelets_link_is_that_of_its_log() {
    let root = PodRoot::new();
    let mut web = root.container("shop", "web", "app");
    web.line("old");
    let link = root.path().join("link.log");
    std::os::unix::fs::symlink(web.log(), &link).expect("a link");
    let folder = tempfile::tempdir().expect("a folder");
    let [tail_db, db] = ["tail.db", "ours.db"].map(|name| folder.path().join(name));
    write_table(&tail_db, &[row(&link, size(&web.log()))]);
    web.line("unread");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(["--runtime", "cri", "--pod-logs"]);
        let output = command.arg(root.pods()).args(arguments).output();
        String::from_utf8(output.expect("it runs").stdout).expect("UTF-8")
    };
    let texts = [&tail_db, &db].map(|path| path.to_str().expect("UTF-8"));
    let page = command(&["import", "--tail-db", texts[0], "--db", texts[1]]);
    assert!(page.contains(": 1 imported; 0 without"), "{page}");
    let shown = command(&["--no-follow", "-o", &format!("DB={}", texts[1])]);
    assert!(
        shown.contains("unread") && !shown.contains("old"),
        "{shown}"
    );
}

#[test]
fn a_file_that_is_no_db_of_tail_is_an_error_and_writes_nothing() {
    let root = DockerRoot::new();
    let folder = tempfile::tempdir().expect("a folder");
    let [tail_db, db] = ["tail.db", "ours.db"].map(|name| folder.path().join(name));
    let texts = [&tail_db, &db].map(|path| path.to_str().expect("UTF-8"));
    let import = || {
        let arguments = ["import", "--tail-db", texts[0], "--db", texts[1]];
        let output = run(root.path(), &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(!db.exists());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let error = import();
    assert!(
        error.contains("cannot read positions of tail from"),
        "{error}"
    );
    Connection::open(&tail_db)
        .and_then(|database| database.execute_batch("CREATE TABLE other (id INTEGER);"))
        .expect("a database");
    let error = import();
    assert!(error.contains("no such table: in_tail_files"), "{error}");
}
