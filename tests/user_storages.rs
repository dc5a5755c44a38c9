//! Storages of Podman in users' home directories: whose containers they are, what a user
//! can make of them, and that nobody's is touched who is not named. The homes are the
//! test's own, and so is the list of users.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use fluent_bit_container_logs::delivery::host::embedded::Record;
use rustix::process::geteuid;

use crate::support::collector::Collector;
use crate::support::docker_root::DockerRoot;
use crate::support::playing_host::{texts_of, PlayingHost, Release};
use crate::support::skip;
use crate::support::stalling_fs::StallingFs;

/// A container in a user's storage, as the user wants it to look.
struct UsersContainer {
    folder: PathBuf,
    file: File,
}

/// Adds a user whose files are those of whoever runs the test.
fn user(root: &Path, name: &str, home: &Path) {
    let mut passwd = OpenOptions::new()
        .append(true)
        .create(true)
        .open(root.join("passwd"))
        .expect("passwd");
    let uid = geteuid().as_raw();
    writeln!(passwd, "{name}:x:{uid}:{uid}::{}:/bin/sh", home.display()).expect("it is ours");
}

impl UsersContainer {
    /// In the storage of the user with this home.
    fn new(home: &Path, digit: char, name: &str) -> UsersContainer {
        let id = digit.to_string().repeat(64);
        let containers = home.join(".local/share/containers/storage/overlay-containers");
        let folder = containers.join(&id).join("userdata");
        fs::create_dir_all(&folder).expect("folders");
        let list = serde_json::json!([{"id": id, "names": [name], "metadata": "{\"image-name\":\"img\"}"}]);
        fs::write(containers.join("containers.json"), list.to_string()).expect("a file");
        let file = File::create(folder.join("ctr.log")).expect("a log");
        UsersContainer { folder, file }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("ctr.log")
    }

    fn line(&mut self, text: &str) {
        self.file.write_all(line(text).as_bytes()).expect("a log");
    }
}

fn line(text: &str) -> String {
    format!("2024-01-01T00:00:00.000000001+00:00 stdout F {text}\n")
}

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

/// A home on a file system that never answers: it is touched for its user's name alone.
#[test]
fn a_dead_home_directory_stops_nobody_who_does_not_ask_for_it() {
    let test = "user_storages::a_dead_home_directory_stops_nobody_who_does_not_ask_for_it";
    let (root, far) = (DockerRoot::new(), tempfile::tempdir().expect("a folder"));
    let stalling = match StallingFs::over(far.path()) {
        Ok(stalling) => stalling,
        Err(reason) => return skip(test, &reason),
    };
    fs::create_dir(far.path().join("eve")).expect("a home");
    let near = root.path().join("home/ada");
    user(root.path(), "eve", &stalling.path().join("eve"));
    user(root.path(), "ada", &near);
    let mut of_ada = UsersContainer::new(&near, 'c', "job");
    let mut of_docker = root.container('a', "web");
    let mut starter = stalling.starter();
    let (passwd, mounted) = (root.path().join("passwd"), stalling.path());
    // The first question to the file system is its own beginning.
    let script = format!(
        "ls '{}' >&2 && mount --bind '{}' /etc/passwd && exec \"$@\"",
        mounted.display(),
        passwd.display()
    );
    starter.args(["sh", "-c", &script, "sh"]);
    let mut host = PlayingHost::start_by(starter, Release::LATEST);
    let folder = |name: &str| root.path().join(name).display().to_string();
    let instance = |host: &mut PlayingHost, name: &str, more: &str| {
        host.ok(&format!(
            "instance {name} docker_root=\"{}\" pod_logs=\"{}\" podman_root=\"{}\" podman_socket=off \
             docker_socket=off rescan_interval=20ms exclude_self=off {more}",
            folder(""),
            folder("pods"),
            folder("storage")
        ));
    };
    of_ada.line("from ada");
    of_docker.line("from docker");
    instance(&mut host, "off", "");
    instance(&mut host, "all", "podman_users=all");
    stalling.stall();
    host.ok("init");
    host.run_until(3);
    let sorted = |host: &PlayingHost, name: &str| {
        let mut texts = texts_of(&host.frames(), name);
        texts.sort();
        texts
    };
    assert_eq!(sorted(&host, "off"), ["from docker"]);
    assert_eq!(sorted(&host, "all"), ["from ada", "from docker"]);
    assert!(!stalling.somebody_waits(), "nobody touched that home");
    assert!(
        host.log().contains("is a mount of type fuse"),
        "{}",
        host.log()
    );
    of_docker.line("more");
    host.run_until(5);
    assert!(!stalling.somebody_waits(), "nobody touched that home");
    stalling.go_on();
    host.exit().assert_clean();
}
