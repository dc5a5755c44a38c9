//! `tail-containers` beside a host that has the DB.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};

use test_kit::collector::PATIENCE;
use test_kit::docker_root::DockerRoot;
use test_kit::exporter::{host_over, scrape, value};
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::playing_host::{PlayingHost, Release};
use test_kit::tail_containers::run;

/// The DB of a Fluent Bit, which has it locked or is stopped for the moment: what is printed
/// here must come there all the same.
#[test]
fn a_db_is_only_read_and_what_is_printed_is_still_to_be_delivered() {
    let root = DockerRoot::new();
    let mut log = root.container('a', "web");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("positions.db");
    let db = format!("DB={}", path.display());
    let shown = |more: &[&str]| {
        let output = run(root.path(), &[&["-o", &db][..], more].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    log.line("delivered");
    // One that is not there is missed and not made.
    let (lines, said) = shown(&["--no-follow"]);
    assert_eq!(lines, "web | delivered\n");
    assert!(
        said.contains("positions.db: the file does not exist; nothing was changed"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).expect("ours").count(), 0);
    let mut host = PlayingHost::start(Release::LATEST);
    host.ok(&format!(
        "instance a runtime=docker docker_root=\"{}\" db=\"{}\"",
        root.path().display(),
        path.display()
    ));
    host.ok("init");
    host.run_until(1);
    let state = || {
        let meta = path.metadata().expect("the DB");
        (
            std::fs::read(&path).expect("the DB"),
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime_nsec(),
        )
    };
    for is_running in [true, false] {
        log.line("not delivered yet");
        let before = state();
        for more in [
            &["--no-follow"][..],
            &["--no-follow", "--json"],
            &["--no-follow", "--stats"],
        ] {
            let (lines, said) = shown(more);
            assert_eq!(
                lines.matches("not delivered yet").count(),
                usize::from(more.len() < 2 || more[1] == "--json"),
                "{lines}"
            );
            assert!(
                !lines.contains("| delivered") && said.is_empty(),
                "{lines}{said}"
            );
            assert!(state() == before, "{more:?} wrote to the DB");
        }
        // A writer is refused while the host runs.
        if is_running {
            let output = run(root.path(), &["--no-follow", "--save-position", "-o", &db]);
            assert!(String::from_utf8_lossy(&output.stderr).contains("in use by another instance"));
            assert!(state() == before);
            host.run_until(2);
            host = {
                host.exit().assert_clean();
                PlayingHost::start(Release::LATEST)
            };
        }
    }
    host.ok(&format!(
        "instance a runtime=docker docker_root=\"{}\" db=\"{}\"",
        root.path().display(),
        path.display()
    ));
    host.ok("init");
    host.run_until(1);
    assert_eq!(
        host.texts("a"),
        ["not delivered yet"],
        "it came although it was printed"
    );
    host.exit().assert_clean();
}

/// `top --url` shows what a real Fluent Bit has delivered and lost, losses first, and follows it
/// until it is gone, which is said.
#[test]
fn top_shows_what_a_running_fluent_bit_delivers_and_that_it_is_gone() {
    let test = "tail_containers::top_shows_what_a_running_fluent_bit_delivers_and_that_it_is_gone";
    with_each_host(test, |program, plugin| {
        let root = DockerRoot::new();
        let mut web = root.container('a', "web");
        (0..100).for_each(|number| web.line(&format!("line {number}")));
        let mut torn = root.container('b', "torn");
        torn.raw(b"no record at all\n");
        torn.line("a record");
        let mut host = host_over(program, plugin, &root, "");
        host.start().expect("the host starts");
        host.wait_until(PATIENCE, "its records", |host| {
            value(&scrape(host), "records_total", &[]) == Some(101.0)
        });
        let url = format!("http://127.0.0.1:{}", host.http_port());
        let top = |more: &[&str]| {
            let mut command = Command::new(test_kit::tail_containers::program());
            command
                .args(["top", "-d", "100ms", "--url", &url])
                .args(more)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command
        };
        let output = top(&["--no-follow"]).output().expect("it runs");
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[0],
            [
                "CONTAINER",
                "INPUT",
                "LINES/S",
                "LINES",
                "LAG",
                "BEHIND",
                "SKIPPED",
                "CUT",
                "REFUSED",
                "ABANDONED"
            ],
            "{page}"
        );
        assert_eq!(
            rows[1],
            ["torn", "logs", "-", "1", "-", "-", "17", "-", "-", "-"]
        );
        assert_eq!(
            rows[2],
            ["web", "logs", "-", "100", "-", "-", "-", "-", "-", "-"]
        );
        assert_eq!(rows[3][..4], ["total", "of", "2", "containers"]);

        let mut child = top(&[]).spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map(|line| line.expect("readable"));
        let mut until = |wanted: &dyn Fn(&[&str]) -> bool| {
            let row = lines.find(|line| wanted(&line.split_whitespace().collect::<Vec<_>>()));
            assert!(row.is_some(), "it ended");
        };
        until(&|row| row.first() == Some(&"web"));
        (0..50).for_each(|number| web.line(&format!("further {number}")));
        // Fluent Bit's metrics are new once a second.
        until(&|row| row.first() == Some(&"web") && row[3] == "150" && row[2] != "-");
        host.end_in_order();
        let said = BufReader::new(child.stderr.take().expect("a pipe"))
            .lines()
            .next();
        let said = said.expect("a line").expect("readable");
        assert!(
            said.starts_with(&format!("tail-containers: {url}: ")),
            "{said}"
        );
        kill_process(Pid::from_child(&child), Signal::TERM).expect("our child");
        assert!(child.wait().expect("it ends").success());
        let output = top(&[]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    });
}

/// Fluent Bit's own tail reads a log in part, a rotation follows, and the plugin goes on with that
/// position: no line comes twice and none is missing.
#[test]
fn positions_of_tail_are_imported_and_nothing_is_repeated_or_missing() {
    let name = "tail_containers::positions_of_tail_are_imported_and_nothing_is_repeated_or_missing";
    with_each_host(name, |host, _plugin| {
        let root = DockerRoot::new();
        let mut log = root.container('a', "web");
        let folder = tempfile::tempdir().expect("a folder");
        let [tail_db, db] = ["tail.db", "ours.db"].map(|name| folder.path().join(name));
        let [tail_db, db] = [&tail_db, &db].map(|path| path.to_str().expect("UTF-8"));
        let config = format!(
            "[INPUT]\n    Name tail\n    Tag docker.web\n    Read_From_Head on\n    \
             Path {}/containers/*/*-json.log\n    DB {tail_db}\n",
            root.path().display()
        );
        let mut tail = FluentBit::new(host, None, &config);
        log.line("delivered by tail");
        log.entry("stderr", "this one too");
        tail.start().expect("it starts");
        tail.wait_to_reach(2, PATIENCE, "lines", FluentBit::record_count);
        tail.end_in_order();

        log.line("before the rotation");
        log.rotate(3, false);
        log.line("after the rotation");
        let mut later = root.container('b', "later");
        later.line("of a container that tail has not seen");
        let import = || {
            let output = run(root.path(), &["import", "--tail-db", tail_db, "--db", db]);
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let shown = import();
        assert!(shown.contains("web: at byte "), "{shown}");
        assert!(
            shown.contains(&format!("later: not in {tail_db}")),
            "{shown}"
        );
        assert!(
            shown.ends_with(
                "1 imported; 1 without a position, which are read like new containers\n"
            ),
            "{shown}"
        );
        assert!(import().contains("web: kept, it has a position already"));

        let shown = run(root.path(), &["--no-follow", "-o", &format!("DB={db}")]);
        let shown = String::from_utf8(shown.stdout).expect("UTF-8");
        let mut lines: Vec<_> = shown
            .lines()
            .filter_map(|line| {
                line.split_once(" | ")
                    .map(|(name, line)| (name.trim(), line))
            })
            .collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                ("later", "of a container that tail has not seen"),
                ("web", "after the rotation"),
                ("web", "before the rotation"),
            ]
        );
    });
}
