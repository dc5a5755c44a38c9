use super::*;
use crate::format::position::Timestamp;
use crate::pipeline::partial::Missing;

fn at(millis: i64) -> Timestamp {
    Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: (millis.rem_euclid(1000) * 1_000_000) as u32,
    }
}

fn line(text: &str, millis: i64) -> Line<'_> {
    Line {
        time: at(millis),
        text: text.as_bytes(),
        is_utf8: true,
        source_bytes: 100,
        ..Line::default()
    }
}

fn begins(offset: u64) -> StreamCheckpoint {
    StreamCheckpoint {
        offset,
        ..StreamCheckpoint::default()
    }
}

/// One delivered text: stream, milliseconds, text, bytes in the source.
type Delivered = Vec<(Stream, i64, String, usize)>;

struct Fixture {
    texts: Box<MultilineBuffer>,
    delivered: Delivered,
    offset: u64,
}

fn fixture(pattern: &str, max_bytes: usize) -> Fixture {
    let pattern = Some(Pattern::shared(pattern).unwrap());
    let options = MultilineOptions {
        pattern,
        flush: Duration::from_secs(1),
        max_bytes,
    };
    Fixture {
        texts: MultilineBuffer::of(&options).unwrap(),
        delivered: Vec::new(),
        offset: 0,
    }
}

fn keep(delivered: &mut Delivered, stream: Stream, line: &Line<'_>) {
    let millis = line.time.seconds * 1000 + i64::from(line.time.nanos) / 1_000_000;
    let text = String::from_utf8(line.text.to_vec()).unwrap();
    delivered.push((stream, millis, text, line.source_bytes));
}

impl Fixture {
    fn push(&mut self, stream: Stream, text: &str, millis: i64) {
        let offset = self.offset;
        self.offset += 100;
        let delivered = &mut self.delivered;
        self.texts
            .time_is(at(millis), |stream, line| keep(delivered, stream, &line));
        self.texts.push(
            stream,
            &line(text, millis),
            || begins(offset),
            |line| keep(delivered, stream, &line),
        );
    }

    /// The texts delivered so far, with their bytes in the source.
    fn texts(&self) -> Vec<(&str, usize)> {
        self.delivered
            .iter()
            .map(|(_, _, text, bytes)| (text.as_str(), *bytes))
            .collect()
    }
}

use Stream::{Stderr, Stdout};

#[test]
fn lines_of_two_streams_never_mix_and_each_holds_its_own_place() {
    let mut it = fixture("java", 1000);
    it.push(Stdout, "a.Error: 1", 0);
    it.push(Stderr, "b.Error: 2", 1);
    it.push(Stdout, "\tat a", 2);
    it.push(Stderr, "\tat b", 3);
    assert_eq!(it.delivered, []);
    assert_eq!(it.texts.open_at(Stdout), Some(begins(0)));
    assert_eq!(it.texts.open_at(Stderr), Some(begins(100)));
    assert_eq!(it.texts.source_bytes(), 400);
    it.push(Stderr, "done", 4);
    let want = [
        (Stderr, 1, "b.Error: 2\n\tat b".to_owned(), 200),
        (Stderr, 4, "done".to_owned(), 100),
    ];
    assert_eq!(it.delivered, want);
    assert_eq!(it.texts.open_at(Stderr), None);
    assert_eq!(it.texts.open_at(Stdout), Some(begins(0)));
}

#[test]
fn lines_that_begin_nothing_are_delivered_at_once() {
    let mut it = fixture("python", 1000);
    it.push(Stdout, "one", 0);
    it.push(Stdout, "two", 1);
    assert_eq!(it.texts(), [("one", 100), ("two", 100)]);
    assert!(!it.texts.is_open());
}

#[test]
fn a_later_entry_of_any_stream_ends_what_waited_too_long() {
    let mut it = fixture("^first", 1000);
    it.push(Stdout, "first", 0);
    it.push(Stdout, "second", 1000);
    it.push(Stderr, "first", 1500);
    assert_eq!(it.texts(), []);
    it.push(Stderr, "noise", 2001);
    assert_eq!(it.texts(), [("first\nsecond", 200)]);
    // A line this late is no continuation, although the expression does not match it.
    it.push(Stdout, "third", 2400);
    it.push(Stdout, "fourth", 2500);
    it.push(Stdout, "first", 2600);
    assert_eq!(it.texts(), [("first\nsecond", 200), ("third\nfourth", 200)]);
}

#[test]
fn a_clock_that_steps_back_ends_nothing() {
    let mut it = fixture("^first", 1000);
    it.push(Stdout, "first", 100_000);
    it.push(Stdout, "second", 0);
    it.push(Stdout, "third", 900);
    it.push(Stdout, "first", 1000);
    assert_eq!(it.texts(), [("first\nsecond\nthird", 300)]);
}

#[test]
fn a_clock_that_was_set_back_is_not_waited_for() {
    let mut it = fixture("^first", 1000);
    it.push(Stdout, "first", 3_600_000);
    it.push(Stderr, "noise", 0);
    it.push(Stderr, "noise", 1000);
    assert_eq!(it.texts(), []);
    it.push(Stderr, "noise", 1001);
    assert_eq!(it.texts(), [("first", 100)]);
}

#[test]
fn what_would_be_too_long_becomes_several_records() {
    let mut it = fixture("^first", 12);
    for (millis, text) in ["first", "second", "third", "fourth", "first"]
        .into_iter()
        .enumerate()
    {
        it.push(Stdout, text, millis as i64);
    }
    assert_eq!(it.texts(), [("first\nsecond", 200), ("third\nfourth", 200)]);
    assert_eq!(it.texts.open_at(Stdout), Some(begins(400)));
}

#[test]
fn nothing_is_put_behind_a_line_that_was_cut() {
    let mut it = fixture("^first", 100);
    let cut = Line {
        missing: Missing::cut(7),
        ..line("first", 0)
    };
    let delivered = &mut it.delivered;
    it.texts.push(
        Stdout,
        &cut,
        || begins(0),
        |line| keep(delivered, Stdout, &line),
    );
    it.push(Stdout, "second", 1);
    assert_eq!(it.texts(), [("first", 100)]);
}

#[test]
fn a_record_has_time_and_attributes_of_its_first_line() {
    let mut it = fixture("^first", 100);
    let mut attrs = Vec::new();
    for (text, own, is_utf8) in [
        ("first", &b"\x81\xa1a\xa1b"[..], true),
        ("second", &b"\x80"[..], false),
    ] {
        let line = Line {
            attrs: own,
            is_utf8,
            ..line(text, 7)
        };
        it.texts
            .push(Stdout, &line, StreamCheckpoint::default, |_| unreachable!());
    }
    it.texts.flush(Stdout, |line| {
        attrs = line.attrs.to_vec();
        assert_eq!((line.time, line.is_utf8), (at(7), false));
    });
    assert_eq!(attrs, b"\x81\xa1a\xa1b");
}
