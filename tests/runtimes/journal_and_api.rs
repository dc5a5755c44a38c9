//! Switches between systemd's journal and Docker's API, which reads the same journal: both tell when
//! an entry was received, so nothing is lost and nothing is repeated.

use std::os::unix::fs::symlink;
use std::path::Path;

use fluent_bit_container_logs::delivery::host::embedded::Record;
use test_kit::collector::Collector;
use test_kit::dockerd::Dockerd;
use test_kit::journald::Journald;
use test_kit::or_skip;

/// Numbered lines of both streams, one in seven of several pieces, some 300 a second.
fn script(lines: u32) -> String {
    format!(
        "long=$(yes 0123456789abcde | head -n 2500 | tr '\\n' '-'); i=0; \
         while [ $i -lt {lines} ]; do \
           if [ $((i % 7)) = 0 ]; then echo \"line $i $long\"; \
           elif [ $((i % 3)) = 0 ]; then echo \"line $i\" >&2; else echo \"line $i\"; fi; \
           i=$((i + 1)); [ $((i % 5)) != 0 ] || usleep 12000; \
         done"
    )
}

/// The number of a line, which is whole.
fn number(record: &Record) -> u32 {
    let text = record.text("log");
    let mut words = text.split(' ');
    assert_eq!(words.next(), Some("line"), "{text:.60}");
    let number = words.next().and_then(|word| word.parse().ok());
    let number: u32 = number.expect("a number");
    let rest = words.next().map_or(0, str::len);
    assert_eq!(
        rest,
        if number.is_multiple_of(7) { 40_000 } else { 0 },
        "{number}"
    );
    number
}

fn assert_once(mut numbers: Vec<u32>, lines: u32) {
    numbers.sort_unstable();
    assert_eq!(numbers, (0..lines).collect::<Vec<u32>>());
}

fn started() -> Result<(Journald, Dockerd), String> {
    let (journald, dockerd) = (Journald::start()?, Dockerd::start()?);
    dockerd.use_journal(&journald);
    Ok((journald, dockerd))
}

fn start(dockerd: &Dockerd, journal: &str, db: &Path) -> Collector {
    let (db, socket) = (db.display().to_string(), dockerd.socket().display());
    let socket = format!("unix://{socket}");
    let options = [
        ("Journal_Path", journal),
        ("Docker_Socket", &*socket),
        ("DB", &*db),
    ];
    Collector::start(dockerd.root(), &options)
}

#[test]
fn each_start_may_read_a_container_from_the_other_source_than_the_last_one() {
    let test =
        "journal_and_api::each_start_may_read_a_container_from_the_other_source_than_the_last_one";
    let Some((journald, dockerd)) = or_skip(test, started()) else {
        return;
    };
    const LINES: u32 = 2400;
    dockerd
        .run_detached("web", &["--log-driver", "journald"], &script(LINES))
        .expect("docker run");
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("positions.db");
    let folder = journald.folder().display().to_string();
    let mut all = Vec::new();
    for part in 0.. {
        let is_api = part % 2 == 0;
        let collector = start(&dockerd, if is_api { "off" } else { &folder }, &db);
        let source = if is_api {
            "through the Docker API: log driver journald keeps no file, and Journal_Path is off"
        } else {
            "reading it from systemd's journal"
        };
        let left = LINES as usize - all.len();
        collector.wait("its part", |collector| {
            collector.count() >= left.min(LINES as usize / 6)
        });
        assert!(collector.has_logged(source), "{:?}", collector.log());
        if part == 2 {
            journald.rotate();
        }
        let (records, _) = collector.stop();
        all.extend(records.iter().map(number));
        if all.len() >= LINES as usize {
            assert!(part >= 4, "{part}");
            break;
        }
    }
    assert_once(all, LINES);
}

/// The journal's folder disappears and comes back, as if permission was lost.
#[test]
fn a_journal_that_cannot_be_read_for_a_while_is_replaced_by_the_api_and_back() {
    let test = "journal_and_api::a_journal_that_cannot_be_read_for_a_while_is_replaced_by_the_api_and_back";
    let Some((journald, dockerd)) = or_skip(test, started()) else {
        return;
    };
    const LINES: u32 = 3000;
    dockerd
        .run_detached("web", &["--log-driver", "journald"], &script(LINES))
        .expect("docker run");
    let dir = tempfile::tempdir().expect("a folder");
    let view = dir.path().join("journal");
    let show = || symlink(journald.folder(), &view).expect("a link");
    show();
    let collector = start(
        &dockerd,
        &view.display().to_string(),
        &dir.path().join("positions.db"),
    );
    for switch in 1..=3 {
        let (to_api, to_journal) = (
            "is read through the Docker API",
            "reading it from systemd's journal",
        );
        let delivered = |more: usize| {
            let before = collector.count();
            let is_read =
                |collector: &Collector| collector.count() >= (before + more).min(LINES as usize);
            collector.wait("some lines", is_read);
        };
        collector.wait("the journal", |collector| {
            collector.times_logged(to_journal) == switch
        });
        delivered(300);
        std::fs::remove_file(&view).expect("a link");
        // It is noticed, whether files change at that time or not.
        if switch == 2 {
            journald.rotate();
            // What is removed was read.
            journald.vacuum("16M");
        }
        collector.wait("the API", |collector| {
            collector.times_logged(to_api) == switch
        });
        delivered(300);
        show();
    }
    collector.wait("all lines", |collector| collector.count() >= LINES as usize);
    assert!(collector.has_logged("systemd's journal cannot be read: there is none in"));
    assert!(collector.has_logged("systemd's journal can be read again"));
    assert!(
        !collector.has_logged("journald removed"),
        "{:?}",
        collector.log()
    );
    collector.figures();
    let (records, _) = collector.stop();
    assert_once(records.iter().map(number).collect(), LINES);
}
