//! What the host refuses although it is not paused: for want of room, for its size, for
//! its tag, or for ever. Others pass it, it loses nothing that the host may take later,
//! and what the host never takes is counted and logged.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use test_kit::docker_root::{record, DockerRoot, LogWriter};
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::playing_host::{texts_of, Frame, PlayingHost, Release, PATIENCE};
use test_kit::receivers::http_on;

const TIME: &str = "2023-11-14T22:14:00.5Z";

fn host(root: &Path, options: &str) -> PlayingHost {
    let options = format!(
        "docker_root=\"{}\" runtime=docker docker_socket=off rescan_interval=20ms {options}",
        root.display()
    );
    PlayingHost::with_instance(Release::LATEST, &options)
}

fn lines(name: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{name} {number}")).collect()
}

fn write(log: &mut LogWriter, lines: &[String]) {
    lines.iter().for_each(|line| log.line(line));
}

/// The texts of one container, by the name that its records have.
fn of(frames: &[Frame], name: &str) -> Vec<String> {
    let records = frames.iter().flat_map(|frame| &frame.records);
    let ours = records.filter(|record| record.text("container_name") == name);
    ours.map(|record| record.text("log").to_owned()).collect()
}

/// Turns the loops until the log says this much, or the patience of `run_until` is over.
#[track_caller]
fn run_until_logged(host: &mut PlayingHost, text: &str) {
    for _ in 0..1_000 {
        if host.log().contains(text) {
            return;
        }
        host.run(20);
    }
    panic!("the log never says `{text}`:\n{}", host.log());
}

/// The case of the issue: a backlog of 241 KB whose records are larger than the limit
/// together, and lines of another container behind it.
#[test]
fn a_batch_that_is_larger_than_the_host_takes_is_divided_and_others_pass() {
    for shape in ["flat", "nested"] {
        let root = DockerRoot::new();
        let mut big = root.container('a', "big");
        big.write_config_with(
            "big",
            true,
            serde_json::json!({"com.docker.compose.project": "p".repeat(200)}),
            &[],
        );
        let backlog = lines("big", 0..3_400);
        write(&mut big, &backlog);
        let mut other = root.container('b', "other");
        let mut host = host(
            root.path(),
            &format!("tag_template={{name}} metadata={shape}"),
        );
        host.ok("refuse-above a 100000");
        let later = lines("other", 0..20);
        write(&mut other, &later);
        host.run_until(backlog.len() + later.len());
        let exit = host.exit();
        exit.assert_clean();
        let of_tag = |tag: &str| -> Vec<String> {
            let ours = exit
                .frames
                .iter()
                .filter(|frame| frame.tag.as_deref() == Some(tag));
            ours.flat_map(Frame::texts).map(str::to_owned).collect()
        };
        assert_eq!(of_tag("big"), backlog, "{shape}");
        assert_eq!(of_tag("other"), later, "{shape}");
        assert!(exit.log.contains("nothing lost"), "{}", exit.log);
    }
}

#[test]
fn a_tag_that_is_refused_holds_up_no_other_and_loses_nothing() {
    let root = DockerRoot::new();
    let mut refused = root.container('a', "refused");
    let backlog = lines("refused", 0..20_000);
    write(&mut refused, &backlog);
    let mut other = root.container('b', "other");
    let mut host = host(
        root.path(),
        "tag_template={name} queue_limit=500k refused_record_timeout=100ms",
    );
    host.ok("refuse-tag a refused");
    for round in 0..10 {
        write(&mut other, &lines("other", 100 * round..100 * (round + 1)));
        host.run_until(100 * (round + 1));
    }
    // Far beyond the timeout, and the host holds nothing: it takes nothing of this tag.
    host.ok("flush a");
    host.run(1_500);
    write(&mut other, &lines("other", 1_000..1_020));
    host.run_until(1_020);
    assert_eq!(of(&host.frames(), "refused"), [""; 0]);
    host.ok("refuse-tag a none");
    host.run_until(1_020 + backlog.len());
    let exit = host.exit();
    assert_eq!(of(&exit.frames, "refused"), backlog);
    assert_eq!(of(&exit.frames, "other"), lines("other", 0..1_020));
    assert!(exit.log.contains("nothing lost"), "{}", exit.log);
}

/// Each takes little, so many can be refused before the others wait for them.
#[test]
fn forty_containers_that_are_refused_hold_up_no_other() {
    let root = DockerRoot::new();
    let backlog = lines("line", 0..5_000);
    let mut logs: Vec<LogWriter> = (0..40)
        .map(|number| {
            let mut log = root.created_with_id(&format!("{number:064x}"), "refused");
            log.open_log();
            let records: String = backlog
                .iter()
                .map(|line| record("stdout", &format!("{line}\n"), TIME))
                .collect();
            log.raw(records.as_bytes());
            log
        })
        .collect();
    let mut other = root.container('b', "other");
    let mut host = host(root.path(), "tag_template={name} queue_limit=1M");
    host.ok("refuse-tag a refused");
    for round in 0..20 {
        write(&mut other, &lines("other", 50 * round..50 * (round + 1)));
        host.run_until(50 * (round + 1));
        host.run(100);
    }
    assert_eq!(of(&host.frames(), "other"), lines("other", 0..1_000));
    host.ok("refuse-tag a none");
    host.run_until(1_000 + logs.len() * backlog.len());
    logs.clear();
    assert!(host.exit().log.contains("nothing lost"));
}

/// Small lines fit into the room there is, a long one waits for more, as long as it takes.
#[test]
fn what_is_refused_for_want_of_room_is_never_passed_over() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    let mut other = root.container('b', "other");
    let mut host = host(root.path(), "refused_record_timeout=100ms");
    host.ok("room a 200000");
    let first = lines("web", 0..500);
    write(&mut web, &first);
    host.run_until(first.len());
    web.line(&"x".repeat(160_000));
    let last = lines("web", 500..520);
    write(&mut web, &last);
    host.run(300);
    for round in 0..20 {
        write(&mut other, &lines("other", round..round + 1));
        host.run_until(first.len() + round + 1);
        host.run(100);
    }
    assert_eq!(of(&host.frames(), "web"), first);
    host.ok("flush a");
    host.run_until(first.len() + 20 + 1 + last.len());
    let exit = host.exit();
    let texts = of(&exit.frames, "web");
    assert_eq!(texts[first.len()].len(), 160_000);
    assert_eq!(texts[first.len() + 1..], last);
    assert!(exit.log.contains("nothing lost"), "{}", exit.log);
}

#[test]
fn a_host_that_refuses_everything_for_long_loses_nothing() {
    let root = DockerRoot::new();
    let mut logs: Vec<LogWriter> = ('1'..='9')
        .map(|digit| root.container(digit, &format!("web{digit}")))
        .collect();
    let mut host = host(
        root.path(),
        "tag_template={name} refused_record_timeout=50ms queue_limit=100k",
    );
    host.ok("refuse a 1000000");
    for log in &mut logs {
        write(log, &lines("line", 0..1_000));
    }
    host.run(3_000);
    assert_eq!(host.frames(), []);
    host.ok("refuse a 0");
    host.run_until(9_000);
    let exit = host.exit();
    for digit in '1'..='9' {
        assert_eq!(
            of(&exit.frames, &format!("web{digit}")),
            lines("line", 0..1_000)
        );
    }
    assert!(exit.log.contains("nothing lost"), "{}", exit.log);
}

/// With a tag of its own, and with one tag for all; two in a row.
#[test]
fn a_record_that_the_host_never_takes_is_counted_logged_once_and_passed_over() {
    for options in ["tag_template={name}", ""] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db");
        let options = format!(
            "{options} db=\"{}\" refused_record_timeout=300ms",
            db.display()
        );
        let mut web = root.container('a', "web");
        let mut other = root.container('b', "other");
        let mut first = host(root.path(), &options);
        first.ok("refuse-above a 100000");
        write(&mut web, &lines("before", 0..10));
        web.line(&"x".repeat(200_000));
        web.line(&"y".repeat(150_000));
        write(&mut web, &lines("after", 0..20));
        write(&mut other, &lines("other", 0..20));
        first.run_until(50);
        run_until_logged(&mut first, "while it accepted later ones; they are lost");
        let exit = first.exit();
        exit.assert_clean();
        assert_eq!(
            of(&exit.frames, "web"),
            [lines("before", 0..10), lines("after", 0..20)].concat()
        );
        assert_eq!(of(&exit.frames, "other"), lines("other", 0..20));
        assert_eq!(
            exit.log
                .matches("while it accepted later ones; they are lost")
                .count(),
            1,
            "{}",
            exit.log
        );
        assert!(exit.log.contains("lost: 2 records ("), "{}", exit.log);
        write(&mut web, &lines("later", 0..5));
        let mut second = host(root.path(), &options);
        second.run_until(5);
        second.run(300);
        assert_eq!(
            of(&second.exit().frames, "web"),
            lines("later", 0..5),
            "the position is behind it"
        );
    }
}

/// What came before a record that waits is known to be taken: neither a stop nor a kill
/// in the meantime repeats or loses it.
#[test]
fn a_stop_while_a_part_of_a_batch_is_refused_loses_and_repeats_nothing() {
    for is_killed in [false, true] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db");
        let options = format!("tag_template={{name}}.{{stream}} db=\"{}\"", db.display());
        let mut web = root.container('a', "web");
        let (before, after) = (lines("before", 0..2_000), lines("after", 0..2_000));
        write(&mut web, &before);
        web.entry("stderr", "on the other stream\n");
        web.line(&"x".repeat(100_000));
        write(&mut web, &after);
        let mut first = host(root.path(), &options);
        first.ok("refuse-above a 50000");
        first.run_until(before.len());
        let frames = if is_killed {
            first.kill().0
        } else {
            first.exit().frames
        };
        let mut second = host(root.path(), &options);
        let taken = of(&frames, "web").len();
        second.run_until(before.len() + after.len() + 2 - taken);
        second.run(300);
        let frames = [frames, second.exit().frames].concat();
        let of_tag = |tag: &str| -> Vec<String> {
            let ours = frames
                .iter()
                .filter(|frame| frame.tag.as_deref() == Some(tag));
            ours.flat_map(Frame::texts).map(str::to_owned).collect()
        };
        let stdout = of_tag("web.stdout");
        assert_eq!(stdout[..before.len()], before, "killed: {is_killed}");
        assert_eq!(stdout[before.len()].len(), 100_000);
        assert_eq!(stdout[before.len() + 1..], after);
        assert_eq!(of_tag("web.stderr"), ["on the other stream"]);
    }
}

/// A slice becomes many batches; the host takes the first, and dies.
#[test]
fn a_kill_after_the_first_batch_of_a_slice_loses_and_repeats_nothing() {
    for (shape, template) in [
        ("flat", "{name}"),
        ("flat", "{name}.{stream}"),
        ("nested", "{name}"),
    ] {
        let root = DockerRoot::new();
        let db = root.path().join("positions.db");
        let options = format!(
            "db=\"{}\" metadata={shape} labels=big tag_template={template}",
            db.display()
        );
        let mut web = root.container('a', "web");
        web.write_config_with(
            "web",
            true,
            serde_json::json!({"big": "b".repeat(4_000)}),
            &[],
        );
        let texts = lines("line", 0..2_000);
        for (number, text) in texts.iter().enumerate() {
            web.entry(
                if number % 3 == 0 { "stderr" } else { "stdout" },
                &format!("{text}\n"),
            );
        }
        let mut got = Vec::new();
        let is_whole =
            |got: &[Frame]| got.iter().flat_map(|frame| &frame.records).count() >= texts.len();
        for _ in 0..3 {
            let mut host = host(root.path(), &options);
            host.ok("limit a 1");
            host.run_until(1);
            let (frames, is_torn) = host.kill();
            assert!(!is_torn);
            assert!(
                frames.len() < 5 && !is_whole(&frames),
                "a slice is many batches: {}",
                frames.len()
            );
            got.extend(frames);
        }
        let taken: usize = got.iter().map(|frame| frame.records.len()).sum();
        let mut last = host(root.path(), &options);
        last.run_until(texts.len() - taken);
        last.run(300);
        got.extend(last.exit().frames);
        let number = |text: &str| {
            text.trim_start_matches("line ")
                .parse::<usize>()
                .expect("a number")
        };
        let numbers: Vec<usize> = texts_of(&got, "a")
            .iter()
            .map(|text| number(text))
            .collect();
        for stream in [true, false] {
            let got: Vec<usize> = numbers
                .iter()
                .copied()
                .filter(|number| (number % 3 == 0) == stream)
                .collect();
            let want: Vec<usize> = (0..texts.len())
                .filter(|number| (number % 3 == 0) == stream)
                .collect();
            assert_eq!(got, want, "{shape} {template}");
        }
    }
}

/// What some routes take and others refuse comes again to the former with each offer.
#[test]
fn what_conditional_routes_take_in_part_is_offered_seldom_and_said_once() {
    let root = DockerRoot::new();
    let mut web = root.container('a', "web");
    let mut host = host(root.path(), "");
    host.ok("partly a 1000");
    web.line("in part");
    run_until_logged(
        &mut host,
        "accepted records for some of its conditional routes",
    );
    host.run(2_000);
    assert_eq!(
        of(&host.frames(), "web"),
        ["in part"],
        "the first refusal tells"
    );
    host.ok("partly a 0");
    host.run_until(1);
    let exit = host.exit();
    assert_eq!(of(&exit.frames, "web"), ["in part"; 2]);
    assert_eq!(
        exit.log
            .matches("accepted records for some of its conditional routes")
            .count(),
        1,
        "{}",
        exit.log
    );
}

/// Fluent Bit with chunks on the disk and an output that may take 1 MB of it.
fn limited_host(
    program: &Path,
    plugin: &Path,
    root: &DockerRoot,
    lines: &[&str],
    output: &str,
) -> FluentBit {
    let input = format!(
        "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Socket off\n    Docker_Root {}\n    \
         storage.type filesystem\n    {}\n",
        root.path().display(),
        lines.join("\n    ")
    );
    let output = format!("[OUTPUT]\n    {output}\n    Match *\n    storage.total_limit_size 1M\n");
    FluentBit::new(program, Some(plugin), &(input + &output))
        .with_service_line(&format!(
            "storage.path {}",
            root.path().join("chunks").display()
        ))
        .with_service_line("scheduler.base 1")
        .with_service_line("scheduler.cap 1")
}

fn texts(host: &FluentBit, name: &str) -> Vec<String> {
    let records = host.records();
    let ours = records
        .iter()
        .filter(|record| record.text("container_name") == name);
    ours.map(|record| record.text("log").to_owned()).collect()
}

/// The case of the issue, with a line that is larger than the limit in it.
#[test]
fn fluent_bit_takes_what_fits_its_limit_and_passes_over_what_never_does() {
    let name = "refused::fluent_bit_takes_what_fits_its_limit_and_passes_over_what_never_does";
    with_each_host(name, |program, plugin| {
        let root = DockerRoot::new();
        let mut web = root.container('a', "web");
        web.write_config_with(
            "web",
            true,
            serde_json::json!({"com.docker.compose.project": "p".repeat(200)}),
            &[],
        );
        write(&mut web, &lines("web", 0..3_400));
        web.line(&"x".repeat(1_500_000));
        write(&mut web, &lines("web", 3_400..3_420));
        let mut other = root.container('b', "other");
        let options = [
            "Tag_Template {name}",
            "Partial_Max_Size 4M",
            "Refused_Record_Timeout 2s",
        ];
        let mut host = limited_host(program, plugin, &root, &options, "Name null");
        host.start().expect("Fluent Bit starts");
        write(&mut other, &lines("other", 0..20));
        host.wait_until(PATIENCE, "the other container", |host| {
            texts(host, "other").len() == 20
        });
        host.wait_until(PATIENCE, "all that fits", |host| {
            texts(host, "web").len() >= 3_420
        });
        assert_eq!(texts(&host, "web"), lines("web", 0..3_420));
        assert_eq!(texts(&host, "other"), lines("other", 0..20));
        host.wait_until(PATIENCE, "what is lost", |host| {
            host.stderr().contains("they are lost, reading continues")
        });
        host.end_in_order();
        assert!(
            host.stderr().contains("lost: 1 records (15"),
            "{}",
            host.stderr()
        );
    });
}

/// A destination that takes connections and never answers; then it does. What Fluent Bit
/// accepted stands in the file of its other output.
#[test]
fn fluent_bit_with_a_stalled_destination_loses_nothing_to_its_limit() {
    let name = "refused::fluent_bit_with_a_stalled_destination_loses_nothing_to_its_limit";
    with_each_host(name, |program, plugin| {
        let root = DockerRoot::new();
        let mut web = root.container('a', "web");
        let mut other = root.container('b', "other");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let output =
            format!("Name http\n    Host 127.0.0.1\n    Port {port}\n    Retry_Limit no_limits");
        let options = ["Refused_Record_Timeout 500ms", "Queue_Limit 1M"];
        let mut host = limited_host(program, plugin, &root, &options, &output);
        host.start().expect("Fluent Bit starts");
        let total = 20_000;
        for number in 0..total {
            web.line(&format!("web {number}"));
            if number % 5_000 == 100 {
                web.line(&"x".repeat(300_000));
            }
        }
        host.wait_until(PATIENCE, "a refusal", |host| {
            host.stderr().contains("no available chunk")
        });
        // Small lines go on fitting into the room that is left, for far longer than the timeout.
        let begun = Instant::now();
        for number in 0..40 {
            other.line(&format!("other {number}"));
            host.wait_until(PATIENCE, "its time", |_| {
                begun.elapsed() > Duration::from_millis(100 * number)
            });
        }
        assert!(
            texts(&host, "web").len() < total,
            "all of it was taken in spite of the limit"
        );
        http_on(listener);
        host.wait_until(PATIENCE * 2, "all records", |host| {
            host.record_count() >= total + 4 + 40
        });
        let (longs, shorts): (Vec<String>, Vec<String>) = texts(&host, "web")
            .into_iter()
            .partition(|text| text.starts_with('x'));
        assert_eq!(shorts, lines("web", 0..total));
        assert_eq!(
            longs.iter().map(String::len).collect::<Vec<_>>(),
            [300_000; 4]
        );
        assert_eq!(texts(&host, "other"), lines("other", 0..40));
        host.signal(Signal::TERM);
        host.wait_exit(PATIENCE).expect("it ends");
        assert!(host.stderr().contains("nothing lost"), "{}", host.stderr());
    });
}
