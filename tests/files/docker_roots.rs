//! Where Docker keeps its containers: roots that the machine's own files tell, several at once,
//! folders of a daemon with userns-remap, and the rootless Docker of users. The machine's files
//! are the test's own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;
use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::nobody::{as_nobody, program_for_anybody, NOBODY, NO_CAPABILITY};
use test_kit::skip;
use test_kit::tail_containers::{check, page, program, row};
use test_kit::user_storage::user;

const OPTIONS: [(&str, &str); 3] = [
    ("Docker_Root", "auto"),
    ("Docker_Socket", "off"),
    ("Rescan_Interval", "50ms"),
];

/// A machine without any container; its files are below the path of this root.
fn machine() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn start(machine: &Path, more: &[(&str, &str)]) -> Collector {
    Collector::start(machine, &[&OPTIONS[..], more].concat())
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it has one")).expect("folders");
    fs::write(path, text).expect("a file");
}

fn data_root(root: &Path) -> String {
    format!("{{\"data-root\": \"{}\"}}", root.display())
}

#[test]
fn the_data_root_of_daemon_json_is_found_and_the_one_left_over_is_not_read() {
    for key in ["data-root", "graph"] {
        let machine = machine();
        let left_over = DockerRoot::at(&machine.path().join("var/lib/docker"));
        left_over.container('a', "old").line("old");
        let moved = DockerRoot::new();
        moved.container('b', "web").line("new");
        let settings = data_root(moved.path()).replace("data-root", key);
        write(&machine.path().join("etc/docker/daemon.json"), &settings);
        let collector = start(machine.path(), &[]);
        assert_eq!(collector.wait_texts(1), ["new"], "{key}");
        let said = format!(
            "following containers below {}/containers",
            moved.path().display()
        );
        assert!(collector.has_logged(&said), "{key}");
        assert_eq!(collector.count(), 1);
    }
}

/// The administrator moves the data root and restarts dockerd, while we run.
#[test]
fn a_data_root_that_daemon_json_moves_while_we_run_is_followed() {
    let machine = machine();
    let before = DockerRoot::at(&machine.path().join("var/lib/docker"));
    before.container('a', "web").line("1");
    let collector = start(machine.path(), &[]);
    assert_eq!(collector.wait_texts(1), ["1"]);
    let moved = DockerRoot::new();
    moved.container('b', "web").line("2");
    let settings = data_root(moved.path());
    write(&machine.path().join("etc/docker/daemon.json"), &settings);
    assert_eq!(collector.wait_texts(2), ["1", "2"]);
}

/// What is said of settings that are not valid.
const MOVED: &str =
    "containers that it moves elsewhere are not found; those in the usual place are read";

/// An editor has written a part of it. The containers that are known are read on.
#[test]
fn settings_that_are_not_valid_are_said_and_end_no_container() {
    let (machine, moved) = (machine(), DockerRoot::new());
    let settings = machine.path().join("etc/docker/daemon.json");
    let usual = DockerRoot::at(&machine.path().join("var/lib/docker"));
    usual.container('c', "usual");
    let mut web = moved.container('a', "web");
    write(&settings, &data_root(moved.path()));
    let collector = start(machine.path(), &[]);
    web.line("1");
    collector.wait_texts(1);
    write(&settings, "{\"data-root\": ");
    let said = format!("cannot read {}: it is not valid: EOF", settings.display());
    collector.wait(&said, |collector| {
        collector.has_logged(&said) && collector.has_logged(MOVED)
    });
    web.line("2");
    assert_eq!(collector.wait_texts(2), ["1", "2"]);
    write(&settings, &data_root(moved.path()));
    moved.container('b', "new").line("3");
    assert_eq!(collector.wait_texts(3).last().expect("three"), "3");
    web.line("4");
    assert_eq!(collector.wait_texts(4).last().expect("four"), "4");
}

#[test]
fn a_users_settings_that_are_not_valid_are_said_and_the_usual_storage_is_read() {
    let machine = machine();
    DockerRoot::at(&machine.path().join("var/lib/docker"));
    let (home, mut of_ada) = rootless(machine.path(), "ada", ".local/share/docker", 'a');
    of_ada.line("ada");
    let settings = home.join(".config/docker/daemon.json");
    write(&settings, "{\"data-root\": [\"/srv\"]}");
    let collector = start(machine.path(), &[("Docker_Users", "ada")]);
    assert_eq!(collector.wait_texts(1), ["ada"]);
    let said = format!("cannot read {}: it is not valid: ", settings.display());
    collector.wait(&said, |collector| {
        collector.has_logged(&said) && collector.has_logged(MOVED)
    });
}

#[test]
fn the_command_line_of_the_running_daemon_tells_the_root() {
    let (machine, moved) = (machine(), DockerRoot::new());
    moved.container('b', "web").line("new");
    write(&machine.path().join("var/run/docker.pid"), "4711");
    let command = format!(
        "/usr/bin/dockerd\0--data-root\0{}\0",
        moved.path().display()
    );
    write(&machine.path().join("proc/4711/cmdline"), &command);
    assert_eq!(start(machine.path(), &[]).wait_texts(1), ["new"]);
}

/// A machine need not have a snap, whatever the runtime that is asked for.
#[test]
fn that_there_is_no_snap_is_not_worth_a_word() {
    let machine = machine();
    let root = DockerRoot::at(&machine.path().join("var/lib/docker"));
    root.container('a', "web").line("1");
    let collector = start(machine.path(), &[("Runtime", "docker")]);
    collector.wait_texts(1);
    // The next rescan has been.
    root.container('b', "new").line("2");
    collector.wait_texts(2);
    assert!(!collector.has_logged("snap"));
}

/// dockerd of a package and dockerd of a snap run side by side.
#[test]
fn a_snaps_root_is_read_beside_the_usual_one() {
    let machine = machine();
    for (path, digit, text) in [
        ("var/lib/docker", 'a', "package"),
        ("var/snap/docker/common/var-lib-docker", 'b', "snap"),
    ] {
        DockerRoot::at(&machine.path().join(path))
            .container(digit, text)
            .line(text);
    }
    let collector = start(machine.path(), &[]);
    let mut texts = collector.wait_texts(2);
    texts.sort();
    assert_eq!(texts, ["package", "snap"]);
    assert!(collector.has_logged("var/lib/docker/containers, "));
    assert!(collector.has_logged("var/snap/docker/common/var-lib-docker/containers"));
}

#[test]
fn several_roots_are_a_list_or_the_option_repeated() {
    let (machine, one, other) = (machine(), DockerRoot::new(), DockerRoot::new());
    one.container('a', "one").line("one");
    other.container('b', "other").line("other");
    let (one, other) = (one.path().display(), other.path().display());
    let list = format!("{one}, {other}");
    for options in [
        vec![("Docker_Root", list)],
        vec![
            ("Docker_Root", one.to_string()),
            ("Docker_Root", other.to_string()),
        ],
    ] {
        let options: Vec<_> = options
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let collector = Collector::start(machine.path(), &options);
        let mut texts = collector.wait_texts(2);
        texts.sort();
        assert_eq!(texts, ["one", "other"]);
    }
}

/// As dockerd makes them: `<uid>.<gid>` beside the folder that was used before.
fn remapped(root: &DockerRoot) -> DockerRoot {
    DockerRoot::at(&root.path().join("165536.165536"))
}

/// dockerd is started with userns-remap on a used root, and without it again.
#[test]
fn containers_of_a_daemon_with_userns_remap_are_read_beside_those_of_before() {
    let root = DockerRoot::new();
    root.container('a', "stale").line("stale");
    let db = root.path().join("positions.db").display().to_string();
    let options = [
        ("Rescan_Interval", "50ms"),
        ("DB", &*db),
        ("Docker_Socket", "off"),
    ];
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(1), ["stale"]);
    let mut web = remapped(&root).container('b', "web");
    web.line("1");
    assert_eq!(collector.wait_texts(2), ["stale", "1"]);
    web.rotate(3, false);
    web.line("2");
    assert_eq!(collector.wait_texts(3), ["stale", "1", "2"]);
    collector.stop();
    web.line("3");
    let collector = Collector::start(root.path(), &options);
    assert_eq!(collector.wait_texts(1), ["3"], "each once over a restart");
    let dir = web.dir.clone();
    web.remove();
    assert!(!dir.exists());
    collector.wait("the container is gone", |collector| {
        collector.accounts().len() == 1
    });
}

/// A host on which dockerd has always run with userns-remap has no other folder.
#[test]
fn a_fresh_daemon_with_userns_remap_has_no_other_folder() {
    let machine = machine();
    let root = DockerRoot::at(&machine.path().join("var/lib/docker"));
    fs::remove_dir(root.path().join("containers")).expect("it is empty");
    let remapped = remapped(&root);
    remapped.container('b', "web").line("1");
    let collector = start(machine.path(), &[]);
    assert_eq!(collector.wait_texts(1), ["1"]);
    assert!(collector.has_logged("165536.165536/containers"));
    remapped.container('c', "later").line("2");
    assert_eq!(collector.wait_texts(2), ["1", "2"]);
    // userns-remap is turned off.
    fs::create_dir(root.path().join("containers")).expect("a folder");
    root.container('d', "plain").line("3");
    remapped.container('e', "last").line("4");
    let mut texts = collector.wait_texts(4);
    texts.sort();
    assert_eq!(texts, ["1", "2", "3", "4"]);
}

#[test]
fn check_shows_the_folders_of_userns_remap_and_what_hides_them() {
    let root = DockerRoot::new();
    let remapped = remapped(&root);
    root.container('a', "stale").line("1");
    remapped.container('b', "web").line("1");
    let (said, is_all_read) = check(root.path(), &["-o", "Docker_Socket=off"]);
    assert!(is_all_read && said.contains("2 containers"), "{said}");
    let shown = format!(
        "{0}/containers, {0}/165536.165536/containers",
        root.path().canonicalize().expect("it is there").display()
    );
    assert!(said.contains(&shown), "{said}");
    assert_eq!(row(&said, "web"), "shop/web:1.2 json-file file");
}

/// The names in the data root may not be listed: a folder of userns-remap would not be found.
#[test]
fn a_data_root_that_may_not_be_listed_is_said_and_its_containers_are_read() {
    let test =
        "docker_roots::a_data_root_that_may_not_be_listed_is_said_and_its_containers_are_read";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    use std::os::unix::fs::PermissionsExt;
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("1");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours")
    };
    mode(root.path(), 0o711);
    for folder in [&root.path().join("containers"), &web.dir] {
        mode(folder, 0o755);
    }
    let output = as_nobody(&NO_CAPABILITY, NOBODY, &program)
        .args(["check", "--runtime", "docker", "--docker-root"])
        .arg(root.path())
        .output();
    let (said, is_all_read) = page(&output.expect("setpriv runs"));
    assert!(is_all_read, "{said}");
    let hidden = format!("{}/*.*: Permission denied", root.path().display());
    assert!(said.contains(&hidden), "{said}");
    assert!(said.contains("with userns-remap are not found"), "{said}");
    assert_eq!(row(&said, "web"), "shop/web:1.2 json-file file");
}

/// What the page says of a machine whose `/etc` is `etc`, in a mount namespace of its own.
#[test]
fn check_finds_a_root_that_daemon_json_moves() {
    let test = "docker_roots::check_finds_a_root_that_daemon_json_moves";
    let can = Command::new("unshare").args(["--mount", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        return skip(test, "it takes root and unshare");
    }
    let (etc, moved) = (machine(), DockerRoot::new());
    moved.container('b', "web").line("new");
    write(
        &etc.path().join("docker/daemon.json"),
        &data_root(moved.path()),
    );
    let run = |arguments: &[&str]| {
        let script = format!(
            "mount --bind '{}' /etc && exec \"$@\"",
            etc.path().display()
        );
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(program())
            .args(["check", "--runtime", "docker", "-o", "Docker_Socket=off"])
            .args(arguments)
            .output();
        page(&output.expect("unshare runs"))
    };
    let (said, _) = run(&[]);
    let shown = format!("Docker, {}/containers: 1 container", moved.path().display());
    assert!(said.contains(&shown), "{said}");
    assert_eq!(row(&said, "web"), "shop/web:1.2 json-file file");
    let other = DockerRoot::new();
    let (said, _) = run(&["--docker-root", &other.path().display().to_string()]);
    assert!(
        said.contains("Docker's daemon keeps its containers there, but Docker_Root does not"),
        "{said}"
    );
    assert!(!said.contains("snap"), "there is none: {said}");
    write(&etc.path().join("docker/daemon.json"), "{");
    let (said, is_all_read) = run(&[]);
    let file = "/etc/docker/daemon.json";
    let is_said = said.contains(file) && said.contains("not valid: EOF");
    assert!(!is_all_read && is_said, "{said}");
}

/// The home of a user, and the container in it of the user's rootless Docker.
fn rootless(machine: &Path, name: &str, root: &str, digit: char) -> (PathBuf, LogWriter) {
    let home = machine.join("home").join(name);
    user(machine, name, &home);
    let root = DockerRoot::at(&home.join(root));
    (home, root.container(digit, "web"))
}

#[test]
fn rootless_docker_is_read_for_users_who_are_named_and_records_say_whose() {
    let machine = machine();
    let (_, mut of_ada) = rootless(machine.path(), "ada", ".local/share/docker", 'a');
    let (home, mut of_eve) = rootless(machine.path(), "eve", "docker", 'a');
    let settings = data_root(&home.join("docker"));
    write(&home.join(".config/docker/daemon.json"), &settings);
    of_ada.line("ada");
    of_eve.line("eve");
    let nobody = DockerRoot::at(&machine.path().join("var/lib/docker"));
    nobody.container('a', "web").line("root");
    let collector = start(machine.path(), &[]);
    assert_eq!(collector.wait_texts(1), ["root"], "nobody's unless named");
    drop(collector);
    let options = [
        ("Docker_Users", "all"),
        ("Tag_Template", "docker.{name}.{user}"),
    ];
    let collector = start(machine.path(), &options);
    collector.wait_texts(3);
    let mut said: Vec<[String; 4]> = collector
        .tagged()
        .iter()
        .map(|(tag, record)| {
            let text = |key| record.text(key).to_owned();
            [
                tag.clone().unwrap_or_default(),
                text("log"),
                text("user"),
                text("image"),
            ]
        })
        .collect();
    said.sort();
    let want = [
        ["docker._ada_web.ada", "ada", "ada", "shop/web:1.2"],
        ["docker._eve_web.eve", "eve", "eve", "shop/web:1.2"],
        ["docker.web._", "root", "", "shop/web:1.2"],
    ];
    assert_eq!(said, want.map(|row| row.map(str::to_owned)));
    // As dockerd rotates, live.
    of_ada.rotate(3, true);
    of_ada.line("ada again");
    assert_eq!(
        collector.wait_texts(4).last().map(String::as_str),
        Some("ada again")
    );
}

/// A user's metadata and logs are read as the user's alone.
#[test]
fn nothing_is_read_that_a_rootless_docker_only_points_at() {
    let machine = machine();
    let (home, mut log) = rootless(machine.path(), "mallory", ".local/share/docker", 'a');
    let secret = DockerRoot::new();
    let mut target = secret.container('c', "secret");
    target.line("secret");
    let containers = home.join(".local/share/docker/containers");
    symlink(&target.dir, containers.join("c".repeat(64))).expect("a symlink");
    let linked = DockerRoot::at(&home.join(".local/share/docker")).created_container('d', "linked");
    symlink(&target.log, &linked.log).expect("a symlink");
    fs::remove_file(linked.dir.join("config.v2.json")).expect("it is ours");
    symlink(
        target.dir.join("config.v2.json"),
        linked.dir.join("config.v2.json"),
    )
    .expect("a symlink");
    let collector = start(machine.path(), &[("Docker_Users", "mallory")]);
    collector.wait("the symlink was looked at", |collector| {
        collector.has_logged("symbolic links")
    });
    log.line("own");
    assert_eq!(collector.wait_texts(1), ["own"]);
    let names: Vec<String> = collector
        .accounts()
        .iter()
        .map(|account| account.name())
        .collect();
    assert!(
        names.iter().all(|name| !name.contains("secret")),
        "{names:?}"
    );
    if !geteuid().is_root() {
        return skip(
            "docker_roots::nothing_is_read_that_a_rootless_docker_only_points_at (hard link)",
            "it takes root",
        );
    }
    use std::os::unix::fs::chown;
    chown(&target.log, Some(12345), None).expect("we are root");
    fs::remove_file(&linked.log).expect("it is ours");
    fs::hard_link(&target.log, &linked.log).expect("a link");
    collector.wait("the owner was seen", |collector| {
        collector.has_logged("it belongs to uid 12345")
    });
    assert_eq!(collector.count(), 1);
}

/// Two inputs on a machine with a user's containers, one for the user and one for the rest; then
/// a third one for everything.
#[test]
fn two_inputs_are_separated_by_user_and_what_both_read_is_reported_once() {
    let machine = machine();
    let (_, mut of_ada) = rootless(machine.path(), "ada", ".local/share/docker", 'a');
    let root = DockerRoot::at(&machine.path().join("var/lib/docker"));
    let mut of_root = root.container('a', "web");
    of_ada.line("ada");
    of_root.line("root");
    let mut inputs = Vec::new();
    for (rule, want) in [("Include", "ada"), ("Exclude", "root")] {
        let collector = start(machine.path(), &[("Docker_Users", "all"), (rule, "user=*")]);
        let texts = collector.wait_texts(1);
        assert!(texts.iter().all(|text| text == want), "{rule}: {texts:?}");
        for record in collector.records() {
            assert_eq!(record.text("user").is_empty(), want == "root");
        }
        inputs.push(collector);
    }
    let reads = "reads 1 of this input's containers, such as ";
    let times = |inputs: &[Collector]| -> usize {
        let of_one = |input: &Collector| input.times_logged(reads);
        inputs.iter().map(of_one).sum()
    };
    let other = format!(
        "another input of this process, `input over {}`,",
        machine.path().display()
    );
    inputs.push(start(machine.path(), &[("Docker_Users", "all")]));
    // By then each of the first two has compared itself with the other, too.
    inputs[2].wait("one for each of the two", |_| times(&inputs) >= 2);
    assert_eq!(times(&inputs), 2);
    let said = inputs.iter().filter(|input| input.has_logged(&other));
    assert!(said.count() >= 1);
    let names = ["such as web (aaaaaaaaaaaa)", "such as ~ada/"];
    for name in names {
        assert!(inputs.iter().any(|input| input.has_logged(name)), "{name}");
    }
}
