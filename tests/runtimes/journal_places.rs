//! Journals other than that of the system: of users, and of namespaces.

use std::path::Path;

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::journald::Journald;
use test_kit::or_skip;
use test_kit::podman_storage::{PodmanStorage, Start};
use test_kit::tail_containers::program;

use crate::journal::{await_entry, journaled, write_lines};

/// Of the first user of a machine.
const ADA: u32 = 1000;

/// Each writes lines of its own containers, in its own journal.
#[test]
fn a_users_podman_is_read_from_the_users_journal_and_writes_no_line_of_another_one() {
    let test = "journal_places::a_users_podman_is_read_from_the_users_journal_and_writes_no_line_of_another_one";
    let Some(journald) = or_skip(test, Journald::persistent()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let machine = dir.path().canonicalize().expect("a folder");
    let home = machine.join("home/ada");
    let of_ada = home.join(".local/share/containers/storage");
    let of_name = |name| Start {
        name,
        driver: "journald",
        ..Start::default()
    };
    let storages = [
        PodmanStorage::at(&of_ada, &machine.join("run/ada")),
        PodmanStorage::new(&machine),
    ];
    storages[0].run('a', &of_name("adas"));
    storages[1].run('b', &of_name("roots"));
    std::fs::create_dir_all(machine.join("etc")).expect("a folder");
    let passwd = format!("ada:x:{ADA}:{ADA}::{}:/bin/sh\n", home.display());
    std::fs::write(machine.join("etc/passwd"), passwd).expect("passwd");
    own(&home, ADA);
    let [adas, roots] = ["a", "b"].map(|digit| digit.repeat(64));
    let (root, journal) = (storages[1].path().display().to_string(), journald.folder());
    let journal = journal.display().to_string();
    let options = [
        ("Runtime", "podman"),
        ("Podman_Root", &*root),
        ("Podman_Users", "ada"),
        ("Podman_Socket", "off"),
        ("Journal_Path", &*journal),
    ];
    let mut conmons = [ADA, 0].map(|uid| journald.writer("conmon", uid));
    conmons[0].conmon(&adas, "early");
    await_entry(&journald.folder(), "early");
    let has_file = || {
        let files = journald.files();
        let name = format!("user-{ADA}.journal");
        files.iter().any(|file| file.ends_with(&name))
    };
    assert!(has_file(), "{:?}", journald.files());
    let collector = Collector::start(&machine, &options);
    collector.wait_texts(1);
    conmons[0].conmon(&roots, "forged");
    conmons[1].conmon(&adas, "forged");
    conmons[0].conmon(&adas, "adas");
    conmons[1].conmon(&roots, "roots");
    // Of one writer, what was sent before is read before.
    let texts = |id: &str| collector.texts_of(id, "stdout");
    collector.wait("both", |_| {
        texts(&adas).len() >= 2 && !texts(&roots).is_empty()
    });
    assert_eq!(texts(&adas), ["early", "adas"]);
    assert_eq!(texts(&roots), ["roots"]);
}

/// Gives all below a folder to a user.
pub fn own(folder: &Path, uid: u32) {
    let owner = format!("{uid}:{uid}");
    let status = std::process::Command::new("chown")
        .arg("-R")
        .arg(owner)
        .arg(folder)
        .status();
    assert!(status.expect("chown").success());
}

/// That of `LogNamespace=` in the unit of a daemon.
#[test]
fn a_daemon_in_a_namespace_of_the_journal_is_read() {
    let test = "journal_places::a_daemon_in_a_namespace_of_the_journal_is_read";
    let Some(journald) = or_skip(test, Journald::of_namespace("shop")) else {
        return;
    };
    let root = DockerRoot::new();
    let (id, _container) = journaled(&root, 'a');
    let mut dockerd = journald.writer("dockerd", 0);
    write_lines(&mut dockerd, &id, 0..3);
    let files = journald.files();
    let folders: Vec<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let [folder, ..] = folders[..] else {
        panic!("{files:?}");
    };
    let name = folder.display().to_string();
    assert!(name.ends_with(".shop"), "{files:?}");
    await_entry(folder, "line 2");
    // A folder that is given is that of a namespace.
    let collector = Collector::start(root.path(), &[("Journal_Path", &name)]);
    collector.wait_texts(3);
    // `auto` has them all.
    let mut auto = journald.on_its_machine(&program());
    auto.args(["--runtime", "docker", "--docker-root"])
        .arg(root.path());
    auto.args([
        "--no-follow",
        "--raw",
        "--tail",
        "all",
        "-o",
        "Docker_Socket=off",
    ]);
    let output = auto.output().expect("tail-containers runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let printed: Vec<&str> = printed.lines().collect();
    let expected = ["web ! line 0", "web | line 1", "web | line 2"];
    assert_eq!(printed, expected, "{output:?}");
}
