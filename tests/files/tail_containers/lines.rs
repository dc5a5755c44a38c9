//! Which lines are printed, and how they look.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use test_kit::docker_root::DockerRoot;
use test_kit::played_api::{PlayedApi, PlayedContainer};
use test_kit::pod_root::PodRoot;
use test_kit::pty::OnTerminal;
use test_kit::tail_containers::{program, run};
use test_kit::{playing_host::PATIENCE, skip, wait_until};

fn out(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Without the switch that the test kit adds.
fn by_default(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(["--runtime", "docker", "--docker-root"])
        .arg(root)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn texts(name: &str, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let lines = numbers.into_iter();
    lines
        .map(|number| format!("{name} | line {number}"))
        .collect()
}

#[test]
fn the_last_ten_lines_of_each_container_and_then_what_it_writes() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    let mut api = root.container('b', "api");
    for number in 0..25 {
        web.line(&format!("line {number}"));
    }
    api.line("line 0");
    let mut child = by_default(root.path(), &[])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = |count: usize| -> Vec<String> {
        let lines = lines.by_ref().take(count);
        let mut lines: Vec<String> = lines.map(|line| line.expect("readable")).collect();
        lines.sort();
        lines
    };
    let mut expected = texts("web", 15..25);
    expected.insert(0, "api | line 0".to_owned());
    assert_eq!(next(11), expected);
    web.line("line 25");
    assert_eq!(next(1), ["web | line 25"]);
    // A container that is new is read whole.
    let mut new = root.container('c', "new");
    for number in 0..12 {
        new.line(&format!("line {number}"));
    }
    let mut expected = texts("new", 0..12);
    expected.sort();
    assert_eq!(next(12), expected);
    child.kill().expect("our child");
    child.wait().expect("it ends");
}

#[test]
fn as_many_lines_as_are_asked_for_from_rotated_and_compressed_files_too() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    for number in 0..30 {
        web.line(&format!("line {number}"));
        if number % 10 == 9 {
            web.rotate(4, true);
        }
    }
    web.line("line 30");
    let shown = |arguments: &[&str]| -> Vec<String> {
        let output = by_default(root.path(), &[&["--no-follow"], arguments].concat()).output();
        let text = out(&output.expect("it runs"));
        text.lines().map(str::to_owned).collect()
    };
    assert_eq!(shown(&[]), texts("web", 21..31), "the default");
    for (arguments, first) in [
        (&["-n", "1"][..], 30),
        (&["-n", "0"], 31),
        (&["-n2"], 29),
        (&["--tail", "11"], 20),
        (&["--tail", "12"], 19),
        (&["--tail=25"], 6),
        (&["--tail", "5", "--tail", "7"], 24),
        (&["--tail", "1000"], 0),
        (&["--tail", "all"], 0),
        // What limits the lines otherwise is not limited to ten of them.
        (&["--since", "2023-11-14T22:13:20Z"], 0),
    ] {
        assert_eq!(shown(arguments), texts("web", first..31), "{arguments:?}");
    }
}

/// Each piece of a line is an entry of the log; a line is a line.
#[test]
fn a_line_in_pieces_is_one_of_the_last_lines() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("before");
    let time = "2023-11-14T22:13:21Z";
    web.piece("stdout", "one, ", time);
    web.piece("stderr", "of the other stream\n", time);
    web.piece("stdout", "line\n", time);
    let shown = |lines: &str| out(&run(root.path(), &["--no-follow", "-n", lines]));
    assert_eq!(shown("1"), "web | one, line\n");
    assert_eq!(shown("2"), "web ! of the other stream\nweb | one, line\n");
    assert_eq!(
        shown("3"),
        "web | before\nweb ! of the other stream\nweb | one, line\n"
    );
}

/// Docker before 18.06: each piece has a time of its own.
#[test]
fn a_line_whose_pieces_have_times_of_their_own_is_one_of_the_last_lines() {
    let full = "x".repeat(16_384);
    for rest in ["y".repeat(40_000 - 2 * 16_384), String::new()] {
        for apart in [1, 50_000_000] {
            let root = DockerRoot::new();
            let mut web = root.container('a', "web");
            let time = |number: u32| format!("2023-11-14T22:13:21.{:09}Z", number * apart);
            web.line("before");
            web.piece("stdout", &full, &time(1));
            web.piece("stdout", &full, &time(2));
            web.piece("stdout", &format!("{rest}\n"), &time(3));
            web.piece("stdout", "last\n", "2023-11-14T22:13:22Z");
            let shown = out(&run(root.path(), &["--no-follow", "-n", "2"]));
            let expected = format!("web | {full}{full}{rest}\nweb | last\n");
            assert!(shown == expected, "{apart} ns: {} bytes", shown.len());
        }
    }
}

#[test]
fn docker_is_asked_for_the_last_lines_of_what_only_it_has() {
    let root = DockerRoot::new();
    let kept = root.created_container('a', "kept");
    let config = serde_json::json!({"LogConfig": {"Type": "journald", "Config": {}}});
    std::fs::write(kept.dir.join("hostconfig.json"), config.to_string()).expect("ours");
    kept.write_config("kept", false);
    let played = PlayedContainer::ended("kept", "journald", &["one", "two", "three"]);
    let api = PlayedApi::of_docker([(kept.id.clone(), played)]);
    let socket = format!("Docker_Socket={}", api.socket());
    let output = by_default(root.path(), &["--no-follow", "-n", "2", "-o", &socket]).output();
    assert!(output.expect("it runs").status.success());
    let asked = api.requests("/logs?");
    assert!(asked.iter().any(|it| it.ends_with("&tail=2")), "{asked:?}");
}

#[test]
fn lines_are_printed_until_a_time_and_the_last_of_those() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    for number in 0..20 {
        web.line(&format!("line {number}"));
    }
    // Line N is N + 1 nanoseconds after that second.
    let until = |arguments: &[&str]| -> Vec<String> {
        let time = ["--until", "2023-11-14T22:13:20.000000016Z"];
        let output = by_default(root.path(), &[&time, arguments].concat()).output();
        let text = out(&output.expect("it runs"));
        text.lines().map(str::to_owned).collect()
    };
    assert_eq!(until(&[]), texts("web", 0..15));
    assert_eq!(until(&["-n", "3"]), texts("web", 12..15));
    let since = ["--since", "2023-11-14T22:13:20.000000011Z"];
    assert_eq!(until(&since), texts("web", 10..15));
}

/// Such as two tasks of one name, or one that was made again.
#[test]
fn of_two_containers_of_one_name_each_has_its_last_lines_before_a_time() {
    let root = DockerRoot::new();
    for digit in ['a', 'b'] {
        let mut web = root.container(digit, "web");
        for number in 0..5 {
            web.line(&format!("line {number} of {digit}"));
        }
    }
    let until = ["--until", "2023-11-14T22:13:21Z", "-n", "2"];
    let output = by_default(root.path(), &until).output();
    let text = out(&output.expect("it runs"));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let want = [
        "web | line 3 of a",
        "web | line 3 of b",
        "web | line 4 of a",
        "web | line 4 of b",
    ];
    assert_eq!(lines, want);
}

#[test]
fn a_time_before_each_line_and_what_matches() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    web.line("GET /goods");
    web.entry("stderr", "error: no stock\n");
    web.line("GET /cart");
    let shown =
        |arguments: &[&str]| out(&run(root.path(), &[&["--no-follow"], arguments].concat()));
    assert_eq!(
        shown(&["-t", "--grep", "cart"]),
        "web | 2023-11-14T22:13:20.000000003Z GET /cart\n"
    );
    assert_eq!(
        shown(&["--grep", "(?i)ERROR", "--grep", "^GET /g"]),
        "web | GET /goods\nweb ! error: no stock\n"
    );
    let json = shown(&["--grep", "stock", "--json"]);
    assert!(
        json.lines().count() == 1 && json.contains("no stock"),
        "{json}"
    );
    assert_eq!(
        shown(&["--color=always", "--grep", "GET", "--highlight", "/c.*"]),
        "\u{1b}[36mweb |\u{1b}[0m \u{1b}[7mGET\u{1b}[0m /goods\n\
         \u{1b}[36mweb |\u{1b}[0m \u{1b}[7mGET\u{1b}[0m \u{1b}[7m/cart\u{1b}[0m\n"
    );
    assert_eq!(
        shown(&["--color=always", "--grep", "no"]),
        "\u{1b}[36mweb \u{1b}[31m!\u{1b}[0m error: \u{1b}[7mno\u{1b}[0m stock\n"
    );
}

#[test]
fn json_is_formatted_for_a_person_and_never_steers_the_terminal() {
    let root = DockerRoot::new();
    let line = r#"{\"level\":\"warn\",\"msg\":\"a\\u001b[2Jb\",\"order\":7}"#;
    let mut web = root.container('a', "web");
    let record = format!(
        "{{\"log\":\"{line}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}}\n"
    );
    web.raw(record.as_bytes());
    let shown =
        |arguments: &[&str]| out(&run(root.path(), &[&["--no-follow"], arguments].concat()));
    let as_written = line.replace('\\', "").replace("u001b", "\\u001b");
    assert_eq!(shown(&[]), format!("web | {as_written}\n"), "in a pipe");
    assert_eq!(
        shown(&["--color", "always"]),
        "\u{1b}[36mweb |\u{1b}[0m \u{1b}[33mWARN\u{1b}[0m  a\\u001b[2Jb \u{1b}[2morder=\u{1b}[0m7\n"
    );
    assert_eq!(
        shown(&["--color", "always", "--raw"]),
        format!("\u{1b}[36mweb |\u{1b}[0m {as_written}\n")
    );
}

#[test]
fn a_pod_has_its_namespace_and_a_long_name_keeps_both_ends_on_a_terminal() {
    let pods = PodRoot::new();
    let name = "web-with-a-name-that-says-much-6d4b75cb6d-x2x9z";
    pods.container("shop", name, "app").line("hello");
    let mut command = Command::new(program());
    command
        .args(["--runtime", "cri", "--pod-logs"])
        .arg(pods.pods())
        .stdin(Stdio::null());
    let in_pipe = Command::new(command.get_program())
        .args(command.get_args())
        .arg("--no-follow")
        .output();
    let whole = format!("shop/{name}/app | hello\n");
    assert_eq!(out(&in_pipe.expect("it runs")), whole);
    if Command::new("setsid").arg("--version").output().is_err() {
        let test = "tail_containers::lines::a_pod_has_its_namespace_and_a_long_name_keeps_both_ends_on_a_terminal";
        return skip(test, "no setsid (Debian: util-linux)");
    }
    for (columns, prefix) in [
        (80, "shop/web-with~d-x2x9z/app |"),
        (120, "shop/web-with-a-name~cb6d-x2x9z/app |"),
        (200, "shop/web-with-a-name~cb6d-x2x9z/app |"),
    ] {
        let terminal = OnTerminal::start(&command, columns, 10);
        wait_until(PATIENCE, "the line", || {
            !terminal.screen().lines().is_empty()
        });
        let lines = terminal.screen().lines();
        let (shown, _) = lines[0].split_once(" hello").expect("the line");
        assert!(
            shown.starts_with("shop/web-with") && shown.ends_with("-x2x9z/app |"),
            "{prefix}: {lines:?}"
        );
        let widest = (usize::from(columns) / 3).clamp(16, 40);
        assert_eq!(shown.len(), widest + 2, "{columns} columns: {lines:?}");
        terminal.type_text("\u{3}");
        assert!(terminal.end().0.success());
    }
}

/// All bars are in one column from the first line on, also of a container that prints last.
#[test]
fn on_a_terminal_the_column_of_names_does_not_grow_between_lines() {
    if Command::new("setsid").arg("--version").output().is_err() {
        let test =
            "tail_containers::lines::on_a_terminal_the_column_of_names_does_not_grow_between_lines";
        return skip(test, "no setsid (Debian: util-linux)");
    }
    let root = DockerRoot::new();
    let mut logs = [
        ('a', "web"),
        ('b', "a-longer-name"),
        ('c', "excluded-and-longest"),
    ]
    .map(|(digit, name)| root.container(digit, name));
    logs[0].line("one");
    let command = by_default(root.path(), &["--exclude", "name=excluded-*"]);
    let terminal = OnTerminal::start(&command, 80, 10);
    let has_line = |text: &str| {
        terminal
            .screen()
            .lines()
            .iter()
            .any(|line| line.ends_with(text))
    };
    wait_until(PATIENCE, "the first line", || has_line("| one"));
    logs[1].line("two");
    wait_until(PATIENCE, "the last line", || has_line("| two"));
    assert_eq!(
        terminal.screen().lines(),
        ["web           | one", "a-longer-name | two"]
    );
    terminal.type_text("\u{3}");
    assert!(terminal.end().0.success());
}

#[test]
fn colour_is_as_no_color_org_says() {
    let root = DockerRoot::new();
    root.container('a', "web").line("hello");
    let is_coloured = |arguments: &[&str], no_color: &str| {
        let mut command = by_default(root.path(), &[&["--no-follow"], arguments].concat());
        let output = command.env("NO_COLOR", no_color).output();
        out(&output.expect("it runs")).contains('\u{1b}')
    };
    assert!(!is_coloured(&[], ""), "a pipe");
    assert!(
        is_coloured(&["--color", "always"], "1"),
        "the command line wins"
    );
    assert!(!is_coloured(&["--color", "never"], ""));
}

#[test]
fn the_version_names_program_and_abi_and_the_help_fits_80_columns() {
    let output = |argument: &str| {
        let mut command = Command::new(program());
        out(&command.arg(argument).output().expect("it runs"))
    };
    let version = output("--version");
    let expected = format!("tail-containers {} (", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&expected), "{version}");
    assert!(
        version.ends_with("plugin ABI: Fluent Bit 2.1 to 5.1)\n"),
        "{version}"
    );
    let mut command = Command::new(program());
    let help = command.arg("--help").env("COLUMNS", "80").output();
    let help = out(&help.expect("it runs"));
    let widest = help.lines().map(str::len).max();
    assert!(widest <= Some(100), "{help}");
}
