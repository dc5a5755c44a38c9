//! The folders of containers are moved away, or an empty disk is mounted over them, while their
//! runtime goes on writing: the open logs are read on, and it is said, counted, and named after a
//! restart. An empty folder in the place of the old one plays the mount.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::geteuid;
use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::nerdctl_root::NerdctlContainer;
use test_kit::pod_root::PodRoot;
use test_kit::podman_storage::{PodmanStorage, Start};
use test_kit::tail_containers::{command, page, row};
use test_kit::user_storage::{line, user, UsersContainer};
use test_kit::{in_mount_namespace, skip};

const SAID: &str =
    "containers are no longer listed though their logs still exist (1; the first is ";

/// A machine of one runtime with one container.
struct Machine {
    runtime: &'static str,
    options: Vec<(&'static str, String)>,
    dir: PathBuf,
    /// The folders that may be hidden, each with what remains in its place.
    roots: Vec<(PathBuf, Vec<&'static str>)>,
    write: Box<dyn FnMut(&str)>,
    /// Keeps the folders.
    _owner: Box<dyn std::any::Any>,
}

fn docker() -> Machine {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let dir = root.path().to_owned();
    let data_root = dir.join("docker");
    fs::create_dir(&data_root).expect("a folder");
    fs::rename(dir.join("containers"), data_root.join("containers")).expect("a move");
    Machine {
        runtime: "docker",
        options: vec![("Docker_Root", data_root.display().to_string())],
        roots: vec![
            (data_root.clone(), vec!["containers"]),
            (data_root.clone(), vec![]),
            (data_root.join("containers"), vec![]),
            (data_root.join("containers").join(&log.id), vec![]),
        ],
        write: Box::new(move |text| log.line(text)),
        dir,
        _owner: Box::new(root),
    }
}

fn pods() -> Machine {
    let root = PodRoot::new();
    let mut log = root.container("shop", "web", "app");
    Machine {
        runtime: "cri",
        options: vec![],
        roots: vec![
            (root.pods(), vec![]),
            (log.dir.parent().expect("a pod").to_owned(), vec![]),
        ],
        write: Box::new(move |text| log.line(text)),
        dir: root.path().to_owned(),
        _owner: Box::new(root),
    }
}

fn podman() -> Machine {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = PodmanStorage::new(dir.path());
    let mut container = storage.run('a', &Start::default());
    let path = storage.path().to_owned();
    Machine {
        runtime: "podman",
        options: vec![],
        roots: vec![
            (path.clone(), vec!["overlay-containers"]),
            (path.clone(), vec![]),
            (path.join("overlay-containers"), vec![]),
        ],
        write: Box::new(move |text| container.line(text)),
        dir: dir.path().to_owned(),
        _owner: Box::new((dir, storage)),
    }
}

fn nerdctl() -> Machine {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("var/lib/nerdctl");
    let mut container = NerdctlContainer::new(&root, 'a', "web");
    Machine {
        runtime: "nerdctl",
        options: vec![("Nerdctl_Root", root.display().to_string())],
        roots: vec![(root.clone(), vec![]), (root.join("1935db59"), vec![])],
        write: Box::new(move |text| container.line(text)),
        dir: dir.path().to_owned(),
        _owner: Box::new(dir),
    }
}

fn podman_of_a_user() -> Machine {
    let dir = tempfile::tempdir().expect("a folder");
    let home = dir.path().join("home/ada");
    user(dir.path(), "ada", &home);
    let mut container = UsersContainer::new(&home, 'a', "web");
    let storage = home.join(".local/share/containers/storage");
    Machine {
        runtime: "podman",
        options: vec![("Podman_Users", "ada".to_owned())],
        roots: vec![
            (storage.clone(), vec!["overlay-containers"]),
            (storage.join("overlay-containers"), vec![]),
        ],
        write: Box::new(move |text| container.line(text)),
        dir: dir.path().to_owned(),
        _owner: Box::new(dir),
    }
}

impl Machine {
    fn start(&self, more: &[(&str, &str)]) -> Collector {
        let options = self.options.iter();
        let options: Vec<(&str, &str)> = options.map(|(name, value)| (*name, &**value)).collect();
        let common = [
            ("Runtime", self.runtime),
            ("Docker_Socket", "off"),
            ("Podman_Socket", "off"),
            ("Rescan_Interval", "50ms"),
        ];
        Collector::start(&self.dir, &[&common, &options[..], more].concat())
    }
}

/// Moves a folder aside; with `empties`, an empty one with these folders takes its place.
fn hide(dir: &Path, root: &Path, inner: &[&str], empties: bool) -> PathBuf {
    let aside = dir.join("aside");
    fs::rename(root, &aside).expect("a move");
    if empties {
        fs::create_dir(root).expect("a folder");
        inner
            .iter()
            .for_each(|name| fs::create_dir(root.join(name)).expect("a folder"));
    }
    aside
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

#[test]
fn a_root_that_is_moved_or_mounted_over_with_an_empty_one_is_read_on_and_said() {
    std::thread::scope(|scope| {
        for machine in [docker, pods, podman, nerdctl, podman_of_a_user] {
            for (case, empties) in
                (0..machine().roots.len()).flat_map(|it| [(it, true), (it, false)])
            {
                scope.spawn(move || is_read_on(machine(), case, empties));
            }
        }
    });
}

fn is_read_on(mut machine: Machine, case: usize, empties: bool) {
    let (root, inner) = machine.roots[case].clone();
    let label = format!("{} {} {empties}", machine.runtime, root.display());
    let collector = machine.start(&[]);
    (machine.write)("line 0");
    collector.wait_texts(1);
    let aside = hide(&machine.dir, &root, &inner, empties);
    collector.wait(&label, |collector| collector.has_logged(SAID));
    collector.wait(&label, |collector| {
        collector.metric("containers_unread") >= 1.0
    });
    for count in 2..=10 {
        (machine.write)(&format!("line {}", count - 1));
        assert_eq!(collector.wait_texts(count), numbers(count), "{label}");
    }
    if empties {
        fs::remove_dir_all(&root).expect("it was empty");
    }
    fs::rename(&aside, &root).expect("a move");
    collector.wait(&format!("{label}: it is back"), |collector| {
        collector.metric("containers_unread") == 0.0
    });
    (machine.write)("line 10");
    assert_eq!(collector.wait_texts(11), numbers(11), "{label}");
    assert_eq!(collector.figures().lost(), 0, "{label}");
    if case > 0 {
        return;
    }
    // What is deleted is gone, as ever.
    let aside = hide(&machine.dir, &root, &inner, true);
    (machine.write)("line 11");
    assert_eq!(collector.wait_texts(12), numbers(12), "{label}");
    fs::remove_dir_all(aside).expect("its removal");
    collector.wait(&format!("{label}: it is gone"), |collector| {
        collector.accounts().is_empty()
    });
}

/// No container is read through it.
#[test]
fn an_api_that_is_not_there_is_no_reason_why_a_root_that_was_moved_is_not_read() {
    for machine in [podman, docker] {
        let mut machine = machine();
        let socket = machine.dir.join("no.sock").display().to_string();
        let sockets = [("Podman_Socket", &*socket), ("Docker_Socket", &*socket)];
        let (root, inner) = machine.roots[1].clone();
        let options: Vec<_> = machine.options.clone();
        let mut all = vec![("Runtime", machine.runtime), ("Rescan_Interval", "50ms")];
        all.extend(options.iter().map(|(name, value)| (*name, &**value)));
        all.extend(sockets);
        let collector = Collector::start(&machine.dir, &all);
        (machine.write)("line 0");
        collector.wait_texts(1);
        for _ in 0..3 {
            let aside = hide(&machine.dir, &root, &inner, false);
            collector.wait("that it is away", |collector| {
                collector.metric("containers_unread") == 1.0
            });
            fs::rename(&aside, &root).expect("a move");
            collector.wait("that it is back", |collector| {
                collector.metric("containers_unread") == 0.0
            });
        }
        assert!(collector.has_logged("cannot list containers in "));
        let (_, log) = collector.stop();
        let said = |(_, text): &(_, String)| text.contains("API");
        assert!(!log.iter().any(said), "{log:?}");
    }
}

#[test]
fn after_a_restart_what_is_out_of_sight_is_named() {
    let mut machine = docker();
    let (root, inner) = machine.roots[0].clone();
    let db = machine.dir.join("positions.db").display().to_string();
    let collector = machine.start(&[("DB", &db)]);
    (machine.write)("line 0");
    collector.wait_texts(1);
    hide(&machine.dir, &root, &inner, true);
    (machine.write)("line 1");
    collector.wait_texts(2);
    collector.stop();
    let collector = machine.start(&[("DB", &db)]);
    let said = "containers that were read before are missing at this start (1): aaaaaaaaaaaa";
    collector.wait("its name", |collector| collector.has_logged(said));
}

/// What covers the folder of a container is still listed.
#[test]
fn after_a_restart_an_empty_folder_of_a_container_is_said_and_counted_and_read_on_once_it_is_back()
{
    let mut machine = docker();
    let (folder, _) = machine.roots.pop().expect("that of the container");
    let db = machine.dir.join("positions.db").display().to_string();
    let collector = machine.start(&[("DB", &db)]);
    (machine.write)("line 0");
    collector.wait_texts(1);
    collector.stop();
    (machine.write)("line 1");
    let aside = hide(&machine.dir, &folder, &[], true);
    let said = "-json.log no longer exists: it was deleted while nothing was read, or its folder is mounted over";
    let collector = machine.start(&[("DB", &db)]);
    collector.wait("that it is said", |collector| collector.has_logged(said));
    assert_eq!(collector.figures().abandoned.generations, 1);
    collector.stop();
    fs::remove_dir(&folder).expect("it was empty");
    fs::rename(aside, &folder).expect("a move");
    let collector = machine.start(&[("DB", &db)]);
    assert_eq!(collector.wait_texts(1), ["line 1"]);
    assert_eq!(collector.figures().losses(), None);
}

#[test]
fn check_names_a_mount_that_hides_the_folder_of_a_container() {
    let root = DockerRoot::new();
    let (hidden, mut seen) = (root.container('a', "web"), root.container('b', "db"));
    seen.line("line");
    let folder = hidden.dir.display().to_string();
    let mount = format!("mount -t tmpfs none {folder}");
    let mut in_it = match in_mount_namespace(&mount) {
        Ok(command) => command,
        Err(reason) => {
            let test = "out_of_sight::check_names_a_mount_that_hides_the_folder_of_a_container";
            return skip(test, &reason);
        }
    };
    let check = command(root.path(), &["check", "-o", "Docker_Socket=off"]);
    in_it.arg(check.get_program()).args(check.get_args());
    let (text, is_all_read) = page(&in_it.output().expect("it runs"));
    let named =
        format!("1. {folder}: it is a mount point, and the mount hides the container's folder");
    assert!(!is_all_read && text.contains(&named), "{text}");
    assert_eq!(row(&text, "db"), "shop/web:1.2 json-file file");
    // Without the mount, or with one that has the container.
    for mount in ["true".to_owned(), format!("mount --bind {folder} {folder}")] {
        let mut in_it = in_mount_namespace(&mount).expect("as before");
        in_it.arg(check.get_program()).args(check.get_args());
        let (text, is_all_read) = page(&in_it.output().expect("it runs"));
        assert!(is_all_read && !text.contains("it is a mount"), "{text}");
    }
}

/// Whatever a user does with a folder, no container of it is new when it is back.
#[test]
fn a_folder_that_a_user_moves_away_and_back_all_the_time_is_said_once_a_minute() {
    let dir = tempfile::tempdir().expect("a folder");
    let home = dir.path().join("home/ada");
    user(dir.path(), "ada", &home);
    let mut container = UsersContainer::new(&home, 'a', "web");
    let containers = container.folder.parent().expect("a folder").to_owned();
    let options = [
        ("Runtime", "podman"),
        ("Podman_Users", "ada"),
        ("Podman_Socket", "off"),
        ("Rescan_Interval", "10ms"),
    ];
    let begun = Instant::now();
    let collector = Collector::start(dir.path(), &options);
    container.line("line 0");
    collector.wait_texts(1);
    let is_unread = |collector: &Collector| collector.metric("containers_unread") > 0.0;
    for number in 1..6 {
        let aside = dir.path().join("aside");
        fs::rename(&containers, &aside).expect("a move");
        collector.wait("that it is away", is_unread);
        container.line(&format!("line {number}"));
        collector.wait_texts(number + 1);
        fs::rename(&aside, &containers).expect("a move");
        collector.wait("that it is back", |collector| !is_unread(collector));
    }
    assert_eq!(collector.texts(), numbers(6));
    let log = collector.log();
    let minutes = begun.elapsed().as_secs() as usize / 60;
    let said = collector.times_logged(SAID);
    assert!((1..=1 + minutes).contains(&said), "{log:#?}");
    assert_eq!(log.len() - said, 2, "{log:#?}");
}

/// What runs goes on writing to the old storage.
#[test]
fn a_storage_that_a_users_settings_no_longer_name_is_read_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let home = dir.path().join("home/ada");
    user(dir.path(), "ada", &home);
    let mut container = UsersContainer::new(&home, 'a', "web");
    let options = [
        ("Runtime", "podman"),
        ("Podman_Users", "ada"),
        ("Podman_Socket", "off"),
        ("Rescan_Interval", "50ms"),
    ];
    let collector = Collector::start(dir.path(), &options);
    container.line("line 0");
    collector.wait_texts(1);
    let other = home.join("other");
    fs::create_dir_all(other.join("overlay-containers")).expect("folders");
    let settings = home.join(".config/containers");
    fs::create_dir_all(&settings).expect("folders");
    let text = format!("[storage]\ngraphroot = \"{}\"\n", other.display());
    fs::write(settings.join("storage.conf"), text).expect("a file");
    collector.wait("that it is said", |collector| {
        collector.has_logged("or a setting names another one")
    });
    container.line("line 1");
    assert_eq!(collector.wait_texts(2), numbers(2));
}

/// One of them has more than is read on while it is out of sight.
#[test]
fn what_a_user_hides_takes_nothing_from_another_user() {
    if !geteuid().is_root() {
        return skip(
            "out_of_sight::what_a_user_hides_takes_nothing_from_another_user",
            "it takes root",
        );
    }
    const COUNT: usize = 65;
    let dir = tempfile::tempdir().expect("a folder");
    let homes = ["ada", "bob"].map(|name| dir.path().join("home").join(name));
    fs::create_dir(dir.path().join("etc")).expect("a folder");
    let line_of = |(home, (name, uid)): (&PathBuf, (&str, u32))| {
        format!("{name}:x:{uid}:{uid}::{}:/bin/sh\n", home.display())
    };
    let users = [("ada", 12345), ("bob", 12346)];
    let passwd: String = homes.iter().zip(users).map(line_of).collect();
    fs::write(dir.path().join("etc/passwd"), passwd).expect("a file");
    let storages = homes.map(|home| home.join(".local/share/containers/storage"));
    for (storage, count, (_, uid)) in [(&storages[0], COUNT, users[0]), (&storages[1], 1, users[1])]
    {
        for number in 0..count {
            let folder = format!("overlay-containers/{number:064x}/userdata");
            let folder = storage.join(folder);
            fs::create_dir_all(&folder).expect("folders");
            fs::write(folder.join("ctr.log"), line("line")).expect("a log");
            chown(folder.join("ctr.log"), Some(uid), None).expect("we are root");
        }
        chown(storage, Some(uid), None).expect("we are root");
    }
    let options = [
        ("Runtime", "podman"),
        ("Podman_Users", "ada,bob"),
        ("Podman_Socket", "off"),
        ("Rescan_Interval", "50ms"),
    ];
    let collector = Collector::start(dir.path(), &options);
    collector.wait_texts(COUNT + 1);
    for storage in &storages {
        fs::rename(storage.join("overlay-containers"), storage.join("aside")).expect("a move");
    }
    collector.wait("64 of the one, and the other's", |collector| {
        collector.accounts().len() == COUNT && collector.metric("containers_unread") == 65.0
    });
}
