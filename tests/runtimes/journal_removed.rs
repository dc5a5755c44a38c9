//! Containers that are removed while nothing is read: the journal still has their entries.

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::journald::Journald;
use test_kit::or_skip;
use test_kit::podman_storage::{PodmanStorage, Start};

use crate::journal::{await_entry, journaled, numbers, start, write_lines};

/// What is said of containers of which nothing is left.
const MISSING: &str = "containers that were read before are missing at this start";

#[test]
fn a_container_of_dockers_that_was_removed_is_read_to_the_end_of_its_entries_once() {
    let test = "journal_removed::a_container_of_dockers_that_was_removed_is_read_to_the_end_of_its_entries_once";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let root = DockerRoot::new();
    let db = root.path().join("positions.db").display().to_string();
    let options = [("DB", &*db), ("Docker_Socket", "off")];
    let mut dockerd = journald.writer("dockerd", 0);
    let (read_on, container) = journaled(&root, 'a');
    let (silent, silent_container) = journaled(&root, 'b');
    let (kept, _kept) = journaled(&root, 'c');
    let collector = start(&root, &journald, &options);
    for id in [&read_on, &silent, &kept] {
        write_lines(&mut dockerd, id, 0..10);
    }
    collector.wait("all lines", |collector| collector.count() == 30);
    collector.stop();
    write_lines(&mut dockerd, &read_on, 10..3000);
    journald.rotate();
    write_lines(&mut dockerd, &read_on, 3000..3010);
    write_lines(&mut dockerd, &kept, 10..20);
    container.remove();
    silent_container.remove();
    // Another user says that it is one of them, and so does another program.
    for (name, uid) in [("dockerd", 65534), ("logger", 0)] {
        let mut forger = journald.writer(name, uid);
        write_lines(&mut forger, &silent, 10..20);
        forger.finish();
    }
    await_entry(&journald.folder(), "line 3009");
    let collector = start(&root, &journald, &options);
    collector.wait("all lines", |collector| collector.count() == 3010);
    assert_eq!(
        numbers(&collector, &read_on),
        (10..3010).collect::<Vec<_>>()
    );
    assert_eq!(numbers(&collector, &kept), (10..20).collect::<Vec<_>>());
    let records = collector.records();
    let of_it = records
        .iter()
        .filter(|it| it.text("container_id") == read_on);
    for record in of_it {
        assert_eq!(record.text("container_name"), "web");
        assert_eq!(record.text("image"), "app:1");
    }
    let gone = "container web (aaaaaaaaaaaa) is gone";
    collector.wait("its end", |collector| collector.has_logged(gone));
    assert!(!collector.has_logged(MISSING), "{:?}", collector.log());
    assert_eq!(collector.figures().abandoned, Default::default());
    collector.stop();
    let collector = start(&root, &journald, &options);
    write_lines(&mut dockerd, &kept, 20..30);
    collector.wait("a line", |collector| collector.count() >= 10);
    assert_eq!(numbers(&collector, &kept), (20..30).collect::<Vec<_>>());
    assert_eq!(collector.count(), 10);
    assert!(!collector.has_logged(MISSING), "{:?}", collector.log());
    dockerd.finish();
}

#[test]
fn a_container_of_podmans_that_was_removed_is_read_to_the_end_of_its_entries() {
    let test = "journal_removed::a_container_of_podmans_that_was_removed_is_read_to_the_end_of_its_entries";
    let Some(journald) = or_skip(test, Journald::start()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let storage = PodmanStorage::new(dir.path());
    let shop = Start {
        driver: "journald",
        ..Start::default()
    };
    let container = storage.run('a', &shop);
    let id = "a".repeat(64);
    let [root, folder, db] = [
        storage.path().to_owned(),
        journald.folder(),
        dir.path().join("db"),
    ]
    .map(|path| path.display().to_string());
    let options = [
        ("Runtime", "podman"),
        ("Podman_Root", &*root),
        ("Podman_Socket", "off"),
        ("Journal_Path", &*folder),
        ("DB", &*db),
    ];
    let mut conmon = journald.writer("conmon", 0);
    conmon.conmon(&id, "first");
    let collector = Collector::start(dir.path(), &options);
    assert_eq!(collector.wait_texts(1), ["first"]);
    collector.stop();
    conmon.conmon(&id, "second");
    conmon.conmon(&id, "third");
    storage.remove(&container);
    await_entry(&journald.folder(), "third");
    let collector = Collector::start(dir.path(), &options);
    assert_eq!(collector.wait_texts(2), ["second", "third"]);
    assert!(!collector.has_logged(MISSING), "{:?}", collector.log());
    conmon.finish();
}

/// Nobody knows what was removed of it, or whether a label selects it.
#[test]
fn a_removed_container_of_which_the_journal_has_not_all_is_said_to_be_missing() {
    let test = "journal_removed::a_removed_container_of_which_the_journal_has_not_all_is_said_to_be_missing";
    for case in ["vacuumed", "off", "label"] {
        let Some(journald) = or_skip(test, Journald::start()) else {
            return;
        };
        let root = DockerRoot::new();
        let db = root.path().join("positions.db").display().to_string();
        let mut options = vec![("DB", &*db), ("Docker_Socket", "off")];
        let mut dockerd = journald.writer("dockerd", 0);
        let (id, container) = journaled(&root, 'a');
        let (kept, _kept) = journaled(&root, 'b');
        let collector = start(&root, &journald, &options);
        write_lines(&mut dockerd, &id, 0..10);
        collector.wait("all lines", |collector| collector.count() == 10);
        collector.stop();
        write_lines(&mut dockerd, &id, 10..20);
        await_entry(&journald.folder(), "line 19");
        container.remove();
        match case {
            "vacuumed" => {
                journald.rotate();
                journald.vacuum("1K");
                write_lines(&mut dockerd, &kept, 0..1);
                await_entry(&journald.folder(), "line 0");
            }
            "off" => options.push(("Journal_Path", "off")),
            _ => options.push(("Include", "label=tier=front")),
        }
        let collector = match case {
            "off" => Collector::start(root.path(), &options),
            _ => start(&root, &journald, &options),
        };
        collector.wait("a word", |collector| collector.has_logged(MISSING));
        let abandoned = collector.figures().abandoned;
        assert_eq!(abandoned.generations, 1, "{case}");
        collector.stop();
        dockerd.finish();
    }
}
