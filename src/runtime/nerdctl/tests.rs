use std::fs;

use super::*;
use crate::fuzz_seeds::keep;
use crate::runtime::id::ContainerId;

const ID: &str = "abababababababababababababababababababababababababababababababab";

/// A data root with one container in the namespace `default`.
fn root() -> (tempfile::TempDir, Nerdctl, Found) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("1935db59/containers/default").join(ID);
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(dir.path().join("1935db59/names/default")).unwrap();
    let nerdctl = Nerdctl::new(dir.path());
    let mut listing = nerdctl.list(&nerdctl.root()).unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
    let found = listing.containers.remove(0);
    assert_eq!(found.id, ContainerId::parse(ID).unwrap());
    (dir, nerdctl, found)
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
    let log = LogFiles {
        rank: rank_by_rising_number,
        ..LogFiles::numbered(Path::new("/x/x.log"))
    };
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
