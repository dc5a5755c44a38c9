//! `tail-containers check` beside a real daemon.

use test_kit::dockerd::shared;
use test_kit::skip;
use test_kit::tail_containers::{check, row};

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
