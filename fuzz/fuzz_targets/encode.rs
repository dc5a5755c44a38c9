//! Records: whatever the text, name and attributes contain, the MessagePack is valid and
//! has the same contents.

#![no_main]

use fluent_bit_container_logs::delivery::host::embedded::decode_records;
use fluent_bit_container_logs::format::msgpack::{put_string_map, Field};
use fluent_bit_container_logs::format::position::{Stream, Timestamp};
use fluent_bit_container_logs::pipeline::encode::{put_record, RecordFields};
use fluent_bit_container_logs::pipeline::partial::{Line, Missing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<14>() else {
        return;
    };
    let (flags, repeats) = (head[0], usize::from(head[1]));
    let seconds = i64::from_le_bytes([
        head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9],
    ]);
    let nanos = u32::from_le_bytes([head[10], head[11], head[12], head[13]]);
    let (name, text) = rest.split_at(rest.len() / 4);
    let text = if flags & 1 == 0 {
        text.to_vec()
    } else {
        text.repeat(repeats)
    };
    let name = String::from_utf8_lossy(name);

    let pairs: Vec<(Vec<u8>, &[u8])> = (0..usize::from(flags >> 4))
        .map(|number| (format!("{number}{name}").into_bytes(), name.as_bytes()))
        .collect();
    let mut attrs = Vec::new();
    put_string_map(
        &mut attrs,
        pairs.iter().map(|(key, value)| (key.as_slice(), *value)),
    );

    let stream = if flags & 2 == 0 {
        Stream::Stdout
    } else {
        Stream::Stderr
    };
    let line = Line {
        time: Timestamp { seconds, nanos },
        text: &text,
        missing: Missing::cut(usize::from(flags & 4)),
        is_utf8: flags & 8 != 0 && std::str::from_utf8(&text).is_ok(),
        attrs: &attrs,
        source_bytes: 0,
    };
    let fields = RecordFields::new(&[("container_name".to_owned(), Field::text(&name))]);
    let mut out = Vec::new();
    put_record(&mut out, &line, stream, &fields);
    put_record(&mut out, &line, stream, &fields);

    let records = decode_records(&out).expect("whole MessagePack");
    let [record, again] = records.as_slice() else {
        panic!("two records")
    };
    assert_eq!(record, again);
    assert_eq!(record.text("log"), String::from_utf8_lossy(&text));
    assert_eq!(record.text("stream"), stream.name());
    assert_eq!(record.text("container_name"), name);
    assert_eq!(record.body.contains_key("truncated"), line.missing.is_any());
    assert_eq!(record.time.nanos, nanos);
    assert_eq!(record.time.seconds, seconds.clamp(0, i64::from(i32::MAX)));
    let decoded = record.body.get("attrs").and_then(|attrs| attrs.as_object());
    assert_eq!(decoded.map_or(0, |attrs| attrs.len()), pairs.len());
    for (key, value) in &pairs {
        let key = String::from_utf8_lossy(key);
        assert_eq!(
            decoded
                .and_then(|attrs| attrs[&*key].as_str())
                .map(str::as_bytes),
            Some(*value)
        );
    }
});
