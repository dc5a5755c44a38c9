//! Containers by name, and what is said if there is none of that name, or none can be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::json;

use test_kit::docker_root::DockerRoot;
use test_kit::nobody::{
    as_nobody, for_the_owner_alone, program_for_anybody, NOBODY, NO_CAPABILITY,
};
use test_kit::skip;
use test_kit::tail_containers::run;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = |line: &str| {
        line.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut names: Vec<String> = text.lines().map(name).collect();
    names.sort();
    names
}

fn shop() -> DockerRoot {
    let root = DockerRoot::new();
    for (digit, name, labels) in [
        ('a', "shop-web-1", ["shop", "web"]),
        ('b', "shop-cart-1", ["shop", "cart"]),
        ('c', "blog-web-1", ["blog", "web"]),
        ('d', "database", ["", ""]),
    ] {
        let mut log = root.container(digit, name);
        let [project, service] = labels;
        let labels = json!({
            "com.docker.compose.project": project,
            "com.docker.compose.service": service,
        });
        log.write_config_with(name, true, labels, &[]);
        log.line("hello");
    }
    root
}

#[test]
fn names_and_globs_select_containers_services_and_ids() {
    let root = shop();
    let id = "d".repeat(12);
    for (arguments, expected) in [
        (&["database"][..], &["database"][..]),
        (&["web"], &["blog-web-1", "shop-web-1"]),
        (&["shop/web"], &["shop-web-1"]),
        (&["shop/*"], &["shop-cart-1", "shop-web-1"]),
        (&["shop/web-*"], &["shop-web-1"]),
        (
            &["*-web-?", "database"],
            &["blog-web-1", "database", "shop-web-1"],
        ),
        (&[&*id], &["database"]),
        (
            &["web", "--include", "compose_project=blog"],
            &["blog-web-1"],
        ),
        (&["web", "--exclude", "name=shop*"], &["blog-web-1"]),
    ] {
        let output = run(root.path(), &[&["--no-follow"], arguments].concat());
        assert_eq!(names(&output), expected, "{arguments:?}: {}", said(&output));
        assert!(
            output.status.success() && said(&output).is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn a_name_of_no_container_is_an_error_that_suggests_others() {
    let root = shop();
    for (name, meant) in [
        (
            "databse",
            "no container is called databse; did you mean database?",
        ),
        (
            "shop/crat",
            "no container is called shop/crat; did you mean shop/cart",
        ),
        ("chek", "the command check"),
        (
            "nothing-like-it",
            "no container is called nothing-like-it\n",
        ),
    ] {
        let output = run(root.path(), &["--no-follow", name]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said(&output).contains(meant), "{}", said(&output));
        assert_eq!(names(&output), [""; 0]);
    }
    // The others are printed all the same.
    let output = run(root.path(), &["--no-follow", "web", "databse"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(names(&output), ["blog-web-1", "shop-web-1"]);
    let nobody = DockerRoot::new();
    let output = run(nobody.path(), &["--no-follow", "web"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no container is called web: there are no containers"));
}

#[test]
fn a_container_that_is_called_like_a_command_can_be_named() {
    let root = DockerRoot::new();
    root.container('a', "check").line("hello");
    let output = run(root.path(), &["--no-follow", "--", "check"]);
    assert_eq!(names(&output), ["check"], "{}", said(&output));
}

#[test]
fn where_nothing_can_be_read_one_line_says_why_and_it_ends() {
    let root = DockerRoot::new();
    let nowhere = root.path().join("nowhere");
    for follow in ["--no-follow", "--follow"] {
        for arguments in [&[follow][..], &[follow, "--stats"], &[follow, "--json"]] {
            let output = run(&nowhere, arguments);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(
                said.starts_with("tail-containers: nothing can be read: ")
                    && said.contains("nowhere/containers: the folder does not exist")
                    && said.lines().count() == 1,
                "{arguments:?}: {said}"
            );
        }
    }
    // That there is no container yet is no failure.
    let output = run(root.path(), &["--no-follow"]);
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{output:?}"
    );
}

#[test]
fn without_rights_it_says_sudo() {
    let test = "tail_containers::names::without_rights_it_says_sudo";
    let (_dir, program) = match program_for_anybody() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason),
    };
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("hello");
    let shown = |arguments: &[&str]| {
        let mut command = as_nobody(&NO_CAPABILITY, NOBODY, &program);
        command.args(["--no-follow", "--tail=all", "--runtime", "docker"]);
        command
            .arg("--docker-root")
            .arg(root.path())
            .args(arguments);
        command.output().expect("setpriv runs")
    };
    let fails = |folder: &str| {
        for arguments in [&["--no-follow"][..], &["--follow"], &["--follow", "web"]] {
            let output = shown(arguments);
            let said = said(&output);
            assert!(
                output.status.code() == Some(1)
                    && said
                        .lines()
                        .last()
                        .is_some_and(|line| line.ends_with("run with sudo"))
                    && said.contains("Permission denied"),
                "{folder} {arguments:?}: {output:?}"
            );
        }
    };
    for_the_owner_alone(root.path());
    fails("the root");
    // Of one log alone.
    for folder in [root.path(), &root.path().join("containers"), &log.dir] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    for file in ["config.v2.json", "hostconfig.json"] {
        let path = log.dir.join(file);
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    }
    fails("the log");
    fs::set_permissions(&log.log, fs::Permissions::from_mode(0o644)).expect("it is ours");
    assert_eq!(names(&shown(&["--no-follow"])), ["web"]);
}
