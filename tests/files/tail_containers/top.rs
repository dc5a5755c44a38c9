//! `top`: the table, in a file and on a terminal, of this machine and of a Fluent Bit.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{bind, getsockname, socket, AddressFamily, SocketType};
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
        "top",
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
    let mut child = command(root.path(), &["top", "-d100ms", "--tail", "all"])
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

/// On a terminal of that size, on which a shell has printed something before.
fn on_terminal(root: &DockerRoot, arguments: &[&str], columns: u16, rows: u16) -> OnTerminal {
    let top = ["top", "-d100ms", "--tail", "all"];
    let top = command(root.path(), &[&top, arguments].concat());
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "echo before; \"$@\"; code=$?; echo after; exit $code",
            "sh",
        ])
        .arg(top.get_program())
        .args(top.get_args());
    OnTerminal::start(&command, columns, rows)
}

fn has_setsid(test: &str) -> bool {
    let is_there = programs("setsid").next().is_some();
    if !is_there {
        skip(test, "no setsid (Debian: util-linux)");
    }
    is_there
}

/// Waits for a row in which all of these parts are.
fn shows(terminal: &OnTerminal, parts: &[&str]) {
    wait_until(PATIENCE, &format!("{parts:?}"), || {
        let lines = terminal.screen().lines();
        let has = |line: &String| parts.iter().all(|part| line.contains(part));
        lines.iter().any(has)
    });
}

const UP: &str = "\u{1b}[A";
const PAGE_DOWN: &str = "\u{1b}[6~";
const END: &str = "\u{1b}[F";
const HOME: &str = "\u{1b}[H";

#[test]
fn on_a_terminal_every_row_can_be_reached_at_every_size() {
    if !has_setsid("tail_containers::top::on_a_terminal_every_row_can_be_reached_at_every_size") {
        return;
    }
    let root = DockerRoot::new();
    for number in 0..30 {
        let name = format!("container-{number:02}-with-a-long-name-that-says-little");
        root.created_with_id(&format!("{number:064x}"), &name)
            .open_log();
    }
    let terminal = on_terminal(&root, &[], 80, 24);
    shows(&terminal, &["total of 30"]);
    assert!(terminal.screen().is_alternate());
    for (columns, rows) in [(90_u16, 12_u16), (50, 8), (200, 50), (60, 5)] {
        terminal.resize(columns, rows);
        let number = |line: &String| -> Option<u32> {
            line.strip_prefix("container-")?.get(..2)?.parse().ok()
        };
        let shown = || -> Vec<u32> {
            terminal
                .screen()
                .lines()
                .iter()
                .filter_map(number)
                .collect()
        };
        // Title and keys take two rows of a terminal that is not low, heads and sum two.
        let fit = usize::from(rows) - if rows < 8 { 2 } else { 4 };
        let page: Vec<u32> = (0..30).take(fit).collect();
        // A key that arrives while the terminal changes may be taken for one of the old size.
        wait_until(PATIENCE, &format!("{columns}x{rows}: {fit} rows"), || {
            shown().len() == fit
        });
        terminal.type_text(HOME);
        wait_until(PATIENCE, &format!("{columns}x{rows}: {page:?}"), || {
            shown() == page
        });
        let mut first = 0;
        while first + fit < 30 {
            // The last page is a whole one, too.
            first = (first + fit).min(30 - fit);
            terminal.type_text(PAGE_DOWN);
            let page: Vec<u32> = (0..30).skip(first).take(fit).collect();
            wait_until(PATIENCE, &format!("{columns}x{rows}: {page:?}"), || {
                shown() == page
            });
        }
        assert_eq!(terminal.screen().misfits(), (0, 0), "{columns}x{rows}");
    }
    terminal.type_text(END);
    terminal.type_text(UP);
    terminal.type_text("q");
    let (status, is_whole, screen) = terminal.end();
    assert!(status.success() && is_whole, "{status}");
    assert_eq!(screen.lines(), ["before", "after"], "nothing of it remains");
    assert_eq!(screen.misfits(), (0, 0));
    assert!(!screen.is_alternate());
}

#[test]
fn keys_sort_and_filter_while_the_figures_go_on() {
    if !has_setsid("tail_containers::top::keys_sort_and_filter_while_the_figures_go_on") {
        return;
    }
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("one");
    root.container('b', "cart").line("one");
    let mut api = root.container('c', "api");
    (0..5).for_each(|_| api.line("some"));
    let terminal = on_terminal(&root, &[], 100, 12);
    shows(&terminal, &["total of 3 containers", " 7 "]);
    let first = || {
        let lines = terminal.screen().lines();
        let row = lines.get(2).cloned().unwrap_or_default();
        row.split_whitespace().next().unwrap_or_default().to_owned()
    };
    for (order, name) in [
        ("lines/s", None),
        ("lines", Some("api")),
        ("behind", None),
        ("name", Some("api")),
    ] {
        terminal.type_text("s");
        shows(&terminal, &[&format!("by {order}")]);
        if let Some(name) = name {
            wait_until(PATIENCE, &format!("{name} first by {order}"), || {
                first() == name
            });
        }
    }
    terminal.type_text("/WE");
    shows(&terminal, &["/WE"]);
    wait_until(PATIENCE, "web alone", || first() == "web");
    terminal.type_text("\r");
    shows(&terminal, &["q quit"]);
    web.line("two");
    wait_until(PATIENCE, "its second line", || {
        cells(&terminal.screen().lines(), "web").get(2) == Some(&"2")
    });
    assert!(cells(&terminal.screen().lines(), "cart").is_empty());
    terminal.type_text("\u{1b}");
    wait_until(PATIENCE, "all of them", || first() == "api");
    // Ctrl-C is a key like q here, and the shell is not asked.
    terminal.type_text("\u{3}");
    let (status, is_whole, screen) = terminal.end();
    assert!(status.success() && is_whole, "{status}");
    assert_eq!(screen.lines(), ["before", "after"]);
}

#[test]
fn a_message_does_not_tear_the_table_and_is_printed_in_the_end() {
    if !has_setsid(
        "tail_containers::top::a_message_does_not_tear_the_table_and_is_printed_in_the_end",
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
        lines.len() == 10 && lines[8].starts_with("container planted (")
    });
    let lines = terminal.screen().lines();
    assert!(lines[8].ends_with('~'), "{lines:#?}");
    terminal.type_text("q");
    let (status, is_whole, screen) = terminal.end();
    assert!(status.success() && is_whole, "{status}");
    let raw = String::from_utf8_lossy(&screen.raw).into_owned();
    assert_eq!(
        raw.matches("tail-containers: container planted (").count(),
        1,
        "{raw:?}"
    );
    assert!(
        !raw.contains("\u{1b}[1m") && !raw.contains("\u{1b}[38;"),
        "no colour: {raw:?}"
    );
}

#[test]
fn a_fluent_bit_that_does_not_answer_is_one_clear_line() {
    let said = |url: &str| {
        let output = Command::new(test_kit::tail_containers::program())
            .args(["top", "--url", url, "--no-follow"])
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    // A socket with a port of its own that refuses connections, because nobody listens.
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = getsockname(&socket).expect("bound");
    let port = SocketAddrV4::try_from(address).expect("of IPv4").port();
    let url = format!("http://127.0.0.1:{port}");
    let (code, text) = said(&url);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with(&format!("tail-containers: {url}: Connection refused")),
        "{text}"
    );
    assert!(text.contains("HTTP_Server On"), "{text}");
    let (code, text) = said("https://localhost");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("only http:// is supported"), "{text}");
}

#[test]
fn a_switch_that_it_would_ignore_is_a_mistake() {
    let root = DockerRoot::new();
    for (arguments, part) in [
        (&["--json", "top"][..], "top has no use for --json"),
        (&["--grep", "x", "top"], "top has no use for --grep"),
        (&["--no-follow", "top"], "write --no-follow after top"),
    ] {
        let output = run(root.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

/// The old switch, which scripts may have: the same table, of the whole logs.
#[test]
fn stats_is_another_name_of_it() {
    let root = DockerRoot::new();
    root.container('a', "web").line("hello");
    let output = run(root.path(), &["--stats", "--no-follow"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let table: Vec<String> = printed.lines().map(str::to_owned).collect();
    assert_eq!(
        cells(&table, "web")[2..],
        ["1", "-", "-", "-", "-", "-"],
        "{printed}"
    );
}

/// By default, only what is written from now on is counted.
#[test]
fn what_was_logged_before_is_counted_only_if_asked_for() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    log.line("before");
    let mut child = command(root.path(), &["top", "-d100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tail-containers runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut lines = lines.map(|line| line.expect("readable"));
    let mut count = || {
        let row = lines.by_ref().find(|line| line.starts_with("web "));
        let row = row.expect("a row");
        row.split_whitespace().nth(3).expect("a count").to_owned()
    };
    assert_eq!(count(), "0");
    log.line("after");
    while count() != "1" {}
    kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
    assert!(child.wait().expect("it ends").success());
}
