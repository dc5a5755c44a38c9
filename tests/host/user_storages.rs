//! A home directory that never answers, in a host.

use std::fs;

use test_kit::docker_root::DockerRoot;
use test_kit::playing_host::{texts_of, PlayingHost, Release};
use test_kit::skip;
use test_kit::stalling_fs::StallingFs;
use test_kit::user_storage::{user, UsersContainer};

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
    let (passwd, mounted) = (root.path().join("etc/passwd"), stalling.path());
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
