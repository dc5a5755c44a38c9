//! `Multiline`: a pattern up to a NUL, then lines up to a line feed each, with a first
//! byte for the time since the previous line and for the stream. However lines are joined,
//! none is lost, repeated, or moved to another stream, each stream keeps its order, and no
//! text exceeds its bound except by a single line that does.

#![no_main]

use std::time::Duration;

use fluent_bit_container_logs::delivery::checkpoint::StreamCheckpoint;
use fluent_bit_container_logs::format::position::{PerStream, Stream, Timestamp};
use fluent_bit_container_logs::pipeline::multiline::{MultilineBuffer, MultilineOptions, Pattern};
use fluent_bit_container_logs::pipeline::partial::Line;
use libfuzzer_sys::fuzz_target;

const MAX_BYTES: usize = 100;

fuzz_target!(|data: &[u8]| {
    let end = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (pattern, rest) = data.split_at(end);
    let Ok(pattern) = std::str::from_utf8(pattern) else {
        return;
    };
    let Ok(pattern) = Pattern::shared(pattern) else {
        return;
    };
    let options = MultilineOptions {
        pattern: Some(pattern),
        flush: Duration::from_secs(1),
        max_bytes: MAX_BYTES,
    };
    let mut texts = MultilineBuffer::of(&options).expect("there is a pattern");

    let (mut written, mut joined): (PerStream<Vec<u8>>, PerStream<Vec<u8>>) = Default::default();
    let (mut put_in, mut got_out, mut at) = (0, 0, 0);
    let mut take = |stream: Stream, line: Line<'_>, joined: &mut PerStream<Vec<u8>>| {
        let lines = 1 + line.text.iter().filter(|byte| **byte == b'\n').count();
        assert!(line.text.len() <= MAX_BYTES || lines == 1);
        got_out += line.source_bytes;
        let into = &mut joined[stream.index()];
        into.extend_from_slice(line.text);
        into.push(b'\n');
    };
    let mut seconds = 0;
    for line in rest
        .get(1..)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
    {
        let [head, text @ ..] = line else { continue };
        seconds += i64::from(head / 2 % 4) - 1;
        let stream = Stream::ALL[usize::from(head % 2)];
        let time = Timestamp { seconds, nanos: 0 };
        let source_bytes = text.len() + 3;
        put_in += source_bytes;
        at += source_bytes as u64;
        let line = Line {
            time,
            text,
            source_bytes,
            ..Line::default()
        };
        written[stream.index()].extend_from_slice(text);
        written[stream.index()].push(b'\n');
        texts.time_is(time, |stream, line| take(stream, line, &mut joined));
        let begins = StreamCheckpoint {
            offset: at,
            ..StreamCheckpoint::default()
        };
        texts.push(
            stream,
            &line,
            || begins,
            |line| take(stream, line, &mut joined),
        );
        assert!(texts.open_at(stream).is_none_or(|open| open.offset <= at));
    }
    for stream in Stream::ALL {
        texts.flush(stream, |line| take(stream, line, &mut joined));
    }
    assert!(!texts.is_open() && texts.source_bytes() == 0);
    assert_eq!((got_out, joined), (put_in, written));
});
