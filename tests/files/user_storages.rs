//! Storages of Podman in users' home directories: whose containers they are, what a user
//! can make of them, and that nobody's is touched who is not named. The homes are the
//! test's own, and so is the list of users.

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};

use fluent_bit_container_logs::delivery::host::embedded::Record;
use rustix::process::geteuid;

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::skip;
use test_kit::user_storage::{line, user, UsersContainer};

fn start(root: &DockerRoot, options: &[(&str, &str)]) -> Collector {
    let all: Vec<(&str, &str)> = [
        ("Runtime", "auto"),
        ("Docker_Socket", "off"),
        ("Rescan_Interval", "50ms"),
    ]
    .iter()
    .chain(options)
    .copied()
    .collect();
    Collector::start(root.path(), &all)
}

/// Text, user, name and id of each record.
fn said(records: &[Record]) -> Vec<[&str; 4]> {
    let keys = ["log", "user", "container_name", "container_id"];
    records
        .iter()
        .map(|record| keys.map(|key| record.text(key)))
        .collect()
}

/// A user takes the id of a container of root's Docker, which anybody may read in `/proc`,
/// before the container itself is met: both are read, each as its own, over a restart.
#[test]
fn the_id_of_dockers_container_in_a_users_storage_takes_nothing_from_it() {
    let root = DockerRoot::new();
    let home = root.path().join("home/mallory");
    user(root.path(), "mallory", &home);
    let mut forged = UsersContainer::new(&home, 'a', "web");
    forged.line("forged");
    let db = root.path().join("positions.db").display().to_string();
    let options = [
        ("Podman_Users", "all"),
        ("DB", &*db),
        ("Tag_Template", "docker.{name}.{user}.{short_id}"),
    ];
    let collector = start(&root, &options);
    collector.wait_texts(1);
    let mut real = root.container('a', "web");
    real.line("real");
    collector.wait_texts(2);
    forged.line("forged again");
    real.line("real again");
    collector.wait_texts(4);
    let id = "a".repeat(64);
    let tagged = collector.tagged();
    for (tag, record) in &tagged {
        let is_real = record.text("log").starts_with("real");
        let [_, user, name, its_id] = said(std::slice::from_ref(record))[0];
        assert_eq!(
            (user, name, its_id),
            (if is_real { "" } else { "mallory" }, "web", &*id)
        );
        let want = match is_real {
            true => "docker.web._.aaaaaaaaaaaa",
            false => "docker._mallory_web.mallory._mallory_aaaaaaaaaaaa",
        };
        assert_eq!(tag.as_deref(), Some(want));
    }
    let mut names: Vec<String> = collector
        .accounts()
        .iter()
        .map(|account| account.name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["web", "~mallory/web"],
        "metrics and messages tell them apart"
    );
    collector.stop();
    forged.line("forged later");
    real.line("real later");
    let collector = start(&root, &options);
    let mut texts = collector.wait_texts(2);
    texts.sort();
    assert_eq!(texts, ["forged later", "real later"]);
}

#[test]
fn a_rule_that_fits_a_users_container_silences_no_other_with_its_id() {
    let root = DockerRoot::new();
    for name in ["ada", "mallory"] {
        let home = root.path().join("home").join(name);
        user(root.path(), name, &home);
        UsersContainer::new(&home, 'a', &format!("{name}-x")).line(name);
    }
    root.container('a', "web").line("real");
    let collector = start(
        &root,
        &[
            ("Podman_Users", "ada,mallory"),
            ("Exclude", "name=mallory*"),
        ],
    );
    let mut texts = collector.wait_texts(2);
    texts.sort();
    assert_eq!(texts, ["ada", "real"]);
    drop(collector);
    let collector = start(&root, &[("Podman_Users", "all"), ("Exclude", "user=*")]);
    assert_eq!(collector.wait_texts(1), ["real"]);
}

#[test]
fn users_are_read_only_where_they_are_named() {
    let root = DockerRoot::new();
    for name in ["ada", "eve"] {
        let home = root.path().join("home").join(name);
        user(root.path(), name, &home);
        UsersContainer::new(&home, 'c', "job").line(name);
    }
    let mut real = root.container('a', "web");
    real.line("real");
    for (choice, want) in [
        ("off", &["real"] as &[&str]),
        ("ada", &["ada", "real"]),
        ("all", &["ada", "eve", "real"]),
    ] {
        let collector = start(&root, &[("Podman_Users", choice)]);
        let mut texts = collector.wait_texts(want.len());
        texts.sort();
        assert_eq!(texts, want, "{choice}");
    }
    // The default is that of `off`.
    let collector = start(&root, &[]);
    assert_eq!(collector.wait_texts(1), ["real"]);
    real.line("more");
    assert_eq!(collector.wait_texts(2), ["real", "more"]);
}

/// The log, or its folder, becomes a symlink or a hard link to what is not the user's.
#[test]
fn nothing_is_read_that_a_user_only_points_at() {
    let root = DockerRoot::new();
    let home = root.path().join("home/mallory");
    user(root.path(), "mallory", &home);
    let mut log = UsersContainer::new(&home, 'c', "job");
    log.line("1");
    let secrets = root.path().join("secrets");
    fs::create_dir(&secrets).expect("a folder");
    fs::write(secrets.join("ctr.log"), line("secret")).expect("a file");
    let linked = UsersContainer::new(&home, 'd', "linked");
    fs::remove_file(linked.log()).expect("it is there");
    symlink(secrets.join("ctr.log"), linked.log()).expect("a symlink");
    let collector = start(&root, &[("Podman_Users", "mallory")]);
    collector.wait_texts(1);
    collector.wait("the symlink was looked at", |collector| {
        collector.has_logged("symbolic links")
    });
    let mut count = 1;
    let mut next = |log: &mut UsersContainer| {
        log.file = File::create(log.log()).expect("a log");
        count += 1;
        log.line(&count.to_string());
        collector.wait_texts(count);
    };
    fs::remove_file(log.log()).expect("it is there");
    symlink(secrets.join("ctr.log"), log.log()).expect("a symlink");
    symlink(secrets.join("ctr.log"), log.folder.join("ctr.log.1")).expect("a symlink");
    // Whoever has met a container that came later has looked at what came before.
    next(&mut UsersContainer::new(&home, 'e', "later"));
    fs::remove_file(log.log()).expect("it is there");
    next(&mut log);

    let kept = log.folder.with_file_name("kept");
    fs::rename(&log.folder, &kept).expect("it is ours");
    symlink(&secrets, &log.folder).expect("a symlink");
    collector.wait("the symlink was looked at", |collector| {
        collector.has_logged("it is not a folder")
    });
    fs::remove_file(&log.folder).expect("it is there");
    fs::rename(&kept, &log.folder).expect("it is ours");
    let said = format!("{} can be read now", log.folder.display());
    collector.wait("that it is a folder again", |collector| {
        collector.has_logged(&said)
    });
    next(&mut log);

    if geteuid().is_root() {
        chown(secrets.join("ctr.log"), Some(12345), None).expect("we are root");
        fs::hard_link(secrets.join("ctr.log"), log.folder.join("next")).expect("a link");
        fs::rename(log.folder.join("next"), log.log()).expect("it is ours");
        collector.wait("the owner was seen", |collector| {
            collector.has_logged("it belongs to uid 12345")
        });
        fs::remove_file(log.log()).expect("it is there");
        next(&mut log);
    } else {
        skip(
            "user_storages::nothing_is_read_that_a_user_only_points_at (hard link)",
            "it takes root",
        );
    }
    let texts = collector.texts();
    assert!(!texts.iter().any(|text| text == "secret"), "{texts:?}");
}

#[test]
fn a_user_who_is_not_known_is_named_and_the_others_are_read() {
    let root = DockerRoot::new();
    let home = root.path().join("home/ada");
    user(root.path(), "ada", &home);
    UsersContainer::new(&home, 'a', "web").line("1");
    let collector = start(&root, &[("Podman_Users", "ada, adda")]);
    collector.wait_texts(1);
    let said = format!(
        "{} has no user adda; if a directory service has this user, give the home directory in Podman_Users; nothing of that user is read until that is fixed",
        root.path().join("etc/passwd").display()
    );
    collector.wait(&said, |collector| {
        collector.has_logged(&said) && collector.metric("containers_unread") == 1.0
    });
}
