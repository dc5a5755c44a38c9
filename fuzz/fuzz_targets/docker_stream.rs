//! The body of a logs request. The first byte selects whether the container has a
//! terminal, the second the length of the chunks. Framed: the entries are those of a plain
//! parser, however the body is cut. Raw: total, and the output is no longer than the input.
//! Bytes that are kept and processed again are bounded.

#![no_main]

use fluent_bit_container_logs::format::position::{Stream, Timestamp};
use fluent_bit_container_logs::format::rfc3339::TimeParser;
use fluent_bit_container_logs::format::work;
use fluent_bit_container_logs::source::api::entries::EntryDecoder;
use fluent_bit_container_logs::source::api::stamp::split_time;
use fluent_bit_container_logs::source::api::stdcopy::MOST_PAYLOAD;
use libfuzzer_sys::fuzz_target;

const START: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanos: 5,
};

type Entry = (Stream, Timestamp, Vec<u8>, bool);

/// The entries, and whether the body was valid to its end.
fn fed<'a>(has_terminal: bool, chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    let mut emit = |stream, time, text: &[u8], ends_line| {
        entries.push((stream, time, text.to_vec(), ends_line))
    };
    let mut decoder = EntryDecoder::new(has_terminal, START);
    let mut is_sound = true;
    for chunk in chunks {
        is_sound = is_sound && decoder.feed(chunk, &mut emit).is_ok();
    }
    is_sound = is_sound && decoder.finish(&mut emit).is_ok();
    (entries, is_sound)
}

/// As `fed`, for all bytes at once, in the simplest way.
fn plain(mut body: &[u8]) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    let mut last = [START; 2];
    while !body.is_empty() {
        let Some((header, rest)) = body.split_first_chunk::<8>() else {
            return (entries, false);
        };
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if header[0] > 2 || header[1..4] != [0; 3] || length > MOST_PAYLOAD || length > rest.len() {
            return (entries, false);
        }
        let (payload, behind) = rest.split_at(length);
        body = behind;
        if payload.is_empty() {
            continue;
        }
        let stream = if header[0] == 2 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        let (time, text) = split_time(&mut TimeParser::default(), payload)
            .unwrap_or((last[stream.index()], payload));
        last[stream.index()] = time;
        match text.strip_suffix(b"\n") {
            Some(line) => entries.push((stream, time, line.to_vec(), true)),
            None => entries.push((stream, time, text.to_vec(), false)),
        }
    }
    (entries, true)
}

fuzz_target!(|data: &[u8]| {
    let [has_terminal, chunk, body @ ..] = data else {
        return;
    };
    let has_terminal = has_terminal % 2 == 1;
    work::take();
    let (entries, is_sound) = fed(has_terminal, body.chunks(usize::from(*chunk) + 1));
    assert!(
        work::take() <= 80 * body.len() as u64 + 256,
        "looked at again and again"
    );
    if has_terminal {
        assert!(
            entries
                .iter()
                .map(|(_, _, text, _)| text.len())
                .sum::<usize>()
                <= body.len()
        );
    } else {
        assert_eq!((entries, is_sound), plain(body));
    }
});
