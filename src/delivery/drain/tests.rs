use super::*;
use crate::config::{BufferedLimit, Config};
use std::sync::{Arc, Mutex};

use crate::delivery::checkpoint::{CheckpointStore, StreamCheckpoint};
use crate::delivery::drain::append::MOST_SWOLLEN;
use crate::delivery::drain::parsers::{MOST_PARSING, PARSED_BYTES};
use crate::delivery::drain::retry::{MOST_CONTRADICTIONS, MOST_PROBED, QUIET_WAIT};
use crate::delivery::host::embedded::decode_records;
use crate::delivery::host::{AppendRefused, NoParser, Parsed};
use crate::delivery::parser::Parsing;
use crate::delivery::queue::{Mark, Progress};
use crate::format::position::Stream;
use crate::pipeline::encode::{put_record, RecordFields};
use crate::pipeline::partial::Line;
use crate::telemetry::account::{Account, Amount};
use crate::telemetry::event::{Event, Level};
use crate::threads::processor_time;

const BUFFERED_LIMIT: usize = BufferedLimit::AUTO_BYTES;

/// A host that refuses by a rule and keeps the texts of what it accepts, with their tags.
struct Choosy<R> {
    refuses: R,
    held: Mutex<usize>,
    taken: Mutex<Vec<(String, String)>>,
    offers: Mutex<usize>,
    parsed: Mutex<usize>,
    /// CPU time that its parser uses per text.
    toil: Duration,
    /// Bytes that its first routes accept of an append that the last one refuses.
    part: usize,
}

impl<R: Fn(&str, &[String], usize) -> bool> Host for Choosy<R> {
    fn append(&self, tag: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused> {
        *self.offers.lock().unwrap() += 1;
        let decoded = decode_records(bytes).unwrap();
        assert_eq!(decoded.len(), records);
        let texts: Vec<String> = decoded
            .iter()
            .map(|record| record.text("log").to_owned())
            .collect();
        if (self.refuses)(tag.unwrap_or(""), &texts, bytes.len()) {
            *self.held.lock().unwrap() += self.part;
            return Err(AppendRefused);
        }
        let tag = tag.unwrap_or("").to_owned();
        self.taken
            .lock()
            .unwrap()
            .extend(texts.into_iter().map(|text| (tag.clone(), text)));
        Ok(())
    }

    fn holds(&self) -> Option<usize> {
        Some(*self.held.lock().unwrap())
    }

    fn parse(&self, _: &str, text: &[u8]) -> Result<Option<Parsed>, NoParser> {
        *self.parsed.lock().unwrap() += 1;
        let until = processor_time() + self.toil;
        while processor_time() < until {}
        let mut fields = b"\x81\xa3log".to_vec();
        crate::format::msgpack::put_str(&mut fields, text);
        Ok(Some(Parsed { fields, time: None }))
    }

    fn log(&self, _: Level, _: &str) {}
}

struct Bench {
    drain: Drain,
    buffered_limit: usize,
    link: Link,
    config: Config,
}

impl Bench {
    fn new() -> Bench {
        let mut config = Config::from_lookup(|_| None).unwrap();
        config.refused_record_timeout = Duration::ZERO;
        let link = Link::new(1 << 20, CheckpointStore::in_memory()).unwrap();
        Bench {
            drain: Drain::default(),
            buffered_limit: BUFFERED_LIMIT,
            link,
            config,
        }
    }

    fn turn(&mut self, host: &dyn Host) {
        // Pretend that enough time has passed for the next offer.
        for aside in self.drain.aside.values_mut() {
            aside.next_try = Instant::now();
        }
        self.drain.next_ask = None;
        self.hand_over(host);
    }

    fn hand_over(&mut self, host: &dyn Host) -> Option<Duration> {
        let around = Around {
            link: &self.link,
            refused_record_timeout: self.config.refused_record_timeout,
            buffered_limit: self.buffered_limit,
            db: self.config.db.as_deref(),
            host,
        };
        self.drain.hand_over(around).again
    }

    fn account(&self, digit: u8) -> Arc<Account> {
        self.link
            .accounts
            .open(ContainerId::from_bytes([digit; 32]))
    }

    /// Queues texts of a container as one batch with a mark after each record.
    fn push(&self, digit: u8, tag: &str, texts: &[&str]) {
        self.push_parsed(digit, tag, texts, None);
    }

    fn push_parsed(&self, digit: u8, tag: &str, texts: &[&str], parsing: Option<Arc<Parsing>>) {
        self.push_of(self.account(digit), tag, texts, parsing);
    }

    fn push_of(
        &self,
        account: Arc<Account>,
        tag: &str,
        texts: &[&str],
        parsing: Option<Arc<Parsing>>,
    ) {
        let (mut bytes, mut marks) = (Vec::new(), Vec::new());
        let mut source_bytes = 0;
        let read = account.figures().read.bytes;
        for (number, text) in texts.iter().enumerate() {
            let line = Line {
                text: text.as_bytes(),
                is_utf8: true,
                ..Line::default()
            };
            put_record(&mut bytes, &line, Stream::Stdout, &RecordFields::new(&[]));
            source_bytes += text.len() as u64;
            let checkpoint = StreamCheckpoint {
                offset: read + source_bytes,
                ..StreamCheckpoint::default()
            };
            let advance = [Some(checkpoint), None];
            marks.push(Mark {
                bytes: bytes.len(),
                records: number + 1,
                source_bytes,
                advance,
            });
        }
        let advance = marks.last().map_or([None, None], |mark| mark.advance);
        let amount = Amount {
            bytes: source_bytes,
            records: texts.len() as u64,
        };
        let queued = [Some((amount, Default::default())), None];
        account.took(&crate::telemetry::account::SliceStats {
            read: source_bytes,
            queued,
            ..Default::default()
        });
        self.link.push(Batch {
            container: *account.id(),
            tag: Some(tag.into()),
            records: texts.len(),
            bytes,
            parsing,
            source: Some((account, source_bytes)),
            progress: Progress::Advance(advance),
            marks,
        });
    }

    fn saved_offset(&self, digit: u8) -> Option<u64> {
        let id = ContainerId::from_bytes([digit; 32]);
        self.link.checkpoint.saved(&id).map(|saved| saved[0].offset)
    }

    fn refused(&self, digit: u8) -> u64 {
        let figures = self.account(digit).figures();
        assert!(figures.is_balanced(), "{figures:?}");
        figures.refused.records
    }

    fn is_drained(&self) -> bool {
        self.link.queue.is_empty() && self.link.queue.bytes() == 0
    }
}

fn choosy<R: Fn(&str, &[String], usize) -> bool>(refuses: R) -> Choosy<R> {
    Choosy {
        refuses,
        held: Mutex::new(0),
        taken: Mutex::default(),
        offers: Mutex::new(0),
        parsed: Mutex::new(0),
        toil: Duration::ZERO,
        part: 0,
    }
}

fn taken<R>(host: &Choosy<R>, tag: &str) -> Vec<String> {
    let all = host.taken.lock().unwrap();
    all.iter()
        .filter(|(of, _)| of == tag)
        .map(|(_, text)| text.clone())
        .collect()
}

fn any_parser() -> Arc<Parsing> {
    Arc::new(Parsing {
        parser: "any".to_owned(),
        key: None,
        keep_log: false,
    })
}

const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";

fn long(times: usize) -> String {
    LONG.repeat(times)
}

#[test]
fn a_refused_batch_is_halved_until_it_fits_and_the_position_follows_each_part() {
    let mut bench = Bench::new();
    let host = choosy(|_, texts, _| texts.len() > 3);
    let texts: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    bench.push(1, "a", &texts);
    bench.push(1, "a", &["later"]);
    let mut last = None;
    for _ in 0..100 {
        bench.turn(&host);
        let offset = bench.saved_offset(1);
        let so_far = taken(&host, "a")
            .iter()
            .map(|text| text.len() as u64)
            .sum::<u64>();
        assert_eq!(
            offset.unwrap_or(0),
            so_far,
            "the position is behind all that was taken"
        );
        assert!(offset >= last);
        last = offset;
    }
    assert_eq!(taken(&host, "a"), [&texts[..], &["later"]].concat());
    assert_eq!(bench.refused(1), 0);
    assert!(bench.is_drained());
}

#[test]
fn others_pass_what_is_refused_and_the_container_itself_keeps_its_order() {
    let mut bench = Bench::new();
    let is_open = std::cell::Cell::new(false);
    let host = choosy(|tag, _, _| tag == "a" && !is_open.get());
    for round in 0..50 {
        bench.push(1, "a", &["one", "two", "three"]);
        bench.push(2, "b", &["other"]);
        bench.turn(&host);
        assert_eq!(taken(&host, "b").len(), round + 1);
    }
    assert_eq!(taken(&host, "a"), [""; 0]);
    is_open.set(true);
    bench.turn(&host);
    assert_eq!(taken(&host, "a"), ["one", "two", "three"].repeat(50));
    assert_eq!(bench.refused(1), 0);
    assert!(bench.is_drained());
}

#[test]
fn what_stands_aside_takes_no_room_from_others_up_to_the_limit() {
    let mut bench = Bench::new();
    let host = choosy(|tag, _, _| tag == "a");
    let text = long(15_000);
    bench.push(1, "a", &[&text]);
    assert!(!bench.link.queue.has_space(), "it fills the queue");
    bench.turn(&host);
    assert!(bench.link.queue.has_space());
    assert!(
        !bench.account(1).is_held_back(),
        "what follows tells whether it can ever be taken"
    );
    assert!(bench.link.queue.is_cautious());
    bench.push(2, "b", &[&text]);
    assert!(!bench.link.queue.has_space());
    assert!(
        bench.account(2).waits(bench.link.queue.is_cautious()),
        "for what was read of it"
    );
    for _ in 0..4 {
        bench.push(1, "a", &[&text]);
    }
    bench.turn(&host);
    assert!(!bench.account(2).waits(bench.link.queue.is_cautious()));
    assert!(bench.account(1).is_held_back(), "no more of it is read");
    assert!(
        !bench.link.queue.has_space(),
        "what is beyond the limit does"
    );
    for _ in 0..3 {
        bench.turn(&choosy(|_, _, _| false));
    }
    assert!(bench.is_drained() && !bench.account(1).is_held_back());
}

#[test]
fn a_record_that_never_fits_is_given_up_once_what_follows_is_taken() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, bytes| bytes > 500);
    let (too_long, longer) = (long(10), long(20));
    bench.push(1, "a", &["before", &too_long]);
    for _ in 0..10 {
        bench.turn(&host);
    }
    assert_eq!(
        (bench.refused(1), taken(&host, "a").len()),
        (0, 1),
        "nothing waits behind it"
    );
    bench.push(1, "a", &[&longer, "after", &too_long]);
    bench.push(1, "a", &["last"]);
    for _ in 0..10 {
        bench.turn(&host);
    }
    assert_eq!(taken(&host, "a"), ["before", "after", "last"]);
    assert_eq!(bench.refused(1), 3);
    assert_eq!(
        bench.saved_offset(1),
        Some(bench.account(1).figures().read.bytes)
    );
    assert!(bench.is_drained());
    let events = bench.link.events.take().0;
    let told = events
        .iter()
        .filter(|event| matches!(event, Event::RecordsRefused { .. }))
        .count();
    assert_eq!(told, 1, "{events:?}");
}

#[test]
fn nothing_is_given_up_while_the_host_holds_something_or_takes_nothing_smaller() {
    let mut bench = Bench::new();
    let too_long = long(100);
    // The host holds so much that there may be room later.
    let host = choosy(|_, _, bytes| bytes > 500);
    *host.held.lock().unwrap() = 5_000;
    bench.push(1, "a", &[&too_long, "after"]);
    bench.push(2, "a", &["of another container"]);
    for _ in 0..20 {
        bench.turn(&host);
    }
    assert_eq!(taken(&host, "a"), ["of another container"]);
    // The host holds nothing and accepts nothing with this tag, however small.
    let host = choosy(|tag, _, _| tag == "a");
    for _ in 0..20 {
        bench.push(2, "b", &["small"]);
        bench.turn(&host);
    }
    // The host accepts nothing at all.
    let host = choosy(|_, _, _| true);
    for _ in 0..20 {
        bench.turn(&host);
    }
    assert_eq!(bench.refused(1), 0);
    let host = choosy(|_, _, _| false);
    bench.turn(&host);
    assert_eq!(taken(&host, "a"), [too_long.as_str(), "after"]);
}

/// Otherwise each such container would permanently take room from the others.
#[test]
fn the_last_record_of_a_container_that_is_gone_is_given_up_where_others_are_taken() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, bytes| bytes > 500);
    bench.push(1, "a", &[&long(10), &long(20), &long(11)]);
    for _ in 0..10 {
        bench.push(2, "b", &["other"]);
        bench.turn(&host);
    }
    assert_eq!(bench.refused(1), 0, "something may follow it");
    bench.link.leave(ContainerId::from_bytes([1; 32]));
    let account = bench.account(1);
    for _ in 0..20 {
        bench.push(2, "b", &["other"]);
        bench.turn(&host);
    }
    assert_eq!(account.figures().refused.records, 3);
    assert!(bench.is_drained() && !bench.link.is_leaving(account.id()));
}

/// A container whose records are all large and have their own tag.
#[test]
fn a_container_of_large_records_alone_holds_little_and_loses_one_after_the_other() {
    let mut bench = Bench::new();
    let host = choosy(|tag, _, bytes| tag == "a" && bytes > 100_000);
    let text = long(8_000);
    let mut most = 0;
    for _ in 0..60 {
        if !bench.account(1).is_held_back() {
            bench.push(1, "a", &[&text]);
        }
        bench.push(2, "b", &["other"]);
        bench.turn(&host);
        most = most.max(bench.link.queue.bytes());
    }
    assert!(
        bench.refused(1) > 3 && most < 4 << 20,
        "{} given up, {most} bytes held",
        bench.refused(1)
    );
    bench.push(1, "a", &["small"]);
    for _ in 0..20 {
        bench.turn(&host);
    }
    assert_eq!(taken(&host, "a"), ["small"]);
    assert!(bench.is_drained());
}

/// The refused records do not exhaust the limit, so more are read until one is accepted.
#[test]
fn a_container_is_read_on_where_what_is_held_of_it_does_not_tell() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, bytes| bytes > 100_000);
    let (too_long, longer) = (long(2_000), long(3_000));
    bench.push(1, "a", &[&longer]);
    let mut read = 0;
    for turn in 0..100 {
        let texts = [&too_long, &too_long, &too_long, "small"];
        if let Some(text) = texts.get(read).filter(|_| !bench.account(1).is_held_back()) {
            read += 1;
            bench.push(1, "a", &[text]);
        }
        bench.turn(&host);
        if bench.is_drained() {
            assert!(turn > 3);
            break;
        }
    }
    assert_eq!(
        (bench.refused(1), taken(&host, "a")),
        (4, vec!["small".to_owned()])
    );
}

/// A processor fails on one record: the host accepts equally large batches with the same tag
/// again and again, whatever it holds.
#[test]
fn a_record_that_is_refused_for_what_it_is_is_given_up_after_many_contradictions() {
    let mut bench = Bench::new();
    let host = choosy(|_, texts, _| texts.iter().any(|text| text == "poison"));
    *host.held.lock().unwrap() = 1 << 20;
    bench.push(1, "a", &["before", "poison", "after"]);
    let mut rounds = 0;
    while bench.refused(1) == 0 {
        rounds += 1;
        assert!(rounds < 100);
        bench.push(2, "a", &["as long as it"]);
        bench.turn(&host);
    }
    assert!(rounds > MOST_CONTRADICTIONS, "{rounds} rounds");
    bench.turn(&host);
    let texts = taken(&host, "a");
    assert_eq!(
        texts
            .iter()
            .filter(|text| !text.starts_with("as"))
            .collect::<Vec<_>>(),
        ["before", "after"]
    );
    assert!(bench.is_drained());
}

#[test]
fn what_a_parser_is_to_take_apart_goes_in_portions() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, bytes| bytes > PARSED_BYTES);
    let text = long(100);
    let texts = vec![text.as_str(); 200];
    bench.push_parsed(1, "a", &texts, Some(any_parser()));
    bench.turn(&host);
    assert_eq!(taken(&host, "a"), texts);
    assert!(bench.is_drained());
    assert_eq!(*host.offers.lock().unwrap(), 8);
}

#[test]
fn a_host_that_takes_nothing_is_offered_few_batches_at_a_time() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, _| true);
    for digit in 1..100 {
        bench.push(digit, "a", &["text"]);
    }
    for turn in 1..=50 {
        bench.turn(&host);
        assert!(*host.offers.lock().unwrap() <= 2 * MOST_REFUSALS * turn);
    }
    bench.turn(&choosy(|_, _, _| false));
    assert!(bench.is_drained());
}

/// A slow output, and a container whose batches take all room that becomes free: the other
/// container is only retried in between, when there is no room.
#[test]
fn a_record_that_waits_for_room_is_kept_however_often_others_take_what_comes_free() {
    let mut bench = Bench::new();
    let room = std::cell::Cell::new(0);
    let host = choosy(|_, _, _| room.replace(0_usize) == 0);
    *host.held.lock().unwrap() = 1 << 20;
    bench.push(1, "", &["quiet"]);
    let flood = long(2);
    let rounds = 5 * MOST_CONTRADICTIONS as usize;
    for _ in 0..rounds {
        bench.turn(&host);
        bench.push(2, "", &[&flood]);
        room.set(1);
        // It is not due in this round.
        for aside in bench.drain.aside.values_mut() {
            aside.next_try = Instant::now() + Duration::from_secs(60);
        }
        bench.hand_over(&host);
    }
    assert_eq!(taken(&host, ""), vec![flood.as_str(); rounds]);
    assert_eq!(bench.refused(1), 0);
    room.set(1);
    bench.turn(&host);
    assert_eq!(taken(&host, "").last().map(String::as_str), Some("quiet"));
    assert!(bench.is_drained());
}

/// A batch whose parsing takes three drains.
#[test]
fn small_batches_of_others_pass_the_parts_of_one_and_its_own_stay_behind() {
    let mut bench = Bench::new();
    let mut host = choosy(|_, _, _| false);
    host.toil = Duration::from_millis(7);
    let text = long(200);
    let texts = vec![text.as_str(); 45];
    let parsing = any_parser();
    bench.push_parsed(1, "a", &texts, Some(parsing));
    bench.turn(&host);
    let first = taken(&host, "a").len();
    assert!(
        (1..30).contains(&first),
        "{first} of it are parsed at a time"
    );
    for digit in 2..6 {
        bench.push(1, "a", &["behind"]);
        bench.push(digit, "b", &["small"]);
    }
    bench.turn(&host);
    let all: Vec<String> = host
        .taken
        .lock()
        .unwrap()
        .iter()
        .map(|(tag, _)| tag.clone())
        .collect();
    assert_eq!(all[first..first + 5], ["b", "b", "b", "b", "a"]);
    while !bench.is_drained() {
        bench.turn(&host);
    }
    assert_eq!(taken(&host, "a"), [&texts[..], &["behind"; 4]].concat());
}

/// Parsing of the batches set aside may use its full limit in every drain.
#[test]
fn what_is_parsed_of_those_aside_takes_no_turn_from_others() {
    let mut bench = Bench::new();
    let is_open = std::cell::Cell::new(false);
    let mut host = choosy(|tag, _, _| tag == "a" && !is_open.get());
    let text = long(200);
    let parsing = any_parser();
    for _ in 0..2 {
        bench.push_parsed(1, "a", &[text.as_str(); 20], Some(Arc::clone(&parsing)));
    }
    bench.turn(&host);
    host.toil = Duration::from_millis(7);
    is_open.set(true);
    bench.push(2, "b", &["small"]);
    bench.turn(&host);
    let so_far = taken(&host, "a").len();
    assert!(
        (1..40).contains(&so_far),
        "{so_far} of it are parsed at a time"
    );
    assert_eq!(taken(&host, "b"), ["small"]);
}

/// Each refusal costs the host a log line and a file, and each text costs parser time.
#[test]
fn the_search_for_a_record_that_is_taken_is_bounded_for_all_containers_together() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, bytes| bytes > 500);
    let parsing = any_parser();
    let too_long = long(10);
    for digit in 1..=10 {
        bench.push_parsed(
            digit,
            "a",
            &[too_long.as_str(); 20],
            Some(Arc::clone(&parsing)),
        );
    }
    let mut most = 0;
    let mut turns = |bench: &mut Bench, count: usize| {
        for _ in 0..count {
            let before = *host.offers.lock().unwrap();
            bench.turn(&host);
            most = most.max(*host.offers.lock().unwrap() - before);
        }
        *host.parsed.lock().unwrap()
    };
    let parsed = turns(&mut bench, 200);
    assert_eq!(turns(&mut bench, 50), parsed, "what is parsed is kept");
    assert!(
        most > MOST_PROBED && most <= 2 * MOST_REFUSALS + MOST_PROBED,
        "{most} offers in a drain"
    );
    for digit in 1..=10 {
        assert_eq!(bench.refused(digit), 0);
    }
}

impl Bench {
    fn fill_events(&self) {
        while self.link.report(Event::ReaderStopped {
            reason: String::new(),
        }) {}
    }

    fn told(&self, is: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.link
            .events
            .take()
            .0
            .into_iter()
            .filter(|event| is(event))
            .collect()
    }
}

/// For a container in a user's storage, which has a key of ours beside its id.
#[test]
fn messages_have_the_id_that_the_runtime_shows_and_are_tried_again_until_they_are_kept() {
    let mut bench = Bench::new();
    let runtime_id = ContainerId::from_bytes([9; 32]);
    let account = bench
        .link
        .accounts
        .open_as(ContainerId::from_bytes([1; 32]), runtime_id);
    account.set_name("web");
    let (name, short_id) = ("web".to_owned(), runtime_id.short());
    // A record that waits and is then dropped.
    let host = choosy(|_, _, bytes| bytes > 500);
    let is_wait = |event: &Event| matches!(event, Event::RecordsWait { .. });
    bench.push(1, "a", &[&long(10)]);
    bench.turn(&host);
    let waits = |bench: &mut Bench| {
        for aside in bench.drain.aside.values_mut() {
            aside.since = Instant::now() - QUIET_WAIT;
        }
        bench.push(2, "b", &["other"]);
        bench.turn(&host);
        bench.turn(&host);
    };
    bench.fill_events();
    waits(&mut bench);
    assert_eq!(bench.told(is_wait), []);
    waits(&mut bench);
    waits(&mut bench);
    let wanted = Event::RecordsWait {
        name: name.clone(),
        short_id: short_id.clone(),
    };
    assert_eq!(bench.told(is_wait), [wanted]);
    bench.push(1, "a", &["after"]);
    waits(&mut bench);
    let refused = bench.told(|event| matches!(event, Event::RecordsRefused { .. }));
    assert!(
        matches!(&refused[..], [Event::RecordsRefused { short_id: shown, .. }] if *shown == short_id),
        "{refused:?}"
    );
    // A parser that takes too long.
    let mut host = choosy(|_, _, _| false);
    host.toil = MOST_PARSING;
    let parsing = any_parser();
    bench.fill_events();
    bench.push_parsed(1, "a", &["text"], Some(parsing));
    let is_slow = |event: &Event| matches!(event, Event::ParserSlow { .. });
    bench.turn(&host);
    assert_eq!(bench.told(is_slow), []);
    bench.turn(&host);
    bench.turn(&host);
    let slow = bench.told(is_slow);
    assert!(
        matches!(&slow[..], [Event::ParserSlow { name: of, short_id: shown, .. }] if (of, shown) == (&name, &short_id)),
        "{slow:?}"
    );
}

/// A batch that does not advance the checkpoint says nothing about the disk.
#[test]
fn a_db_counts_as_writable_only_where_something_was_written() {
    let mut bench = Bench::new();
    bench.config.db = Some("/somewhere/positions.db".into());
    let host = choosy(|_, _, _| false);
    let around = Around {
        link: &bench.link,
        refused_record_timeout: bench.config.refused_record_timeout,
        buffered_limit: BUFFERED_LIMIT,
        db: bench.config.db.as_deref(),
        host: &host,
    };
    bench
        .drain
        .report_checkpoint(Err(std::io::ErrorKind::StorageFull.into()), around);
    bench.push(1, "a", &["text"]);
    bench.link.push(Batch::progress(Progress::Nothing));
    bench.link.leave(ContainerId::from_bytes([1; 32]));
    bench.turn(&host);
    assert!(bench.is_drained());
    assert_eq!(bench.link.health.is_db_writable(), Some(false));
    assert_eq!(
        bench.told(|event| matches!(event, Event::CheckpointWritable { .. })),
        []
    );
}

/// With conditional routes; the first refusal is handled like later ones.
#[test]
fn what_the_first_offer_was_taken_of_in_part_is_offered_seldom_and_said_once() {
    let mut bench = Bench::new();
    let mut host = choosy(|tag, _, _| tag == "a");
    host.part = 10;
    bench.push(1, "a", &["in part"]);
    bench.push(2, "b", &["other"]);
    for _ in 0..5 {
        bench.drain.next_ask = None;
        bench.hand_over(&host);
    }
    assert_eq!(
        (taken(&host, "b").len(), *host.offers.lock().unwrap()),
        (1, 2)
    );
    assert_eq!(
        bench
            .told(|event| matches!(event, Event::TakenInPart { .. }))
            .len(),
        1
    );
    for _ in 0..3 {
        bench.turn(&host);
    }
    assert_eq!(
        *host.offers.lock().unwrap(),
        5,
        "after its time it is offered again"
    );
    assert_eq!(
        bench.told(|event| matches!(event, Event::TakenInPart { .. })),
        []
    );
}

/// What the first route accepts reaches `Mem_Buf_Limit`: the resume ends the wait. A host that
/// pauses at each offer has no room.
#[test]
fn what_a_pause_between_two_routes_refuses_is_offered_again_once_the_host_resumes() {
    let mut bench = Bench::new();
    let link = &bench.link;
    let pauses = std::cell::Cell::new(1);
    let mut host = choosy(|tag, _, _| {
        let is_refused = tag == "b" || pauses.replace(0) > 0;
        link.paused.fetch_or(is_refused, Ordering::AcqRel);
        is_refused
    });
    host.part = 10;
    bench.push(1, "a", &["text"]);
    let around = Around {
        link,
        refused_record_timeout: bench.config.refused_record_timeout,
        buffered_limit: BUFFERED_LIMIT,
        db: bench.config.db.as_deref(),
        host: &host,
    };
    bench.drain.hand_over(around);
    bench.drain.hand_over(around);
    assert_eq!(taken(&host, "a"), [""; 0]);
    link.paused.store(false, Ordering::Release);
    bench.drain.hand_over(around);
    assert_eq!(taken(&host, "a"), ["text"]);
    assert_eq!(*host.offers.lock().unwrap(), 2);
    bench.push(2, "b", &["text"]);
    for _ in 0..5 {
        bench.drain.hand_over(around);
        link.paused.store(false, Ordering::Release);
    }
    assert_eq!(
        *host.offers.lock().unwrap(),
        2 + 2,
        "the first, and the one that tells"
    );
    drop(host);
    assert_eq!(
        bench
            .told(|event| matches!(event, Event::TakenInPart { .. }))
            .len(),
        1
    );
}

/// A parsed copy is set aside in addition to its batch and may be as large.
#[test]
fn the_copies_of_a_parser_count_among_what_stands_aside() {
    let mut bench = Bench::new();
    let is_open = std::cell::Cell::new(false);
    let host = choosy(|_, _, _| !is_open.get());
    let parsing = any_parser();
    let text = long(200);
    for digit in [1, 2] {
        bench.push_parsed(digit, "a", &[text.as_str(); 15], Some(Arc::clone(&parsing)));
    }
    bench.turn(&host);
    let (bytes, copies) = (
        bench.link.queue.bytes(),
        *host.parsed.lock().unwrap() * text.len(),
    );
    assert!(
        bytes < 512 << 10 && bytes + copies > 512 << 10,
        "{bytes} and {copies} bytes"
    );
    assert!(
        bench.link.queue.is_cautious(),
        "an eighth of what may stand aside does"
    );
    assert!(bench.link.queue.has_space());
    is_open.set(true);
    bench.turn(&host);
    assert!(bench.is_drained() && !bench.link.queue.is_cautious());
}

/// A record that is refused alone is retried less and less often; the next record starts over.
#[test]
fn the_patience_with_a_record_says_nothing_of_the_next_one() {
    let mut bench = Bench::new();
    let most = std::cell::Cell::new(0);
    let host =
        choosy(|tag, texts, _| tag == "a" && texts.iter().any(|text| text.len() > most.get()));
    *host.held.lock().unwrap() = 1 << 20;
    bench.push(1, "a", &["1", "22"]);
    let patience = |bench: &Bench| bench.drain.aside[&ContainerId::from_bytes([1; 32])].patience();
    for _ in 0..20 {
        bench.push(2, "b", &["other"]);
        bench.turn(&host);
    }
    assert_eq!(patience(&bench), Duration::from_secs(1));
    most.set(1);
    bench.turn(&host);
    assert_eq!(taken(&host, "a"), ["1"]);
    assert_eq!(patience(&bench), Duration::from_millis(100));
}

/// As many small batches are set aside as a large machine has containers. Once the host has
/// room, each is offered only once.
#[test]
fn a_thousand_that_stand_aside_go_at_once_when_the_host_has_room_again() {
    let mut bench = Bench::new();
    let is_open = std::cell::Cell::new(false);
    let host = choosy(|_, _, _| !is_open.get());
    let push = |bench: &Bench, number: u64| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let account = bench.link.accounts.open(ContainerId::from_bytes(id));
        bench.push_of(account, &format!("tag {number}"), &["text"], None);
    };
    (0..1_000).for_each(|number| push(&bench, number));
    while bench.drain.aside.len() < 1_000 {
        bench.turn(&host);
    }
    is_open.set(true);
    *host.offers.lock().unwrap() = 0;
    bench.turn(&host);
    assert!(bench.is_drained() && bench.drain.aside.is_empty());
    assert_eq!(
        *host.offers.lock().unwrap(),
        1_000,
        "none of them is asked for twice"
    );
}

/// A thousand containers are refused for long, and one only once.
#[test]
fn who_was_refused_once_is_soon_offered_again_and_then_stands_in_line() {
    let mut bench = Bench::new();
    let is_open = std::cell::Cell::new(false);
    let host = choosy(|tag, _, _| tag == "a" || !is_open.get());
    for digit in 1..=200 {
        bench.push(digit, "a", &["text"]);
    }
    while bench.drain.aside.len() < 200 {
        bench.turn(&host);
    }
    bench.push(201, "b", &["by chance"]);
    bench.turn(&host);
    is_open.set(true);
    bench.turn(&host);
    assert_eq!(taken(&host, "b"), ["by chance"]);
    // A container that is refused for longer waits for its turn, in which none passes it
    // twice.
    is_open.set(false);
    bench.push(201, "b", &["for longer"]);
    bench.turn(&host);
    bench.turn(&host);
    is_open.set(true);
    *host.offers.lock().unwrap() = 0;
    while taken(&host, "b").len() < 2 {
        bench.turn(&host);
    }
    let offers = *host.offers.lock().unwrap();
    assert!(
        (150..=201 + MOST_REFUSALS).contains(&offers),
        "{offers} offers before its turn"
    );
}

/// An output so slow that there is only room for one batch at a time.
#[test]
fn what_room_there_is_goes_to_those_that_have_waited_longest() {
    let mut bench = Bench::new();
    let room = std::cell::Cell::new(0);
    let host = choosy(|_, _, _| room.replace(0_usize) == 0);
    *host.held.lock().unwrap() = 1 << 20;
    for digit in 1..=20 {
        bench.push(digit, "quiet", &["text"]);
    }
    while bench.drain.aside.len() < 20 {
        bench.turn(&host);
    }
    for _ in 0..26 {
        for noisy in [101, 102] {
            if !bench.drain.aside.contains_key(bench.account(noisy).id()) {
                bench.push(noisy, "noisy", &["text"]);
            }
        }
        room.set(1);
        bench.turn(&host);
    }
    assert_eq!(taken(&host, "quiet").len(), 20);
}

/// The container's wake-ups are no reason to retry, but must not delay the retry either.
#[test]
fn a_container_that_goes_on_writing_is_offered_again_in_its_time() {
    let mut bench = Bench::new();
    let is_open = std::cell::Cell::new(false);
    let host = choosy(|_, _, _| !is_open.get());
    bench.push(1, "a", &["text"]);
    bench.turn(&host);
    is_open.set(true);
    bench.turn(&host);
    is_open.set(false);
    for _ in 0..50 {
        bench.push(1, "a", &["text"]);
        bench.hand_over(&host);
    }
    assert!(*host.offers.lock().unwrap() < 10, "they come in no time");
    is_open.set(true);
    bench.push(1, "a", &["last"]);
    bench.turn(&host);
    assert_eq!(taken(&host, "a").last().map(String::as_str), Some("last"));
    assert!(bench.is_drained());
}

/// The queue fills meanwhile, so that no log is read further.
#[test]
fn a_host_that_holds_much_is_given_nothing_until_it_holds_less() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, _| false);
    *host.held.lock().unwrap() = BUFFERED_LIMIT;
    let text = "x".repeat(100_000);
    bench.push(1, "large", &[&text, &text]);
    for (digit, tag) in [(2, "a"), (3, "b"), (2, "a")] {
        bench.push(digit, tag, &[LONG]);
    }
    for interval in [1, 2, 4] {
        let again = bench.hand_over(&host);
        assert_eq!(again, Some(Duration::from_millis(interval)));
    }
    assert_eq!(
        (*host.offers.lock().unwrap(), bench.saved_offset(2)),
        (0, None)
    );
    *host.held.lock().unwrap() = BUFFERED_LIMIT - 1;
    assert_eq!(bench.hand_over(&host), None);
    let count = |tag| taken(&host, tag).len();
    assert_eq!((count("a"), count("b"), count("large")), (2, 1, 2));
    assert!(bench.is_drained());
    assert_eq!(bench.saved_offset(2), Some(2 * LONG.len() as u64));
}

/// What is refused and waits is not offered either, and nothing of it is given up for it.
#[test]
fn what_was_refused_waits_for_a_host_that_holds_much() {
    let mut bench = Bench::new();
    let is_open = std::cell::Cell::new(false);
    let host = choosy(|_, _, _| !is_open.get());
    bench.push(1, "a", &["text"]);
    bench.turn(&host);
    is_open.set(true);
    *host.held.lock().unwrap() = BUFFERED_LIMIT;
    for _ in 0..50 {
        bench.turn(&host);
    }
    assert_eq!((*host.offers.lock().unwrap(), bench.refused(1)), (1, 0));
    *host.held.lock().unwrap() = 0;
    bench.turn(&host);
    assert_eq!(taken(&host, "a"), ["text"]);
}

/// The reader queues a batch between the look at an empty queue and the one that takes it.
#[test]
fn a_batch_that_arrives_after_the_look_at_the_queue_is_judged_by_what_the_host_holds() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, _| true);
    for (held, is_offered) in [(10, true), (BUFFERED_LIMIT, false)] {
        *host.held.lock().unwrap() = held;
        let around = Around {
            link: &bench.link,
            refused_record_timeout: bench.config.refused_record_timeout,
            buffered_limit: BUFFERED_LIMIT,
            db: None,
            host: &host,
        };
        let mut round = Round {
            number: 1,
            now: Instant::now(),
            bytes: 0,
            refusals: 0,
            held: Some(0),
        };
        assert!(bench.drain.goes_on(&mut round, around));
        bench.push(1, "a", &["text"]);
        let offer = bench.link.queue.pop().unwrap().into();
        match bench.drain.submit(offer, around, &mut round) {
            Answer::Refused(_, refused) => assert!(is_offered && !refused.is_in_part),
            Answer::Waits(_) => assert!(!is_offered),
            Answer::Accepted => panic!("it refuses all"),
        }
        bench = Bench::new();
    }
    assert_eq!(*host.offers.lock().unwrap(), 1);
}

/// Without a limit the host accepts everything.
#[test]
fn what_is_swollen_waits_while_the_host_holds_much_and_nothing_of_it_is_given_up() {
    let mut bench = Bench::new();
    bench.buffered_limit = usize::MAX;
    let host = choosy(|_, _, _| false);
    *host.held.lock().unwrap() = MOST_SWOLLEN;
    let plain = "x".repeat(1_000);
    bench.push(1, "tiny", &["a", "b"]);
    for _ in 0..50 {
        bench.push(2, "plain", &[&plain]);
        bench.turn(&host);
    }
    bench.push(1, "tiny", &["c"]);
    bench.turn(&host);
    assert_eq!(
        (taken(&host, "plain").len(), taken(&host, "tiny").len()),
        (50, 0)
    );
    *host.held.lock().unwrap() = MOST_SWOLLEN - 1;
    bench.turn(&host);
    assert_eq!(taken(&host, "tiny"), ["a", "b", "c"]);
    let figures = bench.account(1).figures();
    assert_eq!((figures.refused, figures.pending()), (Amount::default(), 0));
}

/// A link over a file, for the writes to it.
fn bench_with_db(path: &Path) -> Bench {
    let mut bench = Bench::new();
    let store = CheckpointStore::open(path).unwrap().store;
    bench.link = Link::new(1 << 20, store).unwrap();
    bench.config.db = Some(path.to_owned());
    bench
}

#[test]
fn small_batches_with_one_tag_are_one_append_and_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("positions.db");
    let mut bench = bench_with_db(&path);
    let host = choosy(|_, _, _| false);
    for round in 1..=3 {
        for container in 1..=20 {
            bench.push(container, "all", &["one"]);
        }
        bench.push(1, "all", &["two"]);
        bench.turn(&host);
        assert_eq!(*host.offers.lock().unwrap(), round);
        assert_eq!(bench.link.tally.checkpoint_writes.get(), round as u64);
    }
    let texts = [&["one"; 20][..], &["two"]].concat().repeat(3);
    assert_eq!(taken(&host, "all"), texts);
    assert!(bench.is_drained());
    drop(bench);
    let store = CheckpointStore::open(&path).unwrap().store;
    for container in 1..=20 {
        let saved = store.saved(&ContainerId::from_bytes([container; 32]));
        let offset = 9 * (1 + u64::from(container == 1));
        assert_eq!(saved.map(|saved| saved[0].offset), Some(offset));
    }
}

#[test]
fn batches_with_another_tag_a_parser_or_no_records_go_alone_and_in_order() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, _| false);
    bench.push(1, "a", &["1"]);
    bench.push(2, "b", &["2"]);
    bench.push(3, "b", &["3"]);
    bench.push_parsed(4, "b", &["4"], Some(any_parser()));
    bench.push(5, "b", &["5"]);
    bench.link.leave(ContainerId::from_bytes([5; 32]));
    bench.push(6, "b", &["6"]);
    bench.push(7, "b", &["7"]);
    bench.turn(&host);
    assert_eq!(*host.offers.lock().unwrap(), 5);
    assert_eq!(taken(&host, "a"), ["1"]);
    assert_eq!(taken(&host, "b"), ["2", "3", "4", "5", "6", "7"]);
    assert!(bench.is_drained());
}

#[test]
fn a_refused_bundle_is_offered_batch_by_batch_and_each_container_keeps_its_order() {
    let mut bench = Bench::new();
    let host = choosy(|_, texts, _| texts.iter().any(|text| text == "bad"));
    for text in ["one", "two"] {
        for container in 1..=20 {
            bench.push(container, "all", &[text]);
        }
    }
    bench.push(21, "all", &["bad"]);
    bench.turn(&host);
    assert_eq!(*host.offers.lock().unwrap(), 1);
    assert_eq!(taken(&host, "all"), [""; 0]);
    for container in 1..=21 {
        assert_eq!(bench.saved_offset(container), None);
    }
    bench.turn(&host);
    for container in 1..=20 {
        assert_eq!(bench.saved_offset(container), Some(6));
    }
    assert_eq!(taken(&host, "all").len(), 40);
    // Only the one that the host does not accept stands aside, and nothing is bundled meanwhile.
    assert_eq!(bench.drain.aside.len(), 1);
    let before = *host.offers.lock().unwrap();
    bench.push(1, "all", &["three"]);
    bench.push(2, "all", &["three"]);
    bench.hand_over(&host);
    assert_eq!(*host.offers.lock().unwrap(), before + 2);
}

#[test]
fn a_host_with_room_for_little_is_offered_small_bundles_that_it_seldom_refuses() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, bytes| bytes > 8 * 1024);
    let text = long(14);
    let mut refusals = Vec::new();
    for _ in 0..100 {
        for container in 1..=20 {
            bench.push(container, "all", &[&text, &text]);
        }
        bench.turn(&host);
        refusals.push(!bench.drain.aside.is_empty());
        bench.turn(&host);
        assert!(bench.is_drained());
    }
    assert_eq!(taken(&host, "all").len(), 4000);
    let count = |rounds: &[bool]| rounds.iter().filter(|refused| **refused).count();
    assert!(refusals[0] && count(&refusals[10..]) < 20, "{refusals:?}");
    // With room again, bundles are large again.
    let host = choosy(|_, _, _| false);
    for _ in 0..1000 {
        for container in 1..=20 {
            bench.push(container, "all", &[&text, &text]);
        }
        bench.turn(&host);
    }
    let before = *host.offers.lock().unwrap();
    for container in 1..=20 {
        bench.push(container, "all", &[&text, &text]);
    }
    bench.turn(&host);
    assert_eq!(*host.offers.lock().unwrap(), before + 1);
}

#[test]
fn bundles_are_large_again_however_often_they_were_refused() {
    let mut bench = Bench::new();
    let refuses_bundles = choosy(|_, texts, _| texts.len() > 1);
    for _ in 0..100 {
        for container in 1..=20 {
            bench.push(container, "all", &["one"]);
        }
        bench.turn(&refuses_bundles);
        bench.turn(&refuses_bundles);
        assert!(bench.is_drained());
    }
    let mut offers = 0;
    let host = choosy(|_, _, _| false);
    for _ in 0..1000 {
        for container in 1..=20 {
            bench.push(container, "all", &["one"]);
        }
        let before = *host.offers.lock().unwrap();
        bench.turn(&host);
        offers = *host.offers.lock().unwrap() - before;
    }
    assert_eq!(offers, 1);
}

#[test]
fn a_bundle_waits_for_a_host_that_holds_much() {
    let mut bench = Bench::new();
    let host = choosy(|_, _, _| false);
    for container in 1..=3 {
        bench.push(container, "all", &["one"]);
    }
    // Full only once the queue was looked at.
    bench.buffered_limit = 1;
    *host.held.lock().unwrap() = 1;
    bench.hand_over(&host);
    assert_eq!(*host.offers.lock().unwrap(), 0);
    *host.held.lock().unwrap() = 0;
    bench.turn(&host);
    bench.turn(&host);
    assert_eq!(taken(&host, "all"), ["one"; 3]);
    assert_eq!(bench.refused(1), 0);
}
