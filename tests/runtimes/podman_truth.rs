//! What the answers of Podman's Docker-compatible API are worth, without any code of ours
//! between: the ground on which `src/source/api/podman.rs` stands.

use std::path::Path;

use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::format::rfc3339::TimeParser;

use test_kit::logs_api::{logs, logs_after, Logs};
use test_kit::podman::{serving, Podman};
use test_kit::writer::{numbered, numbered_slowly, of_lengths, Script, Stream};
use test_kit::{skip, wait_until};

fn time_of(text: &str) -> Timestamp {
    TimeParser::default()
        .parse(text.as_bytes())
        .expect("a time")
}

fn script() -> Script {
    numbered_slowly(Stream::Stdout, "line", 1000, "0.003")
}

fn ended(podman: &Podman, name: &str) {
    podman.podman(&["wait", name]).expect("podman wait");
}

/// The times of the entries in its file.
fn times_in(file: &Path) -> Vec<Timestamp> {
    let text = std::fs::read_to_string(file).expect("the log");
    text.lines()
        .map(|line| time_of(line.split(' ').next().expect("a time")))
        .collect()
}

/// Of an answer since some second, those entries that are not of it or later.
fn texts_since(all: &Logs, second: i64) -> Vec<&str> {
    let is_later = |entry: &&(String, String)| time_of(&entry.0).seconds > second;
    all.entries
        .iter()
        .filter(is_later)
        .map(|(_, text)| text.as_str())
        .collect()
}

#[test]
fn what_is_in_a_file_is_answered_whole_with_times_in_whole_seconds() {
    let test = "podman_truth::what_is_in_a_file_is_answered_whole_with_times_in_whole_seconds";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script = script();
    let expected = script.of(Stream::Stdout);
    let id = podman
        .write("truth", "k8s-file", &script)
        .expect("podman run");
    // A follow that begins at once, and one that begins when all is over.
    let following = logs(&podman.socket(), &id, "follow=1");
    ended(&podman, "truth");
    assert_eq!(following.texts(), expected);
    assert_eq!(logs(&podman.socket(), &id, "follow=1").texts(), expected);
    let all = logs(&podman.socket(), &id, "follow=0");
    assert_eq!(all.texts(), expected);

    let file = times_in(&podman.userdata(&id).join("ctr.log"));
    let api: Vec<Timestamp> = all.entries.iter().map(|(time, _)| time_of(time)).collect();
    let seconds = |times: &[Timestamp]| times.iter().map(|time| time.seconds).collect::<Vec<_>>();
    assert_eq!(seconds(&api), seconds(&file));
    let is_exact = api == file;
    println!(
        "times are {}",
        if is_exact {
            "exact"
        } else {
            "in whole seconds"
        }
    );
    assert!(is_exact || api.iter().all(|time| time.nanos == 0));

    // A whole second is understood exactly, and leaves out only what is before it. A
    // fraction goes through a float in releases that tell whole seconds.
    let second = file[600].seconds;
    let since = logs(
        &podman.socket(),
        &id,
        &format!("follow=0&since={}", second - 1),
    );
    assert_eq!(
        since.texts(),
        texts_since(&all, second - 2),
        "nothing was written at a second's very start"
    );
    let at = format!(
        "follow=0&since={second}.{:09}",
        file[600].nanos.saturating_sub(1)
    );
    let from_fraction = logs(&podman.socket(), &id, &at).entries.len();
    println!(
        "since a nanosecond before line 601: {from_fraction} of {} came",
        expected.len() - 600
    );
}

#[test]
fn pieces_of_a_line_come_one_by_one_and_are_together_all_of_it() {
    let test = "podman_truth::pieces_of_a_line_come_one_by_one_and_are_together_all_of_it";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script = numbered(Stream::Stdout, "line", 3).then(of_lengths(Stream::Stdout, &[40_000]));
    let script = script.then(numbered(Stream::Stdout, "line", 3));
    let id = podman
        .write("truth", "k8s-file", &script)
        .expect("podman run");
    ended(&podman, "truth");
    let whole = logs(&podman.socket(), &id, "follow=0");
    assert!(whole.entries.len() > script.of(Stream::Stdout).len());
    assert_eq!(whole.texts().concat(), script.of(Stream::Stdout).concat());
    // Of the lines that are counted from the end the long one may lack its pieces, so
    // that is no way to find a place again.
    let tail = logs(&podman.socket(), &id, "follow=0&tail=4");
    let lengths: Vec<usize> = tail.texts().iter().map(|text| text.len()).collect();
    println!("the last four lines have {lengths:?} bytes");
}

/// Once the container has stopped, what a reader did not take within a quarter of a second
/// may be left out: that is why files are not followed.
#[test]
fn a_file_that_is_read_slowly_is_whole_only_if_it_is_not_followed() {
    let test = "podman_truth::a_file_that_is_read_slowly_is_whole_only_if_it_is_not_followed";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script = numbered(
        Stream::Stdout,
        "a line that is long enough to fill all that lies between",
        60_000,
    );
    let expected = script.of(Stream::Stdout);
    let id = podman
        .write("truth", "k8s-file", &script)
        .expect("podman run");
    ended(&podman, "truth");
    let slowly = |number: u32, query: &str| {
        logs_after(&podman.socket(), &id, query, || {
            let name = format!("pause-{number}");
            podman
                .run_detached(&name, &["--log-driver=none"], "sleep 2")
                .expect("podman run");
            ended(&podman, &name);
        })
    };
    // Pieces are joined by the reader; here it is enough that no byte is missing.
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.len()).sum::<usize>();
    assert_eq!(bytes(&slowly(0, "follow=0").texts()), bytes(&expected));
    let followed = bytes(&slowly(1, "follow=1").texts());
    println!("{followed} of {} bytes came by a follow", bytes(&expected));
    assert!(followed <= bytes(&expected));
}

/// conmon keeps no old file, so what no reader had by then is gone; the answer does not
/// say so.
#[test]
fn a_follow_over_a_limit_of_size_keeps_the_order_and_may_lose() {
    let test = "podman_truth::a_follow_over_a_limit_of_size_keeps_the_order_and_may_lose";
    let podman = match serving(Podman::new) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script = numbered_slowly(Stream::Stdout, "line", 2000, "0.001");
    let options = ["--log-driver=k8s-file", "--log-opt=max-size=20k"];
    let id = podman
        .run_detached("truth", &options, &script.sh)
        .expect("podman run");
    let following = logs(&podman.socket(), &id, "follow=1");
    let expected = script.of(Stream::Stdout);
    let mut from = 0;
    for text in following.texts() {
        let at = expected[from..].iter().position(|line| *line == text);
        from += at.unwrap_or_else(|| panic!("{text} came again, or out of order")) + 1;
    }
    println!("{} of {} came", following.entries.len(), expected.len());
    assert!(!following.entries.is_empty());
}

#[test]
fn a_journal_is_answered_whole_and_before_4_4_not_followed_from_a_time_on() {
    let test =
        "podman_truth::a_journal_is_answered_whole_and_before_4_4_not_followed_from_a_time_on";
    let podman = match serving(Podman::with_journal) {
        Ok(podman) => podman,
        Err(reason) => return skip(test, &reason),
    };
    let script = script();
    let expected = script.of(Stream::Stdout);
    let id = match podman.write("truth", "journald", &script) {
        Ok(id) => id,
        Err(reason) => return skip(test, &reason),
    };
    let mut first = Vec::new();
    wait_until(
        test_kit::collector::PATIENCE,
        "lines of three seconds",
        || {
            first = logs(&podman.socket(), &id, "follow=0").entries;
            let seconds = |entry: Option<&(String, String)>| {
                entry.map_or(0, |(time, _)| time_of(time).seconds)
            };
            seconds(first.last()) >= seconds(first.first()) + 2
        },
    );
    let last = time_of(&first[first.len() - 1].0).seconds;
    let since = logs(&podman.socket(), &id, &format!("follow=1&since={last}"));
    let following = logs(&podman.socket(), &id, "follow=1");
    ended(&podman, "truth");
    assert_eq!(following.texts(), expected);
    let all = logs(&podman.socket(), &id, "follow=0");
    assert_eq!(all.texts(), expected);
    let is_followed = since.texts().last() == expected.last();
    println!(
        "a follow since a time {}",
        if is_followed {
            "goes on"
        } else {
            "ends at once"
        }
    );
    let version = podman
        .podman(&["version", "--format", "{{.Client.Version}}"])
        .expect("podman version");
    let mut numbers = version
        .trim()
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    assert_eq!(is_followed, release >= (4, 4), "{version}");
    let later = logs(&podman.socket(), &id, &format!("follow=0&since={last}"));
    assert_eq!(later.texts(), texts_since(&all, last - 1));
}
