//! `tail-containers check` beside a real daemon.

use std::fs;
use std::path::Path;
use std::process::Command;

use test_kit::dockerd::{shared, Dockerd};
use test_kit::podman::{serving, Podman};
use test_kit::skip;
use test_kit::tail_containers::{check, page, program, row};

#[test]
fn what_a_real_daemon_runs_is_shown_and_it_is_asked_only_where_that_is_needed() {
    let test = "check::what_a_real_daemon_runs_is_shown_and_it_is_asked_only_where_that_is_needed";
    let docker = match shared() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    // dockerd wants somebody to listen.
    let place = tempfile::tempdir().expect("a folder");
    let _listener =
        std::os::unix::net::UnixDatagram::bind(place.path().join("syslog")).expect("a socket");
    let address = format!(
        "syslog-address=unixgram://{}",
        place.path().join("syslog").display()
    );
    let names = ["check-json", "check-local", "check-sent", "check-uncached"];
    let drivers: [&[&str]; 4] = [
        &[
            "--log-driver",
            "json-file",
            "--log-opt",
            "max-size=20k",
            "--log-opt",
            "max-file=3",
        ],
        &["--log-driver", "local"],
        &["--log-driver", "syslog", "--log-opt", &address],
        &[
            "--log-driver",
            "syslog",
            "--log-opt",
            &address,
            "--log-opt",
            "cache-disabled=true",
        ],
    ];
    for (name, driver) in names.iter().zip(drivers) {
        docker
            .run_detached(name, driver, "echo ready; exec sleep 600")
            .expect("docker run");
    }
    let socket = format!("Docker_Socket={}", docker.socket().display());
    let on_files = [
        "--exclude",
        "name=check-uncached",
        "--include",
        "name=check-*",
        "-o",
        &socket,
    ];
    let (page, is_all_read) = check(docker.root(), &on_files);
    assert!(
        is_all_read && page.contains("not used: no container needs it"),
        "{page}"
    );
    assert_eq!(row(&page, "check-json"), "busybox:test json-file file");
    assert_eq!(row(&page, "check-local"), "busybox:test local local");
    assert_eq!(row(&page, "check-sent"), "busybox:test syslog cache");
    let (page, is_all_read) = check(
        docker.root(),
        &["--include", "name=check-uncached", "-o", &socket],
    );
    assert!(
        !is_all_read && page.contains(" answers; 1 container read through it"),
        "{page}"
    );
    // Where the folder is not to be seen, the daemon tells.
    let (page, is_all_read) = check(
        &docker.root().join("none"),
        &["--include", "name=check-json", "-o", &socket],
    );
    assert!(is_all_read, "{page}");
    assert_eq!(
        row(&page, "check-json"),
        "busybox:test json-file api: its folder cannot be read"
    );
    assert!(
        page.contains("its containers are read through the API"),
        "{page}"
    );
    for name in names {
        docker.docker(&["rm", "--force", name]).expect("docker rm");
    }
}

/// What a dockerd reports is compared with the folders: all is found; a wrong root; a log driver in
/// the files that the daemon does not use; a folder that was restored after `docker rm`.
#[test]
fn what_a_real_dockerd_reports_is_compared_with_what_is_found() {
    let test = "check::what_a_real_dockerd_reports_is_compared_with_what_is_found";
    let docker = match Dockerd::start() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let run = |name: &str, driver: &str| {
        docker
            .run_detached(name, &["--log-driver", driver], "exec sleep 600")
            .expect("docker run")
    };
    let [_, other, removed] = [
        ("web", "json-file"),
        ("other", "local"),
        ("removed", "local"),
    ]
    .map(|(name, driver)| run(name, driver));
    let socket = format!("Docker_Socket={}", docker.socket().display());
    let ask = |root: &Path| check(root, &["-o", &socket, "--ask"]);

    let (page, is_all_read) = ask(docker.root());
    assert!(is_all_read && !page.contains("Worth knowing"), "{page}");
    assert!(
        page.contains("Docker itself lists 3 containers; all of them are found here\n"),
        "{page}"
    );

    let wrong = tempfile::tempdir().expect("a folder");
    fs::create_dir(wrong.path().join("containers")).expect("ours");
    let (page, is_all_read) = ask(wrong.path());
    assert!(!is_all_read && page.contains("set Docker_Root"), "{page}");
    assert!(
        page.contains("other, removed, web: Docker's daemon has them, but they are in none of"),
        "{page}"
    );

    let folder = |id: &str| docker.root().join("containers").join(id);
    let aside = wrong.path().join("aside");
    let copied = Command::new("cp")
        .arg("-a")
        .args([folder(&removed), aside.clone()])
        .status();
    assert!(copied.is_ok_and(|status| status.success()), "cp -a");
    docker
        .docker(&["rm", "--force", "removed"])
        .expect("docker rm");
    let moved = Command::new("mv")
        .arg(&aside)
        .arg(folder(&removed))
        .status();
    assert!(moved.is_ok_and(|status| status.success()), "mv");
    let settings = folder(&other).join("hostconfig.json");
    let text = fs::read_to_string(&settings).expect("dockerd wrote it");
    let edited = text.replace(r#""Type":"local""#, r#""Type":"json-file""#);
    assert_ne!(edited, text, "the driver is in {text}");
    fs::write(&settings, edited).expect("ours");
    let (page, _) = ask(docker.root());
    for said in [
        "Docker itself lists 2 containers; all of them are found here\n",
        "container other: its files name the log driver json-file, but Docker's daemon local",
        "container removed: Docker's daemon does not have it",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
}

/// The same with Podman's service, which presents `k8s-file` as `json-file`.
#[test]
fn what_a_real_podman_reports_is_compared_with_what_is_found() {
    let test = "check::what_a_real_podman_reports_is_compared_with_what_is_found";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    for (name, driver) in [("web", "k8s-file"), ("other", "json-file")] {
        let driver = format!("--log-driver={driver}");
        podman
            .run_detached(name, &[&driver], "exec sleep 600")
            .expect("podman run");
    }
    let ask = |storage: &Path| {
        let asked = Command::new(program())
            .args(["--runtime", "podman", "--podman-root"])
            .arg(storage)
            .args(["-o", &format!("Podman_Socket={}", podman.socket_option())])
            .args(["-o", "Journal_Path=off", "check", "--ask"])
            .output();
        page(&asked.expect("tail-containers runs"))
    };
    let (page, is_all_read) = ask(&podman.storage());
    assert!(is_all_read && !page.contains("Worth knowing"), "{page}");
    assert!(
        page.contains("Podman itself lists 2 containers; all of them are found here\n"),
        "{page}"
    );
    let wrong = tempfile::tempdir().expect("a folder");
    fs::create_dir(wrong.path().join("overlay-containers")).expect("ours");
    let (page, is_all_read) = ask(wrong.path());
    assert!(!is_all_read && page.contains("set Podman_Root"), "{page}");
    assert!(
        page.contains("other, web: Podman's daemon has them, but they are in none of"),
        "{page}"
    );
}
