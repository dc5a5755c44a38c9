//! Which containers, and since when.

use std::path::Path;
use std::process::Output;

use test_kit::docker_root::DockerRoot;
use test_kit::tail_containers::{command, run};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is printed, sorted, without the padding of the names.
fn lines(root: &Path, arguments: &[&str]) -> Vec<String> {
    let output = run(root, &[&["--no-follow"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    let printed = out(&output);
    let mut lines: Vec<String> = printed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    lines
}

fn shop() -> DockerRoot {
    let root = DockerRoot::new();
    for (digit, name, team) in [
        ('a', "web", "front"),
        ('b', "cart", "front"),
        ('c', "stock", "back"),
    ] {
        let mut log = root.container(digit, name);
        log.write_config_with(name, true, serde_json::json!({"team": team}), &[]);
        log.line("ready");
    }
    root
}

#[test]
fn rules_choose_the_containers_and_exclude_wins() {
    let root = shop();
    let read = |arguments: &[&str]| lines(root.path(), arguments);
    assert_eq!(read(&[]), ["cart | ready", "stock | ready", "web | ready"]);
    assert_eq!(read(&["--include", "name=web"]), ["web | ready"]);
    assert_eq!(
        read(&["--include", "name=web", "--include", "name=c*"]),
        ["cart | ready", "web | ready"]
    );
    assert_eq!(read(&["--exclude", "label=team=front"]), ["stock | ready"]);
    assert_eq!(
        read(&[
            "--include",
            "label=team=front",
            "--exclude",
            "name={web,stock}"
        ]),
        ["cart | ready"]
    );
    assert_eq!(
        read(&["--exclude", "name=web", "-o", "Exclude=name=cart"]),
        ["stock | ready"]
    );
    let output = run(root.path(), &["--no-follow", "--include", "image=nginx*"]);
    assert_eq!(
        (output.status.code(), out(&output)),
        (Some(1), String::new())
    );
}

#[test]
fn a_mistake_in_a_rule_or_a_time_is_an_error_that_quotes_it() {
    let root = DockerRoot::new();
    for (arguments, parts) in [
        (
            ["--include", "nam=web"],
            ["`nam=web`", "compose_project=GLOB"],
        ),
        (["--exclude", "label="], ["`label=`", "Exclude"]),
        (["--since", "10x"], ["`10x`", "1h30m"]),
        (["--since", "2023-02-30"], ["`2023-02-30`", "2026-11-25"]),
        (["--stats=0s", "--no-follow"], ["`0s`", "100ms"]),
    ] {
        let output = run(root.path(), &arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            parts.iter().all(|part| said.contains(part)),
            "{arguments:?}: {said}"
        );
    }
}

/// The entries of these logs are of 2023-11-14T22:13:20, one nanosecond after another.
#[test]
fn since_leaves_out_what_is_older_in_every_file_and_prints_from_that_moment_on() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("1 in an archive");
    log.rotate(4, true);
    log.line("2");
    log.rotate(4, true);
    log.line("3");
    log.line("4");
    let read = |since: &str| lines(root.path(), &["--since", since]);
    let all = ["web | 1 in an archive", "web | 2", "web | 3", "web | 4"];
    assert_eq!(read("2023-11-14T22:13:20Z"), all);
    assert_eq!(read("2023-11-14T22:13:20.000000001Z"), all);
    assert_eq!(
        read("2023-11-14T22:13:20.000000003Z"),
        ["web | 3", "web | 4"]
    );
    assert_eq!(read("2023-11-15T00:13:20.000000004+02:00"), ["web | 4"]);
    assert_eq!(read("1700000000.000000002"), all[1..]);
    assert_eq!(read("10m"), [""; 0]);
}

#[test]
fn a_time_without_a_zone_is_of_this_machines() {
    let root = DockerRoot::new();
    root.container('a', "web").line("at 22:13 in Greenwich");
    for (zone, since, is_printed) in [
        // As POSIX has it: two hours east of Greenwich.
        ("EET-2", "2023-11-15T00:13", true),
        ("EET-2", "2023-11-15T00:14", false),
        ("UTC0", "2023-11-14T22:13:20", true),
        ("UTC0", "2023-11-14T22:14", false),
        ("EST5", "2023-11-14", true),
        ("EST5", "2023-11-15", false),
    ] {
        let output = command(root.path(), &["--no-follow", "--since", since])
            .env("TZ", zone)
            .output();
        let printed = out(&output.expect("tail-containers runs"));
        assert_eq!(
            !printed.is_empty(),
            is_printed,
            "{since} in {zone}: {printed}"
        );
    }
}

#[test]
fn since_follows_too() {
    use std::io::{BufRead, BufReader};
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("old");
    let mut child = command(root.path(), &["--since", "2023-11-14T22:13:20.000000002Z"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("tail-containers runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for round in ["new", "newer"] {
        log.line(round);
        assert_eq!(
            lines.next().expect("a line").expect("readable"),
            format!("web | {round}")
        );
    }
    child.kill().expect("our child");
    child.wait().expect("it ends");
}
