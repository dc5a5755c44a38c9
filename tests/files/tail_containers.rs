//! The program `tail-containers` as people and scripts call it.

mod check;
mod choice;
mod import;
mod lines;
mod names;
mod top;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};

use test_kit::docker_root::DockerRoot;
use test_kit::skip;
use test_kit::tail_containers::{command, run};

fn sample() -> DockerRoot {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("hello");
    web.rotate(3, true);
    web.entry("stderr", "<oops>\n");
    web.entry("stdout", "no line feed");
    root.container('b', "database").line("ready");
    root
}

#[test]
fn no_follow_prints_what_is_there_and_ends() {
    let root = sample();
    let output = run(root.path(), &["--no-follow"]);
    assert!(output.status.success());
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    // The names' column grows with the longest name so far.
    lines
        .iter_mut()
        .for_each(|line| *line = line.replace("web      ", "web "));
    lines.sort();
    assert_eq!(
        lines,
        [
            "database | ready",
            "web ! <oops>",
            "web | hello",
            "web | no line feed"
        ]
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn json_is_one_record_a_line() {
    let root = sample();
    let output = run(root.path(), &["--no-follow", "--json"]);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let records: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    assert_eq!(records.len(), 4);
    let oops = records
        .iter()
        .find(|record| record["log"] == "<oops>")
        .expect("the record");
    let expected = serde_json::json!({
        "date": "2023-11-14T22:13:20.000000002Z",
        "log": "<oops>",
        "stream": "stderr",
        "container_id": "a".repeat(64),
        "container_name": "web",
        "image": "shop/web:1.2",
    });
    assert_eq!(*oops, expected);
}

#[test]
fn a_log_steers_the_terminal_only_if_asked_to() {
    let root = DockerRoot::new();
    root.container('a', "we\u{1b}b")
        .entry("stdout", "\u{1b}[2J\ta\rb\u{7f}\u{9b}31m ž\n");
    let shown =
        |arguments: &[&str]| String::from_utf8(run(root.path(), arguments).stdout).expect("UTF-8");
    assert_eq!(
        shown(&["--no-follow"]),
        "we^[b | ^[[2J\ta^Mb^?\u{fffd}31m ž\n"
    );
    assert_eq!(
        shown(&["--no-follow", "--raw"]),
        "we^[b | \u{1b}[2J\ta\rb\u{7f}\u{9b}31m ž\n"
    );
}

#[test]
fn a_log_reads_in_the_order_in_which_it_stands_and_json_says_the_same_harmlessly() {
    let root = DockerRoot::new();
    let text =
        "pay \u{202e}evil\u{202c} \u{2067}x\u{2069}\u{2028}forged\u{9b}2J \u{1f469}\u{200d}\u{1f4bb} ž";
    root.container('a', "we\u{202e}b").line(text);
    let shown =
        |arguments: &[&str]| String::from_utf8(run(root.path(), arguments).stdout).expect("UTF-8");
    let expected = "we\u{fffd}b | pay \u{fffd}evil\u{fffd} \u{fffd}x\u{fffd}\u{fffd}forged\u{fffd}2J \u{1f469}\u{200d}\u{1f4bb} ž\n";
    assert_eq!(shown(&["--no-follow"]), expected);
    let json = shown(&["--no-follow", "--json"]);
    assert!(
        !json.contains(['\u{202e}', '\u{202c}', '\u{2067}', '\u{2069}', '\u{2028}', '\u{9b}']),
        "{json:?}"
    );
    let record: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&record["log"], &record["container_name"]),
        (&text.into(), &"we\u{202e}b".into())
    );
    assert!(shown(&["--no-follow", "--raw"]).contains(text));
}

#[test]
fn a_db_makes_the_next_run_go_on_where_the_last_one_left_off_if_positions_are_saved() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let db = format!("DB={}", root.path().join("positions.db").display());
    for round in 0..3 {
        log.line(&format!("round {round}"));
        let output = run(root.path(), &["--no-follow", "--save-position", "-o", &db]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("web | round {round}\n")
        );
    }
    let output = run(root.path(), &["--no-follow", "--save-position"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("-o DB=FILE"));
}

#[test]
fn a_db_of_somebody_else_is_an_error_and_stays_as_it_is() {
    let root = sample();
    let path = root.path().join("passwd");
    let db = format!("DB={}", path.display());
    for (content, why) in [
        ("root:x:0:0::/root:/bin/sh\n", "not a checkpoint"),
        ("SQLite format 3\0", "tail's database"),
    ] {
        std::fs::write(&path, content).expect("ours");
        for flags in [
            &["--no-follow"][..],
            &["--no-follow", "--save-position"],
            &["check"],
        ] {
            let output = run(root.path(), &[flags, &["-o", &db]].concat());
            let said =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(
                !output.status.success() && said.contains(why) && said.contains("passwd"),
                "{flags:?}: {said}"
            );
            assert_eq!(
                std::fs::read_to_string(&path).expect("it is there"),
                content
            );
        }
    }
    let left: Vec<_> = std::fs::read_dir(root.path())
        .expect("ours")
        .map(|entry| entry.expect("ours").file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("aside")),
        "{left:?}"
    );
}

#[test]
fn it_follows_in_colour_until_it_is_told_to_end() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("first");
    let mut child = command(root.path(), &["--color", "always"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tail-containers runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("readable");
    assert_eq!(next(), "\u{1b}[36mweb |\u{1b}[0m first");
    log.line("second");
    assert_eq!(next(), "\u{1b}[36mweb |\u{1b}[0m second");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
    assert!(child.wait().expect("it ends").success());
    let mut complaints = String::new();
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut complaints)
        .expect("readable");
    assert_eq!(complaints, "");
}

/// Runs tail-containers where the kernel grants `limit` inotify objects of one
/// kind; a user namespace has limits of its own.
fn with_inotify_limit(root: &Path, kind: &str, limit: u32) -> Command {
    let script = format!("echo {limit} >/proc/sys/user/max_inotify_{kind} && exec \"$@\"");
    let program = command(root, &["-o", "Rescan_Interval=50ms"]);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script, "sh"]);
    command
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::null());
    command
}

#[test]
fn without_change_notification_it_looks_by_itself_and_says_so_once() {
    let test = "tail_containers::without_change_notification_it_looks_by_itself_and_says_so_once";
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
    for (kind, limit) in [
        ("instances", 0),
        ("instances", 1),
        ("watches", 0),
        ("watches", 2),
    ] {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        log.line("line 0");
        let mut child = with_inotify_limit(root.path(), kind, limit)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut next = || lines.next().expect("a line").expect("readable");
        assert_eq!(next(), "web | line 0");
        for round in 1..6 {
            log.line(&format!("line {round}"));
            assert_eq!(next(), format!("web | line {round}"));
            log.rotate(3, round % 2 == 0);
        }
        root.container('b', "new").line("from a new container");
        assert_eq!(next(), "new | from a new container");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            said.matches("no change notification").count(),
            1,
            "{kind} {limit}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{kind} {limit}: {said}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    for _ in 0..50_000 {
        log.line("more than a pipe holds");
    }
    let mut child = command(root.path(), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tail-containers runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn mistakes_are_explained() {
    let root = DockerRoot::new();
    for (arguments, part) in [
        (
            &["-o", "Nonsense=1"][..],
            "no such option. Available options: Runtime, Docker_Root",
        ),
        (&["-o", "Tag_Template={nam}"], "{nam}"),
        (
            &["-o", "Multilin=java"],
            "did you mean Multiline? Available options: Runtime",
        ),
        (&["-o", "DB"], "NAME=VALUE"),
        (&["--frobnicate"], "--frobnicate"),
        (&["--folow"], "'--follow'"),
        (&["--grep", "a("], "unclosed group"),
        (&["-n", "ten"], "a number of lines, or all"),
        (&["-n", "+5"], "a number of lines, or all"),
        (&["-n", "-1"], "a number of lines, or all"),
        (&["web["], "`web[`"),
        (&["--until", "10m", "--follow"], "cannot be used with"),
    ] {
        let output = run(root.path(), arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[test]
fn a_command_line_that_is_wrong_ends_with_2_and_nothing_else() {
    let root = sample();
    for (arguments, part) in [
        (&["-o", "Mode=files"][..], "option Mode"),
        (&["-o", "Multiline=xx("], "option Multiline"),
        (&["-o", "Tag_Template={nme}"], "{nme}"),
        (&["-o", "Runtime=foo"], "option Runtime"),
        (&["--include", "foo=1"], "option Include"),
        (&["--exclude", "name="], "option Exclude"),
        (&["check", "--exclude", "name="], "option Exclude"),
        (&["--save-position"], "-o DB=FILE"),
        (
            &["--since", "30m", "--until", "1h"],
            "--since is after --until",
        ),
        (&["--grep", "x", "check"], "check has no use for --grep"),
        (
            &["--no-follow", "check"],
            "check has no use for --no-follow",
        ),
    ] {
        let output = run(root.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn json_may_stand_before_check() {
    let root = sample();
    let output = run(root.path(), &["--json", "check", "-o", "Docker_Socket=off"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["schema"], 1);
}

#[test]
fn it_says_what_it_waits_for() {
    let root = DockerRoot::new();
    let said_at_first = |arguments: &[&str]| {
        let arguments = [arguments, &["-o", "Docker_Socket=off"]].concat();
        let mut child = command(root.path(), &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tail-containers runs");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let line = said.next().expect("a line").expect("readable");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
        child.wait().expect("it ends");
        line
    };
    assert!(said_at_first(&[]).contains("no container yet; waiting"));
    root.container('a', "web").line("hello");
    root.container('b', "cart").line("hello");
    let rule = ["--include", "name=nothing"];
    let line = said_at_first(&rule);
    assert!(line.contains("none of the 2 containers matches the rules; waiting"));
    let output = run(root.path(), &["--no-follow", rule[0], rule[1]]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("none of the 2 containers matches the rules"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
}

/// Starts a program with limits that a line of shell sets.
fn spawn_behind(limits: &str, program: &Command) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{limits} && exec \"$@\""))
        .arg("sh")
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs")
}

/// More logs than there are descriptors.
#[test]
fn with_few_descriptors_all_logs_are_read_and_what_is_written_to_them_later() {
    let root = DockerRoot::new();
    let log = |number: usize| {
        let mut log = root.created_with_id(&format!("{number:064x}"), &format!("c{number}"));
        log.open_log();
        log
    };
    let mut logs: Vec<_> = (0..40).map(log).collect();
    let program = command(root.path(), &["-o", "Docker_Socket=off"]);
    logs.iter_mut().for_each(|log| log.line("hello"));
    // Some fifteen are not of logs; eight logs may be open at rest, and ten unread.
    let mut child = spawn_behind("ulimit -n 32", &program);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for _ in 0..3 {
        let mut names = std::collections::BTreeSet::new();
        while names.len() < logs.len() {
            let line = lines.next().expect("a line").expect("readable");
            let name = line.split_whitespace().next().expect("a name").to_owned();
            assert!(names.insert(name), "{line} came twice");
        }
        logs.iter_mut().for_each(|log| log.line("hello"));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "");
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_said_once_and_catches_up() {
    let test = "tail_containers::a_checkpoint_that_cannot_be_written_is_said_once_and_catches_up";
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let db = format!("DB={}", root.path().join("positions.db").display());
    assert!(
        run(root.path(), &["--no-follow", "--save-position", "-o", &db])
            .status
            .success()
    );
    // No file may grow beyond its first page, which fails as a full disk does:
    // the header is there, and no entry can follow it.
    let program = command(root.path(), &["--save-position", "-o", &db]);
    let mut child = spawn_behind("trap '' XFSZ; ulimit -S -f 8", &program);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for number in 0..3 {
        log.line(&format!("line {number}"));
        assert_eq!(
            lines.next().expect("a line").expect("readable"),
            format!("web | line {number}")
        );
    }
    let pid = child.id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    let is_raised = raised.is_ok_and(|status| status.success());
    log.line("line 3");
    assert_eq!(
        lines.next().expect("a line").expect("readable"),
        "web | line 3"
    );
    kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        said.matches("positions are kept only in memory").count(),
        1,
        "{said}"
    );
    if !is_raised {
        return skip(test, "no prlimit");
    }
    let output = run(root.path(), &["--no-follow", "-o", &db]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "what was accepted is known"
    );
}

/// What became fields is shown as it was written, and lines that are one record stand
/// below each other.
#[test]
fn merged_and_joined_lines_are_readable() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    for line in [r#"{"level":"info"}"#, "a.Error: x", "\tat a.B", "done"] {
        log.line(line);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_tail-containers"))
        .args([
            "--no-follow",
            "--runtime",
            "docker",
            "-o",
            "Merge_Log=on",
            "-o",
            "Multiline=java",
            "--docker-root",
        ])
        .arg(root.path())
        .output()
        .expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        shown,
        "web | {\"level\":\"info\"}\nweb | a.Error: x\n    | \tat a.B\nweb | done\n"
    );
}

/// A folder that was named is missed, whatever other runtimes there are.
#[test]
fn a_docker_root_that_is_not_there_is_said() {
    let root = DockerRoot::new();
    let wrong = root.path().join("wrong");
    let storage = root.path().join("storage");
    std::fs::create_dir(&storage).expect("a folder");
    let run = |command: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_tail-containers"))
            .args(command)
            .args([
                "-o",
                &format!("Podman_Root={}", storage.display()),
                "-o",
                "Docker_Socket=off",
            ])
            .arg("--docker-root")
            .arg(&wrong)
            .output()
            .expect("it runs")
    };
    for follow in ["--follow", "--no-follow"] {
        let output = run(&[follow]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("nothing can be read") && said.contains("wrong/containers"),
            "{said}"
        );
        assert_eq!(
            (output.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
    }
    let checked = run(&["check"]);
    let page = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        page.contains("wrong/containers") && page.contains("the folder does not exist"),
        "{page}"
    );
    assert_eq!(checked.status.code(), Some(1), "{page}");
}
