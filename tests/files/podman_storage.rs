//! Podman's storages as its releases leave them: containers that are removed at their end, the
//! database with labels and log drivers, logs elsewhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::process::{Command, Output};

use fluent_bit_container_logs::telemetry::event::Level;
use serde_json::json;
use tempfile::TempDir;

use test_kit::collector::Collector;
use test_kit::podman_storage::{PodmanStorage, Start};
use test_kit::tail_containers::{page, program, row};
use test_kit::user_storage::{user, UsersContainer};

fn start(dir: &TempDir, options: &[(&str, &str)]) -> Collector {
    let all = [("Runtime", "podman"), ("Rescan_Interval", "50ms")];
    let all: Vec<_> = options.iter().chain(&all).copied().collect();
    Collector::start(dir.path(), &all)
}

/// The page of `check`, without an API.
fn check(storage: &PodmanStorage, arguments: &[&str]) -> (String, bool) {
    page(&tail_containers(storage, &[&["check"], arguments].concat()))
}

fn tail_containers(storage: &PodmanStorage, arguments: &[&str]) -> Output {
    let root = format!("Podman_Root={}", storage.path().display());
    let mut command = Command::new(program());
    command.args(arguments).args(["--runtime", "podman"]);
    command.args(["-o", "Podman_Socket=off", "-o", &root]);
    command.args(["-o", "Journal_Path=off"]);
    command.output().expect("tail-containers runs")
}

/// Text, name and image of the records, sorted.
fn said(collector: &Collector, count: usize) -> Vec<[String; 3]> {
    collector.wait_texts(count);
    let keys = ["log", "container_name", "image"];
    let records = collector.records();
    let mut said: Vec<_> = records
        .iter()
        .map(|record| keys.map(|key| record.text(key).to_owned()))
        .collect();
    said.sort();
    said
}

fn unit(name: &str) -> Start<'_> {
    Start {
        name,
        image: "quay.io/shop/unit:2",
        is_removed_at_its_end: true,
        ..Start::default()
    }
}

/// `podman run --rm`, Quadlet and systemd's units are in `volatile-containers.json`.
#[test]
fn a_container_that_is_removed_at_its_end_has_its_name_and_image() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &Start::default()).line("kept");
    let mut shop = storage.run('b', &unit("systemd-shop"));
    shop.line("one");
    let collector = start(&dir, &[("Include", "name=systemd-*")]);
    let wanted = |text: &str, name: &str| [text, name, "quay.io/shop/unit:2"].map(str::to_owned);
    assert_eq!(said(&collector, 1), [wanted("one", "systemd-shop")]);
    storage.run('c', &unit("systemd-cart")).line("two");
    assert_eq!(
        said(&collector, 2),
        [wanted("one", "systemd-shop"), wanted("two", "systemd-cart")]
    );
    storage.rename(&shop, "systemd-store");
    shop.line("three");
    let renamed = wanted("three", "systemd-store");
    collector.wait("the new name", |collector| {
        said(collector, 3).contains(&renamed) || {
            shop.line("three");
            false
        }
    });
    let (page, _) = check(&storage, &[]);
    assert_eq!(
        row(&page, "systemd-cart"),
        "quay.io/shop/unit:2 k8s-file file"
    );
}

/// With `--transient-store`, list and database are in the run root.
#[test]
fn a_container_of_a_transient_store_has_its_name_image_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = PodmanStorage::new(dir.path());
    storage.is_transient = true;
    let quiet = Start {
        labels: json!({"team": "quiet"}),
        ..unit("systemd-quiet")
    };
    storage.run('a', &unit("systemd-shop")).line("one");
    storage.run('b', &quiet).line("not wanted");
    let collector = start(&dir, &[("Exclude", "label=team=quiet")]);
    collector.wait("the exclusion", |collector| {
        collector.has_logged("container systemd-quiet (bbbbbbbbbbbb) is not read")
    });
    assert_eq!(
        said(&collector, 1),
        [["one", "systemd-shop", "quay.io/shop/unit:2"].map(str::to_owned)]
    );
}

#[test]
fn a_containers_labels_variables_and_compose_project_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let with = |name, labels| Start {
        name,
        labels,
        env: &["TIER=front", "SECRET=x"],
        ..Start::default()
    };
    let shop = json!({"com.docker.compose.project": "shop", "team": "a"});
    storage.run('a', &with("web", shop)).line("one");
    let quiet = json!({"com.docker.compose.project": "shop", "fluentbit.io/exclude": "true"});
    storage.run('b', &with("quiet", quiet)).line("not wanted");
    storage
        .run('c', &with("other", json!({})))
        .line("not wanted");
    let options = [
        ("Include", "compose_project=shop"),
        ("Label_Hints", "exclude"),
        ("Labels", "team"),
        ("Env", "TIER"),
        ("Metadata", "flat"),
    ];
    let collector = start(&dir, &options);
    for message in [
        "container quiet (bbbbbbbbbbbb) is not read: it has the label fluentbit.io/exclude",
        "container other (cccccccccccc) is not read: no Include rule matches it",
    ] {
        collector.wait(message, |collector| collector.has_logged(message));
    }
    assert_eq!(collector.wait_texts(1), ["one"]);
    let record = format!("{:?}", collector.records()[0]);
    assert!(
        record.contains("TIER") && record.contains("front"),
        "{record}"
    );
    assert!(
        record.contains("team") && !record.contains("SECRET"),
        "{record}"
    );
    let (page, is_all_read) = check(&storage, &["--include", "compose_project=shop"]);
    assert!(is_all_read && page.contains("web "), "{page}");
}

/// The database has the new name, and `containers.json` in `names`, not in `metadata`.
#[test]
fn a_renamed_container_has_its_new_name() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let mut web = storage.run('a', &Start::default());
    storage.rename(&web, "shop");
    web.line("one");
    let collector = start(&dir, &[("Exclude", "name=web")]);
    let wanted = ["one", "shop", "docker.io/library/nginx:1.27"].map(str::to_owned);
    assert_eq!(said(&collector, 1), [wanted]);
    assert!(check(&storage, &[]).0.contains("  shop "));
}

/// A rule about a label, which is in the database alone.
const OF_TEAM: [&str; 3] = ["--no-follow", "--include", "label=team=a"];

fn of_team() -> Start<'static> {
    Start {
        labels: json!({"team": "a"}),
        ..Start::default()
    }
}

#[test]
fn a_run_without_follow_reads_every_line_beside_a_podman_that_writes_to_a_journal() {
    beside_a_podman_that_writes("DELETE");
}

#[test]
fn a_run_without_follow_reads_every_line_beside_a_podman_that_writes_to_a_log() {
    beside_a_podman_that_writes("WAL");
}

fn beside_a_podman_that_writes(mode: &str) {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let mut web = storage.run('a', &of_team());
    let lines: Vec<String> = (0..10).map(|number| format!("line {number}")).collect();
    lines.iter().for_each(|text| web.line(text));
    let _writing = storage.write_all_the_time(mode);
    for run in 0..5 {
        let output = tail_containers(&storage, &OF_TEAM);
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        let read = text
            .lines()
            .filter(|line| lines.iter().any(|it| line.ends_with(it)));
        assert_eq!(
            (read.count(), text.lines().count()),
            (10, 10),
            "run {run}: {said}"
        );
    }
}

/// A Podman was killed in a transaction: until its next command, nobody knows the labels.
#[test]
fn a_run_without_follow_says_that_a_transaction_is_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &of_team()).line("one");
    fs::write(dir.path().join("storage/db.sql-journal"), "unfinished").unwrap();
    let reason = "it has an unfinished transaction, which the next Podman command completes";
    let output = tail_containers(&storage, &OF_TEAM);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(said.contains("db.sql") && said.contains(reason), "{said}");
    let (page, _) = check(&storage, &["--include", "label=team=a"]);
    assert!(page.contains("db.sql") && page.contains(reason), "{page}");
}

/// `podman rename` while it is read, without waiting for a rescan.
#[test]
fn the_new_name_of_a_container_shows_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let mut web = storage.run('a', &Start::default());
    let unit = storage.run('b', &unit("systemd-shop"));
    web.line("one");
    let collector = start(&dir, &[("Rescan_Interval", "1h")]);
    collector.wait_texts(1);
    storage.rename(&web, "shop");
    storage.rename(&unit, "systemd-store");
    let names = |collector: &Collector| {
        let accounts = collector.accounts().into_iter();
        let mut names: Vec<_> = accounts.map(|account| account.name()).collect();
        names.sort();
        names
    };
    collector.wait("the new names", |collector| {
        names(collector) == ["shop", "systemd-store"]
    });
    web.line("two");
    let wanted = ["two", "shop", "docker.io/library/nginx:1.27"].map(str::to_owned);
    assert!(said(&collector, 2).contains(&wanted));
}

/// As after a database was restored. What Podman started has a log, even if nothing else tells.
#[test]
fn a_container_that_the_database_lacks_has_its_name_and_image_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &Start::default()).line("one");
    storage.run('b', &unit("systemd-shop")).line("two");
    storage.forget('a');
    storage.forget('b');
    fs::remove_file(storage.userdata('b').join("config.json")).unwrap();
    let collector = start(&dir, &[]);
    let wanted = [
        ["one", "web", "docker.io/library/nginx:1.27"],
        ["two", "systemd-shop", "quay.io/shop/unit:2"],
    ];
    assert_eq!(said(&collector, 2), wanted.map(|it| it.map(str::to_owned)));
    let message = "db.sql: it has no entry for aaaaaaaaaaaa, bbbbbbbbbbbb; only these are affected";
    collector.wait(message, |collector| collector.has_logged(message));
    let (page, is_all_read) = check(&storage, &[]);
    assert!(
        is_all_read && page.contains("it has no entry for"),
        "{page}"
    );
    assert_eq!(row(&page, "web"), "docker.io/library/nginx:1.27 - file");
}

/// Lists and database tell the same, so one of them is enough.
#[test]
fn a_damaged_list_is_not_missed_where_the_database_has_all() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &Start::default()).line("one");
    fs::write(
        storage.path().join("overlay-containers/containers.json"),
        "[{",
    )
    .unwrap();
    let collector = start(&dir, &[]);
    let wanted = ["one", "web", "docker.io/library/nginx:1.27"].map(str::to_owned);
    assert_eq!(said(&collector, 1), [wanted]);
    assert!(
        !collector.has_logged("cannot read"),
        "{:?}",
        collector.log()
    );
    let (page, is_all_read) = check(&storage, &[]);
    assert!(is_all_read && !page.contains("Worth knowing"), "{page}");
}

/// `--log-opt path`, where only root can write.
#[test]
fn a_log_elsewhere_is_read_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let elsewhere = Start {
        log: Some(dir.path().canonicalize().unwrap().join("logs/web.log")),
        ..Start::default()
    };
    let mut web = storage.run('a', &elsewhere);
    web.line("one");
    let db = dir.path().join("positions.db").display().to_string();
    let options = [("DB", &*db), ("Podman_Socket", "off")];
    let collector = start(&dir, &options);
    collector.wait_texts(1);
    web.line("two");
    assert_eq!(collector.wait_texts(2), ["one", "two"]);
    fs::rename(&web.log, web.log.with_extension("log.1")).unwrap();
    fs::write(&web.log, test_kit::user_storage::line("three")).unwrap();
    assert_eq!(collector.wait_texts(3), ["one", "two", "three"]);
    collector.stop();
    let (page, is_all_read) = check(&storage, &[]);
    assert!(
        is_all_read && row(&page, "web").ends_with("k8s-file file"),
        "{page}"
    );
    let mut log = fs::OpenOptions::new().append(true).open(&web.log).unwrap();
    std::io::Write::write_all(&mut log, test_kit::user_storage::line("four").as_bytes()).unwrap();
    assert_eq!(start(&dir, &options).wait_texts(1), ["four"]);
}

/// Anybody could put a link to any file there.
#[test]
fn a_log_in_a_folder_that_others_can_write_to_is_not_followed_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let logs = dir.path().canonicalize().unwrap().join("logs");
    let elsewhere = Start {
        log: Some(logs.join("web.log")),
        ..Start::default()
    };
    storage.run('a', &elsewhere).line("one");
    storage
        .run(
            'b',
            &Start {
                name: "db",
                ..Start::default()
            },
        )
        .line("two");
    fs::set_permissions(&logs, Permissions::from_mode(0o1777)).unwrap();
    let collector = start(&dir, &[("Podman_Socket", "off")]);
    collector.wait("the message", |collector| {
        collector.has_logged("users other than root can write to")
    });
    assert_eq!(collector.wait_texts(1), ["two"]);
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 1.0
    });
    let (page, is_all_read) = check(&storage, &[]);
    assert!(
        !is_all_read && page.contains("users other than root can write to"),
        "{page}"
    );
    assert!(page.contains("podman run --log-opt path="), "{page}");
}

#[test]
fn a_container_of_the_journal_is_said_with_its_driver() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let journal = Start {
        driver: "journald",
        ..unit("systemd-shop")
    };
    storage.run('a', &journal);
    let collector = start(&dir, &[("Podman_Socket", "off")]);
    let message = "container systemd-shop (aaaaaaaaaaaa)";
    collector.wait(message, |collector| {
        collector.has_logged(message) && collector.has_logged("log driver journald keeps no file")
    });
    let (page, is_all_read) = check(&storage, &[]);
    assert!(
        !is_all_read && page.contains("log driver journald"),
        "{page}"
    );
    assert!(row(&page, "systemd-shop").contains("journald"), "{page}");
    assert!(page.contains("Podman_Socket not off"), "{page}");
    let of_others = ["Docker", "docker", "nerdctl"].map(|word| page.contains(word));
    assert_eq!(of_others, [false; 3], "{page}");
    let (page, is_all_read) = check(&storage, &["--exclude", "driver=journald"]);
    assert!(is_all_read, "{page}");
}

#[test]
fn a_database_that_cannot_be_read_is_said_and_every_line_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let labelled = Start {
        labels: json!({"team": "quiet"}),
        ..Start::default()
    };
    storage.run('a', &labelled).line("one");
    let whole = dir.path().join("whole");
    fs::rename(storage.database(), &whole).unwrap();
    fs::write(storage.database(), vec![b'x'; 5_000]).unwrap();
    let collector = start(&dir, &[("Exclude", "label=team=quiet")]);
    assert_eq!(collector.wait_texts(1), ["one"]);
    collector.wait("the message", |collector| {
        collector.log().iter().any(|(level, text)| {
            *level == Level::Warn
                && text.contains("db.sql")
                && text.contains("rules about them match")
        })
    });
    let (page, _) = check(&storage, &[]);
    assert!(
        page.contains("db.sql") && page.contains("lack labels"),
        "{page}"
    );
    fs::copy(whole, storage.database()).unwrap();
    collector.wait("the exclusion", |collector| {
        collector.has_logged("is not read: it matches Exclude label=team=quiet")
    });
}

/// The folder of the containers alone is mounted into the container of Fluent Bit.
#[test]
fn a_storage_without_its_database_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &Start::default()).line("one");
    fs::remove_file(storage.database()).unwrap();
    let collector = start(&dir, &[]);
    let wanted = ["one", "web", "docker.io/library/nginx:1.27"].map(str::to_owned);
    assert_eq!(said(&collector, 1), [wanted]);
    let message = "mount the whole storage; all its containers are read, but records lack labels";
    collector.wait(message, |collector| collector.has_logged(message));
    let (page, _) = check(&storage, &[]);
    assert!(page.contains("mount the whole storage"), "{page}");
}

/// A user's database is read as well, and what the user puts into it concerns the user alone.
#[test]
fn a_users_labels_are_known_and_a_users_log_path_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let home = top.join("home/ada");
    user(&top, "ada", &home);
    let storage = PodmanStorage::at(
        &home.join(".local/share/containers/storage"),
        &top.join("run"),
    );
    let quiet = Start {
        name: "quiet",
        labels: json!({"team": "quiet"}),
        ..Start::default()
    };
    storage.run('a', &Start::default()).line("one");
    storage.run('b', &quiet).line("not wanted");
    let elsewhere = Start {
        name: "elsewhere",
        log: Some(home.join("secret")),
        ..Start::default()
    };
    storage.run('c', &elsewhere).line("secret");
    let hostile = top.join("home/mallory");
    user(&top, "mallory", &hostile);
    UsersContainer::new(&hostile, 'd', "hers").line("two");
    let database = hostile.join(".local/share/containers/storage/db.sql");
    let view = "CREATE VIEW ContainerConfig AS WITH RECURSIVE n(x) AS \
                (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS ID, x AS JSON FROM n";
    rusqlite::Connection::open(database)
        .unwrap()
        .execute(view, [])
        .unwrap();
    let options = [("Podman_Users", "all"), ("Exclude", "label=team=quiet")];
    let collector = start(&dir, &options);
    collector.wait("the refusal", |collector| {
        collector.has_logged("read only in its own folder")
    });
    let texts: Vec<String> = said(&collector, 2)
        .into_iter()
        .map(|[text, ..]| text)
        .collect();
    assert_eq!(texts, ["one", "two"]);
    collector.wait("the metric", |collector| {
        collector.metric("containers_unread") == 1.0
    });
}

/// Moved to another disk, with a link left in its place.
#[test]
fn a_symlink_in_the_place_of_a_folder_is_said_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &Start::default()).line("one");
    storage.run('b', &unit("moved")).line("two");
    let container = storage
        .path()
        .join("overlay-containers")
        .join("b".repeat(64));
    fs::rename(&container, dir.path().join("moved")).unwrap();
    let driver = storage.path().join("vfs-containers");
    fs::create_dir(dir.path().join("vfs")).unwrap();
    for (target, link) in [("moved", &container), ("vfs", &driver)] {
        symlink(dir.path().join(target), link).unwrap();
    }
    let collector = start(&dir, &[("Podman_Socket", "off")]);
    let (page, is_all_read) = check(&storage, &[]);
    assert!(!is_all_read, "{page}");
    for link in [container, driver] {
        let reason = "it is a symlink, which is not followed here";
        let said = format!("cannot read {}: {reason}", link.display());
        collector.wait("the reason", |collector| collector.has_logged(&said));
        assert!(page.contains(reason), "{page}");
        assert!(page.contains(&link.display().to_string()), "{page}");
    }
    assert_eq!(collector.wait_texts(1), ["one"]);
}

/// In a container without the folder, or where a disk is not mounted.
#[test]
fn a_log_in_a_folder_that_does_not_exist_here_is_said_with_that_folder() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    let folder = dir.path().canonicalize().unwrap().join("logs");
    fs::create_dir(&folder).unwrap();
    let elsewhere = Start {
        log: Some(folder.join("web.log")),
        ..Start::default()
    };
    let mut web = storage.run('a', &elsewhere);
    web.line("1");
    let aside = folder.with_file_name("aside");
    fs::rename(&folder, &aside).unwrap();
    let collector = start(&dir, &[("Podman_Socket", "off")]);
    let why = format!(
        "its log is in {}, which does not exist here",
        folder.display()
    );
    let said =
        format!("container web (aaaaaaaaaaaa) cannot be read: {why}, and Podman_Socket is off");
    collector.wait(&said, |collector| {
        collector.has_logged(&said) && collector.metric("containers_unread") == 1.0
    });
    let (json, is_all_read) = check(&storage, &["--json"]);
    assert!(!is_all_read && json.contains(&why), "{json}");
    assert!(
        json.contains("without podman run --log-opt path="),
        "{json}"
    );
    // The API may have its lines, which is no reason not to name the folder.
    let options = [
        format!("Podman_Root={}", storage.path().display()),
        format!("Podman_Socket=unix://{}/none.sock", dir.path().display()),
    ];
    let mut by_api = Command::new(program());
    by_api.args([
        "check",
        "--json",
        "--runtime",
        "podman",
        "-o",
        &options[0],
        "-o",
        &options[1],
    ]);
    let (json, _) = page(&by_api.output().unwrap());
    assert!(
        json.contains("without podman run --log-opt path="),
        "{json}"
    );
    fs::rename(&aside, &folder).unwrap();
    assert_eq!(collector.wait_texts(1), ["1"]);
}

#[test]
fn a_database_of_no_bytes_is_said_to_be_empty() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &Start::default()).line("1");
    fs::write(storage.database(), "").unwrap();
    let collector = start(&dir, &[]);
    collector.wait_texts(1);
    let said = format!(
        "cannot read {}: it is empty; ",
        storage.database().display()
    );
    collector.wait(&said, |collector| collector.has_logged(&said));
    let (json, _) = check(&storage, &["--json"]);
    assert!(
        json.contains("\"problem\": \"it is empty; all its"),
        "{json}"
    );
}

#[test]
fn a_list_that_is_missing_beside_containers_is_said_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    storage.run('a', &Start::default()).line("1");
    let list = storage.path().join("overlay-containers/containers.json");
    let aside = storage.path().join("aside.json");
    fs::rename(&list, &aside).unwrap();
    let collector = start(&dir, &[]);
    assert_eq!(
        said(&collector, 1)[0][1],
        "web",
        "the database has the name"
    );
    let missing = format!("cannot read {}: it does not exist; in a container, mount the whole storage; all its containers are read, but with the name and image", list.display());
    collector.wait(&missing, |collector| collector.has_logged(&missing));
    let (json, is_all_read) = check(&storage, &["--json"]);
    assert!(
        is_all_read && json.contains(&list.display().to_string()),
        "{json}"
    );
    fs::rename(&aside, &list).unwrap();
    let (json, _) = check(&storage, &["--json"]);
    assert!(!json.contains("does not exist"), "{json}");
}

/// A pipe never ends, and a sparse file of a terabyte is read for hours.
#[test]
fn a_specification_that_is_a_pipe_or_endless_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = PodmanStorage::new(dir.path());
    for digit in ['a', 'b'] {
        let name = digit.to_string();
        storage
            .run(
                digit,
                &Start {
                    name: &name,
                    ..Start::default()
                },
            )
            .line(&name);
        let file = storage.userdata(digit).join("config.json");
        fs::remove_file(&file).unwrap();
        match digit {
            'a' => assert!(Command::new("mkfifo")
                .arg(&file)
                .status()
                .unwrap()
                .success()),
            _ => fs::File::create(&file).unwrap().set_len(1 << 40).unwrap(),
        }
    }
    let collector = start(&dir, &[]);
    let mut texts = collector.wait_texts(2);
    texts.sort();
    assert_eq!(texts, ["a", "b"]);
    let (page, _) = check(&storage, &[]);
    assert_eq!(
        row(&page, "a"),
        "docker.io/library/nginx:1.27 k8s-file file"
    );
}

/// Who reads that a folder is missing must know which file names it.
#[test]
fn a_storage_that_does_not_exist_is_said_with_the_settings_that_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("etc/containers/storage.conf");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    let storage = dir.path().join("elsewhere");
    fs::write(
        &settings,
        format!("[storage]\ngraphroot = \"{}\"\n", storage.display()),
    )
    .unwrap();
    let collector = start(&dir, &[("Podman_Root", "auto"), ("Podman_Socket", "off")]);
    let said = format!(
        "cannot list containers in {}: No such file or directory (os error 2); {} sets it; ",
        storage.display(),
        settings.display()
    );
    collector.wait(&said, |collector| collector.has_logged(&said));
}
