//! Both kinds of database as Podman writes them, while it writes them, and as a user may.

use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::{Connection, TransactionBehavior};

use super::*;
use crate::fuzz_seeds::keep;
use crate::runtime::bolt::written::{self, text, texts, Value};

const ID: &str = "abababababababababababababababababababababababababababababababab";
const OTHER: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
const MOST: u64 = 4 << 20;
/// Set for the child process that writes.
const WRITE: &str = "CONTAINER_LOGS_TEST_WRITE";

fn config(name: &str) -> String {
    format!(
        r#"{{"spec":{{}},"name":"{name}","labels":{{"team":"{name}"}},"logDriver":"k8s-file"}}"#
    )
}

/// The table as libpod's `sqlite_state_internal.go` creates it, with these containers.
fn write_sqlite(path: &Path, containers: &[(&str, &str)]) -> Connection {
    let database = Connection::open(path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS ContainerConfig(ID TEXT PRIMARY KEY NOT NULL, Name TEXT \
             UNIQUE NOT NULL, PodID TEXT, JSON TEXT NOT NULL);",
        )
        .unwrap();
    for (id, json) in containers {
        let row = (id, id, json.as_bytes());
        let insert = "INSERT INTO ContainerConfig VALUES (?1, ?2, NULL, ?3)";
        database.execute(insert, row).unwrap();
    }
    database
}

/// A Bolt file with these containers.
fn bolt(containers: &[(&str, &str)]) -> Vec<u8> {
    let container =
        |(id, json): &(&str, &str)| ((*id).to_owned(), texts(&[("config", json), ("state", "")]));
    let all = Value::Bucket(containers.iter().map(container).collect());
    let root = [("ctr", all), ("id-registry", text("x"))];
    let root = root.map(|(key, value)| (key.to_owned(), value)).to_vec();
    written::database(&root, 7)
}

fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

fn name(answer: Answer) -> String {
    match answer {
        Answer::Configured(configured) => configured.name.clone(),
        other => format!("{other:?}"),
    }
}

/// Waits until the databases say this.
fn comes(databases: &Databases, storage: &SafePath, id: &ContainerId, wanted: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while name(databases.find(storage, id)) != wanted {
        assert!(Instant::now() < end, "{:?}", databases.find(storage, id));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn put_bolt(storage: &Path, bytes: &[u8]) {
    keep("podman_database", bytes);
    std::fs::create_dir_all(storage.join("libpod")).unwrap();
    std::fs::write(storage.join("libpod/bolt_state.db"), bytes).unwrap();
}

#[test]
fn a_container_is_found_in_either_kind_and_a_new_one_too() {
    let dir = tempfile::tempdir().unwrap();
    let storage = SafePath::from(dir.path().join("storage"));
    let databases = Databases::new(MOST);
    let find = |id_of: &str| name(databases.find(&storage, &id(id_of)));
    std::fs::create_dir(&storage).unwrap();
    assert_eq!(find(ID), "NoDatabase");

    let long = config("long").replace("k8s-file", &"x".repeat(10_000));
    put_bolt(&storage, &bolt(&[(ID, &config("bolt")), (OTHER, &long)]));
    assert_eq!([find(ID), find(OTHER)], ["bolt", "long"]);

    let path = storage.join("db.sql");
    let writer = write_sqlite(&path, &[]);
    assert_eq!(find(&"ef".repeat(32)), "Unknown");
    let insert = "INSERT INTO ContainerConfig VALUES (?1, ?1, NULL, ?2)";
    writer
        .execute(insert, ("ef".repeat(32), config("new").into_bytes()))
        .unwrap();
    comes(&databases, &storage, &id(&"ef".repeat(32)), "new");
    assert_eq!(
        find(ID),
        "bolt",
        "a storage that was migrated has both for a while"
    );
    keep("podman_database", std::fs::read(&path).unwrap());
    assert_eq!(databases.failures(&[storage.clone(), storage]), []);
}

/// A Podman that writes all the time is never held up, and what is read is what one transaction
/// left: the name of a container is that of its label, over many pages.
#[test]
fn what_is_read_while_podman_writes_is_whole_and_podman_never_waits() {
    while_podman_writes(
        "what_is_read_while_podman_writes_is_whole_and_podman_never_waits",
        "DELETE",
    );
}

#[test]
fn what_is_read_of_a_write_ahead_log_is_whole_and_podman_never_waits() {
    while_podman_writes(
        "what_is_read_of_a_write_ahead_log_is_whole_and_podman_never_waits",
        "WAL",
    );
}

fn write_for_ever(path: &Path, mode: &str) {
    let mut database = write_sqlite(path, &[]);
    database.pragma_update(None, "journal_mode", mode).unwrap();
    // The log is moved to the database after every few transactions.
    database
        .pragma_update(None, "wal_autocheckpoint", 300)
        .unwrap();
    database.busy_timeout(Duration::ZERO).unwrap();
    let padding = "x".repeat(200_000);
    for number in 0.. {
        let how = TransactionBehavior::Exclusive;
        let transaction = database.transaction_with_behavior(how).unwrap();
        for of in [ID, OTHER] {
            let long = format!("{{\"x\":\"{padding}\"}}");
            let json = config(&format!("n{number}")).replace("{}", &long);
            let insert = "INSERT OR REPLACE INTO ContainerConfig VALUES (?1, ?1, NULL, ?2)";
            transaction
                .execute(insert, (of, json.into_bytes()))
                .unwrap();
        }
        transaction.commit().unwrap();
    }
}

fn while_podman_writes(test: &str, mode: &str) {
    if let Some(path) = std::env::var_os(WRITE) {
        return write_for_ever(Path::new(&path), mode);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.sql");
    drop(write_sqlite(&path, &[]));
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("runtime::podman::database::tests::{test}"),
        ])
        .env(WRITE, &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut versions = HashSet::new();
    let end = Instant::now() + Duration::from_secs(60);
    while versions.len() < 20 && Instant::now() < end {
        let mut names = Vec::new();
        let mut take = |_: &str, json: &str| {
            let read = Configured::parse(json).unwrap();
            let label = read.labels().pairs.into_values().next();
            assert_eq!(label.as_deref(), Some(&*read.name));
            names.push(read.name);
        };
        match sqlite::read(&SafePath::from(&path), MOST, &mut take) {
            Ok(()) if names.is_empty() => {}
            Ok(()) => {
                assert_eq!(
                    (names.len(), &names[0]),
                    (2, &names[1]),
                    "of one transaction"
                );
                versions.insert(names.swap_remove(0));
            }
            Err(Failure::Busy) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(writer.try_wait().unwrap(), None, "Podman was held up");
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(versions.len() >= 20, "{} versions", versions.len());
}

/// The journal of a Podman that was killed stays until the next command. Until then a new
/// container has a name, from the list, and no labels; what was known is still known.
#[test]
fn an_unfinished_transaction_is_waited_for_and_then_said() {
    let dir = tempfile::tempdir().unwrap();
    let storage = SafePath::from(dir.path());
    let path = dir.path().join("db.sql");
    let journal = dir.path().join("db.sql-journal");
    let databases = Databases::new(MOST);
    let writer = write_sqlite(&path, &[(ID, &config("old"))]);
    assert_eq!(name(databases.find(&storage, &id(ID))), "old");
    let insert = "INSERT INTO ContainerConfig VALUES (?1, ?1, NULL, ?2)";
    writer
        .execute(insert, (OTHER, config("new").into_bytes()))
        .unwrap();
    std::fs::write(&journal, "hot").unwrap();
    assert_eq!(databases.find(&storage, &id(OTHER)), Answer::Busy);
    assert_eq!(name(databases.find(&storage, &id(ID))), "old");
    comes(&databases, &storage, &id(OTHER), "Unreadable");
    let said = databases.failures(std::slice::from_ref(&storage));
    assert!(
        said.len() == 1 && said[0].1.contains("unfinished transaction"),
        "{said:?}"
    );
    std::fs::remove_file(&journal).unwrap();
    comes(&databases, &storage, &id(OTHER), "new");
    assert_eq!(databases.failures(&[storage]), []);
}

/// A container is found while it is in the log only, and once it is not any more.
#[test]
fn a_write_ahead_log_is_read_with_its_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("libpod/db.sql");
    std::fs::create_dir(dir.path().join("libpod")).unwrap();
    let writer = write_sqlite(&path, &[]);
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    let insert = "INSERT INTO ContainerConfig VALUES (?1, ?1, NULL, ?2)";
    let databases = Databases::new(MOST);
    let storage = SafePath::from(dir.path());
    for (of, name) in [(ID, "web"), (OTHER, "db")] {
        assert_eq!(databases.find(&storage, &id(of)), Answer::Unknown);
        writer
            .execute(insert, (of, config(name).into_bytes()))
            .unwrap();
        let log = std::fs::metadata(dir.path().join("libpod/db.sql-wal")).unwrap();
        assert!(log.len() > 4096);
        comes(&databases, &storage, &id(of), name);
    }
    drop(writer);
    assert_eq!(name(Databases::new(MOST).find(&storage, &id(OTHER))), "db");
}

/// Each of these could make SQLite, or us, work without end, or run something.
#[test]
fn what_a_user_puts_into_a_database_costs_little_and_is_not_executed() {
    let forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)";
    let big = "x".repeat(1 << 20);
    for (schema, is_error) in [
        (format!("CREATE VIEW ContainerConfig AS {forever} SELECT x AS ID, 'j' AS JSON FROM n"), false),
        ("PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'ContainerConfig', \
             'ContainerConfig', 0, 'CREATE VIRTUAL TABLE ContainerConfig USING fts5(ID, JSON)')"
                .to_owned(), false),
        ("CREATE TABLE ContainerConfig(x)".to_owned(), true),
        (
            "CREATE TABLE ContainerConfig(ID TEXT, JSON TEXT AS (hex(zeroblob(10000000)))); \
             INSERT INTO ContainerConfig(ID) VALUES ('a')"
                .to_owned(),
            true,
        ),
        (format!("CREATE TABLE ContainerConfig(ID, JSON, {})", columns(1_500)), true),
        (
            format!("CREATE TABLE ContainerConfig(ID, JSON); INSERT INTO ContainerConfig VALUES ('a', '{big}')"),
            false,
        ),
        (
            "CREATE TABLE ContainerConfig(ID, JSON); INSERT INTO ContainerConfig VALUES (x'ff', x'fe'), (1, 2.5)"
                .to_owned(),
            false,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sql");
        Connection::open(&path).unwrap().execute_batch(&schema).unwrap();
        if std::fs::metadata(&path).unwrap().len() < 1 << 16 {
            keep("podman_database", std::fs::read(&path).unwrap());
        }
        let began = Instant::now();
        let mut bytes = 0;
        let read = sqlite::read(&SafePath::from(&path), MOST, &mut |id: &str, json: &str| {
            bytes += id.len() + json.len()
        });
        let shown = &schema[..schema.len().min(80)];
        assert_eq!(read.is_err(), is_error, "{read:?} {shown}");
        assert!(bytes as u64 <= MOST, "{bytes} {shown}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?} {shown}", began.elapsed());
    }
}

fn columns(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    names.join(",")
}

#[test]
fn a_file_of_anything_cut_anywhere_is_an_error_or_has_containers_that_were_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("whole");
    drop(write_sqlite(
        &path,
        &[(ID, &config("web")), (OTHER, &config("db"))],
    ));
    let sqlite_bytes = std::fs::read(&path).unwrap();
    let bolt_bytes = bolt(&[(ID, &config("web")), (OTHER, &config("db"))]);
    for (bytes, read) in [(&sqlite_bytes, KINDS[0].1), (&bolt_bytes, KINDS[2].1)] {
        let file = dir.path().join("cut");
        let check = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let mut seen = Vec::new();
            let mut take = |_: &str, json: &str| seen.push(json.to_owned());
            let result = read(&SafePath::from(&file), MOST, &mut take);
            (result.is_ok(), seen.len())
        };
        assert_eq!(check(bytes), (true, 2));
        for cut in (0..bytes.len()).step_by(509) {
            let (_, seen) = check(&bytes[..cut]);
            assert!(seen <= 2, "{seen} of a file of {cut} bytes");
        }
        for at in (0..bytes.len()).step_by(61) {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            let (_, seen) = check(&changed);
            assert!(seen <= 4, "{seen} with byte {at} changed");
        }
    }
}

/// A tree whose pages lead to each other in a circle, and one that has each page a thousand times.
#[test]
fn a_bolt_tree_without_end_ends() {
    let page = |bytes: &mut [u8], page: usize, kind: u16, elements: &[(u32, u64)]| {
        let page = &mut bytes[page * 4096..(page + 1) * 4096];
        page[8..10].copy_from_slice(&kind.to_ne_bytes());
        page[10..12].copy_from_slice(&(elements.len() as u16).to_ne_bytes());
        for (number, (position, below)) in elements.iter().enumerate() {
            let start = 16 + number * 16;
            page[start..start + 4].copy_from_slice(&position.to_ne_bytes());
            page[start + 8..start + 16].copy_from_slice(&below.to_ne_bytes());
        }
    };
    for pages in [&[2u64][..], &[2; 200][..]] {
        let mut bytes = bolt(&[(ID, &config("web"))]);
        let elements: Vec<(u32, u64)> = pages.iter().map(|page| (0, *page)).collect();
        for number in 2..bytes.len() / 4096 {
            page(&mut bytes, number, 1, &elements);
        }
        let dir = tempfile::tempdir().unwrap();
        put_bolt(dir.path(), &bytes);
        let databases = Databases::new(MOST);
        let storage = SafePath::from(dir.path());
        assert_eq!(databases.find(&storage, &id(ID)), Answer::Unreadable);
        assert!(databases.failures(&[storage])[0].1.contains("damaged"));
    }
}

#[test]
fn a_database_beyond_the_limit_or_of_another_kind_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let storage = SafePath::from(dir.path());
    let file = std::fs::File::create(dir.path().join("db.sql")).unwrap();
    file.set_len(3 << 30).unwrap();
    put_bolt(dir.path(), &[b'x'; 9_000]);
    let said: Vec<String> = Databases::new(MOST)
        .failures(&[storage])
        .into_iter()
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(
        said,
        [
            "it has 3221225472 bytes, more than the limit of 4194304",
            "it is not a Bolt database"
        ]
    );
}

/// A user rewrites the database all the time.
#[test]
fn a_database_that_changes_all_the_time_is_read_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let storage = SafePath::from(dir.path());
    let databases = Databases::new(MOST);
    let path = dir.path().join("db.sql");
    let began = Instant::now();
    let mut versions = HashSet::new();
    for number in 0..500 {
        std::fs::write(&path, vec![0; number]).unwrap();
        databases.find(&storage, &id(ID));
        versions.extend(
            lock(&databases.known)
                .values()
                .map(|known| known.version.map(|(file, _)| file.1)),
        );
    }
    let most = began.elapsed().as_millis() / SHORTEST_PAUSE.as_millis() + 1;
    let reads = versions.len() as u128;
    assert!(reads >= 1 && reads <= most, "{reads} of {most}");
}

/// A user makes and removes containers that the database does not have.
#[test]
fn containers_that_a_database_lacks_are_forgotten_when_they_are_no_longer_listed() {
    let dir = tempfile::tempdir().unwrap();
    let storage = SafePath::from(dir.path());
    let databases = Databases::new(MOST);
    let path = dir.path().join("db.sql");
    drop(write_sqlite(&path, &[(ID, &config("web"))]));
    let known = || lock(&databases.known)[&path].lacking.len();
    for round in 0..5 {
        let listed = (0..20).map(|number| id(&format!("{:064x}", round * 100 + number)));
        let listed: Vec<ContainerId> = listed.collect();
        for id in &listed {
            comes(&databases, &storage, id, "Unknown");
        }
        let (_, lacking) = databases
            .lacking(&storage, listed.iter().copied(), 16)
            .unwrap();
        assert_eq!(lacking, listed[..16], "in the order of the list");
        assert_eq!(known(), 20);
    }
    assert_eq!(databases.lacking(&storage, [id(ID)].into_iter(), 16), None);
    assert_eq!(known(), 0);
}
