//! The container that a collector runs in, as real daemons mount it: with a control group
//! namespace of its own, and in the network of another container.

use std::path::Path;

use test_kit::dockerd::{shared, IMAGE};
use test_kit::podman::Podman;
use test_kit::skip;
use test_kit::tail_containers::{program, row};

/// What a container needs to run `tail-containers` in an image that has only busybox, and to see
/// the folder `logs`.
fn mounts(logs: &Path) -> Vec<String> {
    let own = program().display().to_string();
    let (program, logs) = (
        format!("{own}:/tail-containers:ro"),
        logs.display().to_string(),
    );
    let libraries = ["/usr", "/lib", "/lib64"].map(|dir| format!("{dir}:{dir}:ro"));
    let all = libraries
        .into_iter()
        .chain([program, format!("{logs}:{logs}:ro")]);
    all.flat_map(|mount| ["--volume".to_owned(), mount])
        .collect()
}

#[test]
fn docker_in_the_network_of_another_container_that_one_is_read_and_not_its_own() {
    let test = "own_container::docker_in_the_network_of_another_container_that_one_is_read_and_not_its_own";
    let docker = match shared() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    docker
        .run_detached("own-app", &[], "echo line; exec sleep 600")
        .expect("docker run");
    let root = docker.root().display().to_string();
    let mounts = mounts(&docker.root().join("containers"));
    for (name, network) in [("own-alone", "none"), ("own-joined", "container:own-app")] {
        let run_in = |program: &[&str]| {
            let mut args = vec!["run", "--rm", "--name", name, "--cgroupns=private"];
            args.extend(["--network", network]);
            args.extend(mounts.iter().map(String::as_str));
            args.extend([&[IMAGE], program].concat());
            docker.docker(&args)
        };
        if let Err(reason) = run_in(&["echo"]) {
            return skip(test, &reason);
        }
        let check = [
            "/tail-containers",
            "check",
            "--runtime",
            "docker",
            "--docker-root",
            &root,
        ];
        let rules = ["-o", "Docker_Socket=off", "--include", "name=own-*"];
        let page = run_in(&[&check[..], &rules].concat()).expect("all is read");
        assert!(
            row(&page, name).ends_with("not read: this process runs in it (Exclude_Self)"),
            "{page}"
        );
        assert!(row(&page, "own-app").ends_with("file"), "{page}");
    }
}

#[test]
fn podman_in_the_network_of_another_container_that_one_is_read_and_not_its_own() {
    let test = "own_container::podman_in_the_network_of_another_container_that_one_is_read_and_not_its_own";
    let podman = match Podman::new() {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let file = "--log-driver=k8s-file";
    podman
        .run_detached("own-app", &[file], "echo line; exec sleep 600")
        .expect("podman run");
    let storage = podman.storage().display().to_string();
    let mounts = mounts(&podman.storage());
    for (name, network) in [("own-alone", "none"), ("own-joined", "container:own-app")] {
        let network = format!("--network={network}");
        let run_in = |program: &[&str]| {
            let mut args = vec!["run", "--rm", "--name", name, "--cgroupns=private", file];
            args.extend([network.as_str(), "--security-opt=seccomp=unconfined"]);
            args.extend(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]);
            args.extend(mounts.iter().map(String::as_str));
            args.extend([&["busybox:test"], program].concat());
            podman.podman(&args)
        };
        if let Err(reason) = run_in(&["echo"]) {
            return skip(test, &reason);
        }
        let root = format!("Podman_Root={storage}");
        let check = [
            "/tail-containers",
            "check",
            "--runtime",
            "podman",
            "-o",
            &root,
        ];
        let page =
            run_in(&[&check[..], &["-o", "Podman_Socket=off"]].concat()).expect("all is read");
        assert!(
            row(&page, name).ends_with("not read: this process runs in it (Exclude_Self)"),
            "{page}"
        );
        assert!(row(&page, "own-app").ends_with("file"), "{page}");
    }
}
