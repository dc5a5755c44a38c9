//! What each piece of the hot path costs alone: decoders, joiner, encoder, checkpoint.
//! `make micro-bench`; `cargo bench --bench pieces -- json` for some of them.

use divan::counter::{BytesCount, ItemsCount};
use divan::{black_box, Bencher};
use fluent_bit_container_logs::delivery::checkpoint::{CheckpointStore, StreamCheckpoint};
use fluent_bit_container_logs::format::json_file::{decode_unusual, Decoder};
use fluent_bit_container_logs::format::msgpack::Field;
use fluent_bit_container_logs::format::position::{Stream, Timestamp};
use fluent_bit_container_logs::format::{cri, local, rfc3339, Entry};
use fluent_bit_container_logs::pipeline::encode::{put_record, RecordFields};
use fluent_bit_container_logs::pipeline::multiline::{Pattern, State, Verdict};
use fluent_bit_container_logs::pipeline::partial::{Joiner, Line, PIECE_BYTES};
use fluent_bit_container_logs::runtime::id::ContainerId;

const TIME: &str = "2026-11-23T18:00:00.123456789Z";
const TEXT: &str =
    "2026-11-23 10:00:00 INFO request 0000001 GET /api/v1/items?id=0000001 200 12ms user=alice";

fn main() {
    divan::main();
}

fn record(escaped: &str) -> String {
    format!("{{\"log\":\"{escaped}\\n\",\"stream\":\"stdout\",\"time\":\"{TIME}\"}}")
}

fn entry(text: &[u8], ends_line: bool) -> Entry<'_> {
    let time = Timestamp {
        seconds: 1_795_456_800,
        nanos: 123_456_789,
    };
    Entry {
        time,
        stream: Stream::Stdout,
        text,
        ends_line,
        is_utf8: true,
        attrs: &[],
    }
}

fn decode_json(bencher: Bencher<'_, '_>, line: &str) {
    let mut decoder = Decoder::default();
    assert!(
        decoder.decode(line.as_bytes()).is_some(),
        "the fast way knows it"
    );
    bencher
        .counter(BytesCount::of_str(line))
        .counter(ItemsCount::new(1u32))
        .bench_local(|| {
            decoder
                .decode(black_box(line.as_bytes()))
                .map(|entry| entry.text.len())
        });
}

#[divan::bench]
fn json_plain(bencher: Bencher<'_, '_>) {
    decode_json(bencher, &record(TEXT));
}

#[divan::bench]
fn json_with_escapes(bencher: Bencher<'_, '_>) {
    decode_json(bencher, &record(&TEXT.replace(' ', "\\\"\\t")));
}

#[divan::bench]
fn json_with_umlauts(bencher: Bencher<'_, '_>) {
    decode_json(bencher, &record(&TEXT.replace('e', "é")));
}

#[divan::bench]
fn json_piece_of_16_kib(bencher: Bencher<'_, '_>) {
    decode_json(bencher, &record(&"x".repeat(PIECE_BYTES)));
}

/// What is not written as dockerd does it.
#[divan::bench]
fn json_by_the_general_parser(bencher: Bencher<'_, '_>) {
    let line = format!("{{\"time\":\"{TIME}\", \"stream\":\"stdout\", \"log\":\"{TEXT}\\n\"}}");
    assert_eq!(decode_unusual(line.as_bytes()).entries.len(), 1);
    bencher
        .counter(BytesCount::of_str(&line))
        .bench_local(|| decode_unusual(black_box(line.as_bytes())));
}

#[divan::bench]
fn local_frame(bencher: Bencher<'_, '_>) {
    let mut message = b"\x0a\x06stdout\x10\x95\x9a\xef\x3a\x1a".to_vec();
    message.push(TEXT.len() as u8);
    message.extend_from_slice(TEXT.as_bytes());
    let length = (message.len() as u32).to_be_bytes();
    let frame = [&length, &message[..], &length].concat();
    let decode = |data: &[u8]| match local::first_frame(data) {
        local::Frame::Whole { message, .. } => local::decode(message).map(|entry| entry.line.len()),
        _ => None,
    };
    assert_eq!(decode(&frame), Some(TEXT.len()));
    bencher
        .counter(BytesCount::of_slice(&frame))
        .bench_local(|| decode(black_box(&frame)));
}

#[divan::bench]
fn cri_line(bencher: Bencher<'_, '_>) {
    let line = format!("{TIME} stdout F {TEXT}");
    let mut decoder = cri::Decoder::default();
    assert_eq!(
        decoder
            .decode(line.as_bytes())
            .map(|entry| entry.text.len()),
        Some(TEXT.len())
    );
    bencher
        .counter(BytesCount::of_str(&line))
        .counter(ItemsCount::new(1u32))
        .bench_local(|| {
            decoder
                .decode(black_box(line.as_bytes()))
                .map(|entry| entry.text.len())
        });
}

#[divan::bench]
fn time(bencher: Bencher<'_, '_>) {
    let mut times = rfc3339::TimeParser::default();
    bencher.bench_local(|| times.parse(black_box(TIME.as_bytes())));
}

#[divan::bench]
fn joiner_four_pieces(bencher: Bencher<'_, '_>) {
    let mut joiner = Joiner::default();
    let text = vec![b'x'; PIECE_BYTES];
    let pieces = [false, false, false, true].map(|ends_line| entry(&text, ends_line));
    bencher
        .counter(BytesCount::new(4 * PIECE_BYTES))
        .bench_local(|| {
            let mut bytes = 0;
            for piece in &pieces {
                joiner.push(
                    black_box(piece),
                    PIECE_BYTES,
                    1 << 20,
                    &mut |line: Line<'_>| bytes += line.text.len(),
                );
            }
            bytes
        });
}

#[divan::bench(args = [0, 3])]
fn encoder(bencher: Bencher<'_, '_>, metadata: usize) {
    let fields = [
        ("container_id", "ab".repeat(32)),
        ("container_name", "web".into()),
        ("image", "shop/web:1.2".into()),
    ];
    let fields: Vec<(String, Field)> = fields
        .iter()
        .take(metadata)
        .map(|(key, value)| ((*key).to_owned(), Field::text(value)))
        .collect();
    let fields = RecordFields::new(&fields);
    let line = Line {
        text: TEXT.as_bytes(),
        is_utf8: true,
        ..Line::default()
    };
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        put_record(&mut out, black_box(&line), Stream::Stdout, &fields);
        out.len()
    });
}

/// What each acknowledgement costs beyond the append: of so many containers one moves.
/// The file is on the disk of cargo's target folder.
#[divan::bench(args = [1, 1000])]
fn checkpoint_advance(bencher: Bencher<'_, '_>, containers: usize) {
    let dir =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap_or_else(|error| panic!("{error}"));
    let opened = CheckpointStore::open(&dir.path().join("positions.db"));
    advance_in_turn(
        bencher,
        opened.unwrap_or_else(|error| panic!("{error}")).store,
        containers,
    );
}

/// The same without a file: what is left is the price of the system call.
#[divan::bench]
fn checkpoint_advance_in_memory(bencher: Bencher<'_, '_>) {
    advance_in_turn(bencher, CheckpointStore::in_memory(), 1);
}

fn advance_in_turn(bencher: Bencher<'_, '_>, mut store: CheckpointStore, containers: usize) {
    let ids: Vec<ContainerId> = (0..containers)
        .filter_map(|number| ContainerId::parse(&format!("{number:064x}")))
        .collect();
    let mut offset = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        offset += 1;
        let resume = StreamCheckpoint {
            offset,
            ..StreamCheckpoint::default()
        };
        let id = ids[offset as usize % ids.len()];
        assert!(
            store.advance(id, black_box(&[Some(resume); 2])).is_ok(),
            "it is written"
        );
    });
}

/// What `Multiline` adds to a line that is no part of a trace.
fn judge(bencher: Bencher<'_, '_>, pattern: &str, last: Option<State>, expected: Verdict) {
    let Ok(pattern) = pattern.parse::<Pattern>() else {
        panic!("{pattern} is no pattern")
    };
    assert_eq!(pattern.judge(last, TEXT.as_bytes()), expected);
    bencher
        .counter(ItemsCount::new(1u32))
        .bench_local(|| pattern.judge(black_box(last), black_box(TEXT.as_bytes())));
}

#[divan::bench]
fn multiline_java(bencher: Bencher<'_, '_>) {
    judge(bencher, "java", None, Verdict::Alone);
}

#[divan::bench]
fn multiline_java_go_python(bencher: Bencher<'_, '_>) {
    judge(bencher, "java,go,python", None, Verdict::Alone);
}

#[divan::bench]
fn multiline_by_expression(bencher: Bencher<'_, '_>) {
    judge(
        bencher,
        r"^\d{4}-\d{2}-\d{2}",
        Some(State::Any),
        Verdict::Begins(State::Any),
    );
}
