//! The joiner of split lines, compared with one that keeps everything and cuts at the
//! end. Three bytes define a piece: a change of time, whether it ends its line,
//! and its length; the texts follow after the pieces.

#![no_main]

use fluent_bit_container_logs::format::position::{Stream, Timestamp};
use fluent_bit_container_logs::format::Entry;
use fluent_bit_container_logs::pipeline::partial::{Joiner, PIECE_BYTES};
use libfuzzer_sys::fuzz_target;

/// Time, text, bytes cut off.
type Line = (Timestamp, Vec<u8>, usize);

/// The longest prefix of a text that fits without cutting a character.
fn cut(text: &[u8], most: usize) -> &[u8] {
    if text.len() <= most {
        return text;
    }
    // A character has at most three bytes after its first.
    let start = (most.saturating_sub(3)..=most)
        .rev()
        .find(|at| text[*at] & 0xc0 != 0x80)
        .unwrap_or(most);
    &text[..start]
}

fuzz_target!(|data: &[u8]| {
    let [most, count, rest @ ..] = data else {
        return;
    };
    let most = usize::from(*most);
    let (pieces, mut texts) = rest.split_at(rest.len().min(usize::from(*count % 32) * 3));

    let mut joiner = Joiner::default();
    let mut joined: Vec<Line> = Vec::new();
    let mut plain: Vec<Line> = Vec::new();
    let mut open: Option<(Timestamp, Vec<u8>)> = None;
    let mut deliver_plain = |open: &mut Option<(Timestamp, Vec<u8>)>| {
        if let Some((time, text)) = open.take() {
            let kept = cut(&text, most);
            plain.push((time, kept.to_vec(), text.len() - kept.len()));
        }
    };
    let (mut put_in, mut got_out) = (0, 0);
    let mut time = Timestamp::default();
    for piece in pieces.chunks_exact(3) {
        let [step, ends_line, length] = piece else {
            continue;
        };
        time.nanos += u32::from(step % 2);
        let (text, left) = texts.split_at(texts.len().min(usize::from(*length)));
        texts = left;
        let ends_line = ends_line % 2 == 1;
        let is_utf8 = std::str::from_utf8(text).is_ok();
        let entry = Entry {
            time,
            stream: Stream::Stdout,
            text,
            ends_line,
            is_utf8,
            attrs: &[],
        };
        // The entry's size in its source: more than its text.
        let source_bytes = text.len() + 7;
        put_in += source_bytes;
        let begins = joiner.push(&entry, source_bytes, most, &mut |line| {
            assert!(!line.is_utf8 || std::str::from_utf8(line.text).is_ok());
            got_out += line.source_bytes;
            joined.push((line.time, line.text.to_vec(), line.missing.cut_bytes()));
        });
        if open.as_ref().is_some_and(|(open, _)| *open != time) {
            deliver_plain(&mut open);
        }
        assert_eq!(begins, open.is_none() && !ends_line);
        open.get_or_insert_with(|| (time, Vec::new()))
            .1
            .extend_from_slice(text);
        if ends_line {
            deliver_plain(&mut open);
        }
        assert_eq!(joiner.is_open(), open.is_some());
        assert_eq!(
            joiner.stream_ended(),
            open.is_some() && text.len() < PIECE_BYTES
        );
    }
    joiner.flush(|line| {
        got_out += line.source_bytes;
        joined.push((line.time, line.text.to_vec(), line.missing.cut_bytes()));
    });
    assert_eq!(got_out, put_in, "every byte of the source is in one line");
    deliver_plain(&mut open);
    assert_eq!(joined, plain);
});
