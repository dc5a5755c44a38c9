//! `--stats`: the table, in a file and on a terminal.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{kill_process, Pid, Signal};

use test_kit::docker_root::DockerRoot;
use test_kit::pty::OnTerminal;
use test_kit::tail_containers::{command, run};
use test_kit::{programs, skip, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// The cells of the row of a container: source, lines a second, lines, lag, behind,
/// skipped, cut, abandoned.
fn cells<'t>(table: &'t [String], name: &str) -> Vec<&'t str> {
    let row = table
        .iter()
        .find(|line| line.starts_with(&format!("{name} ")));
    row.map(|row| row[name.len()..].split_whitespace().collect())
        .unwrap_or_default()
}

#[test]
fn with_no_follow_the_table_comes_once_and_counts_every_line_and_loss() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    for _ in 0..3 {
        web.line("hello");
    }
    web.rotate(3, true);
    web.line("and again");
    let mut torn = root.container('b', "torn");
    torn.raw(b"{\"log\":\"half a rec\n");
    torn.line("whole");
    let long = root.container('c', "long");
    let mut long = long;
    long.long_line("stdout", &"x".repeat(40_000));
    let journal = root.created_container('d', "journal");
    let driver = serde_json::json!({"LogConfig": {"Type": "journald", "Config": {}}});
    std::fs::write(journal.dir.join("hostconfig.json"), driver.to_string())
        .expect("the folder is ours");
    root.container('e', "unwanted").line("not counted");
    let arguments = [
        "--stats",
        "--no-follow",
        "--exclude",
        "name=unwanted",
        "-o",
        "Docker_Socket=off",
    ];
    let output = run(
        root.path(),
        &[&arguments[..], &["-o", "Partial_Max_Size=32k"]].concat(),
    );
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let table: Vec<String> = printed.lines().map(str::to_owned).collect();
    assert_eq!(table.len(), 1 + 4 + 1 + 1, "{printed}");
    assert!(table[0].starts_with("CONTAINER "), "{printed}");
    let without_rate = |name: &str| {
        let mut cells = cells(&table, name);
        cells.remove(1);
        cells
    };
    assert_eq!(
        without_rate("web"),
        ["json-file", "4", "-", "-", "-", "-", "-"],
        "{printed}"
    );
    assert_eq!(
        without_rate("torn"),
        ["json-file", "1", "-", "-", "19", "-", "-"],
        "{printed}"
    );
    assert_eq!(
        without_rate("long"),
        ["json-file", "1", "-", "-", "-", "8.0k", "-"],
        "{printed}"
    );
    assert_eq!(
        without_rate("journal"),
        ["journald/nowhere", "0", "-", "-", "-", "-", "-"],
        "{printed}"
    );
    // It has no source; what is behind the rate is as of a container.
    let total = cells(&table, "total of 4 containers");
    assert_eq!(total[1..], ["6", "-", "-", "19", "8.0k", "-"], "{printed}");
    let lossy: Vec<&str> = table[1..3]
        .iter()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(
        lossy.contains(&"torn") && lossy.contains(&"long"),
        "losses come first: {printed}"
    );
}

#[test]
fn in_a_pipe_a_plain_table_comes_at_each_interval_and_counts_on() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("first");
    let mut child = command(root.path(), &["--stats=100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tail-containers runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next_table = || -> Vec<String> {
        let lines = lines.by_ref().map(|line| line.expect("readable"));
        lines.take_while(|line| !line.is_empty()).collect()
    };
    for count in ["1", "2", "3"] {
        let mut table = next_table();
        while cells(&table, "web").get(2) != Some(&count) {
            assert!(!table.is_empty(), "it ended");
            table = next_table();
        }
        assert!(!table.concat().contains('\u{1b}'), "{table:?}");
        // A moment later nothing is new.
        while cells(&table, "web")[1] != "-" {
            table = next_table();
        }
        log.line("another");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// On a terminal of that size.
fn on_terminal(root: &DockerRoot, arguments: &[&str], columns: u16, rows: u16) -> OnTerminal {
    let command: Command = command(root.path(), &[&["--stats=100ms"], arguments].concat());
    OnTerminal::start(&command, columns, rows)
}

fn has_setsid(test: &str) -> bool {
    let is_there = programs("setsid").next().is_some();
    if !is_there {
        skip(test, "no setsid (Debian: util-linux)");
    }
    is_there
}

#[test]
fn on_a_terminal_the_table_fits_whatever_its_size_and_ctrl_c_leaves_it_whole() {
    if !has_setsid(
        "tail_containers::stats::on_a_terminal_the_table_fits_whatever_its_size_and_ctrl_c_leaves_it_whole",
    ) {
        return;
    }
    let root = DockerRoot::new();
    for number in 0..30 {
        let name = format!("container-number-{number}-with-a-long-name-that-says-little");
        root.created_with_id(&format!("{number:064x}"), &name)
            .open_log();
    }
    let mut log = root.container('f', "web");
    log.line("one");
    let terminal = on_terminal(&root, &[], 90, 12);
    let shows = |part: &str, rows: usize| {
        let what = format!("{part:?} in {rows} rows");
        wait_until(PATIENCE, &what, || {
            let lines = terminal.screen().lines();
            lines.len() == rows && lines.iter().any(|line| line.contains(part))
        });
    };
    shows("total of 31 containers", 11);
    shows("and 23 more that do not fit", 11);
    // What was there before it went up, and nothing else.
    assert_eq!(terminal.screen().misfits(), (12 - 11, 0));
    let first = terminal.screen().lines();
    assert!(
        first[0].starts_with("CONTAINER ") && first[0].ends_with("ABANDONED"),
        "{first:#?}"
    );
    assert!(
        first[1].contains("~  json-file") || first[1].starts_with("web"),
        "{first:#?}"
    );
    for (columns, rows, hidden) in [
        (40, 8, Some(27)),
        (120, 40, None),
        (20, 4, Some(31)),
        (90, 12, Some(23)),
    ] {
        terminal.resize(columns, rows);
        let part = hidden.map_or_else(
            || "total of 31".to_owned(),
            |hidden| format!("and {hidden} more"),
        );
        shows(&part, 33.min(usize::from(rows) - 1));
        assert_eq!(terminal.screen().misfits(), (0, 0), "{columns}x{rows}");
    }
    // Where somebody types, the table stays where it is.
    terminal.type_text("\n\n");
    log.line("two");
    wait_until(PATIENCE, "the second line", || {
        let lines = terminal.screen().lines();
        cells(&lines, "total of 31 containers").get(1) == Some(&"2")
    });
    assert!(terminal.screen().lines()[0].starts_with("CONTAINER "));
    terminal.type_text("\u{3}");
    let (status, is_whole, screen) = terminal.end();
    assert!(status.success() && is_whole, "{status}");
    let raw = String::from_utf8_lossy(&screen.raw).into_owned();
    assert!(
        !raw.contains("\u{1b}[?") && !raw.contains("\u{1b}c"),
        "a mode of the terminal was changed"
    );
    assert!(raw.contains("\u{1b}[1mCONTAINER"), "its head is bold");
    // The last table stays, and what follows comes below it.
    assert_eq!(
        (
            screen.lines()[0].starts_with("CONTAINER "),
            screen.misfits().1
        ),
        (true, 0)
    );
    assert!(raw.ends_with("\r\u{1b}[K"), "{raw:?}");
    assert!(
        !screen.lines().concat().contains("^C"),
        "{:#?}",
        screen.lines()
    );
}

#[test]
fn a_message_does_not_tear_the_table_and_stands_behind_it_in_the_end() {
    if !has_setsid(
        "tail_containers::stats::a_message_does_not_tear_the_table_and_stands_behind_it_in_the_end",
    ) {
        return;
    }
    let root = DockerRoot::new();
    root.container('a', "web").line("one");
    let links = tempfile::tempdir().expect("a folder");
    std::fs::write(links.path().join("log"), "somebody else's").expect("a file");
    let planted = root.created_container('b', "planted");
    std::os::unix::fs::symlink(links.path().join("log"), &planted.log).expect("a link");
    let terminal = on_terminal(
        &root,
        &["--color", "never", "-o", "Docker_Socket=off"],
        60,
        10,
    );
    wait_until(PATIENCE, "the message below the table", || {
        let lines = terminal.screen().lines();
        lines.len() == 5
            && lines[3].starts_with("total of 2")
            && lines[4].starts_with("container planted (")
    });
    let lines = terminal.screen().lines();
    assert!(lines[4].ends_with('~') && lines[4].len() < 60, "{lines:#?}");
    terminal.type_text("\u{3}");
    let (status, is_whole, screen) = terminal.end();
    assert!(status.success() && is_whole, "{status}");
    let raw = String::from_utf8_lossy(&screen.raw).into_owned();
    assert_eq!(
        raw.matches("tail-containers: container planted (").count(),
        1,
        "{raw:?}"
    );
    assert!(!raw.contains("\u{1b}[1m"), "no colour");
}
