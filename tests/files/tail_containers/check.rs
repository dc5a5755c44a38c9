//! `check`: what there is, from where, what is wrong with it and how to mend it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::nobody::{
    as_nobody, for_the_owner_alone, program_for_anybody, CAPABILITY, NOBODY, NO_CAPABILITY,
};
use test_kit::played_api::{PlayedApi, PlayedContainer};
use test_kit::pod_root::PodRoot;
use test_kit::pty::Killed;
use test_kit::tail_containers::{check, command, page, row, run};
use test_kit::{holds_within, skip};

/// The fix of what is wrong in so many words.
fn fix<'p>(page: &'p str, problem: &str) -> &'p str {
    let mut lines = page
        .lines()
        .skip_while(|line| !line.contains(problem))
        .skip(1);
    let fix = lines
        .next()
        .and_then(|line| line.trim().strip_prefix("-> "));
    fix.unwrap_or_else(|| panic!("no {problem:?} in {page}"))
}

fn set_driver(log: &LogWriter, driver: &str, options: &serde_json::Value) {
    let config = json!({"LogConfig": {"Type": driver, "Config": options}});
    fs::write(log.dir.join("hostconfig.json"), config.to_string()).expect("the folder is ours");
}

/// Everything below a folder: its name, its bytes and when it was changed.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let metadata = entry.metadata().expect("it is there");
        if metadata.is_dir() {
            all.extend(contents(&entry.path()));
        } else {
            let bytes = fs::read(entry.path()).expect("a file");
            all.push((entry.path(), bytes, metadata.modified().expect("a time")));
        }
    }
    all.sort();
    all
}

#[test]
fn each_container_is_shown_with_the_source_that_it_would_be_read_from() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("one");
    web.rotate(3, true);
    let local = root.created_container('b', "own");
    set_driver(&local, "local", &json!({}));
    fs::create_dir(local.dir.join("local-logs")).expect("a folder");
    fs::write(local.dir.join("local-logs/container.log"), "").expect("a file");
    let sent = root.created_container('c', "sent");
    set_driver(
        &sent,
        "syslog",
        &json!({"syslog-address": "udp://127.0.0.1:1"}),
    );
    fs::write(sent.dir.join("container-cached.log"), "").expect("a file");
    let later = root.created_container('d', "later");
    later.write_config("later", false);
    root.container('e', "unwanted");
    let (page, is_all_read) = check(root.path(), &["--exclude", "name=unwanted"]);
    assert!(is_all_read, "{page}");
    assert!(
        page.starts_with(&format!(
            "Docker, {}/containers: 5 containers\n",
            root.path().display()
        )),
        "{page}"
    );
    assert_eq!(row(&page, "web"), "shop/web:1.2 json-file file");
    assert_eq!(row(&page, "own"), "shop/web:1.2 local local");
    assert_eq!(row(&page, "sent"), "shop/web:1.2 syslog cache");
    assert_eq!(
        row(&page, "later"),
        "shop/web:1.2 json-file file, once it is started"
    );
    assert_eq!(
        row(&page, "unwanted"),
        "shop/web:1.2 json-file not read: it matches Exclude name=unwanted"
    );
    assert!(page.contains("not used: no container needs it"), "{page}");
    assert!(page.ends_with("\nEverything can be read.\n"), "{page}");
}

#[test]
fn pods_and_a_machine_without_containers_are_shown_as_well() {
    let pods = PodRoot::new();
    pods.container("shop", "cart", "web").line("one");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tail-containers"));
    command
        .args(["check", "--runtime", "cri", "--pod-logs"])
        .arg(pods.pods());
    let (page, is_all_read) = page(&command.output().expect("tail-containers runs"));
    assert!(
        is_all_read && row(&page, "shop/cart/web") == "- - file",
        "{page}"
    );
    let (page, is_all_read) = check(DockerRoot::new().path(), &[]);
    assert!(
        is_all_read && page.contains("/containers: 0 containers\n"),
        "{page}"
    );
    assert!(
        page.ends_with("There is no container yet; new ones can be read.\n"),
        "{page}"
    );
}

#[test]
fn what_no_file_has_is_said_with_what_mends_it() {
    let root = DockerRoot::new();
    let journal = root.created_container('a', "journal");
    set_driver(&journal, "journald", &json!({}));
    let nothing = root.created_container('b', "nothing");
    set_driver(&nothing, "none", &json!({}));
    let uncached = root.created_container('c', "uncached");
    set_driver(&uncached, "gelf", &json!({"cache-disabled": "true"}));
    let socket = root.path().join("no.sock");
    let (page, is_all_read) = check(
        root.path(),
        &["-o", &format!("Docker_Socket={}", socket.display())],
    );
    assert!(!is_all_read, "{page}");
    assert_eq!(
        row(&page, "journal"),
        "shop/web:1.2 journald api: log driver journald keeps no file, and Journal_Path is off"
    );
    assert_eq!(
        row(&page, "nothing"),
        "shop/web:1.2 none nowhere: log driver none keeps nothing"
    );
    assert!(
        fix(&page, "container nothing: log driver none").contains("--log-driver json-file"),
        "{page}"
    );
    assert!(
        fix(&page, "container uncached: log driver gelf").contains("cache-disabled=true"),
        "{page}"
    );
    assert!(
        fix(&page, "2 containers available only through the API: ").contains("docker"),
        "{page}"
    );
    let (page, is_all_read) = check(
        root.path(),
        &["-o", "Docker_Socket=off", "--include", "name=journal"],
    );
    assert!(!is_all_read && page.contains("Docker's API  off"), "{page}");
    assert!(
        row(&page, "journal").ends_with("Journal_Path is off, and Docker_Socket is off"),
        "{page}"
    );
    // What is left out is nobody's trouble.
    assert!(check(root.path(), &["--include", "name=web"]).1);
}

#[test]
fn metadata_that_records_will_not_have_whole_is_named() {
    let root = DockerRoot::new();
    root.container('a', "web");
    let long = root.container('b', "long");
    long.write_config_with(
        "long",
        true,
        json!({"com.docker.compose.project": "p".repeat(10_000)}),
        &[],
    );
    let (page, is_all_read) = check(root.path(), &[]);
    assert!(is_all_read, "{page}");
    assert_eq!(
        page.matches("exceed a limit and are cut").count(),
        1,
        "{page}"
    );
    assert!(
        fix(&page, "container long: its names, labels").contains("shorten them"),
        "{page}"
    );
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_the_right_that_is_lacking() {
    let test = "tail_containers::check::a_file_that_may_not_be_read_is_named_and_the_right_that_is_lacking";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("one");
    let check = |capabilities: &[&str]| {
        let mut command = as_nobody(capabilities, NOBODY, &program);
        command
            .args(["check", "--runtime", "docker", "--docker-root"])
            .arg(root.path());
        page(&command.output().expect("setpriv runs"))
    };
    // Of one log alone, of the metadata, and of all.
    use std::os::unix::fs::PermissionsExt;
    for folder in [root.path(), &root.path().join("containers"), &log.dir] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let close = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours")
    };
    close(&log.log);
    let (page, is_all_read) = check(&NO_CAPABILITY);
    assert!(!is_all_read, "{page}");
    assert!(
        page.contains("nowhere: its file cannot be read: Permission denied"),
        "{page}"
    );
    assert!(
        fix(&page, &format!("{}: Permission denied", log.log.display()))
            .contains("CAP_DAC_READ_SEARCH")
    );
    for_the_owner_alone(root.path());
    let (page, is_all_read) = check(&NO_CAPABILITY);
    let problem = format!("{}/containers: Permission denied", root.path().display());
    assert!(
        !is_all_read && fix(&page, &problem).contains("CAP_DAC_READ_SEARCH"),
        "{page}"
    );
    assert!(page.contains("cannot be read: Permission denied"), "{page}");
    let (page, is_all_read) = check(&CAPABILITY);
    assert!(
        is_all_read && row(&page, "web") == "shop/web:1.2 json-file file",
        "{page}"
    );
}

#[test]
fn a_root_that_is_not_there_and_a_planted_link_are_said() {
    let root = DockerRoot::new();
    let planted = root.created_container('a', "planted");
    std::os::unix::fs::symlink("/etc/passwd", &planted.log).expect("a link");
    let (page, is_all_read) = check(root.path(), &["-o", "Docker_Socket=off"]);
    assert!(!is_all_read, "{page}");
    assert!(
        row(&page, "planted").contains("nowhere: its file cannot be read"),
        "{page}"
    );
    assert!(
        fix(&page, &planted.log.display().to_string()).contains("remove it"),
        "{page}"
    );
    let (page, is_all_read) = check(&root.path().join("nowhere"), &[]);
    assert!(!is_all_read && page.contains(": not found"), "{page}");
    let mended = fix(&page, "the folder does not exist");
    assert!(
        mended.contains("DockerRootDir") || mended.contains("mount it"),
        "{mended}"
    );
}

#[test]
fn the_limits_of_the_kernel_are_tried_and_the_one_to_raise_is_named() {
    let test =
        "tail_containers::check::the_limits_of_the_kernel_are_tried_and_the_one_to_raise_is_named";
    let root = DockerRoot::new();
    let digits = "0123456789";
    digits
        .chars()
        .for_each(|digit| root.container(digit, &format!("c{digit}")).line("hello"));
    let checked = command(root.path(), &["check"]);
    let behind = |limits: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            &format!("{limits} && exec \"$@\""),
            "sh",
        ]);
        command
            .arg(checked.get_program())
            .args(checked.get_args())
            .stdin(Stdio::null());
        command.output().expect("unshare runs")
    };
    // Descriptors take no namespace.
    let few = Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$@\"", "sh"])
        .arg(checked.get_program())
        .args(checked.get_args())
        .output()
        .expect("sh runs");
    let (few, is_all_read) = page(&few);
    assert!(!is_all_read, "{few}");
    assert!(
        fix(&few, "open, but only 40 may be").contains("ulimit -n 1024"),
        "{few}"
    );
    let can = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "test",
            "-w",
            "/proc/sys/user/max_inotify_watches",
        ])
        .status();
    if !can.is_ok_and(|status| status.success()) {
        return skip(test, "no user namespace can be made here");
    }
    for (kind, limit, raised) in [
        ("instances", 0, 1024),
        ("instances", 2, 1024),
        ("watches", 0, 524_288),
        ("watches", 15, 524_288),
    ] {
        let output = behind(&format!("echo {limit} >/proc/sys/user/max_inotify_{kind}"));
        let (page, is_all_read) = page(&output);
        assert!(
            is_all_read && page.contains("Worth knowing:"),
            "{kind} {limit}: {page}"
        );
        let wanted = format!("sysctl user.max_inotify_{kind}={raised}");
        assert!(
            fix(&page, "notification").starts_with(&wanted),
            "{kind} {limit}: {page}"
        );
    }
    let (enough, _) = page(&behind("echo 3 >/proc/sys/user/max_inotify_instances"));
    assert!(
        !enough.contains("Worth knowing:") && enough.contains("22 test watches added"),
        "{enough}"
    );
}

#[test]
fn a_db_is_looked_at_and_neither_made_nor_moved_and_no_log_is_touched() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("one");
    log.rotate(3, true);
    log.line("two");
    let dbs = tempfile::tempdir().expect("a folder");
    let path = dbs.path().join("positions.db");
    let db = format!("DB={}", path.display());
    let looked_at = |part: &str, expected: bool| {
        let before = (contents(root.path()), contents(dbs.path()));
        let (page, is_all_read) = check(root.path(), &["-o", &db]);
        assert!(
            page.contains(part) && is_all_read == expected,
            "{part}: {page}"
        );
        assert_eq!(
            (contents(root.path()), contents(dbs.path())),
            before,
            "{part}"
        );
        page
    };
    looked_at("does not exist yet and can be created", true);
    let printed = |output: Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let all = printed(run(
        root.path(),
        &["--no-follow", "--save-position", "-o", &db],
    ));
    assert_eq!(all, "web | one\nweb | two\n");
    log.line("three");
    looked_at("is valid and has positions of 1 container", true);
    assert_eq!(
        printed(run(
            root.path(),
            &["--no-follow", "--save-position", "-o", &db]
        )),
        "web | three\n"
    );
    let follower = command(root.path(), &["--save-position", "-o", &db])
        .stdout(Stdio::piped())
        .spawn();
    let mut follower = Killed(follower.expect("it runs"));
    log.line("four");
    let mut lines = BufReader::new(follower.0.stdout.take().expect("a pipe")).lines();
    assert_eq!(
        lines.next().expect("a line").expect("readable"),
        "web | four"
    );
    // A line is printed before its position is written.
    let end = fs::metadata(&log.log).expect("the log").len();
    let is_saved = || {
        let saved = fs::read(&path).expect("positions");
        saved.windows(8).any(|bytes| bytes == end.to_le_bytes())
    };
    assert!(holds_within(PATIENCE, is_saved), "it is not saved");
    let used = format!(
        "is in use by tail-containers (pid {}) and has positions of 1",
        follower.0.id()
    );
    let page = looked_at(&used, true);
    assert!(
        fix(&page, "has it open").starts_with("none needed if that is the Fluent Bit"),
        "{page}"
    );
    drop(follower);
    fs::write(&path, vec![0; 5_000]).expect("ours");
    let page = looked_at("is not a valid checkpoint", true);
    assert!(page.contains("the next start renames it"), "{page}");
    fs::write(&path, "no checkpoint at all").expect("ours");
    let page = looked_at("is not a checkpoint of container_logs", false);
    assert!(
        fix(&page, "Fluent Bit does not start with it").contains("that nothing else uses"),
        "{page}"
    );
    let elsewhere = format!("DB={}", dbs.path().join("none/positions.db").display());
    let (page, is_all_read) = check(root.path(), &["-o", &elsewhere]);
    assert!(
        !is_all_read && fix(&page, "none/positions.db: No such file").contains("mkdir"),
        "{page}"
    );
}

/// A label that does nothing, or cannot be understood, is no reason to fail.
#[test]
fn labels_that_are_not_obeyed_are_listed_with_the_option_that_obeys_them() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let labels =
        serde_json::json!({"fluentbit.io/tag": "parse.x", "fluentbit.io/multiline": "pyton"});
    log.write_config_with("web", true, labels, &[]);
    log.line("one");
    let (page, is_all_read) = check(root.path(), &["-o", "Docker_Socket=off"]);
    assert!(is_all_read, "{page}");
    for part in [
        "container web: label fluentbit.io/tag is ignored: Label_Hints does not allow it",
        "-> add it to Label_Hints if you trust the authors of the images",
        "container web: label fluentbit.io/multiline: `pyton` is neither",
    ] {
        assert!(page.contains(part), "no `{part}` in {page}");
    }
    let (page, _) = check(
        root.path(),
        &["-o", "Docker_Socket=off", "-o", "Label_Hints=tag"],
    );
    assert!(!page.contains("fluentbit.io/tag"), "{page}");
}

#[test]
fn a_rule_that_matches_no_container_is_listed() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("one");
    let rules = "name=web,image=web:1.2,image=shop/web:1.2";
    let rules = ["-o", &format!("Include={rules}"), "-o", "Exclude=name=we"];
    let (page, is_all_read) = check(
        root.path(),
        &[&["-o", "Docker_Socket=off"], &rules[..]].concat(),
    );
    assert!(is_all_read, "{page}");
    let unused = "Include image=web:1.2, Exclude name=we: it matches none of these containers";
    assert!(page.contains(unused), "no `{unused}` in {page}");
    let empty = DockerRoot::new();
    let (page, _) = check(
        empty.path(),
        &[&["-o", "Docker_Socket=off"], &rules[..]].concat(),
    );
    assert!(!page.contains("matches none"), "{page}");
}

#[test]
fn json_has_the_documented_fields_and_the_exit_code_of_the_page() {
    let root = DockerRoot::new();
    root.container('a', "web\u{1b}[2J").line("one");
    let nothing = root.created_container('b', "nothing");
    set_driver(&nothing, "none", &json!({}));
    root.container('c', "unwanted");
    let json = |arguments: &[&str]| {
        let output = run(root.path(), &[&["check", "--json"], arguments].concat());
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains('\u{1b}'), "{text}");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["is_all_read"], output.status.success(), "{report}");
        report
    };
    let report = json(&["--exclude", "name=unwanted"]);
    let docker = &report["runtimes"][0];
    assert_eq!(
        (&report["schema"], &docker["runtime"], &docker["state"]),
        (&1.into(), &"Docker".into(), &"listed".into())
    );
    let containers = docker["containers"].as_array().expect("a list");
    let of = |name: &str| {
        let mut all = containers.iter();
        let found = all.find(|it| it["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {report}"))
    };
    assert_eq!(
        *of("web\u{1b}[2J"),
        json!({
            "name": "web\u{1b}[2J", "id": "a".repeat(64), "image": "shop/web:1.2",
            "driver": "json-file", "source": "file", "detail": "file",
        })
    );
    assert_eq!(of("unwanted")["source"], "excluded");
    assert_eq!(of("nothing")["source"], "nowhere");
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["prevents_reading"], &finding["reason"]),
        (&true.into(), &"driver_none".into())
    );
    let docs = include_str!("../../../docs/tail-containers.md");
    let fields = [&report, docker, &containers[0], &report["apis"][0], finding];
    for field in fields
        .iter()
        .flat_map(|it| it.as_object().expect("an object").keys())
    {
        let forms = [format!("`{field}`"), format!("`{field}[]`")];
        let is_documented = forms.iter().any(|it| docs.contains(it));
        assert!(is_documented, "docs/tail-containers.md has no {field}");
    }
    assert_eq!(json(&["--include", "name=web*"])["is_all_read"], true);
}

#[test]
fn options_that_do_nothing_are_listed() {
    let root = DockerRoot::new();
    root.container('a', "web");
    let (page, is_all_read) = check(
        root.path(),
        &[
            "-o",
            "Keep_Log=on",
            "-o",
            "Podman_Root=/none",
            "--exclude",
            "user=*",
        ],
    );
    assert!(is_all_read, "{page}");
    for inert in [
        "option Keep_Log: it has no effect: Merge_Log is off",
        "option Podman_Root: it has no effect: Runtime is docker",
        "option Exclude user=*: it has no effect: no containers of users are read",
    ] {
        assert!(page.contains(inert), "{inert}: {page}");
    }
    let (page, _) = check(root.path(), &[]);
    assert!(!page.contains("has no effect"), "{page}");
    assert!(
        page.contains("not set: each start of Fluent Bit sends every log again"),
        "{page}"
    );
}

/// A daemon that runs here has a container that is in no folder, one with another log driver, and
/// none of a folder that was left.
#[test]
fn what_a_running_daemon_says_is_compared_only_if_asked_for() {
    let root = DockerRoot::new();
    let web = root.container('a', "web");
    set_driver(&web, "json-file", &json!({}));
    let other = root.container('b', "other");
    set_driver(&other, "json-file", &json!({}));
    root.container('c', "left").line("nobody has it");
    let elsewhere = "d".repeat(64);
    let played = |name: &str, driver: &str| PlayedContainer::ended(name, driver, &[]);
    let api = PlayedApi::of_docker([
        (web.id.clone(), played("web", "json-file")),
        (other.id.clone(), played("other", "local")),
        (elsewhere, played("elsewhere", "json-file")),
    ]);
    let socket = format!("Docker_Socket={}", api.socket());
    let (page, is_all_read) = check(root.path(), &["-o", &socket]);
    assert!(is_all_read && !page.contains("itself"), "{page}");
    assert!(api.requests("/").is_empty(), "nobody was asked");

    let (page, is_all_read) = check(root.path(), &["-o", &socket, "--ask"]);
    assert!(!is_all_read, "{page}");
    assert!(
        page.contains("Docker itself lists 3 containers; 1 of them is not found here\n"),
        "{page}"
    );
    let lost = "elsewhere: Docker's daemon has it, but it is in none of the folders that are read";
    assert!(fix(&page, lost).contains("Docker_Root"), "{page}");
    let differs =
        "container other: its files name the log driver json-file, but Docker's daemon local";
    assert!(fix(&page, differs).contains("restart the daemon"), "{page}");
    let left = "container left: Docker's daemon does not have it";
    assert!(fix(&page, left).starts_with("remove "), "{page}");

    let output = run(root.path(), &["check", "-o", &socket, "--ask", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["asked"][0]["state"], "answers", "{report}");
    drop(api);
    let (page, _) = check(root.path(), &["-o", &socket, "--ask"]);
    assert!(!page.contains("itself"), "no socket, nobody to ask: {page}");
}
