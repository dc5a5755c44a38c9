use std::fs;

use super::*;
use crate::fuzz_seeds::keep;
use crate::runtime::bolt::written::{database, text, texts, Value};
use crate::runtime::id::ContainerId;
use crate::runtime::nerdctl::containerd::TASKS;
use crate::runtime::nerdctl::storage::CONTAINERS;
use crate::runtime::safe_path::Base;
use crate::runtime::storage::Limits;

const ID: &str = "abababababababababababababababababababababababababababababababab";

/// A data root with one container in the namespace `default`.
fn root() -> (tempfile::TempDir, Nerdctl, Found) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("1935db59/containers/default").join(ID);
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(dir.path().join("1935db59/names/default")).unwrap();
    let nerdctl = Nerdctl::of_root(Some(dir.path()), dir.path());
    write_database(&dir, &[(&"ef".repeat(32), "other", &[])]);
    let mut listing = nerdctl.list(&nerdctl.root()).unwrap();
    let found = listing.containers.remove(0);
    assert_eq!(found.id, ContainerId::parse(ID).unwrap());
    (dir, nerdctl, found)
}

/// Id, image and labels of a container.
type Container<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Writes containerd's database with these containers of the namespace `default`.
fn write_database(dir: &tempfile::TempDir, containers: &[Container<'_>]) {
    let container = |(id, image, labels): &Container<'_>| {
        let described = [("image", text(image)), ("labels", texts(labels))];
        let described = described.map(|(key, value)| (key.to_owned(), value));
        ((*id).to_owned(), Value::Bucket(described.to_vec()))
    };
    let mut bucket = Value::Bucket(containers.iter().map(container).collect());
    for key in ["containers", "default", "v1"] {
        bucket = Value::Bucket(vec![(key.to_owned(), bucket)]);
    }
    let Value::Bucket(root) = bucket else {
        unreachable!("it is one");
    };
    let bytes = database(&root, 7);
    keep("nerdctl", &bytes);
    put_database(dir, &bytes);
}

fn put_database(dir: &tempfile::TempDir, bytes: &[u8]) {
    let path = dir
        .path()
        .join("var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn write_name(dir: &tempfile::TempDir, name: &str) {
    fs::write(dir.path().join("1935db59/names/default").join(name), ID).unwrap();
}

fn wait_until_named(nerdctl: &Nerdctl, found: &Found, name: &str) {
    while nerdctl.name(found).as_deref() != Some(name) {
        std::thread::yield_now();
    }
}

/// Makes the container run; returns the file with its specification.
fn start(dir: &tempfile::TempDir, found: &Found, env: &str) -> PathBuf {
    let state = dir.path().join("state");
    let config = format!(
        r#"{{"driver":"json-file","opts":{{}},"address":"{}/containerd.sock"}}"#,
        state.display()
    );
    fs::write(found.dir.join(LOG_CONFIG), config).unwrap();
    let spec = state.join(TASKS).join("default").join(ID).join(SPEC);
    fs::create_dir_all(spec.parent().unwrap()).unwrap();
    fs::write(&spec, format!(r#"{{"process":{{"env":["{env}"]}}}}"#)).unwrap();
    spec
}

#[test]
fn the_highest_number_is_the_newest() {
    let mut names = ["x.log.9", "x.log", "x.log.10", "x.log.4294967295"];
    let log = LogFiles::numbered(Path::new("/x/x.log")).ranked_by(rank_by_rising_number);
    names.sort_by_key(|name| log.rank_of(name).unwrap().age);
    assert_eq!(names, ["x.log", "x.log.4294967295", "x.log.10", "x.log.9"]);
    for other in ["x.log.1.gz", "x.log.0", "x.log.x", "log-config.json"] {
        assert_eq!(log.rank_of(other), None, "{other}");
    }
}

#[test]
fn a_container_is_named_by_the_file_that_holds_its_id() {
    let (dir, nerdctl, found) = root();
    assert!(matches!(
        nerdctl.metadata(&found, 0),
        Err(MetadataError::Missing { .. })
    ));
    let names = dir.path().join("1935db59/names/default");
    fs::write(names.join("other"), "cd".repeat(32)).unwrap();
    fs::write(names.join("garbage"), [0xff; 64]).unwrap();
    fs::write(names.join("long"), ID.repeat(3)).unwrap();
    write_name(&dir, "web");
    let metadata = nerdctl.metadata(&found, 0).unwrap();
    assert_eq!((&*metadata.name, metadata.is_running), ("web", false));
    assert_eq!(metadata.runtime, "containerd");
    // Where later releases keep them.
    fs::rename(&names, dir.path().join("1935db59/default")).unwrap();
    assert_eq!(nerdctl.metadata(&found, 0).unwrap().name, "web");
}

#[test]
fn what_changes_is_the_start_and_the_name_and_not_the_end() {
    let (dir, nerdctl, found) = root();
    write_name(&dir, "web");
    let spec = start(&dir, &found, "A=b=c");
    let metadata = nerdctl.metadata(&found, 0).unwrap();
    assert!(metadata.is_running);
    assert_eq!(metadata.env, [("A".to_owned(), "b=c".to_owned())]);
    let version = nerdctl.metadata_version(&found);
    assert!(version.is_some());
    let names = dir.path().join("1935db59/names/default");
    fs::rename(names.join("web"), names.join("renamed")).unwrap();
    wait_until_named(&nerdctl, &found, "renamed");
    let renamed = nerdctl.metadata_version(&found);
    assert!(!nerdctl.is_same_version(version.unwrap(), renamed.unwrap()));
    fs::remove_dir_all(spec.parent().unwrap()).unwrap();
    let is_same = |seen: Option<FileId>, now: Option<FileId>| {
        nerdctl.is_same_version(seen.unwrap(), now.unwrap())
    };
    let ended = nerdctl.metadata_version(&found);
    assert!(is_same(renamed, ended), "it ended");
    // The folder with the tasks is still there.
    fs::rename(names.join("renamed"), names.join("again")).unwrap();
    wait_until_named(&nerdctl, &found, "again");
    let again = nerdctl.metadata_version(&found);
    assert!(!is_same(ended, again));
    start(&dir, &found, "A=d");
    let restarted = nerdctl.metadata_version(&found);
    assert!(!is_same(again, restarted) && !is_same(renamed, restarted));
}

const DAMAGED: [&str; 3] = ["{", "[]", r#"{"driver":7}"#];

#[test]
fn image_and_labels_are_what_containerds_database_has() {
    let (dir, nerdctl, found) = root();
    write_name(&dir, "web");
    let labels = [
        ("com.docker.compose.project", "shop"),
        ("nerdctl/name", "web"),
    ];
    write_database(&dir, &[(ID, "docker.io/library/nginx:1.27", &labels)]);
    let metadata = nerdctl.metadata(&found, 0).unwrap();
    assert_eq!(metadata.image, "docker.io/library/nginx:1.27");
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(metadata.labels, labels.into());
    assert!(!metadata.is_partial);
    let listing = nerdctl.list(&nerdctl.root()).unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
}

/// containerd adds a container after nerdctl has made its log.
#[test]
fn a_container_that_is_about_to_be_added_to_the_database_is_waited_for() {
    let (dir, nerdctl, found) = root();
    write_name(&dir, "web");
    let metadata = nerdctl.metadata(&found, 0).unwrap();
    assert_eq!(
        (&*metadata.name, &*metadata.image),
        ("web", ""),
        "an old one is left over"
    );
    let said = nerdctl.list(&nerdctl.root()).unwrap().unreadable.remove(0);
    assert_eq!(said.error.to_string(), NONE_OF_THEM);
    fs::write(found.dir.join(format!("{ID}-json.log")), "").unwrap();
    if stat_path(&found.dir.join(format!("{ID}-json.log")))
        .unwrap()
        .0
        .birth
        == 0
    {
        return;
    }
    let metadata = nerdctl.metadata(&found, 0);
    assert!(
        matches!(metadata, Err(MetadataError::Busy { .. })),
        "{metadata:?}"
    );
    assert!(nerdctl.list(&nerdctl.root()).unwrap().unreadable.is_empty());
    write_database(&dir, &[(ID, "nginx", &[])]);
    assert_eq!(nerdctl.metadata(&found, 0).unwrap().image, "nginx");
}

#[test]
fn a_database_that_cannot_be_read_is_said_and_read_once_it_can() {
    let (dir, nerdctl, found) = root();
    write_name(&dir, "web");
    let path = dir.path().join("var/lib/containerd");
    let version = || nerdctl.metadata_version(&found).unwrap();
    let is_same = |seen, now| nerdctl.is_same_version(seen, now);
    for (bytes, reason) in [
        (None, "No such file"),
        (Some(b"x".repeat(9_000)), "not a Bolt database"),
    ] {
        match bytes {
            None => fs::remove_dir_all(&path).unwrap(),
            Some(bytes) => put_database(&dir, &bytes),
        }
        let metadata = nerdctl.metadata(&found, 0).unwrap();
        assert_eq!((&*metadata.name, &*metadata.image), ("web", ""));
        let said = nerdctl.list(&nerdctl.root()).unwrap().unreadable.remove(0);
        assert!(said.error.to_string().contains(reason), "{said:?}");
        assert!(said.path.starts_with(&path) && said.hides == Hides::ImagesAndLabels);
    }
    let readable = version();
    fs::remove_dir_all(&path).unwrap();
    let missing = version();
    assert!(is_same(readable, missing), "what was known is still known");
    assert!(!is_same(missing, readable));
}

#[test]
fn the_database_is_below_the_root_that_containerd_has() {
    let (dir, nerdctl, found) = root();
    write_name(&dir, "web");
    let spec = start(&dir, &found, "A=b");
    let usual = dir.path().join("var/lib/containerd");
    write_database(&dir, &[(ID, "usual", &[])]);
    let image = || nerdctl.metadata(&found, 0).unwrap().image;
    let moved = |to: &str, image: &str| {
        write_database(&dir, &[(ID, image, &[])]);
        fs::rename(&usual, dir.path().join(to)).unwrap();
    };
    moved("elsewhere", "elsewhere");
    assert_eq!(image(), "");
    fs::create_dir_all(dir.path().join("etc/containerd")).unwrap();
    let settings = format!(
        "version = 2\nroot = '{}'\n",
        dir.path().join("elsewhere").display()
    );
    fs::write(dir.path().join("etc/containerd/config.toml"), settings).unwrap();
    assert_eq!(image(), "elsewhere");
    // As its command line says: the link in the folder of a running container leads there.
    moved("running", "running");
    let files = dir
        .path()
        .join("running")
        .join(TASKS)
        .join("default")
        .join(ID);
    let link = spec.with_file_name("work");
    for (leads, want) in [
        (Path::new("/nonexistent/tasks"), "elsewhere"),
        (Path::new(TASKS), "elsewhere"),
        (&files, "running"),
    ] {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(leads, &link).unwrap();
        assert_eq!(image(), want, "{}", leads.display());
    }
}

#[test]
fn driver_and_place_of_the_log_are_in_its_configuration() {
    let (_dir, nerdctl, found) = root();
    let logs = |text: &str| {
        keep("nerdctl", text);
        fs::write(found.dir.join(LOG_CONFIG), text).unwrap();
        let driver = nerdctl.log_driver(&found);
        let is_damaged = !text.is_empty() && driver.is_err();
        assert_eq!(is_damaged, DAMAGED.contains(&text), "{text}");
        let driver = driver
            .ok()
            .flatten()
            .map(|driver| (driver.writes_file(), driver.name));
        (driver, nerdctl.logs(&found).remove(0).path.to_path_buf())
    };
    let own = found.dir.join(format!("{ID}-json.log")).to_path_buf();
    let file = |name: &str, is_file: bool| Some((is_file, name.to_owned()));
    assert_eq!(
        logs(r#"{"driver":"json-file","opts":{"max-size":"20k"}}"#),
        (file("json-file", true), own.clone())
    );
    assert_eq!(
        logs(r#"{"driver":"json-file","opts":{"log-path":"/var/log/web.log"}}"#),
        (file("json-file", true), "/var/log/web.log".into())
    );
    assert_eq!(
        logs(r#"{"driver":"syslog","opts":null}"#),
        (file("syslog", false), own.clone())
    );
    assert_eq!(
        logs(r#"{"driver":"none"}"#),
        (file("none", false), own.clone())
    );
    for text in DAMAGED.iter().chain(&[""]) {
        assert_eq!(logs(text), (None, own.clone()), "{text}");
    }
}

#[test]
fn containers_of_all_addresses_and_namespaces_are_listed_and_too_many_are_said() {
    let dir = tempfile::tempdir().unwrap();
    for (address, namespace, digit) in [
        ("1935db59", "default", "a"),
        ("1935db59", "k8s.io", "b"),
        ("aaaaaaaa", "default", "c"),
    ] {
        let folder = dir.path().join(address).join(CONTAINERS).join(namespace);
        fs::create_dir_all(folder.join(digit.repeat(64))).unwrap();
        fs::write(folder.join("d".repeat(64)), "a file").unwrap();
        fs::create_dir_all(folder.join("not-an-id")).unwrap();
    }
    fs::write(dir.path().join("file"), "").unwrap();
    let list = |limits: Limits| {
        let storage = SafePath::below(&Base::of_machine(dir.path()), dir.path());
        let (folder, mut listing) = (storage.open_folder().unwrap(), Listing::default());
        list_storage(&storage, &folder, limits, &mut listing, &|id| (id, None));
        let reasons = listing.unreadable.iter().map(|it| it.error.to_string());
        (
            listing.containers.len(),
            reasons.collect::<Vec<_>>().join("; "),
        )
    };
    assert_eq!(list(LIMITS_OF_ROOT), (3, String::new()));
    let (count, reason) = list(Limits {
        parts: 2,
        ..LIMITS_OF_ROOT
    });
    assert!(
        count == 2 && reason.contains("more than 2 namespaces"),
        "{count} {reason}"
    );
}

#[test]
fn a_missing_root_is_an_error_not_an_empty_machine() {
    let nerdctl = Nerdctl::new(Path::new("/nonexistent/nerdctl"));
    let error = nerdctl.list(&nerdctl.root()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
